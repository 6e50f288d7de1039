//! An accepted digest is displayed unchanged, and a supported digest is also grammatical.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore::oci::{Algorithm, AnyDigest, Digest, DigestError, Hasher};

fuzz_target!(|text: &str| {
    let any = text.parse::<AnyDigest>();
    match text.parse::<Digest>() {
        Ok(digest) => {
            assert_eq!(digest.to_string(), text);
            assert_eq!(any, Ok(AnyDigest::Known(digest)));
        }
        Err(DigestError::Unsupported(_)) => assert!(matches!(any, Ok(AnyDigest::Other(_)))),
        Err(DigestError::Malformed(_)) => assert!(any.is_err()),
    }
    if let Ok(any) = any {
        assert_eq!(any.to_string(), text);
    }
    // The store may have damaged the saved state of a hasher.
    for algorithm in Algorithm::ALL {
        if let Ok(hasher) = Hasher::restore(algorithm, text) {
            assert_eq!(hasher.save(), text);
        }
    }
});
