//! Buffers of parts that the store has taken, kept for a moment.
//!
//! Memory that is fresh from the kernel is cleared page by page, which costs as much as hashing
//! half of what is then written into it. A buffer that is used again costs nothing. It keeps its
//! place in the budget meanwhile, so the bound of the memory is the same; nobody ever waits for
//! memory that is only spare, and what is not used again soon is given back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio_util::task::TaskTracker;

use super::memory::Reservation;

/// How long a buffer is kept that nobody uses.
const SPARE_MAX: Duration = Duration::from_millis(500);

/// A buffer without content, and its place in the budget, which is at least as large.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) bytes: BytesMut,
    pub(super) reserved: Reservation,
}

#[derive(Debug, Default)]
struct State {
    /// The one that was used last, whose memory is the warmest, is at the end.
    buffers: Vec<(u64, Buffer)>,
    kept: u64,
    waiting: usize,
}

/// The buffers that are kept, of the whole process.
#[derive(Clone, Debug, Default)]
pub(super) struct BufferPool {
    state: Arc<Mutex<State>>,
}

/// Somebody waits for memory: nothing is kept until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting(BufferPool);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl BufferPool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer for so many bytes that is not more than twice as large.
    pub(super) fn take(&self, bytes: usize) -> Option<Buffer> {
        let mut state = self.state();
        let fits = |(_, buffer): &(u64, Buffer)| {
            let capacity = buffer.bytes.capacity();
            capacity / 2 <= bytes && bytes <= capacity
        };
        let found = state.buffers.iter().rposition(fits)?;
        Some(state.buffers.remove(found).1)
    }

    /// Keeps the buffer of a part that the store has taken, if nobody else holds it, and if all of
    /// it is reserved.
    pub(super) fn keep(&self, sent: Bytes, reserved: Option<Reservation>) {
        let (Some(reserved), Ok(mut bytes)) = (reserved, sent.try_into_mut()) else { return };
        bytes.clear();
        if bytes.capacity() > reserved.bytes() {
            return;
        }
        let mut state = self.state();
        if state.waiting > 0 {
            return;
        }
        state.kept += 1;
        let number = state.kept;
        state.buffers.push((number, Buffer { bytes, reserved }));
        drop(state);
        let all = self.clone();
        TaskTracker::new().spawn(async move {
            tokio::time::sleep(SPARE_MAX).await;
            all.state().buffers.retain(|(kept, _)| *kept != number);
        });
    }

    /// Gives everything back. False if there was nothing.
    pub(super) fn give_back(&self) -> bool {
        let given = std::mem::take(&mut self.state().buffers);
        !given.is_empty()
    }

    /// Gives everything back, and keeps nothing while somebody waits.
    pub(super) fn wait(&self) -> Waiting {
        let mut state = self.state();
        state.waiting += 1;
        let given = std::mem::take(&mut state.buffers);
        drop(state);
        drop(given);
        Waiting(self.clone())
    }
}
