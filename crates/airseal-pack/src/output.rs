//! Files that are there whole or not at all.
//!
//! An [`OutputFile`] is written under a temporary name in the directory of its target and renamed at the end; when it is
//! dropped before that, by an error, a panic or Ctrl-C, the temporary file is removed. `-` is standard output.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::Error;
use crate::source::write_all_at;

/// What to do when the target is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse, before any work is done.
    Refuse,
    /// Replace it, once the new file is complete.
    Replace,
}

/// Who may read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// As the umask says.
    Public,
    /// Mode 0600.
    Owner,
}

/// A file in the making.
pub struct OutputFile {
    target: PathBuf,
    existing: Existing,
    temporary: Option<NamedTempFile>,
}

impl OutputFile {
    /// Starts a file that will appear at `target` on [`OutputFile::commit`].
    ///
    /// # Errors
    /// Refused if `target` exists and may not be replaced, or is a directory; `Io` if the temporary file can't be created.
    pub fn create(target: &Path, existing: Existing, access: Access) -> Result<OutputFile, Error> {
        let temporary = if is_stdout(target) {
            tempfile::Builder::new().tempfile()
        } else {
            check_target(target, existing)?;
            let mut builder = Builder::new();
            builder.prefix(".airseal-").suffix(".part");
            set_mode(&mut builder, access);
            builder.tempfile_in(directory_of(&behind_link(target)))
        };
        let temporary = temporary.map_err(|error| Error::io("create", target, error))?;
        Ok(OutputFile {
            target: behind_link(target),
            existing,
            temporary: Some(temporary),
        })
    }

    /// Gives the file its name, or copies it to standard output.
    ///
    /// # Errors
    /// `Io` if the rename or the copy fails; refused if another program created the target meanwhile.
    pub fn commit(mut self) -> Result<(), Error> {
        let Some(mut temporary) = self.temporary.take() else {
            return Ok(());
        };
        if is_stdout(&self.target) {
            let mut stdout = io::stdout().lock();
            return temporary
                .seek(SeekFrom::Start(0))
                .and_then(|_| io::copy(&mut temporary, &mut stdout))
                .and_then(|_| stdout.flush())
                .map_err(|error| Error::io("write", Path::new("standard output"), error));
        }
        let result = match self.existing {
            Existing::Replace => temporary.persist(&self.target).map_err(|error| error.error),
            Existing::Refuse => temporary
                .persist_noclobber(&self.target)
                .map_err(|error| error.error),
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&self.target)),
            Err(error) => Err(Error::io("create", &self.target, error)),
        }
    }

    /// Waits until what was written is on the disk: after a power cut the name leads to these bytes or to those before.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync(&mut self) -> Result<(), Error> {
        let target = self.target.clone();
        self.file()
            .and_then(|file| file.sync_all())
            .map_err(|error| Error::io("write", &target, error))
    }

    /// A second handle on the same file, for writing at offsets.
    pub(crate) fn handle(&self) -> Result<File, Error> {
        match &self.temporary {
            Some(temporary) => temporary.as_file().try_clone(),
            None => Err(io::Error::other("the file is finished")),
        }
        .map_err(|error| Error::io("write", &self.target, error))
    }

    /// Writes `bytes` at `offset`, from any thread.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        match &self.temporary {
            Some(temporary) => write_all_at(temporary.as_file(), bytes, offset),
            None => Err(io::Error::other("the file is finished")),
        }
        .map_err(|error| self.write_error(error))
    }

    /// The error for a failed write to this file.
    pub(crate) fn write_error(&self, error: io::Error) -> Error {
        Error::io("write", &self.target, error)
    }

    fn file(&mut self) -> io::Result<&mut File> {
        match &mut self.temporary {
            Some(temporary) => Ok(temporary.as_file_mut()),
            None => Err(io::Error::other("the file is finished")),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file()?.flush()
    }
}

impl Read for OutputFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file()?.read(bytes)
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file()?.seek(to)
    }
}

/// Writes a whole small file.
///
/// # Errors
/// As [`OutputFile::create`] and [`OutputFile::commit`].
pub fn write_file(
    target: &Path,
    bytes: &[u8],
    existing: Existing,
    access: Access,
) -> Result<(), Error> {
    written(target, bytes, existing, access)?.commit()
}

/// Writes a whole small file that is on the disk, under its name, on return.
///
/// # Errors
/// As [`write_file`].
pub fn write_durable(
    target: &Path,
    bytes: &[u8],
    existing: Existing,
    access: Access,
) -> Result<(), Error> {
    let mut output = written(target, bytes, existing, access)?;
    output.sync()?;
    output.commit()?;
    sync_folder(directory_of(target))
}

/// All bytes in a file that has not its name yet.
fn written(
    target: &Path,
    bytes: &[u8],
    existing: Existing,
    access: Access,
) -> Result<OutputFile, Error> {
    let mut output = OutputFile::create(target, existing, access)?;
    output
        .write_all(bytes)
        .map_err(|error| Error::io("write", target, error))?;
    Ok(output)
}

/// Makes the names in a folder durable, where the system can.
///
/// # Errors
/// `Io`.
pub fn sync_folder(folder: &Path) -> Result<(), Error> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("write", folder, error))
}

/// Refuses a target that can't be written, before work is done for it.
///
/// # Errors
/// Refused if it exists and may not be replaced, or is a directory.
pub fn check_target(target: &Path, existing: Existing) -> Result<(), Error> {
    if is_stdout(target) {
        return Ok(());
    }
    let refuse = |what, remedy| Err(Error::refused(target.display().to_string(), what, remedy));
    match fs::metadata(target) {
        Ok(metadata) if metadata.is_dir() => refuse("is a directory", "name a file"),
        Ok(metadata) if !metadata.is_file() => refuse(
            "is a device or a pipe, which a file would replace",
            "name a file, or - for standard output",
        ),
        _ if existing == Existing::Refuse && fs::symlink_metadata(target).is_ok() => {
            Err(exists(target))
        }
        _ => Ok(()),
    }
}

/// What a link leads to; the link stays.
fn behind_link(target: &Path) -> PathBuf {
    match fs::canonicalize(target) {
        Ok(real) if target.is_symlink() => real,
        _ => target.to_owned(),
    }
}

/// True for `-`.
pub fn is_stdout(target: &Path) -> bool {
    target.as_os_str() == "-"
}

fn exists(target: &Path) -> Error {
    Error::refused(
        target.display().to_string(),
        "exists already",
        "name another file, or give --force to replace it",
    )
}

fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn set_mode(builder: &mut Builder<'_, '_>, access: Access) {
    use std::os::unix::fs::PermissionsExt;
    let mode = match access {
        Access::Public => 0o666,
        Access::Owner => 0o600,
    };
    builder.permissions(fs::Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn set_mode(_: &mut Builder<'_, '_>, _: Access) {}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may unwrap, and documents itself by its name"
    )]
    use super::*;

    #[test]
    fn an_existing_output_is_refused_without_force() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        write_file(&target, b"one", Existing::Refuse, Access::Public).unwrap();
        let error = write_file(&target, b"two", Existing::Refuse, Access::Public).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"one");
        write_file(&target, b"two", Existing::Replace, Access::Public).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
    }

    #[test]
    fn a_durable_file_is_as_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        write_durable(&target, b"one", Existing::Refuse, Access::Owner).unwrap();
        assert!(write_durable(&target, b"two", Existing::Refuse, Access::Owner).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_dropped_output_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut output =
            OutputFile::create(&dir.path().join("out"), Existing::Refuse, Access::Public).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn modes_are_those_of_the_umask_or_0600() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        write_file(&secret, b"x", Existing::Refuse, Access::Owner).unwrap();
        assert_eq!(
            fs::metadata(&secret).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let public = dir.path().join("public");
        write_file(&public, b"x", Existing::Refuse, Access::Public).unwrap();
        fs::write(dir.path().join("plain"), b"x").unwrap();
        let plain = fs::metadata(dir.path().join("plain"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(fs::metadata(&public).unwrap().permissions().mode(), plain);
    }
}
