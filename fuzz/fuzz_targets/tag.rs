//! An accepted reference is displayed unchanged, and is a digest exactly if it has a colon.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::oci::{Reference, Tag};

fuzz_target!(|text: &str| {
    let tag = text.parse::<Tag>();
    let reference = text.parse::<Reference>();
    if let Ok(tag) = &tag {
        assert_eq!(tag.as_str(), text);
        assert!(text.len() <= Tag::BYTES_MAX && !text.contains(['/', ':', '%']));
    }
    match &reference {
        Ok(Reference::Tag(_)) => assert!(tag.is_ok()),
        Ok(Reference::Digest(_)) => assert!(tag.is_err() && text.contains(':')),
        Err(_) => assert!(tag.is_err()),
    }
    if let Ok(reference) = reference {
        assert_eq!(reference.to_string(), text);
    }
});
