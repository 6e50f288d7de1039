//! What is measured, and how it is printed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// What one worker, or all of them, saw of one kind of operation.
#[derive(Default)]
pub(crate) struct Seen {
    micros: Vec<u32>,
    errors: u64,
    first_error: Option<String>,
}

impl Seen {
    pub(crate) fn observe(&mut self, duration: Duration) {
        self.micros.push(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn failed(&mut self, error: &impl ToString) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// Rate and quantiles. Latencies are exact, not those of a histogram.
    #[expect(clippy::cast_precision_loss, reason = "there are far fewer than 2^52 operations")]
    pub(crate) fn report(mut self, elapsed: Duration) -> Value {
        self.micros.sort_unstable();
        let quantile = |q: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 <= q < 1"
            )]
            let at = (self.micros.len() as f64 * q) as usize;
            self.micros.get(at.min(self.micros.len().saturating_sub(1))).copied().unwrap_or(0)
        };
        json!({
            "operations": self.micros.len(),
            "errors": self.errors,
            "first_error": self.first_error,
            "seconds": elapsed.as_secs_f64(),
            "rate": self.micros.len() as f64 / elapsed.as_secs_f64().max(1e-9),
            "p50_us": quantile(0.5),
            "p99_us": quantile(0.99),
            "p999_us": quantile(0.999),
            "max_us": self.micros.last().copied().unwrap_or(0),
        })
    }
}

/// Several kinds of operations, by name.
#[derive(Default)]
pub(crate) struct ByKind(BTreeMap<&'static str, Seen>);

impl ByKind {
    pub(crate) fn of(&mut self, kind: &'static str) -> &mut Seen {
        self.0.entry(kind).or_default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (kind, seen) in other.0 {
            self.of(kind).add(seen);
        }
    }

    pub(crate) fn report(self, elapsed: Duration) -> Map<String, Value> {
        self.0.into_iter().map(|(kind, seen)| (kind.to_owned(), seen.report(elapsed))).collect()
    }
}
