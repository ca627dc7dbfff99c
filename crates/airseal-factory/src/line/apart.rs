//! Real boards and simulated ones, kept apart.
//!
//! One batch has real boards or simulated ones: those use up serials, and leave their keys in a folder.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use airseal_pack::Error;

use crate::status::status;

/// Refuses if the batch in `batch` has boards of the other kind; nothing is changed.
///
/// # Errors
/// `Io`; refused with the way out.
pub fn check(batch: &Path, simulated: bool) -> Result<(), Error> {
    let marked = is_marked(batch)?;
    let refuse =
        |what: &str, remedy: &str| Err(Error::refused(batch.display().to_string(), what, remedy));
    if marked && !simulated {
        return refuse(
            "the batch was run with simulated boards, whose keys lie in files",
            "prepare another batch for real boards",
        );
    }
    if marked || !simulated {
        return Ok(());
    }
    let boards = status(batch)?;
    if boards.begun + boards.finished + boards.scrapped > 0 {
        return refuse(
            "the batch has real boards: a simulated one would use up a serial and leave its keys in files",
            "prepare another batch to try the line",
        );
    }
    Ok(())
}

/// From now on the batch takes simulated boards only.
///
/// # Errors
/// As [`check`].
pub fn mark_simulated(batch: &Path) -> Result<(), Error> {
    check(batch, true)?;
    if is_marked(batch)? {
        return Ok(());
    }
    let mark = mark(batch);
    DirBuilder::new()
        .mode(0o700)
        .create(&mark)
        .map_err(|error| Error::io("make", &mark, error))
}

/// Where the simulated board of a serial lies, if no other folder is named.
pub fn folder_of(batch: &Path, serial: &str) -> PathBuf {
    mark(batch).join(serial)
}

/// Whether the batch takes simulated boards only.
///
/// # Errors
/// `Io`.
pub fn is_marked(batch: &Path) -> Result<bool, Error> {
    let mark = mark(batch);
    match mark.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look at", &mark, error)),
    }
}

fn mark(batch: &Path) -> PathBuf {
    batch.join("simulated")
}

#[cfg(test)]
mod tests {
    use crate::batch::{BatchFolder, Description};

    use super::*;

    #[test]
    fn a_batch_with_simulated_boards_gets_no_real_ones() {
        let room = tempfile::tempdir().expect("a folder");
        let mut description = Description::new("b", "p", "esp32c3", 1 << 22);
        description.serials = vec!["S1".to_owned()];
        let folder = BatchFolder::open(room.path()).expect("a batch");
        folder.describe(&description).expect("described");
        for simulated in [false, true] {
            check(room.path(), simulated).expect("nothing is there");
        }
        assert!(!room.path().join("simulated").exists(), "a look made it");
        mark_simulated(room.path()).expect("marked");
        mark_simulated(room.path()).expect("again");
        check(room.path(), true).expect("simulated");
        let why = check(room.path(), false).expect_err("keys in files");
        assert!(why.to_string().contains("simulated boards"), "{why}");
    }
}
