//! Clients cannot increase the number of series.

use std::collections::BTreeSet;

use longshore::config::Settings;
use longshore::store::memory::Memory;
use longshore::telemetry::metrics::Metrics;

use super::samples;
use crate::support::App;

const CANARY: &str = "canary";

#[tokio::test]
async fn no_label_value_comes_from_a_request() {
    let metrics = Metrics::default();
    let store = std::sync::Arc::new(Memory::new());
    let app = App::counting(store, Settings::default(), metrics.clone()).await;
    for number in 0..50 {
        let name = format!("{CANARY}{number}");
        app.push_image(&name, &name, number).await;
        let digest = format!("sha256:{number:064x}");
        for path in [
            format!("/v2/{name}/manifests/{name}?{name}={name}"),
            format!("/v2/{name}/manifests/{digest}"),
            format!("/v2/{name}/blobs/{digest}"),
            format!("/v2/{name}/tags/list"),
            format!("/v2/{name}/blobs/uploads/{name}"),
            format!("/{name}"),
            format!("/v2/{name}/{name}"),
        ] {
            for method in ["GET", "HEAD", "DELETE", "OPTIONS", &format!("X{name}")] {
                let request = app.request(method, &path);
                let request = request.header("authorization", format!("{name} {name}"));
                request.header("user-agent", &name).header("x-request-id", &name).send().await;
            }
        }
    }
    let text = metrics.exposition();
    assert!(!text.to_lowercase().contains(CANARY), "{text}");
    let mut seen = BTreeSet::new();
    for sample in samples(&metrics) {
        let mut labels = sample.labels.clone();
        // The bounds of histogram buckets.
        labels.retain(|(name, _)| name != "le");
        let names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        let mut declared: Vec<&str> = sample.metric.labels.iter().map(|set| set.name).collect();
        declared.sort_unstable();
        assert_eq!(names, declared, "{sample:?}");
        for (name, word) in &labels {
            let set = sample.metric.labels.iter().find(|set| set.name == name).expect("declared");
            assert!(set.values.contains(&word.as_str()), "{sample:?}");
            seen.insert((name.clone(), word.clone()));
        }
    }
    for (name, word) in [("method", "other"), ("route", "unmatched"), ("code", "404")] {
        assert!(seen.contains(&(name.to_owned(), word.to_owned())), "{name} {word}");
    }
}
