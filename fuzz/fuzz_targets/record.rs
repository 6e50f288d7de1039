//! Any bytes in the place of a record either are one or are refused, and one that is touched keeps its
//! header, its payload and its history.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use longshore::layout::encoding::{History, Lineage, decode, is_tombstone, touched};
use serde_json::{Map, Value};

fuzz_target!(|bytes: &[u8]| {
    let body = Bytes::copy_from_slice(bytes);
    let history = History::of(&body);
    if is_tombstone(body.len() as u64) {
        assert!(history.is_ok());
        return;
    }
    let Ok((header, payload)) = decode::<Map<String, Value>>(&body) else { return };
    let history = history.expect("what can be decoded has a history");
    let draft = touched(&body).expect("what can be decoded can be touched");
    // A later release may have forbidden that this one writes it.
    let Ok(lineage) = Lineage::after(&body, draft.known()) else { return };
    assert!(history.reaches(&lineage));
    let written = draft.encode(&lineage);
    let (header_after, payload_after) = decode::<Map<String, Value>>(&written).expect("our own");
    assert_eq!((header_after, payload_after), (header, payload));
    let after = History::of(&written).expect("our own");
    assert!(after.is_newest(draft.nonce()) && after.reaches(&lineage));
});
