//! A selected range is not empty and lies within the content.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::http::headers::{Selection, byte_range};

fuzz_target!(|input: (u64, &str)| {
    let (size, value) = input;
    match byte_range(value, size) {
        Selection::Part(range) => assert!(range.start < range.end && range.end <= size),
        Selection::Parts(ranges) => {
            assert!(ranges.len() > 1);
            let mut total = 0u64;
            for range in ranges {
                assert!(range.start < range.end && range.end <= size);
                total = total.saturating_add(range.end - range.start);
            }
            assert!(total <= size);
        }
        Selection::Whole | Selection::Unsatisfiable => {}
    }
});
