use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::keys::variable;
use super::*;
use crate::audit_log::AuditLogSettings;
use crate::auth::{AccessSettings, GeneralAccess};
use crate::http::{AdminSettings, BlobSettings, Delivery, LimitSettings, ListenerSettings};
use crate::registry::{LeaseSettings, ManifestSettings};
use crate::setting::{
    MIB, Networks, Secret, format_bytes, format_duration, parse_bytes, parse_duration,
};
use crate::shared_cache::CacheSettings;
use crate::store::{StoreUrl, s3};
use crate::telemetry::MetricsSettings;

mod access;
mod collection;
mod quotas;

#[test]
fn without_sources_everything_has_its_default() {
    let settings = load(&Sources::default()).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:5000");
    assert_eq!(settings.store.url, StoreUrl::Folder(PathBuf::from("longshore-data")));
}

#[test]
fn a_file_sets_what_it_says() {
    let settings = load(&file(
        r#"
        uploads.part_bytes = "32MiB"
        [server]
        listen = "127.0.0.1:0"
        header_timeout = 5
        [store]
        url = "s3://bucket/some/prefix/"
        s3 = { endpoint = "http://minio:9000/", region = "eu-central-1", path_style = false }
        [blobs]
        delivery = "redirect"
        delete = false
        [manifests]
        bytes_max = 0x80_0000
        "#,
    ))
    .unwrap();
    assert_eq!(settings.uploads.part_bytes, 32 * MIB);
    assert_eq!(settings.server.header_timeout, Duration::from_secs(5));
    let (bucket, prefix) = ("bucket".to_owned(), "some/prefix".to_owned());
    assert_eq!(settings.store.url, StoreUrl::S3 { bucket, prefix });
    assert_eq!(settings.store.s3.endpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!(settings.store.s3.region.as_deref(), Some("eu-central-1"));
    assert!(!settings.store.s3.uses_path_style());
    assert_eq!(settings.blobs.delivery, Delivery::Redirect);
    assert!(!settings.blobs.delete);
    assert_eq!(settings.manifests.bytes_max, 8 * MIB);
}

#[test]
fn the_last_source_wins() {
    let mut sources = Sources::default();
    let region = |sources: &Sources| load(sources).unwrap().store.s3.region;
    assert_eq!(region(&sources), None);
    for (name, value) in [("AWS_DEFAULT_REGION", "aws-default"), ("AWS_REGION", "aws")] {
        sources.environment.push((name.to_owned(), value.to_owned()));
        assert_eq!(region(&sources).as_deref(), Some(value));
    }
    sources.file = file("store.s3.region = 'file'").file;
    assert_eq!(region(&sources).as_deref(), Some("file"));
    sources.environment.push(("LONGSHORE_STORE_S3_REGION".to_owned(), "ours".to_owned()));
    assert_eq!(region(&sources).as_deref(), Some("ours"));
    sources.flags.push(flag("--region", "store.s3.region", "flag"));
    assert_eq!(region(&sources).as_deref(), Some("flag"));
}

#[test]
fn every_setting_is_set_by_the_file_and_by_its_variable() {
    for key in keys::all() {
        let mut direct = Settings::default();
        let mut setting = keys::setting(&mut direct, &key.name).unwrap();
        let text = setting.show().or_else(|| setting.example.map(str::to_owned));
        let text = text.expect("a default or an example");
        setting.read(&text).unwrap();
        drop(setting);
        for sources in [
            file(&format!("{} = '{text}'", key.name)),
            environment(&[(&variable(&key.name), &text)]),
        ] {
            match load(&sources) {
                Ok(settings) => assert_eq!(settings, direct),
                Err(errors) => assert!(errors.to_string().contains("incomplete"), "{errors}"),
            }
        }
    }
}

#[test]
fn schema_1_is_taken_where_it_is_asked_for() {
    let takes = |mode: &str, push: &str| {
        let variables =
            [("LONGSHORE_MANIFESTS_MODE", mode), ("LONGSHORE_MANIFESTS_SCHEMA1_PUSH", push)];
        load(&environment(&variables)).unwrap().manifests.takes_schema1()
    };
    assert!(!takes("oci", "") && takes("docker-legacy", ""));
    assert!(takes("oci", "true") && !takes("docker-legacy", "false"));
}

#[test]
fn names_are_unique() {
    let mut names: Vec<String> = keys::names().collect();
    let mut variables: Vec<String> = keys::names().map(|key| variable(&key)).collect();
    let count = names.len();
    for names in [&mut names, &mut variables] {
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

#[test]
fn the_endpoint_comes_from_aws_variables_and_decides_style_and_checksum() {
    let aws = load(&Sources::default()).unwrap().store.s3;
    assert!(!aws.uses_path_style() && aws.sends_crc32());
    let sources = environment(&[
        ("AWS_ENDPOINT_URL", "http://all:1"),
        ("AWS_ENDPOINT_URL_S3", "http://s3:2"),
        ("AWS_ACCESS_KEY_ID", "never read here"),
    ]);
    let other = load(&sources).unwrap().store.s3;
    assert_eq!(other.endpoint.as_deref(), Some("http://s3:2"));
    assert_eq!(other.access_key_id, None);
    assert!(other.uses_path_style() && !other.sends_crc32());
}

#[test]
fn everything_wrong_is_said_at_once_with_its_place() {
    let mut sources = file(
        "[uploads]\npart_bytes = \"16Mib\"\npart_byte = 1\n\n[blobs]\ndelivery = [\"proxy\"]\n\
         redirect_ttl = \"30s\"\n[uplods]\nx = 1\n[lists.page_max]\n",
    );
    sources.environment =
        environment(&[("LONGSHORE_LOG_LEVL", "info"), ("LONGSHORE_LISTS_CATALOG", "yes")])
            .environment;
    sources.flags = vec![flag("--listen", "server.listen", "localhost")];
    let not_a_value = "is not a value: write a string, a number, true or false";
    check(
        &sources,
        &format!(
            "
file longshore.toml, line 2, uploads.part_bytes: \"16Mib\" is not a size, such as 16MiB: units \
            are B, KiB, MiB, GiB and TiB
file longshore.toml, line 3, uploads.part_byte: unknown key: did you mean uploads.part_bytes?
file longshore.toml, line 6, blobs.delivery: a list {not_a_value}
file longshore.toml, line 7, blobs.redirect_ttl: 30s is not between 1m and 7d
file longshore.toml, line 8, uplods: unknown section: did you mean uploads?
file longshore.toml, line 10, lists.page_max: a table {not_a_value}
environment LONGSHORE_LISTS_CATALOG: \"yes\" is not true or false
environment LONGSHORE_LOG_LEVL: unknown variable: did you mean LONGSHORE_LOG_LEVEL?
--listen: \"localhost\" is not an address and a port, such as 127.0.0.1:5000 or [::]:5000"
        ),
    );
}

#[test]
fn unknown_keys_are_errors() {
    let no_idea = "`longshore config-reference` prints all of them";
    for (toml, key, expected) in [
        ("part_bytes = 1", "part_bytes", "unknown key: did you mean uploads.part_bytes?"),
        ("blobs.delivry = 1", "blobs.delivry", "unknown key: did you mean blobs.delivery?"),
        ("uploads = 1", "uploads", "is a section: write [uploads]"),
        ("colour = 1", "colour", &format!("unknown key: {no_idea}")),
        ("log.level_file = 1", "log.level_file", &format!("unknown key: {no_idea}")),
        ("store.s4.x = 1", "store.s4", "unknown section: did you mean store.s3?"),
        ("[colours]", "colours", &format!("unknown section: {no_idea}")),
    ] {
        check(&file(toml), &format!("\nfile longshore.toml, line 1, {key}: {expected}"));
    }
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_every_line() {
    let errors = load(&file("[server]\nlisten = \nx\n[server]\n")).unwrap_err();
    let lines: Vec<_> = errors.errors().iter().map(|error| error.source.clone()).collect();
    let line = |line| Source::File { path: PathBuf::from("longshore.toml"), line, key: None };
    assert!(lines.contains(&line(2)) && lines.contains(&line(3)), "{errors}");
    // The rest of the configuration is still read, but nothing is said of the whole.
    let mut sources = file("anonymous = push");
    sources.flags.push(flag("--listen", "server.listen", "0.0.0.0:1"));
    sources.flags.push(flag("--store", "store.url", "ftp://x"));
    let errors = load(&sources).unwrap_err().to_string();
    assert!(errors.contains("--store: ") && !errors.contains("--listen"), "{errors}");
}

#[test]
fn empty_variables_and_those_of_kubernetes_services_are_passed_over() {
    let sources = environment(&[
        ("LONGSHORE_LOG_FORMAT", ""),
        ("LONGSHORE_CONFIG", "read elsewhere"),
        ("LONGSHORE_SERVICE_HOST", "10.0.0.1"),
        ("LONGSHORE_SERVICE_PORT", "5000"),
        ("LONGSHORE_SERVICE_PORT_HTTP", "5000"),
        ("LONGSHORE_PORT", "tcp://10.0.0.1:5000"),
        ("LONGSHORE_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
        ("LONGSHORE_REDIS_PORT_6379_TCP_ADDR", "10.0.0.2"),
        ("LONGSHORE_REDIS_PORT", "tcp://10.0.0.2:6379"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(load(&sources).unwrap(), Settings::default());
    check(
        &environment(&[("LONGSHORE_PORT", "5000")]),
        "\nenvironment LONGSHORE_PORT: unknown variable: `longshore config-reference` prints all \
         of them",
    );
}

#[test]
fn a_secret_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "hunter2\n").unwrap();
    let path = path.to_str().unwrap();
    let by_file = format!("[store.s3]\naccess_key_id = 'me'\nsecret_access_key_file = '{path}'\n");
    let secret = load(&file(&by_file)).unwrap().store.s3.secret_access_key;
    assert_eq!(secret.unwrap().expose(), "hunter2");
    let sources = environment(&[
        ("LONGSHORE_STORE_S3_ACCESS_KEY_ID", "me"),
        ("LONGSHORE_STORE_S3_SECRET_ACCESS_KEY_FILE", path),
    ]);
    let secret = load(&sources).unwrap().store.s3.secret_access_key;
    assert_eq!(secret, Some(Secret::new("hunter2")));

    // A line end does not belong to it, wherever it stands.
    let sources = environment(&[
        ("LONGSHORE_STORE_S3_ACCESS_KEY_ID", "me"),
        ("LONGSHORE_STORE_S3_SECRET_ACCESS_KEY", "hunter2\n"),
    ]);
    let secret = load(&sources).unwrap().store.s3.secret_access_key;
    assert_eq!(secret, Some(Secret::new("hunter2")));

    check(
        &file(&format!("{by_file}secret_access_key = 'other'")),
        "\nfile longshore.toml, line 4, store.s3.secret_access_key: given twice, as a value and as \
         a file: see also file longshore.toml, line 3, store.s3.secret_access_key_file",
    );
    for (contents, expected) in [(Some(""), "is empty"), (None, "cannot read")] {
        match contents {
            Some(contents) => fs::write(path, contents).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let errors = load(&file(&by_file)).unwrap_err().to_string();
        assert!(errors.contains("line 3, store.s3.secret_access_key_file: "), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
}

#[test]
fn a_secret_is_never_shown() {
    let mut sources = environment(&[
        ("LONGSHORE_STORE_S3_ACCESS_KEY_ID", "me"),
        ("LONGSHORE_STORE_S3_SECRET_ACCESS_KEY", "hunter2"),
    ]);
    sources.file = file("store.s3.session_token = 'hunter2'").file;
    let settings = load(&sources).unwrap();
    sources.flags.push(flag("--store", "store.url", ""));
    let errors = load(&sources).unwrap_err();
    for shown in [format!("{settings:?} {settings:#?}"), format!("{sources:?} {errors} {errors:?}")]
    {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(format!("{settings:?}").contains("secret_access_key: Some(***)"));
}

#[test]
fn incomplete_credentials_are_refused() {
    check(
        &file("store.s3.access_key_id = 'me'"),
        "\nfile longshore.toml, line 1, store.s3.access_key_id: credentials are incomplete: \
         store.s3.secret_access_key is missing",
    );
    check(
        &environment(&[("LONGSHORE_STORE_S3_SESSION_TOKEN", "x")]),
        "\nenvironment LONGSHORE_STORE_S3_SESSION_TOKEN: credentials are incomplete: \
         store.s3.access_key_id is missing",
    );
}

#[test]
fn the_network_is_opened_by_name_only() {
    for open in ["0.0.0.0:5000", "[::]:5000", "192.0.2.1:5000", "[::ffff:192.0.2.1]:5000"] {
        let mut sources = Sources::default();
        sources.flags.push(flag("--listen", "server.listen", open));
        let errors = load(&sources).unwrap_err().to_string();
        assert!(
            errors.starts_with("--listen: ") && errors.contains("--anonymous push"),
            "{errors}"
        );
        sources.flags.push(flag("--anonymous", "access.anonymous", "push"));
        assert_eq!(load(&sources).unwrap().access.anonymous, Some(GeneralAccess::Push));
    }
    for closed in ["127.0.0.1:0", "127.8.0.1:1", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
        load(&file(&format!("server.listen = '{closed}'"))).unwrap();
    }
}

#[test]
fn what_cannot_work_together_is_refused() {
    for (toml, expected) in [
        ("blobs.redirect_step = '20m'", "blobs.redirect_step: 20m is not shorter than"),
        ("blobs.delivery = 'redirect'", "blobs.delivery: redirect needs an S3 store"),
        (
            "store.url = 's3://bucket'\nblobs.delivery = 'auto'",
            "blobs.delivery: auto needs blobs.redirect_networks",
        ),
        (
            "blobs.delivery = 'auto'\nblobs.redirect_networks = '10.0.0.0/8'",
            "blobs.delivery: auto needs an S3 store",
        ),
        ("uploads.buffer_bytes = '32MiB'", "uploads.buffer_bytes: 32MiB cannot hold the 4 parts"),
        ("uploads.parts_in_flight = 64", "uploads.parts_in_flight: 512MiB cannot hold the 64"),
        (
            "server.tls.client_ca_file = 'ca'\naccess.anonymous = 'pull'",
            "server.tls.client_ca_file: TLS is incomplete: server.tls.certificate_file is missing",
        ),
        (
            "server.tls.client_certificates = 'required'",
            "client_certificates: client certificates are incomplete",
        ),
        ("server.tls.client_crl_file = 'crl'", "crl_file: client certificates are incomplete"),
        (
            "server.tls = { certificate_file = 'a', key_file = 'b', client_ca_file = 'c' }",
            "server.tls.client_ca_file: the login is incomplete: no setting says what clients",
        ),
    ] {
        let errors = load(&file(toml)).unwrap_err().to_string();
        assert!(errors.contains(expected), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn texts_that_are_refused() {
    for (key, texts) in [
        ("store.url", &["", "s3://", "s3://b//x", "s3://b/../x", "s3://b/a b", "http://x"][..]),
        (
            "store.s3.endpoint",
            &["", "minio:9000", "http://", "ftp://x", "http://a?b", "http://u:p@h"],
        ),
        ("store.s3.region", &["", "eu central"]),
        ("store.s3.path_style", &["", "1", "True"]),
        ("server.header_timeout", &["", "s", "1.5s", "-1s", "1 s", "1S", "99999999999999999999d"]),
        ("uploads.part_bytes", &["", "16mb", "1k", "5MiB ", "4MiB", "18446744073709551615TiB"]),
        ("lists.page_max", &["", "0", "100001", "-1", "1s"]),
        ("log.level", &["", "loud", "INFO", "info,", "longshore=loud", "=info", "a b=info"]),
        ("log.format", &["", "JSON"]),
        ("access.anonymous", &["", "everything"]),
        ("manifests.mode", &["", "docker", "OCI"]),
        ("manifests.schema1_push", &["", "yes"]),
    ] {
        for text in texts {
            assert!(!takes(key, text), "{key} takes {text:?}");
        }
    }
}

#[test]
fn the_reference_is_a_configuration_that_changes_nothing() {
    let reference = reference();
    assert_eq!(load(&file(&reference)).unwrap(), Settings::default());

    let is_setting = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && *line != "#";
    assert_eq!(reference.lines().filter(is_setting).count(), keys::all().len());
    let uncomment = |line| if is_setting(&line) { &line[1..] } else { line };
    let all: Vec<&str> = reference.lines().map(uncomment).collect();
    let all = load(&file(&all.join("\n"))).unwrap();
    let nothing_else = Settings {
        access: AccessSettings::default(),
        limits: LimitSettings::default(),
        admin: AdminSettings::default(),
        metrics: MetricsSettings::default(),
        server: ListenerSettings::default(),
        store: store::Settings { s3: s3::Settings::default(), ..all.store.clone() },
        cache: CacheSettings::default(),
        blobs: BlobSettings { redirect_networks: Networks::default(), ..all.blobs.clone() },
        manifests: ManifestSettings {
            schema1_push: None,
            schema1_key: None,
            ..all.manifests.clone()
        },
        collection: LeaseSettings { untagged_after: None, ..all.collection.clone() },
        audit_log: AuditLogSettings::default(),
        ..all.clone()
    };
    assert_eq!(nothing_else, Settings::default());
    assert_eq!(all.server.tls.key_file.as_deref(), Some(Path::new("/etc/longshore/tls.key")));
    assert_eq!(all.store.s3.endpoint.as_deref(), Some("http://minio.internal:9000"));
}

/// Every section and every setting has a doc comment above it.
#[test]
fn the_reference_explains_everything() {
    let reference = reference();
    let lines: Vec<&str> = reference.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let needs_text = line.starts_with('[') || (line.starts_with('#') && line.contains(" = "));
        if needs_text && !line.starts_with("# ") {
            assert!(lines[index - 1].starts_with("# "), "{line} has no text");
            let generated = lines[index - 1].starts_with("# From ");
            assert!(!generated || lines[index - 2].starts_with("# "), "{line} has no text");
        }
        assert!(line.len() <= 100, "{line} is long");
    }
}

#[test]
fn the_documentation_is_the_reference() {
    let page = include_str!("../../../docs/configuration.md");
    let fresh = "longshore config-reference --markdown > docs/configuration.md";
    assert!(page == reference_markdown(), "docs/configuration.md is stale: {fresh}");
}

proptest! {
    #[test]
    fn bytes_round_trip(bytes: u64, shift in 0_u32..64) {
        let bytes = bytes >> shift << (shift / 2);
        prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        prop_assert_eq!(parse_bytes(&bytes.to_string()), Ok(bytes));
    }

    #[test]
    fn durations_round_trip(milliseconds: u64, shift in 0_u32..64, unit in 0_usize..5) {
        let worth = [1, 1000, 60_000, 3_600_000, 86_400_000][unit];
        let duration = Duration::from_millis((milliseconds >> shift).saturating_mul(worth));
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }

    #[test]
    fn amounts_never_panic(text in "[0-9]{0,25}[a-zA-Z ]{0,4}|.{0,8}") {
        if let Ok(bytes) = parse_bytes(&text) {
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }
        if let Ok(duration) = parse_duration(&text) {
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }

    #[test]
    fn store_urls_round_trip(
        text in "s3://[a-z0-9.-]{1,9}(/[a-zA-Z0-9._=-]{1,9}){0,3}/?|memory|\\.?/?[a-z0-9/ ]{1,9}",
    ) {
        if let Ok(url) = text.parse::<StoreUrl>() {
            prop_assert_eq!(url.to_string().parse::<StoreUrl>(), Ok(url));
        }
    }

    #[test]
    fn any_file_is_read_without_panic(contents in "[\\[\\]a-z0-9.=\"'\n #{},]{0,60}") {
        let _ = load(&file(&contents));
    }
}

/// Whether a setting takes this text.
fn takes(key: &str, text: &str) -> bool {
    let mut settings = Settings::default();
    keys::setting(&mut settings, key).unwrap().read(text).is_ok()
}

/// The errors of these sources, one a line, each after a line end.
fn check(sources: &Sources, expected: &str) {
    let errors = load(sources).expect_err("sources with mistakes");
    assert_eq!(format!("\n{errors}"), expected);
}

fn file(contents: &str) -> Sources {
    let file = Some((PathBuf::from("longshore.toml"), contents.to_owned()));
    Sources { file, ..Sources::default() }
}

fn environment(variables: &[(&str, &str)]) -> Sources {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Sources { environment: variables.iter().map(owned).collect(), ..Sources::default() }
}

fn flag(name: &'static str, key: &'static str, value: &str) -> Flag {
    Flag { name, key, value: value.to_owned() }
}
