//! The layer that many fleets made for themselves: AES-256-CBC with PKCS#7 padding under one shared key, a random
//! initialisation vector in front, and where there is one an ECDSA P-256 signature (SHA-256) over everything else.
//!
//! What it can't do stands in `docs/ways/S7-own-aes-cbc-layer.md`.

use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::{FixedLength, IV_LEN_128_BIT};
use p256::ecdsa::Signature;
use p256::ecdsa::signature::{Signer, Verifier};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::Error;
use crate::bridge::keys::{BridgeKey, read_small};

/// Length of an AES-256 key, bytes.
pub const KEY_LEN: usize = 32;
/// Length of a signature, bytes: r and s, big-endian.
pub const SIGNATURE_LEN: usize = 64;

const IV_LEN: usize = IV_LEN_128_BIT;
const BLOCK: usize = 16;
/// More fields than any layout in the field has.
const MAX_FIELDS: usize = 16;

/// One field of a container, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Literal(Vec<u8>),
    Iv,
    Ciphertext,
    Signature,
}

/// What a container consists of: `iv`, `ct`, `sig` (64 bytes, r and s) and `hex:BYTES` for fixed bytes, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    fields: Vec<Field>,
}

/// What was found in a container.
#[derive(Clone, Debug, Serialize)]
pub struct Opened {
    /// Length of the firmware, bytes.
    pub size: usize,
    /// Whether a signature was checked.
    pub signed: bool,
}

impl Layout {
    /// The layout in `text`, or if that names none, in the file of that name.
    ///
    /// # Errors
    /// Usage error that names the field; `Io` if the file can't be read.
    pub fn read(text: &str) -> Result<Layout, Error> {
        let file = Path::new(text);
        if text.contains(',') || !file.is_file() {
            return text.parse();
        }
        String::from_utf8_lossy(&read_small(file)?).trim().parse()
    }

    /// Whether it has a place for a signature.
    pub fn is_signed(&self) -> bool {
        self.fields.contains(&Field::Signature)
    }

    fn fixed_len(&self) -> usize {
        self.fields.iter().map(Field::fixed_len).sum()
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Layout, Error> {
        let wrong = |message: String| {
            Error::usage(
                format!("--layout: {message}"),
                "write iv, ct, sig and hex:BYTES in the order of the file, as iv,ct,sig",
            )
        };
        let mut fields = Vec::new();
        for word in text.split(',').map(str::trim) {
            fields.push(match (word, word.strip_prefix("hex:")) {
                ("iv", _) => Field::Iv,
                ("ct", _) => Field::Ciphertext,
                ("sig", _) => Field::Signature,
                (_, Some(digits)) => match hex::decode(digits) {
                    Ok(bytes) if !bytes.is_empty() => Field::Literal(bytes),
                    _ => return Err(wrong(format!("{word}: these are no hexadecimal bytes"))),
                },
                _ => return Err(wrong(format!("there is no field {word:?}"))),
            });
        }
        let count = |field: &Field| fields.iter().filter(|other| *other == field).count();
        if fields.len() > MAX_FIELDS {
            return Err(wrong(format!("more than {MAX_FIELDS} fields")));
        }
        if count(&Field::Iv) != 1 || count(&Field::Ciphertext) != 1 {
            return Err(wrong("iv and ct must stand there once each".to_owned()));
        }
        if count(&Field::Signature) > 1 {
            return Err(wrong("sig stands there twice".to_owned()));
        }
        Ok(Layout { fields })
    }
}

impl Field {
    fn fixed_len(&self) -> usize {
        match self {
            Field::Literal(bytes) => bytes.len(),
            Field::Iv => IV_LEN,
            Field::Ciphertext => 0,
            Field::Signature => SIGNATURE_LEN,
        }
    }
}

/// Reads the shared key: 32 bare bytes, or 64 hexadecimal digits with `as_hex`.
///
/// # Errors
/// `Io`; refused if it has another length.
pub fn read_key(path: &Path, as_hex: bool) -> Result<Zeroizing<[u8; KEY_LEN]>, Error> {
    let name = path.display().to_string();
    let bytes = read_small(path)?;
    let bytes = match as_hex {
        true => hex::decode(bytes.trim_ascii())
            .map(Zeroizing::new)
            .map_err(|_| {
                Error::refused(&name, "holds no hexadecimal digits", "write 64 of them")
            })?,
        false => bytes,
    };
    match <[u8; KEY_LEN]>::try_from(&bytes[..]) {
        Ok(key) => Ok(Zeroizing::new(key)),
        Err(_) => Err(Error::refused(
            name,
            format!("holds {} bytes, an AES-256 key has {KEY_LEN}", bytes.len()),
            match !as_hex && bytes.trim_ascii().len() == 2 * KEY_LEN {
                true => "these look like hexadecimal digits: give --key-hex",
                false => "make one with `openssl rand -out KEY 32`",
            },
        )),
    }
}

/// Makes a container of `firmware`.
///
/// # Errors
/// Usage error if layout and signer do not go together; refused if the key can't sign.
pub fn encrypt(
    layout: &Layout,
    key: &[u8; KEY_LEN],
    signer: Option<&BridgeKey>,
    firmware: &[u8],
) -> Result<Vec<u8>, Error> {
    if layout.is_signed() != signer.is_some() {
        return Err(match layout.is_signed() {
            true => Error::usage("the layout has a sig and nobody signs", "add --sign KEY"),
            false => Error::usage(
                "the layout has no place for a signature",
                "add sig to --layout",
            ),
        });
    }
    let mut iv = [0; IV_LEN];
    getrandom::fill(&mut iv).map_err(|_| no_cipher())?;
    let cipher = UnboundCipherKey::new(&AES_256, key)
        .and_then(PaddedBlockEncryptingKey::cbc_pkcs7)
        .map_err(|_| no_cipher())?;
    let mut ciphertext = firmware.to_vec();
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    cipher
        .less_safe_encrypt(&mut ciphertext, context)
        .map_err(|_| no_cipher())?;

    let write = |signature: &[u8]| {
        let parts = layout.fields.iter().map(|field| match field {
            Field::Literal(bytes) => &bytes[..],
            Field::Iv => &iv[..],
            Field::Ciphertext => &ciphertext[..],
            Field::Signature => signature,
        });
        parts.collect::<Vec<_>>().concat()
    };
    let Some(signer) = signer else {
        return Ok(write(&[]));
    };
    let BridgeKey::P256Private(secret) = signer else {
        return Err(Error::refused(
            "signing key",
            format!("{} can't sign this container", signer.kind()),
            "name a P-256 private key",
        ));
    };
    let signature: Signature = p256::ecdsa::SigningKey::from(secret).sign(&write(&[]));
    Ok(write(&signature.to_bytes()))
}

/// Takes the firmware out of a container. With `signer` the signature is checked before anything is decrypted.
///
/// # Errors
/// Refused with the field and its offset; usage error if the layout has no signature to check.
pub fn decrypt(
    layout: &Layout,
    key: &[u8; KEY_LEN],
    signer: Option<&BridgeKey>,
    name: &str,
    container: &[u8],
) -> Result<(Vec<u8>, Opened), Error> {
    let ciphertext_len = container
        .len()
        .checked_sub(layout.fixed_len())
        .filter(|len| *len > 0 && len.is_multiple_of(BLOCK))
        .ok_or_else(|| {
            Error::refused(
                name,
                format!(
                    "has {} bytes: with this layout {} and a multiple of {BLOCK} are expected",
                    container.len(),
                    layout.fixed_len()
                ),
                "look whether it is whole, and whether --layout is what the fleet uses",
            )
        })?;
    let mut iv = [0; IV_LEN];
    let [mut ciphertext, mut signature] = [&[][..]; 2];
    let mut signed = Vec::new();
    let mut offset = 0;
    for field in &layout.fields {
        let len = match field {
            Field::Ciphertext => ciphertext_len,
            other => other.fixed_len(),
        };
        let bytes = &container[offset..offset + len];
        match field {
            Field::Literal(expected) if bytes != expected => {
                return Err(Error::refused(
                    name,
                    format!("the fixed bytes at offset {offset} are others"),
                    "look whether --layout is what the fleet uses",
                ));
            }
            Field::Literal(_) => {}
            Field::Iv => iv.copy_from_slice(bytes),
            Field::Ciphertext => ciphertext = bytes,
            Field::Signature => signature = bytes,
        }
        if *field != Field::Signature {
            signed.extend_from_slice(bytes);
        }
        offset += len;
    }
    if let Some(signer) = signer {
        if !layout.is_signed() {
            return Err(Error::usage(
                "the layout has no signature to check",
                "add sig to --layout",
            ));
        }
        check_signature(name, signer, &signed, signature)?;
    }
    let mut firmware = ciphertext.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let len = UnboundCipherKey::new(&AES_256, key)
        .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
        .and_then(|cipher| Ok(cipher.decrypt(&mut firmware, context)?.len()))
        .map_err(|_| {
            Error::refused(
                name,
                "the padding at its end is wrong after decryption",
                "it was made with another key or layout, or it is damaged",
            )
        })?;
    firmware.truncate(len);
    let opened = Opened {
        size: len,
        signed: signer.is_some(),
    };
    Ok((firmware, opened))
}

fn check_signature(
    name: &str,
    signer: &BridgeKey,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), Error> {
    let public = signer.public()?;
    let BridgeKey::P256Public(public) = &public else {
        return Err(Error::refused(
            "signer",
            format!("{} did not sign this container", public.kind()),
            "name the P-256 public key of who signed",
        ));
    };
    Signature::from_slice(signature)
        .and_then(|signature| p256::ecdsa::VerifyingKey::from(public).verify(signed, &signature))
        .map_err(|_| {
            Error::refused(
                name,
                "the signature is not by this key over these bytes",
                "name the key of who signed; fetch the file again",
            )
        })
}

fn no_cipher() -> Error {
    Error::refused("AES-256-CBC", "is not available here", "")
}
