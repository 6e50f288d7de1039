//! `longshore inspect` over a bucket that a registry has filled.

use std::time::Duration;

use longshore::inspect::{Inspector, Moment, Object, Report, State};
use longshore::layout::records::{MacKey, Manifest};
use longshore::registry::LeaseSettings;
use longshore::store::Location;
use longshore::store::memory::Operation;

use super::*;

/// A clock that the tests move on, so that ages are exact.
const HOUR: Duration = Duration::from_hours(1);

impl Bucket {
    async fn inspect(&self, target: &str) -> Report {
        let target = target.parse().expect("a target");
        let inspector = Inspector::new(self.objects(), LeaseSettings::default());
        inspector.inspect(&target).await.expect("the store answers")
    }
}

/// What the objects are, and how they are.
fn states(objects: &[Object]) -> Vec<(&str, State)> {
    objects.iter().map(|object| (object.kind, object.state)).collect()
}

fn remarks(report: &Report) -> Vec<&str> {
    let named = report.references.iter().flat_map(|named| &named.objects);
    let objects = report.objects.iter().chain(named);
    let of_references = report.references.iter().flat_map(|named| &named.remarks);
    objects.flat_map(|object| &object.remarks).chain(of_references).map(String::as_str).collect()
}

async fn everything_behind_a_tag_is_shown(kind: StoreKind) {
    let bucket = Bucket::over(kind).await;
    let first = push_large(&bucket.app, "a", "v1", 1).await;
    let digest = push_large(&bucket.app, "a", "v1", 2).await;
    let (_, small) = bucket.app.push_small("b", "subject", 30).await;
    let signature = spelled(&artifact("x/y", &descriptor(OCI_MANIFEST, &small), 1));
    bucket.app.put_manifest("b", "signature", OCI_MANIFEST, &signature).await.expect(201);
    bucket.app.settled().await;
    let pushed = bucket.objects().now();
    bucket.store.hands.advance(HOUR);

    let report = bucket.inspect("a:v1").await;
    assert!(report.found);
    let live = State::Live;
    assert_eq!(
        states(&report.objects),
        [("tag", live), ("tag index", live), ("manifest", live)],
        "{report}"
    );
    let tag = &report.objects[0];
    assert_eq!(tag.key, "v1/t/a/_/v1");
    assert_eq!((&tag.fields["digest"], &tag.fields["seq"]), (&json!(digest), &json!(2)));
    assert_eq!(tag.fields["previous"]["digest"], json!(first));
    assert_eq!(tag.fields["by"], field(&bucket, &bucket.key("v1/t/a/"), "by").await);
    let manifest = &report.objects[2];
    let body = bucket.app.get("/v2/a/manifests/v1").send().await.expect(200).body;
    assert_eq!(manifest.payload_bytes, Some(body.len() as u64));
    assert_eq!(manifest.written, Some(Moment(pushed)));
    let lease = manifest.lease.expect("a manifest is leased");
    let grace = LeaseSettings::default().grace;
    assert_eq!(lease.relied_on_until, Moment(pushed + grace / 2));
    assert_eq!(lease.kept_until, Moment(pushed + grace));
    assert_eq!(report.named_by.as_ref().expect("a manifest").tags, ["v1"]);

    // The configuration lies in its link, the layer in a data object.
    let [config, layer] = &report.references[..] else { panic!("{report}") };
    assert_eq!(config.digest, sha256(b"{\"large\":2}"));
    assert_eq!(states(&config.objects), [("link", live), ("pointer", live)]);
    assert_eq!((&layer.digest, layer.size), (&sha256(&large(2)), 150_000));
    assert_eq!(states(&layer.objects), [("link", live), ("pointer", live), ("data object", live)]);
    let data = &layer.objects[2];
    assert_eq!(json!(data.key), field(&bucket, &link_key("a", &large(2)), "location").await);
    assert_eq!(json!(data.version), field(&bucket, &link_key("a", &large(2)), "etag").await);
    assert_eq!((data.bytes, data.written), (Some(150_000), Some(Moment(pushed))));
    assert_eq!(remarks(&report), Vec::<&str>::new());

    let former = bucket.inspect(&format!("a@{first}")).await;
    assert_eq!(former.named_by.expect("a manifest").former_tags, ["v1"]);
    let subject = bucket.inspect("b:subject").await;
    assert_eq!(subject.named_by.expect("a manifest").referrers, [sha256(&signature)]);
}

#[tokio::test]
async fn everything_behind_a_tag_is_shown_of_memory() {
    everything_behind_a_tag_is_shown(StoreKind::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_behind_a_tag_is_shown_of_s3() {
    everything_behind_a_tag_is_shown(StoreKind::ScriptedS3).await;
}

/// Whatever is asked, the store gets reads only, and looks the same afterwards.
async fn nothing_is_written(kind: StoreKind) {
    let bucket = Bucket::over(kind).await;
    bucket.fill().await;
    // Old enough that a request would touch what it reads.
    bucket.store.hands.advance(LONG);
    let mut targets: Vec<String> = bucket.store.records().into_iter().map(|(key, _)| key).collect();
    targets.extend(bucket.store.data_objects().into_iter().map(|(key, _)| key));
    let layer = sha256(&large(1));
    targets.extend(["a/one", "a/one:v1", "d:gone", "no/where", "no/where:v1"].map(str::to_owned));
    targets.extend([format!("a/one@{layer}"), format!("no/where@{layer}"), layer]);
    let (records, calls) = (bucket.store.records(), bucket.store.calls());
    for target in &targets {
        let report = bucket.inspect(target).await;
        assert!(!report.to_string().is_empty() && report.to_json().is_object());
    }
    let calls = bucket.store.calls().since(&calls);
    let reads = calls.read + calls.list + calls.list_data + calls.get + calls.head;
    assert!(targets.len() > 40 && reads > targets.len() as u64, "{} {calls:?}", targets.len());
    assert_eq!(calls.total(), reads, "{calls:?}");
    assert_eq!(bucket.store.records(), records);
}

#[tokio::test]
async fn nothing_is_written_to_memory() {
    nothing_is_written(StoreKind::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_s3() {
    nothing_is_written(StoreKind::ScriptedS3).await;
}

#[tokio::test]
async fn what_is_deleted_or_was_never_there_is_not_found() {
    let bucket = Bucket::start().await;
    let (digest, _) = bucket.app.push_image("a", "gone", 1).await;
    bucket.app.request("DELETE", &format!("/v2/a/manifests/{digest}")).send().await.expect(202);
    bucket.app.settled().await;
    for target in ["a:gone".to_owned(), format!("a@{digest}"), "v1/t/a/_/gone".to_owned()] {
        let report = bucket.inspect(&target).await;
        assert!(!report.found, "{report}");
        assert_eq!(report.objects[0].state, State::Deleted, "{report}");
        assert!(report.objects[0].written.is_some(), "when it was deleted");
    }
    for target in ["a:never", "never", "never:v1", "v1/g/collector"] {
        let report = bucket.inspect(target).await;
        assert!(!report.found, "{report}");
        assert_eq!(report.objects[0].state, State::Absent, "{report}");
    }
    // A blob of another repository is known, but this one does not have it.
    let blob = bucket.app.push_blob("b", &large(1)).await;
    let report = bucket.inspect(&format!("a@{blob}")).await;
    assert!(!report.found && report.to_string().contains("pointer v1/p/"), "{report}");
    assert!(bucket.inspect(&blob).await.found);
    assert!(bucket.inspect(&format!("b@{blob}")).await.found);
}

#[tokio::test]
async fn a_repository_is_counted() {
    let bucket = Bucket::start().await;
    push_large(&bucket.app, "a", "v1", 1).await;
    push_large(&bucket.app, "a", "v2", 2).await;
    bucket.app.request("DELETE", "/v2/a/manifests/v2").send().await.expect(202);
    bucket.app.settled().await;
    let counts = bucket.inspect("a").await.repository.expect("a repository");
    assert_eq!((counts.tags.live, counts.tags.deleted), (1, 1));
    assert_eq!((counts.manifests.live, counts.links.live), (2, 4));
    // One that the catalog has lost is there all the same.
    bucket.lose(&bucket.key("v1/c/")).await;
    let report = bucket.inspect("a").await;
    assert!(report.found && report.objects[0].state == State::Absent, "{report}");
}

#[tokio::test]
async fn what_is_wrong_is_remarked() {
    let bucket = Bucket::start().await;
    let digest = push_large(&bucket.app, "a", "v1", 1).await;
    bucket.app.settled().await;
    let link = link_key("a", &large(1));
    let is_remarked = async |target: &str, part: &str| {
        let report = bucket.inspect(target).await;
        let found = remarks(&report).iter().filter(|remark| remark.contains(part)).count();
        assert!(found > 0, "{part}: {report}");
        assert!(report.to_string().contains("NOTE: "), "{report}");
    };
    bucket.change(&link, |header, _| header["etag"] = json!("\"other\"")).await;
    is_remarked("a:v1", "was written with the version \"other\"").await;
    bucket.change(&link, |header, _| header["size"] = json!(7)).await;
    is_remarked("a:v1", "says 7 bytes").await;
    let elsewhere = Location::new_unique(bucket.objects().now());
    let moved = elsewhere.to_string();
    bucket.change(&link, |header, _| header["location"] = json!(moved)).await;
    is_remarked("a:v1", "is absent").await;
    is_remarked("a:v1", "does not name the data that the link names").await;
    bucket.change(&link, |header, _| header["location"] = json!("x:other/key")).await;
    is_remarked("a:v1", "in the bucket of another registry").await;
    bucket.overwrite(&link, Bytes::from(bytes(1, 99))).await;
    is_remarked(&link.to_string(), "the header of a record").await;
    assert_eq!(bucket.inspect(&link.to_string()).await.objects[0].state, State::Unreadable);
    bucket.lose(&link).await;
    is_remarked("a:v1", "the repository does not have it").await;
    bucket.change(&bucket.key("v1/t/a/"), |header, _| header["size"] = json!(1)).await;
    is_remarked("a:v1", "the tag says that it has 1 bytes").await;
    bucket.lose(&bucket.key("v1/x/a/")).await;
    is_remarked("a:v1", "a deletion of the manifest would leave the tag").await;
    bucket.lose(&manifest_key("a", &digest)).await;
    is_remarked("a:v1", "pulls of the tag are 404").await;
}

#[tokio::test]
async fn deletions_that_have_begun_and_quarantine_are_shown() {
    let bucket = Bucket::start().await;
    let digest = push_large(&bucket.app, "a", "v1", 1).await;
    bucket.app.settled().await;
    bucket.store.fail(Operation::Replace, "v1/t/");
    let path = format!("/v2/a/manifests/{digest}");
    bucket.app.request("DELETE", &path).send().await.expect(503);
    bucket.store.heal();
    let report = bucket.inspect("a:v1").await;
    assert_eq!(report.objects[2].fields["doomed"], json!(true));
    assert!(remarks(&report).iter().any(|remark| remark.starts_with("doomed")), "{report}");

    let location = field(&bucket, &pointer_key(&large(1)), "location").await;
    let location: Location = location.as_str().expect("text").parse().expect("a location");
    let (day, id) = location.parts().expect("in this bucket");
    let since = bucket.objects().now();
    let row = longshore::layout::records::Quarantined { digest: None, size: None, since: 0 };
    let row = Draft::new(&row, Bytes::new()).encode(&Lineage::default());
    let key = RecordKey::Quarantined(day, id);
    bucket.objects().create(&key, row, None).await.expect("written");
    bucket.store.hands.advance(HOUR);
    let until = Moment(since + LeaseSettings::default().quarantine);
    for target in [location.to_string(), key.to_string(), sha256(&large(1))] {
        let report = bucket.inspect(&target).await;
        let said = remarks(&report).join("\n");
        assert!(report.found && said.contains("in quarantine since"), "{report}");
        assert!(said.contains(&format!("deletes it after {until}")), "{report}");
    }
}

/// Neither the key of the cache nor what could continue the hash of an upload.
#[tokio::test]
async fn secrets_are_not_shown() {
    let bucket = Bucket::start().await;
    let key = longshore::layout::records::CacheKey { key: MacKey::random() };
    let secret = json!(key)["key"].as_str().expect("text").to_owned();
    let body = Draft::new(&key, Bytes::new()).encode(&Lineage::default());
    bucket.objects().create(&RecordKey::CacheKey, body, None).await.expect("written");
    let location = bucket.app.start_upload("e", "").await;
    bucket.app.patch(&location, &bytes(80, 200_000)).await.expect(202);
    bucket.app.settled().await;
    let session = bucket.key("v1/u/");
    let states = field(&bucket, &session, "hashes").await;
    let state = states[0][1].as_str().expect("a state of a hash").to_owned();
    for (target, secret) in [("v1/g/cache-key".to_owned(), secret), (session.to_string(), state)] {
        let report = bucket.inspect(&target).await;
        assert!(report.found && report.objects[0].state == State::Live, "{report}");
        assert!(!report.to_string().contains(&secret), "{report}");
        assert!(!report.to_json().to_string().contains(&secret), "{report}");
    }
}

#[tokio::test]
async fn an_outage_is_not_taken_for_absence() {
    let bucket = Bucket::start().await;
    push_large(&bucket.app, "a", "v1", 1).await;
    bucket.app.settled().await;
    bucket.store.fail_always(Operation::Read);
    let target = "a:v1".parse().expect("a target");
    let inspector = Inspector::new(bucket.objects(), LeaseSettings::default());
    assert!(inspector.inspect(&target).await.is_err());
}

/// A manifest that a later release wrote shows its fields all the same, unless it forbids that.
#[tokio::test]
async fn fields_of_later_releases_are_shown() {
    let bucket = Bucket::start().await;
    let digest = push_large(&bucket.app, "a", "v1", 1).await;
    bucket.app.settled().await;
    let key = manifest_key("a", &digest);
    bucket
        .change(&key, |header, _| {
            header.insert("fog".to_owned(), json!("thick"));
        })
        .await;
    let report = bucket.inspect("a:v1").await;
    assert_eq!(report.objects[2].fields["fog"], json!("thick"));
    let record = bucket.objects().read(&key).await.expect("a record");
    assert!(decode::<Manifest>(&record.body).is_ok());
    bucket
        .change(&key, |header, _| {
            header.insert("need_read".to_owned(), json!(["fog"]));
        })
        .await;
    let report = bucket.inspect("a:v1").await;
    assert_eq!(report.objects[2].state, State::Unreadable);
    assert!(remarks(&report).iter().any(|remark| remark.contains("later release")), "{report}");
}
