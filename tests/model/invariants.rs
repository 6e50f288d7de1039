//! The invariants of the design, as conditions on a state.

use crate::manifests::{Push, bits};
use crate::process::{End, writer_of};
use crate::scenario::Operation;
use crate::store::{Body, Data, Key, Location, Store};
use crate::world::{State, World};

type Invariant = (&'static str, fn(&World, &State) -> bool);

pub(crate) const ALL: [Invariant; 7] = [
    ("I1 acknowledged content is there", content_is_there),
    ("I2 every named location exists", locations_exist),
    ("I1, I4, I12 garbage is collected in the end, and only garbage", settles),
    ("I7 sessions only grow", |_, state| !state.seen.session_went_back),
    ("I8 an ended session yields no pointer", |_, state| !state.seen.published_after_end),
    ("I10 an acknowledged delete stays", deletes_stay),
    ("I14 no write takes effect twice", writes_happen_once),
];

fn named_by(body: Body) -> Option<Location> {
    match body {
        Body::Pointer { .. } | Body::Link { .. } => body.location(),
        _ => None,
    }
}

fn blob_is_there(store: &Store, digest: u8) -> bool {
    store.live(Key::Link(0, digest)).is_some_and(|link| {
        let location = link.body.location();
        location.is_none_or(|location| store.state_of(location) == Data::Whole)
    })
}

fn manifest_is_there(store: &Store, manifest: u8) -> bool {
    let body = store.live(Key::Manifest(manifest)).map(|record| record.body);
    matches!(body, Some(Body::Manifest { doomed: false, .. }))
}

/// A manifest of an acknowledged push pulls whole, unless its deletion or that of a blob has begun.
fn pulls(world: &World, state: &State, push: Push, store: &Store) -> bool {
    let operations = world.scenario.operations.iter().zip(&state.running);
    let deleted =
        operations.filter(|(_, running)| running.has_begun()).any(
            |(operation, _)| match *operation {
                Operation::DeleteManifest(manifest) => manifest == push.manifest,
                Operation::DeleteBlob(0, digest) => {
                    bits(push.blobs | push.external).any(|b| b == digest)
                }
                _ => false,
            },
        );
    deleted
        || (manifest_is_there(store, push.manifest)
            && bits(push.blobs | push.external).all(|digest| blob_is_there(store, digest))
            && bits(push.children).all(|child| manifest_is_there(store, child)))
}

fn acknowledged<'a>(
    world: &'a World,
    state: &'a State,
) -> impl Iterator<Item = (usize, &'a Operation)> {
    let ends = world.scenario.operations.iter().enumerate().zip(&state.running);
    let ends = ends.filter(|(_, running)| running.end == Some(End::Acknowledged));
    ends.map(|(operation, _)| operation)
}

fn content_is_there(world: &World, state: &State) -> bool {
    all_pull(world, state, &state.store) && !a_tag_dangles(world, state)
}

fn all_pull(world: &World, state: &State, store: &Store) -> bool {
    acknowledged(world, state).all(|(_, operation)| match operation {
        Operation::PushManifest(push) => pulls(world, state, *push, store),
        _ => true,
    })
}

/// A push and a deletion of one manifest were both acknowledged, and a tag names what is gone.
fn a_tag_dangles(world: &World, state: &State) -> bool {
    let all_acknowledged = state
        .running
        .iter()
        .zip(&world.scenario.operations)
        .all(|(r, o)| matches!(o, Operation::Collect(_)) || r.end == Some(End::Acknowledged));
    let deletes = |operation: &Operation| matches!(operation, Operation::DeleteManifest(_));
    all_acknowledged
        && world.scenario.operations.iter().any(deletes)
        && state.store.records().any(|(_, record)| match record.body {
            Body::Tag { manifest, .. } => !manifest_is_there(&state.store, manifest),
            _ => false,
        })
}

fn locations_exist(_: &World, state: &State) -> bool {
    state.store.records().all(|(key, record)| {
        let location = named_by(record.body);
        // The scenarios of a damaged bucket begin with a pointer to data that is not there.
        location.is_none_or(|location| {
            location == crate::scenario::MISSING && matches!(key, Key::Pointer(_))
                || state.store.state_of(location) == Data::Whole
        })
    })
}

/// Every process stops where it is, at the end of the time of the scenario: an earlier crash leads
/// to the same bucket at that time.
fn settles(world: &World, state: &State) -> bool {
    if !world.scenario.settles || state.now < world.scenario.end() {
        return true;
    }
    let store = world.settled(state);
    let mut referenced = 0;
    for (_, record) in store.records() {
        if let Body::Manifest { blobs, external, .. } = record.body {
            referenced |= blobs | external;
        }
    }
    let named = |location: Location| {
        store.live(Key::Pointer(0)).is_some_and(|found| found.body.location() == Some(location))
    };
    let is_used = |key: Key| match key {
        Key::Session(_) | Key::Quarantined(_) => false,
        Key::Link(0, digest) => bits(referenced).any(|b| b == digest),
        Key::Link(..) => false,
        Key::Pointer(digest) => store.records().any(|(key, record)| {
            record.is_live() && matches!(key, Key::Link(_, linked) if *linked == digest)
        }),
        _ => true,
    };
    let no_record = store.records().all(|(key, record)| !record.is_live() || is_used(*key));
    let no_data = store.data().all(|object| match object.data {
        Data::Gone => true,
        Data::Whole => named(object.location),
        // A lifecycle rule of the bucket aborts a multipart upload that no session names.
        Data::Open => true,
    });
    no_record && no_data && all_pull(world, state, &store)
}

/// What was deleted does not come back by a write of a request that ended before the deletion.
fn deletes_stay(world: &World, state: &State) -> bool {
    acknowledged(world, state).all(|(index, operation)| {
        let key = match *operation {
            Operation::DeleteTag => Key::Tag(0),
            Operation::DeleteManifest(manifest) => Key::Manifest(manifest),
            Operation::DeleteBlob(repository, digest) => Key::Link(repository, digest),
            _ => return true,
        };
        state.store.live(key).is_none_or(|record| {
            let writer = usize::from(writer_of(record.nonce));
            !world
                .scenario
                .after
                .iter()
                .any(|(first, second)| *second == index && *first + 1 == writer)
        })
    })
}

/// No operation changes a tag again after another one has.
fn writes_happen_once(world: &World, state: &State) -> bool {
    let writers = &state.seen.tag_writers;
    writers.iter().enumerate().all(|(at, writer)| {
        let Some(index) = usize::from(*writer).checked_sub(1) else { return true };
        let once = matches!(
            world.scenario.operations.get(index),
            Some(Operation::PushTag(..) | Operation::DeleteTag)
        );
        !once || !writers[..at].contains(writer)
    })
}
