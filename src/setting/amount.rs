//! How sizes and durations are written: `16MiB`, `48h`; and sizes as people read them: `1.5 KiB`.

use std::fmt;
use std::time::Duration;

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;
pub(crate) const GIB: usize = 1024 * MIB;
pub(crate) const TIB: usize = 1024 * GIB;

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A unit and what it is worth, from small to large.
type Units = &'static [(&'static str, u64)];

const SIZES: Units =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// In milliseconds.
const DURATIONS: Units =
    &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A size; without a unit, in bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    parse_amount(text, SIZES, "B").ok_or_else(|| {
        format!("{text:?} is not a size, such as 16MiB: units are B, KiB, MiB, GiB and TiB")
    })
}

/// A duration; without a unit, in seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_amount(text, DURATIONS, "s").map(Duration::from_millis).ok_or_else(|| {
        format!("{text:?} is not a duration, such as 30s: units are ms, s, m, h and d")
    })
}

/// The inverse of [`parse_bytes`], in the largest unit without a remainder.
pub(crate) fn format_bytes(bytes: u64) -> String {
    format_amount(bytes, SIZES)
}

/// The inverse of [`parse_duration`] down to the millisecond.
pub(crate) fn format_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    let milliseconds = duration.as_millis().try_into().unwrap_or(u64::MAX);
    format_amount(milliseconds, DURATIONS)
}

fn parse_amount(text: &str, units: Units, unit_default: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { unit_default } else { unit };
    let (_, worth) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*worth)
}

fn format_amount(amount: u64, units: Units) -> String {
    let fits = |(_, worth): &&(&str, u64)| amount.is_multiple_of(*worth) && *worth <= amount;
    let (unit, worth) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{unit}", amount / worth)
}

/// Bytes, shown with three digits at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    pub(crate) fn exact(self) -> String {
        format!("{} bytes", self.0)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let (mut tenths, mut unit) = (u128::from(self.0) * 10, 0);
        // What would be shown as 1024.0 is one of the next unit.
        while tenths >= 10_235 && unit + 1 < UNITS.len() {
            tenths = (tenths + 512) / 1024;
            unit += 1;
        }
        let name = UNITS.get(unit).copied().unwrap_or_default();
        match (unit, tenths) {
            (0, _) => write!(f, "{} {name}", self.0),
            (_, 1000..) => write!(f, "{} {name}", (tenths + 5) / 10),
            _ => write!(f, "{}.{} {name}", tenths / 10, tenths % 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_a_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (102_400, "100 KiB"),
            (1_048_575, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text, "{bytes}");
        }
    }
}
