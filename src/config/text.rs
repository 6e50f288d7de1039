//! How numbers, sizes and durations are written: `1000`, `16MiB`, `48h`.

use std::time::Duration;

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;
pub(super) const TIB: u64 = 1024 * GIB;

/// A unit and what it is worth, from small to large.
type Units = &'static [(&'static str, u64)];

const SIZES: Units = &[("B", 1), ("KiB", KIB), ("MiB", MIB), ("GiB", GIB), ("TiB", TIB)];

/// In milliseconds.
const DURATIONS: Units =
    &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

pub(super) fn parse_count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number, such as 1000"))
}

/// A size; without a unit, in bytes.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    parse_amount(text, SIZES, "B").ok_or_else(|| {
        format!("{text:?} is not a size, such as 16MiB: units are B, KiB, MiB, GiB and TiB")
    })
}

/// A duration; without a unit, in seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_amount(text, DURATIONS, "s").map(Duration::from_millis).ok_or_else(|| {
        format!("{text:?} is not a duration, such as 30s: units are ms, s, m, h and d")
    })
}

/// The inverse of [`parse_bytes`], in the largest unit without a remainder.
pub(super) fn format_bytes(bytes: u64) -> String {
    format_amount(bytes, SIZES)
}

/// The inverse of [`parse_duration`] down to the millisecond.
pub(super) fn format_duration(duration: Duration) -> String {
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
