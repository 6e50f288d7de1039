//! The program as it runs: real processes that are killed, stopped, and started wrongly.
//!
//! On a folder always; over a bucket where `LONGSHORE_TEST_S3` names one.

mod command_line;
mod identity;
mod kills;
mod stops;
mod traces;

use longshore::oci::UploadId;

use crate::support::app::variable;

/// Parts of the smallest size, so that uploads of a few seconds have several.
const SMALL_PARTS: (&str, &str) = ("LONGSHORE_UPLOADS_PART_BYTES", "5MiB");

/// A new place in the bucket of the environment, or `None` after saying why not.
fn bucket(test: &str) -> Option<String> {
    let Some(url) = variable("LONGSHORE_TEST_S3") else {
        println!("{test}: not run over S3, because LONGSHORE_TEST_S3 is not set");
        return None;
    };
    Some(format!("{}/{}", url.trim_end_matches('/'), UploadId::random()))
}
