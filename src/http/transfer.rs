//! How much of a response's body left, and who ended it before its end.

use std::sync::Arc;

use http::{Extensions, response};

use super::exchange::Exchange;
use super::headers;
use crate::telemetry::metrics::BrokenBy;

/// The body of one response, on its way.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    exchange: Option<Arc<Exchange>>,
    /// Its length, as the response announces it.
    pub(super) promised: Option<u64>,
    /// Bytes that the transport has taken.
    pub(super) sent: u64,
    begun: bool,
    ended: bool,
    failed: bool,
}

impl Transfer {
    /// That of the request with these extensions. It begins with the head of the response.
    pub(super) fn of(extensions: &Extensions) -> Self {
        Self { exchange: extensions.get().cloned(), ..Self::default() }
    }

    pub(super) fn begin(&mut self, head: &response::Parts) {
        self.begun = true;
        self.promised = headers::content_length(&head.headers);
    }

    /// The body has no more bytes.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// The body failed.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// Who ended the body before its end.
    pub(super) fn broken(&self) -> Option<BrokenBy> {
        if !self.begun {
            return None;
        }
        if self.failed {
            return Some(BrokenBy::Store);
        }
        // The transport may have taken the last piece, and wait for its client all the same.
        if self.exchange.as_ref().is_some_and(|exchange| exchange.was_cut()) {
            return Some(BrokenBy::Idle);
        }
        // hyper does not ask a body of a known length for its end.
        let whole = self.ended || self.promised.is_some_and(|promised| self.sent >= promised);
        (!whole).then_some(BrokenBy::Client)
    }
}
