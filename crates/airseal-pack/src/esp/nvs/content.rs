//! Values: what a row means by its encoding.

use airseal_esp::nvs::{BLOB_MAX, Integer};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::rows::{Field, Row, Rows};
use crate::Error;
use crate::source::Source;

/// Longest file with a value, bytes: the longest blob as hex, with a line end.
const MAX_FILE: u64 = 2 * BLOB_MAX as u64 + 2;

/// Python decodes base64 without a look at the bits that are left over.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

const ENCODINGS: &str = "known are u8, i8, u16, i16, u32, i32, u64, i64, string, hex2bin, base64, binary, blob_fill(N;0xNN) and blob_sz_fill(N;0xNN)";

/// A value, ready for the partition. No `Debug`: it may be a secret.
pub(super) enum Content {
    Integer(Integer, i128),
    String(Zeroizing<String>),
    Blob(Zeroizing<Vec<u8>>),
}

impl Content {
    /// The value of a row, read from its file if it names one.
    ///
    /// # Errors
    /// `Io`; refused with the line. The value itself is in no message.
    pub(super) fn of(rows: &Rows, row: &Row, field: &Field) -> Result<Content, Error> {
        let bytes = if field.is_file {
            read_file(rows, row, &field.value)?
        } else {
            Zeroizing::new(field.value.as_bytes().to_vec())
        };
        Self::decode(&field.encoding, bytes).map_err(|fault| {
            let message = format!("{}: {}", row.name, fault.message);
            rows.refused(row.line, message, &fault.remedy)
        })
    }

    fn decode(encoding: &str, bytes: Zeroizing<Vec<u8>>) -> Result<Content, Fault> {
        if let Some(kind) = Integer::from_name(encoding) {
            let value = integer(&bytes).ok_or_else(|| {
                let message = format!("the value is no number, as {encoding} needs it");
                Fault::new(
                    message,
                    "write it in decimal digits, with - in front if need be",
                )
            })?;
            return Ok(Content::Integer(kind, value));
        }
        let blob = match encoding {
            "string" => return text(&bytes).map(Content::String),
            "binary" => bytes,
            "hex2bin" => Zeroizing::new(hex::decode(bytes.trim_ascii()).map_err(hex_fault)?),
            "base64" => base64(&bytes)?,
            _ => match Fill::parse(encoding)? {
                Some(fill) => fill.around(&bytes)?,
                None => return Err(unknown(encoding)),
            },
        };
        Ok(Content::Blob(blob))
    }
}

/// What is wrong with a value, and what to do.
struct Fault {
    message: String,
    remedy: String,
}

impl Fault {
    fn new(message: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

fn read_file(rows: &Rows, row: &Row, name: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let refused = |message: String, remedy: &str| {
        Err(rows.refused(row.line, format!("{}: {message}", row.name), remedy))
    };
    if name.is_empty() {
        return refused("no file is named".to_owned(), "name it in the column value");
    }
    let path = rows.beside(name);
    if !path.exists() {
        return refused(
            format!("there is no file {}", path.display()),
            "its path counts from where the CSV lies, not from where the command runs",
        );
    }
    let source = Source::open(&path)?;
    if source.len() > MAX_FILE {
        let message = format!("{} has {} bytes", path.display(), source.len());
        return refused(message, "a blob may have 508000 bytes, a string 4000");
    }
    Ok(Zeroizing::new(source.head(0, MAX_FILE as usize)?))
}

/// A number as Python reads it: spaces around it, a sign, single underscores between digits.
fn integer(bytes: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let groups = || digits.split('_');
    if groups().any(|group| group.is_empty() || !group.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

fn text(bytes: &[u8]) -> Result<Zeroizing<String>, Fault> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(Fault::new(
            "the value is not UTF-8 text",
            "give it as binary, if the firmware reads a blob",
        ));
    };
    if text.contains('\0') {
        return Err(Fault::new(
            "the text has a NUL, where it would end",
            "give it as binary, if the firmware reads a blob",
        ));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn hex_fault(fault: hex::FromHexError) -> Fault {
    let message = match fault {
        hex::FromHexError::InvalidHexCharacter { index, .. } => {
            format!(
                "the value has something other than a hex digit at place {}",
                index + 1
            )
        }
        _ => "the value has an odd number of hex digits".to_owned(),
    };
    Fault::new(
        message,
        "write two hex digits for each byte, and nothing between them",
    )
}

fn base64(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let lines = bytes.iter().filter(|byte| !byte.is_ascii_whitespace());
    let lines: Zeroizing<Vec<u8>> = Zeroizing::new(lines.copied().collect());
    let blob = BASE64.decode(&*lines).map_err(|_| {
        Fault::new(
            "the value is not base64",
            "write it in the standard alphabet, with = at its end",
        )
    })?;
    Ok(Zeroizing::new(blob))
}

/// `blob_fill(N;0xNN)`: the value, filled up to N bytes. `blob_sz_fill` has its length in front, in four bytes.
struct Fill {
    with_len: bool,
    len: usize,
    byte: u8,
}

impl Fill {
    fn parse(encoding: &str) -> Result<Option<Fill>, Fault> {
        let (with_len, arguments) = if let Some(rest) = encoding.strip_prefix("blob_sz_fill") {
            (true, rest)
        } else if let Some(rest) = encoding.strip_prefix("blob_fill") {
            (false, rest)
        } else {
            return Ok(None);
        };
        let fill = || {
            let (len, byte) = arguments
                .strip_prefix('(')?
                .strip_suffix(')')?
                .split_once(';')?;
            let byte = byte.strip_prefix("0x")?;
            if byte.len() != 2 || !len.bytes().all(|digit| digit.is_ascii_digit()) {
                return None;
            }
            Some(Fill {
                with_len,
                len: len.parse().ok()?,
                byte: u8::from_str_radix(byte, 16).ok()?,
            })
        };
        let remedy = "write blob_fill(N;0xNN): N bytes in all, filled up with NN";
        let fill = fill()
            .ok_or_else(|| Fault::new(format!("encoding {encoding:?} is not complete"), remedy))?;
        if fill.len > BLOB_MAX {
            let message = format!("{} bytes are more than the {BLOB_MAX} of a blob", fill.len);
            return Err(Fault::new(message, "fill up to less"));
        }
        Ok(Some(fill))
    }

    fn around(&self, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let Some(missing) = self.len.checked_sub(value.len()) else {
            let message = format!(
                "the value has {} bytes, more than the {} it is filled up to",
                value.len(),
                self.len
            );
            return Err(Fault::new(message, "fill up to more, or make it shorter"));
        };
        let mut blob = Zeroizing::new(Vec::with_capacity(self.len + 4));
        if self.with_len {
            // No longer than `len`, which is the longest blob at most.
            blob.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        }
        blob.extend_from_slice(value);
        blob.extend(std::iter::repeat_n(self.byte, missing));
        Ok(blob)
    }
}

fn unknown(encoding: &str) -> Fault {
    let longer = ["string", "hex2bin", "base64", "binary"];
    let meant = encoding.trim().to_ascii_lowercase();
    if longer.contains(&meant.as_str()) {
        return Fault::new(
            format!("encoding {encoding:?} is not written as {meant}"),
            format!("write {meant}: other spellings make other bytes in nvs_partition_gen"),
        );
    }
    Fault::new(format!("encoding {encoding:?} is none"), ENCODINGS)
}
