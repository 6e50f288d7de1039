//! The settings of the connection to an S3 server.

use std::time::Duration;

use http::uri::Authority;

use crate::setting::{
    HOUR, MILLISECOND, SECOND, Secret, choice, choice_of, count, duration, secret, settings, text,
    word,
};

settings! {
    /// The connection to an S3 server. Read only if `store.url` begins with `s3://`.
    pub struct Settings {
        /// The address of the S3 server. AWS itself needs none.
        /// The default is `AWS_ENDPOINT_URL_S3`, then `AWS_ENDPOINT_URL`.
        endpoint: Option<String> = None, text(endpoint) => "http://minio.internal:9000";
        /// The address at which clients reach the same server, if it differs from the one above.
        /// The registry writes it into redirects (`blobs.delivery`) and never connects to it.
        public_endpoint: Option<String> = None, text(endpoint) => "https://s3.example.com";
        /// The region of the bucket.
        /// The default is `AWS_REGION`, then `AWS_DEFAULT_REGION`, then what the AWS SDK finds by
        /// itself.
        region: Option<String> = None, text(word) => "eu-central-1";
        /// Whether the bucket is named in the path (`https://host/bucket/key`) and not in the host.
        /// The default is true with an endpoint and false without.
        path_style: Option<bool> = None, choice_of::<bool>() => "true";
        /// The access key. Without it the AWS SDK looks for credentials in its usual order:
        /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, profiles, web identity (IRSA),
        /// container and instance roles.
        access_key_id: Option<String> = None, text(word) => "longshore";
        /// The secret that belongs to `access_key_id`.
        secret_access_key: Option<Secret> = None, secret() => "...";
        /// The session token of temporary credentials.
        session_token: Option<Secret> = None, secret() => "...";
        /// The checksum sent with each upload, for the store to verify: `crc32`, `none`, or `auto`,
        /// which is `crc32` for AWS and `none` with an endpoint, because many servers refuse it.
        checksum: Checksum = Checksum::Auto, choice_of();
        /// How often the registry tries a request in all.
        attempts_max: u32 = 4, count(1..=10);
        /// How long the registry waits for a connection to the store.
        connect_timeout: Duration = 3 * SECOND, duration(100 * MILLISECOND..=HOUR);
        /// How long the store may take to the first byte of a response.
        response_timeout: Duration = 30 * SECOND, duration(100 * MILLISECOND..=HOUR);
        /// How long a transfer to or from the store may make no progress.
        /// There is no limit on the duration of a whole transfer.
        stall_timeout: Duration = 20 * SECOND, duration(100 * MILLISECOND..=HOUR);
    }
}

choice! {
    /// The checksum sent with an upload.
    pub enum Checksum {
        /// CRC32 for AWS, none for other servers.
        Auto = "auto",
        Crc32 = "crc32",
        /// None: TCP and TLS have their own.
        None = "none",
    }
}

impl Settings {
    /// Whether the bucket is named in the path, decided.
    pub fn uses_path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }

    /// Whether uploads carry a CRC32, decided.
    pub fn sends_crc32(&self) -> bool {
        match self.checksum {
            Checksum::Auto => self.endpoint.is_none(),
            Checksum::Crc32 => true,
            Checksum::None => false,
        }
    }
}

/// The address of an S3 server: a scheme and a host, without the slash at its end.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let bad = || format!("{text:?} is not the address of a server, such as https://s3.example.com");
    let address: http::Uri = text.parse().map_err(|_| bad())?;
    let (scheme, authority) = (address.scheme_str(), address.authority().map(Authority::as_str));
    match (scheme, authority) {
        (Some(scheme @ ("http" | "https")), Some(host))
            if !host.contains('@') && address.path() == "/" && address.query().is_none() =>
        {
            Ok(format!("{scheme}://{host}"))
        }
        _ => Err(bad()),
    }
}
