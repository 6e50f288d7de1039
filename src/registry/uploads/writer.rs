//! Writing to an upload session: hash the body as it arrives, fill a part, send it, go on.
//!
//! A request with the location of the start (`<id>-new`) does not read the session: most of them
//! are the first. If its first write finds that the session exists, it reads the session and writes
//! the received bytes, which are all in the buffer, again behind those of the session
//! ([`UploadWriter::rebase`]).

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::Uploads;
use super::hashes::Hashes;
use super::memory::Reservation;
use super::parts::{PartSizes, UNRESERVED_BYTES_MAX};
use super::request::{Chunk, Request};
use super::session::{Found, Loaded};
use crate::layout::encoding::{self, Lineage, Nonce};
use crate::layout::records::Session;
use crate::registry::Error;
use crate::registry::record::{Base, Current, Written};
use crate::store::{self, Deadline, Location, Part, RecordKey};

/// By how much a buffer grows beyond the smallest part while memory is free, in bytes.
const GROWTH_BYTES: usize = 1024 * 1024;

/// Why a request cannot write to its session.
#[derive(Debug)]
pub(super) enum Stop<'a> {
    /// The session has ended, perhaps with the blob that the request wants.
    Ended,
    /// A request with the same digests has begun to commit the session.
    Committing(Box<UploadWriter<'a>>),
    Failed(Error),
}

impl From<Error> for Stop<'_> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Stop<'_>> for Error {
    fn from(stop: Stop<'_>) -> Self {
        match stop {
            Stop::Ended | Stop::Committing(_) => Self::UploadUnknown,
            Stop::Failed(error) => error,
        }
    }
}

/// Where the acknowledged bytes are that lie in no part.
#[derive(Debug)]
pub(super) enum Tail {
    /// At the beginning of the buffer. The record holds them, too, or names their single object.
    Buffered,
    /// In a single object. The buffer is empty.
    SingleObject(Location),
    /// At the beginning of the first part that this request has sent. It has reserved part numbers.
    Sent,
}

/// A session record, ready to be written.
pub(super) type Encoded = (Nonce, Bytes);

/// One request's work on a session.
#[derive(Debug)]
pub(super) struct UploadWriter<'a> {
    pub(super) uploads: &'a Uploads,
    pub(super) request: Request<'a>,
    /// The header of the session record, as the next write will have it.
    pub(super) session: Session,
    /// The version of the record that this request read or wrote last. Without one the session is
    /// new: the next write creates the record, and all received bytes are in the buffer.
    pub(super) base: Option<Base>,
    /// When that version was written, by the store's clock.
    written_at: SystemTime,
    pub(super) tail: Tail,
    /// The hashes of everything received.
    pub(super) hashes: Hashes,
    /// Received bytes that are in no part.
    pub(super) buffer: BytesMut,
    /// The memory of a buffer that is longer than [`UNRESERVED_BYTES_MAX`].
    pub(super) reservation: Option<Reservation>,
    /// Bytes of the blob so far, the buffer included.
    pub(super) received: u64,
    pub(super) in_flight: JoinSet<Result<Part, store::Error>>,
}

impl<'a> UploadWriter<'a> {
    /// Opens the session of a request, and checks that the chunk begins at its offset. Reads the
    /// session unless the request is the first by all that it says.
    pub(super) async fn open(uploads: &'a Uploads, request: Request<'a>) -> Result<Self, Stop<'a>> {
        if request.is_first() {
            return Ok(Self::new(uploads, request));
        }
        Self::load(uploads, request).await
    }

    fn new(uploads: &'a Uploads, request: Request<'a>) -> Self {
        let (upload, hashes) = (request.upload, request.first_hashes());
        let mut session = Session::new(upload.repository.clone(), upload.subject.clone());
        session.hashes = hashes.save();
        Self {
            uploads,
            request,
            session,
            base: None,
            written_at: uploads.records.now(),
            tail: Tail::Buffered,
            hashes,
            buffer: BytesMut::new(),
            reservation: None,
            received: 0,
            in_flight: JoinSet::new(),
        }
    }

    fn continuing(
        uploads: &'a Uploads,
        request: Request<'a>,
        loaded: Loaded,
    ) -> Result<Self, Error> {
        let Loaded { session, tail, base, age, reservation } = loaded;
        let now = uploads.records.now();
        Ok(Self {
            uploads,
            request,
            base: Some(base),
            written_at: now.checked_sub(age).unwrap_or(now),
            tail: session.single_object.clone().map_or(Tail::Buffered, Tail::SingleObject),
            hashes: session.hashes()?,
            buffer: BytesMut::from(tail),
            reservation,
            received: session.offset,
            session,
            in_flight: JoinSet::new(),
        })
    }

    async fn load(uploads: &'a Uploads, request: Request<'a>) -> Result<Self, Stop<'a>> {
        let mut writer = match uploads.load_within_memory(&request).await? {
            Found::Session(loaded) => Self::continuing(uploads, request, *loaded)?,
            Found::Ended => return Err(Stop::Ended),
            Found::Nothing if request.upload.new.is_some() => Self::new(uploads, request),
            Found::Nothing => return Err(Error::UploadUnknown.into()),
        };
        if !writer.session.committing.is_empty() {
            let committing = &writer.session.committing;
            let same = request.digests.is_some_and(|digests| *committing == digests.all());
            let other = Stop::Failed(Error::UploadUnknown);
            return Err(if same { Stop::Committing(Box::new(writer)) } else { other });
        }
        let offset = writer.session.offset;
        if request.begins.is_some_and(|first| first != offset) {
            return Err(Error::OutOfOrder { offset }.into());
        }
        if let Some(digests) = request.digests {
            writer.hashes.keep(digests.all());
        }
        Ok(writer)
    }

    /// The session exists, although the location says that it is new: reads it and writes the
    /// bytes that were received so far behind those of the session.
    pub(super) fn rebase(&mut self, received: Bytes) -> BoxFuture<'_, Result<(), Stop<'a>>> {
        Box::pin(async move {
            // No request waits for memory while it holds some.
            self.reservation = None;
            *self = Self::load(self.uploads, self.request).await?;
            self.write(received, None).await
        })
    }

    pub(super) fn key(&self) -> RecordKey {
        self.request.upload.key()
    }

    /// Whether no record of this session was read or written.
    pub(super) fn is_new(&self) -> bool {
        self.base.is_none()
    }

    pub(super) fn has_reserved_part_numbers(&self) -> bool {
        matches!(self.tail, Tail::Sent)
    }

    /// Whether all received bytes are acknowledged, and the record holds those of the buffer.
    pub(super) fn is_saved(&self) -> bool {
        matches!(self.tail, Tail::Buffered)
            && self.session.single_object.is_none()
            && self.received == self.session.offset
    }

    /// Receives a chunk as a whole. What arrived of one that breaks off is made durable, so that
    /// the client can ask for the offset and continue there.
    pub(super) async fn receive(&mut self, chunk: Chunk<'_>) -> Result<(), Stop<'a>> {
        if chunk.contradicts_itself() {
            return Err(Error::SizeMismatch.into());
        }
        let expected = chunk.expected();
        self.check_size(expected.unwrap_or_default())?;
        let mut arrived = 0;
        loop {
            match self.request.incoming.next(chunk.body).await {
                Ok(None) => break,
                Ok(Some(bytes)) => {
                    let before = arrived;
                    arrived += bytes.len() as u64;
                    let remaining = expected.map(|expected| expected.saturating_sub(before));
                    self.write(bytes, remaining).await?;
                    self.keep_alive().await?;
                }
                Err(ended_early) => {
                    if arrived > 0 && self.request.may_be_continued() {
                        self.save().await?;
                    }
                    return Err(ended_early.into());
                }
            }
        }
        if expected.is_some_and(|expected| expected != arrived) {
            return Err(Error::SizeMismatch.into());
        }
        Ok(())
    }

    /// Adds bytes, of at most `remaining` that are still to come, as far as that is known.
    async fn write(&mut self, mut bytes: Bytes, remaining: Option<u64>) -> Result<(), Stop<'a>> {
        self.check_size(bytes.len() as u64)?;
        while !bytes.is_empty() {
            self.read_back().await?;
            let free = self.free_space(bytes.len(), remaining).await?;
            let piece = bytes.split_to(free.min(bytes.len()));
            self.hashes.update(&piece);
            self.buffer.extend_from_slice(&piece);
            self.received += piece.len() as u64;
            if self.buffer.len() >= self.part_bytes() {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Writes the record again if a collector could soon take the session for abandoned.
    async fn keep_alive(&mut self) -> Result<(), Error> {
        let age = self.uploads.records.now().duration_since(self.written_at).unwrap_or_default();
        if self.is_new() || age < self.uploads.leases.session_age_max() {
            Ok(())
        } else if self.has_reserved_part_numbers() {
            self.reserve_more_part_numbers().await
        } else {
            self.rewrite_record().await
        }
    }

    /// Refuses a blob that would have `more` bytes than it has now, if that is too large.
    fn check_size(&self, more: u64) -> Result<(), Error> {
        let most = self.part_sizes().blob_bytes_max(self.uploads.limits.buffer_bytes);
        if self.received.saturating_add(more) <= most {
            return Ok(());
        }
        Err(Error::TooLarge(format!("at most {most} bytes")))
    }

    fn part_sizes(&self) -> PartSizes {
        PartSizes::new(&self.uploads.limits)
    }

    pub(super) fn part_bytes(&self) -> usize {
        self.part_sizes().wanted(self.session.part_next)
    }

    pub(super) fn part_bytes_min(&self) -> usize {
        self.part_sizes().least(self.session.part_next)
    }

    /// How many more bytes the buffer may take now; at least one.
    async fn free_space(
        &mut self,
        wanted: usize,
        remaining: Option<u64>,
    ) -> Result<usize, Stop<'a>> {
        loop {
            let part = self.part_bytes();
            let reserved = self.reservation.as_ref();
            let allowed = reserved.map_or(UNRESERVED_BYTES_MAX, Reservation::bytes).min(part);
            let free = allowed.saturating_sub(self.buffer.len());
            let enough = free >= wanted.min(UNRESERVED_BYTES_MAX) || allowed == part;
            if free > 0 && enough {
                return Ok(free);
            }
            let Some(reservation) = &mut self.reservation else {
                self.reserve_memory(remaining).await?;
                continue;
            };
            if self.uploads.memory.grow(reservation, GROWTH_BYTES) {
                continue;
            }
            if free > 0 {
                return Ok(free);
            }
            // The buffer cannot grow, and is large enough for a part.
            self.send_part().await?;
        }
    }

    /// Reserves memory for the buffer: for a whole part if a used buffer is there, otherwise for
    /// the smallest part. Less if less remains.
    async fn reserve_memory(&mut self, remaining: Option<u64>) -> Result<(), Error> {
        let buffered = self.buffer.len();
        let remaining =
            remaining.map_or(usize::MAX, |bytes| bytes.try_into().unwrap_or(usize::MAX));
        let all = buffered.saturating_add(remaining).saturating_add(1);
        let whole = self.part_bytes().min(all);
        let (memory, incoming) = (&self.uploads.memory, self.request.incoming);
        if let Some((mut buffer, reservation)) = memory.used_buffer(incoming, whole) {
            buffer.extend_from_slice(&self.buffer);
            self.buffer = buffer;
            self.reservation = Some(reservation);
            return Ok(());
        }
        let least = self.part_bytes_min().max(buffered).min(all).max(buffered + 1);
        self.reservation = Some(memory.reserve(incoming, least).await?);
        // Address space for the whole part: a buffer that grows step by step is copied at each
        // step, and is in memory twice meanwhile.
        self.buffer.reserve(whole.saturating_sub(buffered));
        Ok(())
    }

    /// Makes everything that was received durable, and gives back the part numbers.
    pub(super) async fn save(&mut self) -> Result<(), Stop<'a>> {
        loop {
            while self.buffer.len() >= self.part_sizes().least_at_end(self.session.part_next) {
                self.send_part().await?;
            }
            if !self.buffer.is_empty() {
                // The commit sends the tail as the last part.
                self.next_part_number()?;
            }
            self.drain().await?;
            if self.has_reserved_part_numbers() {
                self.session.reserved_to = None;
            }
            let (forgotten, body, tail) = self.acknowledge_all();
            let saving = tracing::info_span!(target: "traces", "session.save");
            match self.write_record(body, None).instrument(saving).await? {
                Written::Ours(_) => {
                    self.uploads.delete_later(forgotten);
                    return Ok(());
                }
                Written::Lost(_) if self.is_new() => self.rebase(tail).await?,
                Written::Replaced(current) | Written::Lost(current) => {
                    return Err(self.conflict(current).into());
                }
            }
        }
    }

    /// Has the next write of the record acknowledge so many bytes: those of the parts, and of the
    /// buffer or the single object. Returns the object that the record does not name then.
    pub(super) fn set_offset(&mut self, offset: u64) -> Option<Location> {
        self.session.offset = offset;
        match self.tail {
            Tail::SingleObject(_) => None,
            Tail::Buffered | Tail::Sent => self.session.forget_object(),
        }
    }

    /// A record that acknowledges everything that was received, and its tail as a slice of it: so
    /// the tail is in memory once while the store writes it. Empties the buffer.
    pub(super) fn acknowledge_all(&mut self) -> (Option<Location>, Encoded, Bytes) {
        self.session.hashes = self.hashes.save();
        let forgotten = self.set_offset(self.received);
        let (nonce, body) = self.encode();
        let tail = body.slice(body.len() - self.buffer.len()..);
        self.buffer = BytesMut::new();
        (forgotten, (nonce, body), tail)
    }

    /// The session record, with the acknowledged bytes at the beginning of the buffer.
    pub(super) fn encode(&self) -> Encoded {
        let tail = usize::try_from(self.session.tail_bytes()).unwrap_or(usize::MAX);
        self.encode_as(&self.session, &self.buffer[..tail.min(self.buffer.len())])
    }

    /// The session record with another header and payload.
    pub(super) fn encode_as(&self, session: &Session, tail: &[u8]) -> Encoded {
        let (nonce, nothing) = (Nonce::random(), Lineage::default());
        let lineage = self.base.as_ref().map_or(&nothing, Base::lineage);
        (nonce, encoding::encode(session, tail, nonce, lineage))
    }

    /// Writes the session record, or creates that of a new session.
    ///
    /// Creating it always has a deadline: when the session has ended and its tombstone was
    /// collected, a late duplicate of this request would find no record, and create the session
    /// again.
    pub(super) async fn write_record(
        &mut self,
        body: Encoded,
        deadline: Option<Deadline>,
    ) -> Result<Written, Error> {
        let (records, key) = (&self.uploads.records, self.key());
        let now = records.now();
        let deadline = deadline.or_else(|| self.is_new().then(|| records.deadline(now)));
        let written = match records.write(&key, self.base.as_ref(), body, deadline).await {
            // The offset tells a client that says where its chunk begins all that it has to know.
            Err(Error::OutcomeUnknown) if self.request.begins.is_some() => {
                return Err(match self.conflict(records.read(&key).await?) {
                    offset @ Error::OutOfOrder { .. } => offset,
                    _ => Error::OutcomeUnknown,
                });
            }
            written => written?,
        };
        if let Written::Ours(base) = &written {
            self.base = Some(base.clone());
            self.written_at = now;
        }
        Ok(written)
    }

    /// Writes the record of a session that is not new. An error if another request was first.
    pub(super) async fn replace_record(&mut self, body: Encoded) -> Result<(), Error> {
        match self.write_record(body, None).await? {
            Written::Ours(_) => Ok(()),
            Written::Replaced(current) | Written::Lost(current) => Err(self.conflict(current)),
        }
    }

    /// The error for a client when another request has written the record first.
    pub(super) fn conflict(&self, current: Current) -> Error {
        let Current::Live(record) = current else { return Error::UploadUnknown };
        match Session::decode(&record.body) {
            Ok((session, _)) if !session.belongs_to(self.request.upload) => Error::UploadUnknown,
            Ok((session, _)) if !session.committing.is_empty() => Error::UploadUnknown,
            Ok((session, _)) => Error::OutOfOrder { offset: session.offset },
            Err(error) => error.into(),
        }
    }
}
