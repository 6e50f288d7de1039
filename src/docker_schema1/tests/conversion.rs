use std::time::UNIX_EPOCH;

use super::*;
use crate::oci::{RepositoryName, Tag};

const SCHEMA1: &str = fixture!("registry-2.8.2/schema1.json");
const SCHEMA2: &str = fixture!("registry-2.8.2/schema2.json");
const CONFIG: &str = fixture!("registry-2.8.2/config.json");

fn converted(schema2: &str, config: &str) -> Result<Converted, Error> {
    let name: RepositoryName = "fixtures/converted".parse().expect("a name");
    let tag: Tag = "v1".parse().expect("a tag");
    let key = SigningKey::from_pem(KEY).expect("a key");
    let schema1 = Schema1 { push: true, negotiation: Negotiation::DockerLegacy, key: Some(key) };
    let name = (&name, &tag);
    let made = schema1.convert(name, schema2.as_bytes(), config.as_bytes(), UNIX_EPOCH)?;
    Ok(made.expect("there is a key"))
}

fn config_with(change: impl FnOnce(&mut Value)) -> String {
    let mut config: Value = serde_json::from_str(CONFIG).expect("JSON");
    change(&mut config);
    config.to_string()
}

#[test]
fn as_docker_registry_converts_it() {
    let ours = converted(SCHEMA2, CONFIG).expect("it converts");
    let theirs = document::payload(SCHEMA1.as_bytes()).expect("signed");
    assert_eq!(str::from_utf8(&ours.payload), str::from_utf8(&theirs));
    assert_eq!(ours.empty_layer.map(|layer| layer.len()), Some(32));
}

#[test]
fn what_is_made_is_verified_again() {
    let made = converted(SCHEMA2, CONFIG).expect("it converts");
    let signed = Signed::parse(made.raw.clone()).expect("verified");
    assert_eq!(signed.payload(), &made.payload);
    // But for the signature and its time, the document is theirs to the byte.
    let document = str::from_utf8(&made.raw).expect("text");
    let shape = |text: &str| {
        let without = |name: &str, text: &str| -> String {
            let lines = text.lines().filter(|line| !line.trim_start().starts_with(name));
            lines.flat_map(|line| [line, "\n"]).collect()
        };
        let text = without("\"protected\"", &without("\"signature\"", text));
        without("\"keyID\"", &text)
    };
    assert_eq!(shape(document), shape(SCHEMA1));
}

#[test]
fn a_base_layer_of_windows_is_the_parent_of_the_first() {
    let config = config_with(|config| config["rootfs"]["base_layer"] = "windowsservercore".into());
    let made = converted(SCHEMA2, &config).expect("it converts");
    let text = str::from_utf8(&made.payload).expect("text");
    // sha384("windowsservercore"), the first 32 bytes.
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, b"windowsservercore");
    assert!(text.contains(&format!("\\\"parent\\\":\\\"{}", hex::encode(&hash.as_ref()[..32]))));
}

#[test]
fn images_that_have_no_form_in_schema_1() {
    let refused = |config: &str| {
        let error = converted(SCHEMA2, config).expect_err("it does not convert");
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    };
    for wrong in ["", "{", "[]", "null", "{}", "\u{feff}{}"] {
        refused(wrong);
    }
    refused(&config_with(|config| config["history"] = serde_json::json!([])));
    refused(&config_with(|config| {
        config.as_object_mut().expect("an object").remove("history");
    }));
    refused(&config_with(|config| {
        config.as_object_mut().expect("an object").remove("rootfs");
    }));
    refused(&config_with(|config| {
        config["rootfs"]["diff_ids"].as_array_mut().expect("an array").pop();
    }));
    refused(&config_with(|config| config["history"][0]["created"] = "yesterday".into()));
    refused(&config_with(|config| config["history"][4]["created"] = "yesterday".into()));
    refused(&config_with(|config| {
        config["history"][1]["empty_layer"] = false.into();
    }));
    refused(&config_with(|config| {
        let step = config["history"][1].clone();
        config["history"] = std::iter::repeat_n(step, HISTORY_MAX + 1).collect();
    }));
}

#[test]
fn a_single_step() {
    let config = config_with(|config| {
        config["history"] = serde_json::json!([{"empty_layer": true}]);
        config["rootfs"]["diff_ids"] = serde_json::json!([]);
    });
    let mut schema2: Value = serde_json::from_str(SCHEMA2).expect("JSON");
    schema2["layers"] = serde_json::json!([]);
    let made = converted(&schema2.to_string(), &config).expect("it converts");
    let signed = Signed::parse(made.raw).expect("verified");
    assert_eq!(signed.manifest().blobs().len(), 1);
    let text = str::from_utf8(&made.payload).expect("text");
    assert!(text.contains("\\\"throwaway\\\":true") && !text.contains("parent"));
}

#[test]
fn the_empty_layer_is_the_one_that_everybody_knows() {
    let digest = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
    assert_eq!(empty_layer_digest().to_string(), digest);
}
