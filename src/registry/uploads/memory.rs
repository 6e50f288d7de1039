//! The memory that uploads may use for what they have received and not yet sent on.
//!
//! One process-wide budget of bytes. An upload takes what the smallest part needs as a whole before
//! it reads on, and grows beyond that only while there is room; when there is none it sends a
//! smaller part instead. So nobody waits while holding what others wait for, and a store that is
//! slower than the clients slows the clients down instead of filling the memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::buffer_pool::{Buffer, BufferPool};
use crate::registry::Error;
use crate::registry::settings::Limits;
use crate::telemetry::metrics::Metrics;

/// The unit in which the budget is counted, in bytes.
const UNIT_BYTES: usize = 1024;

/// The process-wide bounds of uploads.
#[derive(Debug)]
pub(super) struct UploadMemory {
    units: Arc<Semaphore>,
    units_max: usize,
    uploads: Arc<Semaphore>,
    wait_max: Duration,
    spare: BufferPool,
    metrics: Metrics,
}

/// The place of an upload among those that this process receives; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
    metrics: Metrics,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.metrics.upload_sessions.sub((), 1);
    }
}

/// Buffer memory held by one part; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    permit: OwnedSemaphorePermit,
    metrics: Metrics,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.metrics.upload_buffered.sub((), gauged(self.bytes()));
    }
}

fn gauged(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Reservation {
    pub(super) fn bytes(&self) -> usize {
        self.permit.num_permits() * UNIT_BYTES
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

impl UploadMemory {
    pub(super) fn new(limits: &Limits, metrics: Metrics) -> Self {
        let units_max = units(limits.buffer_bytes_max) as usize;
        Self {
            units: Arc::new(Semaphore::new(units_max)),
            units_max,
            uploads: Arc::new(Semaphore::new(limits.uploads_concurrent_max)),
            wait_max: limits.buffer_wait_max,
            spare: BufferPool::default(),
            metrics,
        }
    }

    fn reserved(&self, permit: OwnedSemaphorePermit) -> Reservation {
        let reserved = Reservation { permit, metrics: self.metrics.clone() };
        self.metrics.upload_buffered.add((), gauged(reserved.bytes()));
        reserved
    }

    /// Admits one more upload to this process.
    pub(super) fn admit(&self) -> Result<Permit, Error> {
        let permit =
            self.uploads.clone().try_acquire_owned().map_err(|_| {
                Error::Busy("this process receives no more uploads at once".to_owned())
            })?;
        self.metrics.upload_sessions.add((), 1);
        Ok(Permit { _permit: permit, metrics: self.metrics.clone() })
    }

    /// Reserves so many bytes if they are free right now.
    pub(super) fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        self.try_acquire(bytes).map(|permit| self.reserved(permit))
    }

    /// A place for so many bytes, if there is one, in place of spare buffers if need be.
    fn try_acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let acquire = || self.units.clone().try_acquire_many_owned(units(bytes)).ok();
        acquire().or_else(|| if self.spare.give_back() { acquire() } else { None })
    }

    /// A buffer for so many bytes that was used before, with its place.
    pub(super) fn spare(&self, bytes: usize) -> Option<Buffer> {
        self.spare.take(bytes)
    }

    /// Where the buffers of parts go that the store has taken.
    pub(super) fn spares(&self) -> BufferPool {
        self.spare.clone()
    }

    /// Waits, in turn, until so many bytes are free.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        let wanted = units(bytes);
        if wanted as usize > self.units_max {
            return Err(Error::TooLarge(format!(
                "its parts need {bytes} bytes of buffer, of {} that are configured",
                self.units_max * UNIT_BYTES
            )));
        }
        if let Some(reserved) = self.try_reserve(bytes) {
            return Ok(reserved);
        }
        let _waiting = self.spare.wait();
        let acquired =
            tokio::time::timeout(self.wait_max, self.units.clone().acquire_many_owned(wanted));
        let begun = Instant::now();
        let acquired = acquired.await;
        self.metrics.upload_backpressure.add((), begun.elapsed());
        match acquired {
            Ok(Ok(permit)) => Ok(self.reserved(permit)),
            Ok(Err(_)) | Err(_) => Err(Error::Busy("no buffer memory became free".to_owned())),
        }
    }

    /// Grows a reservation if there is room right now.
    pub(super) fn grow(&self, reserved: &mut Reservation, bytes: usize) -> bool {
        match self.try_acquire(bytes) {
            Some(more) => {
                let grown = more.num_permits() * UNIT_BYTES;
                self.metrics.upload_buffered.add((), gauged(grown));
                reserved.permit.merge(more);
                true
            }
            None => false,
        }
    }
}
