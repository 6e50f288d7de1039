//! Receiving the body of an upload: hash as it arrives, fill a part, send it on, keep going.
//!
//! While one part is on its way the next one fills; how many travel at once and how much memory
//! they hold is bounded. Before the first part is sent the session is *claimed*: the entry then
//! says which part numbers this request may use, and no other request will use them.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::memory::Reservation;
use super::parts::{self, PART_BYTES_MIN, PARTS_MAX, part_bytes, part_bytes_min};
use super::session::{Hashes, Loaded};
use super::{Body, UploadAddress, Uploads, unread};
use crate::layout::records::{self, Multipart, Session};
use crate::registry::Error;
use crate::registry::record::{self, Current, Written};
use crate::store::{Location, Part, RecordKey, Version};

/// Bytes that an upload may buffer before it has to reserve any: most blobs are smaller, and the
/// number of concurrent uploads is bounded elsewhere.
pub(super) const UNRESERVED_BYTES_MAX: usize = 64 * 1024;
/// By how much a part grows beyond the smallest size while there is memory, in bytes.
const GROWTH_BYTES: usize = 1024 * 1024;
/// Part numbers that one claim reserves; more are reserved as they are needed.
const CLAIMED_PARTS: u32 = 64;

/// Why receiving ended before the body did.
#[derive(Debug)]
pub(super) enum Stop {
    /// The session was believed to be new, but it exists. Nothing was sent; these bytes were read.
    SessionExists(Bytes),
    /// It cannot go on.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// One request's work on a session.
#[derive(Debug)]
pub(super) struct UploadWriter<'a> {
    pub(super) uploads: &'a Uploads,
    upload: &'a UploadAddress,
    pub(super) session: Session,
    /// The version of the entry that this request read or wrote last; `None` before the first.
    pub(super) version: Option<Version>,
    pub(super) hashes: Hashes,
    /// The hashes and the tail at the acknowledged offset of the session.
    durable: (Hashes, Bytes),
    /// What was received and not yet sent on.
    pub(super) buffer: BytesMut,
    reserved: Option<Reservation>,
    /// All bytes of the blob so far, the buffer included.
    pub(super) received: u64,
    claimed: bool,
    /// Where bytes lie that were staged and are in the buffer now, or were sent on.
    pub(super) carried: Option<Location>,
    in_flight: JoinSet<Result<Part, crate::store::Error>>,
}

impl<'a> UploadWriter<'a> {
    pub(super) fn new_session(
        uploads: &'a Uploads,
        upload: &'a UploadAddress,
        hashes: Hashes,
    ) -> Self {
        let session = Session::new(upload.repository.clone(), upload.subject.clone());
        Self::over(uploads, upload, session, None, hashes, Bytes::new())
    }

    pub(super) fn continuing(
        uploads: &'a Uploads,
        upload: &'a UploadAddress,
        loaded: Loaded,
        reserved: Option<Reservation>,
    ) -> Result<Self, Error> {
        let hashes = loaded.session.hashes()?;
        let Loaded { session, tail, version } = loaded;
        let mut receiver = Self::over(uploads, upload, session, Some(version), hashes, tail);
        receiver.reserved = reserved;
        Ok(receiver)
    }

    fn over(
        uploads: &'a Uploads,
        upload: &'a UploadAddress,
        session: Session,
        version: Option<Version>,
        hashes: Hashes,
        tail: Bytes,
    ) -> Self {
        let received = session.offset;
        Self {
            uploads,
            upload,
            session,
            version,
            durable: (hashes.clone(), tail.clone()),
            hashes,
            buffer: BytesMut::from(tail),
            reserved: None,
            received,
            claimed: false,
            carried: None,
            in_flight: JoinSet::new(),
        }
    }

    pub(super) fn key(&self) -> RecordKey {
        RecordKey::Upload(self.upload.id)
    }

    pub(super) fn upload(&self) -> &'a UploadAddress {
        self.upload
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.claimed
    }

    /// Whether the entry of this session was never written.
    pub(super) fn is_unwritten(&self) -> bool {
        self.version.is_none()
    }

    /// Whether the buffer holds the durable tail and nothing else.
    pub(super) fn buffer_is_durable(&self) -> bool {
        !self.claimed && self.carried.is_none() && self.received == self.session.offset
    }

    /// Where everything that was received lies, if that is an object of its own.
    pub(super) fn staged(&self) -> Option<Location> {
        if self.carried.is_some() { None } else { self.session.single_object.clone() }
    }

    /// Has the next entry acknowledge so many bytes, in parts and in the tail. Staged ones are
    /// among them then; until then a claim still says that they are what was acknowledged.
    pub(super) fn stand_at(&mut self, offset: u64) {
        self.session.offset = offset;
        if self.carried.is_some() {
            self.session.leave_staged();
        }
    }

    /// Has a place for so many bytes and for the smallest part.
    pub(super) async fn reserve(&mut self, bytes: usize) -> Result<(), Error> {
        let bytes = bytes.max(self.part_bytes_min());
        self.reserved = Some(self.uploads.memory.reserve(bytes).await?);
        Ok(())
    }

    pub(super) fn take_reserved(&mut self) -> Option<Reservation> {
        self.reserved.take()
    }

    /// Goes on after bytes that were staged.
    pub(super) async fn carry(&mut self, from: Location, bytes: BytesMut) -> Result<(), Stop> {
        self.buffer = bytes;
        self.carried = Some(from);
        if self.buffer.len() >= self.part_bytes() { self.send_part().await } else { Ok(()) }
    }

    /// Takes in the whole body. `expected` is its length, where the client said so.
    ///
    /// When the client goes away in the middle, what arrived is kept and `Ok(Some(reason))` is
    /// returned.
    pub(super) async fn receive(
        &mut self,
        body: &mut Body,
        expected: Option<u64>,
    ) -> Result<Option<String>, Stop> {
        let mut remaining = expected;
        while let Some(chunk) = body.next().await {
            let mut chunk = match chunk {
                Ok(chunk) => chunk,
                Err(interrupted) => {
                    // What is read again, because the session was not new, ends in the same way.
                    *body = Box::pin(stream::iter([Err(interrupted.clone())]));
                    return Ok(Some(interrupted.0));
                }
            };
            let length = chunk.len() as u64;
            if let Err(stop) = self.take_in(&mut chunk, remaining).await {
                unread(body, chunk);
                return Err(stop);
            }
            remaining = remaining.map(|bytes| bytes.saturating_sub(length));
        }
        // A stream that has ended must not be asked again, and whoever finds out only now that the
        // session was not new reads from the beginning.
        *body = Box::pin(stream::empty());
        Ok(None)
    }

    /// Takes in a piece of the body. What is left of it on an error was not looked at.
    async fn take_in(&mut self, chunk: &mut Bytes, remaining: Option<u64>) -> Result<(), Stop> {
        while !chunk.is_empty() {
            self.unstage().await?;
            let room = self.room(chunk.len(), remaining).await?;
            let piece = chunk.split_to(room.min(chunk.len()));
            self.hashes.update(&piece);
            self.buffer.extend_from_slice(&piece);
            self.received += piece.len() as u64;
            if self.buffer.len() >= self.part_bytes() {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    fn part_bytes(&self) -> usize {
        part_bytes(self.uploads.limits.part_bytes, self.session.part_next)
    }

    fn part_bytes_min(&self) -> usize {
        part_bytes_min(self.uploads.limits.part_bytes, self.session.part_next)
    }

    /// How many more bytes the buffer may take now; at least one.
    async fn room(&mut self, wanted: usize, remaining: Option<u64>) -> Result<usize, Stop> {
        loop {
            let allowed = self.reserved.as_ref().map_or(UNRESERVED_BYTES_MAX, Reservation::bytes);
            let allowed = allowed.min(self.part_bytes());
            if self.buffer.len() < allowed {
                let room = allowed - self.buffer.len();
                let enough = room >= wanted || room >= UNRESERVED_BYTES_MAX;
                if enough || allowed == self.part_bytes() {
                    return Ok(room);
                }
            }
            match &mut self.reserved {
                None => {
                    let least = self.part_bytes_min().max(self.buffer.len());
                    let rest = remaining
                        .map_or(usize::MAX, |rest| usize::try_from(rest).unwrap_or(usize::MAX));
                    let all = self.buffer.len().saturating_add(rest).saturating_add(1);
                    let needed = least.min(all).max(self.buffer.len() + 1);
                    let whole = self.part_bytes().min(all);
                    if let Some(mut spare) = self.uploads.memory.spare(whole) {
                        spare.bytes.extend_from_slice(&self.buffer);
                        self.buffer = spare.bytes;
                        self.reserved = Some(spare.reserved);
                        continue;
                    }
                    self.reserved = Some(self.uploads.memory.reserve(needed).await?);
                    // Address space for the whole part at once: what grows step by step is copied
                    // at each step, and is there twice meanwhile.
                    self.buffer.reserve(whole.saturating_sub(self.buffer.len()));
                }
                Some(reserved) => {
                    if self.uploads.memory.grow(reserved, GROWTH_BYTES) {
                        continue;
                    }
                    if self.buffer.len() < allowed {
                        return Ok(allowed - self.buffer.len());
                    }
                    // No memory to grow: what is here is large enough to go as a part of its own.
                    self.send_part().await?;
                }
            }
        }
    }

    /// Sends the buffer on as a part.
    pub(super) async fn send_part(&mut self) -> Result<(), Stop> {
        if !self.claimed {
            self.claim().await?;
        }
        let number = self.session.part_next;
        if number > PARTS_MAX {
            return Err(Error::TooLarge(format!("more than {PARTS_MAX} parts")).into());
        }
        if self.session.reserved_to.is_none_or(|bound| number >= bound) {
            self.reserve_more().await?;
        }
        while self.in_flight.len() >= self.uploads.limits.parts_in_flight_max {
            self.one_part_done().await?;
        }
        let (location, multipart) = self.target();
        let bytes = std::mem::take(&mut self.buffer).freeze();
        let held = self.reserved.take();
        let (store, metrics) = (self.uploads.data.clone(), self.uploads.metrics.clone());
        let spares = self.uploads.memory.spares();
        let sending = async move {
            let target = (&location, &multipart);
            let part = parts::send(store.as_ref(), &metrics, target, number, bytes.clone()).await;
            spares.keep(bytes, held);
            part
        };
        self.in_flight.spawn(sending.in_current_span());
        self.session.part_next = number + 1;
        self.durable = (self.hashes.clone(), Bytes::new());
        Ok(())
    }

    pub(super) fn target(&self) -> (Location, crate::store::MultipartId) {
        self.session.multipart().expect("a claimed session has a multipart upload")
    }

    async fn one_part_done(&mut self) -> Result<(), Error> {
        match self.in_flight.join_next().await {
            Some(Ok(Ok(part))) => {
                let Part { number, tag, size } = part;
                self.session.parts.push(records::Part { number, tag, size });
                Ok(())
            }
            // The store has forgotten the upload: somebody ended it, or it grew too old.
            Some(Ok(Err(crate::store::Error::NotFound))) => Err(Error::UploadUnknown),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(error)) => Err(Error::Interrupted(format!("sending a part ended: {error}"))),
            None => Ok(()),
        }
    }

    /// Waits until every part that was sent is acknowledged.
    pub(super) async fn drain(&mut self) -> Result<(), Error> {
        while !self.in_flight.is_empty() {
            self.one_part_done().await?;
        }
        self.session.parts.sort_by_key(|part| part.number);
        Ok(())
    }

    /// Writes down where the bytes go and which part numbers this request uses.
    async fn claim(&mut self) -> Result<(), Stop> {
        if let Some(bound) = self.session.reserved_to {
            // Another request claimed the session and did not finish: its numbers stay its own.
            self.session.part_next = bound;
        }
        let begun = if self.session.multipart.is_none() {
            let location = Location::new_unique(self.uploads.records.now());
            let multipart = self.uploads.data.start(&location).await.map_err(Error::from)?;
            let (at, id) = (location.clone(), multipart.0.clone());
            self.session.multipart = Some(Multipart { location: at, id });
            Some((location, multipart))
        } else {
            None
        };
        self.session.reserved_to = Some(self.session.part_next.saturating_add(CLAIMED_PARTS));
        let was_new = self.is_unwritten();
        let (hashes, tail) = self.durable.clone();
        match self.write(&hashes, &tail).await {
            Ok(()) => {
                self.claimed = true;
                Ok(())
            }
            Err(error) => {
                // Only a definite answer says that nobody knows of what was begun.
                let lost = matches!(error, Error::OutOfOrder { .. } | Error::UploadUnknown);
                if let (Some((location, multipart)), true) = (begun, lost) {
                    self.uploads.abort_later(location, multipart);
                }
                // It may be committing or have ended: then this request was answered before, or
                // nearly so, and whoever reads the session finds that out.
                if lost && was_new {
                    return Err(Stop::SessionExists(std::mem::take(&mut self.buffer).freeze()));
                }
                Err(error.into())
            }
        }
    }

    /// Reserves more part numbers, which also makes durable what was sent so far.
    async fn reserve_more(&mut self) -> Result<(), Stop> {
        self.drain().await?;
        self.stand_at(self.session.parts.iter().map(|part| part.size).sum());
        self.session.reserved_to = Some(self.session.part_next.saturating_add(CLAIMED_PARTS));
        let (hashes, tail) = self.durable.clone();
        self.write(&hashes, &tail).await?;
        Ok(())
    }

    /// Makes everything that was received durable, and gives up the claim.
    pub(super) async fn save(&mut self) -> Result<(), Stop> {
        if self.buffer.len() >= PART_BYTES_MIN && self.buffer.len() >= self.part_bytes_min() {
            self.send_part().await?;
        }
        self.drain().await?;
        self.stand_at(self.received);
        if self.claimed || self.session.reserved_to.is_none() {
            self.session.reserved_to = None;
        }
        let was_new = self.is_unwritten();
        let (body, tail) = self.pack();
        let saving = tracing::info_span!(target: "traces", "session.save");
        match self.write_body(body).instrument(saving).await {
            Ok(()) => Ok(()),
            Err(Error::OutOfOrder { .. } | Error::UploadUnknown) if was_new => {
                Err(Stop::SessionExists(tail))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The entry that makes all that was received durable, and the tail as a part of it: while the
    /// store takes its time the tail is in memory once, and not four times.
    pub(super) fn pack(&mut self) -> (Bytes, Bytes) {
        let body = self.session.encode(&self.hashes, &self.buffer);
        let tail = body.slice(body.len() - self.buffer.len()..);
        self.buffer = BytesMut::new();
        self.durable.1 = Bytes::new();
        (body, tail)
    }

    /// Writes the session entry. If another request was first, says where the session stands now.
    async fn write(&mut self, hashes: &Hashes, tail: &Bytes) -> Result<(), Error> {
        let body = self.session.encode(hashes, tail);
        self.write_body(body).await
    }

    pub(super) async fn write_body(&mut self, body: Bytes) -> Result<(), Error> {
        let key = self.key();
        let store = self.uploads.store();
        let written = match &self.version {
            None => record::create(store, &key, &body, None).await?,
            Some(version) => record::replace(store, &key, version, &body, None).await?,
        };
        match written {
            Written::Ours(version) => {
                self.version = Some(version);
                if self.session.single_object.is_none()
                    && let Some(location) = self.carried.take()
                {
                    self.uploads.delete_later(location);
                }
                Ok(())
            }
            Written::Lost(Current::Live(now)) => {
                let (session, _) = Session::decode(&now.body)?;
                if !session.belongs_to(self.upload) || !session.committing.is_empty() {
                    return Err(Error::UploadUnknown);
                }
                Err(Error::OutOfOrder { offset: session.offset })
            }
            Written::Lost(Current::Absent | Current::Tombstone(_)) => Err(Error::UploadUnknown),
        }
    }
}
