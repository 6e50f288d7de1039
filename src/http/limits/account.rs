//! What one request is charged to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::{Limited, Limits, TOKEN_BYTES};
use crate::auth::Caller;
use crate::http::endpoint::{Effect, Endpoint, RouteError};
use crate::telemetry::metrics::LimitBy;

/// Bytes that are charged at once while a body flows.
const CHARGE_BYTES: u64 = 256 * 1024;

/// What a request is charged to: nothing if no limit is configured.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Account(Option<Arc<Charged>>);

/// Where the bytes of a body go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Direction {
    Upload,
    Download,
}

#[derive(Debug)]
struct Charged {
    limits: Arc<Limits>,
    address: u64,
    /// Known once the request is authorized.
    subject: OnceLock<u64>,
    /// Bytes that are not charged yet.
    uploaded: AtomicU64,
    downloaded: AtomicU64,
}

impl Account {
    pub(super) fn new(limits: Arc<Limits>, address: u64) -> Self {
        let (uploaded, downloaded) = (AtomicU64::new(0), AtomicU64::new(0));
        let subject = OnceLock::new();
        Self(Some(Arc::new(Charged { limits, address, subject, uploaded, downloaded })))
    }

    /// Admits a request before it is authorized, by its client address.
    pub(in crate::http) fn admit_address(
        &self,
        endpoint: &Result<Endpoint, RouteError>,
    ) -> Result<(), Limited> {
        let Some(charged) = &self.0 else { return Ok(()) };
        let effect = endpoint.as_ref().map_or(Effect::Reads, |one| one.operation.row().effect);
        charged.limits.admit(LimitBy::Address, charged.address, effect)
    }

    /// Admits an authorized request by its subject, if it has one.
    pub(in crate::http) fn admit_caller(
        &self,
        caller: &Caller,
        effect: Effect,
    ) -> Result<(), Limited> {
        let Some(charged) = self.0.as_ref().filter(|_| caller.is_authenticated()) else {
            return Ok(());
        };
        let Some(key) = charged.limits.subject_key(&caller.subject()) else { return Ok(()) };
        charged.limits.admit(LimitBy::Subject, *charged.subject.get_or_init(|| key), effect)
    }

    /// Counts bytes of a body while it flows.
    pub(in crate::http) fn count(&self, direction: Direction, bytes: u64) {
        let Some(charged) = &self.0 else { return };
        let uncharged = charged.uncharged(direction);
        if uncharged.fetch_add(bytes, Ordering::Relaxed) + bytes >= CHARGE_BYTES {
            charged.charge(direction);
        }
    }
}

impl Charged {
    fn uncharged(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Upload => &self.uploaded,
            Direction::Download => &self.downloaded,
        }
    }

    fn charge(&self, direction: Direction) {
        let bytes = self.uncharged(direction).swap(0, Ordering::Relaxed);
        let tokens = u32::try_from(bytes.div_ceil(TOKEN_BYTES as u64)).unwrap_or(u32::MAX);
        let (address, subject) = (&self.limits.address, &self.limits.subject);
        for (callers, key) in [(address, Some(&self.address)), (subject, self.subject.get())] {
            let buckets = match direction {
                Direction::Upload => &callers.upload,
                Direction::Download => &callers.download,
            };
            if let (Some(buckets), Some(key)) = (buckets, key) {
                buckets.charge(*key, tokens);
            }
        }
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.charge(Direction::Upload);
        self.charge(Direction::Download);
    }
}
