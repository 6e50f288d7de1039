//! The network between a process and the store. It is the scheduler of a run: each request takes a
//! seeded time to reach the store, and each answer to come back, so that processes interleave in
//! other ways with each seed. Here requests also fail, and processes crash.

use std::fmt;
use std::future::pending;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use longshore::store::{
    BlobStore, ByteStream, DataObject, Day, Deadline, Error, Listing, Location, MultipartId,
    ObjectStore, OpenMultiparts, Part, Prefix, PresignGet, Record, RecordKey, RecordStore, Removal,
    Version,
};
use longshore::tasks::Tasks;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bucket::Role;
use crate::effects::{Effects, Write};
use crate::fate::{Fate, Kind, arrive, lost};
use crate::planted::Bug;
use crate::profile::{CLOCK_SKEW, Focus};
use crate::world::World;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// The connection of one process to the store.
pub(crate) struct Connection {
    effects: Arc<Effects>,
    /// Cancelled when the process crashes.
    crash: CancellationToken,
    /// By how much the clock of the process is wrong.
    ahead: Duration,
    behind: Duration,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("process", &self.effects.process).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(
        world: &Arc<World>,
        role: Role,
        process: String,
        crash: CancellationToken,
    ) -> Self {
        let most = CLOCK_SKEW / 2;
        let wrong = if world.random.chance(500) {
            world.random.between(MILLISECOND, most)
        } else {
            Duration::ZERO
        };
        let fast = world.random.chance(700);
        let (ahead, behind) =
            if fast { (wrong, Duration::ZERO) } else { (Duration::ZERO, wrong / 2) };
        let effects = Arc::new(Effects::new(world.clone(), role, process));
        Self { effects, crash, ahead, behind }
    }

    fn world(&self) -> &World {
        &self.effects.world
    }

    /// How long a request or an answer is under way.
    fn latency(&self) -> Duration {
        let world = self.world();
        let (random, profile) = (&world.random, &world.profile);
        if world.is_calm() {
            return MILLISECOND;
        }
        let (ordinary, longest) = match self.effects.role {
            Role::Frontend => (profile.frontend_latency, 3 * DAY),
            Role::Collector => (profile.collector_latency, 2 * HOUR),
        };
        if random.chance(profile.stalls) {
            return random.between(30 * SECOND, longest);
        }
        if random.chance(4 * profile.stalls) {
            return random.between(SECOND, HOUR / 3);
        }
        random.between(MILLISECOND, ordinary)
    }

    fn fate(&self, kind: Kind) -> Fate {
        let world = self.world();
        let (random, faults) = (&world.random, world.profile.faults);
        if world.is_calm() {
            return Fate::Fine;
        }
        if !random.chance(faults) {
            return Fate::Fine;
        }
        if world.profile.focus == Focus::Contention && kind == Kind::Record && random.chance(500) {
            return Fate::Twice(random.between(SECOND, 4 * MINUTE));
        }
        match (kind, random.below(6)) {
            (Kind::Body, 0..=3) => Fate::Broken,
            (Kind::Read | Kind::Body, _) | (_, 0) => Fate::Lost,
            (_, 1 | 2) => Fate::Unanswered { repeated: kind != Kind::Write && random.chance(500) },
            (_, 3) => Fate::Late(random.between(MILLISECOND, 2 * DAY)),
            (_, 4) => Fate::Twice(random.between(MILLISECOND, 2 * DAY)),
            (Kind::Record | Kind::Manifest, _) => Fate::Busy { applied: random.chance(100) },
            (Kind::Write, _) => Fate::Lost,
        }
    }

    /// Crashes the process here, at times.
    async fn maybe_crash(&self) {
        let world = self.world();
        let crashes = u64::from(world.profile.crashes);
        if !world.is_calm() && world.random.next() % 100_000 < crashes {
            world.note(format_args!("{} crashes", self.effects.process));
            self.crash.cancel();
            pending::<()>().await;
        }
    }

    /// Sends a request. `act` lets it take effect.
    async fn send<T, F>(
        &self,
        kind: Kind,
        act: impl Fn(Arc<Effects>) -> F + Send + Sync + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.maybe_crash().await;
        let (there, back, fate) = (self.latency(), self.latency(), self.fate(kind));
        let effects = self.effects.clone();
        let travel = async move {
            sleep(there).await;
            let answer = arrive(effects, fate, act).await;
            sleep(back).await;
            answer
        };
        let answer = if kind == Kind::Read {
            travel.await
        } else {
            // A request that was sent arrives, although the process crashes meanwhile.
            Tasks::new().spawn(travel).await.unwrap_or_else(|ended| Err(lost(&ended.to_string())))
        };
        self.maybe_crash().await;
        answer
    }

    async fn write(&self, write: Write) -> Result<Version, Error> {
        let kind = match write.key {
            RecordKey::Manifest(..) => Kind::Manifest,
            _ => Kind::Record,
        };
        let flight = Flight::of(&self.effects.world, write.key.to_string());
        let world = self.world();
        if flight.meets_others && world.profile.faults > 0 && world.random.chance(500) {
            return self.try_again(&write).await;
        }
        if world.profile.focus == Focus::Resumption
            && matches!(write.key, RecordKey::Pointer(_))
            && !world.is_calm()
            && world.random.chance(500)
        {
            world.note(format_args!("{} writes {} in vain", self.effects.process, write.key));
            return Err(lost("the request was lost"));
        }
        let (thinks, written) = (self.thinks(kind), write.key.clone());
        let answer = self.send(kind, move |effects| {
            let mut write = write.clone();
            async move {
                if let Some(thinks) = thinks {
                    // The store looks at the deadline when the request arrives.
                    if effects.is_late(write.deadline.take()) {
                        return Err(Error::Expired);
                    }
                    sleep(thinks).await;
                }
                effects.write(&write).await
            }
        });
        self.believed(&written, answer.await)
    }

    /// What the process makes of an answer, where a bug makes "try again" a lost race.
    fn believed(&self, key: &RecordKey, answer: Result<Version, Error>) -> Result<Version, Error> {
        let lost = matches!(answer, Err(Error::TryAgain))
            && self.world().bug == Some(Bug::TryAgainIsLost)
            && self.effects.role == Role::Frontend;
        if lost {
            self.effects.lie_about(key, self.world().random.next());
            return Err(Error::Conflict);
        }
        answer
    }

    /// For how long the store thinks about a write that it has accepted. The second sighting of a
    /// link makes this harmless, up to a bound.
    fn thinks(&self, kind: Kind) -> Option<Duration> {
        let world = self.world();
        let may = kind == Kind::Manifest
            && self.effects.role == Role::Frontend
            && !world.is_calm()
            && world.random.chance(world.profile.slow_decisions);
        may.then(|| world.random.between(100 * MINUTE, world.profile.slow_decision_max()))
    }

    /// The answer of a store that decides about another write to the key.
    async fn try_again(&self, write: &Write) -> Result<Version, Error> {
        sleep(self.latency()).await;
        self.world().note(format_args!("{} writes {} busy", self.effects.process, write.key));
        self.believed(&write.key, Err(Error::TryAgain))
    }
}

/// A write that is under way.
struct Flight {
    world: Arc<World>,
    key: String,
    /// Whether another write to the key was under way before.
    meets_others: bool,
}

impl Flight {
    fn of(world: &Arc<World>, key: String) -> Self {
        let meets_others = {
            let mut in_flight = world.in_flight();
            let count = in_flight.entry(key.clone()).or_default();
            *count += 1;
            *count > 1
        };
        Self { world: world.clone(), key, meets_others }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(count) = self.world.in_flight().get_mut(&self.key) {
            *count -= 1;
        }
    }
}

#[async_trait]
impl RecordStore for Connection {
    async fn read(&self, key: &RecordKey) -> Result<Record, Error> {
        let key = key.clone();
        self.send(Kind::Read, move |effects| {
            let key = key.clone();
            async move { effects.read(&key).await }
        })
        .await
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.write(Write { key: key.clone(), expected: None, body, deadline }).await
    }

    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        let expected = Some(expected.clone());
        self.write(Write { key: key.clone(), expected, body, deadline }).await
    }

    async fn remove(&self, key: &RecordKey, expected: &Version) -> Result<Removal, Error> {
        if !self.world().profile.conditional_removal {
            return Ok(Removal::Unsupported);
        }
        let (key, expected) = (key.clone(), expected.clone());
        self.send(Kind::Write, move |effects| {
            let (key, expected) = (key.clone(), expected.clone());
            async move { effects.remove(&key, &expected).await }
        })
        .await
    }

    async fn discard(&self, key: &RecordKey, expected: &Version) -> Result<(), Error> {
        if self.world().profile.conditional_removal {
            return self.remove(key, expected).await.map(drop);
        }
        let key = key.clone();
        self.send(Kind::Write, move |effects| {
            let key = key.clone();
            async move { effects.remove_any(&key).await }
        })
        .await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let (prefix, after) = (prefix.clone(), after.map(str::to_owned));
        self.send(Kind::Read, move |effects| {
            let (prefix, after) = (prefix.clone(), after.clone());
            async move { effects.list(&prefix, after.as_deref(), limit).await }
        })
        .await
    }

    fn now(&self) -> SystemTime {
        self.world().memory.now() + self.ahead - self.behind
    }
}

#[async_trait]
impl BlobStore for Connection {
    async fn put(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<Version, Error> {
        let location = location.clone();
        self.send(Kind::Write, move |effects| {
            let (location, bytes) = (location.clone(), bytes.clone());
            async move { effects.put(&location, bytes, sha256).await }
        })
        .await
    }

    async fn head(&self, location: &Location) -> Result<Option<DataObject>, Error> {
        let location = location.clone();
        self.send(Kind::Read, move |effects| {
            let location = location.clone();
            async move { effects.world.memory.head(&location).await }
        })
        .await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error> {
        let location = location.clone();
        let pieces = self.send(Kind::Read, move |effects| {
            let (location, range) = (location.clone(), range.clone());
            async move { effects.get(&location, range).await }
        });
        let mut pieces: Vec<Result<Bytes, Error>> = pieces.await?.into_iter().map(Ok).collect();
        if self.fate(Kind::Body) == Fate::Broken {
            pieces.truncate(self.world().random.below(pieces.len().max(1)));
            // It ends early, or says that it has failed.
            if self.world().random.chance(500) {
                pieces.push(Err(lost("the body broke off")));
            }
        }
        Ok(Box::pin(stream::iter(pieces)))
    }

    async fn delete(&self, location: &Location) -> Result<(), Error> {
        let location = location.clone();
        self.send(Kind::Write, move |effects| {
            let location = location.clone();
            async move { effects.delete(&location).await }
        })
        .await
    }

    async fn presign_get(
        &self,
        location: &Location,
        options: PresignGet,
    ) -> Result<Option<String>, Error> {
        self.world().memory.presign_get(location, options).await
    }

    async fn start(&self, location: &Location) -> Result<MultipartId, Error> {
        let location = location.clone();
        self.send(Kind::Write, move |effects| {
            let location = location.clone();
            async move { effects.world.memory.start(&location).await }
        })
        .await
    }

    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        let (location, id) = (location.clone(), id.clone());
        self.send(Kind::Write, move |effects| {
            let (location, id, bytes) = (location.clone(), id.clone(), bytes.clone());
            async move { effects.world.memory.put_part(&location, &id, number, bytes).await }
        })
        .await
    }

    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<Version, Error> {
        let (location, id, parts) = (location.clone(), id.clone(), parts.to_vec());
        self.send(Kind::Write, move |effects| {
            let (location, id, parts) = (location.clone(), id.clone(), parts.clone());
            async move { effects.complete(&location, &id, &parts).await }
        })
        .await
    }

    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error> {
        let (location, id) = (location.clone(), id.clone());
        self.send(Kind::Write, move |effects| {
            let (location, id) = (location.clone(), id.clone());
            async move { effects.abort(&location, &id).await }
        })
        .await
    }

    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, Error> {
        let (location, id) = (location.clone(), id.clone());
        self.send(Kind::Read, move |effects| {
            let (location, id) = (location.clone(), id.clone());
            async move { effects.world.memory.is_open(&location, &id).await }
        })
        .await
    }

    async fn list_days(&self) -> Result<Vec<Day>, Error> {
        self.send(Kind::Read, |effects| async move { effects.list_days().await }).await
    }

    async fn list_data(
        &self,
        day: &Day,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let (day, after) = (day.clone(), after.map(str::to_owned));
        let (world, most) = (self.world(), self.world().profile.data_listing);
        if !most.is_zero() && !world.is_calm() {
            sleep(world.random.between(most / 10, most)).await;
        }
        self.send(Kind::Read, move |effects| {
            let (day, after) = (day.clone(), after.clone());
            async move { effects.list_data(&day, after.as_deref(), limit).await }
        })
        .await
    }

    async fn list_multiparts(&self, limit: usize) -> Result<OpenMultiparts, Error> {
        self.send(Kind::Read, move |effects| async move { effects.list_multiparts(limit).await })
            .await
    }
}

#[async_trait]
impl ObjectStore for Connection {
    fn describe(&self) -> String {
        format!("the simulated bucket of {}", self.effects.process)
    }

    /// Only `longshore usage` lists all objects, and none runs here.
    async fn list_objects(&self, _: Option<&str>, _: usize) -> Result<Listing, Error> {
        Err(Error::Refused("a simulated process lists records and data only".to_owned()))
    }
}
