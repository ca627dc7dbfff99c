//! A whole flash as the chip sees it: decrypted where flash encryption covers it.

use airseal_esp::otadata::OtaEntry;
use airseal_esp::{Chip, ImageSource};

use crate::Error;
use crate::source::Source;

/// What turns flash contents into what the chip reads.
pub trait FlashCipher {
    /// Decrypts `bytes`, which lie in flash at `address`; both are multiples of [`UNIT`].
    fn decrypt(&self, address: u32, bytes: &mut [u8]);
}

/// Bytes that every scheme decrypts on their own.
pub const UNIT: u64 = 128;

/// A part of a dump.
#[derive(Clone, Copy)]
pub struct View<'d> {
    source: &'d Source,
    cipher: Option<&'d dyn FlashCipher>,
    /// Where in the dump it begins.
    offset: u64,
    /// What is added to an address in the dump to get the one it was encrypted for.
    shift: i64,
    len: u64,
}

impl<'d> View<'d> {
    /// At most `len` bytes of the dump from `offset`, decrypted if there is a cipher.
    pub fn new(
        source: &'d Source,
        cipher: Option<&'d dyn FlashCipher>,
        offset: u64,
        len: u64,
    ) -> View<'d> {
        View {
            source,
            cipher,
            offset,
            shift: 0,
            len: source.len().saturating_sub(offset).min(len),
        }
    }

    /// The same bytes as they are in the dump.
    #[must_use]
    pub fn raw(self) -> View<'d> {
        View {
            cipher: None,
            ..self
        }
    }

    /// The same bytes decrypted with another cipher.
    #[must_use]
    pub fn under<'c>(self, cipher: &'c dyn FlashCipher) -> View<'c>
    where
        'd: 'c,
    {
        View {
            cipher: Some(cipher),
            ..self
        }
    }

    /// The same bytes as if they had been encrypted for `address`.
    #[must_use]
    pub fn encrypted_for(self, address: u64) -> View<'d> {
        View {
            shift: i64::try_from(address).unwrap_or(0) - i64::try_from(self.offset).unwrap_or(0),
            ..self
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it begins in the dump.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// At most `len` bytes from the start.
    ///
    /// # Errors
    /// `Io` if the dump can't be read.
    pub fn head(&self, len: usize) -> Result<Vec<u8>, Error> {
        let len = usize::try_from(self.len).unwrap_or(usize::MAX).min(len);
        let mut bytes = vec![0; len];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let start = self.offset.saturating_add(offset);
        let Some(cipher) = self.cipher else {
            return self.source.read_at(start, buffer);
        };
        let first = start - start % UNIT;
        let skipped = usize::try_from(start - first).unwrap_or(0);
        let needed = (skipped + buffer.len()).next_multiple_of(UNIT as usize);
        let mut units = self.source.head(first, needed)?;
        units.resize(needed, 0xFF);
        let address = i64::try_from(first).unwrap_or(0).saturating_add(self.shift);
        cipher.decrypt(u32::try_from(address).unwrap_or(0), &mut units);
        for (to, from) in buffer.iter_mut().zip(units.iter().skip(skipped)) {
            *to = *from;
        }
        Ok(())
    }
}

impl ImageSource for View<'_> {
    type Error = Error;

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.read(offset, buffer)
    }
}

/// True for an image header of this chip: several bytes, since one alone comes up by chance.
pub(super) fn begins_image(head: &[u8], chip: Chip) -> bool {
    let [id, high] = chip.id().to_le_bytes();
    let at = |index: usize| head.get(index).copied();
    at(0) == Some(0xE9)
        && at(1).is_some_and(|count| (1..=16).contains(&count))
        && at(2).is_some_and(|mode| mode <= 5)
        && (at(12), at(13)) == (Some(id), Some(high))
        && at(23).is_some_and(|flag| flag <= 1)
}

/// True for the first row of a partition table: an application or data.
pub(super) fn begins_table(head: &[u8]) -> bool {
    head.starts_with(&[0xAA, 0x50, 0x00]) || head.starts_with(&[0xAA, 0x50, 0x01])
}

/// True for a sector of otadata: a record that holds, or erased ahead of noise that no record has.
pub(super) fn begins_otadata(head: &[u8]) -> bool {
    let record = head.first_chunk().map(OtaEntry::from_bytes);
    let holds = record.is_some_and(|entry| entry.sequence != u32::MAX && entry.crc_holds());
    holds || (!head.is_empty() && head.iter().all(|byte| *byte == 0xFF))
}
