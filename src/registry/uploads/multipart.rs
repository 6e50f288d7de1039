//! Sending the parts of an upload session.
//!
//! While one part is on its way to the store the next one fills; the number of parts in flight and
//! their memory are bounded. Before its first part a request *reserves part numbers*: the session
//! record then says which numbers belong to this request, and no other request uses them.

use tracing::Instrument as _;

use super::parts::{self, PARTS_MAX};
use super::session::damaged;
use super::writer::{Stop, Tail, UploadWriter};
use crate::layout::records::{self, Multipart, Session};
use crate::registry::Error;
use crate::registry::record::{Current, Written};
use crate::store::{self, Location, MultipartId, Part};

/// Part numbers that are reserved at once; more are reserved as they are needed.
const RESERVED_PARTS: u32 = 64;

impl<'a> UploadWriter<'a> {
    /// Sends the buffer as a part. The first part of a request may find that the session is not
    /// new; then its bytes are part of another buffer, and perhaps not sent yet.
    pub(super) async fn send_part(&mut self) -> Result<(), Stop<'a>> {
        if !self.has_reserved_part_numbers()
            && let Written::Replaced(current) | Written::Lost(current) =
                self.reserve_part_numbers().await?
        {
            if !self.is_new() {
                return Err(self.conflict(current).into());
            }
            let received = std::mem::take(&mut self.buffer).freeze();
            return self.rebase(received).await;
        }
        let number = self.next_part_number()?;
        if self.session.reserved_to.is_none_or(|bound| number >= bound) {
            self.reserve_more_part_numbers().await?;
        }
        while self.in_flight.len() >= self.uploads.limits.parts_in_flight {
            self.one_part_done().await?;
        }
        let Multipart { location, id } = self.multipart()?.clone();
        let bytes = std::mem::take(&mut self.buffer).freeze();
        let reservation = self.reservation.take();
        if let Some(reservation) = &reservation {
            reservation.received();
        }
        let (data, metrics) = (self.uploads.data.clone(), self.uploads.metrics.clone());
        let pool = self.uploads.memory.pool().clone();
        let sending = async move {
            let target = (&location, &MultipartId(id));
            let part = parts::send(&*data, &metrics, target, number, bytes.clone()).await;
            pool.recycle(bytes, reservation);
            part
        };
        self.in_flight.spawn(sending.in_current_span());
        self.session.part_next = number + 1;
        self.session.hashes = self.hashes.save();
        Ok(())
    }

    /// The number of the next part, if there is one.
    pub(super) fn next_part_number(&self) -> Result<u32, Error> {
        let number = self.session.part_next;
        if number <= PARTS_MAX {
            return Ok(number);
        }
        Err(Error::TooLarge(format!("more than {PARTS_MAX} parts")))
    }

    /// The multipart upload of a session that has parts.
    pub(super) fn multipart(&self) -> Result<&Multipart, Error> {
        let multipart = self.session.multipart.as_ref();
        multipart.ok_or_else(|| damaged("an upload session without a multipart upload".to_owned()))
    }

    /// Writes to the session record where the parts go and which part numbers belong to this
    /// request. The record acknowledges as many bytes as before.
    async fn reserve_part_numbers(&mut self) -> Result<Written, Error> {
        if let Some(bound) = self.session.reserved_to {
            // Another request reserved these numbers and did not finish. They stay its own.
            self.session.part_next = bound;
        }
        let mut started = None;
        if self.session.multipart.is_none() {
            let location = Location::new_unique(self.uploads.records.now());
            let id = self.uploads.data.start(&location).await?.0;
            started = Some(Multipart { location, id });
            self.session.multipart.clone_from(&started);
        }
        self.session.reserved_to = Some(self.session.part_next.saturating_add(RESERVED_PARTS));
        let body = self.encode();
        let written = self.write_record(body, None).await?;
        match (&written, started) {
            (Written::Ours(_), _) => self.tail = Tail::Sent,
            // Only a definite answer says that no record names the multipart upload.
            (Written::Lost(_), Some(multipart)) => self.uploads.abort_later(multipart),
            (Written::Replaced(_), _) | (Written::Lost(_), None) => {}
        }
        Ok(written)
    }

    /// Reserves more part numbers. If the client can continue after a chunk that breaks off, this
    /// also acknowledges the parts that were sent.
    pub(super) async fn reserve_more_part_numbers(&mut self) -> Result<(), Error> {
        self.session.reserved_to = Some(self.session.part_next.saturating_add(RESERVED_PARTS));
        if !self.request.may_be_continued() {
            return self.rewrite_record().await;
        }
        self.drain().await?;
        let forgotten = self.set_offset(self.session.bytes_in_parts());
        let body = self.encode();
        self.replace_record(body).await?;
        self.uploads.delete_later(forgotten);
        Ok(())
    }

    /// Writes the session record again, with the part numbers of this request. The record
    /// acknowledges as many bytes as before; it is read for them, because this request does not
    /// keep them.
    pub(super) async fn rewrite_record(&mut self) -> Result<(), Error> {
        let record = match self.uploads.records.read(&self.key()).await? {
            Current::Live(record) => record,
            current => return Err(self.conflict(current)),
        };
        // If this is another version than ours, the write below finds that out.
        let (mut session, tail) = Session::decode(&record.body)?;
        session.reserved_to = self.session.reserved_to;
        self.replace_record(self.encode_as(&session, &tail)).await
    }

    async fn one_part_done(&mut self) -> Result<(), Error> {
        match self.in_flight.join_next().await {
            Some(Ok(Ok(part))) => {
                let Part { number, tag, size } = part;
                self.session.parts.push(records::Part { number, tag, size });
                Ok(())
            }
            // The multipart upload was aborted, by another request or because of its age.
            Some(Ok(Err(store::Error::NotFound))) => Err(Error::UploadUnknown),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(error)) => Err(Error::Interrupted(format!("sending a part ended: {error}"))),
            None => Ok(()),
        }
    }

    /// Waits until the store has acknowledged every part that was sent.
    pub(super) async fn drain(&mut self) -> Result<(), Error> {
        while !self.in_flight.is_empty() {
            self.one_part_done().await?;
        }
        self.session.parts.sort_by_key(|part| part.number);
        Ok(())
    }
}
