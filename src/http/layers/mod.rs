//! What happens around every request.

pub(super) mod access_log;
pub(super) mod peer;
pub(super) mod request_id;
pub(super) mod trace;
