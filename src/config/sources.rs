//! Where settings are written: the file, the environment, the flags.

use std::fmt;
use std::path::PathBuf;

use super::config_file;
use super::errors::{Errors, Place, Problem};
use super::setting::Setting;
use super::suggest::unknown;
use super::table::{self, VARIABLE_PREFIX};
use crate::auth::Rule;

/// The variable that names the configuration file.
const CONFIG_VARIABLE: &str = "LONGSHORE_CONFIG";

/// Variables of AWS that count where nothing else sets a key, in rising priority.
const AWS_VARIABLES: [(&str, &str); 4] = [
    ("AWS_ENDPOINT_URL", "store.s3.endpoint"),
    ("AWS_ENDPOINT_URL_S3", "store.s3.endpoint"),
    ("AWS_DEFAULT_REGION", "store.s3.region"),
    ("AWS_REGION", "store.s3.region"),
];

/// Everything that says something about the settings, as data.
#[derive(Clone, Default)]
pub struct Sources {
    /// The configuration file and its contents.
    pub file: Option<(PathBuf, String)>,
    /// Names and values of environment variables. Those of others are passed over.
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

/// A setting that somebody gave a value.
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) setting: &'static Setting,
    /// Whether `text` is the path of a file that holds the value.
    pub(super) by_file: bool,
    pub(super) text: String,
}

/// What the sources say.
#[derive(Default)]
pub(super) struct Readout {
    /// In rising priority.
    pub(super) entries: Vec<Result<Entry, Problem>>,
    /// Rules of access, which only a file can hold.
    pub(super) rules: Vec<Rule>,
    /// Whether a whole source could not be understood.
    pub(super) unreadable: bool,
}

impl Sources {
    /// What this process was started with. Nothing else in the program reads the environment, but
    /// for the standard variables of traces (`telemetry/traces`).
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    pub fn from_process(config: Option<PathBuf>, flags: Vec<Flag>) -> Result<Self, Errors> {
        let (mut environment, mut problems) = (Vec::new(), Vec::new());
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
                problems.push(Problem { place: Place::Environment(name), message });
            }
        }
        let (place, path) = match (config, find_variable(&environment, CONFIG_VARIABLE)) {
            (Some(path), _) => (Place::Flag("--config"), Some(path)),
            (None, path) => {
                (Place::Environment(CONFIG_VARIABLE.to_owned()), path.map(PathBuf::from))
            }
        };
        let file = path.and_then(|path| match std::fs::read_to_string(&path) {
            Ok(contents) => Some((path, contents)),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                problems.push(Problem { place, message });
                None
            }
        });
        if problems.is_empty() {
            Ok(Self { file, environment, flags })
        } else {
            Err(Errors::new(problems))
        }
    }

    pub(super) fn read(&self) -> Readout {
        let mut readout = Readout::default();
        for (name, key) in AWS_VARIABLES {
            let (setting, by_file) = table::find(key).expect("the table holds it");
            if let Some(value) = find_variable(&self.environment, name) {
                let place = Place::Environment(name.to_owned());
                let text = value.to_owned();
                readout.entries.push(Ok(Entry { place, setting, by_file, text }));
            }
        }
        if let Some((path, contents)) = &self.file {
            config_file::read(path, contents, &mut readout);
        }
        let mut environment: Vec<_> = self.environment.iter().collect();
        environment.sort();
        for (name, value) in environment {
            readout.entries.extend(read_variable(name, value));
        }
        for Flag { name, key, value } in &self.flags {
            let (setting, by_file) = table::find(key).expect("flags set what the table holds");
            let place = Place::Flag(name);
            readout.entries.push(Ok(Entry { place, setting, by_file, text: value.clone() }));
        }
        readout
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

/// An empty variable counts as none, as it does for AWS.
fn find_variable<'e>(environment: &'e [(String, String)], name: &str) -> Option<&'e str> {
    let found = environment.iter().find(|(found, value)| found == name && !value.is_empty());
    found.map(|(_, value)| value.as_str())
}

fn read_variable(name: &str, value: &str) -> Option<Result<Entry, Problem>> {
    let ours = name.starts_with(VARIABLE_PREFIX) && name != CONFIG_VARIABLE;
    if !ours || value.is_empty() || is_foreign(name, value) {
        return None;
    }
    let place = Place::Environment(name.to_owned());
    let key = table::keys().find(|key| table::variable(key) == name);
    let Some((setting, by_file)) = key.and_then(|key| table::find(&key)) else {
        let message = unknown("variable", name, table::keys().map(|key| table::variable(&key)));
        return Some(Err(Problem { place, message }));
    };
    Some(Ok(Entry { place, setting, by_file, text: value.to_owned() }))
}

/// Kubernetes tells every pod about the services beside it. For a service called `longshore` or
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
