//! The upload memory: what uploads may use for bytes that they have received and not yet sent.
//!
//! One bound for the whole process. An upload reserves what the smallest part needs before it
//! reads on, and grows beyond that only while memory is free; when none is, it sends a smaller part
//! instead. So no upload waits while holding memory that others wait for, and a store that is
//! slower than the clients slows the clients down instead of filling the memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::buffer_pool::BufferPool;
use crate::registry::Error;
use crate::registry::settings::UploadSettings;
use crate::telemetry::metrics::Metrics;

/// The unit in which memory is counted, in bytes.
const UNIT_BYTES: usize = 1024;

/// The bounds of all uploads of the process.
#[derive(Clone, Debug)]
pub(in crate::registry) struct UploadMemory {
    units: Arc<Semaphore>,
    units_max: usize,
    uploads: Arc<Semaphore>,
    wait_max: Duration,
    pool: BufferPool<Reservation>,
    metrics: Metrics,
}

/// One of the uploads that this process receives at once; given back when it is dropped.
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

/// Memory for one buffer; given back when it is dropped.
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

impl BufferPool<Reservation> {
    /// Keeps the buffer of a part that the store has taken, if nothing else uses it and all of it
    /// is reserved.
    pub(super) fn recycle(&self, sent: Bytes, reservation: Option<Reservation>) {
        if let (Some(reservation), Ok(buffer)) = (reservation, sent.try_into_mut())
            && buffer.capacity() <= reservation.bytes()
        {
            self.put(buffer, reservation);
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

impl UploadMemory {
    pub(in crate::registry) fn new(limits: &UploadSettings, metrics: Metrics) -> Self {
        let units_max = units(limits.buffer_bytes) as usize;
        Self {
            units: Arc::new(Semaphore::new(units_max)),
            units_max,
            uploads: Arc::new(Semaphore::new(limits.concurrent_max)),
            wait_max: limits.wait_max,
            pool: BufferPool::new(),
            metrics,
        }
    }

    /// Admits one more upload to this process.
    pub(super) fn admit(&self) -> Result<Permit, Error> {
        let permit = self.uploads.clone().try_acquire_owned();
        let permit = permit
            .map_err(|_| Error::Busy("as many uploads as allowed are under way".to_owned()))?;
        self.metrics.upload_sessions.add((), 1);
        Ok(Permit { _permit: permit, metrics: self.metrics.clone() })
    }

    fn reservation(&self, permit: OwnedSemaphorePermit) -> Reservation {
        let reservation = Reservation { permit, metrics: self.metrics.clone() };
        self.metrics.upload_buffered.add((), gauged(reservation.bytes()));
        reservation
    }

    /// Acquires memory that is free now, or that unused buffers hold.
    fn try_acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let acquire = || self.units.clone().try_acquire_many_owned(units(bytes)).ok();
        acquire().or_else(|| if self.pool.clear() { acquire() } else { None })
    }

    /// Reserves so many bytes if they are free now.
    pub(super) fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        self.try_acquire(bytes).map(|permit| self.reservation(permit))
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
        if let Some(reservation) = self.try_reserve(bytes) {
            return Ok(reservation);
        }
        let _paused = self.pool.pause();
        let acquiring = self.units.clone().acquire_many_owned(wanted);
        let began = Instant::now();
        let acquired = tokio::time::timeout(self.wait_max, acquiring).await;
        self.metrics.upload_backpressure.add((), began.elapsed());
        match acquired {
            Ok(Ok(permit)) => Ok(self.reservation(permit)),
            Ok(Err(_)) | Err(_) => {
                Err(Error::Busy("no upload memory became free in time".to_owned()))
            }
        }
    }

    /// Grows a reservation if so many bytes are free now.
    pub(super) fn grow(&self, reservation: &mut Reservation, bytes: usize) -> bool {
        let Some(more) = self.try_acquire(bytes) else { return false };
        self.metrics.upload_buffered.add((), gauged(more.num_permits() * UNIT_BYTES));
        reservation.permit.merge(more);
        true
    }

    /// A buffer that was used before, for so many bytes.
    pub(super) fn used_buffer(&self, bytes: usize) -> Option<(BytesMut, Reservation)> {
        self.pool.get(bytes)
    }

    pub(super) fn pool(&self) -> &BufferPool<Reservation> {
        &self.pool
    }
}
