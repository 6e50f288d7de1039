//! The times of leases and of the quarantine.

use super::*;

#[test]
fn the_grace_outlasts_every_writer() {
    check(
        &file("[collection]\ngrace = '2h'\nwrite_deadline = '50m'\nclock_skew = '10m'"),
        "\nfile longshore.toml, line 2, collection.grace: grace / 2 + write_deadline + clock_skew \
         must be less than grace, or content could be collected while a writer relies on it: 1h + \
         50m + 10m is not less than 2h",
    );
    load(&file("[collection]\ngrace = '2h'\nwrite_deadline = '50m'\nclock_skew = '599s'")).unwrap();
    let errors = load(&environment(&[("LONGSHORE_COLLECTION_CLOCK_SKEW", "1d")])).unwrap_err();
    assert!(errors.to_string().starts_with("environment LONGSHORE_COLLECTION_CLOCK_SKEW: "));
    check(
        &file("collection.grace = '119m'"),
        "\nfile longshore.toml, line 1, collection.grace: collection.grace is 119m, and less than \
         2h loses the content of slow pushes: only collection.unsafe_short_grace = true accepts \
         it, for tests",
    );
}

#[test]
fn a_short_grace_needs_a_name_that_nobody_takes_by_accident() {
    let short = "grace = '20s'\nwrite_deadline = '2s'\nclock_skew = '1s'\nquarantine = '30s'";
    assert!(load(&file(&format!("[collection]\n{short}"))).is_err());
    load(&file(&format!("[collection]\nunsafe_short_grace = true\n{short}"))).unwrap();
    load(&file("[collection]\nuntagged_after = '47h'")).unwrap_err();
    load(&file("[collection]\nuntagged_after = '2d'")).unwrap();
}

#[test]
fn nothing_is_collected_without_conditional_writes() {
    check(
        &file("[collection]\nenabled = 'true'\n[store]\nwriters = 'single'\nurl = 's3://b'"),
        "\nfile longshore.toml, line 2, collection.enabled: garbage collection needs a store with \
         conditional writes, and store.writers = \"single\" is for stores without",
    );
}

/// Presigned URLs and caches name data that no record names any more.
#[test]
fn the_quarantine_outlasts_urls_and_caches() {
    let must = "blobs.redirect_ttl + blobs.redirect_step + cache.ttl + cache.local_ttl + \
                collection.clock_skew must be less than collection.quarantine, or data could be \
                deleted while a presigned URL or a cache names it:";
    check(
        &file("collection.grace = '2h'\nblobs.redirect_ttl = '7d'"),
        &format!(
            "\nfile longshore.toml, line 2, blobs.redirect_ttl: {must} 7d + 5m + 10m + 1h + 5m is \
             not less than 2d"
        ),
    );
    check(
        &file("store.url = 's3://bucket'\ncollection.quarantine = '1h'\ncache.local_ttl = '20m'"),
        &format!(
            "\nfile longshore.toml, line 3, cache.local_ttl: {must} 20m + 5m + 10m + 20m + 5m is \
             not less than 1h"
        ),
    );
    let just = "store.url = 's3://bucket'\ncollection.quarantine = '1h'\ncache.local_ttl = '1199s'";
    load(&file(just)).unwrap();
    load(&file("blobs.redirect_ttl = '7d'\ncollection.quarantine = '8d'")).unwrap();
}
