//! Secrets in the clear, only while a board is on the bench: in a folder of memory where there is one, gone afterwards.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use airseal_pack::Error;
use sha2::{Digest, Sha256};

use crate::secrets::shred;

/// A folder for one board; dropping it removes it.
pub struct WorkFolder {
    path: PathBuf,
}

impl WorkFolder {
    /// Makes an empty one for `serial`.
    ///
    /// # Errors
    /// `Io`.
    pub fn make(batch: &Path, serial: &str) -> Result<WorkFolder, Error> {
        let path = root(batch).join(serial);
        remove(&path)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::io("make", &path, error))?;
        Ok(WorkFolder { path })
    }

    /// Removes what a crash left behind for any board of the batch; true if there was something.
    ///
    /// # Errors
    /// `Io`.
    pub fn clean(batch: &Path) -> Result<bool, Error> {
        let root = root(batch);
        let Ok(entries) = std::fs::read_dir(&root) else {
            return Ok(false);
        };
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("read", &root, error))?;
            remove(&entry.path())?;
        }
        std::fs::remove_dir(&root).map_err(|error| Error::io("remove", &root, error))?;
        Ok(true)
    }

    /// Writes a file that only the owner can read, in place of one of this name.
    ///
    /// # Errors
    /// `Io`.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        shred(&path)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|error| Error::io("write", &path, error))?;
        Ok(path)
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next start.
        let _ = remove(&self.path);
        if let Some(root) = self.path.parent() {
            let _ = std::fs::remove_dir(root);
        }
    }
}

/// In memory where the system has such a folder, else in the batch.
fn root(batch: &Path) -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        let name = std::path::absolute(batch).unwrap_or_else(|_| batch.to_owned());
        let digest = hex::encode(Sha256::digest(name.as_os_str().as_encoded_bytes()));
        memory.join(format!("airseal-{}", digest.get(..16).unwrap_or_default()))
    } else {
        batch.join("work")
    }
}

fn remove(folder: &Path) -> Result<(), Error> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("read", folder, error))?;
        shred(&entry.path())?;
    }
    std::fs::remove_dir(folder).map_err(|error| Error::io("remove", folder, error))
}
