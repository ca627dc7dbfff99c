//! NVS partitions from CSV and to CSV, as `nvs_partition_gen` makes them (ESP-IDF
//! `docs/en/api-reference/storage/nvs_partition_gen.rst`).

use std::path::{Path, PathBuf};

use airseal_esp::nvs::{NvsKey, PAGE_LEN, Value, Version, WRITABLE_LEN, WriteFault, Writer};
use serde::Serialize;

use crate::Error;
use content::Content;
use rows::{Action, Rows};

mod content;
mod dump;
mod keys;
mod rows;
mod scan;
mod table;
mod wifi;

pub use dump::{Dump, Refused, parse_partition, to_csv};
pub(crate) use dump::{NvsContents, contents};
pub use keys::{derive_keys, make_keys, read_hmac_keys, read_keys};
pub use scan::{NvsInfo, describe};
pub(crate) use scan::{describe_file, looks_like_nvs};

/// Largest partition that is made or read, bytes: the largest flash.
pub const MAX_PARTITION: u32 = 128 << 20;

/// What a partition is made with.
pub struct Layout<'k> {
    /// Its size in bytes.
    pub size: u32,
    /// Its format.
    pub version: Version,
    /// The keys it is encrypted with.
    pub key: Option<&'k NvsKey>,
    /// True to add the rows that `nvs_partition_gen` adds to keys of the Wi-Fi driver. A CSV that was read back from a
    /// partition without them makes the same partition only with false.
    pub wifi_rows: bool,
}

/// A partition.
pub struct Made {
    /// The bytes for the flash.
    pub bytes: Vec<u8>,
    /// What is in it.
    pub contents: Contents,
    /// What works, but is seldom meant.
    pub warnings: Vec<String>,
    /// What was done besides.
    pub notes: Vec<String>,
}

/// What is in a partition.
#[derive(Clone, Debug, Serialize)]
pub struct Contents {
    /// Bytes of the file.
    pub len: usize,
    /// Format, 1 or 2.
    pub version: u8,
    /// True if it is encrypted.
    pub encrypted: bool,
    /// Namespaces.
    pub namespaces: usize,
    /// Keys with their values.
    pub pairs: usize,
    /// Pages in use.
    pub pages: usize,
    /// Pages that could be.
    pub usable_pages: usize,
}

/// Makes a partition from a CSV. Files that it names lie where the CSV lies, unless their path is absolute.
///
/// # Errors
/// `Io`; refused with the line of the CSV, if a row can't be taken or there is no room.
pub fn to_bin(path: &Path, layout: &Layout<'_>) -> Result<Made, Error> {
    make(Rows::read(path)?, layout)
}

/// The same from the text of a CSV; `name` is for messages, `folder` where the files lie that it names.
///
/// # Errors
/// As [`to_bin`].
pub fn parse_csv(
    name: &str,
    folder: PathBuf,
    text: &str,
    layout: &Layout<'_>,
) -> Result<Made, Error> {
    make(Rows::parse(name, folder, text)?, layout)
}

fn make(rows: Rows, layout: &Layout<'_>) -> Result<Made, Error> {
    check_size(layout.size)?;
    let (rows, notes) = match layout.wifi_rows {
        true => wifi::add(rows)?,
        false => (rows, Vec::new()),
    };
    let mut bytes = vec![0; layout.size as usize];
    let mut writer = Writer::new(&mut bytes, layout.version, layout.key).map_err(|fault| {
        Error::refused(
            "--size",
            fault.to_string(),
            "give the partition's size as the partition table has it",
        )
    })?;
    let mut namespace = 0;
    let (mut namespaces, mut pairs) = (0, 0);
    for row in &rows.rows {
        let done = match &row.action {
            Action::Namespace => {
                namespaces += 1;
                writer.namespace(row.name).map(|index| namespace = index)
            }
            Action::Pair(field) => {
                let content = Content::of(&rows, row, field)?;
                pairs += 1;
                let value = match &content {
                    Content::Integer(kind, value) => Value::Integer(*kind, *value),
                    Content::String(text) => Value::String(text),
                    Content::Blob(bytes) => Value::Blob(bytes),
                };
                writer.put(namespace, row.name, value)
            }
        };
        done.map_err(|fault| {
            let message = format!("{}: {fault}", row.name);
            rows.refused(row.line, message, remedy(fault, layout))
        })?;
    }
    let written = writer.finish();
    bytes.truncate(written.len);
    let mut warnings = rows.warnings;
    if bytes.len() < WRITABLE_LEN {
        warnings.push(
            "a partition below 0x3000 bytes can only be read: its row in the partition table needs the flag readonly"
                .to_owned(),
        );
    }
    let contents = Contents {
        len: bytes.len(),
        version: layout.version.number(),
        encrypted: layout.key.is_some(),
        namespaces,
        pairs,
        pages: written.pages,
        usable_pages: written.usable,
    };
    Ok(Made {
        bytes,
        contents,
        warnings,
        notes,
    })
}

fn check_size(size: u32) -> Result<(), Error> {
    let message = if size == 0 || !size.is_multiple_of(PAGE_LEN as u32) {
        format!("{size:#x} is not a multiple of 0x1000")
    } else if size > MAX_PARTITION {
        format!("{size:#x} is more than {MAX_PARTITION:#x}")
    } else {
        return Ok(());
    };
    Err(Error::refused(
        "--size",
        message,
        "give the partition's size as the partition table has it: 0x3000 and more, or 0x1000 and 0x2000 for one that is only read",
    ))
}

fn remedy(fault: WriteFault, layout: &Layout<'_>) -> &'static str {
    match fault {
        WriteFault::NoRoom if (layout.size as usize) < WRITABLE_LEN => {
            "make the partition larger, in the partition table too"
        }
        WriteFault::NoRoom => {
            "make the partition larger, in the partition table too; one of its pages stays in reserve"
        }
        WriteFault::TooLong { .. } if layout.version == Version::One => {
            "make it shorter; blobs may be longer with --version 2"
        }
        WriteFault::TooLong { .. } => {
            "make it shorter; a blob may have 508000 bytes, a string 4000"
        }
        WriteFault::Range { .. } => "give a type that has this value",
        WriteFault::Namespaces => "use fewer namespaces",
    }
}
