//! The settings that all processes on one store must share, in the record `g/settings`.
//!
//! A process that relies on a record for longer than another process keeps it would lose content.
//! So the first process writes four settings of its section `collection`, and a later one whose
//! settings differ does not start. For upgrades the record also has the version of the layout and
//! the oldest release that may write.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::Error;
use super::lease::{LeaseSettings, Leases};
use super::record::{Base, Current, Records, Written, contended};
use crate::layout::encoding::{DecodeError, Draft, Known, decode};
use crate::layout::key::LAYOUT_VERSION;
use crate::setting::{Item, Section as _, Setting};
use crate::store::{self, ObjectStore, RecordKey};

/// This release.
const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The oldest release that may write to a store that this release begins.
const OLDEST_WRITER: &str = "0.1.0";
/// The section of the settings that are shared.
const SECTION: &str = "collection.";
/// Those of its rows that are.
const SHARED: [&str; 4] = ["grace", "write_deadline", "clock_skew", "quarantine"];

/// The names of the two fields that are no settings of a configuration.
const LAYOUT_FIELD: &str = "layout";
const OLDEST_WRITER_FIELD: &str = "oldest_writer";

/// The fields of the record. A rewrite keeps those that this release does not know.
type Fields = Map<String, Value>;

/// The record of the shared settings.
#[derive(Debug)]
pub struct SharedSettings {
    records: Records,
}

/// What a process finds at its start, if it may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No process has started on this store yet.
    Nothing,
    /// The settings of this process.
    Same,
}

/// One shared setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSetting {
    /// `collection.grace`, for instance.
    pub name: String,
    /// What the store holds.
    pub stored: Option<String>,
    /// What this process has.
    pub here: String,
    /// Whether this process may use a store with this value.
    pub fits: bool,
}

/// Why a process may not use a store, or may not change the shared settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedSettingsError {
    /// Other processes have other settings.
    #[error("{}", Differences(.0))]
    Differ(Vec<SharedSetting>),
    /// A change that is no change of a shared setting, or not a safe one.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<Error> for SharedSettingsError {
    fn from(error: Error) -> Self {
        Self::Store(error.into_store())
    }
}

impl SharedSettings {
    pub fn new(store: Arc<dyn ObjectStore>, leases: Leases) -> Self {
        Self { records: Records::new(store, leases) }
    }

    /// Compares the settings of this process with those of the store, and writes nothing.
    pub async fn compare(&self, ours: &LeaseSettings) -> Result<Found, SharedSettingsError> {
        compare(self.read().await?.header()?.as_ref(), ours)
    }

    /// Compares the settings of this process with those of the store, or writes them if the store
    /// has none.
    pub async fn create_or_compare(
        &self,
        ours: &LeaseSettings,
    ) -> Result<Found, SharedSettingsError> {
        let current = self.read().await?;
        let found = compare(current.header()?.as_ref(), ours)?;
        if found == Found::Same {
            return Ok(found);
        }
        let draft = Draft::whole(&initial(ours), Bytes::new());
        match self.records.upsert(&RecordKey::Settings, &current, &draft, None).await? {
            Written::Ours(_) => Ok(found),
            // Another process started at the same moment, or an operator has changed the settings.
            Written::Replaced(now) | Written::Lost(now) => {
                match compare(now.header()?.as_ref(), ours)? {
                    Found::Same => Ok(Found::Same),
                    Found::Nothing => Err(contended().into()),
                }
            }
        }
    }

    /// Every shared setting, with the value in the store and that of this process.
    pub async fn list(
        &self,
        ours: &LeaseSettings,
    ) -> Result<Vec<SharedSetting>, SharedSettingsError> {
        Ok(rows(self.read().await?.header()?.as_ref(), ours))
    }

    /// Changes settings, pairs of a name and a value, if the result `is_safe`.
    pub async fn set(
        &self,
        changes: &[(String, String)],
        is_safe: impl FnOnce(&LeaseSettings) -> Result<(), String>,
    ) -> Result<(), SharedSettingsError> {
        let refused = |why| Err(SharedSettingsError::Refused(why));
        let Current::Live(record) = self.read().await? else {
            return refused(
                "the store has no shared settings yet: the first `longshore serve` writes those \
                 of its configuration"
                    .to_owned(),
            );
        };
        let base = match Base::of(&record, Known::All) {
            Err(newer @ DecodeError::Newer(_)) => return refused(newer.to_string()),
            base => base.map_err(store::Error::from)?,
        };
        let (mut fields, payload) = decode::<Fields>(&record.body).map_err(store::Error::from)?;
        let unfit = release_rows(Some(&fields)).into_iter().filter(|row| !row.fits);
        let unfit: Vec<SharedSetting> = unfit.collect();
        if !unfit.is_empty() {
            return Err(SharedSettingsError::Differ(unfit));
        }
        let changed = changes.iter().try_for_each(|(name, text)| change(&mut fields, name, text));
        if let Err(why) = changed.and_then(|()| is_safe(&read_all(&fields)?)) {
            return refused(why);
        }
        let draft = Draft::whole(&fields, payload);
        match self.records.replace(&RecordKey::Settings, &base, &draft, None).await? {
            Written::Ours(_) | Written::Replaced(_) => Ok(()),
            Written::Lost(_) => refused(
                "another process changed the shared settings at the same time: look at them with \
                 `longshore settings show`, and repeat the change"
                    .to_owned(),
            ),
        }
    }

    async fn read(&self) -> Result<Current, SharedSettingsError> {
        Ok(self.records.read(&RecordKey::Settings).await?)
    }
}

/// The shared rows of the section, each with its value.
fn settings_of(settings: &mut LeaseSettings) -> impl Iterator<Item = Setting<'_>> {
    settings.items().into_iter().filter_map(|item| match item {
        Item::Setting(setting) => Some(setting).filter(|row| SHARED.contains(&row.name)),
        Item::Section(..) => None,
    })
}

/// What the first process writes.
fn initial(ours: &LeaseSettings) -> Fields {
    let mut ours = ours.clone();
    let shown = settings_of(&mut ours).map(|setting| {
        let value = setting.show().unwrap_or_default();
        (setting.name.to_owned(), Value::String(value))
    });
    let mut fields: Fields = shown.collect();
    fields.insert(LAYOUT_FIELD.to_owned(), LAYOUT_VERSION.into());
    fields.insert(OLDEST_WRITER_FIELD.to_owned(), OLDEST_WRITER.into());
    fields
}

fn compare(stored: Option<&Fields>, ours: &LeaseSettings) -> Result<Found, SharedSettingsError> {
    if stored.is_none() {
        return Ok(Found::Nothing);
    }
    let unfit: Vec<SharedSetting> =
        rows(stored, ours).into_iter().filter(|row| !row.fits).collect();
    if unfit.is_empty() { Ok(Found::Same) } else { Err(SharedSettingsError::Differ(unfit)) }
}

fn rows(stored: Option<&Fields>, ours: &LeaseSettings) -> Vec<SharedSetting> {
    let mut ours = ours.clone();
    let of_configuration = settings_of(&mut ours).map(|mut setting| {
        let here = setting.show().unwrap_or_default();
        let stored = text(stored, setting.name).map(|text| {
            // Another spelling of a value is the same value: 48h and 2d.
            let read = setting.read(&text).ok();
            read.and_then(|()| setting.show()).unwrap_or(text)
        });
        let fits = stored.as_ref() == Some(&here);
        SharedSetting { name: format!("{SECTION}{}", setting.name), stored, here, fits }
    });
    let mut rows: Vec<SharedSetting> = of_configuration.collect();
    rows.extend(release_rows(stored));
    rows
}

/// What depends on the release and not on the configuration.
fn release_rows(stored: Option<&Fields>) -> [SharedSetting; 2] {
    let (layout, oldest) = (text(stored, LAYOUT_FIELD), text(stored, OLDEST_WRITER_FIELD));
    let known = LAYOUT_VERSION.to_string();
    let may_write = oldest
        .as_deref()
        .and_then(release)
        .is_some_and(|oldest| release(RELEASE).is_some_and(|this| oldest <= this));
    [
        SharedSetting {
            name: LAYOUT_FIELD.to_owned(),
            fits: layout.as_ref() == Some(&known),
            stored: layout,
            here: known,
        },
        SharedSetting {
            name: OLDEST_WRITER_FIELD.to_owned(),
            fits: may_write,
            stored: oldest,
            here: RELEASE.to_owned(),
        },
    ]
}

/// A field as people write it, whatever its type.
fn text(fields: Option<&Fields>, name: &str) -> Option<String> {
    Some(match fields?.get(name)? {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// The numbers of a release: `0.1.0`, or `0.2.0-rc.1`, which counts as 0.2.0.
fn release(text: &str) -> Option<[u64; 3]> {
    let numbers = text.split(['-', '+']).next()?;
    let numbers: Option<Vec<u64>> = numbers.split('.').map(|part| part.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// Puts one change into the fields. The error names the setting.
fn change(fields: &mut Fields, name: &str, text: &str) -> Result<(), String> {
    let failed = |why: String| format!("{name}: {why}");
    if name == OLDEST_WRITER_FIELD {
        let oldest = release(text);
        let oldest =
            oldest.ok_or_else(|| failed(format!("{text:?} is no release: {RELEASE} is")))?;
        if release(RELEASE).is_none_or(|this| oldest > this) {
            return Err(failed(format!("{text} is later than this release, {RELEASE}")));
        }
        fields.insert(name.to_owned(), text.into());
        return Ok(());
    }
    let mut settings = LeaseSettings::default();
    let known = |setting: &Setting<'_>| name.strip_prefix(SECTION) == Some(setting.name);
    let Some(mut setting) = settings_of(&mut settings).find(known) else {
        let names: Vec<String> = rows(None, &settings).into_iter().map(|row| row.name).collect();
        let names = names.into_iter().filter(|name| name != LAYOUT_FIELD);
        let names = names.collect::<Vec<_>>().join(", ");
        return Err(failed(format!("is none of the shared settings, which are {names}")));
    };
    setting.read(text).map_err(failed)?;
    fields.insert(setting.name.to_owned(), setting.show().into());
    Ok(())
}

/// The settings in the record.
fn read_all(fields: &Fields) -> Result<LeaseSettings, String> {
    let mut settings = LeaseSettings::default();
    for mut setting in settings_of(&mut settings) {
        let name = setting.name;
        let text = text(Some(fields), name);
        let text = text.ok_or_else(|| format!("the store has no {SECTION}{name}: set it, too"))?;
        setting.read(&text).map_err(|why| format!("{SECTION}{name}: {why}"))?;
    }
    Ok(settings)
}

/// What an operator reads at a start that is refused.
struct Differences<'a>(&'a [SharedSetting]);

impl fmt::Display for Differences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "all processes on one store must share some settings, or content could be lost; these \
             differ:",
        )?;
        let (mut changes, mut other_release) = (Vec::new(), false);
        for SharedSetting { name, stored, here, .. } in self.0 {
            let stored = stored.as_deref().unwrap_or("nothing");
            match name.as_str() {
                LAYOUT_FIELD => write!(f, "\n  layout: {stored} in the store, {here} here")?,
                OLDEST_WRITER_FIELD => {
                    write!(f, "\n  release: {stored} or later for the store, {here} here")?;
                }
                _ => {
                    write!(f, "\n  {name}: {stored} in the store, {here} in this configuration")?;
                    changes.push(format!("{name}={here}"));
                    continue;
                }
            }
            other_release = true;
        }
        if other_release {
            return f.write_str("\nUse the release that the other processes have.");
        }
        write!(
            f,
            "\nConfigure this process as the others, or change the settings of all:\n\
             `longshore settings set --help` says how to do it safely, and the command is\n  \
             longshore settings set {}",
            changes.join(" ")
        )
    }
}
