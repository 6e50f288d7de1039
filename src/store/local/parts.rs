//! Multipart uploads: a folder that collects parts, and on completion becomes the data itself.
//!
//! Nothing is kept in memory, so an upload can continue after a restart. Each part has its own file
//! name, even if its number is sent again: the caller's list says which of them counts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::data::{self, PartName};
use super::error::io_error;
use super::files::{Folder, Incoming, create_folder, sync_folder, sync_parent, unless_absent};
use crate::store::{Error, ForeignLocation, Location, MultipartId, OpenMultipart, Part, Version};

/// Parts a multipart upload can have, as on S3.
const PART_NUMBER_MAX: u32 = 10_000;

/// An upload of which no part has arrived for so long is abandoned, and its parts are removed. A
/// bucket has a lifecycle rule for that, with the same time.
const ABANDONED_AFTER: Duration = Duration::from_hours(7 * 24);
/// How often abandoned uploads are looked for: when the folder is opened, and then when an upload
/// begins.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// The multipart uploads of a folder.
#[derive(Debug)]
pub(super) struct Parts {
    /// When abandoned uploads were looked for.
    looked_at: Mutex<SystemTime>,
    /// Read-locked while a part is moved to its path, and write-locked while an upload is
    /// completed: no late part may arrive between listing the folder and moving it. There are
    /// several locks so that uploads rarely wait for each other.
    placing: [RwLock<()>; 32],
}

impl Parts {
    /// The uploads of a folder, without those that are abandoned.
    pub(super) fn open(folder: &Folder, now: SystemTime) -> Self {
        let parts = Self { looked_at: Mutex::new(UNIX_EPOCH), placing: Default::default() };
        parts.look_for_abandoned(folder, now);
        parts
    }

    pub(super) fn start(
        &self,
        folder: &Folder,
        location: &Location,
        now: SystemTime,
    ) -> Result<MultipartId, Error> {
        self.look_for_abandoned(folder, now);
        let id = Uuid::now_v7();
        let gathered = gathered(folder, location, id)?;
        create_folder(&gathered)
            .and_then(|()| sync_parent(&gathered))
            .map_err(|error| io_error("create", &gathered, &error))?;
        Ok(MultipartId(id.simple().to_string()))
    }

    pub(super) fn put(
        &self,
        folder: &Folder,
        (location, id): (&Location, &MultipartId),
        number: u32,
        bytes: &[u8],
    ) -> Result<Part, Error> {
        if !(1..=PART_NUMBER_MAX).contains(&number) {
            return Err(Error::Refused(format!("{number} is not a part number")));
        }
        let id = parse(id)?;
        let gathered = gathered(folder, location, id)?;
        let failed = |error: io::Error| io_error("write a part to", &gathered, &error);
        // Checked first, so that no part of an ended upload is written.
        fs::metadata(&gathered).map_err(failed)?;
        let tag = Uuid::now_v7();
        let incoming = Incoming::write(folder.transient(tag), bytes).map_err(failed)?;
        let name = PartName { number, size: bytes.len() as u64, tag: tag.simple().to_string() };
        {
            let _placing = self.placing(id).read().unwrap_or_else(PoisonError::into_inner);
            incoming.place(&gathered.join(name.to_string())).map_err(failed)?;
        }
        sync_folder(&gathered).map_err(failed)?;
        Ok(Part { number, tag: name.tag, size: name.size })
    }

    pub(super) fn complete(
        &self,
        folder: &Folder,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<Version, Error> {
        if parts.is_empty() || !parts.is_sorted_by(|one, next| one.number < next.number) {
            return Err(Error::Refused("the parts are not in ascending order".to_owned()));
        }
        let id = parse(id)?;
        let gathered = gathered(folder, location, id)?;
        let place = folder.data(location)?;
        let failed = |error: io::Error| io_error("complete", &gathered, &error);
        folder.ensure(parent(&place)).map_err(failed)?;

        let _placing = self.placing(id).write().unwrap_or_else(PoisonError::into_inner);
        if !place.try_exists().map_err(failed)? {
            let chosen = choose(&gathered, parts)?;
            if let [only] = chosen.as_slice() {
                fs::rename(gathered.join(only), &place).map_err(failed)?;
            } else {
                fs::rename(&gathered, &place).map_err(failed)?;
            }
        }
        // The location is used by this upload only: what is there now, or was there already when
        // the call was repeated, is its result.
        sync_parent(&place).map_err(failed)?;
        unless_absent(fs::remove_dir_all(&gathered)).map_err(failed)?;
        sync_parent(&gathered).map_err(failed)?;
        Ok(data::find(&place)?.object().version)
    }

    pub(super) fn abort(
        &self,
        folder: &Folder,
        location: &Location,
        id: &MultipartId,
    ) -> Result<(), Error> {
        let id = parse(id)?;
        let gathered = gathered(folder, location, id)?;
        let _placing = self.placing(id).write().unwrap_or_else(PoisonError::into_inner);
        remove(folder, &gathered)
    }

    /// The first uploads in progress, in the order of their locations.
    pub(super) fn list(folder: &Folder, limit: usize) -> Result<Vec<OpenMultipart>, Error> {
        let parts = folder.all_parts();
        let failed = |error: io::Error| io_error("list", &parts, &error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&parts).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            found.extend(name.to_str().and_then(open_multipart));
        }
        found.sort_by(|one, next| one.location.cmp(&next.location));
        found.truncate(limit);
        Ok(found)
    }

    pub(super) fn is_open(
        folder: &Folder,
        location: &Location,
        id: &MultipartId,
    ) -> Result<bool, Error> {
        let gathered = gathered(folder, location, parse(id)?)?;
        match fs::metadata(&gathered) {
            // If the whole folder is gone, the caller reports that.
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_there() => Ok(false),
            outcome => outcome
                .map(|found| found.is_dir())
                .map_err(|error| io_error("find", &gathered, &error)),
        }
    }

    fn look_for_abandoned(&self, folder: &Folder, now: SystemTime) {
        {
            let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
            if now.duration_since(*looked_at).is_ok_and(|since| since < LOOK_EVERY) {
                return;
            }
            *looked_at = now;
        }
        if let Err(error) = self.remove_abandoned(folder, now) {
            tracing::warn!(%error, "parts of abandoned uploads were not removed");
        }
    }

    /// Removes the parts of uploads to which none was added for long. Continuing such an upload
    /// finds no upload, as after an abort.
    fn remove_abandoned(&self, folder: &Folder, now: SystemTime) -> io::Result<()> {
        for entry in fs::read_dir(folder.all_parts())? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(upload) = name.and_then(open_multipart) else { continue };
            let Ok(id) = parse(&upload.id) else { continue };
            // No part arrives meanwhile. Placing one changes the folder.
            let _placing = self.placing(id).write().unwrap_or_else(PoisonError::into_inner);
            // One that is gone was completed or aborted meanwhile.
            let Ok(changed) = fs::metadata(&path).and_then(|found| found.modified()) else {
                continue;
            };
            if now.duration_since(changed).is_ok_and(|since| since >= ABANDONED_AFTER) {
                let location = upload.location;
                tracing::info!(%location, "removing the parts of an abandoned upload");
                remove(folder, &path).map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    fn placing(&self, id: Uuid) -> &RwLock<()> {
        // The last byte of an id is random.
        &self.placing[usize::from(id.as_bytes()[15]) % self.placing.len()]
    }
}

/// The folder of the parts of an upload. Its name says to which location they belong, for the list
/// of uploads.
fn gathered(folder: &Folder, location: &Location, id: Uuid) -> Result<PathBuf, ForeignLocation> {
    let location = location.key()?.replace('/', "~");
    Ok(folder.all_parts().join(format!("{location}~{}", id.simple())))
}

/// The upload of a folder with this name.
fn open_multipart(name: &str) -> Option<OpenMultipart> {
    let (location, id) = name.rsplit_once('~')?;
    let (seconds, nanos) = Uuid::try_parse(id).ok()?.get_timestamp()?.to_unix();
    Some(OpenMultipart {
        location: location.replace('~', "/").parse().ok()?,
        id: MultipartId(id.to_owned()),
        started: UNIX_EPOCH + Duration::new(seconds, nanos),
    })
}

/// Checks that the parts exist and removes all others, so that the folder holds the data.
fn choose(gathered: &Path, parts: &[Part]) -> Result<Vec<String>, Error> {
    let failed = |error: io::Error| io_error("complete", gathered, &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(gathered).map_err(failed)? {
        found.push(entry.map_err(failed)?.file_name());
    }
    let mut chosen = Vec::with_capacity(parts.len());
    for Part { number, tag, size } in parts {
        let name = PartName { number: *number, size: *size, tag: tag.clone() }.to_string();
        if !found.iter().any(|there| *there == *name) {
            return Err(Error::Refused(format!("there is no part {number} with the tag {tag:?}")));
        }
        chosen.push(name);
    }
    if found.len() > chosen.len() {
        for name in found.iter().filter(|there| chosen.iter().all(|name| *there != name.as_str())) {
            fs::remove_file(gathered.join(name)).map_err(failed)?;
        }
        // Before the move: otherwise they might be back after a power failure, as part of the data.
        sync_folder(gathered).map_err(failed)?;
    }
    Ok(chosen)
}

/// Removes a file or a folder atomically.
pub(super) fn remove(folder: &Folder, path: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| io_error("remove", path, &error);
    let removed = folder.transient(Uuid::now_v7());
    match fs::rename(path, &removed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome.map_err(failed)?,
    }
    sync_parent(path).map_err(failed)?;
    if removed.is_dir() { fs::remove_dir_all(&removed) } else { fs::remove_file(&removed) }
        .map_err(failed)
}

/// The only way from an id that a caller sent to a path.
fn parse(id: &MultipartId) -> Result<Uuid, Error> {
    Uuid::try_parse(&id.0).map_err(|_| Error::Refused(format!("{:?} names no upload", id.0)))
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().expect("a path in the store has a parent")
}

#[cfg(test)]
mod tests {
    use super::super::database::now;
    use super::*;

    /// Over the store, the clock cannot be set.
    #[test]
    fn abandoned_uploads_are_removed_when_another_one_begins() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::prepare(root.path()).unwrap();
        let opened = now();
        let parts = Parts::open(&folder, opened);
        let start = |days: u32| {
            let later = opened + Duration::from_hours(24) * days;
            parts.start(&folder, &Location::new_unique(later), later).unwrap();
            Parts::list(&folder, 10).unwrap().len()
        };
        assert_eq!([start(0), start(0), start(6), start(8)], [1, 2, 3, 1]);
    }
}
