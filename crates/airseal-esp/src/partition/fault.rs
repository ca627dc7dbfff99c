//! What is wrong with a partition table.

use core::fmt;

use super::{Field, Label, MAX_ROWS};

/// What is wrong with a partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionFault {
    /// The file is neither binary nor text.
    NotText {
        /// Offset of the first byte that is no UTF-8.
        offset: usize,
    },
    /// A binary row starts with neither `AA 50`, `EB EB` nor `FF FF`.
    RowMagic {
        /// Offset of the row.
        offset: usize,
        /// The two bytes found.
        found: [u8; 2],
    },
    /// The MD5 row does not match the rows before it.
    Md5 {
        /// Offset of the row.
        offset: usize,
    },
    /// A second MD5 row.
    SecondMd5 {
        /// Offset of the row.
        offset: usize,
    },
    /// A row behind the MD5 row, which does not cover it; a bootloader takes the MD5 row for one and never sees this one.
    BehindMd5 {
        /// Offset of the row.
        offset: usize,
    },
    /// A row's name can't stand in a CSV.
    LabelText {
        /// The row's name.
        label: Label,
    },
    /// The table has no rows, or no end marker behind them.
    NoEnd {
        /// Where the end marker was looked for.
        offset: usize,
    },
    /// More rows than a table holds.
    TooManyRows,
    /// A field of a CSV line can't be understood.
    Field {
        /// Line, from 1.
        line: usize,
        /// The field.
        field: Field,
    },
    /// A CSV has no row.
    NoRows,
    /// A row of a CSV ends beyond 4 GiB.
    BeyondAddresses {
        /// Line, from 1.
        line: usize,
    },
    /// A name in a CSV is longer than a row holds.
    LabelTooLong {
        /// Line, from 1.
        line: usize,
        /// Bytes of the name.
        len: usize,
    },
    /// A partition does not lie inside the flash.
    BeyondFlash {
        /// The row's name.
        label: Label,
        /// First byte behind it.
        end: u64,
        /// Bytes of the flash.
        flash_size: u64,
    },
    /// A CSV row begins before the end of the row above.
    Overlap {
        /// Line, from 1.
        line: usize,
        /// Where the row begins.
        offset: u32,
        /// First free byte.
        free: u32,
    },
    /// A row breaks a rule of the bootloader or of Espressif's tool.
    Rule {
        /// The row's name.
        label: Label,
        /// The rule in words.
        rule: &'static str,
    },
}

impl fmt::Display for PartitionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PartitionFault::NotText { offset } => {
                write!(
                    f,
                    "neither a binary partition table nor text: byte at offset {offset} is no UTF-8"
                )
            }
            PartitionFault::RowMagic {
                offset,
                found: [a, b],
            } => {
                write!(
                    f,
                    "row at offset {offset:#x} starts with {a:02X} {b:02X}, expected AA 50, EB EB or FF FF"
                )
            }
            PartitionFault::Md5 { offset } => {
                write!(
                    f,
                    "MD5 at offset {offset:#x} does not match the rows before it: the table is damaged"
                )
            }
            PartitionFault::SecondMd5 { offset } => {
                write!(f, "second MD5 row at offset {offset:#x}")
            }
            PartitionFault::BehindMd5 { offset } => write!(
                f,
                "row at offset {offset:#x} lies behind the MD5, which does not cover it: the MD5 must be the last row"
            ),
            PartitionFault::LabelText { label } => write!(
                f,
                "partition {label}: this name does not come back the same from a CSV; give it letters, digits and _"
            ),
            PartitionFault::NoEnd { offset } => write!(
                f,
                "no end marker (FF FF ...) behind the rows at offset {offset:#x}"
            ),
            PartitionFault::TooManyRows => write!(
                f,
                "too many rows: a table holds {MAX_ROWS}, or one less with a checksum"
            ),
            PartitionFault::Field { line, field } => {
                write!(f, "line {line}: {field}")
            }
            PartitionFault::NoRows => f.write_str("holds no partition: there is no row in it"),
            PartitionFault::BeyondAddresses { line } => {
                write!(f, "line {line}: the partition ends beyond 4 GiB")
            }
            PartitionFault::LabelTooLong { line, len } => write!(
                f,
                "line {line}: the name has {len} bytes, a table holds {}; shorten it",
                Label::MAX_LEN
            ),
            PartitionFault::BeyondFlash {
                label,
                end,
                flash_size,
            } => write!(
                f,
                "partition {label} ends at {end:#x}, beyond the flash of {flash_size:#x} bytes"
            ),
            PartitionFault::Overlap { line, offset, free } => {
                write!(
                    f,
                    "line {line}: offset {offset:#x} lies before the first free byte {free:#x}: rows must ascend and not overlap"
                )
            }
            PartitionFault::Rule { label, rule } => write!(f, "partition {label}: {rule}"),
        }
    }
}

impl core::error::Error for PartitionFault {}
