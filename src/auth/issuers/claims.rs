//! The claims of an identity token, as rules see them.

use serde_json::{Map, Value};

use crate::auth::signed_token::Claims;

/// Claims of one token that are kept.
const CLAIMS_MAX: usize = 64;
/// Bytes of the text of a claim, or of an element of its list; no pattern matches a longer one.
const TEXT_BYTES_MAX: usize = 1024;
/// Elements of a list that are kept.
const LIST_MAX: usize = 100;
/// Objects within objects that are looked into: `kubernetes.io.pod.name` lies in the second.
const DEPTH_MAX: usize = 3;

/// Texts, numbers, flags and lists of texts. What an object holds has the names of both with a dot
/// between them, such as `kubernetes.io.namespace`; a claim of that very name counts instead.
pub(super) fn flat(claims: Claims) -> Claims {
    let mut flat = Map::new();
    let mut level = vec![(String::new(), claims)];
    for _ in 0..=DEPTH_MAX {
        let mut next = Vec::new();
        for (path, object) in level {
            for (name, value) in object {
                let name = if path.is_empty() { name } else { format!("{path}.{name}") };
                if let Value::Object(inner) = value {
                    next.push((name, inner));
                } else if let Some(value) = kept(value)
                    && flat.len() < CLAIMS_MAX
                {
                    // The levels come from the outside in, so what is further out counts.
                    flat.entry(name).or_insert(value);
                }
            }
        }
        level = next;
    }
    flat
}

fn kept(value: Value) -> Option<Value> {
    let short = |text: &str| text.len() <= TEXT_BYTES_MAX;
    match value {
        Value::String(text) if short(&text) => Some(Value::String(text)),
        Value::Number(_) | Value::Bool(_) => Some(value),
        Value::Array(values) => {
            let texts = values.into_iter().filter(|value| value.as_str().is_some_and(short));
            Some(Value::Array(texts.take(LIST_MAX).collect()))
        }
        Value::String(_) | Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flattened(claims: &Value) -> Value {
        Value::Object(flat(claims.as_object().expect("an object").clone()))
    }

    #[test]
    fn claims_of_objects_get_the_names_of_both() {
        let token = json!({
            "sub": "system:serviceaccount:ci:builder",
            "aud": ["registry"],
            "kubernetes.io": {"namespace": "ci", "pod": {"name": "p", "uid": "1"}},
            "kubernetes.io.namespace": "literal",
            "exp": 7, "admin": true, "none": null, "mixed": ["a", 1, {}],
        });
        let expected = json!({
            "sub": "system:serviceaccount:ci:builder",
            "aud": ["registry"],
            "kubernetes.io.namespace": "literal",
            "kubernetes.io.pod.name": "p", "kubernetes.io.pod.uid": "1",
            "exp": 7, "admin": true, "mixed": ["a"],
        });
        assert_eq!(flattened(&token), expected);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let many: Map<String, Value> = (0..1000).map(|n| (n.to_string(), json!(n))).collect();
        assert_eq!(flat(many).len(), CLAIMS_MAX);
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(flattened(&json!({"a": long, "b": [long, "c"]})), json!({"b": ["c"]}));
        let list: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        assert_eq!(flattened(&json!({"a": list}))["a"].as_array().map(Vec::len), Some(LIST_MAX));
        let mut deep = json!({"end": 1});
        for _ in 0..100 {
            deep = json!({"a": deep});
        }
        assert_eq!(flattened(&deep), json!({}));
    }
}
