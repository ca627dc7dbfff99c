//! A field of a CSV that can't be understood, as messages show it.

use core::fmt;

use super::names;

/// A column of a CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The type.
    Type,
    /// The subtype.
    SubType {
        /// The number of the type before it.
        kind: u8,
    },
    /// Where the partition lies.
    Offset,
    /// Its length.
    Size,
    /// Its flags.
    Flags,
}

/// A field, of which the first bytes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    column: Column,
    start: [u8; Field::SHOWN],
    len: usize,
}

impl Field {
    /// Bytes that are shown of a longer one.
    const SHOWN: usize = 24;

    pub(super) fn new(column: Column, text: &str) -> Field {
        let mut start = [0; Field::SHOWN];
        for (to, from) in start.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Field {
            column,
            start,
            len: text.len(),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.column)?;
        if self.len == 0 {
            f.write_str("is empty")?;
        } else {
            let shown = self.start.get(..self.len).unwrap_or(&self.start);
            let more = if self.len > Field::SHOWN { "..." } else { "" };
            write!(f, "\"{}{more}\" can't be understood", shown.escape_ascii())?;
        }
        if self.start.first() == Some(&b'$') {
            return f.write_str(": variables are not expanded, write the number");
        }
        match self.column {
            Column::Type if self.len == 0 => f.write_str(
                "; a row is Name,Type,SubType,Offset,Size,Flags, with commas between them",
            ),
            Column::Type => one_of(f, names::kinds()),
            Column::SubType { kind } => one_of(f, names::subtypes(kind)),
            Column::Offset | Column::Size => f.write_str("; a number is 4096, 0x1000, 24K or 1M"),
            Column::Flags => f.write_str("; known are encrypted and readonly, with : between them"),
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Column::Type => "Type",
            Column::SubType { .. } => "SubType",
            Column::Offset => "Offset",
            Column::Size => "Size",
            Column::Flags => "Flags",
        })
    }
}

fn one_of(f: &mut fmt::Formatter<'_>, names: impl Iterator<Item = &'static str>) -> fmt::Result {
    f.write_str("; known are ")?;
    for name in names {
        write!(f, "{name}, ")?;
    }
    f.write_str("and numbers")
}
