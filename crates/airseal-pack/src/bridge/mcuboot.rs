//! MCUboot images as imgtool makes them: made encrypted, verified, decrypted.
//!
//! Header of 32 bytes, body, an optional protected TLV area (inside hash and signature), an area of other TLVs. Hash and
//! signature are over the plaintext; the body is encrypted with AES-CTR from counter 0 under a key that serves one image,
//! and which a TLV carries wrapped. (Source: MCUboot `docs/design.md`, `docs/encrypted_images.md`, imgtool 2.5.0.)

use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::keys::{BridgeKey, rsa_pkcs1};
use crate::Error;
use crate::entropy::{Entropy, SystemEntropy};
use crate::source::length;

mod sign;
mod wrap;

pub use wrap::{Unwrap, Wrap};

/// Version of an image: major, minor, revision, build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Revision.
    pub revision: u16,
    /// Build number.
    pub build: u32,
}

/// Length of the key for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLen {
    /// AES-128.
    Aes128,
    /// AES-256.
    Aes256,
}

/// What an encrypted image is made of.
pub struct Encrypt<'a> {
    /// Its version.
    pub version: Version,
    /// Length of the header, bytes, at least 32; the rest of it is zero.
    pub header_len: u16,
    /// The security counter, in the protected area.
    pub security_counter: Option<u32>,
    /// Who signs.
    pub signer: &'a BridgeKey,
    /// Who can decrypt.
    pub wrap: &'a Wrap,
    /// Length of the image's key.
    pub key_len: KeyLen,
}

/// What was found in an image.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// Its version.
    pub version: Version,
    /// Length of the body, bytes, with padding.
    pub size: u32,
    /// True if the body came encrypted.
    pub encrypted: bool,
    /// True if a signature was checked.
    pub signed: bool,
    /// The security counter.
    pub security_counter: Option<u32>,
}

/// Makes a signed and encrypted image of `payload`.
///
/// # Errors
/// Refused if signature and wrapping do not go together, or if the payload is an image of MCUboot already.
pub fn encrypt(name: &str, payload: &[u8], how: &Encrypt<'_>) -> Result<Vec<u8>, Error> {
    if payload.starts_with(&MAGIC.to_le_bytes()) {
        return Err(Error::refused(
            name,
            "is an MCUboot image already",
            "give the firmware as the linker left it: signature and encryption are made in one step",
        ));
    }
    how.wrap.check_pair(how.signer)?;
    if how.header_len < HEADER_LEN {
        return Err(Error::usage(
            format!("a header of {} bytes is too short", how.header_len),
            "give at least 32",
        ));
    }
    let padded = payload.len().next_multiple_of(16);
    let size = u32::try_from(padded)
        .map_err(|_| Error::refused(name, "is longer than an image can be", ""))?;
    let protected = match how.security_counter {
        Some(counter) => tlv_area(
            PROTECTED_MAGIC,
            &[(TLV_SECURITY_COUNTER, counter.to_le_bytes().to_vec())],
        )?,
        None => Vec::new(),
    };
    let header = Header {
        header_len: how.header_len,
        protected_len: u16::try_from(protected.len()).unwrap_or(0),
        size,
        flags: match how.key_len {
            KeyLen::Aes128 => FLAG_AES128,
            KeyLen::Aes256 => FLAG_AES256,
        },
        version: how.version,
    };
    let mut image = header.to_bytes().to_vec();
    image.resize(usize::from(how.header_len), 0);
    image.extend_from_slice(payload);
    image.resize(usize::from(how.header_len) + padded, 0);
    let body_end = image.len();
    image.extend_from_slice(&protected);

    let mut key = Zeroizing::new(vec![
        0;
        match how.key_len {
            KeyLen::Aes128 => 16,
            KeyLen::Aes256 => 32,
        }
    ]);
    SystemEntropy.fill(&mut key)?;
    let digest: [u8; 32] = Sha256::digest(&image).into();
    let signature = sign::sign(how.signer, &image, &digest)?;
    let (wrap_type, wrapped) = how.wrap.wrap(&key)?;
    let area = tlv_area(
        PLAIN_MAGIC,
        &[
            (TLV_SHA256, digest.to_vec()),
            (TLV_KEY_HASH, key_hash(how.signer)?.to_vec()),
            signature,
            (wrap_type, wrapped),
        ],
    )?;
    let body = image.get_mut(usize::from(how.header_len)..body_end);
    wrap::counter_mode(&key, body.unwrap_or_default())?;
    image.extend_from_slice(&area);
    Ok(image)
}

/// Checks an image, decrypting it with `key` if it is encrypted, and gives its body with what was found.
///
/// # Errors
/// Refused if it is damaged, encrypted for another key, encrypted without a key given, or not signed by `signer`.
pub fn open(
    name: &str,
    image: &[u8],
    key: Option<&Unwrap>,
    signer: Option<&BridgeKey>,
) -> Result<(Vec<u8>, Verified), Error> {
    let parsed = Parsed::parse(image).map_err(|fault| {
        Error::refused(
            name,
            fault.to_string(),
            "name an image that imgtool or `airseal bridge mcuboot encrypt` made",
        )
    })?;
    let signed_len = parsed.body.end.saturating_add(parsed.protected_len);
    let mut plain = image.get(..signed_len).unwrap_or_default().to_vec();
    let key_len = match parsed.header.flags & (FLAG_AES128 | FLAG_AES256) {
        0 => None,
        FLAG_AES128 => Some(16),
        FLAG_AES256 => Some(32),
        _ => {
            return Err(Error::refused(
                name,
                "flags at offset 16 name two encryptions",
                "make the image again",
            ));
        }
    };
    if let Some(key_len) = key_len {
        let unwrap = key.ok_or_else(|| {
            Error::refused(
                name,
                "is encrypted, and hash and signature are over the plaintext",
                "give the key it is encrypted for",
            )
        })?;
        let content = unwrap.unwrap(name, &parsed.tlvs, key_len)?;
        let body = plain.get_mut(parsed.body.clone());
        wrap::counter_mode(&content, body.unwrap_or_default())?;
    }
    let digest: [u8; 32] = Sha256::digest(&plain).into();
    if parsed.value(TLV_SHA256) != Some(digest.as_slice()) {
        return Err(Error::refused(
            name,
            "SHA-256 in TLV 0x10 is not that of the image",
            "it is damaged: copy it again",
        ));
    }
    if let Some(signer) = signer {
        sign::verify(name, signer, &plain, &digest, &parsed)?;
    }
    let body = plain.get(parsed.body.clone()).unwrap_or_default().to_vec();
    Ok((
        body,
        Verified {
            version: parsed.header.version,
            size: parsed.header.size,
            encrypted: key_len.is_some(),
            signed: signer.is_some(),
            security_counter: parsed
                .value(TLV_SECURITY_COUNTER)
                .and_then(|value| value.try_into().ok())
                .map(u32::from_le_bytes),
        },
    ))
}

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
        offset: usize,
    },
    /// A TLV area without its magic or with a length that does not fit its entries.
    Tlv {
        /// Where, bytes.
        offset: usize,
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

#[derive(Clone, Copy)]
struct Header {
    header_len: u16,
    protected_len: u16,
    size: u32,
    flags: u32,
    version: Version,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_LEN as usize] {
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
}

struct Parsed<'a> {
    header: Header,
    body: std::ops::Range<usize>,
    protected_len: usize,
    tlvs: Vec<(u16, &'a [u8])>,
}

impl<'a> Parsed<'a> {
    fn parse(image: &'a [u8]) -> Result<Parsed<'a>, ImageFault> {
        let header_short = ImageFault::Short {
            part: "header",
            offset: 0,
        };
        if u32_at(image, 0).ok_or(header_short)? != MAGIC {
            return Err(ImageFault::Magic);
        }
        let fields = || {
            Some(Header {
                header_len: u16_at(image, 8)?,
                protected_len: u16_at(image, 10)?,
                size: u32_at(image, 12)?,
                flags: u32_at(image, 16)?,
                version: Version {
                    major: *image.get(20)?,
                    minor: *image.get(21)?,
                    revision: u16_at(image, 22)?,
                    build: u32_at(image, 24)?,
                },
            })
        };
        let header = fields().ok_or(header_short)?;
        let start = usize::from(header.header_len);
        let end = start.saturating_add(length(header.size));
        if header.header_len < HEADER_LEN || end > image.len() {
            return Err(ImageFault::Short {
                part: "body",
                offset: start,
            });
        }
        let mut tlvs = Vec::new();
        let mut at = end;
        if header.protected_len > 0 {
            let len = tlv_entries(image, at, PROTECTED_MAGIC, &mut tlvs)?;
            if len != usize::from(header.protected_len) {
                return Err(ImageFault::Tlv { offset: at });
            }
            at += len;
        }
        tlv_entries(image, at, PLAIN_MAGIC, &mut tlvs)?;
        Ok(Parsed {
            header,
            body: start..end,
            protected_len: usize::from(header.protected_len),
            tlvs,
        })
    }

    fn value(&self, kind: u16) -> Option<&'a [u8]> {
        let found = self.tlvs.iter().find(|(found, _)| *found == kind);
        found.map(|(_, value)| *value)
    }
}

fn tlv_entries<'a>(
    image: &'a [u8],
    offset: usize,
    magic: u16,
    tlvs: &mut Vec<(u16, &'a [u8])>,
) -> Result<usize, ImageFault> {
    let fault = ImageFault::Tlv { offset };
    if u16_at(image, offset) != Some(magic) {
        return Err(fault);
    }
    let len = usize::from(u16_at(image, offset.saturating_add(2)).ok_or(fault)?);
    let end = offset.saturating_add(len);
    let area = image.get(..end).ok_or(ImageFault::Short {
        part: "TLV area",
        offset,
    })?;
    let mut at = offset + 4;
    while at < end {
        let kind = u16_at(area, at).ok_or(fault)?;
        let len = usize::from(u16_at(area, at + 2).ok_or(fault)?);
        let value = area.get(at + 4..at + 4 + len).ok_or(fault)?;
        tlvs.push((kind, value));
        at += 4 + len;
    }
    if at != end {
        return Err(fault);
    }
    Ok(len)
}

fn tlv_area(magic: u16, entries: &[(u16, Vec<u8>)]) -> Result<Vec<u8>, Error> {
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

fn key_hash(key: &BridgeKey) -> Result<[u8; 32], Error> {
    let der = key.public_der()?;
    Ok(match key {
        BridgeKey::RsaPrivate(_) | BridgeKey::RsaPublic(_) => {
            Sha256::digest(rsa_pkcs1(&der).unwrap_or_default())
        }
        _ => Sha256::digest(&der),
    }
    .into())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let part = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*part))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*part))
}

const MAGIC: u32 = 0x96f3_b83d;
const HEADER_LEN: u16 = 32;
const FLAG_AES128: u32 = 4;
const FLAG_AES256: u32 = 8;
const PROTECTED_MAGIC: u16 = 0x6908;
const PLAIN_MAGIC: u16 = 0x6907;
const TLV_KEY_HASH: u16 = 0x01;
const TLV_SHA256: u16 = 0x10;
const TLV_RSA2048: u16 = 0x20;
const TLV_ECDSA: u16 = 0x22;
const TLV_ED25519: u16 = 0x24;
const TLV_WRAP_RSA: u16 = 0x30;
const TLV_WRAP_AES: u16 = 0x31;
const TLV_WRAP_P256: u16 = 0x32;
const TLV_WRAP_X25519: u16 = 0x33;
const TLV_WRAP_X25519_SHA512: u16 = 0x34;
const TLV_SECURITY_COUNTER: u16 = 0x50;
