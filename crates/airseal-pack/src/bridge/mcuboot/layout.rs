//! Header and TLV areas of an image. (Source: MCUboot `docs/design.md`, imgtool 2.5.0.)

use std::fmt;

use super::Version;
use crate::Error;
use crate::source::Source;

/// Why bytes are no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFault {
    /// Other bytes at offset 0.
    Magic,
    /// A part reaches beyond the end.
    Short {
        /// Which.
        part: &'static str,
        /// Where it begins, bytes.
        offset: u64,
    },
    /// A TLV area without its magic or with a length that does not fit its entries.
    Tlv {
        /// Where, bytes.
        offset: u64,
    },
}

impl fmt::Display for ImageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageFault::Magic => write!(f, "has no magic of MCUboot at offset 0"),
            ImageFault::Short { part, offset } => {
                write!(f, "{part} at offset {offset} reaches beyond the end")
            }
            ImageFault::Tlv { offset } => write!(f, "the TLV area at offset {offset} is damaged"),
        }
    }
}

/// The first 32 bytes of an image.
#[derive(Clone, Copy)]
pub(super) struct Header {
    /// Where the body begins.
    pub(super) header_len: u16,
    /// Bytes of the protected TLV area, 0 without one.
    pub(super) protected_len: u16,
    /// Bytes of the body.
    pub(super) size: u32,
    pub(super) flags: u32,
    pub(super) version: Version,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN as usize] {
        let mut bytes = [0; HEADER_LEN as usize];
        let parts: [&[u8]; 10] = [
            &MAGIC.to_le_bytes(),
            &[0; 4],
            &self.header_len.to_le_bytes(),
            &self.protected_len.to_le_bytes(),
            &self.size.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &[self.version.major, self.version.minor],
            &self.version.revision.to_le_bytes(),
            &self.version.build.to_le_bytes(),
            &[0; 4],
        ];
        let source = parts.into_iter().flatten();
        bytes
            .iter_mut()
            .zip(source)
            .for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Reads it, of an image of `len` bytes.
    fn from_bytes(bytes: &[u8], len: u64) -> Result<Header, ImageFault> {
        let short = ImageFault::Short {
            part: "header",
            offset: 0,
        };
        if u32_at(bytes, 0).ok_or(short)? != MAGIC {
            return Err(ImageFault::Magic);
        }
        let fields = || {
            Some(Header {
                header_len: u16_at(bytes, 8)?,
                protected_len: u16_at(bytes, 10)?,
                size: u32_at(bytes, 12)?,
                flags: u32_at(bytes, 16)?,
                version: Version {
                    major: *bytes.get(20)?,
                    minor: *bytes.get(21)?,
                    revision: u16_at(bytes, 22)?,
                    build: u32_at(bytes, 24)?,
                },
            })
        };
        let header = fields().ok_or(short)?;
        if header.header_len < HEADER_LEN || header.body_end() > len {
            return Err(ImageFault::Short {
                part: "body",
                offset: u64::from(header.header_len),
            });
        }
        Ok(header)
    }

    /// Where the body ends and the TLVs begin.
    pub(super) fn body_end(self) -> u64 {
        u64::from(self.header_len) + u64::from(self.size)
    }
}

/// An image but for its body.
pub(super) struct Parsed {
    pub(super) header: Header,
    /// The protected TLV area as it is hashed.
    pub(super) protected: Vec<u8>,
    pub(super) tlvs: Vec<(u16, Vec<u8>)>,
}

impl Parsed {
    /// Reads header and TLVs. The inner error says why it is no image.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn read(source: &Source) -> Result<Result<Parsed, ImageFault>, Error> {
        let head = source.head(0, usize::from(HEADER_LEN))?;
        let header = match Header::from_bytes(&head, source.len()) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        let areas = source.head(header.body_end(), 2 * usize::from(u16::MAX))?;
        Ok(Parsed::parse(header, &areas))
    }

    /// `areas` begins behind the body.
    fn parse(header: Header, areas: &[u8]) -> Result<Parsed, ImageFault> {
        let base = header.body_end();
        let mut tlvs = Vec::new();
        let mut protected_len = 0;
        if header.protected_len > 0 {
            protected_len = tlv_entries(areas, (base, 0), PROTECTED_MAGIC, &mut tlvs)?;
            if protected_len != usize::from(header.protected_len) {
                return Err(ImageFault::Tlv { offset: base });
            }
        }
        tlv_entries(areas, (base, protected_len), PLAIN_MAGIC, &mut tlvs)?;
        Ok(Parsed {
            header,
            protected: areas.get(..protected_len).unwrap_or_default().to_vec(),
            tlvs,
        })
    }

    pub(super) fn value(&self, kind: u16) -> Option<&[u8]> {
        let found = self.tlvs.iter().find(|(found, _)| *found == kind);
        found.map(|(_, value)| value.as_slice())
    }
}

/// Adds the entries of the area at `start` of `areas`, which lie at `base` of the image; returns the area's length.
fn tlv_entries(
    areas: &[u8],
    (base, start): (u64, usize),
    magic: u16,
    tlvs: &mut Vec<(u16, Vec<u8>)>,
) -> Result<usize, ImageFault> {
    let offset = base + start as u64;
    let fault = ImageFault::Tlv { offset };
    if u16_at(areas, start) != Some(magic) {
        return Err(fault);
    }
    let len = usize::from(u16_at(areas, start + 2).ok_or(fault)?);
    let end = start + len;
    let area = areas.get(..end).ok_or(ImageFault::Short {
        part: "TLV area",
        offset,
    })?;
    let mut at = start + 4;
    while at < end {
        let kind = u16_at(area, at).ok_or(fault)?;
        let len = usize::from(u16_at(area, at + 2).ok_or(fault)?);
        let value = area.get(at + 4..at + 4 + len).ok_or(fault)?;
        tlvs.push((kind, value.to_vec()));
        at += 4 + len;
    }
    if at != end {
        return Err(fault);
    }
    Ok(len)
}

/// An area of TLVs.
///
/// # Errors
/// Refused if it is longer than its length field can say.
pub(super) fn tlv_area(magic: u16, entries: &[(u16, Vec<u8>)]) -> Result<Vec<u8>, Error> {
    let too_long = |_| Error::refused("TLV area", "is too long", "");
    let len = 4 + entries
        .iter()
        .map(|(_, value)| 4 + value.len())
        .sum::<usize>();
    let mut area = magic.to_le_bytes().to_vec();
    area.extend_from_slice(&u16::try_from(len).map_err(too_long)?.to_le_bytes());
    for (kind, value) in entries {
        area.extend_from_slice(&kind.to_le_bytes());
        let len = u16::try_from(value.len()).map_err(too_long)?;
        area.extend_from_slice(&len.to_le_bytes());
        area.extend_from_slice(value);
    }
    Ok(area)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let part = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*part))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*part))
}

pub(super) const MAGIC: u32 = 0x96f3_b83d;
pub(super) const HEADER_LEN: u16 = 32;
pub(super) const FLAG_AES128: u32 = 4;
pub(super) const FLAG_AES256: u32 = 8;
pub(super) const PROTECTED_MAGIC: u16 = 0x6908;
pub(super) const PLAIN_MAGIC: u16 = 0x6907;
pub(super) const TLV_KEY_HASH: u16 = 0x01;
pub(super) const TLV_SHA256: u16 = 0x10;
pub(super) const TLV_RSA2048: u16 = 0x20;
pub(super) const TLV_ECDSA: u16 = 0x22;
pub(super) const TLV_ED25519: u16 = 0x24;
pub(super) const TLV_WRAP_RSA: u16 = 0x30;
pub(super) const TLV_WRAP_AES: u16 = 0x31;
pub(super) const TLV_WRAP_P256: u16 = 0x32;
pub(super) const TLV_WRAP_X25519: u16 = 0x33;
pub(super) const TLV_WRAP_X25519_SHA512: u16 = 0x34;
pub(super) const TLV_SECURITY_COUNTER: u16 = 0x50;
