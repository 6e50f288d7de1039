use proptest::prelude::*;
use serde_json::json;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    n: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    optional: Option<u32>,
}

fn draft(n: u32) -> Draft {
    Draft::new(&Header { n, optional: None }, Bytes::from_static(b"payload"))
}

fn fields(body: &Bytes) -> Map<String, Value> {
    let end = body.iter().position(|byte| *byte == b'\n').unwrap();
    serde_json::from_slice(&body[..end]).unwrap()
}

/// A record as another program wrote it.
fn foreign(line: &Value) -> Bytes {
    format!("{line}\npayload").into()
}

#[test]
fn what_is_encoded_is_decoded() {
    for payload in [&b""[..], b"\n", b"{}\n{}", &[0, 255]] {
        let header = Header { n: 1, optional: Some(2) };
        let draft = Draft::new(&header, Bytes::from_static(payload));
        let body = draft.encode(&Lineage::default());
        assert_eq!(decode::<Header>(&body).unwrap(), (header, Bytes::from_static(payload)));
        assert!(!is_tombstone(body.len() as u64));
    }
}

#[test]
fn the_shortest_record_is_longer_than_a_tombstone() {
    #[derive(Serialize, Deserialize)]
    struct Nothing {}
    let body = Draft::new(&Nothing {}, Bytes::new()).encode(&Lineage::default());
    assert_eq!(body.len(), 43);
    assert!(!is_tombstone(body.len() as u64));
    let tombstone = tombstone(Nonce::random(), &Lineage::default());
    assert!(is_tombstone(tombstone.len() as u64));
    assert!(is_tombstone(0));
}

#[test]
fn a_record_names_the_four_versions_before_it() {
    let mut nonces = Vec::new();
    let mut lineage = Lineage::default();
    for n in 0..7 {
        let draft = draft(n);
        let body = draft.encode(&lineage);
        let expected: Vec<String> = nonces.iter().rev().take(4).map(Nonce::to_string).collect();
        let past = fields(&body).get("past").cloned().unwrap_or_else(|| json!([]));
        assert_eq!(past, json!(expected));
        let history = History::of(&body).unwrap();
        assert!(history.is_newest(draft.nonce()) && history.has(draft.nonce()));
        assert!(nonces.iter().rev().take(4).all(|nonce| history.has(*nonce)));
        assert!(nonces.iter().rev().skip(4).all(|nonce| !history.has(*nonce)));
        nonces.push(draft.nonce());
        lineage = Lineage::after(&body, draft.known()).unwrap();
    }
    let body = tombstone(Nonce::random(), &lineage);
    let history = History::of(&body).unwrap();
    assert!(nonces.iter().rev().take(2).all(|nonce| history.has(*nonce)));
    assert!(nonces.iter().rev().skip(2).all(|nonce| !history.has(*nonce)));
}

/// What a later release has added stays, and what this release left out on purpose does not.
#[test]
fn a_rewrite_keeps_unknown_fields() {
    let nonce = Nonce::random();
    let body = foreign(&json!({
        "v": 1, "nonce": nonce, "need_read": [], "n": 1, "optional": 2, "new": { "a": [1] }
    }));
    let draft = draft(3);
    let rewritten = draft.encode(&Lineage::after(&body, draft.known()).unwrap());
    let expected = json!({
        "v": 1, "nonce": draft.nonce(), "past": [nonce], "n": 3, "new": { "a": [1] }
    });
    assert_eq!(Value::Object(fields(&rewritten)), expected);
    let touched = touched(&body).unwrap();
    let again = touched.encode(&Lineage::after(&body, touched.known()).unwrap());
    let expected = json!({
        "v": 1, "nonce": touched.nonce(), "past": [nonce], "n": 1, "optional": 2,
        "new": { "a": [1] }
    });
    assert_eq!(Value::Object(fields(&again)), expected);
    assert_eq!(decode::<Header>(&again).unwrap().1, "payload");
}

#[test]
fn features_that_this_release_does_not_know() {
    let nonce = Nonce::random();
    let may_read = foreign(&json!({ "v": 1, "nonce": nonce, "need": ["new"], "n": 1 }));
    assert!(decode::<Header>(&may_read).is_ok());
    let newer = Err(DecodeError::Newer("new".to_owned()));
    assert_eq!(Lineage::after(&may_read, Known::All), newer);
    assert!(History::of(&may_read).is_ok());
    let may_not = foreign(&json!({ "v": 1, "nonce": nonce, "need_read": ["new"], "n": 1 }));
    assert!(matches!(decode::<Header>(&may_not), Err(DecodeError::Newer(_))));
    let encoding = foreign(&json!({ "v": 2, "nonce": nonce, "n": 1 }));
    assert!(matches!(decode::<Header>(&encoding), Err(DecodeError::Newer(_))));
}

proptest! {
    #[test]
    fn reading_never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(body);
        let _ = decode::<Header>(&body);
        let _ = History::of(&body);
        let _ = Lineage::after(&body, Known::All);
        let _ = touched(&body);
    }

    #[test]
    fn whatever_a_line_holds(nonce in "[0-9a-f]{24}", rest in "\"(past|need|n)\":.{0,40}") {
        let body = Bytes::from(format!("{{\"v\":1,\"nonce\":\"{nonce}\",{rest}}}\n"));
        let _ = (decode::<Header>(&body), History::of(&body), touched(&body));
    }
}
