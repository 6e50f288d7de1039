//! An accepted manifest is kept byte for byte, and accepted again under its own type.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use longshore::oci::{Manifest, MediaType};

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, raw) = input;
    let declared = MediaType::ACCEPTED.get(usize::from(choice));
    let raw = Bytes::copy_from_slice(raw);
    let Ok(manifest) = Manifest::parse(raw.clone(), declared) else { return };
    let media_type = manifest.media_type();
    assert_eq!(manifest.raw(), &raw);
    assert!(declared.is_none_or(|declared| declared == media_type));
    assert!(MediaType::ACCEPTED.contains(media_type));
    assert_eq!(manifest.blobs().is_empty(), media_type.is_index());
    assert!(manifest.children().is_empty() || media_type.is_index());
    assert!(manifest.subject().is_none_or(|subject| subject.digest.known().is_some()));
    assert!(Manifest::parse(raw, Some(media_type)).is_ok());
});
