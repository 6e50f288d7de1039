//! Data that was deleted behind the registry's back: a push of the same content repairs what names
//! it, instead of dropping the good copy.

use longshore::config::Settings;
use longshore::layout::encoding::decode;
use serde_json::Value;

use crate::support::scripted_s3::ScriptedS3;
use crate::support::{App, bytes, sha256};

/// The header of the only record below a prefix.
pub(super) fn header(s3: &ScriptedS3, prefix: &str) -> Value {
    let keys = s3.keys(prefix);
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    let body = s3.object(key).expect("it is listed");
    decode(&body).expect("a record of ours").0
}

pub(super) fn repaired(app: &App) -> Option<String> {
    let text = app.metrics.exposition();
    let line = text.lines().find_map(|line| line.strip_prefix("longshore_repaired_records_total "));
    line.map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_repairs_a_pointer_and_a_link_to_nothing() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    let content = bytes(1, 200_000);
    let digest = app.push_blob("a", &content).await;
    let lost = header(&s3, "v1/p/")["location"].as_str().expect("a location").to_owned();
    assert!(s3.remove(&lost));
    app.get(&format!("/v2/a/blobs/{digest}")).send().await.expect(503);

    app.push_blob("b", &content).await;
    app.settled().await;
    app.assert_blob("b", &digest, &content).await;
    let (pointer, link) = (header(&s3, "v1/p/"), header(&s3, "v1/l/b/"));
    assert_ne!(pointer["location"], lost);
    assert_eq!(link["location"], pointer["location"]);
    assert_eq!(repaired(&app).as_deref(), Some("1"));
    // The link of the first repository still names what is lost, until the blob is pushed there.
    app.push_blob("a", &content).await;
    app.settled().await;
    app.assert_blob("a", &digest, &content).await;
    assert_eq!(header(&s3, "v1/l/a/")["location"], pointer["location"]);
    assert_eq!(repaired(&app).as_deref(), Some("2"));
    assert_eq!(s3.keys("v1/d/").len(), 1);
}

/// Pointers and links say what the store returned for the data, so that a listing shows damage.
#[tokio::test(flavor = "multi_thread")]
async fn pointers_and_links_hold_the_etag_of_their_data() {
    let s3 = ScriptedS3::start().await;
    let app = App::over_s3(&s3, Settings::default()).await;
    for (seed, length) in [(1, 200_000), (2, 20 << 20)] {
        let (content, name) = (bytes(seed, length), format!("r{seed}"));
        // In one request, and in three.
        app.push_blob(&name, &content).await;
        let other = bytes(seed + 10, length);
        let location = app.start_upload(&format!("{name}c"), "").await;
        let location = app.patch(&location, &other).await.expect(202).location();
        app.close(&location, &sha256(&other), b"").await.expect(201);
        for name in [name.clone(), format!("{name}c")] {
            let link = header(&s3, &format!("v1/l/{name}/"));
            let data = s3.etag(link["location"].as_str().expect("a location"));
            assert_eq!(link["etag"].as_str(), data.as_deref(), "{name}");
        }
    }
    for key in s3.keys("v1/p/") {
        let pointer = header(&s3, &key);
        let data = s3.etag(pointer["location"].as_str().expect("a location"));
        assert!(data.is_some());
        assert_eq!(pointer["etag"].as_str(), data.as_deref());
    }
}
