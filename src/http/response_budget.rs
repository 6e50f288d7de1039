//! The memory for responses in flight, and the share of it that a client may hold.
//!
//! Each request reserves what its response may occupy, until the last byte of it has left. A client
//! may hold as much as is free. So one client alone holds at most half of the budget, two hold a
//! third each, and a client that holds nothing is not refused because others hold much.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::moment::Moment;
use crate::client_network::ClientNetwork;

/// Bytes that the state of a request may occupy.
const STATE_BYTES: usize = 12 * 1024;
/// Bytes that every request reserves: for its state and a short response, as most manifests are.
const REQUEST_BYTES: usize = STATE_BYTES + 4 * 1024;
/// Bytes that a blob reserves which is streamed from the store: a chunk of the store, and what the
/// transport has not sent yet.
pub const STREAM_BYTES: usize = 384 * 1024;
/// How long the budget counts as short after a request was refused.
const SHORT_AFTER_REFUSAL: Duration = Duration::from_mins(1);

/// The budget of a process.
#[derive(Debug)]
pub struct ResponseBudget {
    bytes_max: usize,
    held: Mutex<Held>,
    refused: Moment,
}

/// The bytes that are reserved.
#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// Each request looks up its client twice, so the hash is a quick one. Its keys are random.
    by_client: HashMap<ClientNetwork, usize, ahash::RandomState>,
}

/// What the response to one request may occupy. Dropping it gives the bytes back.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<ResponseBudget>,
    client: ClientNetwork,
    bytes: AtomicUsize,
}

impl ResponseBudget {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: Mutex::default(), refused: Moment::default() }
    }

    /// Reserves memory for a short response. Nothing if the client holds its share.
    pub(super) fn admit(self: &Arc<Self>, client: Option<IpAddr>) -> Option<Reservation> {
        let client = client.unwrap_or(Ipv6Addr::UNSPECIFIED.into()).into();
        let reservation = Reservation { budget: self.clone(), client, bytes: AtomicUsize::new(0) };
        reservation.raise_to(REQUEST_BYTES).then_some(reservation)
    }

    /// Whether responses that their clients do not read should make room for others.
    pub(super) fn is_short(&self) -> bool {
        let free = self.bytes_max.saturating_sub(self.held().all);
        free < self.bytes_max / 4
            || self.refused.elapsed().is_some_and(|elapsed| elapsed < SHORT_AFTER_REFUSAL)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Reserves memory for a response of so many bytes that lies in memory as a whole.
    pub(super) fn cover_whole(&self, bytes: u64) -> bool {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.raise_to(bytes.saturating_add(STATE_BYTES))
    }

    /// Reserves memory for a response of so many bytes that is streamed from the store.
    pub(super) fn cover_stream(&self, bytes: u64) -> bool {
        self.cover_whole(bytes.min((STREAM_BYTES - STATE_BYTES) as u64))
    }

    /// No response needs more than a quarter of the budget, so that a small budget can serve a
    /// large manifest.
    fn raise_to(&self, bytes: usize) -> bool {
        let bytes = bytes.min(self.budget.bytes_max / 4);
        let more = bytes.saturating_sub(self.bytes.load(Ordering::Relaxed));
        if more == 0 {
            return true;
        }
        let mut held = self.budget.held();
        let by_client = held.by_client.get(&self.client).copied().unwrap_or_default();
        if by_client + more > self.budget.bytes_max.saturating_sub(held.all) {
            self.budget.refused.set();
            return false;
        }
        held.all += more;
        held.by_client.insert(self.client, by_client + more);
        self.bytes.fetch_add(more, Ordering::Relaxed);
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        let mut held = self.budget.held();
        held.all -= bytes;
        if let Some(by_client) = held.by_client.get_mut(&self.client) {
            *by_client -= bytes;
            if *by_client == 0 {
                held.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(budget: &Arc<ResponseBudget>, client: &str) -> Vec<Reservation> {
        let client = Some(client.parse().expect("an address"));
        std::iter::from_fn(|| budget.admit(client)).collect()
    }

    #[test]
    fn a_client_holds_as_much_as_is_free() {
        let budget = Arc::new(ResponseBudget::new(12 * REQUEST_BYTES));
        let first = admitted(&budget, "2001:db8::1");
        assert_eq!(first.len(), 6, "half of all");
        assert_eq!(admitted(&budget, "2001:db8::ffff:1").len(), 0, "the same network");
        let second = admitted(&budget, "2001:db8:0:1::1");
        let third = admitted(&budget, "192.0.2.1");
        assert_eq!((second.len(), third.len()), (3, 2));
        assert_eq!(admitted(&budget, "::ffff:192.0.2.1").len(), 0, "the same address");
        assert_eq!(admitted(&budget, "192.0.2.2").len(), 1, "a client that holds nothing");
        drop((first, second, third));
        assert_eq!(admitted(&budget, "192.0.2.2").len(), 6);
        let held = budget.held();
        assert_eq!((held.all, held.by_client.len()), (0, 0));
    }

    #[test]
    fn a_reservation_is_raised_and_never_beyond_a_quarter() {
        let budget = Arc::new(ResponseBudget::new(12 * REQUEST_BYTES));
        let one = budget.admit(None).expect("all is free");
        assert!(one.cover_whole((REQUEST_BYTES - STATE_BYTES) as u64));
        assert_eq!(budget.held().all, REQUEST_BYTES, "a short response is covered");
        assert!(one.cover_whole((2 * REQUEST_BYTES - STATE_BYTES) as u64));
        assert_eq!(budget.held().all, 2 * REQUEST_BYTES);
        assert!(one.cover_stream(u64::MAX) && one.cover_whole(u64::MAX));
        assert_eq!(budget.held().all, 3 * REQUEST_BYTES);
        let two = budget.admit(None).expect("there is more");
        assert!(!budget.is_short());
        assert!(two.cover_whole(u64::MAX) && budget.admit(None).is_none());
        assert!(budget.is_short());
    }
}
