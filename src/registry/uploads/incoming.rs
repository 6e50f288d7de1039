//! Bodies that come in: whose each is, and how fast it comes.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client_network::ClientNetwork;
use crate::registry::Error;

/// How long a body may keep the registry waiting for [`LEAST_BYTES`] while others wait for what it
/// holds.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// The least progress in that time, in bytes.
const LEAST_BYTES: usize = 128 * 1024;

/// The body of a request.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, Interrupted>> + Send>>;

/// A request body that ended early, and why.
#[derive(Clone, Debug)]
pub struct Interrupted(pub String);

/// Who takes a share of what all bodies use together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Claimant {
    /// A user with a login.
    User(Arc<str>),
    /// A client without one.
    Address(ClientNetwork),
    /// A client whose address is not known, or no client at all.
    #[default]
    Nobody,
}

impl Claimant {
    /// The claimant for a client without a login.
    pub fn of_address(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Nobody, |address| Self::Address(address.into()))
    }
}

/// A body that is being received.
#[derive(Debug)]
pub(super) struct Incoming {
    claimant: Claimant,
    pace: Mutex<Pace>,
    taken_back: Notify,
}

/// How the body comes, since its last [`LEAST_BYTES`].
#[derive(Debug, Default)]
struct Pace {
    bytes: usize,
    /// How long the registry has waited for them. The time in which it does something with them,
    /// or waits for the store, does not count.
    waited: Duration,
    waiting_since: Option<Instant>,
    taken_back: bool,
}

impl Incoming {
    pub(super) fn new(claimant: Claimant) -> Arc<Self> {
        Arc::new(Self { claimant, pace: Mutex::default(), taken_back: Notify::new() })
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn claimant(&self) -> &Claimant {
        &self.claimant
    }

    /// The next bytes of the body. [`Error::TooSlow`] if others need what the body holds.
    pub(super) async fn next(&self, body: &mut Body) -> Result<Option<Bytes>, Error> {
        self.pace().waiting_since = Some(Instant::now());
        let next = tokio::select! {
            biased;
            () = self.taken_back.notified() => return Err(Error::TooSlow),
            next = body.next() => next,
        };
        self.pace().arrived(if let Some(Ok(bytes)) = &next { bytes.len() } else { 0 });
        next.transpose().map_err(|Interrupted(reason)| Error::Interrupted(reason))
    }

    /// For how long the body has come too slowly, if it does.
    pub(super) fn slow_for(&self) -> Option<Duration> {
        let pace = self.pace();
        let waited = pace.waited + pace.waiting_since?.elapsed();
        (!pace.taken_back && waited >= SLOW_AFTER).then_some(waited)
    }

    /// Ends the body, which gives back what it holds.
    pub(super) fn take_back(&self) {
        self.pace().taken_back = true;
        self.taken_back.notify_one();
    }

    pub(super) fn is_taken_back(&self) -> bool {
        self.pace().taken_back
    }
}

impl Pace {
    fn arrived(&mut self, bytes: usize) {
        self.waited += self.waiting_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.bytes += bytes;
        if self.bytes >= LEAST_BYTES {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_claimant() {
        let of = |text: &str| Claimant::of_address(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_slow_while_the_registry_waits_for_few_bytes() {
        let incoming = Incoming::new(Claimant::Nobody);
        // The registry does something else.
        tokio::time::sleep(SLOW_AFTER * 2).await;
        assert_eq!(incoming.slow_for(), None);
        let trickle = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(SLOW_AFTER / 2).await;
            Some((Ok(Bytes::from_static(b"a")), ()))
        });
        let mut body: Body = Box::pin(trickle);
        for _ in 0..3 {
            incoming.next(&mut body).await.unwrap();
        }
        let mut waiting = std::pin::pin!(incoming.next(&mut body));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(incoming.slow_for(), Some(SLOW_AFTER / 2 * 3));
        incoming.take_back();
        assert!(matches!(waiting.await, Err(Error::TooSlow)));
        assert_eq!(incoming.slow_for(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_makes_progress_is_not_slow() {
        let incoming = Incoming::new(Claimant::Nobody);
        let steady = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(SLOW_AFTER / 2).await;
            Some((Ok(Bytes::from(vec![0; LEAST_BYTES])), ()))
        });
        let mut body: Body = Box::pin(steady);
        for _ in 0..5 {
            incoming.next(&mut body).await.unwrap();
            assert_eq!(incoming.slow_for(), None);
        }
    }
}
