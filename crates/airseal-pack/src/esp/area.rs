//! A part of a file that is read as if it were one of its own.

use airseal_esp::ImageSource;

use crate::Error;
use crate::source::Source;

/// Bytes `offset..offset + len` of a file.
#[derive(Clone, Copy)]
pub(crate) struct Area<'s> {
    source: &'s Source,
    offset: u64,
    len: u64,
}

impl<'s> Area<'s> {
    /// The whole file.
    pub(crate) fn whole(source: &'s Source) -> Area<'s> {
        Area {
            source,
            offset: 0,
            len: source.len(),
        }
    }

    /// At most `len` bytes from `offset`, fewer where the file ends.
    pub(crate) fn of(source: &'s Source, offset: u64, len: u64) -> Area<'s> {
        Area {
            source,
            offset,
            len: source.len().saturating_sub(offset).min(len),
        }
    }

    /// At most `len` bytes from `offset` of this area.
    pub(crate) fn part(&self, offset: u64, len: u64) -> Area<'s> {
        Area {
            source: self.source,
            offset: self.offset.saturating_add(offset),
            len: self.len.saturating_sub(offset).min(len),
        }
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// True if there is not one byte.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// At most `len` bytes from `offset`.
    ///
    /// # Errors
    /// `Io` if the file can't be read.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let available = self.len.saturating_sub(offset);
        let len = usize::try_from(available).unwrap_or(usize::MAX).min(len);
        self.source.head(self.offset.saturating_add(offset), len)
    }

    /// True if every byte is 0xFF.
    ///
    /// # Errors
    /// `Io` if the file can't be read.
    pub(crate) fn is_erased(&self) -> Result<bool, Error> {
        let mut offset = 0;
        while offset < self.len {
            let bytes = self.bytes(offset, 1 << 16)?;
            if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0xFF) {
                return Ok(false);
            }
            offset += bytes.len() as u64;
        }
        Ok(true)
    }
}

impl ImageSource for Area<'_> {
    type Error = Error;

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.source
            .read_at(self.offset.saturating_add(offset), buffer)
    }
}
