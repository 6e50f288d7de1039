//! Which logins wait for which, before a password is verified.
//!
//! Verifying is expensive, and a client needs no credentials to send wrong passwords. So the logins
//! of one client run one after the other, and a client or a user that was right before goes first.
//! A login waits for [`LOGIN_WAIT_MAX`] and is refused after that.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::client_network::ClientNetwork;

/// How long a login waits, its turn and the processor together. Then it gets 429.
pub(super) const LOGIN_WAIT_MAX: Duration = Duration::from_secs(2);
/// Clients are distributed over this many queues, of each rank.
const CLIENT_QUEUES: usize = 64;
/// The most logins that wait in one queue. Further logins get 429.
const WAITING_MAX: usize = 64;

/// What is known of a login before its password is verified. The first goes before the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// A login of this client was right before.
    KnownClient,
    /// A login of this user was right before, from another client.
    KnownUser,
    Unknown,
}

/// Too many logins of one client are waiting, or they have waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) struct TooManyAttempts;

#[derive(Debug)]
pub(super) struct Queues {
    /// By [`Rank`].
    ranks: [Queue; 3],
    hasher: std::hash::RandomState,
}

#[derive(Debug)]
struct Queue {
    clients: Vec<ClientQueue>,
    processors: Arc<Semaphore>,
}

#[derive(Debug)]
struct ClientQueue {
    waiting: Semaphore,
    turn: Arc<Semaphore>,
}

/// The turn of a client, until it is dropped.
pub(super) struct Turn<'q> {
    _waiting: SemaphorePermit<'q>,
    permit: OwnedSemaphorePermit,
    rank: Rank,
    queues: &'q Queues,
    deadline: Instant,
}

impl Queues {
    /// All logins together use at most this many processors.
    pub(super) fn new(processors: usize) -> Self {
        let client =
            || ClientQueue { waiting: Semaphore::new(WAITING_MAX), turn: Semaphore::new(1).into() };
        let queue = || Queue {
            clients: std::iter::repeat_with(client).take(CLIENT_QUEUES).collect(),
            processors: Semaphore::new(processors).into(),
        };
        Self { ranks: [queue(), queue(), queue()], hasher: std::hash::RandomState::new() }
    }

    /// Waits until it is the turn of this client. `user` is given where this user was right before
    /// from this client, and then has a queue of its own: others behind the same address may guess.
    pub(super) async fn turn(
        &self,
        rank: Rank,
        network: Option<ClientNetwork>,
        user: Option<&str>,
    ) -> Result<Turn<'_>, TooManyAttempts> {
        let deadline = Instant::now() + LOGIN_WAIT_MAX;
        let queue = self.client_queue(rank, network, user);
        let waiting = queue.waiting.try_acquire().map_err(|_| TooManyAttempts)?;
        let permit = acquire(&queue.turn, deadline).await?;
        Ok(Turn { _waiting: waiting, permit, rank, queues: self, deadline })
    }

    fn client_queue(
        &self,
        rank: Rank,
        network: Option<ClientNetwork>,
        user: Option<&str>,
    ) -> &ClientQueue {
        let clients = &self.ranks[rank as usize].clients;
        let hash = self.hasher.hash_one((network, user)) % clients.len() as u64;
        &clients[usize::try_from(hash).unwrap_or(0)]
    }
}

impl Turn<'_> {
    /// Waits for a processor. A login of a lower rank queues among its own kind first, so no more
    /// of them than there are processors stand before one of a higher rank.
    pub(super) async fn processor(self) -> Result<Vec<OwnedSemaphorePermit>, TooManyAttempts> {
        let mut permits = vec![self.permit];
        for queue in self.queues.ranks[..=self.rank as usize].iter().rev() {
            permits.push(acquire(&queue.processors, self.deadline).await?);
        }
        Ok(permits)
    }
}

async fn acquire(
    semaphore: &Arc<Semaphore>,
    deadline: Instant,
) -> Result<OwnedSemaphorePermit, TooManyAttempts> {
    let acquired = timeout_at(deadline, semaphore.clone().acquire_owned()).await;
    acquired.map_err(|_| TooManyAttempts)?.map_err(|_| TooManyAttempts)
}
