//! The program as a process: killed, stopped, and started with mistakes.
//!
//! Over a folder always; over a bucket if `LONGSHORE_TEST_S3` names one.

mod command_line;
mod credential_provider;
mod forward_proxies;
mod identity;
mod inspections;
mod keys;
mod kills;
mod proof;
mod shared_settings;
mod starts;
mod stops;
mod traces;

use longshore::oci::UploadId;

use crate::support::app::variable;

/// The smallest parts, so that a short upload has several.
const SMALL_PARTS: (&str, &str) = ("LONGSHORE_UPLOADS_PART_BYTES", "5MiB");

/// A new prefix in the bucket of the environment. `None` without a bucket, after printing why.
fn bucket(test: &str) -> Option<String> {
    let Some(url) = variable("LONGSHORE_TEST_S3") else {
        println!("{test}: not run over S3, because LONGSHORE_TEST_S3 is not set");
        return None;
    };
    Some(format!("{}/{}", url.trim_end_matches('/'), UploadId::random()))
}
