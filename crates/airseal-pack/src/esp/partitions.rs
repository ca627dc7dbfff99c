//! Partition tables from and to files.

use std::path::Path;

use airseal_esp::Chip;
use airseal_esp::partition::{Partition, PartitionTable};
use serde::Serialize;

use crate::Error;
use crate::recognise::{FileKind, HEAD_LEN, recognise};
use crate::source::Source;

/// Largest file that is read as a table.
pub(crate) const MAX_TABLE_FILE: u64 = 1 << 20;

/// Where a table belongs.
#[derive(Clone, Copy, Debug)]
pub struct TablePlace {
    /// Its offset in flash, in bytes.
    pub offset: u32,
    /// Bytes of the flash, if it is to be checked against them.
    pub flash_size: Option<u64>,
    /// The chip, which says where a bootloader row lies.
    pub chip: Option<Chip>,
}

/// A row as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct RowInfo {
    /// The name.
    pub label: String,
    /// The type's number.
    #[serde(rename = "type")]
    pub kind: u8,
    /// The type in words, or its number.
    pub type_name: String,
    /// The subtype's number.
    pub subtype: u8,
    /// The subtype in words, or its number.
    pub subtype_name: String,
    /// Start in flash.
    pub offset: u32,
    /// Length in bytes.
    pub size: u32,
    /// The flags' number.
    pub flags: u32,
    /// The flags in words.
    pub flag_names: String,
    /// True if flash encryption covers it.
    pub encrypted: bool,
}

/// Reads a table in either form, and says what is unusual about it.
///
/// # Errors
/// `Io`; refused if the file is something else (named), breaks a rule or leaves the flash.
pub fn read(path: &Path, place: TablePlace) -> Result<(PartitionTable, Vec<String>), Error> {
    read_from(&Source::open(path)?, place)
}

/// The same for a file that is open already.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_from(
    source: &Source,
    place: TablePlace,
) -> Result<(PartitionTable, Vec<String>), Error> {
    let name = source.name().to_owned();
    let head = source.head(0, HEAD_LEN)?;
    match recognise(&head) {
        None | Some(FileKind::PartitionTable) => {}
        Some(kind) => {
            return Err(Error::refused(
                name,
                format!("is {kind}, not a partition table"),
                "name the table as CSV or binary; airseal esp info tells what a file is",
            ));
        }
    }
    if source.len() > MAX_TABLE_FILE {
        return Err(Error::refused(
            name,
            "is too large for a partition table",
            "cut the table out of a flash dump first: 0xC00 bytes from its offset",
        ));
    }
    let bytes = source.head(0, MAX_TABLE_FILE as usize)?;
    let refuse = |fault| Error::Partitions {
        file: name.clone(),
        source: fault,
    };
    let binary = bytes.starts_with(&[0xAA, 0x50]);
    let table = match std::str::from_utf8(&bytes) {
        Ok(text) if !binary => {
            let bootloader = place.chip.map_or(0, Chip::bootloader_offset);
            PartitionTable::from_csv_with(text, place.offset, bootloader)
        }
        _ => PartitionTable::parse(&bytes, place.offset),
    }
    .map_err(refuse)?;
    if let Some(flash_size) = place.flash_size {
        table.check_flash_size(flash_size).map_err(refuse)?;
    }
    let mut warnings = warnings(&table);
    if binary && !table.has_md5() {
        warnings.insert(0, NO_MD5.to_owned());
    }
    Ok((table, warnings))
}

/// The slots that updates are written to, `ota_0` first.
pub fn ota_slots(table: &PartitionTable) -> Vec<&Partition> {
    let rows = table.as_slice().iter();
    let mut slots: Vec<&Partition> = rows.filter(|row| row.is_ota_slot()).collect();
    slots.sort_by_key(|row| row.ota_slot());
    slots
}

/// The rows as they are shown.
pub fn rows(table: &PartitionTable) -> Vec<RowInfo> {
    let rows = table.as_slice().iter();
    rows.map(|row| {
        let mut subtype_name = String::new();
        let mut flag_names = String::new();
        let _ = row.fmt_subtype(&mut subtype_name);
        let _ = row.fmt_flags(&mut flag_names);
        RowInfo {
            label: row.label.to_string(),
            kind: row.kind,
            type_name: row
                .kind_name()
                .map_or_else(|| row.kind.to_string(), str::to_owned),
            subtype: row.subtype,
            subtype_name,
            offset: row.offset,
            size: row.size,
            flags: row.flags,
            flag_names,
            encrypted: row.is_encrypted(),
        }
    })
    .collect()
}

/// What is unusual about a table, in words.
pub fn warnings(table: &PartitionTable) -> Vec<String> {
    table
        .warnings()
        .map(|warning| warning.to_string())
        .collect()
}

pub(crate) const NO_MD5: &str =
    "the table has no checksum: chips accept it, and damage to it goes unnoticed";
