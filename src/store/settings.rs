//! The settings that choose the store.

use super::s3;
use super::url::StoreUrl;
use crate::setting::{choice, choice_of, parsed, settings};

settings! {
    /// Where the registry keeps everything.
    pub struct Settings {
        /// A folder (`longshore-data`, `/var/lib/longshore`), a bucket (`s3://bucket` or
        /// `s3://bucket/prefix`), or `memory`, which loses everything when the process ends.
        ///
        /// Only one process at a time can use a folder. Any number of processes may share a
        /// bucket, unless `store.writers` says otherwise.
        url: StoreUrl = StoreUrl::default(), parsed();
        /// How many processes write to a bucket: `many`, which needs a store with conditional
        /// writes, or `single` for a store without them, such as Garage and Backblaze B2. A second
        /// process then does not start, and no garbage is collected. All processes on one bucket
        /// need the same value.
        writers: Writers = Writers::Many, choice_of();
        s3: s3::Settings;
    }
}

choice! {
    /// How many processes write to a bucket.
    pub enum Writers {
        /// Any number: the store decides the conditions of their writes.
        Many = "many",
        /// One at a time, which decides the conditions of its writes itself.
        Single = "single",
    }
}
