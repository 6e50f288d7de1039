//! A Redis server for one test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A running Redis. It is killed when this value is dropped.
pub(crate) struct RedisServer {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
}

/// Starts Redis, or explains why the test cannot run.
pub(crate) async fn start(arguments: &[&str]) -> Option<RedisServer> {
    let known = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    if known.is_err() {
        println!(
            "left out: there is no redis-server here (tests/support/tools/install puts it there)"
        );
        return None;
    }
    let mut server = RedisServer {
        child: None,
        port: free_port(),
        folder: TempDir::new().expect("a temporary folder"),
        arguments: arguments.iter().map(ToString::to_string).collect(),
    };
    server.run().await;
    Some(server)
}

/// An unused port.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl RedisServer {
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> String {
        self.port.to_string()
    }

    /// Restarts it after it was killed, on the same port and empty. With a certificate it accepts
    /// only TLS.
    pub(crate) async fn run(&mut self) {
        let secure = self.arguments.iter().any(|argument| argument == "--tls-cert-file");
        let port = self.port();
        let ports = if secure { vec!["--port", "0", "--tls-port"] } else { vec!["--port"] };
        let child = Command::new("redis-server")
            .args(ports)
            .args([&port, "--bind", "127.0.0.1", "--save", ""])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("redis-server starts"));
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("redis-server does not answer");
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("a running server").id().to_string();
        let sent = Command::new("kill").arg(format!("-{name}")).arg(id).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Runs a Redis command.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(words)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
