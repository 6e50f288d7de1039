//! The configuration: the settings of all modules, from a file, the environment and flags.
//!
//! Each module declares its settings with `settings!`; this module composes them into
//! [`Settings`] and stands above all of them. The inputs are data too ([`Sources`]), so no test
//! touches the environment of its process; only [`Sources::from_process`] reads it.

mod access_issuers;
mod access_rules;
mod errors;
mod expected_answers;
mod file;
mod keys;
mod lists;
mod quotas;
mod raw;
mod reference;
mod sources;
mod tables;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

pub use self::errors::{ConfigError, Errors, Source};
pub use self::expected_answers::{Expected, expected_answers};
pub use self::reference::{reference, reference_markdown};
pub use self::sources::{Flag, Sources};

use self::raw::RawValue;
use crate::quota::{self, Quota};
use crate::registry::DataReaders;
use crate::setting::{read_secret, settings, tables};
use crate::store::StoreUrl;
use crate::{audit_log, auth, http, registry, shared_cache, store, telemetry};

settings! {
    /// Everything an operator can choose.
    pub struct Settings {
        server: http::ListenerSettings;
        admin: http::AdminSettings;
        metrics: telemetry::MetricsSettings;
        access: auth::AccessSettings;
        limits: http::LimitSettings;
        /// Storage quotas: how many bytes a namespace may store, the first component of the names
        /// of its repositories.
        ///
        /// ```toml
        /// [[quotas]]
        /// namespaces = ["team-a", "mirror-*"]
        /// bytes = "500GiB"
        /// ```
        ///
        /// `namespaces`: `*` stands for any characters. The quota holds for each namespace that
        /// matches, by itself; of several tables that match, the first one counts. A namespace
        /// without a matching table has no quota.
        ///
        /// A namespace that stores as much as its quota or more takes no more pushes: they are
        /// answered with 403. Each digest counts once in a namespace. What the bucket holds is
        /// counted every `usage.interval`, so a namespace may store more than its quota by what it
        /// pushes in that time, and what is deleted counts after the next scan. `docs/limits.md`
        /// says more.
        quotas: Vec<Quota> = Vec::new(), tables();
        usage: quota::UsageSettings;
        store: store::Settings;
        uploads: registry::UploadSettings;
        blobs: http::BlobSettings;
        manifests: registry::ManifestSettings;
        lists: http::ListSettings;
        ui: http::PageSettings;
        cache: shared_cache::CacheSettings;
        collection: registry::LeaseSettings;
        log: telemetry::LogSettings;
        audit_log: audit_log::AuditLogSettings;
    }
}

/// How long the only process of a store uses its memory. It invalidates what it overwrites.
const SINGLE_PROCESS_TTL: Duration = Duration::from_hours(1);

impl Settings {
    /// Whether clients can log in.
    pub fn has_login(&self) -> bool {
        self.access.has_login() || self.server.tls.client_ca_file.is_some()
    }

    /// Whether the registry is its own token server.
    pub fn has_token_service(&self) -> bool {
        self.has_login() && self.access.token.realm.is_none()
    }

    /// How long the process uses what its memory holds.
    pub fn local_ttl(&self) -> Duration {
        match self.store.url {
            StoreUrl::S3 { .. } => self.cache.local_ttl,
            StoreUrl::Folder(_) | StoreUrl::Memory => SINGLE_PROCESS_TTL,
        }
    }

    /// For how long clients and caches may name data that these settings let them see.
    pub fn data_readers(&self) -> DataReaders {
        DataReaders {
            redirect_ttl: self.blobs.redirect_ttl,
            redirect_step: self.blobs.redirect_step,
            cache_ttl: self.cache.ttl,
            local_ttl: self.local_ttl(),
        }
    }
}

/// The settings that the sources ask for, or everything that is wrong with them.
///
/// Reads nothing but the files of secrets.
pub fn load(sources: &Sources) -> Result<Settings, Errors> {
    let raw = sources.read();
    let mut loader = Loader::default();
    loader.settings.access.rules = raw.rules;
    loader.settings.access.issuers = raw.issuers;
    loader.settings.quotas = raw.quotas;
    for value in raw.values {
        match value {
            Ok(value) => loader.apply(value),
            Err(error) => loader.errors.push(error),
        }
    }
    // Values of an unreadable source are unknown, so checks between settings would mislead.
    if !raw.unreadable {
        loader.validate();
    }
    if loader.errors.is_empty() { Ok(loader.settings) } else { Err(Errors::new(loader.errors)) }
}

#[derive(Default)]
struct Loader {
    settings: Settings,
    errors: Vec<ConfigError>,
    /// Where each setting was given last, and whether as a file.
    given: BTreeMap<&'static str, (Source, bool)>,
    /// Settings whose given value could not be used.
    failed: BTreeSet<&'static str>,
}

impl Loader {
    fn apply(&mut self, value: RawValue) {
        let RawValue { source, key, by_file, text } = value;
        let name = key.name.as_str();
        let mut setting = keys::setting(&mut self.settings, name).expect("a key of a setting");
        let result = match self.given.get(name) {
            Some((other, other_by_file)) if *other_by_file != by_file => {
                Err(format!("given twice, as a value and as a file: see also {other}"))
            }
            Some(_) | None if by_file => {
                read_secret(Path::new(&text)).and_then(|secret| setting.read(&secret))
            }
            Some(_) | None => setting.read(&text),
        };
        if let Err(message) = result {
            let message = errors::without_login(&message);
            self.errors.push(ConfigError { source: source.clone(), message });
            self.failed.insert(name);
        }
        self.given.insert(name, (source, by_file));
    }

    /// Checks what must hold between settings, for those that could be read.
    fn validate(&mut self) {
        for (keys, check) in validate::CHECKS {
            if keys.iter().any(|key| self.failed.contains(key)) {
                continue;
            }
            if let Err(message) = check(&self.settings) {
                let given = keys.iter().find_map(|key| self.given.get(key));
                let default = || Source::Default(keys[0]);
                let source = given.map_or_else(default, |(source, _)| source.clone());
                self.errors.push(ConfigError { source, message });
            }
        }
    }
}
