//! The table of settings. File keys, environment variables, limits and the printed reference all
//! come from its rows.

use std::time::Duration as Time;

use super::setting::Kind::{Bytes, Count, Duration, Every, List, Secret, Text, Value};
use super::setting::{Kind, Setting};
use super::text::{GIB, KIB, MIB, TIB};

const TICK: Time = Time::from_millis(1);
const MOMENT: Time = Time::from_millis(100);
const SECOND: Time = Time::from_secs(1);
const MINUTE: Time = Time::from_mins(1);
const HOUR: Time = Time::from_hours(1);
const DAY: Time = Time::from_hours(24);
const WEEK: Time = Time::from_hours(7 * 24);
const YEAR: Time = Time::from_hours(365 * 24);

/// Shorter than this, a slow push could lose what it relies on.
const GRACE_MIN: Time = Time::from_hours(2);

/// Every setting, in the order of the reference.
pub(super) const SETTINGS: &[Setting] = &[
    row("server.listen", Value(|s| &mut s.server.listen)),
    row("server.header_timeout", Duration(MOMENT..=HOUR, |s| &mut s.server.header_timeout)),
    row("server.body_idle_timeout", Duration(MOMENT..=HOUR, |s| &mut s.server.body_idle_timeout)),
    row("server.drain_delay", Duration(Time::ZERO..=HOUR, |s| &mut s.server.drain_delay)),
    row("server.drain_timeout", Duration(Time::ZERO..=HOUR, |s| &mut s.server.drain_timeout)),
    row("server.connections_max", Count(1..=1_000_000, |s| &mut s.server.connections_max)),
    row("server.trusted_proxies", List(|s| &mut s.server.trusted_proxies)),
    row("server.tls.certificate_file", Text(path, |s| &mut s.server.tls.certificate_file)),
    row("server.tls.key_file", Text(path, |s| &mut s.server.tls.key_file)),
    row("admin.listen", Value(|s| &mut s.admin.listen)),
    row("metrics.aliases", Value(|s| &mut s.metrics.aliases)),
    row("metrics.inventory", Every(MINUTE..=WEEK, |s| &mut s.metrics.inventory)),
    row("access.anonymous", Value(|s| &mut s.access.anonymous)),
    row("access.authenticated", Value(|s| &mut s.access.authenticated)),
    row("access.htpasswd_file", Text(path, |s| &mut s.access.htpasswd_file)),
    row("access.token.realm", Text(realm, |s| &mut s.access.token.realm)),
    row("access.token.service", Text(quotable, |s| &mut s.access.token.service)),
    row("access.token.issuer", Text(word, |s| &mut s.access.token.issuer)),
    row("access.token.keys_file", Text(path, |s| &mut s.access.token.keys_file)),
    row("access.token.groups_claim", Text(word, |s| &mut s.access.token.groups_claim)),
    row("store.url", Value(|s| &mut s.store.url)),
    row("store.append_only", Value(|s| &mut s.store.append_only)),
    row("store.s3.endpoint", Text(endpoint, |s| &mut s.store.s3.endpoint)),
    row("store.s3.public_endpoint", Text(endpoint, |s| &mut s.store.s3.public_endpoint)),
    row("store.s3.region", Text(word, |s| &mut s.store.s3.region)),
    row("store.s3.path_style", Value(|s| &mut s.store.s3.path_style)),
    row("store.s3.access_key_id", Text(word, |s| &mut s.store.s3.access_key_id)),
    row("store.s3.secret_access_key", Secret(|s| &mut s.store.s3.secret_access_key)),
    row("store.s3.session_token", Secret(|s| &mut s.store.s3.session_token)),
    row("store.s3.checksum", Value(|s| &mut s.store.s3.checksum)),
    row("store.s3.attempts_max", Count(1..=10, |s| &mut s.store.s3.attempts_max)),
    row("store.s3.connect_timeout", Duration(MOMENT..=HOUR, |s| &mut s.store.s3.connect_timeout)),
    row("store.s3.response_timeout", Duration(MOMENT..=HOUR, |s| &mut s.store.s3.response_timeout)),
    row("store.s3.stall_timeout", Duration(MOMENT..=HOUR, |s| &mut s.store.s3.stall_timeout)),
    row("uploads.part_bytes", Bytes(5 * MIB..=GIB, |s| &mut s.uploads.part_bytes)),
    row("uploads.parts_in_flight", Count(1..=64, |s| &mut s.uploads.parts_in_flight)),
    row("uploads.buffer_bytes", Bytes(5 * MIB..=TIB, |s| &mut s.uploads.buffer_bytes)),
    row("uploads.concurrent_max", Count(1..=1_000_000, |s| &mut s.uploads.concurrent_max)),
    row("uploads.wait_max", Duration(Time::ZERO..=HOUR, |s| &mut s.uploads.wait_max)),
    row("uploads.inline_bytes", Bytes(0..=256 * KIB, |s| &mut s.uploads.inline_bytes)),
    row("blobs.delivery", Value(|s| &mut s.blobs.delivery)),
    row("blobs.redirect_networks", List(|s| &mut s.blobs.redirect_networks)),
    row("blobs.redirect_ttl", Duration(MINUTE..=WEEK, |s| &mut s.blobs.redirect_ttl)),
    row("blobs.redirect_step", Duration(SECOND..=DAY, |s| &mut s.blobs.redirect_step)),
    row("blobs.delete", Value(|s| &mut s.blobs.delete)),
    row("manifests.bytes_max", Bytes(64 * KIB..=64 * MIB, |s| &mut s.manifests.bytes_max)),
    row("manifests.sparse", Value(|s| &mut s.manifests.sparse)),
    row("manifests.tags_per_push_max", Count(1..=1024, |s| &mut s.manifests.tags_per_push_max)),
    row("manifests.delete", Value(|s| &mut s.manifests.delete)),
    row("manifests.mode", Value(|s| &mut s.manifests.mode)),
    row("manifests.schema1_push", Value(|s| &mut s.manifests.schema1_push)),
    row("manifests.schema1_key", Secret(|s| &mut s.manifests.schema1_key)),
    row("lists.page_max", Count(1..=1000, |s| &mut s.lists.page_max)),
    row("lists.catalog", Value(|s| &mut s.lists.catalog)),
    row("cache.local_bytes", Bytes(0..=TIB, |s| &mut s.cache.local_bytes)),
    row("cache.local_ttl", Duration(Time::ZERO..=HOUR, |s| &mut s.cache.local_ttl)),
    row("cache.tag_ttl", Duration(SECOND..=HOUR, |s| &mut s.cache.tag_ttl)),
    row("cache.ttl", Duration(SECOND..=HOUR, |s| &mut s.cache.ttl)),
    row("cache.strict_tags", Value(|s| &mut s.cache.strict_tags)),
    row("cache.redis", Text(redis_urls, |s| &mut s.cache.redis)),
    row("cache.redis_topology", Value(|s| &mut s.cache.redis_topology)),
    row("cache.redis_primary", Text(word, |s| &mut s.cache.redis_primary)),
    row("cache.redis_username", Text(word, |s| &mut s.cache.redis_username)),
    row("cache.redis_password", Secret(|s| &mut s.cache.redis_password)),
    row("cache.redis_prefix", Text(word, |s| &mut s.cache.redis_prefix)),
    row("cache.redis_timeout", Duration(TICK..=HOUR, |s| &mut s.cache.redis_timeout)),
    row("collection.grace", Duration(GRACE_MIN..=YEAR, |s| &mut s.collection.grace)),
    row("collection.write_deadline", Duration(SECOND..=DAY, |s| &mut s.collection.write_deadline)),
    row("collection.clock_skew", Duration(Time::ZERO..=DAY, |s| &mut s.collection.clock_skew)),
    row("log.format", Value(|s| &mut s.log.format)),
    row("log.level", Text(level, |s| &mut s.log.level)),
    row("log.requests", Value(|s| &mut s.log.requests)),
];

const fn row(key: &'static str, kind: Kind) -> Setting {
    Setting { key, kind }
}

/// What the reference shows for the settings that nothing sets by default.
pub(super) const EXAMPLES: &[(&str, &str)] = &[
    ("server.trusted_proxies", "10.0.0.0/8,fd00::/8"),
    ("server.tls.certificate_file", "/etc/longshore/tls.crt"),
    ("server.tls.key_file", "/etc/longshore/tls.key"),
    ("admin.listen", "0.0.0.0:5001"),
    ("metrics.inventory", "1h"),
    ("access.anonymous", "pull"),
    ("access.authenticated", "push"),
    ("access.htpasswd_file", "/etc/longshore/htpasswd"),
    ("access.token.realm", "https://tokens.example.com/token"),
    ("access.token.service", "registry.example.com"),
    ("access.token.issuer", "tokens.example.com"),
    ("access.token.keys_file", "/etc/longshore/jwks.json"),
    ("store.s3.endpoint", "http://127.0.0.1:9000"),
    ("store.s3.public_endpoint", "https://s3.example.com"),
    ("store.s3.region", "eu-central-1"),
    ("blobs.redirect_networks", "10.0.0.0/8,fd00::/8"),
    ("cache.redis", "redis://127.0.0.1:6379"),
    ("cache.redis_username", "longshore"),
    ("cache.redis_password", "secret"),
    ("store.s3.path_style", "true"),
    ("store.s3.access_key_id", "longshore"),
    ("store.s3.secret_access_key", "..."),
    ("store.s3.session_token", "..."),
    ("manifests.schema1_push", "true"),
    ("manifests.schema1_key", "..."),
];

/// What the name of every variable of Longshore begins with.
pub(super) const VARIABLE_PREFIX: &str = "LONGSHORE_";

/// The environment variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The setting with this key, and whether the key means a file that holds the value.
pub(super) fn find(key: &str) -> Option<(&'static Setting, bool)> {
    SETTINGS.iter().find_map(|setting| {
        let by_file = setting.file_key().is_some_and(|file_key| file_key == key);
        (setting.key == key || by_file).then_some((setting, by_file))
    })
}

/// Every key that may be written, those of files included.
pub(super) fn keys() -> impl Iterator<Item = String> {
    SETTINGS.iter().flat_map(|setting| {
        [Some(setting.key.to_owned()), setting.file_key()].into_iter().flatten()
    })
}

/// The address of an S3 server, without the slash at its end.
fn endpoint(text: &str) -> Result<String, String> {
    let bad = || format!("{text:?} is not the address of a server, such as https://s3.example.com");
    let address: http::Uri = text.parse().map_err(|_| bad())?;
    let scheme = matches!(address.scheme_str(), Some("http" | "https"));
    let host =
        address.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
    if scheme && host && address.query().is_none() {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(bad())
}

/// URLs of Redis, separated by commas. They are not repeated in the message: they may hold a
/// password.
fn redis_urls(text: &str) -> Result<String, String> {
    let known = |url: &str| url.starts_with("redis://") || url.starts_with("rediss://");
    if text.split(',').map(str::trim).all(known) {
        return Ok(text.to_owned());
    }
    Err("is not redis://host:port or rediss://host:port, or several with commas".to_owned())
}

/// Text that is neither empty nor broken by spaces.
fn word(text: &str) -> Result<String, String> {
    let visible = |c: char| c.is_ascii_graphic();
    if text.is_empty() || !text.chars().all(visible) {
        return Err(format!("{text:?} is not one word"));
    }
    Ok(text.to_owned())
}

/// A path. Whether there is a file is seen when it is read.
fn path(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("is not the path of a file".to_owned());
    }
    Ok(text.to_owned())
}

/// What goes into a challenge: between quotes, and without the names of schemes, because there are
/// clients that look for those anywhere in the line.
fn quotable(text: &str) -> Result<String, String> {
    let text = word(text)?;
    let lower = text.to_lowercase();
    if text.contains(['"', '\\', ',']) || ["basic", "bearer"].iter().any(|s| lower.contains(s)) {
        return Err(format!(
            "{text:?} would confuse clients: they must find no quote, comma or backslash in it, \
             and none of the words basic and bearer"
        ));
    }
    Ok(text)
}

/// The address of a token server, or a path on our own.
fn realm(text: &str) -> Result<String, String> {
    let text = quotable(text)?;
    let own = text.starts_with('/') && !text.starts_with("//");
    let elsewhere = text.parse::<http::Uri>().ok().filter(|address| {
        matches!(address.scheme_str(), Some("http" | "https"))
            && address.authority().is_some_and(|a| !a.as_str().contains('@'))
    });
    if own || elsewhere.is_some() {
        return Ok(text);
    }
    Err(format!("{text:?} is not an address, such as https://tokens.example.com/token or /token"))
}

/// Levels, each for the whole program or for one module: `info,longshore::store=debug`.
fn level(text: &str) -> Result<String, String> {
    let is_level = |word: &str| LEVELS.contains(&word);
    let is_module = |path: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        !path.is_empty() && path.chars().all(plain)
    };
    let is_directive = |directive: &str| match directive.split_once('=') {
        None => is_level(directive),
        Some((path, level)) => is_module(path) && is_level(level),
    };
    if text.split(',').all(is_directive) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not a log level: levels are {}", LEVELS.join(", ")))
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
