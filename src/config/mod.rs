//! The configuration: settings as plain data, from a file, the environment and flags.
//!
//! A setting is a field in `settings.rs` with its reference text, and a row in `table.rs` with its
//! limits. Everything else here works on that table. Sources are data too ([`Sources`]), so that
//! no test touches the environment of its process; [`Sources::from_process`] alone reads it.

mod settings;
mod table;

mod choice;
mod networks;
mod secret;
mod setting;
mod store_url;
mod text;

mod checks;
mod config_file;
mod errors;
mod reference;
mod rules;
mod sources;
mod suggest;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub use self::choice::{
    Checksum, Delivery, GeneralAccess, LogFormat, ManifestMode, RedisTopology, RequestLog, Sparse,
};
pub use self::errors::{Errors, Place, Problem};
pub use self::networks::Networks;
pub use self::reference::{reference, reference_markdown};
pub use self::secret::Secret;
pub use self::settings::{
    AccessSettings, AdminSettings, BlobSettings, CacheSettings, LeaseSettings, ListSettings,
    LogSettings, ManifestSettings, MetricsSettings, S3Settings, ServerSettings, Settings,
    StoreSettings, TlsSettings, TokenSettings, UploadSettings,
};
pub use self::sources::{Flag, Sources};
pub use self::store_url::StoreUrl;

use self::sources::Entry;

/// The settings that the sources ask for, or everything that is wrong with them.
///
/// Reads nothing but the files of secrets.
pub fn load(sources: &Sources) -> Result<Settings, Errors> {
    let readout = sources.read();
    let mut loading = Loading::default();
    loading.settings.access.rules = readout.rules;
    for entry in readout.entries {
        match entry {
            Ok(entry) => loading.apply(entry),
            Err(problem) => loading.problems.push(problem),
        }
    }
    // What an unreadable source says is unknown, so nothing can be said of the whole.
    if !readout.unreadable {
        loading.check();
    }
    if loading.problems.is_empty() {
        Ok(loading.settings)
    } else {
        Err(Errors::new(loading.problems))
    }
}

#[derive(Default)]
struct Loading {
    settings: Settings,
    problems: Vec<Problem>,
    /// Where each setting was given last, and whether as a file.
    given: BTreeMap<&'static str, (Place, bool)>,
    /// Settings whose value is not what somebody wanted it to be.
    failed: BTreeSet<&'static str>,
}

impl Loading {
    fn apply(&mut self, entry: Entry) {
        let Entry { place, setting, by_file, text } = entry;
        let key = setting.key;
        let result = match self.given.get(key) {
            Some((other, other_by_file)) if *other_by_file != by_file => {
                Err(format!("given twice, as a value and as a file: see also {other}"))
            }
            Some(_) | None if by_file => secret::read_file(Path::new(&text))
                .and_then(|secret| setting.read(&mut self.settings, &secret)),
            Some(_) | None => setting.read(&mut self.settings, &text),
        };
        if let Err(message) = result {
            self.problems.push(Problem { place: place.clone(), message });
            self.failed.insert(key);
        }
        self.given.insert(key, (place, by_file));
    }

    /// Checks what must hold between settings, for those that could be read.
    fn check(&mut self) {
        for check in checks::CHECKS {
            if check.keys.iter().any(|key| self.failed.contains(key)) {
                continue;
            }
            if let Err(message) = (check.check)(&self.settings) {
                let given = check.keys.iter().find_map(|key| self.given.get(key));
                let place = given.map_or(Place::Default(check.keys[0]), |(place, _)| place.clone());
                self.problems.push(Problem { place, message });
            }
        }
    }
}
