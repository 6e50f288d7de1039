//! Runs the program as a process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::app::variable;
use super::http::Client;
use super::scripted_s3::{BUCKET_URL, ScriptedS3};

/// The timeout for the start and the exit of a process.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running registry. It is killed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    pub(crate) address: SocketAddr,
    admin: Arc<Mutex<Option<SocketAddr>>>,
}

/// The words before the address of the registry in the log.
const LISTENING: &str = "listening on ";
/// The words before the address of the admin port.
const ADMIN: &str = "admin port ";

/// The address after these words, in a line of text or JSON.
fn address_after(line: &str, words: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(words)?;
    rest.split([' ', '"']).next()?.parse().ok()
}

/// The exit and the output of a command.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program with these arguments: the one that cargo has built, or `LONGSHORE_TEST_PROGRAM`,
/// such as one that was built with optimization.
pub(crate) fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let built = env!("CARGO_BIN_EXE_longshore").to_owned();
    let mut command = Command::new(variable("LONGSHORE_TEST_PROGRAM").unwrap_or(built));
    command.args(arguments).envs(variables.iter().copied());
    for name in ["LONGSHORE_TEST_STORE", "LONGSHORE_TEST_S3", "LONGSHORE_TEST_PROGRAM"] {
        command.env_remove(name);
    }
    command
}

/// Runs the program until it exits.
pub(crate) fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let output = command(arguments, variables).output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// What a program needs to use a scripted S3 at this address.
pub(crate) fn s3_variables(endpoint: &str) -> [(&str, &str); 5] {
    [
        // The suite also runs in single-writer mode, which the scripted S3 does not need.
        ("LONGSHORE_STORE_WRITERS", "many"),
        ("LONGSHORE_STORE_S3_ENDPOINT", endpoint),
        ("LONGSHORE_STORE_S3_REGION", "us-east-1"),
        ("LONGSHORE_STORE_S3_ACCESS_KEY_ID", "K1K1"),
        ("LONGSHORE_STORE_S3_SECRET_ACCESS_KEY", "SECRET12"),
    ]
}

impl Process {
    /// Serves a store on an unused port, and returns when it listens.
    pub(crate) fn serve(store: &str, variables: &[(&str, &str)]) -> Self {
        Self::begin(store, variables, LISTENING, Stdio::inherit())
    }

    /// The same, with another standard output.
    pub(crate) fn printing(store: &str, variables: &[(&str, &str)], stdout: Stdio) -> Self {
        Self::begin(store, variables, LISTENING, stdout)
    }

    /// The same, but returns as soon as the admin port listens. The registry may not listen yet.
    pub(crate) fn starting(store: &str, variables: &[(&str, &str)]) -> Self {
        Self::begin(store, variables, ADMIN, Stdio::inherit())
    }

    /// A client of the admin port.
    pub(crate) fn admin(&self) -> Client {
        Client::new(&format!("http://{}", self.admin_address()))
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin.lock().expect("no panic").expect("an admin port")
    }

    fn begin(
        store: &str,
        variables: &[(&str, &str)],
        awaited: &'static str,
        stdout: Stdio,
    ) -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--store", store];
        let mut command = command(&arguments, variables);
        command.stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let (listening, listens) = std::sync::mpsc::sync_channel(1);
        let written = log.clone();
        let admin = Arc::new(Mutex::new(None));
        let admin_found = admin.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(address) = address_after(&line, ADMIN) {
                    *admin_found.lock().expect("no panic") = Some(address);
                }
                let mut written = written.lock().expect("no panic");
                written.push_str(&line);
                written.push('\n');
                drop(written);
                if let Some(address) = address_after(&line, awaited) {
                    let _ = listening.try_send(address);
                }
            }
        });
        let address = listens.recv_timeout(TIMEOUT).ok();
        let address = address.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("it does not listen:\n{}", log.lock().expect("no panic"))
        });
        Self { child, log, address, admin }
    }

    pub(crate) fn folder(folder: &Path, variables: &[(&str, &str)]) -> Self {
        Self::serve(folder.to_str().expect("a path that is text"), variables)
    }

    /// Serves the bucket of a scripted S3. The test needs a runtime with several threads, because
    /// this blocks one of them until the registry listens.
    pub(crate) fn over_s3(s3: &ScriptedS3, variables: &[(&str, &str)]) -> Self {
        let url = s3.url();
        let all = [&s3_variables(&url)[..], variables].concat();
        Self::serve(BUCKET_URL, &all)
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address))
    }

    /// The output so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// SIGSTOP: the process does nothing until [`resume`](Self::resume).
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits until the process has exited.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(began.elapsed() < TIMEOUT, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
