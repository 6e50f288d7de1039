use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

fn digest() -> impl Strategy<Value = Digest> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(Digest::Sha256),
        any::<[u8; 64]>().prop_map(Digest::Sha512),
    ]
}

/// Names of few characters, so that many of them begin each other.
fn name() -> impl Strategy<Value = RepositoryName> {
    let any_name = "[a-b0]{1,2}((\\.|_|__|-{1,3})[a-b0]{1,2}){0,2}(/[a-b0]{1,2}(-[ab])?){0,3}";
    any_name.prop_map(|text| text.parse().expect("the grammar of names"))
}

fn tag() -> impl Strategy<Value = Tag> {
    "[a-bA_0][a-b._-]{0,4}".prop_map(|text| text.parse().expect("the grammar of tags"))
}

fn key() -> impl Strategy<Value = RecordKey> {
    prop_oneof![
        digest().prop_map(RecordKey::Pointer),
        (name(), digest()).prop_map(|(name, digest)| RecordKey::Link(name, digest)),
        (name(), digest()).prop_map(|(name, digest)| RecordKey::Manifest(name, digest)),
        (name(), tag()).prop_map(|(name, tag)| RecordKey::Tag(name, tag)),
        (name(), digest(), tag())
            .prop_map(|(name, digest, tag)| RecordKey::TagIndex(name, digest, tag)),
        (name(), digest(), digest())
            .prop_map(|(name, subject, referrer)| RecordKey::Referrer(name, subject, referrer)),
        name().prop_map(RecordKey::Repository),
        Just(()).prop_map(|()| RecordKey::Upload(UploadId::random())),
        Just(RecordKey::Settings),
        Just(RecordKey::CacheKey),
        Just(RecordKey::TokenKeys),
        Just(RecordKey::Usage),
        Just(()).prop_map(|()| RecordKey::Probe(UploadId::random())),
        Just(()).prop_map(|()| RecordKey::Writer(UploadId::random())),
        Just(RecordKey::Collector),
        Just(RecordKey::CollectorRun),
        name().prop_map(RecordKey::Seen),
        any::<u64>().prop_map(|seconds| quarantined(seconds % 4_102_444_800)),
        (name(), tag(), any::<u64>())
            .prop_map(|(name, tag, rank)| RecordKey::TagHistory(name, tag, rank)),
        any::<[u8; 10]>().prop_map(|random| {
            let id = Builder::from_unix_timestamp_millis(1_767_225_600_000, &random);
            RecordKey::Event(id.into_uuid())
        }),
    ]
}

fn quarantined(seconds: u64) -> RecordKey {
    let location = Location::new_unique(UNIX_EPOCH + std::time::Duration::from_secs(seconds));
    let (day, id) = location.parts().expect("a location of this bucket");
    assert_eq!(Location::of_parts(&day, id), location);
    RecordKey::Quarantined(day, id)
}

/// Locations of both kinds.
fn location() -> impl Strategy<Value = String> {
    prop_oneof![
        "v1/d/[0-9]{8}/[0-9a-f]{32}",
        "x:[a-z0-9-]{1,9}/[!-~]{1,40}",
        "x:[a-z0-9-]{1,9}/\\PC{1,9}",
    ]
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(key in key()) {
        let text = key.to_string();
        prop_assert_eq!(text.parse::<RecordKey>(), Ok(key));
        prop_assert!(text.is_ascii() && text.len() <= 1024, "{text}");
    }

    /// Stores that keep records as files cannot have `x` beside `x/y`.
    #[test]
    fn no_key_lies_below_another(one in key(), other in key()) {
        let (one, other) = (one.to_string(), other.to_string());
        prop_assert!(!other.starts_with(&format!("{one}/")), "{other} lies below {one}");
        let location = Location::new_unique(UNIX_EPOCH).to_string();
        prop_assert!(!location.starts_with(&one) && !one.starts_with(&location));
    }

    /// The rows below a prefix are those of its repository and its kind, and of no other.
    #[test]
    fn a_prefix_has_its_own_keys_only(key in key(), name in name(), subject in digest()) {
        let text = key.to_string();
        let below = |prefix: &Prefix| text.starts_with(&prefix.to_string());
        let of_tag = matches!(&key, RecordKey::Tag(of, _) if *of == name);
        prop_assert_eq!(below(&Prefix::Tags(name.clone())), of_tag);
        let of_digest =
            matches!(&key, RecordKey::TagIndex(of, digest, _) if *of == name && *digest == subject);
        prop_assert_eq!(below(&Prefix::TagIndexes(name.clone(), subject)), of_digest);
        let of_subject =
            matches!(&key, RecordKey::Referrer(of, digest, _) if *of == name && *digest == subject);
        prop_assert_eq!(below(&Prefix::Referrers(name.clone(), subject)), of_subject);
        let of_link = matches!(&key, RecordKey::Link(of, _) if *of == name);
        prop_assert_eq!(below(&Prefix::Links(name.clone())), of_link);
        let of_manifest = matches!(&key, RecordKey::Manifest(of, _) if *of == name);
        prop_assert_eq!(below(&Prefix::Manifests(name)), of_manifest);
        prop_assert_eq!(below(&Prefix::Repositories), matches!(key, RecordKey::Repository(_)));
        prop_assert_eq!(below(&Prefix::Writers), matches!(key, RecordKey::Writer(_)));
        prop_assert_eq!(below(&Prefix::Seen), matches!(key, RecordKey::Seen(_)));
        prop_assert_eq!(below(&Prefix::Quarantined), matches!(key, RecordKey::Quarantined(..)));
        for (kind, is) in [
            (Kind::Pointers, matches!(key, RecordKey::Pointer(_))),
            (Kind::TagIndexes, matches!(key, RecordKey::TagIndex(..))),
            (Kind::Referrers, matches!(key, RecordKey::Referrer(..))),
            (Kind::Links, matches!(key, RecordKey::Link(..))),
            (Kind::Manifests, matches!(key, RecordKey::Manifest(..))),
            (Kind::Tags, matches!(key, RecordKey::Tag(..))),
            (Kind::Uploads, matches!(key, RecordKey::Upload(_))),
        ] {
            prop_assert_eq!(below(&Prefix::All(kind)), is);
        }
    }

    /// The usage scan relies on it: no key of another namespace lies between two of one.
    #[test]
    fn a_namespace_lists_in_one_piece(
        mut names in proptest::collection::vec(name(), 3),
        digest in digest(),
    ) {
        names.sort_by_key(|name| RecordKey::Link(name.clone(), digest).to_string());
        if names[0].namespace() == names[2].namespace() {
            prop_assert_eq!(names[1].namespace(), names[0].namespace());
        }
    }

    /// The collector continues after a repository, and leaves none out.
    #[test]
    fn the_cursor_after_a_repository_passes_its_records_only(
        name in name(),
        other in name(),
        digest in digest(),
    ) {
        let rest = |name: &RepositoryName| format!("{name}/_/{}", Slashed(&digest));
        let cursor = Prefix::after_records_of(&name);
        prop_assert!(rest(&name) < cursor);
        if other != name {
            prop_assert_eq!(rest(&other) < cursor, rest(&other) < rest(&name));
        }
    }

    /// The catalog is listed in the order of keys and promised in the order of names.
    #[test]
    fn markers_are_in_the_order_of_names(one in name(), other in name()) {
        let key = |name: &RepositoryName| RecordKey::Repository(name.clone()).to_string();
        prop_assert_eq!(key(&one).cmp(&key(&other)), one.as_str().cmp(other.as_str()));
        let cursor = Prefix::after_repository(one.as_str());
        let rest = format!("{other}!");
        prop_assert_eq!(rest > cursor, other.as_str() > one.as_str());
    }

    #[test]
    fn garbage_is_no_key(text in "\\PC{0,40}") {
        prop_assert!(text.parse::<RecordKey>().is_err());
    }

    /// What is nearly a location is one only if it is spelled as it is printed.
    #[test]
    fn locations_are_printed_as_they_were_read(
        text in location(),
        at: prop::sample::Index,
        with in "\\PC|[:/xv1]?",
    ) {
        let location = text.parse::<Location>();
        prop_assert_eq!(location.map(|location| location.to_string()), Ok(text.clone()));
        prop_assert!(text.parse::<RecordKey>().is_err());
        let mut damaged: Vec<char> = text.chars().collect();
        let at = at.index(damaged.len());
        damaged.splice(at..=at, with.chars());
        let damaged: String = damaged.into_iter().collect();
        if let Ok(location) = damaged.parse::<Location>() {
            prop_assert_eq!(location.to_string(), damaged);
        }
    }

    /// Only what we have made is a key of the bucket.
    #[test]
    fn data_of_others_has_no_key(text in location()) {
        let location: Location = text.parse().expect("a location");
        match location.key() {
            Ok(key) => prop_assert!(key == text && key.starts_with("v1/d/"), "{}", key),
            Err(foreign) => {
                prop_assert!(text.starts_with("x:"), "{}", text);
                prop_assert!(foreign.to_string().contains(&text), "{}", foreign);
            }
        }
    }

    /// A reader of the history begins with the last change.
    #[test]
    fn a_later_change_of_a_tag_lists_first(name in name(), tag in tag(), one: u64, other: u64) {
        let key = |rank| RecordKey::TagHistory(name.clone(), tag.clone(), rank).to_string();
        prop_assert_eq!(key(one).cmp(&key(other)), one.cmp(&other));
    }

    /// What is nearly a key is one only if it is spelled as we spell it.
    #[test]
    fn a_damaged_key_is_another_or_none(key in key(), at: prop::sample::Index, with in "\\PC") {
        let mut text: Vec<char> = key.to_string().chars().collect();
        let at = at.index(text.len());
        text.splice(at..=at, with.chars());
        let text: String = text.into_iter().collect();
        if let Ok(parsed) = text.parse::<RecordKey>() {
            prop_assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn locations_are_read_again(seconds in 0_u64..4_102_444_800) {
        let location = Location::new_unique(UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        prop_assert_eq!(location.to_string().parse::<Location>(), Ok(location.clone()));
    }
}

#[test]
fn every_kind_is_spelled_as_the_table_says() {
    let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest");
    let long: Digest = format!("sha512:{}", "cd".repeat(64)).parse().expect("a digest");
    let (name, tag): (RepositoryName, Tag) =
        ("a/b".parse().expect("a name"), "v1".parse().expect("a tag"));
    let (ab, cd, rank) = ("ab".repeat(32), "cd".repeat(64), "00000000000000ff");
    let rows = [
        (RecordKey::Pointer(digest), format!("v1/p/sha256/ab/{ab}")),
        (RecordKey::Link(name.clone(), digest), format!("v1/l/a/b/_/sha256/{ab}")),
        (RecordKey::Manifest(name.clone(), long), format!("v1/m/a/b/_/sha512/{cd}")),
        (RecordKey::Tag(name.clone(), tag.clone()), "v1/t/a/b/_/v1".to_owned()),
        (RecordKey::TagHistory(name.clone(), tag.clone(), 255), format!("v1/h/a/b/_/v1/{rank}")),
        (RecordKey::TagIndex(name.clone(), digest, tag), format!("v1/x/a/b/_/sha256/{ab}/v1")),
        (
            RecordKey::Referrer(name.clone(), digest, long),
            format!("v1/r/a/b/_/sha256/{ab}/sha512-{cd}"),
        ),
        (RecordKey::Repository(name), "v1/c/a/b!".to_owned()),
        (RecordKey::Settings, "v1/g/settings".to_owned()),
        (RecordKey::CacheKey, "v1/g/cache-key".to_owned()),
        (RecordKey::TokenKeys, "v1/g/keys".to_owned()),
        (RecordKey::Usage, "v1/g/usage".to_owned()),
        (RecordKey::Collector, "v1/g/collector".to_owned()),
        (RecordKey::CollectorRun, "v1/g/run".to_owned()),
        (RecordKey::Seen("a/b".parse().expect("a name")), "v1/g/seen/a/b!".to_owned()),
        (
            RecordKey::Quarantined(
                "20260101".parse().expect("a day"),
                "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a UUID"),
            ),
            "v1/g/quarantine/20260101/01890a5dac96774bbcceb302099a8057".to_owned(),
        ),
        (
            RecordKey::Event("01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a UUID")),
            "v1/o/57/01890a5dac96774bbcceb302099a8057".to_owned(),
        ),
    ];
    for (key, text) in rows {
        assert_eq!(key.to_string(), text);
        assert_eq!(text.parse(), Ok(key));
    }
}

#[test]
fn near_misses_are_no_keys() {
    let hex = "ab".repeat(32);
    for text in [
        "",
        "v1/",
        "v2/c/a!",
        "v1/c/a",
        "v1/c/a!!",
        "v1/c/A!",
        "v1/z/a",
        "v1/t/a/_/",
        "v1/t/a/_/v1/x",
        "v1/t/a/v1",
        "v1/t/../_/v1",
        "v1/t//_/v1",
        "v1/t/a/_/.v1",
        &format!("v1/p/sha256/cd/{hex}"),
        &format!("v1/p/sha256/{hex}"),
        &format!("v1/l/a/_/sha256/{}", hex.to_uppercase()),
        &format!("v1/l/a/_/sha512/{hex}"),
        &format!("v1/l/a/_/md5/{hex}"),
        &format!("v1/r/a/_/sha256/{hex}/sha256:{hex}"),
        "v1/u/x",
        "v1/g/probe/",
        "v1/g/settings/",
        "v1/g/setting",
        "v1/g/run/",
        "v1/g/seen/a",
        "v1/g/quarantine/20260101",
        "v1/g/quarantine/20260101/01890a5d-ac96-774b-bcce-b302099a8057",
        "v1/h/a/_/v1",
        "v1/h/a/_/v1/ff",
        "v1/h/a/_/v1/00000000000000FF",
        "v1/h/a/_/v1/+0000000000000ff",
        "v1/o/57/01890a5d-ac96-774b-bcce-b302099a8057",
        "v1/o/56/01890a5dac96774bbcceb302099a8057",
        "v1/o/57/01890a5dac96474bbcceb302099a8057",
        "v1/d/20260101/0",
    ] {
        assert!(text.parse::<RecordKey>().is_err(), "{text}");
    }
}

/// Locations of one process are in the order of the store's clock, whatever the system clock says.
#[test]
fn the_id_of_a_location_begins_with_the_given_time() {
    let location = Location::new_unique(UNIX_EPOCH + std::time::Duration::from_millis(0x1234));
    let key = location.key().expect("a key of this bucket");
    let id = key.strip_prefix("v1/d/19700101/").expect("the day of the epoch");
    assert!(id.starts_with("0000000012347"), "{id}");
    assert_ne!(location, Location::new_unique(UNIX_EPOCH));
}

#[test]
fn near_misses_are_no_locations() {
    let long = format!("x:a/{}", "k".repeat(1025));
    for text in ["", "x:", "x:/a", "x:a/", "x:a", "x:A/b", "x:a b/c", "x:a/\n", "X:a/b", &long] {
        assert!(text.parse::<Location>().is_err(), "{text}");
    }
    assert!(long[..long.len() - 1].parse::<Location>().is_ok());
}

/// The day in a location, which the collector lists by.
#[test]
fn days_of_locations() {
    for (seconds, day) in [
        (0, "19700101"),
        (951_782_399, "20000228"),
        (951_782_400, "20000229"),
        (951_868_800, "20000301"),
        (1_767_225_599, "20251231"),
        (4_107_542_400, "21000301"),
    ] {
        let location = Location::new_unique(UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        assert!(location.to_string().starts_with(&format!("v1/d/{day}/")), "{location}");
        let day: Day = day.parse().expect("a day");
        assert!(location.to_string().starts_with(&data_prefix(Some(&day))), "{location}");
    }
    for text in ["", "2026112", "202611266", "2026-1-1", "2026112a"] {
        assert!(text.parse::<Day>().is_err(), "{text}");
    }
}
