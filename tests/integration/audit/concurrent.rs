//! An audit beside clients that push, move tags and delete finds nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use longshore::audit::{Audit, AuditSettings, Class, Finding};
use longshore::config::Settings;
use longshore::registry::Sparse;
use longshore::store::BlobStore as _;
use longshore::store::memory::{Fault, FaultKind, Memory};
use longshore::usage::{Explanation, Grouping};
use longshore::walk::Walk;

use super::{damage, push_large};
use crate::support::App;
use crate::support::app::OCI_MANIFEST;
use crate::support::content::{artifact, descriptor, spelled};
use crate::support::sha256;
use crate::support::test_store::small_parts;

/// How long the clients go on.
const DURATION: Duration = Duration::from_secs(4);

/// Pushes images under a few tags, signs them, and deletes tags, images and blobs again.
async fn client(app: &App, number: u64, ended: &AtomicBool) {
    let repository = format!("busy/{}", number % 3);
    let mut round = 0;
    while !ended.load(Ordering::Relaxed) {
        round += 1;
        let seed = number * 1_000 + round;
        let digest = push_large(app, &repository, &format!("v{}", round % 2), seed).await;
        let path = format!("/v2/{repository}/manifests/{digest}");
        let image = app.get(&path).send().await;
        if image.status.as_u16() != 200 {
            continue;
        }
        let image = image.body;
        app.push_blob(&repository, b"{}").await;
        let signature = spelled(&artifact("x/y", &descriptor(OCI_MANIFEST, &image), seed));
        let of = sha256(&signature);
        app.put_manifest(&repository, &of, OCI_MANIFEST, &signature).await.expect(201);
        // The same image under another tag, then gone with both of them.
        app.put_manifest(&repository, "same", OCI_MANIFEST, &image).await.expect(201);
        app.request("DELETE", &path).send().await;
        if round % 3 == 0 {
            app.request("DELETE", &format!("/v2/{repository}/manifests/v0")).send().await;
            let path = format!("/v2/{repository}/manifests/{of}");
            app.request("DELETE", &path).send().await.expect(202);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_beside_clients_finds_no_damage() {
    let memory = Arc::new(Memory::new().with_part_bytes_min(64 * 1024));
    let app = App::over_memory(memory.clone(), small_parts()).await;
    // Calls of different requests come between each other.
    memory.inject(Fault::everywhere(FaultKind::Delay(Duration::from_millis(1))).always());
    let ended = AtomicBool::new(false);
    let (app, ended) = (&app, &ended);
    let clients = join_all((0..5).map(|number| client(app, number, ended)));
    let audits = async {
        let mut settings = AuditSettings::new(&Settings::default().collection, Sparse::None);
        // No request of this test takes so long. The ages are whole seconds.
        settings.settled_after = Duration::from_secs(1);
        let (began, mut runs) = (tokio::time::Instant::now(), 0);
        while began.elapsed() < DURATION {
            let walk = Arc::new(Walk::new(memory.clone(), None));
            let mut found: Vec<Finding> = Vec::new();
            let mut sink = |finding| found.push(finding);
            let audit = Audit::new(walk.clone(), settings.clone(), None);
            let summary = audit.run(&mut sink).await.expect("the store answers");
            assert_eq!(damage(&found), Vec::<&Finding>::new(), "after {summary:?}");
            let explanation = Explanation::new(walk, Duration::from_hours(1), Grouping::Bucket);
            explanation.run().await.expect("the store answers");
            runs += 1;
        }
        ended.store(true, Ordering::Relaxed);
        assert!(runs > 2, "{runs} audits");
    };
    tokio::join!(clients, audits);
}

/// What was asked for ahead in one repository holds nothing that the check of another one needs.
#[tokio::test(flavor = "multi_thread")]
async fn many_damaged_records_of_many_repositories_are_checked_at_once() {
    let memory = Arc::new(Memory::new().with_part_bytes_min(64 * 1024));
    let app = App::over_memory(memory.clone(), small_parts()).await;
    for number in 0..160 {
        push_large(&app, &format!("r{}", number % 8), &format!("v{number}"), number).await;
    }
    for (location, _) in memory.data_objects() {
        memory.delete(&location.parse().expect("a location")).await.expect("deleted");
    }
    memory.inject(Fault::everywhere(FaultKind::Delay(Duration::from_millis(1))).always());
    let settings = AuditSettings::new(&Settings::default().collection, Sparse::None);
    let audit = Audit::new(Arc::new(Walk::new(memory, None)), settings, None);
    let mut missing = 0;
    let mut sink = |finding: Finding| missing += u32::from(finding.class == Class::MissingData);
    let audited = tokio::time::timeout(Duration::from_secs(60), audit.run(&mut sink)).await;
    audited.expect("it ends").expect("the store answers");
    assert_eq!(missing, 160);
}
