//! Content that changed under its digest.

use std::time::Duration;

use longshore::audit::{Class, Finding, Scrub, ScrubSettings};
use longshore::store::{Location, RecordKey};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Bucket, classes, field, large, link_key, manifest_key, pointer_key, push_large};

/// A bucket in which a link, a manifest and a data object have other bytes.
async fn damaged() -> (Bucket, [String; 3]) {
    let bucket = Bucket::start().await;
    let digest = push_large(&bucket.app, "a", "v1", 1).await;
    push_large(&bucket.app, "a", "v2", 2).await;
    let flip = |_: &mut serde_json::Map<String, serde_json::Value>, payload: &mut Vec<u8>| {
        payload[2] ^= 1;
    };
    let keys =
        [link_key("a", b"{\"large\":1}"), manifest_key("a", &digest), pointer_key(&large(1))];
    bucket.change(&keys[0], flip).await;
    bucket.change(&keys[1], flip).await;
    let location = field(&bucket, &keys[2], "location").await;
    let location: Location = location.as_str().expect("text").parse().expect("a location");
    let mut other = large(1);
    other[70_000] ^= 1;
    bucket.objects().delete(&location).await.expect("deleted");
    bucket.objects().put(&location, other.into(), None).await.expect("written");
    bucket.settle().await;
    (bucket, keys.map(|key| key.to_string()))
}

fn keys(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.key.as_str()).collect()
}

#[tokio::test]
async fn content_with_another_digest_is_found() {
    let (bucket, expected) = damaged().await;
    let (found, scrubbed) = bucket.scrub(ScrubSettings::default()).await;
    assert_eq!(classes(&found), [Class::WrongContent]);
    assert_eq!(keys(&found), expected);
    assert_eq!((scrubbed.summary.damaged(), scrubbed.stopped_after), (3, None));
    assert_eq!(scrubbed.summary.checked["pointers"], 4);
    assert!(scrubbed.bytes > 300_000, "{}", scrubbed.bytes);

    let location = field(&bucket, &pointer_key(&large(2)), "location").await;
    let location: Location = location.as_str().expect("text").parse().expect("a location");
    bucket.objects().delete(&location).await.expect("deleted");
    let (found, _) = bucket.scrub(ScrubSettings::default()).await;
    assert_eq!(classes(&found), [Class::WrongContent, Class::DanglingPointer]);
}

#[tokio::test]
async fn a_scrub_that_was_stopped_continues() {
    let (bucket, expected) = damaged().await;
    let (mut found, mut after, mut runs) = (Vec::<Finding>::new(), None::<RecordKey>, 0);
    loop {
        runs += 1;
        // It is stopped at each finding.
        let stop = CancellationToken::new();
        let mut sink = |finding| {
            found.push(finding);
            stop.cancel();
        };
        let settings = ScrubSettings { after: after.take(), ..ScrubSettings::default() };
        let scrub = Scrub::new(bucket.walk(), settings);
        let scrubbed = scrub.run(&stop, &mut sink).await.expect("the store answers");
        let Some(key) = scrubbed.stopped_after else { break };
        after = Some(key.parse().expect("a key"));
    }
    assert_eq!(keys(&found), expected, "each of them once");
    assert!(runs > 2, "{runs} runs");
}

#[tokio::test]
async fn a_scrub_that_was_stopped_at_once_begins_again() {
    let (bucket, _) = damaged().await;
    let stop = CancellationToken::new();
    stop.cancel();
    let scrub = Scrub::new(bucket.walk(), ScrubSettings::default());
    let mut sink = |finding: Finding| panic!("{finding:?}");
    let scrubbed = scrub.run(&stop, &mut sink).await.expect("the store answers");
    assert_eq!((scrubbed.bytes, scrub.cursor()), (0, None));
    assert!(scrubbed.stopped_after.is_some());
}

#[tokio::test]
async fn old_content_can_be_left_out() {
    let (bucket, _) = damaged().await;
    bucket.settle().await;
    push_large(&bucket.app, "b", "v1", 3).await;
    let since = Some(Duration::from_mins(5));
    let (found, scrubbed) = bucket.scrub(ScrubSettings { since, ..Default::default() }).await;
    assert_eq!(found, []);
    let checked: Vec<_> = scrubbed.summary.checked.into_iter().collect();
    assert_eq!(checked, [("links", 2), ("manifests", 1), ("pointers", 2)]);
}

#[tokio::test]
async fn the_rate_of_bytes_is_kept() {
    let bucket = Bucket::start().await;
    for seed in 1..5 {
        bucket.app.push_blob("a", &large(seed)).await;
    }
    bucket.settle().await;
    tokio::time::pause();
    let began = Instant::now();
    let settings = ScrubSettings { bytes_per_second: Some(100_000), ..Default::default() };
    let (_, scrubbed) = bucket.scrub(settings).await;
    assert_eq!(scrubbed.bytes, 600_000);
    let took = began.elapsed();
    assert!((5.0..6.5).contains(&took.as_secs_f64()), "{took:?}");
}
