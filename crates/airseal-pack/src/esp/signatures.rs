//! Signatures of secure boot, version 2: what a sector of blocks claims, and whether a trusted key made one of them.

use std::path::Path;

use airseal_esp::image::HEADER_LEN;
use airseal_esp::secure_boot::{SECTOR_LEN, Scheme, SignatureBlock, sector_offset};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use pkcs8::SubjectPublicKeyInfoRef;
use pkcs8::der::asn1::{ObjectIdentifier, UintRef};
use pkcs8::der::{Decode, Document, Reader, SliceReader};
use serde::Serialize;
use sha2::{Digest, Sha256, Sha384};

use super::dump::View;
use super::flash_check::SignatureCheck;
use crate::Error;
use crate::source::Source;

/// A block as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct BlockInfo {
    /// Number of the block, from 0.
    pub index: usize,
    /// The scheme: `rsa3072`, `ecdsa192`, `ecdsa256` or `ecdsa384`.
    pub scheme: Option<&'static str>,
    /// The digest of the public key, as it is burned.
    pub key_digest: Option<String>,
    /// The digest of the image that was signed.
    pub image_digest: Option<String>,
    /// True if that is the digest of this image.
    pub image_digest_ok: Option<bool>,
    /// What is damaged.
    pub damage: Option<String>,
}

/// The blocks of `sector`, which follows the padded `image`.
pub fn blocks(image: &[u8], sector: &[u8]) -> Vec<BlockInfo> {
    SignatureBlock::read_sector(sector)
        .enumerate()
        .map(|(index, block)| match block {
            Ok(block) => BlockInfo {
                index,
                scheme: Some(block.scheme().name()),
                key_digest: Some(hex::encode(block.key_digest())),
                image_digest: Some(hex::encode(block.image_digest())),
                image_digest_ok: Some(block.image_digest() == digest_for(&block, image)),
                damage: None,
            },
            Err(fault) => BlockInfo {
                index,
                scheme: None,
                key_digest: None,
                image_digest: None,
                image_digest_ok: None,
                damage: Some(fault.to_string()),
            },
        })
        .collect()
}

/// A public key that secure boot trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootKey {
    scheme: Scheme,
    /// Big-endian: modulus and exponent, or both coordinates.
    parts: [Vec<u8>; 2],
}

impl BootKey {
    /// Reads a public key in PEM form, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// `Io`; refused if the file holds no public key of a scheme that secure boot knows.
    pub fn read(path: &Path) -> Result<BootKey, Error> {
        let source = Source::open(path)?;
        let refuse = |message: String, remedy: &str| Error::refused(source.name(), message, remedy);
        let bytes = source.head(0, PEM_MAX)?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let (label, document) = Document::from_pem(text)
            .map_err(|error| refuse(format!("is no PEM key: {error}"), PUBLIC_ONLY))?;
        if label != "PUBLIC KEY" {
            return Err(refuse(
                format!("is a {label}, not a public key"),
                PUBLIC_ONLY,
            ));
        }
        parse_public(document.as_bytes()).ok_or_else(|| {
            refuse(
                "is of a kind or size that secure boot does not take".to_owned(),
                "secure boot v2 takes RSA-3072 and ECDSA on P-192, P-256 and P-384",
            )
        })
    }

    fn made(&self, block: &SignatureBlock<'_>) -> bool {
        let [first, second] = &self.parts;
        match (block.rsa_key(), block.ecdsa_key()) {
            (Some((modulus, exponent)), _) => {
                reversed(modulus) == *first && exponent.to_be_bytes().ends_with(second)
            }
            (_, Some((x, y))) => {
                self.scheme == block.scheme() && reversed(x) == *first && reversed(y) == *second
            }
            _ => false,
        }
    }

    fn verify(&self, block: &SignatureBlock<'_>, image: &[u8]) -> Result<(), String> {
        let [first, second] = &self.parts;
        let holds = match self.scheme {
            Scheme::Rsa3072 => RsaPublicKeyComponents {
                n: first,
                e: second,
            }
            .verify(
                &RSA_PSS_2048_8192_SHA256,
                image,
                &reversed(block.signature()),
            ),
            Scheme::EcdsaP192 => {
                return Err("ECDSA P-192 can't be verified by this version".to_owned());
            }
            Scheme::EcdsaP256 | Scheme::EcdsaP384 => {
                let algorithm = if self.scheme == Scheme::EcdsaP256 {
                    &ECDSA_P256_SHA256_FIXED
                } else {
                    &ECDSA_P384_SHA384_FIXED
                };
                let point = [&[4], first.as_slice(), second.as_slice()].concat();
                let (r, s) = block.signature().split_at(first.len());
                let signature = [reversed(r), reversed(s)].concat();
                UnparsedPublicKey::new(algorithm, point).verify(image, &signature)
            }
        };
        holds.map_err(|_| "the signature does not hold under this key".to_owned())
    }
}

/// Keys of which one must have signed.
#[derive(Clone, Debug)]
pub struct BootKeys(pub Vec<BootKey>);

impl SignatureCheck for BootKeys {
    fn check(&self, view: View<'_>, image_len: u64) -> Result<Result<String, String>, Error> {
        let place = sector_offset(image_len);
        if place + SECTOR_LEN as u64 > view.len() {
            return Ok(Err(format!(
                "is not signed: the signature sector belongs at {place:#x}, behind the end of the partition"
            )));
        }
        let Ok(padded) = usize::try_from(place) else {
            return Ok(Err("is too long".to_owned()));
        };
        let bytes = view.head(padded + SECTOR_LEN)?;
        let (image, sector) = bytes.split_at(padded);
        Ok(self.check_bytes(image, sector, image_len))
    }
}

impl BootKeys {
    /// Checks the padded image and its sector; says which block counts, or why none does.
    ///
    /// # Errors
    /// Why no block counts, in words.
    pub fn check_bytes(
        &self,
        image: &[u8],
        sector: &[u8],
        image_len: u64,
    ) -> Result<String, String> {
        let mut why = None;
        for (index, block) in SignatureBlock::read_sector(sector).enumerate() {
            let block = match block {
                Ok(block) => block,
                Err(fault) => {
                    why.get_or_insert(fault.to_string());
                    break;
                }
            };
            let Some(key) = self.0.iter().find(|key| key.made(&block)) else {
                why.get_or_insert(format!(
                    "signature block {index} is by another key, with digest {}",
                    hex::encode(block.key_digest())
                ));
                continue;
            };
            if block.image_digest() != digest_for(&block, image) {
                why.get_or_insert(changed(&block, image, image_len));
                continue;
            }
            match key.verify(&block, image) {
                Ok(()) => return Ok(format!("signed ({}, block {index})", block.scheme().name())),
                Err(fault) => {
                    why.get_or_insert(format!("signature block {index}: {fault}"));
                }
            }
        }
        Err(why.unwrap_or_else(|| {
            format!(
                "is not signed: there is no signature block at {:#x}",
                image.len()
            )
        }))
    }
}

/// What happened to an image that is not the one that was signed.
fn changed(block: &SignatureBlock<'_>, image: &[u8], image_len: u64) -> String {
    match rewritten_header(block, image, image_len) {
        Some([mode, rest]) => format!(
            "a flashing tool rewrote the header after signing: bytes 2 and 3 were {mode:02x} {rest:02x} when it was signed; flash it with the tool's options set to keep, and sign what is flashed"
        ),
        None => "was changed after signing: the digest in the signature block is of another image"
            .to_owned(),
    }
}

/// The flash parameters with which the image was signed, if nothing else differs.
///
/// A tool that changes them makes the appended hash anew, so that goes back too.
fn rewritten_header(block: &SignatureBlock<'_>, image: &[u8], image_len: u64) -> Option<[u8; 2]> {
    let end = usize::try_from(image_len).ok()?;
    if end > SEARCH_MAX || (end as u64) < HEADER_LEN || image.len() < end {
        return None;
    }
    let mut copy = image.to_vec();
    let hashed = copy.get(23) == Some(&1);
    for mode in 0..=5 {
        for speed in [0u8, 1, 2, 0xF] {
            for size in 0..8u8 {
                let bytes = [mode, size << 4 | speed];
                copy.get_mut(2..4)?.copy_from_slice(&bytes);
                if hashed {
                    let (body, hash) = copy.get_mut(..end)?.split_at_mut(end - 32);
                    hash.copy_from_slice(&Sha256::digest(&body));
                }
                if digest_for(block, &copy) == block.image_digest() {
                    return Some(bytes);
                }
            }
        }
    }
    None
}

fn digest_for(block: &SignatureBlock<'_>, image: &[u8]) -> Vec<u8> {
    match block.scheme() {
        Scheme::EcdsaP384 => Sha384::digest(image).to_vec(),
        _ => Sha256::digest(image).to_vec(),
    }
}

fn parse_public(der: &[u8]) -> Option<BootKey> {
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let bits = info.subject_public_key.as_bytes()?;
    if info.algorithm.oid == RSA {
        let mut reader = SliceReader::new(bits).ok()?;
        let (modulus, exponent) = reader
            .sequence(|reader| {
                let modulus: UintRef<'_> = reader.decode()?;
                let exponent: UintRef<'_> = reader.decode()?;
                Ok::<_, pkcs8::der::Error>((
                    modulus.as_bytes().to_vec(),
                    exponent.as_bytes().to_vec(),
                ))
            })
            .ok()?;
        return (modulus.len() == 384).then_some(BootKey {
            scheme: Scheme::Rsa3072,
            parts: [modulus, exponent],
        });
    }
    if info.algorithm.oid != EC {
        return None;
    }
    let curve = info.algorithm.parameters_oid().ok()?;
    let scheme = [
        (P192, Scheme::EcdsaP192),
        (P256, Scheme::EcdsaP256),
        (P384, Scheme::EcdsaP384),
    ]
    .into_iter()
    .find(|(oid, _)| *oid == curve)
    .map(|(_, scheme)| scheme)?;
    let len = scheme.coordinate_len()?;
    match bits.split_first()? {
        (4, point) if point.len() == 2 * len => {
            let (x, y) = point.split_at(len);
            Some(BootKey {
                scheme,
                parts: [x.to_vec(), y.to_vec()],
            })
        }
        _ => None,
    }
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

const PUBLIC_ONLY: &str = "make a public key of it: openssl pkey -in KEY -pubout -out PUB (-pubin for one that is public)";
const PEM_MAX: usize = 1 << 16;
/// Longest image whose header is searched for; bootloaders are shorter.
const SEARCH_MAX: usize = 256 << 10;
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P192: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
