//! The CSV form: `Name, Type, SubType, Offset, Size, Flags`, one row per line.
//!
//! Empty offsets are filled with the next free address; a negative size means "up to this absolute address"; `K` and `M`
//! multiply. Environment variables are not expanded: a table that needs them is not self-contained.

use super::{
    Column, FLAG_ENCRYPTED, FLAG_READONLY, Field, Label, Partition, PartitionFault, PartitionTable,
    TYPE_APP, TYPE_BOOTLOADER, TYPE_DATA, TYPE_TABLE, names,
};

const SECTOR: u32 = 0x1000;
const APP_ALIGNMENT: u32 = 0x1_0000;

pub(super) fn parse(
    text: &str,
    table_offset: u32,
    bootloader_offset: u32,
) -> Result<PartitionTable, PartitionFault> {
    let mut table = PartitionTable::empty();
    let mut free = table_offset.saturating_add(SECTOR);
    for (index, line) in text.trim_start_matches('\u{FEFF}').lines().enumerate() {
        let line_number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let row = parse_line(line, line_number, (table_offset, bootloader_offset), free)?;
        if row.kind != TYPE_BOOTLOADER && row.kind != TYPE_TABLE {
            if row.offset < free {
                return Err(PartitionFault::Overlap {
                    line: line_number,
                    offset: row.offset,
                    free,
                });
            }
            free = row
                .offset
                .checked_add(row.size)
                .ok_or(PartitionFault::BeyondAddresses { line: line_number })?;
        }
        table.push(row).map_err(|_| PartitionFault::TooManyRows)?;
    }
    if table.as_slice().is_empty() {
        return Err(PartitionFault::NoRows);
    }
    Ok(table)
}

fn parse_line(
    line: &str,
    line_number: usize,
    (table_offset, bootloader_offset): (u32, u32),
    free: u32,
) -> Result<Partition, PartitionFault> {
    let fault = |column, text| PartitionFault::Field {
        line: line_number,
        field: Field::new(column, text),
    };
    let mut fields = line.split(',').map(str::trim);
    let mut next = || fields.next().unwrap_or_default();
    let (name, kind, subtype, offset, size, flags) =
        (next(), next(), next(), next(), next(), next());
    let kind = parse_kind(kind).ok_or_else(|| fault(Column::Type, kind))?;
    let subtype =
        parse_subtype(kind, subtype).ok_or_else(|| fault(Column::SubType { kind }, subtype))?;
    let flags = parse_flags(flags).ok_or_else(|| fault(Column::Flags, flags))?;
    let (offset, size) = match kind {
        TYPE_TABLE => (table_offset, SECTOR),
        TYPE_BOOTLOADER => {
            let offset = parse_number(offset)
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(bootloader_offset);
            (offset, table_offset.saturating_sub(offset))
        }
        _ => {
            let place = if offset.is_empty() {
                let alignment = if kind == TYPE_APP {
                    APP_ALIGNMENT
                } else {
                    SECTOR
                };
                free.checked_next_multiple_of(alignment)
                    .ok_or(PartitionFault::BeyondAddresses { line: line_number })?
            } else {
                parse_number(offset)
                    .and_then(|n| u32::try_from(n).ok())
                    .ok_or_else(|| fault(Column::Offset, offset))?
            };
            let wrong = || fault(Column::Size, size);
            let number = parse_number(size).ok_or_else(wrong)?;
            let len = if number < 0 {
                number
                    .checked_neg()
                    .and_then(|end| end.checked_sub(i64::from(place)))
            } else {
                Some(number)
            };
            let len = len.and_then(|n| u32::try_from(n).ok()).ok_or_else(wrong)?;
            (place, len)
        }
    };
    Ok(Partition {
        kind,
        subtype,
        offset,
        size,
        label: Label::new(name).ok_or(PartitionFault::LabelTooLong {
            line: line_number,
            len: name.len(),
        })?,
        flags,
    })
}

fn parse_kind(text: &str) -> Option<u8> {
    names::kind(text).or_else(|| u8::try_from(parse_number(text)?).ok())
}

fn parse_subtype(kind: u8, text: &str) -> Option<u8> {
    if text.is_empty() {
        return match kind {
            TYPE_DATA => Some(0x06),
            TYPE_APP => None,
            _ => Some(0),
        };
    }
    if let Some(number) = names::subtype(kind, text) {
        return Some(number);
    }
    if kind == TYPE_APP
        && let Some((prefix, number)) = text.split_at_checked(4)
        && prefix.eq_ignore_ascii_case("ota_")
    {
        return digits_only(number)?
            .parse()
            .ok()
            .filter(|n: &u8| *n < 16)
            .map(|n| super::SUBTYPE_OTA_FIRST + n);
    }
    u8::try_from(parse_number(text)?).ok()
}

fn parse_flags(text: &str) -> Option<u32> {
    text.split(':')
        .map(str::trim)
        .filter(|flag| !flag.is_empty())
        .try_fold(0, |flags, flag| match () {
            () if flag.eq_ignore_ascii_case("encrypted") => Some(flags | FLAG_ENCRYPTED),
            () if flag.eq_ignore_ascii_case("readonly") => Some(flags | FLAG_READONLY),
            () => None,
        })
}

/// Decimal, `0x`, `0o` or `0b`, with an optional sign and an optional `K` or `M`.
fn parse_number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let last = digits.bytes().last()?;
    let (digits, factor) = match last {
        b'k' | b'K' => (digits.get(..digits.len() - 1)?, 1 << 10),
        b'm' | b'M' => (digits.get(..digits.len() - 1)?, 1 << 20),
        _ => (digits, 1),
    };
    let radix = |prefix: &str| {
        digits
            .get(..2)
            .filter(|p| p.eq_ignore_ascii_case(prefix))
            .and_then(|_| digits.get(2..))
    };
    let value = if let Some(hex) = radix("0x") {
        u32::from_str_radix(unsigned(hex)?, 16).ok()?
    } else if let Some(octal) = radix("0o") {
        u32::from_str_radix(unsigned(octal)?, 8).ok()?
    } else if let Some(binary) = radix("0b") {
        u32::from_str_radix(unsigned(binary)?, 2).ok()?
    } else {
        digits_only(digits)?.parse::<u32>().ok()?
    };
    let value = i64::from(value).checked_mul(factor)?;
    if negative {
        value.checked_neg()
    } else {
        Some(value)
    }
}

/// Digits as Python's `int` takes them after a prefix: Rust's own parsers take a sign there.
fn unsigned(digits: &str) -> Option<&str> {
    (!digits.starts_with('+')).then_some(digits)
}

/// A decimal number without a sign. With a zero in front it could be meant as octal, so Python takes none.
fn digits_only(digits: &str) -> Option<&str> {
    let all = digits.bytes().all(|digit| digit.is_ascii_digit());
    let zeros = digits.bytes().all(|digit| digit == b'0');
    (all && (zeros || !digits.starts_with('0'))).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, value) in [
            ("0x1000", 4096),
            ("24K", 24576),
            ("1m", 1 << 20),
            ("-0x110000", -0x11_0000),
            ("0b11", 3),
            ("0o17", 15),
            ("+4K", 4096),
            ("0", 0),
        ] {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
        for text in [
            "",
            "K",
            "0x",
            "1G",
            "--1",
            "-+1",
            "010",
            "0x+1",
            "0b+1",
            "99999999999M",
        ] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }
}
