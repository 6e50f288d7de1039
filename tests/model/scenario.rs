//! What a scenario is: a few operations at once on a small bucket, and the rules that it needs.

use crate::collector::Phase;
use crate::manifests::{Push, TagCondition};
use crate::rules::Rules;
use crate::store::{Body, Data, Key, Location, Nonce, PAST_MAX, Record, Store, Tick, Times};

/// The data of the blob that was pushed before a scenario begins.
pub(crate) const STORED: Location = 60;
/// The data of the session that was opened before a scenario begins.
pub(crate) const UPLOADED: Location = 61;
/// Data that a damaged bucket has lost.
pub(crate) const MISSING: Location = 62;

/// What one process does.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Each with repository and digest.
    PushSmall((u8, u8)),
    PushInline((u8, u8)),
    /// PATCH with the whole blob.
    Stage,
    /// PATCH with one more chunk.
    Append,
    /// PUT that ends the session.
    Finish((u8, u8)),
    /// DELETE of the session.
    Cancel,
    Mount {
        source: u8,
        target: u8,
    },
    DeleteBlob(u8, u8),
    PushManifest(Push),
    DeleteManifest(u8),
    PushTag(u8, TagCondition),
    DeleteTag,
    Collect(&'static [Phase]),
}

/// A rule, and how it is taken away.
pub(crate) type Ablation = (&'static str, fn(&mut Rules));

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) operations: Vec<Operation>,
    /// The second operation of each pair begins when the first has ended.
    pub(crate) after: Vec<(usize, usize)>,
    /// Operations whose writes may be lost or find the store busy.
    pub(crate) faulty: Vec<usize>,
    /// How many writes are lost, and how many times the store is busy, in all.
    pub(crate) losses: u8,
    pub(crate) busy: u8,
    /// Rows of one page of a listing.
    pub(crate) page_rows: usize,
    pub(crate) times: Times,
    /// How long the scenario lasts.
    pub(crate) ticks: Tick,
    /// Whether what remains at the end must be collected by and by.
    pub(crate) settles: bool,
    /// What the bucket holds at first, for records of an age.
    pub(crate) bucket: Vec<(Key, Body)>,
    pub(crate) data: Vec<(Location, Data)>,
    /// The ages of those records, one after the other.
    pub(crate) ages: Vec<Tick>,
    /// What was written just now.
    pub(crate) fresh: Vec<(Key, Body)>,
    pub(crate) ablations: Vec<Ablation>,
}

/// How much of each scenario is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bounds {
    Short,
    Long,
}

/// Those of the short bounds.
pub(crate) const SHORT: Times =
    Times { deadline: 0, half_life: 1, grace: 2, quarantine: 0, leak_margin: 0, overdue: 0 };
const LONG: Times =
    Times { deadline: 1, half_life: 2, grace: 4, quarantine: 1, leak_margin: 1, overdue: 0 };

impl Scenario {
    pub(crate) fn new(name: &'static str, bounds: Bounds, operations: Vec<Operation>) -> Self {
        let times = if bounds == Bounds::Short { SHORT } else { LONG };
        Self {
            name,
            operations,
            after: Vec::new(),
            faulty: Vec::new(),
            losses: 0,
            busy: 0,
            page_rows: usize::MAX,
            times,
            ticks: times.grace + 2 * times.quarantine + 2,
            settles: true,
            bucket: Vec::new(),
            data: Vec::new(),
            ages: vec![times.grace + 1],
            fresh: Vec::new(),
            ablations: Vec::new(),
        }
    }

    /// So late that the oldest record can have been written at time zero.
    pub(crate) fn begin(&self) -> Tick {
        3 * (self.times.grace + 1)
    }

    pub(crate) fn end(&self) -> Tick {
        self.begin() + self.ticks
    }

    /// The bucket, once for each age.
    pub(crate) fn stores(&self) -> Vec<Store> {
        self.ages.iter().map(|age| self.store(*age)).collect()
    }

    fn store(&self, age: Tick) -> Store {
        let mut store = Store::default();
        let written = self.begin() - age;
        for (location, data) in &self.data {
            store.set_data(*location, *data, written);
        }
        let mut nonce: Nonce = 0;
        let old = self.bucket.iter().map(|record| (record, written));
        let fresh = self.fresh.iter().map(|record| (record, self.begin()));
        for ((key, body), written) in old.chain(fresh) {
            nonce += 1;
            let record = Record { nonce, past: [0; PAST_MAX], body: *body, written };
            store.put_record(*key, record);
        }
        // An earlier run has seen the old links as they are.
        let mut links = [0; 2];
        for (key, record) in store.records() {
            if let Key::Link(repository, _) = key
                && age > self.times.grace
            {
                links[usize::from(*repository)] = record.nonce;
            }
        }
        if links != [0; 2] {
            nonce += 1;
            let body = Body::Seen { links };
            store.put_record(Key::Seen, Record { nonce, past: [0; PAST_MAX], body, written });
        }
        store
    }
}
