//! The bucket: records with versions, data objects, and what the store decides about a request.

use crate::rules::Rules;

/// Time of the store's clock.
pub(crate) type Tick = u8;
/// The nonce of a write; zero is none.
pub(crate) type Nonce = u16;
/// The key of a data object.
pub(crate) type Location = u8;
/// Versions before a record that its `past` names, as in `src/layout/encoding/mod.rs`.
pub(crate) const PAST_MAX: usize = 4;
/// Versions before a tombstone that it names.
const TOMBSTONE_PAST: usize = 2;

/// The durations of `src/registry/lease.rs`, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// W: the store refuses a dated write after this.
    pub(crate) deadline: Tick,
    /// H: from this age on a record is touched before a request relies on it.
    pub(crate) half_life: Tick,
    /// G.
    pub(crate) grace: Tick,
    /// How long data is kept after its last record is gone.
    pub(crate) quarantine: Tick,
    /// How much older than the grace data must be before the collector looks for its names.
    pub(crate) leak_margin: Tick,
    /// By how much the store applies a dated write too late: 0 for a store that keeps its word.
    pub(crate) overdue: Tick,
}

/// The key of a record. Repositories, digests, manifests and tags are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// `u/`
    Session(u8),
    /// `l/`, with repository and digest.
    Link(u8, u8),
    /// `m/`
    Manifest(u8),
    /// `x/`, with manifest and tag.
    TagIndex(u8, u8),
    /// `t/`
    Tag(u8),
    /// `p/`
    Pointer(u8),
    /// `g/quarantine/`
    Quarantined(Location),
    /// `g/seen/`: the candidates of the last run.
    Seen,
}

/// Which keys a listing shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Prefix {
    Sessions,
    Links,
    Manifests,
    TagIndexes,
    Tags,
    Pointers,
    Quarantined,
}

impl Prefix {
    pub(crate) fn has(self, key: Key) -> bool {
        match key {
            Key::Session(_) => self == Self::Sessions,
            Key::Link(..) => self == Self::Links,
            Key::Manifest(_) => self == Self::Manifests,
            Key::TagIndex(..) => self == Self::TagIndexes,
            Key::Tag(_) => self == Self::Tags,
            Key::Pointer(_) => self == Self::Pointers,
            Key::Quarantined(_) => self == Self::Quarantined,
            Key::Seen => false,
        }
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Body {
    /// The data that the session names; whether it is an open multipart upload at first; the
    /// acknowledged offset; whether the commit has begun.
    Session {
        location: Option<Location>,
        multipart: bool,
        offset: u8,
        committing: bool,
    },
    /// Without a location: only a hint (decision 0007).
    Pointer {
        location: Option<Location>,
    },
    /// Without a location: the content is in the link.
    Link {
        location: Option<Location>,
    },
    /// Bits of the digests that its references and its external layers name, and of the child
    /// manifests.
    Manifest {
        blobs: u8,
        external: u8,
        children: u8,
        doomed: bool,
        generation: Nonce,
    },
    /// And whether the push that wrote it had no condition.
    Tag {
        manifest: u8,
        unconditional: bool,
    },
    TagIndex,
    /// The digest, if it is known.
    Quarantined {
        digest: Option<u8>,
    },
    /// The version in which the link of each digest was seen unreferenced.
    Seen {
        links: [Nonce; 2],
    },
    Tombstone,
}

impl Body {
    /// The data object that the record names.
    pub(crate) fn location(self) -> Option<Location> {
        match self {
            Self::Session { location, .. }
            | Self::Pointer { location }
            | Self::Link { location } => location,
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) nonce: Nonce,
    /// The newest first.
    pub(crate) past: [Nonce; PAST_MAX],
    pub(crate) body: Body,
    pub(crate) written: Tick,
}

impl Record {
    pub(crate) fn is_live(&self) -> bool {
        self.body != Body::Tombstone
    }

    /// What a conditional write compares. Without a nonce in it, every tombstone has the same.
    pub(crate) fn version(&self, rules: &Rules) -> Nonce {
        if self.is_live() || rules.tombstone_nonce { self.nonce } else { 0 }
    }

    /// Whether the write with this nonce happened, as far as the record tells.
    pub(crate) fn names(&self, nonce: Nonce) -> bool {
        let known = if self.is_live() { PAST_MAX } else { TOMBSTONE_PAST };
        self.nonce == nonce || self.past.iter().take(known).any(|past| *past == nonce)
    }

    /// The nonces that the next version takes over.
    pub(crate) fn lineage(&self) -> [Nonce; PAST_MAX] {
        let known = if self.is_live() { PAST_MAX } else { TOMBSTONE_PAST };
        let mut lineage = [0; PAST_MAX];
        let newest_first = std::iter::once(self.nonce).chain(self.past.into_iter().take(known));
        for (place, nonce) in lineage.iter_mut().zip(newest_first) {
            *place = nonce;
        }
        lineage
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    Absent,
    Version(Nonce),
    /// Only the ablation "unconditional removal" sends this.
    None,
}

/// A conditional write of a record: `src/store/mod.rs`, `RecordStore::create` and `replace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    pub(crate) key: Key,
    pub(crate) condition: Condition,
    pub(crate) nonce: Nonce,
    pub(crate) past: [Nonce; PAST_MAX],
    pub(crate) body: Body,
    /// The moment at which the write is dated.
    pub(crate) dated: Option<Tick>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Data {
    /// An open multipart upload.
    Open,
    Whole,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DataObject {
    pub(crate) location: Location,
    /// The day of its key.
    pub(crate) begun: Tick,
    pub(crate) data: Data,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Decision {
    Written,
    Conflict,
    Expired,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    records: Vec<(Key, Record)>,
    data: Vec<DataObject>,
}

impl Store {
    pub(crate) fn record(&self, key: Key) -> Option<&Record> {
        self.records.iter().find(|(found, _)| *found == key).map(|(_, record)| record)
    }

    pub(crate) fn live(&self, key: Key) -> Option<&Record> {
        self.record(key).filter(|record| record.is_live())
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &(Key, Record)> {
        self.records.iter()
    }

    pub(crate) fn data(&self) -> impl Iterator<Item = &DataObject> {
        self.data.iter()
    }

    pub(crate) fn state_of(&self, location: Location) -> Data {
        let found = self.data.iter().find(|object| object.location == location);
        found.map_or(Data::Gone, |object| object.data)
    }

    pub(crate) fn put_record(&mut self, key: Key, record: Record) {
        match self.records.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => self.records[at].1 = record,
            Err(at) => self.records.insert(at, (key, record)),
        }
    }

    pub(crate) fn write(
        &mut self,
        write: &Write,
        now: Tick,
        times: Times,
        rules: &Rules,
    ) -> Decision {
        if let Some(dated) = write.dated
            && rules.deadlines
            && now > dated + times.deadline + times.overdue
        {
            return Decision::Expired;
        }
        let version = self.record(write.key).map(|record| record.version(rules));
        let holds = match write.condition {
            Condition::Absent => version.is_none(),
            Condition::Version(expected) => version == Some(expected),
            Condition::None => true,
        };
        if !holds {
            return Decision::Conflict;
        }
        let Write { key, nonce, past, body, .. } = *write;
        self.put_record(key, Record { nonce, past, body, written: now });
        Decision::Written
    }

    /// A conditional DELETE, which the collector sends for old tombstones only.
    pub(crate) fn remove(&mut self, key: Key, version: Nonce, rules: &Rules) {
        let same = |record: &Record| record.version(rules) == version;
        self.records.retain(|(found, record)| *found != key || !same(record));
    }

    pub(crate) fn set_data(&mut self, location: Location, data: Data, now: Tick) {
        match self.data.iter_mut().find(|object| object.location == location) {
            Some(object) => object.data = data,
            None => {
                self.data.push(DataObject { location, begun: now, data });
                self.data.sort_unstable_by_key(|object| object.location);
            }
        }
    }
}
