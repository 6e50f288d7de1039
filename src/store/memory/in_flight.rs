//! Requests that reach the store after their caller has heard of another outcome.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::state::State;
use super::{StoreClock, locked};
use crate::store::Error;
use crate::tasks::Tasks;

type Effect = Box<dyn FnOnce(&mut State, SystemTime) -> Result<(), Error> + Send>;

/// The requests that have not reached the store yet, in the order in which they were sent.
#[derive(Default)]
pub(super) struct InFlight {
    last: u64,
    requests: BTreeMap<u64, Effect>,
}

impl InFlight {
    /// Adds a request. It reaches the store after this time of tokio's clock, unless a test
    /// delivers it earlier.
    pub(super) fn send(
        in_flight: &Arc<Mutex<Self>>,
        (state, clock): (&Arc<Mutex<State>>, &StoreClock),
        after: Duration,
        effect: impl FnOnce(&mut State, SystemTime) -> Result<(), Error> + Send + 'static,
    ) {
        let id = locked(in_flight).add(Box::new(effect));
        let (in_flight, state, clock) = (in_flight.clone(), state.clone(), clock.clone());
        // No process waits for it: a request is under way even if its sender was killed.
        Tasks::new().spawn(async move {
            tokio::time::sleep(after).await;
            let request = locked(&in_flight).requests.remove(&id);
            if let Some(effect) = request {
                // Its sender has returned, so no caller takes the answer.
                let _ = effect(&mut locked(&state), clock());
            }
        });
    }

    fn add(&mut self, effect: Effect) -> u64 {
        self.last += 1;
        self.requests.insert(self.last, effect);
        self.last
    }

    /// Takes out all requests, in the order in which they were sent.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Effect> + use<> {
        std::mem::take(&mut self.requests).into_values()
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}
