//! Single flight: at most one load per key is under way, and concurrent readers share its result.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tracing::Instrument as _;

use crate::shared_cache::Key;
use crate::store;
use crate::tasks::Tasks;

/// The result of a load, for each of its readers.
pub(super) type Loading<V> = Shared<BoxFuture<'static, Result<V, store::Error>>>;

/// A load that is under way.
#[derive(Clone)]
struct Call<V> {
    loading: Loading<V>,
    /// Cleared when the key is invalidated: the load may have read what was overwritten.
    current: Arc<AtomicBool>,
}

type Calls<V> = Arc<Mutex<HashMap<Key, Call<V>>>>;

fn lock<V>(calls: &Calls<V>) -> MutexGuard<'_, HashMap<Key, Call<V>>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of a reader in a load.
pub(super) enum Joined<V> {
    /// It started the load.
    Leader(Loading<V>),
    /// Another reader started it.
    Follower(Loading<V>),
}

/// The loads that are under way.
pub(super) struct SingleFlight<V> {
    calls: Calls<V>,
}

impl<V: Clone + Send + Sync + 'static> SingleFlight<V> {
    pub(super) fn new() -> Self {
        Self { calls: Arc::default() }
    }

    /// Joins the load of a key, or starts one in a task of its own. As a task, the load of a reader
    /// that disconnects still ends at once. Otherwise it could end much later, when another reader
    /// polls it, with a value from long ago.
    pub(super) fn join<F>(
        &self,
        key: &Key,
        tasks: &Tasks,
        load: impl FnOnce(Guard<V>) -> F + Send + 'static,
    ) -> Joined<V>
    where
        F: Future<Output = Result<V, store::Error>> + Send + 'static,
    {
        let mut calls = lock(&self.calls);
        if let Some(call) = calls.get(key) {
            return Joined::Follower(call.loading.clone());
        }
        let current = Arc::new(AtomicBool::new(true));
        let guard = (self.calls.clone(), key.clone(), current.clone());
        let load = async move {
            // Made when the task runs: dropping it takes the lock that is held here.
            let (calls, key, current) = guard;
            load(Guard { calls, key, current }).await
        };
        let load = tasks.spawn(load.in_current_span());
        let ended = |_| Err(store::Error::Unavailable("a load was cut off".to_owned()));
        let loading = load.map(move |loaded| loaded.unwrap_or_else(ended)).boxed().shared();
        calls.insert(key.clone(), Call { loading: loading.clone(), current });
        Joined::Leader(loading)
    }

    /// Makes the load of a key that is under way obsolete: no later reader joins it. `also` runs
    /// under the same lock as [`Guard::if_current`].
    pub(super) fn invalidate(&self, key: &Key, also: impl FnOnce()) {
        let mut calls = lock(&self.calls);
        if let Some(call) = calls.remove(key) {
            call.current.store(false, Ordering::Release);
        }
        also();
    }
}

/// Held by a load. Ends the call when the load ends, even if it is dropped in the middle.
pub(super) struct Guard<V> {
    calls: Calls<V>,
    key: Key,
    current: Arc<AtomicBool>,
}

impl<V> Guard<V> {
    /// Runs `keep` unless the key was invalidated since the load began.
    pub(super) fn if_current(&self, keep: impl FnOnce()) {
        let _calls = lock(&self.calls);
        if self.current.load(Ordering::Acquire) {
            keep();
        }
    }
}

impl<V> Drop for Guard<V> {
    fn drop(&mut self) {
        let mut calls = lock(&self.calls);
        if self.current.load(Ordering::Acquire) {
            calls.remove(&self.key);
        }
    }
}
