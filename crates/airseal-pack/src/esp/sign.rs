//! Signing for secure boot, here or elsewhere, and checking what was signed.

use airseal_esp::image::IMAGE_MAGIC;
use airseal_esp::secure_boot::{
    BLOCK_LEN, MAX_BLOCKS, SECTOR_LEN, Scheme, SignatureBlock, sector_offset,
};
use airseal_esp::{Chip, Image, ImageError};
use serde::Serialize;

use super::boot_key::{self, BootPublicKey, BootSigner};
use super::refusal;
use super::signatures::BootKeys;
use crate::Error;
use crate::recognise::{FileKind, HEAD_LEN, Purpose, recognise};
use crate::source::Source;

mod v1;

pub use v1::{random_iv, read_iv, sign_bootloader_v1, sign_v1, verify_v1};

/// What is signed, and how strictly it is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignOptions {
    /// Add to the blocks that are there.
    pub append: bool,
    /// Sign bytes that are no image of a chip, as they are.
    pub any_data: bool,
}

/// A file that is about to be signed with version 2.
pub struct Unsigned {
    chip: Option<Chip>,
    /// Up to the sector.
    padded: Vec<u8>,
    /// Bytes of `padded` that were in the file.
    len: usize,
    blocks: Vec<Vec<u8>>,
    warnings: Vec<String>,
}

/// A signed file.
#[derive(Debug)]
pub struct Signed {
    /// The file.
    pub bytes: Vec<u8>,
    /// What it is, for people and scripts.
    pub report: SignedReport,
}

/// How the bytes of a request are signed.
#[derive(Debug, Serialize)]
pub struct SignRequest {
    /// Length of the request.
    pub bytes: usize,
    /// SHA-256 of its bytes: for RSA-3072, P-192 and P-256.
    pub digest: String,
    /// SHA-384 of its bytes: for P-384.
    pub digest_sha384: String,
    /// RSA: the padding.
    pub padding: &'static str,
    /// RSA: the hash.
    pub hash: &'static str,
    /// RSA: the hash of MGF1.
    pub mgf1_hash: &'static str,
    /// RSA: bytes of salt.
    pub salt: usize,
    /// What the chip verifies; everything where it is not known.
    pub schemes: Vec<SchemeRequest>,
}

/// One way to sign a request.
#[derive(Debug, Serialize)]
pub struct SchemeRequest {
    /// The kind of key.
    pub scheme: &'static str,
    /// The hash of the bytes that is signed.
    pub hash: &'static str,
}

/// What was signed.
#[derive(Debug, Serialize)]
pub struct SignedReport {
    /// `v1` or `v2`.
    pub scheme: &'static str,
    /// Where the signature lies, bytes from the start of the file.
    pub signature_offset: usize,
    /// The digests of the keys in the blocks, as they are burned. None with version 1.
    pub key_digests: Vec<String>,
    /// What deserves attention.
    pub warnings: Vec<String>,
}

impl Unsigned {
    /// Reads the file and checks that a device would find a signature behind it.
    ///
    /// # Errors
    /// `Io`; refused for what is no image, a damaged one, one with bytes behind its end, and one that is signed already
    /// unless blocks are added.
    pub fn read(source: &Source, options: SignOptions) -> Result<Unsigned, Error> {
        let name = source.name().to_owned();
        let mut bytes = whole(source)?;
        let image = examine(source, &bytes, options)?;
        let mut warnings = Vec::new();
        let sector_at = match &image {
            Some(image) => usize::try_from(sector_offset(image.len)).unwrap_or(usize::MAX),
            None if options.append => bytes.len().saturating_sub(SECTOR_LEN),
            None => bytes.len().next_multiple_of(SECTOR_LEN),
        };
        let sector = bytes.split_off(sector_at.min(bytes.len()));
        let blocks = existing(&name, &bytes, &sector, options.append)?;
        let behind = sector.get(SECTOR_LEN..).unwrap_or_default();
        if !blocks.is_empty() && behind.iter().any(|byte| *byte != 0xFF) {
            return Err(Error::refused(
                name,
                format!(
                    "holds {} bytes behind the signature sector, which would be lost",
                    behind.len()
                ),
                "cut the file behind the sector, which ends at the offset of the signature plus 4096",
            ));
        }
        if !sector.is_empty() && blocks.is_empty() && sector.iter().any(|byte| *byte != 0xFF) {
            return Err(Error::refused(
                name,
                format!(
                    "holds {} bytes behind the image, where the signature belongs ({sector_at:#x})",
                    sector.len()
                ),
                "cut the file to the image; esp info tells its length",
            ));
        }
        if blocks.is_empty() && !sector.is_empty() {
            warnings.push(format!(
                "the 0xFF padding behind {sector_at:#x} is left out: the signature belongs there"
            ));
        }
        let len = bytes.len();
        bytes.resize(sector_at, 0xFF);
        Ok(Unsigned {
            chip: image.map(|image| image.chip),
            padded: bytes,
            len,
            blocks,
            warnings,
        })
    }

    /// The bytes that are signed: the image, padded with 0xFF.
    pub fn message(&self) -> &[u8] {
        &self.padded
    }

    /// What a person or a program needs to know to sign the bytes elsewhere.
    pub fn request(&self) -> SignRequest {
        SignRequest {
            bytes: self.padded.len(),
            digest: hex::encode(boot_key::digest(Scheme::Rsa3072, &self.padded)),
            digest_sha384: hex::encode(boot_key::digest(Scheme::EcdsaP384, &self.padded)),
            padding: "pss",
            hash: "sha256",
            mgf1_hash: "sha256",
            salt: 32,
            schemes: self.schemes(),
        }
    }

    fn schemes(&self) -> Vec<SchemeRequest> {
        let all = [
            (Scheme::Rsa3072, "sha256"),
            (Scheme::EcdsaP192, "sha256"),
            (Scheme::EcdsaP256, "sha256"),
            (Scheme::EcdsaP384, "sha384"),
        ];
        let taken = |scheme| {
            self.chip
                .is_none_or(|chip| chip.secure_boot().takes(scheme))
        };
        let taken = all.into_iter().filter(|(scheme, _)| taken(*scheme));
        taken
            .map(|(scheme, hash)| SchemeRequest {
                scheme: scheme.name(),
                hash,
            })
            .collect()
    }

    /// Adds a block by a key that is at hand.
    ///
    /// # Errors
    /// As [`Unsigned::attach`], and what keeps the key from signing.
    pub fn sign(&mut self, signer: &BootSigner) -> Result<(), Error> {
        self.check_key(signer.name(), signer.public())?;
        let signature = signer.sign(&self.padded)?;
        self.attach(signer.name(), signer.public(), &signature)
    }

    /// Adds a block with a signature that was made elsewhere; `signature_name` is for messages.
    ///
    /// # Errors
    /// Refused if it does not verify, with the likely reason; if the chip does not take the scheme, the key is there
    /// already, or there are three blocks.
    pub fn attach(
        &mut self,
        signature_name: &str,
        key: &BootPublicKey,
        signature: &[u8],
    ) -> Result<(), Error> {
        self.check_key(signature_name, key)?;
        let digest = key.digest(&self.padded);
        if !key.verifies(&digest, signature) {
            let unpadded = self.padded.get(..self.len).unwrap_or_default();
            return Err(refusal::explain(
                signature_name,
                key,
                &self.padded,
                unpadded,
                signature,
            ));
        }
        self.blocks.push(key.block(&digest, signature)?);
        Ok(())
    }

    /// The signed file.
    ///
    /// # Errors
    /// Refused if there is no block.
    pub fn finish(self) -> Result<Signed, Error> {
        let mut key_digests = Vec::new();
        let mut bytes = self.padded;
        let signature_offset = bytes.len();
        for (index, block) in self.blocks.iter().enumerate() {
            bytes.extend_from_slice(block);
            if let Some(Ok(block)) = block
                .first_chunk()
                .map(|block| SignatureBlock::parse(index, block))
            {
                key_digests.push(hex::encode(block.key_digest()));
            }
        }
        bytes.resize(signature_offset + SECTOR_LEN, 0xFF);
        Ok(Signed {
            bytes,
            report: SignedReport {
                scheme: "v2",
                signature_offset,
                key_digests,
                warnings: self.warnings,
            },
        })
    }

    fn check_key(&mut self, key_name: &str, key: &BootPublicKey) -> Result<(), Error> {
        let refuse = |message: String, remedy: &str| Err(Error::refused(key_name, message, remedy));
        let scheme = key.scheme();
        if let Some(chip) = self.chip {
            let takes = chip.secure_boot();
            if !takes.takes(scheme) {
                return refuse(
                    format!("is {}, which the {chip} can't verify", scheme.name()),
                    if takes.rsa {
                        "this chip takes RSA-3072"
                    } else {
                        "this chip takes ECDSA on P-192 and P-256"
                    },
                );
            }
            if takes.ecdsa_insecure && scheme != Scheme::Rsa3072 {
                self.warnings.push(format!(
                    "ESP-IDF marks ECDSA of the {chip} as insecure: prefer RSA-3072 there"
                ));
            }
            if self.blocks.len() >= usize::from(chip.key_digests()).min(MAX_BLOCKS) {
                return refuse(
                    format!(
                        "is one too many: the {chip} looks at {} signature block(s)",
                        chip.key_digests()
                    ),
                    "sign the image anew, with fewer keys",
                );
            }
        }
        if self.blocks.len() >= MAX_BLOCKS {
            return refuse(
                format!("is one too many: a sector holds {MAX_BLOCKS} signature blocks"),
                "sign the image anew, with fewer keys",
            );
        }
        let digest = key.key_digest()?;
        let twice = self.blocks.iter().enumerate().any(|(index, block)| {
            block
                .first_chunk()
                .and_then(|block| SignatureBlock::parse(index, block).ok())
                .is_some_and(|block| block.key_digest() == digest)
        });
        if twice {
            return refuse("signed this image already".to_owned(), "");
        }
        Ok(())
    }
}

/// Verifies version 2: the last sector of the file, or the one behind the image.
///
/// # Errors
/// `Io`; refused if no block by `key` holds, with the reason of the first.
pub fn verify_v2(source: &Source, key: &BootPublicKey) -> Result<String, Error> {
    let bytes = whole(source)?;
    let refuse = |message: String, remedy: &str| Error::refused(source.name(), message, remedy);
    let image = match Image::examine(&mut &bytes[..]) {
        Ok((image, _)) => Some(image),
        Err(_) => None,
    };
    let place = match &image {
        Some(image) => usize::try_from(sector_offset(image.len)).unwrap_or(usize::MAX),
        None => bytes.len().saturating_sub(SECTOR_LEN) / SECTOR_LEN * SECTOR_LEN,
    };
    let Some((body, sector)) = bytes
        .split_at_checked(place)
        .filter(|(_, sector)| sector.len() >= SECTOR_LEN)
    else {
        return Err(refuse(
            format!(
                "is not signed: the signature sector belongs at {place:#x}, behind the end of the file"
            ),
            "sign it with esp sign",
        ));
    };
    let image_len = image.map_or(u64::MAX, |image| image.len);
    BootKeys(vec![key.clone()])
        .check_bytes(body, sector, image_len)
        .map_err(|why| refuse(why, "sign the image that will be flashed, with this key"))
}

fn whole(source: &Source) -> Result<Vec<u8>, Error> {
    if source.len() > FILE_MAX {
        return Err(Error::refused(
            source.name(),
            format!("has {} bytes, more than any flash", source.len()),
            "",
        ));
    }
    source.head(0, FILE_MAX as usize)
}

/// The image in the file; `None` for other data, if that is allowed.
fn examine(source: &Source, bytes: &[u8], options: SignOptions) -> Result<Option<Image>, Error> {
    if bytes.is_empty() {
        return Err(Error::refused(source.name(), "is empty", ""));
    }
    if bytes.first() != Some(&IMAGE_MAGIC) {
        if options.any_data {
            return Ok(None);
        }
        return Err(refuse_foreign(source.name(), bytes));
    }
    match Image::parse(&mut &bytes[..]) {
        Ok(image) => Ok(Some(image)),
        Err(_) if options.any_data => Ok(None),
        Err(ImageError::Fault(fault)) => Err(Error::refused(
            source.name(),
            fault.to_string(),
            "build or copy the image again, and sign that",
        )),
        Err(ImageError::Read(never)) => match never {},
    }
}

/// What the file is in place of an image, and what to sign then.
fn refuse_foreign(name: &str, bytes: &[u8]) -> Error {
    let kind = recognise(bytes.get(..HEAD_LEN).unwrap_or(bytes));
    let found = match kind {
        Some(kind) => format!("is no image of a chip but {kind}"),
        None if bytes.is_ascii() => "is no image of a chip but text".to_owned(),
        None => "is no image of a chip; encrypted data looks like this".to_owned(),
    };
    let remedy = match kind {
        Some(kind @ (FileKind::Elf | FileKind::IntelHex | FileKind::SRecord | FileKind::Uf2)) => {
            kind.remedy(Purpose::Seal)
        }
        Some(FileKind::PartitionTable) => {
            "the table is not signed; name the bootloader or an application"
        }
        Some(FileKind::Pem) => "a key goes to --key; name the bootloader or an application",
        None if bytes.is_ascii() => "name the bootloader or an application",
        _ => {
            "sign first, then encrypt: the chip verifies what it has decrypted; --any-data signs the bytes as they are"
        }
    };
    Error::refused(name, found, remedy)
}

/// The blocks behind an image that is signed already.
fn existing(name: &str, image: &[u8], sector: &[u8], append: bool) -> Result<Vec<Vec<u8>>, Error> {
    let mut blocks = Vec::new();
    let signed = sector.len() >= SECTOR_LEN && sector.first() == Some(&0xE7);
    if !signed {
        if append {
            return Err(Error::refused(
                name,
                "is not signed yet, so there is nothing to append to",
                "leave --append away",
            ));
        }
        return Ok(blocks);
    }
    if !append {
        return Err(Error::refused(
            name,
            "is signed already",
            "add a signature with --append, or sign the unsigned image",
        ));
    }
    for (index, block) in SignatureBlock::read_sector(sector).enumerate() {
        let block = block.map_err(|fault| {
            Error::refused(name, fault.to_string(), "sign the unsigned image anew")
        })?;
        if block.image_digest() != boot_key::digest(block.scheme(), image) {
            return Err(Error::refused(
                name,
                format!(
                    "signature block {index} is for another image: this one was changed after signing"
                ),
                "sign the unsigned image anew",
            ));
        }
        let bytes = sector.chunks(BLOCK_LEN).nth(index).unwrap_or_default();
        blocks.push(bytes.to_vec());
    }
    Ok(blocks)
}

/// Longest file that is signed; the largest flash.
const FILE_MAX: u64 = 128 << 20;
