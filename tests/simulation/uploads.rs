//! How clients push blobs: whole, in sessions that any frontend continues, and by mounts.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use crate::client::{Client, Payload};
use crate::content::{Blob, CONTENT, REPOSITORIES};
use crate::frontend::Reply;
use crate::ledger::{Act, Outcome};
use crate::profile::{GRACE, LONG_UPLOAD, LONG_UPLOAD_ENDS, PART_BYTES};
use crate::timeline::Span;

/// Requests of one session before its client gives up.
const REQUESTS_MAX: usize = 14;

fn created(reply: &Reply) -> Outcome {
    match reply.status {
        201 => Outcome::Acknowledged,
        _ => Outcome::Refused,
    }
}

fn octets() -> Vec<(&'static str, String)> {
    vec![("content-type", "application/octet-stream".to_owned())]
}

/// An upload session, as its client knows it.
struct Session<'a> {
    repository: &'a str,
    blob: &'a Blob,
    location: String,
    /// Bytes that the registry has acknowledged.
    offset: usize,
    /// Whether every chunk said where it begins. Otherwise a chunk that was sent again may have
    /// been added twice.
    placed: bool,
    /// Whether the registry has said where the session is.
    told: bool,
    /// Whether a request was not answered: it may still be under way, beside the next one.
    unsure: bool,
}

impl Client {
    /// Pushes a blob unless it is there. False if that failed.
    pub(crate) async fn push_blob(&self, repository: &str, number: usize) -> bool {
        let blob = &CONTENT.blobs[number];
        if self.random.chance(700) && self.has_blob(repository, blob).await {
            return true;
        }
        for _ in 0..4 {
            let pushed = match self.random.below(5) {
                0 => self.push_whole(repository, blob).await,
                1 => self.mount(repository, blob).await,
                _ => self.push_in_session(repository, blob).await,
            };
            if pushed || self.world.stop.is_cancelled() {
                return pushed;
            }
            self.back_off().await;
        }
        false
    }

    async fn has_blob(&self, repository: &str, blob: &Blob) -> bool {
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        let act = self.pushing(repository, blob);
        let judge = |reply: &Reply| match reply.status {
            200 => Outcome::Acknowledged,
            _ => Outcome::Refused,
        };
        let asked = self.change(act, ("HEAD", &path), &[], Payload::Nothing, judge).await;
        let (span, Some(reply)) = asked else { return false };
        let there = reply.status != 404;
        if there && reply.status != 200 {
            self.world.fault(format_args!("HEAD {path}: {}", reply.status));
        }
        self.expect_blob(
            repository,
            &blob.digest,
            self.cached(repository, span, self.blob_lag()),
            there,
        );
        there
    }

    fn pushing(&self, repository: &str, blob: &Blob) -> Act {
        Act::PushBlob(repository.to_owned(), blob.digest.clone())
    }

    /// Sends a request that publishes the blob when it succeeds.
    async fn publish(
        &self,
        repository: &str,
        blob: &Blob,
        (method, path): (&str, &str),
        headers: &[(&str, String)],
        payload: Payload,
    ) -> Option<Reply> {
        let act = self.pushing(repository, blob);
        let (span, reply) = self.change(act, (method, path), headers, payload, created).await;
        if reply.as_ref().is_some_and(|reply| reply.status == 201) {
            self.expect_blob(repository, &blob.digest, span, true);
        }
        reply
    }

    async fn push_whole(&self, repository: &str, blob: &Blob) -> bool {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
        let payload = self.payload(&blob.bytes);
        let reply = self.publish(repository, blob, ("POST", &path), &octets(), payload).await;
        reply.is_some_and(|reply| reply.status == 201)
    }

    async fn mount(&self, repository: &str, blob: &Blob) -> bool {
        let from = if self.random.chance(700) {
            format!("&from={}", self.random.pick(&REPOSITORIES))
        } else {
            String::new()
        };
        let path = format!("/v2/{repository}/blobs/uploads/?mount={}{from}", blob.digest);
        let reply = self.publish(repository, blob, ("POST", &path), &[], Payload::Nothing).await;
        reply.is_some_and(|reply| reply.status == 201)
    }

    fn payload(&self, bytes: &[u8]) -> Payload {
        let bytes = Bytes::copy_from_slice(bytes);
        if self.random.chance(500) { Payload::Whole(bytes) } else { Payload::Pieces(bytes) }
    }

    async fn push_in_session(&self, repository: &str, blob: &Blob) -> bool {
        // Some clients say by which algorithm the digest will be.
        let algorithm = if blob.digest.starts_with("sha512") && self.random.chance(500) {
            "?digest-algorithm=sha512"
        } else {
            ""
        };
        let path = format!("/v2/{repository}/blobs/uploads/{algorithm}");
        let (_, reply) = self.send("POST", &path, &[], Payload::Nothing).await;
        let Some(location) = reply.as_ref().and_then(|reply| reply.header("location")) else {
            return false;
        };
        let location = location.to_owned();
        let mut session = Session {
            repository,
            blob,
            location,
            offset: 0,
            placed: true,
            told: true,
            unsure: false,
        };
        let whole = self.random.chance(500);
        // Some clients put everything into the request that ends the session.
        let at_once = whole && self.random.chance(300);
        for _ in 0..REQUESTS_MAX {
            let left = blob.bytes.len() - session.offset;
            if self.random.chance(40) {
                self.pause(Duration::from_hours(20)).await;
            } else if self.random.chance(200) {
                self.pause(Duration::from_mins(30)).await;
            }
            if self.random.chance(20) {
                self.send("DELETE", &session.location, &[], Payload::Nothing).await;
                return false;
            }
            let going_on = if left == 0 || at_once {
                if let Some(finished) = self.finish(&session).await {
                    return finished;
                }
                session.unsure = true;
                true
            } else {
                let size = if whole { left } else { left.min(2 + self.random.below(20_000)) };
                self.append(&mut session, size, whole).await
            };
            if !going_on {
                return false;
            }
        }
        false
    }

    /// Sends the next bytes. False if the session has ended.
    async fn append(&self, session: &mut Session<'_>, size: usize, whole: bool) -> bool {
        let (first, next) = (session.offset, session.offset + size);
        let payload = self.payload(&session.blob.bytes[first..next]);
        let mut headers = octets();
        session.placed &= !whole || first > 0;
        if !whole || first > 0 {
            headers.push(("content-range", format!("{first}-{}", next - 1)));
        }
        let (_, reply) = self.send("PATCH", &session.location, &headers, payload).await;
        match reply {
            Some(reply) if reply.status == 202 => self.position(session, &reply),
            Some(reply) if reply.status == 404 => false,
            Some(reply) if reply.status == 416 && session.placed && !session.unsure => {
                session.told = false;
                let going_on = self.ask_offset(session).await;
                // Offsets never go back, so this is where the session was all the time. Only
                // `0-0` may stand for one byte or for none.
                if first > 0 && session.told && session.offset == first {
                    let at = &session.location;
                    self.world.fault(format_args!("I7: 416 at {at} for a chunk that continues it"));
                }
                going_on
            }
            _ => {
                session.unsure |= reply.is_none();
                self.back_off().await;
                self.ask_offset(session).await
            }
        }
    }

    /// Uploads one blob for more than a week, a few bytes at a time.
    pub(crate) async fn upload_for_a_week(self) {
        let (repository, blob) = (REPOSITORIES[2], &CONTENT.blobs[self.week_blob()]);
        self.pause(Duration::from_hours(8)).await;
        let path = format!("/v2/{repository}/blobs/uploads/");
        let (_, reply) = self.send("POST", &path, &[], Payload::Nothing).await;
        let Some(location) = reply.as_ref().and_then(|reply| reply.header("location")) else {
            return;
        };
        let location = location.to_owned();
        let mut session = Session {
            repository,
            blob,
            location,
            offset: 0,
            placed: true,
            told: true,
            unsure: false,
        };
        let end = LONG_UPLOAD + LONG_UPLOAD_ENDS * self.random.below(1_000) as u32 / 1_000;
        let mut size = PART_BYTES + 100;
        while self.world.at() < end {
            if session.offset + 1 < blob.bytes.len()
                && !self.append(&mut session, size, false).await
            {
                return;
            }
            size = 10;
            sleep(self.random.between(Duration::from_mins(40), GRACE / 2)).await;
        }
        let left = blob.bytes.len() - session.offset;
        if left == 0 || self.append(&mut session, left, false).await {
            self.finish(&session).await;
        }
    }

    async fn ask_offset(&self, session: &mut Session<'_>) -> bool {
        for _ in 0..3 {
            let (_, reply) = self.send("GET", &session.location, &[], Payload::Nothing).await;
            match reply {
                Some(reply) if reply.status == 204 => return self.position(session, &reply),
                Some(_) => return false,
                None => self.back_off().await,
            }
        }
        true
    }

    fn position(&self, session: &mut Session<'_>, reply: &Reply) -> bool {
        let range = reply.header("range").and_then(|range| range.strip_prefix("0-"));
        let last: usize = range.and_then(|last| last.parse().ok()).unwrap_or_default();
        let offset = if last == 0 { 0 } else { last + 1 };
        let most = session.blob.bytes.len();
        if offset > most && !session.placed {
            return false;
        }
        if offset < session.offset || offset > most {
            let (before, at) = (session.offset, &session.location);
            self.world.fault(format_args!("I7: offset {before} became {offset} at {at}"));
        }
        (session.offset, session.told) = (offset, true);
        if let Some(location) = reply.header("location") {
            location.clone_into(&mut session.location);
        }
        true
    }

    /// Ends the session with the bytes that are left. Nothing if the client may try again.
    async fn finish(&self, session: &Session<'_>) -> Option<bool> {
        let Session { repository, blob, location, offset, .. } = session;
        let separator = if location.contains('?') { '&' } else { '?' };
        let wrong = self.random.chance(20);
        let digest = if wrong { &CONTENT.documents[0].digest } else { &blob.digest };
        let path = format!("{location}{separator}digest={digest}");
        let (mut headers, mut payload) = (octets(), Payload::Nothing);
        if *offset < blob.bytes.len() {
            payload = self.payload(&blob.bytes[*offset..]);
            if *offset > 0 {
                headers.push(("content-range", format!("{offset}-{}", blob.bytes.len() - 1)));
            }
        }
        if wrong {
            let (_, reply) = self.send("PUT", &path, &headers, payload).await;
            if reply.is_some_and(|reply| reply.status == 201) {
                self.world.fault(format_args!("I3: {path} was accepted"));
            }
            return Some(false);
        }
        let request = ("PUT", path.as_str());
        let reply = self.publish(repository, blob, request, &headers, payload).await;
        match reply.map(|reply| reply.status) {
            Some(201) => Some(true),
            Some(404) => Some(false),
            Some(_) if *offset == 0 => Some(false),
            _ => {
                self.back_off().await;
                None
            }
        }
    }

    pub(crate) fn expect_blob(&self, repository: &str, digest: &str, span: Span, there: bool) {
        let value = there.then_some("linked");
        let key = crate::bucket::link_key(repository, digest);
        if !self.world.bucket().timeline(&key).had(value, span) {
            let said = if there { "there" } else { "absent" };
            self.world.fault(format_args!("a client heard that {key} is {said}: it never was"));
        }
    }
}
