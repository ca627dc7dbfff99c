//! Payload files, named by their SHA-256, in a folder.
//!
//! A blob appears by rename, so it is whole or not there; the folder is synced before a row in the database may name
//! it. Blobs that no row names (a crash or a failed commit between the two; the row of one may yet come back) do no harm:
//! publishing again finds them in place. Until the row is written or refused no other blob is stored, so one that is
//! discarded is nobody else's.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tempfile::{Builder, NamedTempFile};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::StartError;
use crate::files::{make_private_folder, sync_folder};

/// SHA-256 of a blob's content, and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobId(pub [u8; 32]);

impl std::fmt::Display for BlobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A folder of blobs.
#[derive(Debug, Clone)]
pub struct BlobFolder {
    root: PathBuf,
    temporary: PathBuf,
    turn: Arc<Mutex<()>>,
}

/// A blob on its way into the database.
#[derive(Debug)]
pub struct Stored {
    /// Its name.
    pub id: BlobId,
    /// Where it lies, if it was not there before.
    new: Option<PathBuf>,
    _turn: OwnedMutexGuard<()>,
}

impl Stored {
    /// Takes the blob out again, if it was not there before: no row names it.
    pub fn discard(self) {
        let Some(path) = self.new else {
            return;
        };
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, blob = %self.id, "a payload that nothing needs stays");
        }
        let _ = path.parent().map(fs::remove_dir);
    }
}

impl BlobFolder {
    /// Opens `DATA/blobs`, making it when missing, and removes what unfinished uploads left in `DATA/tmp`.
    ///
    /// # Errors
    /// [`StartError::Io`] when a folder can't be made or cleared.
    pub fn open(data: &Path) -> Result<Self, StartError> {
        let folder = Self {
            root: data.join("blobs"),
            temporary: data.join("tmp"),
            turn: Arc::default(),
        };
        for path in [&folder.root, &folder.temporary] {
            make_private_folder(path)?;
        }
        clear(&folder.temporary).map_err(|error| StartError::io(&folder.temporary, error))?;
        sync_folder(data).map_err(|error| StartError::io(data, error))?;
        Ok(folder)
    }

    /// A file for an upload; it vanishes when dropped.
    ///
    /// # Errors
    /// What the system says.
    pub fn temporary(&self) -> io::Result<NamedTempFile> {
        Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.temporary)
    }

    /// Stores `len` bytes of `source` from `offset` on. Durable on return; storing the same content again is free.
    /// Waits for the blob before to be dropped; not to be called on a thread that serves.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::UnexpectedEof`] when `source` is too short.
    pub fn store(&self, source: &mut File, offset: u64, len: u64) -> io::Result<Stored> {
        source.seek(SeekFrom::Start(offset))?;
        let mut rest = source.take(len);
        let mut target = self.temporary()?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; COPY_BUFFER];
        let mut copied = 0u64;
        loop {
            let n = rest.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            let piece = buffer.get(..n).unwrap_or_default();
            hash.update(piece);
            target.write_all(piece)?;
            copied = copied.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        }
        if copied != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let id = BlobId(hash.finalize().into());
        let turn = Arc::clone(&self.turn).blocking_lock_owned();
        let path = self.path(&id);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        sync_folder(&self.root)?;
        let is_new = !path.exists();
        if is_new {
            target.as_file().sync_all()?;
            target.persist(&path).map_err(|error| error.error)?;
        }
        sync_folder(folder)?;
        Ok(Stored {
            id,
            new: is_new.then_some(path),
            _turn: turn,
        })
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// What the system says.
    pub async fn read(&self, id: &BlobId) -> io::Result<tokio::fs::File> {
        tokio::fs::File::open(self.path(id)).await
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        let name = id.to_string();
        let shelf = name.get(..2).unwrap_or_default().to_owned();
        self.root.join(shelf).join(name)
    }
}

/// Removes what unfinished uploads left, and nothing else: the folder may have been somebody's before.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_upload = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(TEMPORARY));
        if is_upload && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// How the names of unfinished uploads begin.
const TEMPORARY: &str = ".airseal-upload-";

const COPY_BUFFER: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, BlobFolder) {
        let data = tempfile::tempdir().expect("tempdir");
        let blobs = BlobFolder::open(data.path()).expect("opens");
        (data, blobs)
    }

    #[test]
    fn a_part_of_a_file_is_stored_under_its_digest() {
        let (_data, blobs) = folder();
        let mut source = tempfile::tempfile().expect("tempfile");
        source.write_all(b"head payload tail").expect("write");
        let id = blobs.store(&mut source, 5, 7).expect("stored").id;
        assert_eq!(id, BlobId(Sha256::digest(b"payload").into()));
        let again = blobs.store(&mut source, 5, 7).expect("again");
        assert_eq!(again.id, id);
        again.discard();
        let content = || fs::read(blobs.path(&id));
        assert_eq!(content().expect("it was there before"), b"payload");
        fs::remove_file(blobs.path(&id)).expect("removed");
        blobs.store(&mut source, 5, 7).expect("stored").discard();
        assert_eq!(content().expect_err("gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_source_that_is_too_short_leaves_nothing() {
        let (data, blobs) = folder();
        let mut source = tempfile::tempfile().expect("tempfile");
        source.write_all(b"short").expect("write");
        let error = blobs.store(&mut source, 0, 6).expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        for folder in ["blobs", "tmp"] {
            let entries = fs::read_dir(data.path().join(folder)).expect("folder");
            assert_eq!(entries.count(), 0, "{folder}");
        }
    }

    #[test]
    fn leftovers_of_a_crash_are_cleared_at_start() {
        let (data, blobs) = folder();
        let (_, path) = blobs.temporary().expect("temporary").keep().expect("kept");
        BlobFolder::open(data.path()).expect("opens again");
        assert!(!path.exists());
    }
}
