//! The settings that choose the store.

use super::s3;
use super::url::StoreUrl;
use crate::setting::{choice_of, parsed, settings};

settings! {
    /// Where the registry keeps everything.
    pub struct Settings {
        /// A folder (`longshore-data`, `/var/lib/longshore`), a bucket (`s3://bucket` or
        /// `s3://bucket/prefix`), or `memory`, which loses everything when the process ends.
        ///
        /// Only one process at a time can use a folder. Any number of processes may share a
        /// bucket.
        url: StoreUrl = StoreUrl::default(), parsed();
        /// Accept a store without conditional writes: one writer at a time, and no garbage
        /// collection. The log names what such a store lacks at each start.
        append_only: bool = false, choice_of();
        s3: s3::Settings;
    }
}
