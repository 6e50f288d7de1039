//! What an operator chooses about the bucket.

use std::fmt;
use std::time::Duration;

/// Where the bucket is and how it is spoken to.
#[derive(Clone)]
pub struct Settings {
    /// The bucket; it must exist.
    pub bucket: String,
    /// What every key begins with, empty for the whole bucket. Slashes around it do not matter.
    pub prefix: String,
    /// The URL of the store; without it AWS, in the region.
    pub endpoint: Option<String>,
    /// The URL by which clients reach the store; without it, `endpoint`.
    pub public_endpoint: Option<String>,
    /// Without it, what the environment or the profile says.
    pub region: Option<String>,
    /// Whether the bucket is the first segment of the path rather than part of the host.
    pub path_style: bool,
    /// Together with the secret: fixed credentials instead of those of the environment.
    pub access_key_id: Option<String>,
    /// See `access_key_id`.
    pub secret_access_key: Option<String>,
    /// Belongs to temporary credentials.
    pub session_token: Option<String>,
    /// What is sent along with bytes so that the store can tell whether they arrived whole.
    pub checksum: Checksum,
    /// How often one request is tried in all, at least once.
    pub attempts_max: u32,
    /// How long a TCP connection may take to open.
    pub connect_timeout: Duration,
    /// How long the store may think about a request that it has received whole.
    pub response_timeout: Duration,
    /// How long a body may make no progress, in either direction, while its receiver is ready.
    pub stall_timeout: Duration,
}

/// A checksum of the bytes in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// None: TCP and TLS have their own.
    None,
    /// CRC-32, which not every store accepts.
    Crc32,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("public_endpoint", &self.public_endpoint)
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &Hidden(self.secret_access_key.is_some()))
            .field("session_token", &Hidden(self.session_token.is_some()))
            .field("checksum", &self.checksum)
            .field("attempts_max", &self.attempts_max)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("stall_timeout", &self.stall_timeout)
            .finish()
    }
}

/// Says whether a secret is set, and nothing more.
struct Hidden(bool);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "set" } else { "not set" })
    }
}
