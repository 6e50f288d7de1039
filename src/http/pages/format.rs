//! Sizes, times and digests as people read them.

use std::fmt;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(super) use crate::setting::Size;

/// A moment, shown as how long ago it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) at: SystemTime,
    pub(super) now: SystemTime,
}

impl When {
    pub(super) fn exact(self) -> String {
        let at = OffsetDateTime::from(self.at);
        at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let seconds = self.now.duration_since(self.at).unwrap_or(Duration::ZERO).as_secs();
        let (count, unit) = match seconds {
            0..MINUTE => return f.write_str("just now"),
            MINUTE..HOUR => (seconds / MINUTE, "minute"),
            HOUR..DAY => (seconds / HOUR, "hour"),
            DAY.. => (seconds / DAY, "day"),
        };
        write!(f, "{count} {unit}{} ago", if count == 1 { "" } else { "s" })
    }
}

/// The beginning of a digest, which is enough to tell two apart.
pub(super) fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hex)) => format!("{algorithm}:{}", hex.get(..12).unwrap_or(hex)),
        None => digest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_as_how_long_ago_it_was() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(100_000);
        for (seconds, text) in
            [(0, "just now"), (60, "1 minute ago"), (7_199, "1 hour ago"), (200_000, "2 days ago")]
        {
            let when = When { at: now - Duration::from_secs(seconds), now };
            assert_eq!(when.to_string(), text);
        }
        let when = When { at: now + Duration::from_secs(9), now };
        assert_eq!(
            (when.to_string().as_str(), when.exact().as_str()),
            ("just now", "1981-05-29T16:00:09Z")
        );
    }
}
