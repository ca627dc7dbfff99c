//! The bytes of one component before sealing: the firmware as it is, or flash-encrypted for one address.

use airseal_esp::flash_encryption::FlashKey;

use super::raw::padded;
use crate::Error;
use crate::source::{Source, length};

/// What is installed of one component, to be read in any order from any thread.
#[derive(Clone, Copy)]
pub(super) struct Content<'a> {
    source: &'a Source,
    raw: Option<(&'a FlashKey, u32)>,
}

impl<'a> Content<'a> {
    /// The firmware as it is.
    pub(super) fn plain(source: &'a Source) -> Content<'a> {
        Content { source, raw: None }
    }

    /// What lies at `address` of a flash that is encrypted under `key`, with 0xFF behind the firmware.
    pub(super) fn raw(source: &'a Source, key: &'a FlashKey, address: u32) -> Content<'a> {
        Content {
            source,
            raw: Some((key, address)),
        }
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        match self.raw {
            None => self.source.len(),
            Some(_) => padded(self.source.len()),
        }
    }

    /// Fills `buffer` from `offset`, a multiple of 1 KiB; only at the end it may be no multiple of 1 KiB long.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let Some((key, address)) = self.raw else {
            return self.source.read_at(offset, buffer);
        };
        let there = length(self.source.len().saturating_sub(offset)).min(buffer.len());
        let (firmware, padding) = buffer.split_at_mut(there);
        self.source.read_at(offset, firmware)?;
        padding.fill(0xFF);
        let place = u64::from(address) + offset;
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        key.encrypt(place, buffer)
            .map_err(|fault| Error::refused(self.source.name(), fault.to_string(), ""))
    }
}
