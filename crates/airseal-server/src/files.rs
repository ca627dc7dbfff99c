//! Writing files so that a reader, and a power cut, sees the old content or the new, never a part.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::error::StartError;

/// Replaces `path` by `bytes`, durable on return.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StartError> {
    replace(path, bytes, 0o644).map_err(|error| StartError::io(path, error))
}

/// As [`write_atomically`], readable by the owner only.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), StartError> {
    replace(path, bytes, 0o600).map_err(|error| StartError::io(path, error))
}

/// Opens a file for writing as it is; one that is missing is made, readable by the owner only.
pub(crate) fn open_private(path: &Path) -> Result<File, StartError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    with_mode(&mut options, 0o600);
    options
        .open(path)
        .map_err(|error| StartError::io(path, error))
}

/// Makes a folder and those above it, where they are missing, for the owner only.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), StartError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(|error| StartError::io(path, error))
}

/// Makes a rename in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    match std::fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create(temporary, mode)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(temporary, path)?;
    sync_folder(folder)
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    with_mode(&mut options, mode);
    options.open(path)
}

fn with_mode(options: &mut OpenOptions, mode: u32) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, mode);
    #[cfg(not(unix))]
    let _ = (options, mode);
}
