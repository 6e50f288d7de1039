//! Each kind of call fails in each way, at each step of a whole push and pull. Then many calls fail
//! at random, with seeds that a failed test prints.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longshore::config::Settings;
use longshore::store::memory::{Fault, FaultKind, Memory, Operation, Reported};

use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::persistent::{Flow, Persistent};
use crate::support::{App, bytes, sha256};

/// Small parts: a few hundred kilobytes are a large blob.
const PART_BYTES: u64 = 64 * 1024;

const OPERATIONS: [Operation; 11] = [
    Operation::Read,
    Operation::Create,
    Operation::Replace,
    Operation::List,
    Operation::Put,
    Operation::Get,
    Operation::Delete,
    Operation::Start,
    Operation::PutPart,
    Operation::Complete,
    Operation::Abort,
];

const KINDS: [FaultKind; 4] = [
    FaultKind::FailBefore,
    FaultKind::FailAfter(Reported::Conflict),
    FaultKind::FailAfter(Reported::Unavailable),
    FaultKind::TruncateBody(100),
];

/// A registry with small parts over a store that accepts them.
async fn small_parts() -> (Arc<Memory>, App) {
    let memory = Arc::new(Memory::new().with_part_bytes_min(PART_BYTES));
    let mut settings = Settings::default();
    settings.uploads.part_bytes = 64 * 1024;
    settings.uploads.inline_bytes = 4 * 1024;
    let app = App::over_memory(memory.clone(), settings).await;
    (memory, app)
}

/// The pushed content: every path with its expected bytes.
#[derive(Debug, Default)]
struct Pushed {
    contents: Vec<(String, Vec<u8>)>,
}

impl Pushed {
    async fn blob(&mut self, client: &Persistent, name: &str, content: &[u8], flow: Flow) {
        let digest = client.push_blob(name, content, flow).await;
        self.contents.push((format!("/v2/{name}/blobs/{digest}"), content.to_vec()));
    }

    async fn manifest(&mut self, client: &Persistent, name: &str, tag: &str, manifest: &[u8]) {
        let by_tag = format!("/v2/{name}/manifests/{tag}");
        client.push_manifest(&by_tag, OCI_MANIFEST, manifest).await;
        let by_digest = format!("/v2/{name}/manifests/{}", sha256(manifest));
        self.contents.push((by_tag, manifest.to_vec()));
        self.contents.push((by_digest, manifest.to_vec()));
    }
}

/// Pushes an image in every flow, with an existing blob, a mount and a referrer.
async fn push_everything(client: &Persistent, seed: u64) -> Pushed {
    let mut pushed = Pushed::default();
    let config = bytes(seed, 2_000);
    let layers = [bytes(seed + 1, 150_000), bytes(seed + 2, 300_000), bytes(seed + 3, 50_000)];
    pushed.blob(client, "a", &config, Flow::Patch).await;
    pushed.blob(client, "a", &layers[0], Flow::Put).await;
    pushed.blob(client, "a", &layers[1], Flow::Chunks(90_000)).await;
    pushed.blob(client, "a", &layers[2], Flow::Post).await;
    pushed.blob(client, "b", &layers[1], Flow::Patch).await;
    let image = image_manifest(&config, &layers);
    pushed.manifest(client, "a", "v1", &image).await;
    pushed.manifest(client, "a", "v1", &image).await;

    let digest = sha256(&layers[0]);
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    let mounted = client.ask("POST", &mount, &[], &[]).await;
    assert_eq!(mounted.status.as_u16(), 201, "what is there can be mounted: {mounted:?}");
    pushed.contents.push((format!("/v2/b/blobs/{digest}"), layers[0].clone()));

    let mut referrer: serde_json::Value =
        serde_json::from_slice(&image_manifest(&config, &layers[2..])).expect("JSON");
    let subject = sha256(&image);
    referrer["subject"] =
        serde_json::json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": image.len() });
    let referrer = serde_json::to_vec(&referrer).expect("JSON");
    pushed.manifest(client, "a", "signature", &referrer).await;

    // This data is written to the location of the blob before the last request.
    pushed.blob(client, "b", &layers[2], Flow::Patch).await;
    pushed.blob(client, "b", &bytes(seed + 4, 40_000), Flow::Patch).await;
    pushed.blob(client, "b", &bytes(seed + 5, 170_000), Flow::Pieces(50_000)).await;
    pushed
}

/// Asserts that all acknowledged content exists and is listed.
async fn pull_everything(client: &Persistent, pushed: &Pushed) {
    for (path, content) in &pushed.contents {
        assert!(client.pull(path).await == *content, "{path} has changed");
        client.ask("HEAD", path, &[], &[]).await.expect(200);
    }
    let subject = sha256(&pushed.contents[5].1);
    for (path, expected) in [
        ("/v2/_catalog".to_owned(), "\"a\"".to_owned()),
        ("/v2/a/tags/list".to_owned(), "\"v1\"".to_owned()),
        (format!("/v2/a/referrers/{subject}"), OCI_MANIFEST.to_owned()),
    ] {
        let list = client.pull(&path).await;
        let list = String::from_utf8(list).expect("text");
        assert!(list.contains(&expected), "{path}: {list}");
    }
}

async fn delete_everything(client: &Persistent, pushed: &Pushed) {
    for path in ["/v2/a/manifests/v1".to_owned()]
        .into_iter()
        .chain(pushed.contents.iter().map(|(path, _)| path.clone()))
    {
        let before = client.troubles.lock().expect("no panic").len();
        let status = client.ask("DELETE", &path, &[], &[]).await.status.as_u16();
        let troubled = client.troubles.lock().expect("no panic").len() > before;
        // Content that was deleted by tag, twice, or by a request whose response was lost, is gone.
        let again = path.contains("/manifests/");
        assert!(status == 202 || status == 404 && (again || troubled), "{status} {path}");
        assert_eq!(client.ask("GET", &path, &[], &[]).await.status.as_u16(), 404, "{path}");
    }
}

/// Locations of data that no live record names.
fn unnamed(memory: &Memory) -> Vec<(String, u64)> {
    let mut named = BTreeSet::new();
    for (_, body) in memory.records() {
        let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let Ok(header) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        let of_session = [&header["multipart"]["location"], &header["single_object"]];
        for location in of_session.into_iter().chain([&header["location"]]) {
            named.extend(location.as_str().map(str::to_owned));
        }
    }
    let mut objects = memory.data_objects();
    objects.retain(|(location, _)| !named.contains(location));
    objects
}

/// Orphaned data is the outcome of exactly these cases:
///
/// 1. *Written, then not committed.* A blob smaller than a part is written at once, and no session
///    names its location: if the write, the pointer or the link after it fails, the client starts
///    again at another location.
/// 2. *The duplicate.* The registry deletes the duplicate of existing content after the response,
///    and does not retry if that fails.
///
/// 3. *The former object.* The response to the write with which a session stops naming its single
///    object, or ends, is lost for good: no request may conclude that the object is not needed.
///
/// The collector can find them by their age in the key, `d/<day>/`. A single fault leaves one
/// object at most.
fn assert_leftovers(memory: &Memory, fault: Option<(Operation, FaultKind)>, case: &str) {
    let left = unnamed(memory);
    let explained = match fault {
        Some((Operation::Put, FaultKind::FailAfter(_)))
        | Some((Operation::Create, _) | (Operation::Read, _))
        | Some((Operation::Replace, FaultKind::FailAfter(Reported::Unavailable)))
        | Some((Operation::Delete, FaultKind::FailBefore)) => 1,
        Some(_) => 0,
        None => usize::MAX,
    };
    assert!(left.len() <= explained, "{case} leaves {left:?}");
}

async fn run(inject: impl FnOnce(&Memory), seed: u64) -> (Arc<Memory>, Persistent) {
    let (memory, app) = small_parts().await;
    inject(&memory);
    let client = Persistent::new([app.client.clone()]);
    let pushed = push_everything(&client, seed).await;
    pull_everything(&client, &pushed).await;
    app.settled().await;
    memory.heal();
    pull_everything(&client, &pushed).await;
    (memory, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_faults_nothing_is_orphaned_and_nothing_is_retried() {
    let (memory, client) = run(|_| {}, 1).await;
    assert_eq!(*client.troubles.lock().expect("no panic"), Vec::<String>::new());
    assert_eq!(unnamed(&memory), []);
    assert_eq!(memory.open_multiparts(), 0);
    assert_eq!(memory.data_objects().len(), 5);
}

/// Whether this kind of fault has a different effect on this operation than every other kind.
fn differs(operation: Operation, kind: FaultKind) -> bool {
    match kind {
        FaultKind::TruncateBody(_) => {
            matches!(operation, Operation::Read | Operation::Get)
        }
        FaultKind::FailAfter(Reported::Conflict) => {
            matches!(operation, Operation::Create | Operation::Replace)
        }
        _ => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_and_pulls_survive_each_single_fault() {
    let (mut cases, mut troubled) = (0, 0);
    for operation in OPERATIONS {
        for kind in KINDS.into_iter().filter(|kind| differs(operation, *kind)) {
            for spared in [0, 1, 2, 3, 5, 8, 13, 21] {
                let spare = match kind {
                    FaultKind::TruncateBody(_) => FaultKind::TruncateBody(u64::MAX),
                    _ => FaultKind::Delay(Duration::ZERO),
                };
                let inject = |memory: &Memory| {
                    memory.inject(Fault::on(operation, spare).times(spared));
                    memory.inject(Fault::on(operation, kind));
                };
                let case = format!("{operation:?} number {spared} {kind:?}");
                let (memory, client) = run(inject, 1).await;
                let troubles = client.troubles.lock().expect("no panic").clone();
                let misled = troubles.iter().find(|trouble| trouble.starts_with("404"));
                assert!(misled.is_none(), "{case}: {troubles:?}");
                assert_leftovers(&memory, Some((operation, kind)), &case);
                cases += 1;
                troubled += u32::from(!troubles.is_empty());
            }
        }
    }
    println!("{cases} cases, {troubled} of which the client noticed");
    assert!(troubled > 60, "the faults do not strike");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_and_pulls_survive_many_random_faults() {
    let mut left = 0;
    for seed in 1..=40 {
        let inject = |memory: &Memory| {
            for (index, operation) in OPERATIONS.into_iter().enumerate() {
                let kind = KINDS[(seed as usize + index) % KINDS.len()];
                memory.inject(Fault::on(operation, kind).chance(seed * 100 + index as u64, 150));
            }
        };
        let (memory, client) = run(inject, seed).await;
        let troubles = client.troubles.lock().expect("no panic").len();
        left += unnamed(&memory).len();
        println!("seed {seed}: {troubles} troubles, {} unnamed", unnamed(&memory).len());
        assert!(troubles > 0, "seed {seed}: no fault struck");
        // Each is the outcome of a fault that the client saw, or of a deletion that failed.
        assert!(unnamed(&memory).len() <= troubles + 2, "seed {seed}: {:?}", unnamed(&memory));
    }
    println!("{left} unnamed in all");
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_survive_faults() {
    for seed in 1..=20 {
        let (memory, app) = small_parts().await;
        let client = Persistent::new([app.client.clone()]);
        let pushed = push_everything(&client, seed).await;
        for (index, operation) in OPERATIONS.into_iter().enumerate() {
            let kind = KINDS[(seed as usize + index) % KINDS.len()];
            memory.inject(Fault::on(operation, kind).chance(seed * 100 + index as u64, 200));
        }
        delete_everything(&client, &pushed).await;
        memory.heal();
        assert_eq!(
            client.ask("GET", "/v2/a/tags/list", &[], &[]).await.json()["tags"],
            serde_json::json!([])
        );
    }
}
