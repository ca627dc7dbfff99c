//! The partition table in the form the chip reads and in the form people write (ESP-IDF `gen_esp32part.py`,
//! `flash_partitions.c`).
//!
//! Both forms end in one [`PartitionTable`], checked by the same rules, so that what depends on a table (will this image
//! fit?) does not depend on which file was at hand.

use core::fmt;

use md5::{Digest, Md5};

use crate::otadata::BootSlot;

mod csv;
mod fault;
mod field;
mod names;
mod rules;
mod write;

pub use fault::PartitionFault;
pub use field::{Column, Field};
pub use rules::PartitionWarning;
pub use write::Csv;

/// Where the table lies unless a project moved it, in bytes from the start of the flash.
pub const DEFAULT_TABLE_OFFSET: u32 = 0x8000;
/// Bytes of the flash sector that rows may occupy; a signature may use the rest.
pub const MAX_TABLE_LEN: usize = 0xC00;

const ROW_LEN: usize = 32;
const ROW_MAGIC: [u8; 2] = [0xAA, 0x50];
const MD5_MAGIC: [u8; 2] = [0xEB, 0xEB];
const MAX_ROWS: usize = MAX_TABLE_LEN / ROW_LEN - 1;
const TYPE_APP: u8 = 0;
const TYPE_DATA: u8 = 1;
const TYPE_BOOTLOADER: u8 = 2;
const TYPE_TABLE: u8 = 3;
const SUBTYPE_FACTORY: u8 = 0;
const SUBTYPE_OTADATA: u8 = 0;
const SUBTYPE_NVS: u8 = 2;
const SUBTYPE_NVS_KEYS: u8 = 4;
const FLAG_ENCRYPTED: u32 = 1;
const FLAG_READONLY: u32 = 2;
const SUBTYPE_OTA_FIRST: u8 = 0x10;
const SUBTYPE_OTA_LAST: u8 = 0x1F;

/// One row of a partition table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// 0 app, 1 data, 2 bootloader, 3 partition table, 0x40 to 0xFE the project's own.
    pub kind: u8,
    /// What it is within its kind, for example 0x10 for `ota_0`.
    pub subtype: u8,
    /// Start in flash, in bytes.
    pub offset: u32,
    /// Length in bytes.
    pub size: u32,
    /// The name.
    pub label: Label,
    /// Bit 0 encrypted, bit 1 read-only.
    pub flags: u32,
}

impl Partition {
    /// True for `ota_0` to `ota_15`.
    pub fn is_ota_slot(&self) -> bool {
        self.kind == TYPE_APP && (SUBTYPE_OTA_FIRST..=SUBTYPE_OTA_LAST).contains(&self.subtype)
    }

    /// True for the partition that says which slot starts.
    pub fn is_otadata(&self) -> bool {
        self.kind == TYPE_DATA && self.subtype == SUBTYPE_OTADATA
    }

    /// True for the factory application.
    pub fn is_factory(&self) -> bool {
        self.kind == TYPE_APP && self.subtype == SUBTYPE_FACTORY
    }

    /// True if key-value pairs lie in it (`nvs`).
    pub fn is_nvs(&self) -> bool {
        self.kind == TYPE_DATA && self.subtype == SUBTYPE_NVS
    }

    /// True if the keys of encrypted NVS partitions lie in it (`nvs_keys`).
    pub fn is_nvs_keys(&self) -> bool {
        self.kind == TYPE_DATA && self.subtype == SUBTYPE_NVS_KEYS
    }

    /// Number of an OTA slot, from 0.
    pub fn ota_slot(&self) -> Option<u8> {
        self.is_ota_slot().then(|| self.subtype - SUBTYPE_OTA_FIRST)
    }

    /// True if the chip keeps this partition encrypted once flash encryption is on: applications, bootloaders, tables,
    /// otadata and NVS keys always, others if their row says so.
    pub fn is_encrypted(&self) -> bool {
        match self.kind {
            TYPE_APP | TYPE_BOOTLOADER | TYPE_TABLE => true,
            TYPE_DATA if matches!(self.subtype, SUBTYPE_OTADATA | SUBTYPE_NVS_KEYS | 0x90) => true,
            _ => self.flags & FLAG_ENCRYPTED != 0,
        }
    }

    /// The name of the type in CSV files, `None` for a project's own.
    pub fn kind_name(&self) -> Option<&'static str> {
        names::of_kind(self.kind)
    }

    /// First byte behind the partition.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.size)
    }
}

/// The name of a partition: up to 16 bytes, NUL padded.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Label([u8; 16]);

impl Label {
    /// Longest name in bytes.
    pub const MAX_LEN: usize = 16;

    /// The bytes before the first NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The name as text, if it comes back the same from a CSV.
    fn as_field(&self) -> Option<&str> {
        let text = core::str::from_utf8(self.as_bytes()).ok()?;
        let behind = self.0.get(text.len()..).unwrap_or_default();
        let plain = !text.contains(|c: char| c == ',' || c.is_control())
            && !text.starts_with(['#', '\u{FEFF}'])
            && text.trim() == text
            && behind.iter().all(|byte| *byte == 0);
        plain.then_some(text)
    }

    /// A name of at most 16 bytes; Espressif's tool cuts longer ones without a word.
    fn new(name: &str) -> Option<Label> {
        if name.len() > Label::MAX_LEN {
            return None;
        }
        let mut label = [0; Label::MAX_LEN];
        for (to, from) in label.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Some(Label(label))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.as_bytes() {
            write!(f, "{}", byte.escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A checked partition table.
#[derive(Clone, Debug)]
pub struct PartitionTable {
    rows: [Partition; MAX_ROWS],
    len: usize,
    has_md5: bool,
}

impl PartitionTable {
    /// Reads either form: a table that starts with a row's magic is binary, anything else CSV.
    ///
    /// `table_offset` is where the table will lie; only CSV rows without an offset depend on it.
    ///
    /// # Errors
    /// [`PartitionFault`], with the line of a CSV or the offset in a binary.
    pub fn parse(bytes: &[u8], table_offset: u32) -> Result<PartitionTable, PartitionFault> {
        if bytes.starts_with(&ROW_MAGIC)
            || bytes.starts_with(&MD5_MAGIC)
            || bytes.starts_with(&[0xFF; 4])
        {
            return Self::from_binary(bytes);
        }
        let text = core::str::from_utf8(bytes).map_err(|error| PartitionFault::NotText {
            offset: error.valid_up_to(),
        })?;
        Self::from_csv(text, table_offset)
    }

    /// Reads the form that lies in flash; whatever follows the first 0xC00 bytes is not looked at.
    ///
    /// # Errors
    /// [`PartitionFault`] with the offset of the row.
    pub fn from_binary(bytes: &[u8]) -> Result<PartitionTable, PartitionFault> {
        let mut table = PartitionTable::empty();
        let (rows, _) = bytes
            .get(..MAX_TABLE_LEN)
            .unwrap_or(bytes)
            .as_chunks::<ROW_LEN>();
        let mut md5 = Md5::new();
        for (index, row) in rows.iter().enumerate() {
            let offset = index * ROW_LEN;
            if row.starts_with(&[0xFF; 4]) && table.len > 0 {
                rules::check(table.as_slice(), None)?;
                return Ok(table);
            } else if row.starts_with(&MD5_MAGIC) {
                if table.has_md5 {
                    return Err(PartitionFault::SecondMd5 { offset });
                }
                let computed: [u8; 16] = md5.clone().finalize().into();
                if row.last_chunk() != Some(&computed) {
                    return Err(PartitionFault::Md5 { offset });
                }
                table.has_md5 = true;
            } else if row.starts_with(&ROW_MAGIC) {
                if table.has_md5 {
                    return Err(PartitionFault::BehindMd5 { offset });
                }
                md5.update(row);
                table
                    .push(parse_row(row))
                    .map_err(|TooManyRows| PartitionFault::TooManyRows)?;
            } else {
                return Err(PartitionFault::RowMagic {
                    offset,
                    found: [row[0], row[1]],
                });
            }
        }
        Err(PartitionFault::NoEnd {
            offset: rows.len() * ROW_LEN,
        })
    }

    /// Reads the form that people write; see the module's source for how empty fields are filled.
    ///
    /// # Errors
    /// [`PartitionFault`] with the number of the line, from 1.
    pub fn from_csv(text: &str, table_offset: u32) -> Result<PartitionTable, PartitionFault> {
        Self::from_csv_with(text, table_offset, 0)
    }

    /// The same for a table that has a row for the bootloader, which lies at `bootloader_offset`.
    ///
    /// # Errors
    /// As [`PartitionTable::from_csv`].
    pub fn from_csv_with(
        text: &str,
        table_offset: u32,
        bootloader_offset: u32,
    ) -> Result<PartitionTable, PartitionFault> {
        let table = csv::parse(text, table_offset, bootloader_offset)?;
        rules::check(table.as_slice(), Some(table_offset))?;
        Ok(table)
    }

    /// Refuses a table that reaches beyond a flash of `flash_size` bytes.
    ///
    /// # Errors
    /// [`PartitionFault::BeyondFlash`] with the first partition that does not lie inside.
    pub fn check_flash_size(&self, flash_size: u64) -> Result<(), PartitionFault> {
        let outside = self.as_slice().iter().find(|row| row.end() > flash_size);
        outside.map_or(Ok(()), |row| {
            Err(PartitionFault::BeyondFlash {
                label: row.label,
                end: row.end(),
                flash_size,
            })
        })
    }

    /// What works, but is seldom meant.
    pub fn warnings(&self) -> impl Iterator<Item = PartitionWarning> {
        rules::warnings(self.as_slice())
    }

    /// The OTA slots that the bootloader can use and whether there is a factory application.
    pub fn layout(&self) -> crate::otadata::Layout {
        let count = self.as_slice().iter().filter(|row| row.is_ota_slot());
        crate::otadata::Layout {
            slots: u8::try_from(count.count()).unwrap_or(u8::MAX),
            factory: self.as_slice().iter().any(Partition::is_factory),
        }
    }

    /// The row that a bootloader starts for a slot: of several the last one, as it overwrites what it has read before.
    pub fn row_of(&self, slot: BootSlot) -> Option<&Partition> {
        self.as_slice().iter().rev().find(|row| match slot {
            BootSlot::Factory => row.is_factory(),
            BootSlot::Ota(slot) => row.ota_slot() == Some(slot),
        })
    }

    /// The rows in file order.
    pub fn as_slice(&self) -> &[Partition] {
        self.rows.get(..self.len).unwrap_or_default()
    }

    /// The smallest slot that an update can be written to, `None` if the table has no `ota_N` row.
    pub fn smallest_ota_slot(&self) -> Option<&Partition> {
        self.as_slice()
            .iter()
            .filter(|row| row.is_ota_slot())
            .min_by_key(|row| row.size)
    }

    /// True if the rows were covered by a checksum that held (binary form only).
    pub fn has_md5(&self) -> bool {
        self.has_md5
    }

    fn empty() -> PartitionTable {
        PartitionTable {
            rows: [Partition::default(); MAX_ROWS],
            len: 0,
            has_md5: false,
        }
    }

    fn push(&mut self, row: Partition) -> Result<(), TooManyRows> {
        *self.rows.get_mut(self.len).ok_or(TooManyRows)? = row;
        self.len += 1;
        Ok(())
    }
}

struct TooManyRows;

fn parse_row(row: &[u8; ROW_LEN]) -> Partition {
    let word = |at: usize| {
        row.get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    Partition {
        kind: row[2],
        subtype: row[3],
        offset: word(4),
        size: word(8),
        label: Label(
            row.get(12..)
                .and_then(|rest| rest.first_chunk())
                .copied()
                .unwrap_or_default(),
        ),
        flags: word(28),
    }
}
