//! Entries: the four verbs that are ever applied to one, and their encoding.
//!
//! An entry is *created*, *renewed* (rewritten with a new nonce), *replaced* and *killed* (replaced
//! by nothing). Its body is one line of JSON, which carries the layout version and a nonce beside
//! its own fields, and after the newline a payload of raw bytes.
//!
//! The nonce makes every rewrite change the version, and lets a writer whose response was lost
//! recognise its own write: a conflict with a body equal to ours is a success.

use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;
use tracing::field::Empty;

use super::Error;
use super::lease::Leases;
use crate::store::{self, Deadline, RecordKey, RecordStore, Version};

/// Version of the entry encoding.
const ENCODING: u32 = 1;
/// How often a change is retried when others keep winning, before the client is told to come back.
pub(super) const ATTEMPTS_MAX: u32 = 32;

#[derive(Serialize, Deserialize)]
struct Line<H> {
    v: u32,
    nonce: String,
    #[serde(flatten)]
    header: H,
}

/// An entry that is alive, decoded.
#[derive(Debug)]
pub(super) struct Record<H> {
    pub(super) header: H,
    pub(super) payload: Bytes,
    pub(super) entry: store::Record,
}

/// What a key holds.
#[derive(Debug)]
pub(super) enum Seen {
    /// Never created.
    Absent,
    /// Killed; may be brought back by replacing this version.
    Dead(Version),
    /// There, with a body.
    Alive(store::Record),
}

/// How a conditional write ended.
#[derive(Debug)]
pub(super) enum Written {
    /// It is ours.
    Ours(Version),
    /// Another writer was first; this is what is there now.
    Lost(Seen),
}

/// A text that nothing else has.
pub(super) fn nonce() -> String {
    let mut nonce = [0u8; 12];
    // Without randomness nothing here can work; the operating system always has some.
    getrandom::fill(&mut nonce).expect("the operating system provides randomness");
    hex::encode(nonce)
}

/// The body of an entry, with a nonce of its own.
pub(super) fn encode<H: Serialize>(header: &H, payload: &[u8]) -> Bytes {
    let line = Line { v: ENCODING, nonce: nonce(), header };
    let line = serde_json::to_vec(&line).expect("headers are plain data with string keys");
    let mut body = BytesMut::with_capacity(line.len() + 1 + payload.len());
    body.put_slice(&line);
    body.put_u8(b'\n');
    body.put_slice(payload);
    body.freeze()
}

/// Reads the body of an entry that is alive.
pub(super) fn decode<H: DeserializeOwned>(body: &Bytes) -> Result<(H, Bytes), Error> {
    let damaged = |what: String| Error::Unavailable(store::Error::Damaged(what));
    let end = body
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(|| damaged("an entry without a header line".to_owned()))?;
    let line: Line<H> = serde_json::from_slice(&body[..end])
        .map_err(|error| damaged(format!("the header of an entry: {error}")))?;
    if line.v != ENCODING {
        return Err(damaged(format!("an entry of encoding {}, this program knows 1", line.v)));
    }
    Ok((line.header, body.slice(end + 1..)))
}

/// The same content with another nonce.
fn renewed(body: &Bytes) -> Result<Bytes, Error> {
    let (header, payload) = decode::<serde_json::Map<String, serde_json::Value>>(body)?;
    Ok(encode(&header, &payload))
}

/// Looks at a key.
pub(super) async fn look(store: &dyn RecordStore, key: &RecordKey) -> Result<Seen, Error> {
    match store.read(key).await {
        Ok(entry) if entry.body.is_empty() => Ok(Seen::Dead(entry.version)),
        Ok(entry) => Ok(Seen::Alive(entry)),
        Err(store::Error::NotFound) => Ok(Seen::Absent),
        Err(error) => Err(error.into()),
    }
}

/// Reads and decodes an entry, `None` if it is absent or dead.
pub(super) async fn read<H: DeserializeOwned>(
    store: &dyn RecordStore,
    key: &RecordKey,
) -> Result<Option<Record<H>>, Error> {
    match look(store, key).await? {
        Seen::Absent | Seen::Dead(_) => Ok(None),
        Seen::Alive(entry) => {
            let (header, payload) = decode(&entry.body)?;
            Ok(Some(Record { header, payload, entry }))
        }
    }
}

/// Creates an entry.
pub(super) async fn create(
    store: &dyn RecordStore,
    key: &RecordKey,
    body: &Bytes,
    deadline: Option<Deadline>,
) -> Result<Written, Error> {
    let write = store.create(key, body.clone(), deadline);
    settle("entry.create", store, key, body, write).await
}

/// Replaces one version of an entry; with an empty body this kills it.
pub(super) async fn replace(
    store: &dyn RecordStore,
    key: &RecordKey,
    expected: &Version,
    body: &Bytes,
    deadline: Option<Deadline>,
) -> Result<Written, Error> {
    let write = store.replace(key, expected, body.clone(), deadline);
    settle("entry.replace", store, key, body, write).await
}

/// How killing one version of an entry ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// This call killed it, and nobody has changed it before.
    Here,
    /// It is dead. Whether this call killed it, or another one that had first made something else
    /// of it, cannot be told: a response may have been lost.
    Somehow,
    /// It is another version, and alive.
    Not,
}

/// Kills one version of an entry.
pub(super) async fn end(
    store: &dyn RecordStore,
    key: &RecordKey,
    version: &Version,
) -> Result<Ended, Error> {
    let (nothing, mut certain) = (Bytes::new(), false);
    let write = async {
        let written = store.replace(key, version, nothing.clone(), None).await;
        certain = written.is_ok();
        written
    };
    let written = settle("entry.replace", store, key, &nothing, write).await?;
    Ok(match written {
        Written::Ours(_) if certain => Ended::Here,
        Written::Ours(_) | Written::Lost(Seen::Dead(_)) => Ended::Somehow,
        Written::Lost(_) => Ended::Not,
    })
}

/// Sends a write that happens if its condition holds, and finds out whether it is ours. A step of
/// its own in a trace.
async fn settle(
    verb: &'static str,
    store: &dyn RecordStore,
    key: &RecordKey,
    body: &Bytes,
    write: impl Future<Output = Result<Version, store::Error>> + Send,
) -> Result<Written, Error> {
    let span = tracing::info_span!(
        target: "traces",
        "entry",
        otel.name = verb,
        otel.status_code = Empty,
        entry.key = %key,
        outcome = Empty,
    );
    let settling = async {
        match write.await {
            Ok(version) => Ok(Written::Ours(version)),
            Err(store::Error::Conflict) => after_conflict(store, key, body).await,
            Err(error) => Err(error.into()),
        }
    };
    let written = settling.instrument(span.clone()).await;
    span.record(
        "outcome",
        match &written {
            Ok(Written::Ours(_)) => "ours",
            Ok(Written::Lost(_)) => "lost",
            Err(_) => "error",
        },
    );
    if written.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    written
}

async fn after_conflict(
    store: &dyn RecordStore,
    key: &RecordKey,
    body: &Bytes,
) -> Result<Written, Error> {
    match look(store, key).await? {
        // Our own first attempt, whose response was lost. Nobody else knows our nonce.
        Seen::Alive(entry) if entry.body == *body => Ok(Written::Ours(entry.version)),
        // Killing is idempotent: whoever did it, it is dead.
        Seen::Dead(version) if body.is_empty() => Ok(Written::Ours(version)),
        seen => Ok(Written::Lost(seen)),
    }
}

/// Writes over what was seen, whatever it was.
pub(super) async fn write_over(
    store: &dyn RecordStore,
    key: &RecordKey,
    seen: &Seen,
    body: &Bytes,
    deadline: Option<Deadline>,
) -> Result<Written, Error> {
    match seen {
        Seen::Absent => create(store, key, body, deadline).await,
        Seen::Dead(version) => replace(store, key, version, body, deadline).await,
        Seen::Alive(entry) => replace(store, key, &entry.version, body, deadline).await,
    }
}

/// Makes sure that an entry is alive: creates it, brings it back, or takes a lease on the one that
/// is there. Returns what is there then.
pub(super) async fn ensure(
    store: &dyn RecordStore,
    leases: &Leases,
    key: &RecordKey,
    body: &Bytes,
    deadline: Option<Deadline>,
) -> Result<Ensured, Error> {
    let mut seen = Seen::Absent;
    for _ in 0..ATTEMPTS_MAX {
        if let Seen::Alive(entry) = seen {
            match lease(store, leases, key, entry).await? {
                Some(entry) => return Ok(Ensured::Found(entry)),
                None => seen = look(store, key).await?,
            }
            continue;
        }
        match write_over(store, key, &seen, body, deadline).await? {
            Written::Ours(_) => return Ok(Ensured::Written),
            Written::Lost(now) => seen = now,
        }
    }
    Err(contended())
}

/// What [`ensure`] found.
#[derive(Debug)]
pub(super) enum Ensured {
    /// Our body is there.
    Written,
    /// Another body was there already, and may now be relied on.
    Found(store::Record),
}

/// Takes a lease on an entry: it may be relied on until its deadline, or it is `None` because it
/// died meanwhile. An entry younger than the half-life needs no write.
pub(super) async fn lease(
    store: &dyn RecordStore,
    leases: &Leases,
    key: &RecordKey,
    mut entry: store::Record,
) -> Result<Option<store::Record>, Error> {
    for _ in 0..ATTEMPTS_MAX {
        if entry.age < leases.half_life() {
            return Ok(Some(entry));
        }
        match renew(store, key, &entry).await? {
            Written::Ours(version) => {
                entry.version = version;
                entry.age = std::time::Duration::ZERO;
                return Ok(Some(entry));
            }
            Written::Lost(Seen::Alive(now)) => entry = now,
            Written::Lost(Seen::Absent | Seen::Dead(_)) => return Ok(None),
        }
    }
    Err(contended())
}

/// Rewrites an entry with a new nonce.
pub(super) async fn renew(
    store: &dyn RecordStore,
    key: &RecordKey,
    entry: &store::Record,
) -> Result<Written, Error> {
    replace(store, key, &entry.version, &renewed(&entry.body)?, None).await
}

/// Kills an entry if it is alive and `condemned` says so. Returns whether it was killed.
pub(super) async fn kill(
    store: &dyn RecordStore,
    key: &RecordKey,
    mut seen: Seen,
    condemned: impl Fn(&store::Record) -> Result<bool, Error>,
) -> Result<bool, Error> {
    for _ in 0..ATTEMPTS_MAX {
        let Seen::Alive(entry) = seen else { return Ok(false) };
        if !condemned(&entry)? {
            return Ok(false);
        }
        match replace(store, key, &entry.version, &Bytes::new(), None).await? {
            Written::Ours(_) => return Ok(true),
            Written::Lost(now) => seen = now,
        }
    }
    Err(contended())
}

/// Others kept winning.
pub(super) fn contended() -> Error {
    Error::Busy("many writers change one entry at once".to_owned())
}

/// When a request began to rely on what it read, for the deadline of what it writes.
pub(super) fn moment(store: &dyn RecordStore) -> SystemTime {
    store.now()
}

#[cfg(test)]
mod tests;
