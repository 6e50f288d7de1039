//! Any `Accept` header is parsed, and one without a slash restricts nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::oci::{Accept, MediaType};

fuzz_target!(|headers: Vec<&str>| {
    let accept = Accept::parse(headers.iter().copied());
    let readable = headers.iter().any(|header| header.contains('/'));
    assert!(readable || accept.is_unrestricted());
    for media_type in &MediaType::ACCEPTED {
        assert!(readable || !accept.names(media_type));
    }
    for header in headers {
        let Ok(media_type) = header.parse::<MediaType>();
        let Ok(again) = media_type.as_str().parse::<MediaType>();
        assert_eq!(again, media_type);
    }
});
