//! The store on S3 and on servers that speak its protocol. Only this module knows the SDK.
//!
//! Each call of the traits is one request, plus its retries; only a completion or a large
//! conditional write whose outcome is unknown sends one request more. Bodies are in memory, so that
//! every request can be repeated.

#![expect(clippy::disallowed_types, reason = "the only module that speaks to S3")]

mod answer;
mod blobs;
mod client;
mod credentials;
mod deadline;
mod error;
mod etag;
mod http_client;
mod lists;
mod metrics;
mod operation;
mod presign;
mod records;
mod retry;
mod settings;
mod single_writer;

pub use self::client::S3;
pub use self::settings::{Checksum, Settings};
pub use self::single_writer::{SingleWriter, WriterLease};

#[cfg(test)]
mod tests;
