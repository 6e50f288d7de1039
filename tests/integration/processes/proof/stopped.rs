//! Frontends that are stopped between the lease and the write that relies on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;

use super::cluster::Cluster;
use super::images::{Image, content};
use crate::support::app::OCI_MANIFEST;
use crate::support::http::{Client, Reply};
use crate::support::persistent::Flow;
use crate::support::process::Process;
use crate::support::sha256;

/// What a deleted record leaves.
const TOMBSTONE_BYTES: u64 = 36;
/// More than the grace and the write deadline.
const STOPPED_FOR: Duration = Duration::from_secs(13);
/// Until then two collections have ended, even on a machine that does much else. After 30 s
/// the frontends would not wait for their answers any more.
const STOPPED_MAX: Duration = Duration::from_secs(25);

/// The records that were to be written after a deadline, in the writes that the store refused. The
/// probe of each process writes one, too.
pub(super) fn late_writes(cluster: &Cluster) -> Vec<String> {
    let mut keys = cluster.proxy.too_late();
    keys.retain(|key| ["/m/", "/l/", "/p/"].iter().any(|kind| key.contains(kind)));
    keys
}

/// Stops each frontend in the middle of other requests, and lets them go on when what the requests
/// rely on was collected. Returns images that were pushed afterwards.
pub(super) async fn round(cluster: &Arc<Cluster>, round: u64) -> Vec<Image> {
    let clients: Vec<Client> =
        cluster.with_frontends(|all| all.iter().map(Process::client).collect());
    let seed = 10_000 * round;
    // One blob, so that the frontend has all answers on which the manifest relies. No other round
    // pushes it.
    let image = Image {
        config: (200_000 + seed, 150_000),
        layers: Vec::new(),
        ..Image::new("manifest", seed)
    };
    cluster.client.push_blob("manifest", &content(image.config), Flow::Put).await;
    let mounted = (200_001 + seed, 150_000);
    cluster.client.push_blob("source", &content(mounted), Flow::Put).await;
    let [whole, chunked] = [200_002, 200_003].map(|number| content((number + seed, 100_000)));
    let location = begin_upload(&clients[2], &chunked).await;
    let before = late_writes(cluster).len();

    // The manifest relies on a link, the mount and the pushes on data.
    let mut link = cluster.proxy.hold(Method::GET, "/l/manifest/");
    let mut found = cluster.proxy.hold(Method::HEAD, "/d/");
    let mut data = cluster.proxy.hold(Method::PUT, "/d/");
    let mut session = cluster.proxy.hold(Method::PUT, "/u/");
    let requests = async {
        tokio::join!(
            put_manifest(&clients[0], &image),
            mount(&clients[0], mounted),
            push(&clients[1], &whole),
            finish(&clients[2], &location, &chunked),
        )
    };
    let others = async {
        tokio::join!(link.reached(), found.reached(), data.reached(), session.reached());
        cluster.with_frontends(|all| all.iter().for_each(Process::stop));
        for held in [link, found, data, session] {
            held.release();
        }
        let began = Instant::now();
        while began.elapsed() < STOPPED_FOR || is_linked(cluster, &image).await {
            assert!(began.elapsed() < STOPPED_MAX, "the blob of the manifest was not collected");
            let collected = cluster.run(&["gc"]);
            assert_eq!(collected.status.code(), Some(0), "{}", collected.stderr);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        cluster.with_frontends(|all| all.iter().for_each(Process::resume));
    };
    let (replies, ()) = tokio::join!(requests, others);
    let (put, mount, push, finish) = replies;
    let statuses = [&put, &mount, &push, &finish].map(|reply| reply.status.as_u16());
    let refused = late_writes(cluster).split_off(before);
    println!("round {round}: {statuses:?}; refused: {refused:?}");
    // Had they been acknowledged, what they name would be missing.
    assert!(matches!(put.status.as_u16(), 400 | 503), "{put:?}");
    assert!(matches!(mount.status.as_u16(), 202 | 503), "{mount:?}");
    for late in ["/m/manifest/", "/l/mounted/", "/p/"] {
        assert!(refused.iter().any(|key| key.contains(late)), "no {late} in {refused:?}");
    }
    let blob = format!("/v2/manifest/blobs/{}", sha256(&content(image.config)));
    for absent in [image.by_tag(), blob] {
        clients[1].request("GET", &absent).send().await.expect(404);
    }

    // The clients repeat what has failed, and then it is there.
    image.push(&cluster.client, cluster.times, Duration::ZERO, None).await;
    vec![image]
}

/// Whether the bucket has the link of the blob, and not its tombstone.
async fn is_linked(cluster: &Cluster, image: &Image) -> bool {
    let digest = sha256(&content(image.config));
    let hex = digest.trim_start_matches("sha256:");
    let links = cluster.raw.objects().await.into_iter();
    let mut links =
        links.filter(|(key, _)| key.starts_with("v1/l/manifest/") && key.ends_with(hex));
    links.any(|(_, size)| size > TOMBSTONE_BYTES)
}

async fn put_manifest(client: &Client, image: &Image) -> Reply {
    let put = client.request("PUT", &image.by_tag()).header("content-type", OCI_MANIFEST);
    put.body(image.manifest()).send().await
}

async fn mount(client: &Client, blob: (u64, usize)) -> Reply {
    let digest = sha256(&content(blob));
    let path = format!("/v2/mounted/blobs/uploads/?mount={digest}&from=source");
    client.request("POST", &path).send().await
}

async fn push(client: &Client, content: &[u8]) -> Reply {
    let path = format!("/v2/pushed/blobs/uploads/?digest={}", sha256(content));
    client.request("POST", &path).body(content.to_vec()).send().await
}

async fn begin_upload(client: &Client, content: &[u8]) -> String {
    let begun = client.request("POST", "/v2/chunked/blobs/uploads/").send().await.expect(202);
    let sent = client.request("PATCH", &begun.location()).body(content.to_vec()).send().await;
    sent.expect(202).location()
}

async fn finish(client: &Client, location: &str, content: &[u8]) -> Reply {
    let path = format!("{location}?digest={}", sha256(content));
    client.request("PUT", &path).send().await
}
