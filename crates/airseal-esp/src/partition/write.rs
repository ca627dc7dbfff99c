//! A table in the bytes that lie in flash, and in the text that people edit; both as Espressif's tool writes them.

use core::fmt;

use md5::{Digest, Md5};

use super::{
    FLAG_ENCRYPTED, FLAG_READONLY, MAX_TABLE_LEN, MD5_MAGIC, Partition, PartitionFault,
    PartitionTable, ROW_LEN, ROW_MAGIC, names,
};

impl PartitionTable {
    /// The binary form, 0xC00 bytes, with a row for the MD5 of the rows or without.
    ///
    /// # Errors
    /// [`PartitionFault::TooManyRows`] if the rows leave no room for the end marker.
    pub fn to_binary(&self, with_md5: bool) -> Result<[u8; MAX_TABLE_LEN], PartitionFault> {
        let needed = self.as_slice().len() + usize::from(with_md5);
        let mut bytes = [0xFF; MAX_TABLE_LEN];
        let (places, _) = bytes.as_chunks_mut::<ROW_LEN>();
        if needed >= places.len() {
            return Err(PartitionFault::TooManyRows);
        }
        let mut places = places.iter_mut();
        let mut md5 = Md5::new();
        for (row, place) in self.as_slice().iter().zip(&mut places) {
            *place = row_bytes(row);
            md5.update(*place);
        }
        if let (true, Some(place)) = (with_md5, places.next()) {
            let sum: [u8; 16] = md5.finalize().into();
            place[..2].copy_from_slice(&MD5_MAGIC);
            place[16..].copy_from_slice(&sum);
        }
        Ok(bytes)
    }

    /// The CSV form, to be written with `{}`.
    ///
    /// # Errors
    /// [`PartitionFault::LabelText`] for a name that would read as something else: a table comes from a flash that anybody
    /// may have written, and a comma in a name moves the columns.
    pub fn csv(&self) -> Result<Csv<'_>, PartitionFault> {
        let mut labels = self.as_slice().iter().map(|row| row.label);
        match labels.find(|label| label.as_field().is_none()) {
            Some(label) => Err(PartitionFault::LabelText { label }),
            None => Ok(Csv { table: self }),
        }
    }
}

/// A table as CSV.
#[derive(Clone, Copy, Debug)]
pub struct Csv<'t> {
    table: &'t PartitionTable,
}

impl fmt::Display for Csv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# ESP-IDF Partition Table\n# Name, Type, SubType, Offset, Size, Flags\n")?;
        for row in self.table.as_slice() {
            write!(f, "{},", row.label.as_field().unwrap_or_default())?;
            match row.kind_name() {
                Some(name) => write!(f, "{name},")?,
                None => write!(f, "{},", row.kind)?,
            }
            row.fmt_subtype(f)?;
            write!(f, ",{:#x},", row.offset)?;
            match row.size {
                size if size.is_multiple_of(1 << 20) => write!(f, "{}M,", size >> 20)?,
                size if size.is_multiple_of(1 << 10) => write!(f, "{}K,", size >> 10)?,
                size => write!(f, "{size:#x},")?,
            }
            row.fmt_flags(f)?;
            f.write_str("\n")?;
        }
        Ok(())
    }
}

impl Partition {
    /// Writes the name of the subtype, or its number.
    ///
    /// # Errors
    /// Those of the formatter.
    pub fn fmt_subtype(&self, f: &mut impl fmt::Write) -> fmt::Result {
        match (self.ota_slot(), names::of_subtype(self.kind, self.subtype)) {
            (Some(slot), _) => write!(f, "ota_{slot}"),
            (None, Some(name)) => f.write_str(name),
            (None, None) => write!(f, "{}", self.subtype),
        }
    }

    /// Writes the names of the flags, with colons between.
    ///
    /// # Errors
    /// Those of the formatter.
    pub fn fmt_flags(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let encrypted = self.flags & FLAG_ENCRYPTED != 0;
        let readonly = self.flags & FLAG_READONLY != 0;
        f.write_str(match (encrypted, readonly) {
            (true, true) => "encrypted:readonly",
            (true, false) => "encrypted",
            (false, true) => "readonly",
            (false, false) => "",
        })
    }
}

fn row_bytes(row: &Partition) -> [u8; ROW_LEN] {
    let mut bytes = [0; ROW_LEN];
    bytes[..2].copy_from_slice(&ROW_MAGIC);
    bytes[2] = row.kind;
    bytes[3] = row.subtype;
    bytes[4..8].copy_from_slice(&row.offset.to_le_bytes());
    bytes[8..12].copy_from_slice(&row.size.to_le_bytes());
    bytes[12..28].copy_from_slice(&row.label.0);
    bytes[28..].copy_from_slice(&row.flags.to_le_bytes());
    bytes
}
