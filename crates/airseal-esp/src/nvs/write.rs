//! Writing a partition from nothing, entry by entry as `nvs_partition_gen` lays them out.

use core::fmt;
use core::iter::once;

use super::entry::CHUNK_ANY;
use super::{
    BLOB_MAX, ENTRY_LEN, Entry, FIRST_ENTRY, ITEM_MAX_V1, Integer, Kind, NAMESPACES_MAX, Name,
    NvsFault, NvsKey, PAGE_ENTRIES, PAGE_LEN, PageState, STRING_MAX, Version, WRITABLE_LEN, crc,
    header_crc,
};

/// A value.
#[derive(Clone, Copy)]
pub enum Value<'v> {
    /// A number of a type.
    Integer(Integer, i128),
    /// Text, without the NUL that ends it in flash.
    String(&'v str),
    /// Bytes.
    Blob(&'v [u8]),
}

/// Writes into a buffer, which becomes the partition.
pub struct Writer<'b> {
    bytes: &'b mut [u8],
    version: Version,
    key: Option<&'b NvsKey>,
    /// Pages that may be written.
    usable: usize,
    /// Number of the page in use.
    page: usize,
    /// Entries of it that are written.
    used: usize,
    entries: usize,
    namespaces: u8,
}

/// What a finished partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file: the partition, or the pages in use of one that is too small for a page in reserve.
    pub len: usize,
    /// Pages in use.
    pub pages: usize,
    /// Pages that could be.
    pub usable: usize,
    /// Entries in use.
    pub entries: usize,
}

impl<'b> Writer<'b> {
    /// Erases `bytes`, the whole partition, and starts its first page.
    ///
    /// Partitions of 12 KiB and more keep the last page in reserve; smaller ones a device can only read.
    ///
    /// # Errors
    /// [`NvsFault::PartitionLen`] if it is empty, no multiple of 4 KiB, or larger than 4 GiB.
    pub fn new(
        bytes: &'b mut [u8],
        version: Version,
        key: Option<&'b NvsKey>,
    ) -> Result<Writer<'b>, NvsFault> {
        let len = bytes.len();
        if len == 0 || !len.is_multiple_of(PAGE_LEN) || u32::try_from(len).is_err() {
            return Err(NvsFault::PartitionLen { len });
        }
        bytes.fill(0xFF);
        let mut writer = Writer {
            bytes,
            version,
            key,
            usable: usable_pages(len),
            page: 0,
            used: 0,
            entries: 0,
            namespaces: 0,
        };
        writer.start_page();
        Ok(writer)
    }

    /// Adds a namespace and gives its index.
    ///
    /// # Errors
    /// [`WriteFault`] if there is no room, or there are 254 of them.
    pub fn namespace(&mut self, name: Name) -> Result<u8, WriteFault> {
        if self.namespaces >= NAMESPACES_MAX {
            return Err(WriteFault::Namespaces);
        }
        self.put(
            0,
            name,
            Value::Integer(Integer::U8, i128::from(self.namespaces) + 1),
        )?;
        self.namespaces += 1;
        Ok(self.namespaces)
    }

    /// Adds a pair. That its key is not there yet is the caller's business.
    ///
    /// # Errors
    /// [`WriteFault`].
    pub fn put(&mut self, namespace: u8, name: Name, value: Value<'_>) -> Result<(), WriteFault> {
        let entry = |kind, span, data| Entry {
            namespace,
            kind,
            span,
            chunk: CHUNK_ANY,
            name,
            data,
        };
        match value {
            Value::Integer(integer, value) => {
                let (low, high) = integer.range();
                let data = integer
                    .encode(value)
                    .ok_or(WriteFault::Range { low, high })?;
                self.make_room(self.used >= PAGE_ENTRIES)?;
                self.write(&mut entry(Kind::Integer(integer), 1, data).encode());
                Ok(())
            }
            Value::String(text) => {
                let max = match self.version {
                    Version::One => ITEM_MAX_V1,
                    Version::Two => STRING_MAX,
                };
                let bytes = text.bytes().chain(once(0));
                self.put_whole(entry(Kind::String, 1, [0; 8]), bytes, text.len() + 1, max)
            }
            Value::Blob(blob) => match self.version {
                Version::One => {
                    let bytes = blob.iter().copied();
                    let entry = entry(Kind::Blob, 1, [0; 8]);
                    self.put_whole(entry, bytes, blob.len(), ITEM_MAX_V1)
                }
                Version::Two => self.put_chunks(entry(Kind::BlobData, 1, [0; 8]), blob),
            },
        }
    }

    /// Ends the work.
    pub fn finish(self) -> Written {
        let pages = self.page + 1;
        let len = if self.bytes.len() < WRITABLE_LEN {
            pages * PAGE_LEN
        } else {
            self.bytes.len()
        };
        Written {
            len,
            pages,
            usable: self.usable,
            entries: self.entries,
        }
    }

    /// A value that lies in one page.
    fn put_whole(
        &mut self,
        entry: Entry,
        bytes: impl Iterator<Item = u8> + Clone,
        len: usize,
        max: usize,
    ) -> Result<(), WriteFault> {
        if len > max {
            return Err(WriteFault::TooLong { len, max });
        }
        let needed = 1 + len.div_ceil(ENTRY_LEN);
        // Espressif's tool leaves a page whose last entry this would take. Only a page for itself has room for the longest.
        let fits = self.used + needed < PAGE_ENTRIES || (self.used == 0 && needed == PAGE_ENTRIES);
        self.make_room(!fits)?;
        self.put_data(entry, bytes, len);
        Ok(())
    }

    /// A blob of format version 2: chunks as large as the pages let them be, then the index.
    fn put_chunks(&mut self, entry: Entry, blob: &[u8]) -> Result<(), WriteFault> {
        if blob.len() > BLOB_MAX {
            return Err(WriteFault::TooLong {
                len: blob.len(),
                max: BLOB_MAX,
            });
        }
        self.make_room(self.used >= PAGE_ENTRIES)?;
        let mut rest = blob;
        let mut chunks = 0u8;
        loop {
            let room = (PAGE_ENTRIES - self.used - 1) * ENTRY_LEN;
            let (now, later) = rest.split_at(rest.len().min(room));
            let chunk = Entry {
                chunk: chunks,
                ..entry
            };
            self.put_data(chunk, now.iter().copied(), now.len());
            chunks += 1;
            rest = later;
            // Here the tool is the other way round: it starts a page as soon as no entry is left behind a chunk.
            self.make_room(!rest.is_empty() || room - now.len() < ENTRY_LEN)?;
            if rest.is_empty() {
                break;
            }
        }
        let [a, b, c, d, ..] = blob.len().to_le_bytes();
        let index = Entry {
            kind: Kind::BlobIndex,
            data: [a, b, c, d, chunks, 0, 0xFF, 0xFF],
            ..entry
        };
        self.write(&mut index.encode());
        Ok(())
    }

    fn put_data(&mut self, entry: Entry, bytes: impl Iterator<Item = u8> + Clone, len: usize) {
        let [low, high, ..] = len.to_le_bytes();
        let [a, b, c, d] = crc(bytes.clone()).to_le_bytes();
        // A page has 126 entries, and what does not fit in one was cut or refused.
        let [span, ..] = (1 + len.div_ceil(ENTRY_LEN)).to_le_bytes();
        let head = Entry {
            span,
            data: [low, high, 0xFF, 0xFF, a, b, c, d],
            ..entry
        };
        self.write(&mut head.encode());
        let mut bytes = bytes;
        for _ in 1..span {
            let mut data = [0xFF; ENTRY_LEN];
            for (to, from) in data.iter_mut().zip(&mut bytes) {
                *to = from;
            }
            self.write(&mut data);
        }
    }

    /// Goes to the next page if this one is `full`.
    fn make_room(&mut self, full: bool) -> Result<(), WriteFault> {
        if !full {
            return Ok(());
        }
        if self.page + 1 >= self.usable {
            return Err(WriteFault::NoRoom);
        }
        self.set(self.page * PAGE_LEN, &PageState::Full.word().to_le_bytes());
        self.page += 1;
        self.used = 0;
        self.start_page();
        Ok(())
    }

    fn start_page(&mut self) {
        let at = self.page * PAGE_LEN;
        self.set(at, &PageState::Active.word().to_le_bytes());
        let [a, b, c, d, ..] = self.page.to_le_bytes();
        self.set(at + 4, &[a, b, c, d]);
        self.set(at + 8, &[self.version.byte()]);
        let page = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        let crc = page.map_or(0, header_crc);
        self.set(at + 28, &crc.to_le_bytes());
    }

    /// Writes the next entry of the page.
    fn write(&mut self, entry: &mut [u8; ENTRY_LEN]) {
        let page = self.page * PAGE_LEN;
        let at = page + FIRST_ENTRY + self.used * ENTRY_LEN;
        if let (Some(key), Ok(address)) = (self.key, u32::try_from(at)) {
            key.encrypt(address, entry);
        }
        self.set(at, entry);
        let bitmap = page + ENTRY_LEN + self.used / 4;
        if let Some(byte) = self.bytes.get_mut(bitmap) {
            *byte &= !(1 << (self.used % 4 * 2));
        }
        self.used += 1;
        self.entries += 1;
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }
}

/// Pages of a partition of `len` bytes that hold pairs: from 12 KiB on, one is kept in reserve.
pub fn usable_pages(len: usize) -> usize {
    len / PAGE_LEN - usize::from(len >= WRITABLE_LEN)
}

/// Why a pair can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// The pages are full.
    NoRoom,
    /// A string or blob is too long for this format.
    TooLong {
        /// Its bytes, of a string with the NUL.
        len: usize,
        /// How many may be.
        max: usize,
    },
    /// A number its type does not have.
    Range {
        /// Smallest value.
        low: i128,
        /// Largest value.
        high: i128,
    },
    /// One namespace too many.
    Namespaces,
}

impl fmt::Display for WriteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteFault::NoRoom => f.write_str("there is no room left in the partition"),
            WriteFault::TooLong { len, max } => {
                write!(f, "the value has {len} bytes, at most {max} fit")
            }
            WriteFault::Range { low, high } => {
                write!(f, "the value is not from {low} to {high}")
            }
            WriteFault::Namespaces => {
                write!(f, "there are {NAMESPACES_MAX} namespaces, no more fit")
            }
        }
    }
}

impl core::error::Error for WriteFault {}
