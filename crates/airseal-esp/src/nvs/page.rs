//! Reading a page: its header, and the items in it.

use super::entry::{KIND_AT, NAME_AT, SPAN_AT, entry_crc, stored_crc};
use super::{
    ENTRY_LEN, Entry, FIRST_ENTRY, NvsFault, NvsKey, PAGE_ENTRIES, PAGE_LEN, Version, crc,
    header_crc,
};

/// What a page is in use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// Erased flash.
    Unused,
    /// The page that is written to.
    Active,
    /// No room is left.
    Full,
    /// Its items are being copied to another page.
    Freeing,
    /// Given up by the device, which will erase it.
    Corrupt,
}

impl PageState {
    /// The word in a page header.
    pub fn word(self) -> u32 {
        match self {
            PageState::Unused => 0xFFFF_FFFF,
            PageState::Active => 0xFFFF_FFFE,
            PageState::Full => 0xFFFF_FFFC,
            PageState::Freeing => 0xFFFF_FFF8,
            PageState::Corrupt => 0xFFFF_FFF0,
        }
    }

    /// True if a device reads items from such a page.
    pub fn holds_items(self) -> bool {
        matches!(
            self,
            PageState::Active | PageState::Full | PageState::Freeing
        )
    }
}

/// A page.
#[derive(Clone, Copy)]
pub struct Page<'b> {
    bytes: &'b [u8; PAGE_LEN],
    offset: usize,
    /// What it is in use for.
    pub state: PageState,
    /// Its number in the order of writing; pages are used in any order.
    pub sequence: u32,
    /// Its format.
    pub version: Version,
}

impl<'b> Page<'b> {
    /// Reads the header of the page that lies `offset` bytes from the start of its partition.
    ///
    /// # Errors
    /// [`NvsFault`] if the header is damaged. An unused page has none, and a corrupt one is not looked at.
    pub fn parse(bytes: &'b [u8; PAGE_LEN], offset: usize) -> Result<Page<'b>, NvsFault> {
        let word = |at: usize| {
            let rest = bytes.get(at..).and_then(|rest| rest.first_chunk());
            rest.map_or(0, |word| u32::from_le_bytes(*word))
        };
        let found = word(0);
        let states = [
            PageState::Unused,
            PageState::Active,
            PageState::Full,
            PageState::Freeing,
            PageState::Corrupt,
        ];
        let state = states
            .into_iter()
            .find(|state| state.word() == found)
            .ok_or(NvsFault::PageState { offset, found })?;
        let version_byte = bytes.get(8).copied().unwrap_or_default();
        let mut page = Page {
            bytes,
            offset,
            state,
            sequence: word(4),
            version: Version::Two,
        };
        if !state.holds_items() {
            return Ok(page);
        }
        if word(28) != header_crc(bytes) {
            return Err(NvsFault::HeaderCrc { offset });
        }
        page.version = Version::from_byte(version_byte).ok_or(NvsFault::PageVersion {
            offset: offset + 8,
            found: version_byte,
        })?;
        Ok(page)
    }

    /// True if every byte is that of erased flash.
    pub fn is_erased(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0xFF)
    }

    /// The items in it, decrypted if there is a key.
    pub fn items<'k>(&self, key: Option<&'k NvsKey>) -> Items<'b, 'k> {
        Items {
            page: *self,
            key,
            next: if self.state.holds_items() {
                0
            } else {
                PAGE_ENTRIES
            },
        }
    }

    fn entry(&self, index: usize, key: Option<&NvsKey>) -> [u8; ENTRY_LEN] {
        let at = FIRST_ENTRY + index * ENTRY_LEN;
        let rest = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        let mut entry = *rest.unwrap_or(&[0xFF; ENTRY_LEN]);
        if let (Some(key), Ok(address)) = (key, u32::try_from(self.offset + at)) {
            key.decrypt(address, &mut entry);
        }
        entry
    }

    /// True if the bitmap says that an entry is in use: neither erased nor free.
    fn is_written(&self, index: usize) -> bool {
        let byte = self.bytes.get(ENTRY_LEN + index / 4).copied();
        byte.is_some_and(|byte| byte >> (index % 4 * 2) & 0b11 == 0b10)
    }
}

/// Iterates over the items of a page. Behind a damaged entry it goes on with the next one.
pub struct Items<'b, 'k> {
    page: Page<'b>,
    key: Option<&'k NvsKey>,
    next: usize,
}

impl<'b, 'k> Iterator for Items<'b, 'k> {
    type Item = Result<Item<'b, 'k>, NvsFault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < PAGE_ENTRIES && !self.page.is_written(self.next) {
            self.next += 1;
        }
        if self.next >= PAGE_ENTRIES {
            return None;
        }
        let index = self.next;
        let item = self.item(index);
        self.next = match &item {
            Ok(item) => index + usize::from(item.entry.span),
            Err(_) => index + 1,
        };
        Some(item)
    }
}

impl<'b, 'k> Items<'b, 'k> {
    fn item(&self, index: usize) -> Result<Item<'b, 'k>, NvsFault> {
        let bytes = self.page.entry(index, self.key);
        let offset = self.page.offset + FIRST_ENTRY + index * ENTRY_LEN;
        if entry_crc(&bytes) != stored_crc(&bytes) {
            return Err(NvsFault::EntryCrc { offset });
        }
        let entry = Entry::decode(&bytes).map_err(|at| match at {
            KIND_AT => NvsFault::EntryKind {
                offset: offset + KIND_AT,
                found: bytes.get(KIND_AT).copied().unwrap_or_default(),
            },
            _ => NvsFault::EntryName {
                offset: offset + NAME_AT,
            },
        })?;
        let span = usize::from(entry.span);
        let needed = 1 + entry.data_len().div_ceil(ENTRY_LEN);
        if span != needed || index + span > PAGE_ENTRIES {
            return Err(NvsFault::EntrySpan {
                offset: offset + SPAN_AT,
                found: entry.span,
            });
        }
        Ok(Item {
            entry,
            offset,
            page: self.page,
            key: self.key,
            index,
        })
    }
}

/// An item: an entry whose CRC holds, and the entries with its value.
pub struct Item<'b, 'k> {
    /// The entry.
    pub entry: Entry,
    /// Where it lies, from the start of the partition.
    pub offset: usize,
    page: Page<'b>,
    key: Option<&'k NvsKey>,
    index: usize,
}

impl Item<'_, '_> {
    /// Hands out the bytes of a string or blob, [`Entry::data_len`] of them and at most 4000: the entry was checked against
    /// its page. Other items have none.
    ///
    /// # Errors
    /// [`NvsFault::DataCrc`] after the last byte, if they are not what was written.
    pub fn read_data(&self, mut take: impl FnMut(&[u8])) -> Result<(), NvsFault> {
        if !self.entry.kind.has_data() {
            return Ok(());
        }
        let len = self.entry.data_len();
        let entries = len.div_ceil(ENTRY_LEN);
        let data = || {
            let bytes = (1..=entries).flat_map(|behind| {
                let index = self.index.saturating_add(behind);
                self.page.entry(index, self.key)
            });
            bytes.take(len)
        };
        if crc(data()) != self.entry.data_crc() {
            return Err(NvsFault::DataCrc {
                offset: self.offset,
            });
        }
        let mut left = len;
        for behind in 1..=entries {
            let entry = self.page.entry(self.index + behind, self.key);
            take(entry.get(..left.min(ENTRY_LEN)).unwrap_or_default());
            left = left.saturating_sub(ENTRY_LEN);
        }
        Ok(())
    }
}
