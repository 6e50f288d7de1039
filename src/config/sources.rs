//! Where settings are written: the file, the environment, the flags.

use std::fmt;
use std::path::PathBuf;

use super::errors::{ConfigError, Errors, Source, unknown};
use super::file;
use super::keys::{self, VARIABLE_PREFIX};
use super::raw::{RawSettings, RawValue};

/// The variable that names the configuration file.
const CONFIG_VARIABLE: &str = "LONGSHORE_CONFIG";

/// Variables of AWS that count where nothing else sets a key, in rising priority.
const AWS_VARIABLES: [(&str, &str); 4] = [
    ("AWS_ENDPOINT_URL", "store.s3.endpoint"),
    ("AWS_ENDPOINT_URL_S3", "store.s3.endpoint"),
    ("AWS_DEFAULT_REGION", "store.s3.region"),
    ("AWS_REGION", "store.s3.region"),
];

/// The inputs of the configuration, as data.
#[derive(Clone, Default)]
pub struct Sources {
    /// The configuration file and its contents.
    pub file: Option<(PathBuf, String)>,
    /// Names and values of environment variables. Those of other programs are ignored.
    pub environment: Vec<(String, String)>,
    pub flags: Vec<Flag>,
}

/// A value from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// With its dashes: `--listen`.
    pub name: &'static str,
    /// The setting that it sets.
    pub key: &'static str,
    pub value: String,
}

impl Sources {
    /// The inputs of this process. Nothing else in the program reads the environment, except for
    /// the standard variables of traces (`telemetry/traces`).
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    pub fn from_process(config: Option<PathBuf>, flags: Vec<Flag>) -> Result<Self, Errors> {
        let (mut environment, mut errors) = (Vec::new(), Vec::new());
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            let aws = AWS_VARIABLES.iter().any(|(variable, _)| *variable == name);
            if !aws && !name.starts_with(VARIABLE_PREFIX) {
                continue;
            }
            if let Ok(value) = value.into_string() {
                environment.push((name, value));
            } else {
                let message = "is not UTF-8".to_owned();
                errors.push(ConfigError { source: Source::Environment(name), message });
            }
        }
        let (source, path) = match (config, find_variable(&environment, CONFIG_VARIABLE)) {
            (Some(path), _) => (Source::Flag("--config"), Some(path)),
            (None, path) => {
                (Source::Environment(CONFIG_VARIABLE.to_owned()), path.map(PathBuf::from))
            }
        };
        let file = path.and_then(|path| match std::fs::read_to_string(&path) {
            Ok(contents) => Some((path, contents)),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                errors.push(ConfigError { source, message });
                None
            }
        });
        if errors.is_empty() {
            Ok(Self { file, environment, flags })
        } else {
            Err(Errors::new(errors))
        }
    }

    pub(super) fn read(&self) -> RawSettings {
        let mut raw = RawSettings::default();
        for (name, key) in AWS_VARIABLES {
            if let Some(value) = find_variable(&self.environment, name) {
                raw.values.push(Ok(known(Source::Environment(name.to_owned()), key, value)));
            }
        }
        if let Some((path, contents)) = &self.file {
            file::read(path, contents, &mut raw);
        }
        let mut environment: Vec<_> = self.environment.iter().collect();
        environment.sort();
        for (name, value) in environment {
            raw.values.extend(read_variable(name, value));
        }
        for Flag { name, key, value } in &self.flags {
            raw.values.push(Ok(known(Source::Flag(name), key, value)));
        }
        raw
    }
}

/// Values may be secrets: only names are shown.
impl fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.environment.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("Sources")
            .field("file", &self.file.as_ref().map(|(path, _)| path))
            .field("environment", &names)
            .field("flags", &self.flags)
            .finish()
    }
}

/// A value for a key that the program itself names.
fn known(source: Source, name: &str, text: &str) -> RawValue {
    let (key, by_file) = keys::find(name).expect("a key of a setting");
    RawValue { source, key, by_file, text: text.to_owned() }
}

/// An empty variable counts as none, as it does for AWS.
fn find_variable<'e>(environment: &'e [(String, String)], name: &str) -> Option<&'e str> {
    let found = environment.iter().find(|(found, value)| found == name && !value.is_empty());
    found.map(|(_, value)| value.as_str())
}

fn read_variable(name: &str, value: &str) -> Option<Result<RawValue, ConfigError>> {
    let ours = name.starts_with(VARIABLE_PREFIX) && name != CONFIG_VARIABLE;
    if !ours || value.is_empty() || is_foreign(name, value) {
        return None;
    }
    let source = Source::Environment(name.to_owned());
    let Some(key) = keys::names().find(|key| keys::variable(key) == name) else {
        let message = unknown("variable", name, keys::names().map(|key| keys::variable(&key)));
        return Some(Err(ConfigError { source, message }));
    };
    Some(Ok(known(source, &key, value)))
}

/// Kubernetes sets variables in every pod for the services of its namespace. For `longshore` or
/// `longshore-redis` the variables begin like ours: `LONGSHORE_SERVICE_HOST`, `LONGSHORE_PORT`,
/// `LONGSHORE_REDIS_PORT_6379_TCP_ADDR`. The project's own tests use `LONGSHORE_TEST_…`.
fn is_foreign(name: &str, value: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    // The variables that choose what the tests run against.
    if words.get(1) == Some(&"TEST") {
        return true;
    }
    let of_a_service = words.windows(2).any(|pair| matches!(pair, ["SERVICE", "HOST" | "PORT"]));
    let is_number = |word: &str| word.parse::<u16>().is_ok();
    let of_a_port = words
        .windows(3)
        .any(|triple| matches!(triple, ["PORT", port, "TCP" | "UDP" | "SCTP"] if is_number(port)));
    of_a_service || of_a_port || (name.ends_with("_PORT") && value.contains("://"))
}
