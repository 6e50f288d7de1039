//! Any bytes in the place of the header of an upload session either are one or are refused, and
//! one that is accepted survives being written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::layout::records::Session;

fuzz_target!(|bytes: &[u8]| {
    let Ok(session) = serde_json::from_slice::<Session>(bytes) else { return };
    let written = serde_json::to_vec(&session).expect("a session is JSON");
    assert!(serde_json::from_slice::<Session>(&written).is_ok());
});
