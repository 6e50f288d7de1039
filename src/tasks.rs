//! Tasks of a process: work that goes on without its caller, and ends before the process or with
//! it.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of a process, or of a part of it. Clones share the tasks. Dropping all of them lets
/// the tasks go on.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    cancelled: CancellationToken,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task. Awaiting the result waits for it; dropping the result does not end it.
    pub fn spawn<F>(&self, work: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let cancelled = self.cancelled.clone();
        Task(self.tracker.spawn(async move {
            tokio::select! {
                // Before the work is polled: after a cancellation it makes no step.
                biased;
                () = cancelled.cancelled() => None,
                output = work => Some(output),
            }
        }))
    }

    /// Waits until no task is left.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
        self.tracker.reopen();
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Ends every task where it waits, as a crash of the process does, and every later one before
    /// it begins. They are gone when [`wait`](Self::wait) returns.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }
}

/// A task that was started: a future of its output.
#[derive(Debug)]
pub struct Task<T>(JoinHandle<Option<T>>);

/// Why a task has no output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    #[error("the task was cancelled")]
    Cancelled,
    /// The task panicked, or its runtime is shutting down.
    #[error(transparent)]
    Failed(#[from] JoinError),
}

impl<T> Future for Task<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = Pin::new(&mut self.0).poll(context);
        ended.map(|output| output?.ok_or(Ended::Cancelled))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn cancelled_tasks_make_no_further_step() {
        let (tasks, woken) = (Tasks::new(), Arc::new(tokio::sync::Notify::new()));
        let stepped = Arc::new(AtomicBool::new(false));
        let (wake, step) = (woken.clone(), stepped.clone());
        let waiting = tasks.spawn(async move {
            wake.notified().await;
            step.store(true, Ordering::SeqCst);
        });
        let panicking = tasks.spawn(async { panic!("on purpose") });
        assert_eq!(tasks.spawn(async { 7 }).await.expect("it ends"), 7);
        assert!(matches!(panicking.await, Err::<(), _>(Ended::Failed(_))));
        assert_eq!(tasks.len(), 1);
        // Both at once: the task could make its step, and is cancelled.
        woken.notify_one();
        tasks.cancel();
        tasks.wait().await;
        assert!(matches!(waiting.await, Err(Ended::Cancelled)));
        let late = tasks.spawn(async { 7 });
        assert!(matches!(late.await, Err(Ended::Cancelled)));
        assert!(tasks.is_empty() && !stepped.load(Ordering::SeqCst));
    }
}
