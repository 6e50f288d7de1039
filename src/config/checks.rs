//! What must hold between settings, each of which is fine by itself.

use super::choice::Delivery;
use super::settings::Settings;
use super::store_url::StoreUrl;
use super::text::{format_bytes, format_duration};

/// One thing that must hold.
pub(super) struct Check {
    /// The settings it speaks of, first the one to blame.
    pub(super) keys: &'static [&'static str],
    pub(super) check: fn(&Settings) -> Result<(), String>,
}

pub(super) const CHECKS: &[Check] = &[
    Check { keys: &["server.listen", "access.anonymous"], check: open_only_by_name },
    Check {
        keys: &["store.s3.access_key_id", "store.s3.secret_access_key", "store.s3.session_token"],
        check: credentials_complete,
    },
    Check {
        keys: &["uploads.buffer_bytes", "uploads.part_bytes", "uploads.parts_in_flight"],
        check: one_upload_fits,
    },
    Check { keys: &["blobs.delivery", "store.url"], check: redirect_has_a_target },
    Check { keys: &["blobs.redirect_step", "blobs.redirect_ttl"], check: step_below_ttl },
    Check {
        keys: &["collection.grace", "collection.write_deadline", "collection.clock_skew"],
        check: grace_outlasts_writers,
    },
];

fn open_only_by_name(settings: &Settings) -> Result<(), String> {
    let listen = settings.server.listen;
    if listen.ip().to_canonical().is_loopback() || settings.access.anonymous.is_some() {
        return Ok(());
    }
    Err(format!(
        "{listen} is reached from other machines, which could push and pull without a password: \
         if that is meant, add --anonymous push (or access.anonymous = \"push\", or \
         LONGSHORE_ACCESS_ANONYMOUS=push)"
    ))
}

fn credentials_complete(settings: &Settings) -> Result<(), String> {
    let s3 = &settings.store.s3;
    let missing = match (&s3.access_key_id, &s3.secret_access_key, &s3.session_token) {
        (Some(_), Some(_), _) | (None, None, None) => return Ok(()),
        (Some(_), None, _) => "store.s3.secret_access_key",
        (None, _, _) => "store.s3.access_key_id",
    };
    Err(format!("credentials are incomplete: {missing} is missing"))
}

fn one_upload_fits(settings: &Settings) -> Result<(), String> {
    let uploads = &settings.uploads;
    let one_upload = uploads.part_bytes * u64::from(uploads.parts_in_flight);
    if one_upload <= uploads.buffer_bytes {
        return Ok(());
    }
    Err(format!(
        "{} cannot hold the {} parts of {} that one upload has in flight: {} is the least",
        format_bytes(uploads.buffer_bytes),
        uploads.parts_in_flight,
        format_bytes(uploads.part_bytes),
        format_bytes(one_upload),
    ))
}

fn redirect_has_a_target(settings: &Settings) -> Result<(), String> {
    match (settings.blobs.delivery, &settings.store.url) {
        (Delivery::Proxy, _) | (Delivery::Redirect, StoreUrl::S3 { .. }) => Ok(()),
        (Delivery::Redirect, url @ (StoreUrl::Folder(_) | StoreUrl::Memory)) => Err(format!(
            "redirect needs an S3 store (store.url = \"s3://bucket/prefix\"): no client can fetch \
             from {url}"
        )),
    }
}

fn step_below_ttl(settings: &Settings) -> Result<(), String> {
    let blobs = &settings.blobs;
    if blobs.redirect_step < blobs.redirect_ttl {
        return Ok(());
    }
    Err(format!(
        "{} is not shorter than blobs.redirect_ttl, {}",
        format_duration(blobs.redirect_step),
        format_duration(blobs.redirect_ttl),
    ))
}

/// Invariant I11: a writer that relied on content within its lease (half of the grace) and whose
/// write the store still took must have finished before the collector may take that content.
fn grace_outlasts_writers(settings: &Settings) -> Result<(), String> {
    let times = &settings.collection;
    if times.grace / 2 + times.write_deadline + times.clock_skew < times.grace {
        return Ok(());
    }
    let [half, deadline, skew, grace] =
        [times.grace / 2, times.write_deadline, times.clock_skew, times.grace].map(format_duration);
    Err(format!(
        "grace / 2 + write_deadline + clock_skew must be less than grace, or content could be \
         collected while a writer relies on it: {half} + {deadline} + {skew} is not less than \
         {grace}"
    ))
}
