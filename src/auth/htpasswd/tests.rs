use std::sync::Arc;

use super::*;

const COST: u32 = 4;

fn file(users: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    write(&path, users);
    (folder, path)
}

fn write(path: &PathBuf, users: &[(&str, &str)]) {
    let line = |(user, password): &(&str, &str)| {
        format!("{user}:{}\n", bcrypt::hash(password, COST).unwrap())
    };
    std::fs::write(path, users.iter().map(line).collect::<String>()).unwrap();
}

#[tokio::test]
async fn only_the_password_of_the_user_is_verified() {
    let (_folder, path) = file(&[("alice", "secret"), ("bob", "pässword:x")]);
    let users = Htpasswd::open(path, &Metrics::default()).unwrap();
    for (user, password, expected) in [
        ("alice", "secret", true),
        ("alice", "secret", true),
        ("alice", "Secret", false),
        ("alice", "", false),
        ("bob", "secret", false),
        ("bob", "pässword:x", true),
        ("carol", "secret", false),
        ("", "secret", false),
        // bcrypt takes the second for the first, repeated.
        ("alice", "secret\0secret", false),
    ] {
        assert_eq!(users.check(user, password, None).await, Ok(expected), "{user} {password}");
    }
    assert_eq!(users.check("alice", &"x".repeat(5000), None).await, Ok(false));
}

#[tokio::test]
async fn a_changed_line_ends_a_cached_login() {
    let (_folder, path) = file(&[("alice", "old"), ("bob", "b")]);
    let users = Htpasswd::open(path.clone(), &Metrics::default()).unwrap();
    assert_eq!(users.check("alice", "old", None).await, Ok(true));
    assert_eq!(users.check("alice", "new", None).await, Ok(false));
    write(&path, &[("alice", "new")]);
    users.users.check_now();
    assert_eq!(users.check("alice", "old", None).await, Ok(false));
    assert_eq!(users.check("alice", "new", None).await, Ok(true));
    assert_eq!(users.check("bob", "b", None).await, Ok(false));
}

#[test]
fn only_bcrypt_is_accepted_and_no_error_shows_a_hash() {
    let good = format!("$2y$10${}", "a".repeat(53));
    for (line, expected) in [
        (format!("alice:{good}"), None),
        (format!("# comment\n\nalice:{good}\r\n"), None),
        ("alice:$apr1$abc$canary".to_owned(), Some("line 1: is not a bcrypt hash")),
        ("alice:{SHA}canary".to_owned(), Some("line 1: is not a bcrypt hash")),
        (format!("alice:$2y$31${}", "a".repeat(53)), Some("line 1: is not a bcrypt hash")),
        (format!("alice:$2y$10$canary{}", "a".repeat(46)), Some("line 1: is not a bcrypt hash")),
        ("canary".to_owned(), Some("line 1: is not a name")),
        (format!(":{good}"), Some("line 1: has no name")),
        (format!("a:{good}\na:{good}"), Some("line 2: names a user for the second time")),
    ] {
        let error = Users::parse(line.as_bytes()).err();
        assert_eq!(error.is_some(), expected.is_some(), "{line}");
        if let (Some(error), Some(expected)) = (error, expected) {
            assert!(error.starts_with(expected) && !error.contains("canary"), "{error}");
        }
    }
}

/// bcrypt accepts the hash for unknown users, or the time would reveal which users exist.
#[test]
fn an_unknown_user_costs_as_much_as_a_known_one() {
    let users = Users::parse(format!("a:$2y$06${}", "a".repeat(53)).as_bytes()).unwrap();
    assert_eq!(cost(&users.unknown_user), Some(6));
    assert!(matches!(bcrypt::verify("x", &users.unknown_user), Ok(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_client_does_not_delay_other_clients() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    let hash = bcrypt::hash("secret", 10).unwrap();
    std::fs::write(&path, format!("alice:{hash}\nbob:{hash}\n")).unwrap();
    let users = Arc::new(Htpasswd::open(path, &Metrics::default()).unwrap());
    assert_eq!(users.check("alice", "secret", None).await, Ok(true));

    let mut flood = tokio::task::JoinSet::new();
    for number in 0..2000 {
        let users = users.clone();
        flood.spawn(async move {
            users.check("alice", &format!("wrong {number}"), Some([192, 0, 2, 1].into())).await
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Cached, so it needs no turn, although the flood guesses this user from the same address.
    let begun = Instant::now();
    assert_eq!(users.check("alice", "secret", Some([192, 0, 2, 1].into())).await, Ok(true));
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    // Another client, for the first time. One of the first may share the queue of the flood.
    let mut served = 0;
    for last in 2..6 {
        let client = Some([198, 51, 100, last].into());
        served += usize::from(users.check("bob", "secret", client).await == Ok(true));
    }
    assert!(served >= 3, "{served}");
    // Most of the flood was refused at once and did not wait.
    let mut refused = 0;
    flood.abort_all();
    while let Some(ended) = flood.join_next().await {
        refused += usize::from(matches!(ended, Ok(Err(TooManyAttempts))));
    }
    assert!(refused > 1500, "{refused}");
}

/// A client needs no credentials to send wrong passwords from many addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_from_many_clients_delays_nobody_who_was_right_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    let write = |cost| {
        let lines = ["alice", "bob"]
            .map(|user| format!("{user}:{}\n", bcrypt::hash(format!("{user}-pw"), cost).unwrap()));
        std::fs::write(&path, lines.concat()).unwrap();
    };
    write(4);
    let users = Arc::new(Htpasswd::open(path.clone(), &Metrics::default()).unwrap());
    let (home, elsewhere) = (Some([192, 0, 2, 1].into()), Some([192, 0, 2, 2].into()));
    assert_eq!(users.check("alice", "alice-pw", home).await, Ok(true));
    assert_eq!(users.check("bob", "bob-pw", home).await, Ok(true));
    // The hashes are others, so no login is cached.
    write(10);
    users.users.check_now();

    let ended = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..300_u16 {
        let (users, ended) = (users.clone(), ended.clone());
        let [high, low] = number.to_be_bytes();
        flood.spawn(async move {
            let client = Some([203, 0, high, low].into());
            let checked = users.check("mallory", &format!("wrong {number}"), client).await;
            ended.fetch_add(usize::from(checked.is_ok()), std::sync::atomic::Ordering::Relaxed);
            checked
        });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = ended.load(std::sync::atomic::Ordering::Relaxed);
    // A known client, and a known user of another one.
    assert_eq!(users.check("alice", "alice-pw", home).await, Ok(true));
    assert_eq!(users.check("bob", "bob-pw", elsewhere).await, Ok(true));
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let verified = ended.load(std::sync::atomic::Ordering::Relaxed) - before;
    assert!(verified <= 4 * processors, "{verified} wrong passwords were verified before");
    // Nothing waits for long: what has no turn within two seconds is refused.
    let flood = flood.join_all().await;
    assert!(flood.contains(&Err(TooManyAttempts)));
    assert!(!flood.contains(&Ok(true)));
}
