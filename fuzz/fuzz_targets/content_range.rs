//! The range of a chunk does not end before it begins, and a printed range parses to the same value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::http::headers::content_range;

fuzz_target!(|value: &str| {
    if let Ok((first, last)) = content_range(value) {
        assert!(first <= last);
        assert_eq!(content_range(&format!("{first}-{last}")), Ok((first, last)));
    }
});
