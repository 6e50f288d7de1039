//! `kill -9` at the worst moments. Acknowledged content exists afterwards, and uploads can be
//! resumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{SMALL_PARTS, bucket};
use crate::support::app::{OCI_MANIFEST, image_manifest};
use crate::support::http::Client;
use crate::support::persistent::{Flow, Persistent};
use crate::support::process::Process;
use crate::support::{bytes, sha256};

const MIB: usize = 1024 * 1024;

/// Starts an upload at the first process, kills it in the middle of a chunk of several parts, and
/// finishes the upload at the process that `next` starts.
async fn killed_in_the_middle(first: Process, next: impl FnOnce() -> Process) {
    let content = bytes(1, 40 * MIB);
    let client = first.client();
    let start = client.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202).location();
    let acknowledged = 11 * MIB;
    let patch = client.request("PATCH", &start).body(content[..acknowledged].to_vec());
    let location = patch.send().await.expect(202).location();

    let rest: Vec<Bytes> =
        content[acknowledged..].chunks(MIB).map(Bytes::copy_from_slice).collect();
    let slowly = stream::iter(rest).then(|chunk| async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        chunk
    });
    // A body must be `Sync`.
    let slowly = sync(slowly);
    let range = format!("{acknowledged}-{}", content.len() - 1);
    let doomed = client.request("PATCH", &location).header("content-range", range).stream(slowly);
    let doomed = doomed.try_send();
    let kill = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        first.kill();
    };
    let (doomed, ()) = tokio::join!(doomed, kill);
    doomed.expect_err("the process is gone");

    let second = next();
    let client = second.client();
    let status = client.request("GET", &location).send().await.expect(204);
    let last = status.header("range").and_then(|range| range.strip_prefix("0-"));
    let stands = last.and_then(|last| last.parse::<usize>().ok()).expect("a range") + 1;
    assert!(stands >= acknowledged, "{stands} of {acknowledged} acknowledged bytes are left");
    println!("{stands} bytes were durable, {acknowledged} acknowledged");
    let range = format!("{stands}-{}", content.len() - 1);
    let patch = client.request("PATCH", &status.location()).header("content-range", range);
    let location = patch.body(content[stands..].to_vec()).send().await.expect(202).location();
    let close = format!("{location}?digest={}", sha256(&content));
    client.request("PUT", &close).send().await.expect(201);
    let blob = format!("/v2/a/blobs/{}", sha256(&content));
    assert!(client.request("GET", &blob).send().await.expect(200).body == content);
}

/// A stream that is fed by its own task.
fn sync(
    stream: impl futures_util::Stream<Item = Bytes> + Send + 'static,
) -> impl futures_util::Stream<Item = Bytes> + Send + Sync + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio_util::task::TaskTracker::new().spawn(async move {
        let mut stream = Box::pin(stream);
        while let Some(chunk) = stream.next().await {
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_to_a_folder_continues_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = Process::folder(folder.path(), &[SMALL_PARTS]);
    killed_in_the_middle(first, || Process::folder(folder.path(), &[SMALL_PARTS])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_to_a_bucket_continues_at_another_process() {
    let Some(store) = bucket("an upload that another process goes on with") else { return };
    let first = Process::serve(&store, &[SMALL_PARTS]);
    let second = Process::serve(&store, &[SMALL_PARTS]);
    killed_in_the_middle(first, || second).await;
}

/// Pushes images until it fails, and returns the acknowledged ones.
async fn push_images(client: Arc<Persistent>, name: String, ends: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut seed = u64::from(name.as_bytes()[0]) * 1_000_000;
    while !ends.load(Ordering::SeqCst) {
        seed += 10;
        let config = bytes(seed, 500);
        let layers = [bytes(seed + 1, 200_000), bytes(seed + 2, 6 * MIB)];
        client.push_blob(&name, &config, Flow::Patch).await;
        client.push_blob(&name, &layers[0], Flow::Put).await;
        client.push_blob(&name, &layers[1], Flow::Chunks(4 * MIB)).await;
        let manifest = image_manifest(&config, &layers);
        let path = format!("/v2/{name}/manifests/s{seed}");
        client.push_manifest(&path, OCI_MANIFEST, &manifest).await;
        acknowledged.push(path);
    }
    acknowledged
}

/// Pulls an image and verifies every digest.
async fn pull_image(client: &Client, name: &str, path: &str) {
    let manifest = client.request("GET", path).send().await.expect(200);
    let json = manifest.json();
    let layers = json["layers"].as_array().expect("layers").iter();
    for descriptor in layers.chain([&json["config"]]) {
        let digest = descriptor["digest"].as_str().expect("a digest");
        let blob = client.request("GET", &format!("/v2/{name}/blobs/{digest}")).send().await;
        assert_eq!(sha256(&blob.expect(200).body), digest, "{path}");
    }
}

/// Kills the serving process again and again while clients push.
async fn killed_again_and_again(kills: u64, serve: impl Fn() -> Process) {
    let mut process = serve();
    let client = Persistent::new([process.client()]).pausing(Duration::from_millis(100));
    let client = Arc::new(client);
    let ends = Arc::new(AtomicBool::new(false));
    let mut pushing = tokio::task::JoinSet::new();
    for name in ["a", "b"] {
        let (client, ends) = (client.clone(), ends.clone());
        pushing.spawn(async move { (name, push_images(client, name.to_owned(), ends).await) });
    }
    let moments = bytes(u64::from(std::process::id()), 2 * 1024);
    println!("the moments follow from the seed {}", std::process::id());
    for kill in 0..kills {
        let moment = u64::from(moments[usize::try_from(kill).expect("few")]) * 4;
        tokio::time::sleep(Duration::from_millis(100 + moment)).await;
        process.kill();
        process = serve();
        client.talk_to([process.client()]);
    }
    ends.store(true, Ordering::SeqCst);
    let pushed = pushing.join_all().await;
    process.kill();
    let process = serve();
    let mut images = 0;
    for (name, paths) in &pushed {
        for path in paths {
            pull_image(&process.client(), name, path).await;
            images += 1;
        }
        let tags = process.client();
        let tags = tags.request("GET", &format!("/v2/{name}/tags/list")).send().await.expect(200);
        assert!(tags.json()["tags"].as_array().expect("tags").len() >= paths.len());
    }
    let troubles = client.troubles.lock().expect("no panic").len();
    println!("{images} images, {troubles} requests that failed");
    assert!(images > 1 && troubles > 2, "nothing was put to the test");
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_pushes_to_a_folder_survive_twenty_kills() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    killed_again_and_again(20, || Process::folder(folder.path(), &[SMALL_PARTS])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_pushes_to_a_bucket_survive_kills() {
    let Some(store) = bucket("pushes that survive kills") else { return };
    killed_again_and_again(10, || Process::serve(&store, &[SMALL_PARTS])).await;
}
