//! Bodies that are kept whole until their request has ended: manifests.

use bytes::{Bytes, BytesMut};

use super::incoming::{Body, Claimant, Incoming};
use super::memory::{Reservation, UploadMemory};
use super::parts::UNRESERVED_BYTES_MAX;
use crate::registry::Error;

/// A body, and its share of the upload memory until it is dropped.
#[derive(Debug)]
pub struct Whole {
    bytes: Bytes,
    _memory: Option<Reservation>,
}

impl Whole {
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl UploadMemory {
    /// Reads a body whole. More than `bytes_max` are refused, whether or not they were announced,
    /// and never kept. What does not fit into the unreserved bytes waits for memory, for all of it
    /// at once: no body waits while it holds memory that others wait for.
    pub(in crate::registry) async fn receive_whole(
        &self,
        claimant: &Claimant,
        (length, body): (Option<u64>, &mut Body),
        bytes_max: usize,
    ) -> Result<Whole, Error> {
        let too_large = || Error::TooLarge(format!("at most {bytes_max} bytes"));
        let length = length.map(usize::try_from).transpose().map_err(|_| too_large())?;
        if length.is_some_and(|bytes| bytes > bytes_max) {
            return Err(too_large());
        }
        let incoming = Incoming::new(claimant.clone());
        let (mut whole, mut memory) = (BytesMut::new(), None);
        while let Some(bytes) = incoming.next(body).await? {
            let needed = whole.len() + bytes.len();
            if needed > bytes_max {
                return Err(too_large());
            }
            if needed > UNRESERVED_BYTES_MAX && memory.is_none() {
                // A body of more than all memory has all of it.
                let all = length.unwrap_or(bytes_max).min(self.bytes_max());
                memory = Some(self.reserve(&incoming, all).await?);
                whole.reserve(all.saturating_sub(whole.len()));
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(Whole { bytes: whole.freeze(), _memory: memory })
    }
}
