//! The upload memory: what bodies may use for bytes that came in and are not yet stored.
//!
//! One bound for the whole process, which clients [share](super::shares). An upload reserves what
//! the smallest part needs before it reads on, and grows beyond that only while memory is free;
//! when none is, it sends a smaller part instead. So no upload waits while holding memory that
//! others wait for, and a store that is slower than the clients slows the clients down instead of
//! filling the memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::buffer_pool::BufferPool;
use super::incoming::{Claimant, Incoming};
use super::shares::{Share, Shares};
use crate::registry::Error;
use crate::registry::settings::UploadSettings;
use crate::telemetry::metrics::Metrics;

/// The unit in which memory is counted, in bytes.
const UNIT_BYTES: usize = 1024;

/// The bounds of all uploads of the process.
#[derive(Clone, Debug)]
pub(in crate::registry) struct UploadMemory {
    units: Shares,
    units_max: usize,
    uploads: Shares,
    wait_max: Duration,
    pool: BufferPool<Reservation>,
    metrics: Metrics,
}

/// One of the uploads that this process receives at once; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    incoming: Arc<Incoming>,
    _place: Share,
    metrics: Metrics,
}

impl Permit {
    pub(super) fn incoming(&self) -> &Arc<Incoming> {
        &self.incoming
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.metrics.upload_sessions.sub((), 1);
    }
}

/// Memory for one buffer; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    share: Share,
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
        self.share.amount() * UNIT_BYTES
    }

    /// The buffer is on its way to the store, however slowly more of the body comes.
    pub(super) fn received(&self) {
        self.share.received();
    }
}

impl BufferPool<Reservation> {
    /// Keeps the buffer of a part that the store has taken, if nothing else uses it and all of it
    /// is reserved.
    pub(super) fn recycle(&self, sent: Bytes, reservation: Option<Reservation>) {
        if let (Some(mut reservation), Ok(buffer)) = (reservation, sent.try_into_mut())
            && buffer.capacity() <= reservation.bytes()
        {
            reservation.share.unused();
            self.put(buffer, reservation);
        }
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES)
}

impl UploadMemory {
    pub(in crate::registry) fn new(limits: &UploadSettings, metrics: Metrics) -> Self {
        let units_max = units(limits.buffer_bytes);
        Self {
            units: Shares::new(units_max),
            units_max,
            uploads: Shares::new(limits.concurrent_max),
            wait_max: limits.wait_max,
            pool: BufferPool::new(),
            metrics,
        }
    }

    /// Admits one more upload to this process. Waits, in turn, until there is a place for it.
    pub(super) async fn admit(&self, claimant: &Claimant) -> Result<Permit, Error> {
        let incoming = Incoming::new(claimant.clone());
        let place = self.uploads.take(&incoming, 1, self.wait_max).await;
        let place = place
            .ok_or_else(|| Error::Busy("as many uploads as allowed are under way".to_owned()))?;
        self.metrics.upload_sessions.add((), 1);
        Ok(Permit { incoming, _place: place, metrics: self.metrics.clone() })
    }

    fn reservation(&self, share: Share) -> Reservation {
        let reservation = Reservation { share, metrics: self.metrics.clone() };
        self.metrics.upload_buffered.add((), gauged(reservation.bytes()));
        reservation
    }

    /// Reserves so many bytes if they are free now, or if unused buffers hold them.
    pub(super) fn try_reserve(
        &self,
        incoming: &Arc<Incoming>,
        bytes: usize,
    ) -> Option<Reservation> {
        let take = || self.units.try_take(incoming, units(bytes));
        let share = take().or_else(|| if self.pool.clear() { take() } else { None })?;
        Some(self.reservation(share))
    }

    /// Waits, in turn, until so many bytes are free.
    pub(super) async fn reserve(
        &self,
        incoming: &Arc<Incoming>,
        bytes: usize,
    ) -> Result<Reservation, Error> {
        let wanted = units(bytes);
        if wanted > self.units_max {
            return Err(Error::TooLarge(format!(
                "its parts need {bytes} bytes of buffer, of {} that are configured",
                self.units_max * UNIT_BYTES
            )));
        }
        if let Some(reservation) = self.try_reserve(incoming, bytes) {
            return Ok(reservation);
        }
        let _paused = self.pool.pause();
        let began = Instant::now();
        let share = self.units.take(incoming, wanted, self.wait_max).await;
        self.metrics.upload_backpressure.add((), began.elapsed());
        match share {
            Some(share) => Ok(self.reservation(share)),
            None => Err(Error::Busy("no upload memory became free in time".to_owned())),
        }
    }

    /// Grows a reservation if so many bytes are free now.
    pub(super) fn grow(&self, reservation: &mut Reservation, bytes: usize) -> bool {
        let more = units(bytes);
        let grown =
            reservation.share.grow(more) || self.pool.clear() && reservation.share.grow(more);
        if grown {
            self.metrics.upload_buffered.add((), gauged(more * UNIT_BYTES));
        }
        grown
    }

    /// A buffer that was used before, for so many bytes.
    pub(super) fn used_buffer(
        &self,
        incoming: &Arc<Incoming>,
        bytes: usize,
    ) -> Option<(BytesMut, Reservation)> {
        let (buffer, mut reservation) = self.pool.get(bytes)?;
        reservation.share.used_by(incoming);
        Some((buffer, reservation))
    }

    /// All memory that there is.
    pub(super) fn bytes_max(&self) -> usize {
        self.units_max * UNIT_BYTES
    }

    pub(super) fn pool(&self) -> &BufferPool<Reservation> {
        &self.pool
    }
}
