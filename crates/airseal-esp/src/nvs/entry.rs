//! An entry: 32 bytes that say namespace, type, key, and a short value or what is known of a long one.

use core::fmt;

use super::{ENTRY_LEN, NAME_MAX, crc};

/// A key, or the name of a namespace: 1 to 15 bytes of ASCII without control characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name([u8; NAME_MAX + 1]);

impl Name {
    /// Takes a name as people write it.
    ///
    /// # Errors
    /// [`NameFault`].
    pub fn new(text: &str) -> Result<Name, NameFault> {
        if text.is_empty() {
            return Err(NameFault::Empty);
        }
        if text.bytes().any(|byte| !matches!(byte, b' '..=b'~')) {
            return Err(NameFault::Characters);
        }
        if text.len() > NAME_MAX {
            return Err(NameFault::TooLong { len: text.len() });
        }
        let mut name = [0; NAME_MAX + 1];
        for (to, from) in name.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Ok(Name(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().take_while(|byte| **byte != 0).count();
        let bytes = self.0.get(..len).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    fn from_field(field: [u8; NAME_MAX + 1]) -> Option<Name> {
        let len = field.iter().position(|byte| *byte == 0)?;
        Name::new(core::str::from_utf8(field.get(..len)?).ok()?).ok()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Why a name can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// It is empty.
    Empty,
    /// It has more than 15 bytes.
    TooLong {
        /// Bytes found.
        len: usize,
    },
    /// It has other characters than printable ASCII.
    Characters,
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameFault::Empty => f.write_str("is empty"),
            NameFault::TooLong { len } => {
                write!(f, "has {len} characters, at most {NAME_MAX} fit")
            }
            NameFault::Characters => f.write_str("has characters other than printable ASCII"),
        }
    }
}

impl core::error::Error for NameFault {}

/// The type of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Integer {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
}

impl Integer {
    /// All of them.
    pub const ALL: [Integer; 8] = [
        Integer::U8,
        Integer::I8,
        Integer::U16,
        Integer::I16,
        Integer::U32,
        Integer::I32,
        Integer::U64,
        Integer::I64,
    ];

    /// Its name in a CSV.
    pub fn name(self) -> &'static str {
        match self {
            Integer::U8 => "u8",
            Integer::I8 => "i8",
            Integer::U16 => "u16",
            Integer::I16 => "i16",
            Integer::U32 => "u32",
            Integer::I32 => "i32",
            Integer::U64 => "u64",
            Integer::I64 => "i64",
        }
    }

    /// The type with this name, whatever its case.
    pub fn from_name(name: &str) -> Option<Integer> {
        Self::ALL
            .into_iter()
            .find(|integer| name.eq_ignore_ascii_case(integer.name()))
    }

    /// Its smallest and its largest value.
    pub fn range(self) -> (i128, i128) {
        match self {
            Integer::U8 => (0, u8::MAX.into()),
            Integer::I8 => (i8::MIN.into(), i8::MAX.into()),
            Integer::U16 => (0, u16::MAX.into()),
            Integer::I16 => (i16::MIN.into(), i16::MAX.into()),
            Integer::U32 => (0, u32::MAX.into()),
            Integer::I32 => (i32::MIN.into(), i32::MAX.into()),
            Integer::U64 => (0, u64::MAX.into()),
            Integer::I64 => (i64::MIN.into(), i64::MAX.into()),
        }
    }

    fn code(self) -> u8 {
        match self {
            Integer::U8 => 0x01,
            Integer::I8 => 0x11,
            Integer::U16 => 0x02,
            Integer::I16 => 0x12,
            Integer::U32 => 0x04,
            Integer::I32 => 0x14,
            Integer::U64 => 0x08,
            Integer::I64 => 0x18,
        }
    }

    fn len(self) -> usize {
        usize::from(self.code() & 0xF)
    }

    /// The value as it lies in an entry; `None` if it is out of range.
    pub(super) fn encode(self, value: i128) -> Option<[u8; 8]> {
        let (low, high) = self.range();
        if value < low || value > high {
            return None;
        }
        let mut data = [0xFF; 8];
        for (to, from) in data.iter_mut().zip(value.to_le_bytes()).take(self.len()) {
            *to = from;
        }
        Some(data)
    }

    /// The value in the eight bytes of an entry.
    pub fn decode(self, data: [u8; 8]) -> i128 {
        let negative = self.range().0 < 0
            && data
                .get(self.len() - 1)
                .is_some_and(|byte| byte & 0x80 != 0);
        let mut value = [if negative { 0xFF } else { 0 }; 16];
        for (to, from) in value.iter_mut().zip(data).take(self.len()) {
            *to = from;
        }
        i128::from_le_bytes(value)
    }
}

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number. In namespace 0: the name of a namespace, with its index.
    Integer(Integer),
    /// Text with a NUL at its end.
    String,
    /// A blob of format version 1.
    Blob,
    /// A chunk of a blob.
    BlobData,
    /// The index of a blob.
    BlobIndex,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Integer(integer) => integer.code(),
            Kind::String => 0x21,
            Kind::Blob => 0x41,
            Kind::BlobData => 0x42,
            Kind::BlobIndex => 0x48,
        }
    }

    /// True if the value lies in the entries behind it.
    pub fn has_data(self) -> bool {
        matches!(self, Kind::String | Kind::Blob | Kind::BlobData)
    }

    pub(super) fn from_code(code: u8) -> Option<Kind> {
        let longer = [Kind::String, Kind::Blob, Kind::BlobData, Kind::BlobIndex];
        let integers = Integer::ALL.into_iter().map(Kind::Integer);
        longer
            .into_iter()
            .chain(integers)
            .find(|kind| kind.code() == code)
    }
}

/// An entry. No `Debug`: it holds the value, or its length and checksum.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Index of the namespace; 0 holds the names of namespaces.
    pub namespace: u8,
    /// The type.
    pub kind: Kind,
    /// Number of entries, this one included.
    pub span: u8,
    /// Number of a chunk; 255 for everything else.
    pub chunk: u8,
    /// The key.
    pub name: Name,
    /// The value, or length and checksum of one.
    pub data: [u8; 8],
}

/// `chunk` of what is none.
pub(super) const CHUNK_ANY: u8 = 0xFF;

/// Where in an entry its parts begin.
pub(super) const KIND_AT: usize = 1;
pub(super) const SPAN_AT: usize = 2;
pub(super) const NAME_AT: usize = 8;

impl Entry {
    pub(super) fn encode(&self) -> [u8; ENTRY_LEN] {
        let Entry {
            namespace,
            kind,
            span,
            chunk,
            name,
            data,
        } = self;
        let mut bytes = [0xFF; ENTRY_LEN];
        let head = [*namespace, kind.code(), *span, *chunk, 0, 0, 0, 0];
        let parts = head.iter().chain(&name.0).chain(data);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = *from;
        }
        let crc = entry_crc(&bytes).to_le_bytes();
        for (to, from) in bytes.iter_mut().skip(4).zip(crc) {
            *to = from;
        }
        bytes
    }

    /// Reads an entry whose CRC holds. The fault is the offset in the entry of the part that can't be.
    pub(super) fn decode(bytes: &[u8; ENTRY_LEN]) -> Result<Entry, usize> {
        let [namespace, kind, span, chunk, _, _, _, _, rest @ ..] = *bytes;
        let mut name = [0; NAME_MAX + 1];
        let mut data = [0; 8];
        let (name_bytes, data_bytes) = rest.split_at(name.len());
        name.copy_from_slice(name_bytes);
        data.copy_from_slice(data_bytes);
        Ok(Entry {
            namespace,
            kind: Kind::from_code(kind).ok_or(KIND_AT)?,
            span,
            chunk,
            name: Name::from_field(name).ok_or(NAME_AT)?,
            data,
        })
    }

    /// Bytes of the value in the entries behind this one.
    pub fn data_len(&self) -> usize {
        let [low, high, ..] = self.data;
        if self.kind.has_data() {
            usize::from(u16::from_le_bytes([low, high]))
        } else {
            0
        }
    }

    pub(super) fn data_crc(&self) -> u32 {
        let [_, _, _, _, crc @ ..] = self.data;
        u32::from_le_bytes(crc)
    }

    /// Of the index of a blob: its length in bytes, how many chunks it has, and the number of the first.
    pub fn blob_index(&self) -> (u32, u8, u8) {
        let [a, b, c, d, count, start, _, _] = self.data;
        (u32::from_le_bytes([a, b, c, d]), count, start)
    }
}

/// The CRC of an entry: over everything but itself.
pub(super) fn entry_crc(bytes: &[u8; ENTRY_LEN]) -> u32 {
    crc(bytes.iter().take(4).chain(bytes.iter().skip(8)).copied())
}

/// The CRC that lies in an entry.
pub(super) fn stored_crc(bytes: &[u8; ENTRY_LEN]) -> u32 {
    let [_, _, _, _, a, b, c, d, ..] = *bytes;
    u32::from_le_bytes([a, b, c, d])
}
