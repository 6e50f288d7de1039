//! A shared cache in this process, whose calls a test may stall.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use longshore::shared_cache::{Cache, Key, Lookup, Token};
use tokio::sync::Notify;

/// The key that stalls.
const LATEST: &str = "v1/t/a/_/latest";

/// A place where a call waits, once, until the test lets it go on.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    pub(crate) armed: AtomicBool,
    pub(crate) reached: Notify,
    pub(crate) go_on: Notify,
}

impl Stall {
    async fn pass(&self, key: &Key) {
        if key.to_string() == LATEST && self.armed.swap(false, Ordering::SeqCst) {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
    }
}

/// See the [module documentation](self). It ignores tokens and times to live.
#[derive(Debug, Default)]
pub(crate) struct Stalling {
    values: Mutex<HashMap<Key, Bytes>>,
    /// Before a deletion takes effect.
    pub(crate) deletion: Stall,
    /// After a lookup has taken the value.
    pub(crate) answer: Stall,
}

#[async_trait]
impl Cache for Stalling {
    async fn get(&self, key: &Key) -> Lookup {
        let found = self.values.lock().expect("no panic").get(key).cloned();
        self.answer.pass(key).await;
        found.map_or_else(|| Lookup::Miss(Some(Token("token".to_owned()))), Lookup::Hit)
    }

    async fn fill(&self, key: &Key, _: &Token, value: Bytes, _: Duration) {
        self.values.lock().expect("no panic").insert(key.clone(), value);
    }

    async fn invalidate(&self, key: &Key) {
        self.deletion.pass(key).await;
        self.values.lock().expect("no panic").remove(key);
    }
}
