//! MCUboot images as imgtool makes them: made encrypted, verified, decrypted.
//!
//! Header of 32 bytes, body, an optional protected TLV area (inside hash and signature), an area of other TLVs. Hash and
//! signature are over the plaintext; the body is encrypted with AES-CTR from counter 0 under a key that serves one image,
//! and which a TLV carries wrapped. (Source: MCUboot `docs/design.md`, `docs/encrypted_images.md`, imgtool 2.5.0.)

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::keys::{BridgeKey, rsa_pkcs1};
use crate::control::{Activity, Control};
use crate::entropy::{Entropy, SystemEntropy};
use crate::source::{Source, length};
use crate::stream::{Stream, Watch};
use crate::{Error, OutputFile};

mod layout;
mod sign;
mod wrap;

pub use layout::ImageFault;
pub use wrap::{Unwrap, Wrap};

use layout::{
    FLAG_AES128, FLAG_AES256, HEADER_LEN, Header, MAGIC, PLAIN_MAGIC, PROTECTED_MAGIC, Parsed,
    TLV_KEY_HASH, TLV_SECURITY_COUNTER, TLV_SHA256, tlv_area,
};
use wrap::counter_mode;

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

impl KeyLen {
    fn bytes(self) -> usize {
        match self {
            KeyLen::Aes128 => 16,
            KeyLen::Aes256 => 32,
        }
    }

    fn flag(self) -> u32 {
        match self {
            KeyLen::Aes128 => FLAG_AES128,
            KeyLen::Aes256 => FLAG_AES256,
        }
    }
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

/// Makes a signed and encrypted image of `payload`, left in `output` for the caller to commit; returns its length, bytes.
///
/// # Errors
/// `Io`, cancelled; refused if signature and wrapping do not go together, or if the payload is an image of MCUboot already.
pub fn encrypt(
    payload: &Source,
    how: &Encrypt<'_>,
    output: &OutputFile,
    control: &Control<'_>,
) -> Result<u64, Error> {
    if payload.head(0, 4)? == MAGIC.to_le_bytes() {
        return Err(Error::refused(
            payload.name(),
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
    let size = u32::try_from(payload.len().next_multiple_of(16))
        .map_err(|_| Error::refused(payload.name(), "is longer than an image can be", ""))?;
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
        flags: how.key_len.flag(),
        version: how.version,
    };
    let mut head = header.to_bytes().to_vec();
    head.resize(usize::from(how.header_len), 0);
    let mut key = Zeroizing::new(vec![0; how.key_len.bytes()]);
    SystemEntropy.fill(&mut key)?;

    let body_at = u64::from(how.header_len);
    let mut hash = Sha256::new_with_prefix(&head);
    output.write_at(&head, 0)?;
    Stream {
        source: payload,
        from: 0,
        len: payload.len(),
        output: Some((output, body_at)),
    }
    .run(
        Watch::Before,
        |offset, block| counter_mode(&key, offset, block),
        |block| hash.update(block),
        (Activity::Sealing, control),
    )?;
    let mut padding = vec![0; length(u64::from(size) - payload.len())];
    hash.update(&padding);
    counter_mode(&key, payload.len(), &mut padding)?;
    output.write_at(&padding, body_at + payload.len())?;
    hash.update(&protected);
    output.write_at(&protected, header.body_end())?;

    let digest: [u8; 32] = hash.finalize().into();
    let area = tlv_area(
        PLAIN_MAGIC,
        &[
            (TLV_SHA256, digest.to_vec()),
            (TLV_KEY_HASH, key_hash(how.signer)?.to_vec()),
            sign::sign(how.signer, &digest)?,
            how.wrap.wrap(&key)?,
        ],
    )?;
    let area_at = header.body_end() + protected.len() as u64;
    output.write_at(&area, area_at)?;
    Ok(area_at + area.len() as u64)
}

/// Checks an image, decrypting it with `key` if it is encrypted, and says what was found. Its body goes to `output`, if there
/// is one, and may be used only if this succeeds.
///
/// # Errors
/// `Io`, cancelled; refused if it is damaged, encrypted for another key, encrypted without a key given, or not signed by
/// `signer`.
pub fn open(
    image: &Source,
    key: Option<&Unwrap>,
    signer: Option<&BridgeKey>,
    output: Option<&OutputFile>,
    control: &Control<'_>,
) -> Result<Verified, Error> {
    let parsed = Parsed::read(image)?.map_err(|fault| {
        Error::refused(
            image.name(),
            fault.to_string(),
            "name an image that imgtool or `airseal bridge mcuboot encrypt` made",
        )
    })?;
    let header = parsed.header;
    let content_key = content_key(image.name(), &parsed, key)?;
    let mut hash = Sha256::new();
    hash.update(image.head(0, usize::from(header.header_len))?);
    Stream {
        source: image,
        from: u64::from(header.header_len),
        len: u64::from(header.size),
        output: output.map(|output| (output, 0)),
    }
    .run(
        Watch::After,
        |offset, block| match &content_key {
            Some(key) => counter_mode(key, offset, block),
            None => Ok(()),
        },
        |block| hash.update(block),
        (
            output.map_or(Activity::Verifying, |_| Activity::Opening),
            control,
        ),
    )?;
    hash.update(&parsed.protected);
    let digest: [u8; 32] = hash.finalize().into();
    if parsed.value(TLV_SHA256) != Some(digest.as_slice()) {
        return Err(Error::refused(
            image.name(),
            "SHA-256 in TLV 0x10 is not that of the image",
            "it is damaged: copy it again",
        ));
    }
    if let Some(signer) = signer {
        sign::verify(image.name(), signer, &digest, &parsed)?;
    }
    Ok(Verified {
        version: header.version,
        size: header.size,
        encrypted: content_key.is_some(),
        signed: signer.is_some(),
        security_counter: parsed
            .value(TLV_SECURITY_COUNTER)
            .and_then(|value| value.try_into().ok())
            .map(u32::from_le_bytes),
    })
}

/// The key that the body is encrypted under; none if it is not encrypted.
fn content_key(
    name: &str,
    parsed: &Parsed,
    key: Option<&Unwrap>,
) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let key_len = match parsed.header.flags & (FLAG_AES128 | FLAG_AES256) {
        0 => return Ok(None),
        FLAG_AES128 => KeyLen::Aes128,
        FLAG_AES256 => KeyLen::Aes256,
        _ => {
            return Err(Error::refused(
                name,
                "flags at offset 16 name two encryptions",
                "make the image again",
            ));
        }
    };
    let unwrap = key.ok_or_else(|| {
        Error::refused(
            name,
            "is encrypted, and hash and signature are over the plaintext",
            "give the key it is encrypted for",
        )
    })?;
    let key = unwrap.unwrap(name, &parsed.tlvs, key_len.bytes())?;
    Ok(Some(key))
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
