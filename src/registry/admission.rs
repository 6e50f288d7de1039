//! Expensive operations: a few at once, and the others wait.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Error;

/// The operations of one kind.
#[derive(Debug)]
pub(super) struct Admission {
    places: Semaphore,
    wait_max: Duration,
}

impl Admission {
    pub(super) fn new(at_once: usize, wait_max: Duration) -> Self {
        Self { places: Semaphore::new(at_once), wait_max }
    }

    /// Waits, in turn, until this one may begin. It ends when the result is dropped.
    pub(super) async fn admit(&self) -> Result<SemaphorePermit<'_>, Error> {
        match timeout(self.wait_max, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => {
                Err(Error::Busy("too many expensive operations are under way".to_owned()))
            }
        }
    }
}
