//! Lines: whatever is in a request, its line is one line of JSON.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::oci::{Algorithm, Digest};

fn entry(text: &str, tags: usize) -> Entry {
    let digest = Digest::of(Algorithm::Sha512, b"content");
    let tag = |number: usize| TagChange {
        tag: format!("{number}{}", "t".repeat(120)).parse().expect("a tag"),
        before: Some(digest),
        after: Some(digest),
    };
    Entry {
        time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_785_196_800_123_999),
        request_id: text.into(),
        who: Who { subject: Some(text.into()), credential: text.into() },
        client: "2001:db8::1".parse().ok(),
        operation: "put_manifest",
        method: text.into(),
        repository: "a".repeat(255).parse().ok(),
        upload: None,
        digest: Some(digest),
        tags: (0..tags).map(tag).collect::<Vec<_>>().into(),
        size: Some(u64::MAX),
        mounted_from: "a".repeat(255).parse().ok(),
        outcome: Outcome::Done,
        status: 201,
        rule: Some(text.into()),
        code: Some("DENIED"),
        auth: Some("no_rule"),
        reason: Some(text.into()),
        user_agent: Some(text.into()),
    }
}

proptest! {
    #[test]
    fn any_text_makes_one_line_of_json(text in any::<String>(), tags in 0..100_usize) {
        // Long enough to be cut, at any place.
        for text in [&text, &text.repeat(100), &format!("{text}\n\r\u{2028}\0\"\\{text}")] {
            let line = entry(text, tags).line();
            prop_assert_eq!(line.split(|byte| *byte == b'\n').count(), 2);
            prop_assert!(line.ends_with(b"}\n"), "{:?}", line);
            let read: Value = serde_json::from_slice(&line).expect("JSON");
            let shown = read["user_agent"].as_str().expect("a text");
            prop_assert!(text.starts_with(shown) && shown.len() <= 512);
            prop_assert!(shown.len() > 508 || shown == text.as_str());
            let listed = read["tags"].as_array().map_or(0, Vec::len);
            let left_out = read["tags_left_out"].as_u64().unwrap_or_default();
            prop_assert_eq!(listed as u64 + left_out, tags as u64);
        }
    }
}

#[test]
fn the_longest_line_has_a_limit() {
    // Each control character is six bytes of JSON.
    let line = entry(&"\u{1}".repeat(10_000), 10_000).line();
    assert!(line.len() < 64 * 1024, "{}", line.len());
}

#[test]
fn what_does_not_apply_is_left_out_and_times_are_cut_to_milliseconds() {
    let bare = Entry {
        who: Who { subject: None, credential: "password".into() },
        client: None,
        repository: None,
        digest: None,
        tags: Tags::default(),
        size: None,
        mounted_from: None,
        rule: None,
        code: None,
        auth: None,
        reason: None,
        user_agent: None,
        ..entry("x", 0)
    };
    let read: Value = serde_json::from_slice(&bare.line()).expect("JSON");
    let expected = json!({
        "time": "2026-07-28T00:00:00.123Z", "request_id": "x", "operation": "put_manifest",
        "method": "x", "outcome": "done", "status": 201, "credential": "password",
    });
    assert_eq!(read, expected);
}

#[test]
fn a_destination_is_stdout_or_a_path() {
    for good in ["stdout", "/var/log/audit.log", "./audit.log", "logs/audit.log"] {
        assert_eq!(good.parse::<Destination>().expect("a destination").to_string(), good);
    }
    for bad in ["", "stderr", "off", "audit.log", "/var/log/", "/a\0b"] {
        assert!(bad.parse::<Destination>().is_err(), "{bad:?}");
    }
}
