//! What is remembered of each caller: a bounded number of keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

/// Callers with a bucket of their own, for each limit: 65,536 take about 2 MiB.
pub const KEYS_MAX: usize = SHARDS * KEYS_PER_SHARD;
/// Parts of the map, each with a lock of its own.
const SHARDS: usize = 64;
const KEYS_PER_SHARD: usize = 1024;

/// The states of the buckets of one limit, shared by the limiters that look at them.
///
/// When a part of the map is full, its further keys share one bucket until others have become
/// indistinguishable from new ones. So a flood of keys neither grows the memory, nor makes the map
/// forget what a caller has used.
#[derive(Clone, Debug)]
pub(super) struct Keys(Arc<[Mutex<Shard>]>);

#[derive(Debug, Default)]
struct Shard {
    keys: HashMap<u64, Nanos>,
    /// The bucket of all keys that found no place.
    others: Option<Nanos>,
}

impl Default for Keys {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Keys {
    fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.0.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StateStore for Keys {
    /// A hash, so its last bits choose the part.
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let index = usize::try_from(key % SHARDS as u64).unwrap_or_default();
        let mut shard = self.0[index].lock().unwrap_or_else(PoisonError::into_inner);
        let Shard { keys, others } = &mut *shard;
        if let Some(state) = keys.get_mut(key) {
            let (measured, next) = measure(Some(*state))?;
            *state = next;
            return Ok(measured);
        }
        if keys.len() < KEYS_PER_SHARD {
            let (measured, next) = measure(None)?;
            keys.insert(*key, next);
            return Ok(measured);
        }
        let (measured, next) = measure(*others)?;
        *others = Some(next);
        Ok(measured)
    }
}

impl ShrinkableKeyedStateStore<u64> for Keys {
    fn retain_recent(&self, drop_below: Nanos) {
        for mut shard in self.shards() {
            shard.keys.retain(|_, state| *state > drop_below);
            shard.keys.shrink_to(KEYS_PER_SHARD / 8);
        }
    }

    fn len(&self) -> usize {
        self.shards().map(|shard| shard.keys.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
