//! An input file that is read at offsets, from several threads.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use airseal_esp::ImageSource;

use crate::Error;

/// An open input. Standard input (`-`) is spooled to an unnamed temporary file first, since sealing reads twice.
pub struct Source {
    name: String,
    file: File,
    len: u64,
}

impl Source {
    /// Opens `path`, or standard input for `-`.
    ///
    /// # Errors
    /// `Io` if the file can't be read; refused if it is a directory.
    pub fn open(path: &Path) -> Result<Source, Error> {
        if path.as_os_str() == "-" {
            return Self::spool("standard input", &mut io::stdin().lock());
        }
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
        let metadata = file
            .metadata()
            .map_err(|error| Error::io("read", path, error))?;
        if metadata.is_dir() {
            return Err(Error::refused(
                name,
                "is a directory, not a file",
                "name the file inside it",
            ));
        }
        if !metadata.is_file() {
            return Self::spool(&name, &mut &file);
        }
        Ok(Source {
            name,
            file,
            len: metadata.len(),
        })
    }

    /// Takes everything that `reader` gives.
    ///
    /// # Errors
    /// `Io` if reading or the temporary file fails.
    pub fn spool(name: &str, reader: &mut dyn io::Read) -> Result<Source, Error> {
        let mut spool = || {
            let mut file = tempfile::tempfile()?;
            let len = io::copy(reader, &mut file)?;
            file.seek(SeekFrom::Start(0))?;
            Ok((file, len))
        };
        let (file, len) = spool().map_err(|error| Error::io("read", Path::new(name), error))?;
        Ok(Source {
            name: name.to_owned(),
            file,
            len,
        })
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `Io`, also if the file became shorter since it was opened.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        read_exact_at(&self.file, buffer, offset)
            .map_err(|error| Error::io("read", Path::new(&self.name), error))
    }

    /// Reads `len` bytes from `offset`, or as many as there are.
    pub(crate) fn head(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let available = self.len.saturating_sub(offset);
        let len = usize::try_from(available).unwrap_or(usize::MAX).min(len);
        let mut bytes = vec![0; len];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

impl ImageSource for &Source {
    type Error = Error;

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        Source::read_at(self, offset, buffer)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let (mut buffer, mut offset) = (buffer, offset);
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                buffer = buffer.split_at_mut(read).1;
                offset += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(windows)]
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let (mut bytes, mut offset) = (bytes, offset);
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        bytes = bytes.get(written..).unwrap_or_default();
        offset += written as u64;
    }
    Ok(())
}

/// A length in memory; one that no memory could hold becomes the largest, which every read then finds too long.
pub(crate) fn length(len: impl TryInto<usize>) -> usize {
    len.try_into().unwrap_or(usize::MAX)
}
