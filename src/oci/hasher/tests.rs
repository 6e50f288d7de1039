use proptest::prelude::*;

use super::*;

fn hasher_of(algorithm: Algorithm, bytes: &[u8]) -> Hasher {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher
}

#[test]
fn a_restored_state_continues_at_any_offset() {
    let content: Vec<u8> = (0..300_u16).map(|i| i.to_le_bytes()[0]).collect();
    for algorithm in Algorithm::ALL {
        for split in 0..=content.len() {
            let saved = hasher_of(algorithm, &content[..split]).save();
            let mut restored = Hasher::restore(algorithm, &saved).expect("just saved");
            restored.update(&content[split..]);
            assert_eq!(restored.finish(), Digest::of(algorithm, &content), "at {split}");
        }
    }
}

#[test]
fn a_state_of_another_algorithm_is_refused() {
    let saved = hasher_of(Algorithm::Sha256, b"abc").save();
    let foreign = Some(HasherStateError::Foreign);
    assert_eq!(Hasher::restore(Algorithm::Sha512, &saved).err(), foreign);
    let older = saved.replacen(FORMAT, "sha2-0.10", 1);
    assert_eq!(Hasher::restore(Algorithm::Sha256, &older).err(), foreign);
}

#[test]
fn a_state_with_a_changed_algorithm_is_refused() {
    let saved = hasher_of(Algorithm::Sha256, b"abc").save().replacen("sha256", "sha512", 1);
    assert_eq!(Hasher::restore(Algorithm::Sha512, &saved).err(), Some(HasherStateError::Damaged));
}

#[test]
fn the_saved_state_is_short_and_not_in_debug_output() {
    for algorithm in Algorithm::ALL {
        let hasher = hasher_of(algorithm, &[b'x'; 127]);
        let saved = hasher.save();
        assert!(saved.len() < 320 && saved.is_ascii(), "{saved}");
        assert!(format!("{hasher:?}").len() < 20);
    }
}

/// Later releases must restore the states that the first release saved, or change [`FORMAT`].
#[test]
fn states_of_the_first_release_can_be_restored() {
    assert_eq!(hasher_of(Algorithm::Sha256, b"longshore").save(), SAVED_SHA256);
    assert_eq!(hasher_of(Algorithm::Sha512, b"longshore").save(), SAVED_SHA512);
}

const SAVED_SHA256: &str = "\
    sha2-0.11:sha256:373ed89b:Z+YJaoWuZ7ty8248OvVPpX9SDlGMaAWbq9mDHxnN4FsAAAAAAAAAAA\
    lsb25nc2hvcmUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
    AAAAA";
const SAVED_SHA512: &str = "\
    sha2-0.11:sha512:df081483:CMm882fmCWo7p8qEha5nuyv4lP5y82488TYdXzr1T6XRguatf1IOUR\
    9sPiuMaAWba71B+6vZgx95IX4TGc3gWwAAAAAAAAAAAAAAAAAAAAAJbG9uZ3Nob3JlAAAAAAAAAAAAAA\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

proptest! {
    #[test]
    fn saving_and_restoring_does_not_change_the_digest(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..8),
    ) {
        for algorithm in Algorithm::ALL {
            let mut hasher = Hasher::new(algorithm);
            for chunk in &chunks {
                hasher.update(chunk);
                hasher = Hasher::restore(algorithm, &hasher.save()).expect("just saved");
            }
            prop_assert_eq!(hasher.finish(), Digest::of(algorithm, &chunks.concat()));
        }
    }

    #[test]
    fn every_changed_byte_is_detected(
        content in prop::collection::vec(any::<u8>(), 0..200),
        position in any::<prop::sample::Index>(),
        replacement in prop::char::range(' ', '~'),
    ) {
        for algorithm in Algorithm::ALL {
            let saved = hasher_of(algorithm, &content).save();
            let position = position.index(saved.len());
            let mut damaged = saved.clone();
            damaged.replace_range(position..=position, replacement.encode_utf8(&mut [0; 4]));
            prop_assert_eq!(Hasher::restore(algorithm, &damaged).is_ok(), damaged == saved);
            prop_assert!(Hasher::restore(algorithm, &saved[..position]).is_err());
        }
    }

    #[test]
    fn any_text_is_restored_without_a_panic(
        text in "\\PC{0,40}|sha2-0\\.11:sha256:[0-9a-f]{8}:[A-Za-z0-9+/]{0,200}",
    ) {
        for algorithm in Algorithm::ALL {
            prop_assert!(Hasher::restore(algorithm, &text).is_err());
        }
    }
}
