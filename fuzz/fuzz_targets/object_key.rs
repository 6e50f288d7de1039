//! An accepted key is displayed unchanged. All keys begin alike, so only the rest comes from outside.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::layout::key::RecordKey;

fuzz_target!(|rest: &str| {
    let text = format!("v1/{rest}");
    if let Ok(key) = text.parse::<RecordKey>() {
        assert_eq!(key.to_string(), text);
    }
});
