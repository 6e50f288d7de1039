use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::oci::Algorithm;

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn digest(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}

#[test]
fn byte_ranges() {
    use Selection::{Part, Parts, Unsatisfiable, Whole};
    let huge = "340282366920938463463374607431768211456";
    let table = [
        ("bytes=0-0", 10, Part(0..1)),
        ("bytes=0-9", 10, Part(0..10)),
        ("bytes=0-10", 10, Part(0..10)),
        ("bytes=9-9", 10, Part(9..10)),
        ("bytes=3-", 10, Part(3..10)),
        ("bytes=-3", 10, Part(7..10)),
        ("bytes=-10", 10, Part(0..10)),
        ("bytes=-11", 10, Part(0..10)),
        (" bytes=1-2 ", 10, Part(1..3)),
        ("bytes= 1 - 2 ", 10, Part(1..3)),
        ("bytes=0-18446744073709551615", 10, Part(0..10)),
        ("bytes=0-18446744073709551615", u64::MAX, Part(0..u64::MAX)),
        ("bytes=18446744073709551614-", u64::MAX, Part(u64::MAX - 1..u64::MAX)),
        (&format!("bytes=5-{huge}"), 10, Part(5..10)),
        (&format!("bytes=-{huge}"), 10, Part(0..10)),
        (&format!("bytes={huge}-"), 10, Unsatisfiable),
        (&format!("bytes={huge}-{huge}"), u64::MAX, Unsatisfiable),
        ("bytes=10-", 10, Unsatisfiable),
        ("bytes=10-10", 10, Unsatisfiable),
        ("bytes=500-0", 1000, Unsatisfiable),
        ("bytes=500-0", 10, Unsatisfiable),
        ("bytes=-0", 10, Unsatisfiable),
        ("bytes=0-", 0, Unsatisfiable),
        ("bytes=0-0", 0, Unsatisfiable),
        ("bytes=-1", 0, Unsatisfiable),
        ("BYTES=0-1", 10, Part(0..2)),
        ("bytes=0-1,3-4", 10, Parts(vec![0..2, 3..5])),
        ("Bytes=0-1, -1", 10, Parts(vec![0..2, 9..10])),
        ("bytes=5-6,0-1,2-4", 10, Parts(vec![5..7, 0..2, 2..5])),
        ("bytes=,0-1, ,", 10, Part(0..2)),
        ("bytes=0-1,20-30,3-1", 10, Part(0..2)),
        ("bytes=20-30,40-", 10, Unsatisfiable),
        ("bytes=0-0,1-1", 0, Unsatisfiable),
        ("bytes=0-4,5-9", 10, Parts(vec![0..5, 5..10])),
        ("bytes=0-5,5-9", 10, Whole),
        ("bytes=0-,0-", u64::MAX, Whole),
        ("bytes=0-1,x", 10, Whole),
        ("bytes=20-30,1", 10, Whole),
        ("bytes=,", 10, Whole),
        ("bytes=", 10, Whole),
        ("bytes=-", 10, Whole),
        ("bytes=1", 10, Whole),
        ("bytes=a-b", 10, Whole),
        ("bytes=1-b", 10, Whole),
        ("bytes=+1-2", 10, Whole),
        ("bytes=1--2", 10, Whole),
        ("bytes", 10, Whole),
        ("bytes 0-1/10", 10, Whole),
        ("items=0-1", 10, Whole),
        ("0-1", 10, Whole),
        ("", 10, Whole),
    ];
    for (value, size, selection) in table {
        assert_eq!(byte_range(value, size), selection, "{value:?} of {size}");
    }
}

#[test]
fn so_many_ranges_are_answered_and_not_more() {
    let ranges = |count: usize| {
        let ranges: Vec<String> = (0..count).map(|at| format!("{0}-{0}", 2 * at)).collect();
        byte_range(&format!("bytes={}", ranges.join(",")), 1_000_000)
    };
    assert!(matches!(ranges(RANGES_MAX), Selection::Parts(parts) if parts.len() == RANGES_MAX));
    assert_eq!(ranges(RANGES_MAX + 1), Selection::Whole);
}

#[test]
fn content_ranges() {
    use ContentRangeError::{Malformed, Reversed};
    let table = [
        ("0-0", Ok((0, 0))),
        ("0-1023", Ok((0, 1023))),
        ("1024-2047", Ok((1024, 2047))),
        ("007-0010", Ok((7, 10))),
        (" 3 - 4 ", Ok((3, 4))),
        ("bytes 3-4/10", Ok((3, 4))),
        ("bytes 3-4/*", Ok((3, 4))),
        ("3-4/10", Ok((3, 4))),
        ("0-18446744073709551615", Ok((0, u64::MAX))),
        ("0-99999999999999999999", Ok((0, u64::MAX))),
        ("4-3", Err(Reversed)),
        ("", Err(Malformed)),
        ("-", Err(Malformed)),
        ("3", Err(Malformed)),
        ("3-", Err(Malformed)),
        ("-3", Err(Malformed)),
        ("a-b", Err(Malformed)),
        ("1-2-3", Err(Malformed)),
        ("1-2,4-5", Err(Malformed)),
        ("+1-2", Err(Malformed)),
        ("bytes=1-2", Err(Malformed)),
        ("bytes */10", Err(Malformed)),
        ("0x1-0x2", Err(Malformed)),
    ];
    for (value, expected) in table {
        assert_eq!(content_range(value), expected, "{value:?}");
    }
}

#[test]
fn a_range_counts_only_while_if_range_names_the_content() {
    let (ours, other) = (digest("ours"), digest("other"));
    let part = Selection::Part(1..3);
    let (same, different) = (format!("\"{ours}\""), format!("\"{other}\""));
    let range = (RANGE, "bytes=1-2");
    let table = [
        (vec![range.clone()], part.clone()),
        (vec![range.clone(), (IF_RANGE, &*same)], part.clone()),
        (vec![range.clone(), (IF_RANGE, &*different)], Selection::Whole),
        (vec![range.clone(), (IF_RANGE, "Wed, 21 Oct 2015 07:28:00 GMT")], Selection::Whole),
        (vec![range.clone(), (IF_RANGE, "*")], Selection::Whole),
        (vec![range.clone(), (IF_RANGE, "")], Selection::Whole),
        (vec![(IF_RANGE, &*same)], Selection::Whole),
        (vec![], Selection::Whole),
    ];
    for (pairs, expected) in table {
        assert_eq!(selection(&headers(&pairs), &ours, 10), expected, "{pairs:?}");
    }
}

#[test]
fn conditions_of_reads() {
    use Precondition::{Failed, Holds, NotModified};
    let (ours, other) = (digest("ours"), digest("other"));
    let (same, different) = (format!("\"{ours}\""), format!("\"{other}\""));
    let weak = format!("W/{same}");
    let several = format!("{different}, {weak}");
    let bare = ours.to_string();
    let prefix = format!("\"{}", &ours.to_string()[..70]);
    let table: [(&[(HeaderName, &str)], Precondition); 15] = [
        (&[], Holds),
        (&[(IF_NONE_MATCH, &same)], NotModified),
        (&[(IF_NONE_MATCH, &weak)], NotModified),
        (&[(IF_NONE_MATCH, &several)], NotModified),
        (&[(IF_NONE_MATCH, &bare)], NotModified),
        (&[(IF_NONE_MATCH, "*")], NotModified),
        (&[(IF_NONE_MATCH, &different)], Holds),
        (&[(IF_NONE_MATCH, &prefix)], Holds),
        (&[(IF_NONE_MATCH, "")], Holds),
        (&[(IF_MATCH, &same)], Holds),
        (&[(IF_MATCH, "*")], Holds),
        (&[(IF_MATCH, &different)], Failed),
        (&[(IF_MATCH, "")], Failed),
        (&[(IF_MATCH, &different), (IF_NONE_MATCH, &same)], Failed),
        (&[(IF_MATCH, &same), (IF_NONE_MATCH, &same)], NotModified),
    ];
    for (pairs, expected) in table {
        assert_eq!(precondition(&headers(pairs), &ours), expected, "{pairs:?}");
    }
}

#[test]
fn conditions_of_tags() {
    let (one, two) = (digest("one"), digest("two"));
    let list = format!("\"{one}\", W/\"{two}\", nonsense");
    let both = || vec![one, two];
    let table: [(&[(HeaderName, &str)], TagCondition); 7] = [
        (&[], TagCondition::None),
        (&[(IF_NONE_MATCH, "*")], TagCondition::Absent),
        (&[(IF_NONE_MATCH, &list)], TagCondition::PointsElsewhere(both())),
        (&[(IF_MATCH, "*")], TagCondition::Present),
        (&[(IF_MATCH, &list)], TagCondition::PointsAt(both())),
        (&[(IF_MATCH, "nonsense")], TagCondition::PointsAt(vec![])),
        (&[(IF_MATCH, &list), (IF_NONE_MATCH, "*")], TagCondition::PointsAt(both())),
    ];
    for (pairs, expected) in table {
        assert_eq!(tag_condition(&headers(pairs)), expected, "{pairs:?}");
    }
}

/// Values that look like ranges, and anything else that a header can carry.
fn range_like() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        Just(String::new()),
        (0u64..30).prop_map(|number| number.to_string()),
        any::<u128>().prop_map(|number| number.to_string()),
        "[0-9a-z+ -]{0,5}",
    ];
    let unit = prop_oneof![Just("bytes="), Just("bytes "), Just(""), Just("items=")];
    let rest = prop_oneof![Just(""), Just("/10"), Just("/*"), Just(",1-2"), Just(" ")];
    prop_oneof![
        (unit, number.clone(), number, rest)
            .prop_map(|(unit, first, last, rest)| format!("{unit}{first}-{last}{rest}")),
        ".{0,40}",
    ]
}

proptest! {
    #[test]
    fn a_part_lies_within_its_size(
        value in range_like(),
        size in prop_oneof![0..30u64, any::<u64>()],
    ) {
        let ranges = match byte_range(&value, size) {
            Selection::Part(range) => vec![range],
            Selection::Parts(ranges) => ranges,
            Selection::Whole | Selection::Unsatisfiable => Vec::new(),
        };
        for range in ranges {
            prop_assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
        }
    }

    #[test]
    fn a_part_is_what_was_asked_for(
        first in any::<u64>(),
        more in any::<u64>(),
        size in any::<u64>(),
    ) {
        let last = first.saturating_add(more);
        let expected = if first < size {
            Selection::Part(first..last.saturating_add(1).min(size))
        } else {
            Selection::Unsatisfiable
        };
        prop_assert_eq!(byte_range(&format!("bytes={first}-{last}"), size), expected);
    }

    #[test]
    fn a_content_range_is_in_order(value in range_like()) {
        if let Ok((first, last)) = content_range(&value) {
            prop_assert!(first <= last);
        }
    }

    #[test]
    fn a_content_range_reads_back(first in any::<u64>(), more in any::<u64>()) {
        let last = first.saturating_add(more);
        prop_assert_eq!(content_range(&format!("{first}-{last}")), Ok((first, last)));
    }

    #[test]
    fn conditions_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        for name in [IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE] {
            headers.insert(name, value.clone());
        }
        let _ = precondition(&headers, &digest("content"));
        let _ = tag_condition(&headers);
        let _ = selection(&headers, &digest("content"), 100);
    }
}
