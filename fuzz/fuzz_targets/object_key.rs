//! An accepted key is displayed unchanged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::layout::key::RecordKey;

fuzz_target!(|text: &str| {
    if let Ok(key) = text.parse::<RecordKey>() {
        assert_eq!(key.to_string(), text);
    }
});
