//! NVS partitions: key-value pairs in flash (ESP-IDF `docs/en/api-reference/storage/nvs_flash.rst`, `nvs_flash/src`).
//!
//! A partition is a row of 4 KiB pages. A page has a header, a bitmap with two bits per entry, and 126 entries of 32 bytes.
//! A pair takes one entry, which names namespace, type and key; longer values go on in the entries behind it. Since format
//! version 2 a blob is cut into chunks, which may lie in several pages, and an index names them.
//!
//! Encryption covers each entry for itself ([`NvsKey`]); headers and bitmaps stay plain, and nothing detects changes.

use core::fmt;

use crate::crc::rom_crc32;

mod entry;
mod keys;
mod page;
mod write;

pub use entry::{Entry, Integer, Kind, Name, NameFault};
pub use keys::{
    HMAC_DATA_SEED, HMAC_TWEAK_SEED, KEYS_LEN, KEYS_PARTITION_LEN, KeysFault, NvsKey,
    keys_from_partition, keys_partition,
};
pub use page::{Item, Items, Page, PageState};
pub use write::{Value, WriteFault, Writer, Written, usable_pages};

/// Bytes of a page; partitions are a multiple of it.
pub const PAGE_LEN: usize = 4096;
/// Bytes of an entry.
pub const ENTRY_LEN: usize = 32;
/// Entries in a page.
pub const PAGE_ENTRIES: usize = 126;
/// Where in a page the entries begin.
pub const FIRST_ENTRY: usize = 64;
/// Longest key or namespace, bytes.
pub const NAME_MAX: usize = 15;
/// Smallest partition that can be written to on a device, bytes: it needs a page in reserve.
pub const WRITABLE_LEN: usize = 3 * PAGE_LEN;
/// Longest string of format version 2, the NUL at its end included.
pub const STRING_MAX: usize = 4000;
/// Longest string or blob of format version 1; of a string the NUL counts.
pub const ITEM_MAX_V1: usize = 1984;
/// Longest blob of format version 2.
pub const BLOB_MAX: usize = 508_000;
/// Most namespaces in a partition.
pub const NAMESPACES_MAX: u8 = 254;

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// A blob is one item in one page.
    One,
    /// A blob is cut into chunks.
    Two,
}

impl Version {
    /// Its byte in a page header.
    pub fn byte(self) -> u8 {
        match self {
            Version::One => 0xFF,
            Version::Two => 0xFE,
        }
    }

    /// Its number as people write it.
    pub fn number(self) -> u8 {
        match self {
            Version::One => 1,
            Version::Two => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<Version> {
        [Version::One, Version::Two]
            .into_iter()
            .find(|version| version.byte() == byte)
    }
}

/// What is damaged in a partition, with the offset from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvsFault {
    /// The partition is empty or no multiple of 4 KiB.
    PartitionLen {
        /// Bytes found.
        len: usize,
    },
    /// The CRC of a page header does not hold.
    HeaderCrc {
        /// Offset of the page.
        offset: usize,
    },
    /// The state of a page is none that exists.
    PageState {
        /// Offset of the page.
        offset: usize,
        /// The value.
        found: u32,
    },
    /// A version that is not known.
    PageVersion {
        /// Offset of the byte.
        offset: usize,
        /// The value.
        found: u8,
    },
    /// The CRC of an entry does not hold.
    EntryCrc {
        /// Offset of the entry.
        offset: usize,
    },
    /// A type that is not known.
    EntryKind {
        /// Offset of the byte.
        offset: usize,
        /// The value.
        found: u8,
    },
    /// The entry says that it goes on for a number of entries that its value or its page does not have.
    EntrySpan {
        /// Offset of the byte.
        offset: usize,
        /// The value.
        found: u8,
    },
    /// The key is empty, has no end, or is not text.
    EntryName {
        /// Offset of the key.
        offset: usize,
    },
    /// The CRC of a string's or blob's bytes does not hold.
    DataCrc {
        /// Offset of the entry.
        offset: usize,
    },
}

impl fmt::Display for NvsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NvsFault::PartitionLen { len } => write!(
                f,
                "it has {len} bytes, an NVS partition is a multiple of {PAGE_LEN}"
            ),
            NvsFault::HeaderCrc { offset } => {
                write!(
                    f,
                    "page header at offset {offset:#x}: the CRC does not hold"
                )
            }
            NvsFault::PageState { offset, found } => {
                write!(f, "page state at offset {offset:#x}: {found:#010x} is none")
            }
            NvsFault::PageVersion { offset, found } => write!(
                f,
                "page version at offset {offset:#x}: {found:#04x}, known are 0xff (1) and 0xfe (2)"
            ),
            NvsFault::EntryCrc { offset } => {
                write!(f, "entry at offset {offset:#x}: the CRC does not hold")
            }
            NvsFault::EntryKind { offset, found } => {
                write!(f, "type at offset {offset:#x}: {found:#04x} is none")
            }
            NvsFault::EntrySpan { offset, found } => write!(
                f,
                "span at offset {offset:#x}: {found} entries do not fit the value or the page"
            ),
            NvsFault::EntryName { offset } => write!(
                f,
                "key at offset {offset:#x}: it is empty, not text, or has no end within 16 bytes"
            ),
            NvsFault::DataCrc { offset } => write!(
                f,
                "value of the entry at offset {offset:#x}: the CRC does not hold"
            ),
        }
    }
}

impl core::error::Error for NvsFault {}

/// The CRC of everything in a partition.
fn crc(bytes: impl Iterator<Item = u8>) -> u32 {
    rom_crc32(u32::MAX, bytes)
}

/// The CRC of a page header: over everything between the state and the CRC.
fn header_crc(page: &[u8; PAGE_LEN]) -> u32 {
    crc(page.iter().skip(4).take(24).copied())
}
