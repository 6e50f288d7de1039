//! The labels of limits: which one a caller has used up.

use super::label::{Label, LabelSet, label};

label! {
    /// What is limited.
    pub Limit as "limit" {
        /// `requests_per_second`.
        Requests => "requests",
        /// `upload_bytes_per_second`.
        UploadBytes => "upload_bytes",
        /// `download_bytes_per_second`.
        DownloadBytes => "download_bytes",
    }
}

label! {
    /// Whose limit it is.
    pub LimitBy as "by" {
        /// The caller that has logged in (`limits.subject`).
        Subject => "subject",
        /// The client address (`limits.address`).
        Address => "address",
    }
}
