//! What stands between clients and the registry does to the bodies of requests.
//!
//! Both checks send a chunk to an upload session that does not exist, without a login: the
//! registry refuses it by its head, with 401 or 404, before it reads any of the body.

use std::time::Duration;

use http::{Method, StatusCode};

use super::Doctor;
use super::client::Asked;
use super::finding::Class;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// The lengths that are announced, until one is taken: as large as a large layer, and less.
const ANNOUNCED: [(u64, &str); 6] = [
    (10 * GIB, "10 GiB"),
    (GIB, "1 GiB"),
    (100 * MIB, "100 MiB"),
    (20 * MIB, "20 MiB"),
    (2 * MIB, "2 MiB"),
    (64 * KIB, "64 KiB"),
];
/// How long an answer to the head of a request may take. The registry asks nothing but itself
/// for it.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// The body that is held back.
const HELD_BYTES: usize = 64 * 1024;

impl Doctor<'_> {
    pub(super) async fn check_bodies(&mut self) {
        self.check_limit().await;
        self.check_buffering().await;
    }

    fn refused_chunk(&self) -> Asked {
        Asked::new(Method::PATCH, self.in_repository("blobs/uploads/doctor"))
    }

    /// The largest body that is taken. Nothing of it is sent: proxies refuse by the length.
    async fn check_limit(&mut self) {
        self.checked("body-limit");
        let mut refused = None;
        for (length, shown) in ANNOUNCED {
            let asked = self.refused_chunk();
            let answer = match self.client.announce_body(asked, length, HEAD_MAX).await {
                // Who waits for the body has not refused its length.
                Ok(None) => break,
                Ok(Some(answer)) => answer,
                Err(error) => {
                    let what = format!("a request with a body of {shown} is cut off");
                    self.find(Class::BodyLimit, what, error.to_string());
                    return;
                }
            };
            if answer.status != StatusCode::PAYLOAD_TOO_LARGE || answer.is_of_registry() {
                break;
            }
            refused = Some((shown, answer.server()));
        }
        let Some((shown, by)) = refused else { return };
        let what = format!("{by} refuses bodies of {shown} and more, and so larger layers");
        self.find(Class::BodyLimit, what, "413 that the registry has not sent");
    }

    /// Whether the head of a request reaches the registry before the body has ended.
    async fn check_buffering(&mut self) {
        self.checked("body-buffered");
        let held = self.client.hold_body(self.refused_chunk(), HELD_BYTES, HEAD_MAX).await;
        // What has cut the connection was found above, or is found by the upload.
        let Ok(Some(answer)) = held else { return };
        let what = "a proxy reads the whole body of a request before it passes the request on";
        let seen = format!(
            "no answer within {HEAD_MAX:?} to the head, {} after the body",
            answer.status.as_u16()
        );
        self.find(Class::BodyBuffered, what, seen);
    }
}
