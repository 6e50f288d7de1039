//! Data objects without their content: a file, or a folder of the parts in which it was sent.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use uuid::Uuid;

use super::database::now;
use super::error::io_error;
use super::files::Folder;
use crate::layout::key::data_prefix;
use crate::store::{DataObject, Day, Error, LIST_ROWS_MAX, Listed, Listing, Location, Version};

/// The file name of a part, with all that is known about the part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartName {
    pub(super) number: u32,
    pub(super) size: u64,
    pub(super) tag: String,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}-{}-{}", self.number, self.size, self.tag)
    }
}

impl PartName {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, rest) = text.split_once('-')?;
        let (size, tag) = rest.split_once('-')?;
        let tag = Uuid::try_parse(tag).ok()?.simple().to_string();
        let name = Self { number: number.parse().ok()?, size: size.parse().ok()?, tag };
        (name.to_string() == text).then_some(name)
    }
}

/// A data object that was found on the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) size: u64,
    pub(super) written: SystemTime,
}

impl Found {
    pub(super) fn object(self) -> DataObject {
        DataObject { size: self.size, version: version_of(self.size) }
    }
}

/// The version of data of this size.
///
/// A location is written once, so no second write has to be told from the first. Nothing else that
/// a file system keeps would survive a backup and still belong to the content.
pub(super) fn version_of(size: u64) -> Version {
    Version(format!("size-{size}"))
}

/// The size of the data at a path, and when it was written.
pub(super) fn find(place: &Path) -> Result<Found, Error> {
    let failed = |error: io::Error| io_error("find", place, &error);
    let found = fs::metadata(place).map_err(failed)?;
    let written = found.modified().map_err(failed)?;
    let size = if found.is_dir() { part_names(place)?.1 } else { found.len() };
    Ok(Found { size, written })
}

/// The days that have a folder, in ascending order.
pub(super) fn days(folder: &Folder) -> Result<Vec<Day>, Error> {
    let mut days: Vec<Day> =
        names(&folder.days())?.iter().filter_map(|name| name.parse().ok()).collect();
    days.sort_unstable();
    Ok(days)
}

/// One page of the data of a day.
pub(super) fn list(
    folder: &Folder,
    day: &Day,
    after: Option<&str>,
    limit: usize,
) -> Result<Listing, Error> {
    let limit = limit.clamp(1, LIST_ROWS_MAX);
    let mut names = names(&folder.day(day))?;
    names.retain(|name| after.is_none_or(|after| name.as_str() > after));
    names.sort_unstable();
    let mut listing = Listing { rows: Vec::new(), more: false, now: now() };
    let locations = names.iter().map(|name| format!("{}{name}", data_prefix(Some(day))));
    for location in locations.filter_map(|key| key.parse::<Location>().ok()) {
        if listing.rows.len() == limit {
            listing.more = true;
            break;
        }
        let Found { size, written } = match find(&folder.data(&location)?) {
            // It was deleted meanwhile.
            Err(Error::NotFound) if folder.is_there() => continue,
            found => found?,
        };
        let key = location.to_string();
        listing.rows.push(Listed { key, size, version: version_of(size), written });
    }
    Ok(listing)
}

/// The names in a folder that are text, in no order.
fn names(place: &Path) -> Result<Vec<String>, Error> {
    let failed = |error: io::Error| io_error("list", place, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(place).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

/// The names of the parts in a folder in their order, and the sum of their sizes in bytes.
pub(super) fn part_names(place: &Path) -> Result<(Vec<PartName>, u64), Error> {
    let failed = |error: io::Error| io_error("open", place, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(place).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_str().and_then(PartName::parse);
        names.push(name.ok_or_else(|| {
            Error::Damaged(format!("{} holds what is not a part", place.display()))
        })?);
    }
    // A folder is renamed before its files are removed: if it still exists, the list is complete.
    fs::metadata(place).map_err(failed)?;
    names.sort_by_key(|name| name.number);
    let size = names.iter().map(|name| name.size).sum();
    Ok((names, size))
}
