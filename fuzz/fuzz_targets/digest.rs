//! A digest that is accepted has one spelling, and whatever we serve is also grammatical.

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
    // The saved state of a hasher is read back from the store, which may have damaged it.
    for algorithm in Algorithm::ALL {
        if let Ok(hasher) = Hasher::restore(algorithm, text) {
            assert_eq!(hasher.save(), text);
        }
    }
});
