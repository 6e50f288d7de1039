//! Changes of the password file, as `longshore user` makes them.
//!
//! A change replaces the file as a whole: a process that stops in the middle leaves the old one,
//! and a registry that reads it at that moment sees the old or the new one. Every other line stays
//! as it is, byte for byte.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Users;
use crate::entropy;

/// The bcrypt cost of the first user. Further users get the cost of the others, because different
/// ones tell which users exist.
const COST: u32 = 10;
/// bcrypt uses no more bytes.
const PASSWORD_BYTES_MAX: usize = 72;
/// Bytes of the name of a user.
const NAME_BYTES_MAX: usize = 255;

/// A change of one user.
#[derive(Clone, Copy)]
pub enum UserChange<'a> {
    /// A user that is not there yet.
    Add { user: &'a str, password: &'a str },
    /// Another password for a user that is there.
    Password { user: &'a str, password: &'a str },
    /// A user that is there.
    Remove { user: &'a str },
}

/// Shows no password.
impl fmt::Debug for UserChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { user, .. } => write!(f, "Add({user:?})"),
            Self::Password { user, .. } => write!(f, "Password({user:?})"),
            Self::Remove { user } => write!(f, "Remove({user:?})"),
        }
    }
}

/// A user in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUser {
    pub name: String,
    /// The bcrypt cost of the password.
    pub cost: u32,
}

/// Changes the file, which a new user creates. Two changes at once wait for each other.
pub fn change_users(path: &Path, change: &UserChange<'_>) -> Result<(), String> {
    // Kubernetes and others replace what a link points at, so the link stays.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let lock = OpenOptions::new().create(true).append(true).open(beside(&path, "lock"));
    let lock = lock.map_err(failed)?;
    lock.lock().map_err(failed)?;
    let old = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let new = changed(&old, change).map_err(|error| format!("{}: {error}", path.display()))?;
    replace(&path, &new).map_err(failed)
}

/// The users of the file, in its order.
pub fn list_users(path: &Path) -> Result<Vec<ListedUser>, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    Users::parse(text.as_bytes()).map_err(|error| format!("{shown}: {error}"))?;
    let users = text.lines().filter_map(user_of);
    let cost = |hash| super::cost(hash).unwrap_or_default();
    Ok(users.map(|(name, hash)| ListedUser { name: name.to_owned(), cost: cost(hash) }).collect())
}

/// The name and the hash in a line.
fn user_of(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') { None } else { line.split_once(':') }
}

/// The contents of the file after a change.
fn changed(old: &str, change: &UserChange<'_>) -> Result<String, String> {
    Users::parse(old.as_bytes())?;
    let (UserChange::Add { user, .. }
    | UserChange::Password { user, .. }
    | UserChange::Remove { user }) = change;
    check_name(user)?;
    let is_theirs = |line: &str| user_of(line).is_some_and(|(name, _)| name == *user);
    let is_there = old.lines().any(is_theirs);
    let line = |password: &str| {
        check_password(password)?;
        let costs = old.lines().filter_map(user_of).filter_map(|(_, hash)| super::cost(hash));
        let hash = bcrypt::hash_with_result(password, costs.max().unwrap_or(COST));
        let hash = hash.map_err(|error| error.to_string())?;
        Ok::<_, String>(format!("{user}:{}", hash.format_for_version(bcrypt::Version::TwoY)))
    };
    match change {
        UserChange::Add { .. } if is_there => Err(format!(
            "the user {user} is there already: `longshore user passwd` changes the password"
        )),
        UserChange::Add { password, .. } => {
            let end = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
            Ok(format!("{old}{end}{}\n", line(password)?))
        }
        UserChange::Password { .. } | UserChange::Remove { .. } if !is_there => {
            Err(format!("there is no user {user}"))
        }
        UserChange::Password { password, .. } => {
            let new = line(password)?;
            let lines = old.split_inclusive('\n').map(|written| {
                let end = &written[written.trim_end_matches(['\r', '\n']).len()..];
                if is_theirs(written) { format!("{new}{end}") } else { written.to_owned() }
            });
            Ok(lines.collect())
        }
        UserChange::Remove { .. } => {
            Ok(old.split_inclusive('\n').filter(|line| !is_theirs(line)).collect())
        }
    }
}

fn check_name(user: &str) -> Result<(), String> {
    let bad = |why: &str| Err(format!("{user:?} cannot be the name of a user: {why}"));
    match user {
        "" => bad("it is empty"),
        _ if user.len() > NAME_BYTES_MAX => bad("it is longer than 255 bytes"),
        _ if user.contains(':') => bad("a colon ends the name in a login"),
        _ if user.chars().any(char::is_control) => bad("it has a control character"),
        _ if user.trim() != user => bad("it begins or ends with a space"),
        _ if user.starts_with('#') => bad("it would begin a comment"),
        _ => Ok(()),
    }
}

/// Says nothing of the password itself.
fn check_password(password: &str) -> Result<(), String> {
    let why = match password {
        "" => "is empty",
        _ if password.contains('\0') => "has a NUL character",
        _ if password.len() > PASSWORD_BYTES_MAX => {
            "is longer than 72 bytes, and bcrypt would ignore the rest"
        }
        _ => return Ok(()),
    };
    Err(format!("the password {why}"))
}

/// A file in the same folder.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(end);
    path.with_file_name(name)
}

/// Replaces the file. A new one is for its owner only; an old one keeps its permissions, and its
/// owner where that is allowed.
fn replace(path: &Path, contents: &str) -> io::Result<()> {
    let new = beside(path, &format!("new-{}", hex::encode(entropy::bytes::<8>())));
    let written = write_new(&new, path, contents).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    // The name is on the disk, too.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_new(new: &Path, old: &Path, contents: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(new)?;
    if let Ok(meta) = fs::metadata(old) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let _ = std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()));
        }
        file.set_permissions(meta.permissions())?;
    }
    file.write_all(contents.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 53 characters that bcrypt could have written.
    const HASH: &str = ".....................................................";

    fn file() -> String {
        format!("# ours\nalice:$2y$04${HASH}\n\n  bob:$2y$04${HASH}\r\n")
    }

    fn after(old: &str, change: &UserChange<'_>) -> Result<String, String> {
        changed(old, change)
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        let old = file();
        let bobs = old.lines().nth(3).expect("a line");
        let added = after(&old, &UserChange::Add { user: "eve", password: "x" }).expect("added");
        assert!(added.starts_with(&old) && added[old.len()..].starts_with("eve:$2y$04$"));
        let change = UserChange::Password { user: "alice", password: "x" };
        let new = after(&old, &change).expect("changed");
        assert!(new.starts_with("# ours\nalice:$2y$04$") && new.ends_with(&format!("{bobs}\r\n")));
        assert_ne!(new, old);
        let removed = after(&old, &UserChange::Remove { user: "bob" }).expect("removed");
        assert_eq!(removed, &old[..old.find("  bob").expect("bob")]);
        let first = after("", &UserChange::Add { user: "eve", password: "x" }).expect("added");
        assert!(first.starts_with("eve:$2y$10$") && first.ends_with('\n'));
        let hash = first.trim_end().split_once(':').expect("a hash").1;
        assert!(bcrypt::verify("x", hash).expect("a hash"));
        let no_end = format!("alice:$2y$04${HASH}");
        let added = after(&no_end, &UserChange::Add { user: "eve", password: "x" }).expect("added");
        assert!(added.starts_with(&format!("{no_end}\neve:")));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let old = file();
        let add = |user, password| after(&old, &UserChange::Add { user, password });
        let too_long = "x".repeat(73);
        for (user, password, expected) in [
            ("alice", "x", "is there already"),
            ("", "x", "it is empty"),
            ("a:b", "x", "a colon"),
            ("a\nb", "x", "a control character"),
            (" a", "x", "begins or ends with a space"),
            ("#a", "x", "begin a comment"),
            ("eve", "", "the password is empty"),
            ("eve", "a\0b", "the password has a NUL"),
            ("eve", too_long.as_str(), "longer than 72 bytes"),
        ] {
            let refused = add(user, password).expect_err("refused");
            assert!(refused.contains(expected), "{refused}");
        }
        assert!(add("eve", &"x".repeat(72)).is_ok());
        for change in [
            UserChange::Password { user: "eve", password: "x" },
            UserChange::Remove { user: "eve" },
        ] {
            assert_eq!(after(&old, &change).expect_err("refused"), "there is no user eve");
        }
        let damaged = after("alice", &UserChange::Remove { user: "alice" });
        assert!(damaged.expect_err("refused").starts_with("line 1: "));
    }

    #[test]
    fn changes_at_once_lose_no_user() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, link) = (folder.path().join("users"), folder.path().join("link"));
        fs::write(&path, "# ours\n").expect("written");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (link, user) = (&link, format!("user-{number}"));
                scope.spawn(move || {
                    let change = UserChange::Add { user: &user, password: "x" };
                    change_users(link, &change).expect("added");
                });
            }
        });
        let users = list_users(&path).expect("a good file");
        assert_eq!(users.len(), 8);
        assert!(users.iter().all(|user| user.cost == COST));
        assert!(fs::read_to_string(&link).expect("read").starts_with("# ours\nuser-"));
        let names = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(names, 3, "the file, its link and its lock");
    }
}
