//! The values of one record over time. The store applies one write at a time, so this is the order
//! in which the register has changed, and an answer is right if some moment of its request
//! explains it.

use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    /// Every write, in order.
    writes: Vec<(Duration, Option<String>)>,
    /// Writes that an acknowledged conditional request counts as its own.
    claimed: Vec<usize>,
}

/// The time of a request: from when it was sent until its answer had arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

impl Span {
    /// The same, beginning earlier: a cache may answer with what was true then.
    pub(crate) fn lagging(self, lag: Duration) -> Self {
        Self { from: self.from.saturating_sub(lag), to: self.to }
    }
}

impl Timeline {
    pub(crate) fn add(&mut self, at: Duration, value: Option<String>) {
        self.writes.push((at, value));
    }

    /// The values that the record had during a time.
    pub(crate) fn during(&self, span: Span) -> impl Iterator<Item = Option<&str>> {
        let before = self.writes.iter().rposition(|(at, _)| *at < span.from);
        let first = match before {
            Some(index) => self.writes[index].1.as_deref(),
            None => None,
        };
        let within = self.writes.iter().filter(move |(at, _)| (span.from..=span.to).contains(at));
        std::iter::once(first).chain(within.map(|(_, value)| value.as_deref()))
    }

    pub(crate) fn had(&self, value: Option<&str>, span: Span) -> bool {
        self.during(span).any(|found| found == value)
    }

    /// Whether any write happened during a time.
    pub(crate) fn changed(&self, span: Span) -> bool {
        self.writes.iter().any(|(at, _)| (span.from..=span.to).contains(at))
    }

    /// The value before the last write, and after it.
    pub(crate) fn last_two(&self) -> (Option<String>, Option<String>) {
        let mut newest = self.writes.iter().rev().map(|(_, value)| value.clone());
        let after = newest.next().flatten();
        (newest.next().flatten(), after)
    }

    /// Finds a write of this value over one that fits, which no other request has claimed, and
    /// returns its number.
    pub(crate) fn unclaimed(
        &self,
        value: &str,
        fits: impl Fn(Option<&str>) -> bool,
        span: Span,
    ) -> Option<usize> {
        (0..self.writes.len()).find(|index| {
            let (at, written) = &self.writes[*index];
            let before = index.checked_sub(1).and_then(|before| self.writes[before].1.as_deref());
            (span.from..=span.to).contains(at)
                && written.as_deref() == Some(value)
                && fits(before)
                && !self.claimed.contains(index)
        })
    }

    pub(crate) fn claim(&mut self, index: usize) {
        self.claimed.push(index);
    }
}
