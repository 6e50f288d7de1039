//! `longshore settings`: shows and changes the settings that all processes on one store share.

use std::fmt::Write as _;

use super::stores::test_store;
use super::{StartError, open_store};
use crate::config::Settings;
use crate::registry::{Leases, SharedSetting, SharedSettings};
use crate::telemetry::metrics::Metrics;

/// What the store holds, beside the values of this configuration.
pub async fn show_shared_settings(settings: &Settings) -> Result<String, StartError> {
    let store = open_store(settings, &Metrics::default()).await?;
    let shared = SharedSettings::new(store, Leases::new(&settings.collection)?);
    Ok(table(&shared.list(&settings.collection).await?))
}

/// Changes settings in the store, pairs of a name and a value, and shows them.
pub async fn set_shared_settings(
    settings: &Settings,
    changes: &[(String, String)],
) -> Result<String, StartError> {
    // The test finds out how this store wants a compare-and-swap.
    let (store, _) = test_store(settings, &Metrics::default()).await?;
    let shared = SharedSettings::new(store.clone(), Leases::new(&settings.collection)?);
    let set = shared.set(changes, |proposed| {
        let mut proposed = proposed.clone();
        proposed.unsafe_short_grace = settings.collection.unsafe_short_grace;
        Leases::new(&proposed).map_err(|error| error.to_string())?;
        proposed.outlasts(settings.data_readers()).map_err(|error| error.to_string())
    });
    store.begin_writing().await?;
    let set = set.await;
    store.end_writing().await;
    set?;
    let table = table(&shared.list(&settings.collection).await?);
    Ok(format!("{table}changed; now restart every process with a configuration that agrees\n"))
}

fn table(rows: &[SharedSetting]) -> String {
    let mut table = format!("{:<28}{:<14}here\n", "setting", "store");
    for SharedSetting { name, stored, here, fits } in rows {
        let stored_text = stored.as_deref().unwrap_or("-");
        let remark = if *fits || stored.is_none() { "" } else { "  differs" };
        let _ = writeln!(table, "{name:<28}{stored_text:<14}{here}{remark}");
    }
    if rows.iter().all(|row| row.stored.is_none()) {
        table.push_str("the store has none yet: the first `longshore serve` writes those here\n");
    }
    table
}
