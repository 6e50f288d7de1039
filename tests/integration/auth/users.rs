//! `longshore user`: the password file without another tool.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use longshore::store::memory::Memory;

use super::{As as _, noticed, replace, settings};
use crate::support::App;

/// Whether the command succeeded, and what it said.
fn user(arguments: &[&str], file: &Path, password: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.env_clear().arg("user").args(arguments).arg("--file").arg(file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the program runs");
    let mut input = process.stdin.take().expect("a pipe");
    // A command that reads no password may have ended.
    let _ = writeln!(input, "{password}");
    drop(input);
    let output = process.wait_with_output().expect("the program ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[tokio::test]
async fn users_are_added_changed_and_removed_while_the_registry_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("users");
    replace(&file, "# ours\n");
    let text = "access.htpasswd_file = '{folder}/users'\naccess.authenticated = 'push'";
    let settings = settings(folder.path(), text);
    let app = App::over_memory(Arc::new(Memory::new()), settings).await;
    let status = async |password: &str| {
        let request = app.get("/v2/a/tags/list").basic("alice", password);
        request.send().await.status.as_u16()
    };
    assert_eq!(status("first canary").await, 401);

    let add = ["add", "alice", "--password-stdin"];
    assert_eq!(user(&add, &file, "first canary"), (true, String::new()));
    noticed().await;
    assert_eq!((status("first canary").await, status("another").await), (404, 401));
    let (done, said) = user(&add, &file, "second canary");
    assert!(!done && said.contains("is there already"), "{said}");

    let passwd = ["passwd", "alice", "--password-stdin"];
    assert_eq!(user(&passwd, &file, "second canary"), (true, String::new()));
    noticed().await;
    assert_eq!((status("first canary").await, status("second canary").await), (401, 404));
    let (done, said) = user(&passwd, &file, &"canary ".repeat(11));
    assert!(!done && said.contains("72 bytes") && !said.contains("canary"), "{said}");

    let (done, said) = user(&["list"], &file, "");
    assert_eq!((done, said.as_str()), (true, "alice (cost 10)\n"));
    assert_eq!(user(&["remove", "alice"], &file, ""), (true, String::new()));
    noticed().await;
    assert_eq!(status("second canary").await, 401);
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "# ours\n");
    let (done, said) = user(&["remove", "alice"], &file, "");
    assert!(!done && said.contains("there is no user alice"), "{said}");
}

#[test]
fn a_new_file_is_for_its_owner_only_and_an_old_one_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("users");
    let mode = || {
        let meta = std::fs::metadata(&file).expect("the file is there");
        meta.permissions().mode() & 0o777
    };
    assert!(user(&["add", "alice", "--password-stdin"], &file, "x").0);
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("changed");
    assert!(user(&["add", "bob", "--password-stdin"], &file, "x").0);
    assert_eq!(mode(), 0o640);
    let (done, said) = user(&["list"], &folder.path().join("absent"), "");
    assert!(!done && said.contains("absent"), "{said}");
}
