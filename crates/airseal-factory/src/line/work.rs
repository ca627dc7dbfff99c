//! Secrets in the clear, only while a board is on the bench: in a folder of memory where there is one, gone afterwards.
//!
//! The folder's name can be guessed and `/dev/shm` is everybody's, so nothing is written into, or removed from, a folder
//! that is not this user's alone.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use airseal_pack::Error;
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use crate::batch::{MAX_SERIAL, names_a_file};
use crate::secrets::shred;

/// Files that never reach a disk.
const MEMORY: &str = "/dev/shm";

/// In each root.
const LOCK: &str = ".lock";

/// A folder for one board; dropping it removes it.
pub struct WorkFolder {
    path: PathBuf,
    /// Held while the folder is in use: what nobody holds, a crash left behind.
    _lock: File,
}

impl WorkFolder {
    /// Makes an empty one for `serial`.
    ///
    /// # Errors
    /// `Io`; refused if another user has a folder in its place, or others can read it.
    pub fn make(batch: &Path, serial: &str) -> Result<WorkFolder, Error> {
        if !names_a_file(serial, MAX_SERIAL) {
            return Err(Error::refused(
                format!("serial {serial}"),
                "can't be the name of a folder",
                "scan the label again",
            ));
        }
        let root = WorkFolder::root(batch);
        make_own(&root)?;
        let lock = lock(&root)?;
        let path = root.join(serial);
        if path.symlink_metadata().is_ok() {
            remove(&path)?;
        }
        make_own(&path)?;
        Ok(WorkFolder { path, _lock: lock })
    }

    /// Removes what a crash left behind: for any board of the batch, true if there was something; and for a batch that was moved
    /// since, or is gone.
    ///
    /// # Errors
    /// `Io`; refused as [`WorkFolder::make`] does.
    pub fn clean(batch: &Path) -> Result<bool, Error> {
        let root = WorkFolder::root(batch);
        remove_abandoned(&root);
        if root.symlink_metadata().is_err() {
            return Ok(false);
        }
        remove(&root)?;
        Ok(true)
    }

    /// Where the folders of a batch lie: in memory where the system has such a folder, else in the batch.
    pub fn root(batch: &Path) -> PathBuf {
        let memory = Path::new(MEMORY);
        if memory.is_dir() {
            let name = std::fs::canonicalize(batch).unwrap_or_else(|_| batch.to_owned());
            let digest = hex::encode(Sha256::digest(name.as_os_str().as_encoded_bytes()));
            memory.join(format!(
                "{}{}",
                prefix(),
                digest.get(..16).unwrap_or_default()
            ))
        } else {
            batch.join("work")
        }
    }

    /// Writes a file that only the owner can read, in place of one of this name.
    ///
    /// # Errors
    /// `Io`.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        discard(&path)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|error| Error::io("write", &path, error))?;
        Ok(path)
    }

    /// Removes a file as soon as the tool that read it has ended.
    ///
    /// # Errors
    /// `Io`.
    pub fn forget(&self, name: &str) -> Result<(), Error> {
        discard(&self.path.join(name))
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next start.
        let _ = remove(&self.path);
        if let Some(root) = self.path.parent() {
            let _ = std::fs::remove_file(root.join(LOCK));
            let _ = std::fs::remove_dir(root);
        }
    }
}

fn prefix() -> String {
    format!("airseal-{}-", geteuid().as_raw())
}

/// Takes the lock of a root. It gets its name when it is held, so that nobody finds it free before.
fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join(LOCK);
    let part = root.join(".lock.part");
    let taken = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&part)
        .and_then(|file| {
            file.try_lock()?;
            std::fs::rename(&part, &path)?;
            Ok(file)
        });
    taken.map_err(|error| Error::io("make", &path, error))
}

/// Removes the roots of other batches whose lock nobody holds. What is not this user's alone, or can't be removed, stays.
fn remove_abandoned(own: &Path) {
    let Ok(entries) = std::fs::read_dir(MEMORY) else {
        return;
    };
    for entry in entries.flatten() {
        let root = entry.path();
        let is_root = entry.file_name().to_string_lossy().starts_with(&prefix());
        if !is_root || root == own || check_own(&root).is_err() {
            continue;
        }
        let lock = OpenOptions::new().write(true).open(root.join(LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = remove(&root);
        }
    }
}

fn make_own(folder: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_own(folder).map(drop),
        Err(error) => Err(Error::io("make", folder, error)),
    }
}

/// A real folder of this user that nobody else can enter.
fn check_own(folder: &Path) -> Result<Metadata, Error> {
    let metadata = folder
        .symlink_metadata()
        .map_err(|error| Error::io("look at", folder, error))?;
    let ours =
        metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0;
    if ours {
        return Ok(metadata);
    }
    Err(Error::refused(
        folder.display().to_string(),
        "is not a folder of this user alone, and keys would lie in it",
        "find out who made it, remove it, and run again",
    ))
}

/// Memory is free once a file is unlinked. Zeros in it would be burned as a key by a tool that has the file open.
fn discard(path: &Path) -> Result<(), Error> {
    if !path.starts_with(MEMORY) {
        return shred(path);
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Everything in it; never through a link.
fn remove(folder: &Path) -> Result<(), Error> {
    check_own(folder)?;
    let io = |error| Error::io("read", folder, error);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            remove(&entry.path())?;
        } else {
            discard(&entry.path())?;
        }
    }
    std::fs::remove_dir(folder).map_err(|error| Error::io("remove", folder, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn secrets_lie_in_a_folder_of_this_user_alone_and_go_with_it() {
        let batch = tempfile::tempdir().expect("works");
        let root = WorkFolder::root(batch.path());
        let work = WorkFolder::make(batch.path(), "S1").expect("works");
        let file = work.replace("key", b"secret").expect("works");
        assert_eq!(
            root.symlink_metadata().expect("works").mode() & 0o777,
            0o700
        );
        assert_eq!(
            file.parent()
                .expect("works")
                .symlink_metadata()
                .expect("works")
                .mode()
                & 0o777,
            0o700
        );
        assert_eq!(
            file.symlink_metadata().expect("works").mode() & 0o777,
            0o600
        );
        drop(work);
        assert!(!root.exists());
    }

    /// A tool may have opened the key just before: what it reads is the key, not zeros.
    #[test]
    fn a_file_that_a_tool_has_open_keeps_its_bytes() {
        use std::io::Read;
        let batch = tempfile::tempdir().expect("works");
        let work = WorkFolder::make(batch.path(), "S1").expect("works");
        let mut open =
            std::fs::File::open(work.replace("key", b"secret").expect("works")).expect("works");
        WorkFolder::clean(batch.path()).expect("works");
        let mut read = Vec::new();
        open.read_to_end(&mut read).expect("works");
        if WorkFolder::root(batch.path()).starts_with(MEMORY) {
            assert_eq!(read, b"secret");
        }
    }

    #[test]
    fn a_serial_that_leads_out_of_the_folder_is_refused() {
        let batch = tempfile::tempdir().expect("works");
        let victim = tempfile::tempdir().expect("works");
        std::fs::write(victim.path().join("file"), b"precious").expect("works");
        let outside = victim.path().display().to_string();
        for serial in [outside.as_str(), "../x", "", "."] {
            assert!(WorkFolder::make(batch.path(), serial).is_err(), "{serial}");
        }
        assert!(victim.path().join("file").exists());
    }

    #[test]
    fn what_a_crash_left_behind_is_removed() {
        let batch = tempfile::tempdir().expect("works");
        let work = WorkFolder::make(batch.path(), "S1").expect("works");
        work.replace("key", b"secret").expect("works");
        std::mem::forget(work);
        assert!(WorkFolder::clean(batch.path()).expect("works"));
        assert!(!WorkFolder::root(batch.path()).exists());
        assert!(!WorkFolder::clean(batch.path()).expect("works"));
    }

    /// The folder's name comes from the batch's place: a batch that was moved after a crash must not leave its keys behind.
    #[test]
    fn what_a_crash_left_behind_goes_though_the_batch_was_moved() {
        let room = tempfile::tempdir().expect("works");
        let (before, after) = (room.path().join("before"), room.path().join("after"));
        std::fs::create_dir(&before).expect("works");
        let left = WorkFolder::root(&before);
        if !left.starts_with(MEMORY) {
            return;
        }
        let in_use = tempfile::tempdir().expect("works");
        let work = WorkFolder::make(in_use.path(), "S1").expect("works");
        make_own(&left).expect("works");
        std::fs::write(left.join(LOCK), b"").expect("works");
        make_own(&left.join("S1")).expect("works");
        std::fs::write(left.join("S1/key"), b"secret").expect("works");
        std::fs::rename(&before, &after).expect("works");
        assert!(!WorkFolder::clean(&after).expect("works"), "its own");
        assert!(!left.exists(), "keys were left behind");
        assert!(work.path.exists(), "another station is at work");
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused_and_left_alone() {
        let batch = tempfile::tempdir().expect("works");
        let root = WorkFolder::root(batch.path());
        std::fs::create_dir(&root).expect("works");
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).expect("works");
        assert!(WorkFolder::make(batch.path(), "S1").is_err());
        assert!(WorkFolder::clean(batch.path()).is_err());
        std::fs::remove_dir(&root).expect("works");
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let batch = tempfile::tempdir().expect("works");
        let victim = tempfile::tempdir().expect("works");
        std::fs::write(victim.path().join("file"), b"precious").expect("works");
        let root = WorkFolder::root(batch.path());
        symlink(victim.path(), &root).expect("works");
        assert!(WorkFolder::clean(batch.path()).is_err());
        std::fs::remove_file(&root).expect("works");
        let work = WorkFolder::make(batch.path(), "S1").expect("works");
        symlink(victim.path().join("file"), root.join("S1/link")).expect("works");
        drop(work);
        assert_eq!(
            std::fs::read(victim.path().join("file")).expect("works"),
            b"precious"
        );
        assert!(!root.exists());
    }
}
