//! What a run did.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Class, Fate, Mode};
use crate::setting::{format_bytes, format_duration};
use crate::telemetry::metrics::{Label as _, Metrics};

/// What a run did, or what it would have done. `Display` is for people.
#[derive(Clone, Debug)]
pub struct Report {
    dry_run: bool,
    counts: Vec<(Class, Fate, u64)>,
    freed_bytes: u64,
    quarantined: u64,
    quarantined_bytes: u64,
    lasted: Duration,
    requests: u64,
}

impl Report {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            dry_run: mode == Mode::DryRun,
            counts: Vec::new(),
            freed_bytes: 0,
            quarantined: 0,
            quarantined_bytes: 0,
            lasted: Duration::ZERO,
            requests: 0,
        }
    }

    pub(super) fn count(&mut self, class: Class, fate: Fate, by: u64) {
        let row = self.counts.iter_mut().find(|(of, did, _)| (*of, *did) == (class, fate));
        match row {
            Some((_, _, count)) => *count += by,
            None => self.counts.push((class, fate, by)),
        }
    }

    pub(super) fn freed(&mut self, bytes: u64) {
        self.freed_bytes += bytes;
    }

    pub(super) fn quarantined(&mut self, bytes: u64) {
        self.quarantined += 1;
        self.quarantined_bytes += bytes;
    }

    pub(super) fn ended(&mut self, lasted: Duration, requests: u64) {
        (self.lasted, self.requests) = (lasted, requests);
        let order = |class: &Class, fate: &Fate| (class.index(), fate.index());
        self.counts.sort_by_key(|(class, fate, _)| order(class, fate));
    }

    /// How many of a class had this fate.
    pub fn of(&self, class: Class, fate: Fate) -> u64 {
        let found = self.counts.iter().find(|(of, did, _)| (*of, *did) == (class, fate));
        found.map_or(0, |(_, _, count)| *count)
    }

    /// Bytes of the data objects that were deleted.
    pub fn freed_bytes(&self) -> u64 {
        self.freed_bytes
    }

    /// Requests to the store.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    pub(super) fn show(&self, metrics: &Metrics) {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for class in Class::ALL {
            metrics.collection_removed.add((*class,), self.of(*class, Fate::Removed));
            for fate in Fate::ALL {
                metrics.collection_last.set((*class, *fate), signed(self.of(*class, *fate)));
            }
        }
        metrics.collection_freed.add((), self.freed_bytes);
        metrics.collection_duration.observe((), self.lasted);
        metrics.quarantined.set((), signed(self.quarantined));
        metrics.quarantined_bytes.set((), signed(self.quarantined_bytes));
    }

    pub fn to_json(&self) -> Value {
        let mut classes = Map::new();
        for (class, fate, count) in &self.counts {
            let of_class = classes.entry(class.as_str()).or_insert_with(|| json!({}));
            of_class[fate.as_str()] = (*count).into();
        }
        json!({
            "dry_run": self.dry_run,
            "classes": classes,
            "freed_bytes": self.freed_bytes,
            "quarantine": { "objects": self.quarantined, "bytes": self.quarantined_bytes },
            "seconds": self.lasted.as_secs_f64(),
            "requests": self.requests,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12}{:<18}{:>12}", "class", "fate", "count")?;
        for (class, fate, count) in &self.counts {
            writeln!(f, "{:<12}{:<18}{count:>12}", class.as_str(), fate.as_str())?;
        }
        let seconds = Duration::from_secs(self.lasted.as_secs());
        writeln!(
            f,
            "{} {} of data; {} of data, {}, were in quarantine; {}, {} requests",
            if self.dry_run { "would free" } else { "freed" },
            format_bytes(self.freed_bytes),
            format_bytes(self.quarantined_bytes),
            objects(self.quarantined),
            format_duration(seconds),
            self.requests,
        )?;
        if self.dry_run {
            writeln!(f, "dry run: nothing was changed")?;
        }
        Ok(())
    }
}

fn objects(count: u64) -> String {
    format!("{count} object{}", if count == 1 { "" } else { "s" })
}
