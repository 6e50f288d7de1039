//! An amount that all bodies share, such as memory, divided between the clients that want it.
//!
//! A client that is alone may take nearly all of it; the last eighth is kept for other clients, so
//! that the first request of each need not wait for what another client holds. When the amount is
//! used up, clients wait, and what becomes free goes to the one that holds least. A client that
//! waits also takes back what bodies hold that come too slowly ([`Incoming::slow_for`]), if their
//! client holds more than it does. So a client that holds much of the amount has to make progress,
//! or to share it.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::incoming::{Claimant, Incoming};

/// How often those who wait look for bodies that have become too slow.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// This part of the amount is kept for clients that hold less than all the rest.
const KEPT_FOR_OTHERS: usize = 8;

/// The amount. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Shares(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// How much one claimant may hold, unless a single body needs more.
    claimant_max: usize,
    accounts: HashMap<Claimant, Account>,
    /// The shares that can be taken back, by their number.
    receiving: HashMap<u64, Receiving>,
    /// How many wait, of all claimants.
    waiting: usize,
    next_number: u64,
    looked_at: Instant,
}

/// What one claimant holds, and what it waits for.
#[derive(Debug, Default)]
struct Account {
    held: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    amount: usize,
    incoming: Arc<Incoming>,
    grant: oneshot::Sender<Share>,
}

/// What a body holds that is being received.
#[derive(Debug)]
struct Receiving {
    amount: usize,
    incoming: Arc<Incoming>,
}

/// A part of the amount; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Shares,
    number: u64,
    claimant: Claimant,
    amount: usize,
}

impl Shares {
    pub(super) fn new(amount: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: amount,
            claimant_max: amount - amount / KEPT_FOR_OTHERS,
            accounts: HashMap::new(),
            receiving: HashMap::new(),
            waiting: 0,
            next_number: 0,
            looked_at: Instant::now(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an amount for a body if it is free and no body waits.
    pub(super) fn try_take(&self, incoming: &Arc<Incoming>, amount: usize) -> Option<Share> {
        let mut state = self.state();
        let given = state.may_take(incoming.claimant(), amount) && state.waiting == 0;
        given.then(|| state.give(self, incoming, amount))
    }

    /// Takes an amount for a body, and waits up to `wait_max` for it.
    pub(super) async fn take(
        &self,
        incoming: &Arc<Incoming>,
        amount: usize,
        wait_max: Duration,
    ) -> Option<Share> {
        if let Some(share) = self.try_take(incoming, amount) {
            return Some(share);
        }
        let mut queued = self.queue(incoming, amount);
        let granted = async {
            loop {
                match timeout(LOOK_EVERY, &mut queued.granted).await {
                    Ok(granted) => return granted.ok(),
                    Err(_) => self.look(),
                }
            }
        };
        timeout(wait_max, granted).await.ok().flatten()
    }

    fn queue(&self, incoming: &Arc<Incoming>, amount: usize) -> Queued<'_> {
        let (grant, granted) = oneshot::channel();
        let claimant = incoming.claimant().clone();
        let number = {
            let mut state = self.state();
            state.waiting += 1;
            let number = state.number();
            let waiting = Waiting { number, amount, incoming: incoming.clone(), grant };
            state.accounts.entry(claimant.clone()).or_default().waiting.push_back(waiting);
            number
        };
        self.hand_out();
        Queued { shares: self, claimant, number, granted }
    }

    /// Gives what is free to those who wait, and takes back what is held too slowly.
    fn hand_out(&self) {
        let mut unwanted = Vec::new();
        let mut state = self.state();
        while let Some((claimant, amount)) = state.first_waiting() {
            if !state.may_take(&claimant, amount) {
                state.take_back(&claimant, amount);
                break;
            }
            let account = state.accounts.get_mut(&claimant);
            let Some(waiting) = account.and_then(|account| account.waiting.pop_front()) else {
                break;
            };
            state.waiting -= 1;
            let share = state.give(self, &waiting.incoming, amount);
            unwanted.extend(waiting.grant.send(share).err());
        }
        // Dropping a share needs the state.
        drop(state);
        drop(unwanted);
    }

    /// Looks for bodies that have become too slow. Each body that waits calls this; most calls find
    /// that another one has just looked.
    fn look(&self) {
        let mut state = self.state();
        if state.looked_at.elapsed() < LOOK_EVERY / 2 {
            return;
        }
        if let Some((claimant, amount)) = state.first_waiting() {
            state.take_back(&claimant, amount);
        }
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn held(&self, claimant: &Claimant) -> usize {
        self.accounts.get(claimant).map_or(0, |account| account.held)
    }

    /// Whether so much is free for a claimant.
    fn may_take(&self, claimant: &Claimant, amount: usize) -> bool {
        let held = self.held(claimant);
        amount <= self.free && (held == 0 || held + amount <= self.claimant_max)
    }

    /// Whose turn it is, and what it waits for: the claimant that holds least, and of several the
    /// one that waits longest.
    fn first_waiting(&self) -> Option<(Claimant, usize)> {
        if self.waiting == 0 {
            return None;
        }
        let waiting = self.accounts.iter().filter_map(|(claimant, account)| {
            let first = account.waiting.front()?;
            Some((account.held, first.number, claimant, first.amount))
        });
        let (_, _, claimant, amount) = waiting.min_by_key(|(held, number, ..)| (*held, *number))?;
        Some((claimant.clone(), amount))
    }

    fn give(&mut self, shares: &Shares, incoming: &Arc<Incoming>, amount: usize) -> Share {
        let (number, claimant) = (self.number(), incoming.claimant().clone());
        self.free -= amount;
        self.accounts.entry(claimant.clone()).or_default().held += amount;
        self.receiving.insert(number, Receiving { amount, incoming: incoming.clone() });
        Share { shares: shares.clone(), number, claimant, amount }
    }

    /// Takes back as much as `claimant` waits for from slow bodies of those who hold more.
    fn take_back(&mut self, claimant: &Claimant, wanted: usize) {
        self.looked_at = Instant::now();
        let ours = self.held(claimant);
        let (mut coming, mut slow) = (self.free, Vec::new());
        for receiving in self.receiving.values() {
            if receiving.incoming.is_taken_back() {
                coming += receiving.amount;
            } else if let Some(slow_for) = receiving.incoming.slow_for() {
                let held = self.held(receiving.incoming.claimant());
                slow.extend((held > ours).then_some((held, slow_for, receiving)));
            }
        }
        slow.sort_by_key(|(held, slow_for, _)| Reverse((*held, *slow_for)));
        for (_, _, receiving) in slow {
            if coming >= wanted {
                return;
            }
            receiving.incoming.take_back();
            coming += receiving.amount;
        }
    }

    fn forget_empty(&mut self, claimant: &Claimant) {
        if let Some(account) = self.accounts.get(claimant)
            && account.held == 0
            && account.waiting.is_empty()
        {
            self.accounts.remove(claimant);
        }
    }

    /// `claimant` holds less.
    fn uncharge(&mut self, claimant: &Claimant, amount: usize) {
        if let Some(account) = self.accounts.get_mut(claimant) {
            account.held -= amount;
        }
        self.forget_empty(claimant);
    }
}

/// A place in the queue; given up when it is dropped.
struct Queued<'a> {
    shares: &'a Shares,
    claimant: Claimant,
    number: u64,
    granted: oneshot::Receiver<Share>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.shares.state();
        let Some(account) = state.accounts.get_mut(&self.claimant) else { return };
        let before = account.waiting.len();
        account.waiting.retain(|waiting| waiting.number != self.number);
        let gave_up = account.waiting.len() < before;
        state.waiting -= usize::from(gave_up);
        state.forget_empty(&self.claimant);
        drop(state);
        if gave_up {
            // Those behind it may want less.
            self.shares.hand_out();
        }
    }
}

impl Share {
    pub(super) fn amount(&self) -> usize {
        self.amount
    }

    /// Takes more if it is free and no body waits.
    pub(super) fn grow(&mut self, more: usize) -> bool {
        let mut state = self.shares.state();
        if !state.may_take(&self.claimant, more) || state.waiting > 0 {
            return false;
        }
        state.free -= more;
        self.amount += more;
        state.accounts.entry(self.claimant.clone()).or_default().held += more;
        if let Some(receiving) = state.receiving.get_mut(&self.number) {
            receiving.amount += more;
        }
        true
    }

    /// The body has arrived: its client no longer decides when the share is given back.
    pub(super) fn received(&self) {
        self.shares.state().receiving.remove(&self.number);
    }

    /// Charges it to no client: no request uses it.
    pub(super) fn unused(&mut self) {
        let mut state = self.shares.state();
        state.receiving.remove(&self.number);
        state.accounts.entry(Claimant::Nobody).or_default().held += self.amount;
        state.uncharge(&self.claimant, self.amount);
        self.claimant = Claimant::Nobody;
    }

    /// Charges it to another body.
    pub(super) fn used_by(&mut self, incoming: &Arc<Incoming>) {
        let (amount, claimant) = (self.amount, incoming.claimant().clone());
        let mut state = self.shares.state();
        state.accounts.entry(claimant.clone()).or_default().held += amount;
        state.uncharge(&self.claimant, amount);
        state.receiving.insert(self.number, Receiving { amount, incoming: incoming.clone() });
        self.claimant = claimant;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.shares.state();
        state.free += self.amount;
        state.receiving.remove(&self.number);
        state.uncharge(&self.claimant, self.amount);
        drop(state);
        self.shares.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(user: &str) -> Arc<Incoming> {
        Incoming::new(Claimant::User(user.into()))
    }

    /// The rest is seen over HTTP.
    #[tokio::test(start_paused = true)]
    async fn who_holds_least_is_next() {
        let shares = Shares::new(10);
        let (large, small) = (body_of("large"), body_of("small"));
        let mut held: Vec<Share> = (0..9).filter_map(|_| shares.try_take(&large, 1)).collect();
        held.extend(shares.try_take(&small, 1));
        assert_eq!(held.len(), 10);
        assert!(shares.try_take(&small, 1).is_none());
        let wait = Duration::from_secs(60);
        let mut first = std::pin::pin!(shares.take(&large, 1, wait));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut second = std::pin::pin!(shares.take(&small, 1, wait));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(held.pop());
        let second = second.await.expect("the first one to be free");
        assert!(futures_util::poll!(&mut first).is_pending());
        // One that gives up delays no other.
        let new = body_of("new");
        let mut all = Box::pin(shares.take(&new, 10, wait));
        assert!(futures_util::poll!(&mut all).is_pending());
        drop(held.pop());
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(all);
        first.await.expect("what became free");
        drop((held, second));
        assert!(shares.state().accounts.is_empty());
        assert_eq!(shares.state().free, 10);
    }
}
