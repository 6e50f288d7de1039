//! Kills a process that writes to a local folder, again and again. Acknowledged data must exist and
//! be whole; other data must be whole or absent.
//!
//! The process is this test binary, running one of its tests. It prints each write before it starts
//! and after it was acknowledged.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use longshore::oci::RepositoryName;
use longshore::store::local::Local;
use longshore::store::{Error, Location, MultipartId, ObjectStore, Part, Prefix, RecordKey};
use tempfile::tempdir;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{bytes_of, get};

/// The variable with the folder for the child.
const FOLDER: &str = "LONGSHORE_TEST_CRASH_FOLDER";

const ROUNDS: u32 = 20;
const WRITERS: u64 = 3;
const PARTS_MAX: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_a_kill() {
    let folder = tempdir().expect("a temporary folder");
    let mut log = ChildLog::default();
    for round in 0..ROUNDS {
        let lifetime = Duration::from_millis(20 + new_seed() % 130);
        let output = live_and_die(folder.path(), lifetime);
        let new = ChildLog::parse(&output);
        println!("round {round}, {lifetime:?}: {}", new.summary());
        let store = Local::open(folder.path()).expect("the folder opens after a crash");
        new.check(&store).await;
        log.add(new);
    }
    println!("in all: {}", log.summary());
    assert!(log.created.len() > 20 && log.bytes.len() > 20 && log.uploads.len() > 20);
    let store = Local::open(folder.path()).expect("the folder opens");
    log.check(&store).await;
    log.check_listing(&store).await;
}

/// Runs the child for a while after it is ready, kills it, and returns its output.
fn live_and_die(folder: &Path, lifetime: Duration) -> String {
    let (_, name) = module_path!().split_once("::").expect("this is a module of the test binary");
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args([&format!("{name}::child_writes_until_it_is_killed"), "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut text = Vec::new();
    while !text.ends_with(b"ready\n") {
        let read = output.read_until(b'\n', &mut text).expect("the output can be read");
        assert_ne!(read, 0, "the child ended early");
    }
    let reader = std::thread::spawn(move || output.read_to_end(&mut text).map(|_| text));
    std::thread::sleep(lifetime);
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let mut text = reader.join().expect("no panic").expect("the output can be read");
    // An incomplete line is ignored.
    text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    String::from_utf8(text).expect("text")
}

/// A multipart upload that the child has started.
#[derive(Debug, Default)]
struct Upload {
    id: String,
    parts: Vec<(Part, u64)>,
    completed: bool,
}

/// The output of a child. A seed determines the expected content.
#[derive(Debug, Default)]
struct ChildLog {
    created: BTreeMap<String, u64>,
    counted: BTreeMap<String, u64>,
    tried: BTreeMap<String, u64>,
    bytes: BTreeMap<String, u64>,
    uploads: BTreeMap<String, Upload>,
}

impl ChildLog {
    fn parse(output: &str) -> Self {
        let mut log = Self::default();
        for line in output.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |text: &str| text.parse::<u64>().expect("a number");
            match words.as_slice() {
                ["created", key, seed] => {
                    log.created.insert((*key).to_owned(), number(seed));
                }
                ["counted", key, count] => {
                    log.counted.insert((*key).to_owned(), number(count));
                }
                ["tries", location, seed] => {
                    log.tried.insert((*location).to_owned(), number(seed));
                }
                ["bytes", location, seed] => {
                    log.bytes.insert((*location).to_owned(), number(seed));
                }
                ["part", location, id, part, tag, size, seed] => {
                    let upload = log.uploads.entry((*location).to_owned()).or_default();
                    (*id).clone_into(&mut upload.id);
                    let part = u32::try_from(number(part)).expect("a number of a part");
                    let part = Part { number: part, tag: (*tag).to_owned(), size: number(size) };
                    upload.parts.push((part, number(seed)));
                }
                ["completed", location] => {
                    log.uploads.entry((*location).to_owned()).or_default().completed = true;
                }
                _ => {}
            }
        }
        log
    }

    fn add(&mut self, new: Self) {
        self.created.extend(new.created);
        self.counted.extend(new.counted);
        self.tried.extend(new.tried);
        self.bytes.extend(new.bytes);
        self.uploads.extend(new.uploads);
    }

    fn summary(&self) -> String {
        let completed = self.uploads.values().filter(|upload| upload.completed).count();
        format!(
            "{} entries, {:?} counted, {} of {} bytes, {completed} of {} uploads",
            self.created.len(),
            self.counted.values(),
            self.bytes.len(),
            self.tried.len(),
            self.uploads.len()
        )
    }

    async fn check(&self, store: &dyn ObjectStore) {
        self.check_entries(store).await;
        for (location, seed) in &self.tried {
            let location: Location = location.parse().expect("a location");
            match get(store, &location).await {
                Ok(read) => assert!(read == content(*seed), "{location} is not whole"),
                Err(Error::NotFound) => {
                    let acknowledged = self.bytes.contains_key(&location.to_string());
                    assert!(!acknowledged, "{location} was acknowledged and is lost");
                }
                Err(other) => panic!("{location}: {other}"),
            }
        }
        for (location, upload) in &self.uploads {
            let location: Location = location.parse().expect("a location");
            let (parts, seeds): (Vec<Part>, Vec<u64>) = upload.parts.iter().cloned().unzip();
            if !upload.completed {
                // The upload can be completed, whether or not the child had asked for that.
                let id = MultipartId(upload.id.clone());
                store.complete(&location, &id, &parts).await.expect("acknowledged parts are kept");
            }
            let expected = seeds.iter().map(|seed| content(*seed)).collect::<Vec<_>>().concat();
            let read = get(store, &location).await.expect("what is complete can be read");
            assert!(read == expected, "{location} is not whole");
        }
    }

    async fn check_entries(&self, store: &dyn ObjectStore) {
        for (key, seed) in &self.created {
            let entry = store.read(&key.parse().expect("a key")).await;
            let entry = entry.unwrap_or_else(|error| panic!("{key} was acknowledged: {error}"));
            assert!(entry.body == content(*seed), "{key} is not whole");
        }
        for (key, count) in &self.counted {
            let entry = store.read(&key.parse().expect("a key")).await.expect("acknowledged");
            let found = str::from_utf8(&entry.body).expect("text").parse::<u64>();
            let found = found.expect("a number");
            assert!(found >= *count, "{key} went back from {count} to {found}");
        }
    }

    /// Data that was not acknowledged may exist, but then it is whole and listed.
    async fn check_listing(&self, store: &dyn ObjectStore) {
        let mut listed = 0;
        let prefix = Prefix::Tags(repository());
        let mut after = None;
        loop {
            let page = store.list(&prefix, after.as_deref(), 1_000).await.expect("listed");
            listed += page.rows.len();
            for row in &page.rows {
                let entry = store.read(&row.key.parse().expect("a key")).await.expect("listed");
                let (_, seed) = row.key.rsplit_once("/s").expect("tags are made from seeds");
                assert!(entry.body == content(seed.parse().expect("a seed")), "{}", row.key);
                assert_eq!(row.size, entry.body.len() as u64);
            }
            let Some(last) = page.rows.last().filter(|_| page.more) else { break };
            after = last.key.strip_prefix(&prefix.to_string()).map(ToOwned::to_owned);
        }
        assert!(listed >= self.created.len(), "{listed} of {} listed", self.created.len());
    }
}

/// Up to 60 KB of data, derived from a seed.
fn content(seed: u64) -> bytes::Bytes {
    let length = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 60_000;
    bytes_of(seed, usize::try_from(length).expect("it is small"))
}

fn repository() -> RepositoryName {
    "crash".parse().expect("a name")
}

/// Not a test: returns at once unless the test above runs it.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "it is how the parent speaks to its child")]
async fn child_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    write_for_ever(folder).await;
}

async fn write_for_ever(folder: OsString) {
    let store: Arc<dyn ObjectStore> = Arc::new(Local::open(folder).expect("the folder opens"));
    // The test harness has started a line with the name of this test.
    say("\nready");
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(create_entries(Arc::clone(&store)));
        writers.spawn(count_up(Arc::clone(&store), writer));
        writers.spawn(put_bytes(Arc::clone(&store)));
        writers.spawn(upload_parts(Arc::clone(&store)));
    }
    writers.join_all().await;
}

/// One write, so that lines are never mixed.
fn say(line: &str) {
    io::stdout().write_all(format!("{line}\n").as_bytes()).expect("the parent listens");
    io::stdout().flush().expect("the parent listens");
}

fn new_seed() -> u64 {
    // The lower half of such an id is random except for its two highest bits.
    Uuid::now_v7().as_u64_pair().1 & (u64::MAX >> 2)
}

async fn create_entries(store: Arc<dyn ObjectStore>) {
    loop {
        let seed = new_seed();
        let key = RecordKey::Tag(repository(), format!("s{seed}").parse().expect("a tag"));
        store.create(&key, content(seed), None).await.expect("created");
        say(&format!("created {key} {seed}"));
    }
}

async fn count_up(store: Arc<dyn ObjectStore>, writer: u64) {
    let name = format!("counter/{writer}").parse().expect("a name");
    let key = RecordKey::Repository(name);
    let (mut count, mut version) = match store.read(&key).await {
        Ok(entry) => {
            let count = str::from_utf8(&entry.body).expect("text").parse::<u64>();
            (count.expect("a number"), entry.version)
        }
        Err(Error::NotFound) => (0, store.create(&key, "0".into(), None).await.expect("created")),
        Err(other) => panic!("{other}"),
    };
    loop {
        count += 1;
        let body = count.to_string().into();
        version =
            store.replace(&key, &version, body, None).await.expect("no other writer increments");
        say(&format!("counted {key} {count}"));
    }
}

async fn put_bytes(store: Arc<dyn ObjectStore>) {
    loop {
        let (seed, location) = (new_seed(), Location::new_unique(store.now()));
        say(&format!("tries {location} {seed}"));
        store.put(&location, content(seed), None).await.expect("written");
        say(&format!("bytes {location} {seed}"));
    }
}

async fn upload_parts(store: Arc<dyn ObjectStore>) {
    loop {
        let location = Location::new_unique(store.now());
        let id = store.start(&location).await.expect("started");
        let mut parts = Vec::new();
        // Sometimes only one part, which is stored in another way than several.
        for number in 1..=u32::try_from(1 + new_seed() % PARTS_MAX).expect("it is small") {
            let seed = new_seed();
            let part = store.put_part(&location, &id, number, content(seed)).await.expect("taken");
            say(&format!("part {location} {} {number} {} {} {seed}", id.0, part.tag, part.size));
            parts.push(part);
        }
        store.complete(&location, &id, &parts).await.expect("completed");
        say(&format!("completed {location}"));
    }
}
