//! Buffers of parts that the store has taken, kept for a short time to be used again.
//!
//! Memory that is fresh from the kernel is cleared page by page, which costs as much as hashing
//! half of what is then written into it. A buffer that is used again costs nothing. The pool keeps
//! the reservation of each buffer, so the bound of the upload memory holds; it frees its buffers
//! as soon as an upload needs that memory, and a buffer that is not used again soon.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;

use crate::tasks::Tasks;

/// How long an unused buffer is kept.
const UNUSED_MAX: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Pooled<R> {
    number: u64,
    buffer: BytesMut,
    reservation: R,
}

#[derive(Debug)]
struct State<R> {
    /// The one that was used last, whose memory is in the processor's cache, is at the end.
    buffers: Vec<Pooled<R>>,
    next_number: u64,
    pauses: usize,
}

/// The unused buffers of the process, each with the reservation `R` of its memory.
#[derive(Debug)]
pub(super) struct BufferPool<R> {
    state: Arc<Mutex<State<R>>>,
}

impl<R> Clone for BufferPool<R> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

/// While this lives the pool keeps no buffers.
#[derive(Debug)]
pub(super) struct Pause<R>(BufferPool<R>);

impl<R> Drop for Pause<R> {
    fn drop(&mut self) {
        self.0.state().pauses -= 1;
    }
}

impl<R> BufferPool<R> {
    pub(super) fn new() -> Self {
        let state = State { buffers: Vec::new(), next_number: 0, pauses: 0 };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty buffer for so many bytes that is not more than twice as large.
    pub(super) fn get(&self, bytes: usize) -> Option<(BytesMut, R)> {
        let mut state = self.state();
        let fits = |pooled: &Pooled<R>| {
            let capacity = pooled.buffer.capacity();
            capacity / 2 <= bytes && bytes <= capacity
        };
        let found = state.buffers.iter().rposition(fits)?;
        let Pooled { number: _, buffer, reservation } = state.buffers.remove(found);
        Some((buffer, reservation))
    }

    /// Frees all buffers. False if there were none.
    pub(super) fn clear(&self) -> bool {
        let buffers = std::mem::take(&mut self.state().buffers);
        !buffers.is_empty()
    }

    /// Frees all buffers, and keeps none as long as the result lives.
    pub(super) fn pause(&self) -> Pause<R> {
        self.state().pauses += 1;
        self.clear();
        Pause(self.clone())
    }
}

impl<R: Send + 'static> BufferPool<R> {
    /// Keeps a buffer for a while.
    pub(super) fn put(&self, mut buffer: BytesMut, reservation: R) {
        buffer.clear();
        let mut state = self.state();
        if state.pauses > 0 {
            return;
        }
        let number = state.next_number;
        state.next_number += 1;
        state.buffers.push(Pooled { number, buffer, reservation });
        drop(state);
        let pool = self.clone();
        Tasks::new().spawn(async move {
            tokio::time::sleep(UNUSED_MAX).await;
            pool.state().buffers.retain(|pooled| pooled.number != number);
        });
    }
}
