//! What only a write shows: an upload that is cancelled, and a blob that is pushed, pulled and
//! deleted.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION,
};
use http::{Method, StatusCode};

use super::address::Place;
use super::client::{Answer, Asked};
use super::finding::Class;
use super::login::Challenge;
use super::{Doctor, failed};
use crate::oci::{Algorithm, Digest};

/// The chunk of the upload that is cancelled: more than a part, and than the usual limits.
const CHUNK_BYTES: usize = 20 * 1024 * 1024;
/// The blob: more than the registry keeps in its link, so that a pull of it may be redirected.
const BLOB_BYTES: usize = 256 * 1024;
/// What the registry calls bytes.
const BYTES: &str = "application/octet-stream";

/// What a push needs: a client checks first which blobs exist.
const PUSH: &str = "pull,push";

impl Doctor<'_> {
    pub(super) async fn check_writes(&mut self, challenge: &Challenge) {
        if self.cancelled_upload(challenge).await {
            self.pushed_blob(challenge).await;
        } else {
            for what in ["pull", "redirect"] {
                self.leave_out(what, "the upload has failed");
            }
        }
    }

    /// Sends a request with the login for these actions. `None`, and a finding, if it gets no
    /// answer.
    async fn ask(
        &mut self,
        challenge: &Challenge,
        actions: &str,
        asked: Asked,
        body: Bytes,
    ) -> Option<Answer> {
        let what = asked.to_string();
        let asked = self.authorized(challenge, actions, asked).await?;
        match self.client.send_with(asked, body).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.find(Class::Upload, format!("{what} gets no answer"), error.to_string());
                None
            }
        }
    }

    /// Uploads 20 MiB and cancels the upload. False if nothing can be written.
    async fn cancelled_upload(&mut self, challenge: &Challenge) -> bool {
        self.checked("upload");
        let start = Asked::new(Method::POST, self.in_repository("blobs/uploads/"));
        let Some(begun) = self.ask(challenge, PUSH, start, Bytes::new()).await else {
            return false;
        };
        if begun.status != StatusCode::ACCEPTED {
            self.refused("an upload cannot be begun", &begun);
            return false;
        }
        self.checked("location");
        let Some(session) = self.check_location(&begun) else { return false };
        let chunk = Asked::new(Method::PATCH, session.clone())
            .header(CONTENT_TYPE, BYTES)
            .header(CONTENT_RANGE, &format!("0-{}", CHUNK_BYTES - 1));
        let sent = self.ask(challenge, PUSH, chunk, pattern(CHUNK_BYTES)).await;
        let taken = sent.as_ref().is_some_and(|answer| answer.status == StatusCode::ACCEPTED);
        if let Some(answer) = sent.filter(|_| !taken) {
            if answer.status == StatusCode::PAYLOAD_TOO_LARGE && !answer.is_of_registry() {
                let what = format!("{} refuses a chunk of 20 MiB", answer.server());
                self.find(Class::BodyLimit, what, "413 that the registry has not sent");
            } else {
                self.refused("a chunk of 20 MiB cannot be uploaded", &answer);
            }
        }
        let cancel = Asked::new(Method::DELETE, session);
        let Some(cancelled) = self.ask(challenge, PUSH, cancel, Bytes::new()).await else {
            return taken;
        };
        // An upload that has taken nothing may not exist yet.
        if cancelled.status != StatusCode::NO_CONTENT && taken {
            self.refused("the upload cannot be cancelled", &cancelled);
        }
        taken
    }

    fn refused(&mut self, what: &str, answer: &Answer) {
        let denied = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status);
        let class = if denied { Class::Access } else { Class::Upload };
        let what = format!("{what} in {}", self.plan.repository);
        self.find(class, what, failed(answer));
    }

    /// Where an upload goes on: at the address that was asked.
    fn check_location(&mut self, answer: &Answer) -> Option<Place> {
        let (text, registry) = (answer.text(LOCATION), self.plan.registry.clone());
        let shown = text.split('?').next().unwrap_or_default().to_owned();
        let Some(place) = registry.resolve(text) else {
            let what = "an upload has no usable Location";
            self.find(Class::Location, what, format!("Location: {shown}"));
            return None;
        };
        if place.server != registry {
            let what = format!(
                "uploads go on at {}, and the registry was asked at {registry}",
                place.server
            );
            self.find(Class::Location, what, format!("Location: {shown}"));
        }
        // A wrong host does not hide what else is wrong.
        Some(registry.at(place.path))
    }

    /// Pushes a blob, which is there from the second time on, pulls it, and deletes it.
    async fn pushed_blob(&mut self, challenge: &Challenge) {
        let content = pattern(BLOB_BYTES);
        let digest = Digest::of(Algorithm::Sha256, &content);
        let path = format!("blobs/uploads/?digest={digest}");
        let push = Asked::new(Method::POST, self.in_repository(&path)).header(CONTENT_TYPE, BYTES);
        let Some(pushed) = self.ask(challenge, PUSH, push, content.clone()).await else {
            return;
        };
        if pushed.status != StatusCode::CREATED {
            self.refused("a blob cannot be pushed", &pushed);
            return;
        }
        let blob = self.in_repository(&format!("blobs/{digest}"));
        self.pull(challenge, &blob, &content).await;
        self.check_compression(challenge, &blob).await;
        let delete = Asked::new(Method::DELETE, blob);
        if let Some(answer) = self.ask(challenge, "delete", delete, Bytes::new()).await
            && answer.status != StatusCode::ACCEPTED
        {
            // Garbage collection removes it: no manifest names it.
            self.leave_out("deletion of the blob", "the registry or the user does not allow it");
        }
    }

    async fn pull(&mut self, challenge: &Challenge, blob: &Place, content: &Bytes) {
        self.checked("pull");
        let get = Asked::get(blob.clone());
        let Some(answer) = self.ask(challenge, "pull", get, Bytes::new()).await else { return };
        match answer.status.as_u16() {
            200 if answer.body == *content => {
                self.leave_out("redirect", "the registry serves blobs itself");
            }
            200 => {
                self.find(Class::Pull, "a blob that was pushed comes back changed", answer.seen());
            }
            301..=308 => self.follow(answer.text(LOCATION), content).await,
            _ => self.find(Class::Pull, "a blob that was pushed cannot be pulled", failed(&answer)),
        }
    }

    /// Fetches a blob from where the registry sends clients.
    async fn follow(&mut self, location: &str, content: &Bytes) {
        self.checked("redirect");
        let registry = &self.plan.registry;
        let Some(place) = registry.resolve(location) else {
            self.find(
                Class::Redirect,
                "a pull is redirected to no address",
                "the Location of a 307",
            );
            return;
        };
        let seen = format!("Location: {place}");
        if registry.secure && !place.server.secure {
            let what = "pulls are redirected from https to http: clients refuse that, or tell \
                        everyone on the way what they pull";
            self.find(Class::Redirect, what, seen.clone());
        }
        if place.server.is_private_ip() {
            let what = format!("pulls are redirected to the address {}", place.server);
            self.find(Class::RedirectHost, what, seen);
        }
        // Without the login: it is for the registry alone.
        match self.client.send(Asked::get(place.clone())).await {
            Err(error) => {
                let what = format!(
                    "pulls are redirected to {}, which is not reachable from here",
                    place.server
                );
                self.find(Class::Redirect, what, error.to_string());
            }
            Ok(answer) if !answer.status.is_success() => {
                let what = format!("{} refuses a pull that was redirected there", place.server);
                self.find(Class::Redirect, what, answer.seen());
            }
            Ok(answer) if answer.body != *content => {
                let what = format!("{} has other bytes than were pushed", place.server);
                self.find(Class::Redirect, what, answer.seen());
            }
            Ok(_) => {}
        }
    }

    /// A client that accepts compression gets the blob as it is, and its length from HEAD.
    async fn check_compression(&mut self, challenge: &Challenge, blob: &Place) {
        for method in [Method::HEAD, Method::GET] {
            let asked = Asked::new(method.clone(), blob.clone()).header(ACCEPT_ENCODING, "gzip");
            let Some(answer) = self.ask(challenge, "pull", asked, Bytes::new()).await else {
                return;
            };
            let encoding = answer.text(CONTENT_ENCODING);
            let seen = if !encoding.is_empty() {
                format!("Content-Encoding: {encoding} in the answer to {method}")
            } else if answer.status == StatusCode::OK
                && !answer.headers.contains_key(CONTENT_LENGTH)
            {
                format!("no Content-Length in the answer to {method}")
            } else {
                continue;
            };
            self.find(Class::Compressed, "a proxy compresses blobs", seen);
            return;
        }
    }
}

/// Bytes that are the same each time, so that the registry stores the blob once.
fn pattern(length: usize) -> Bytes {
    b"longshore doctor\n".iter().copied().cycle().take(length).collect()
}
