//! Signatures of secure boot, version 2: what a sector of blocks claims, and whether a trusted key made one of them.

use airseal_esp::Chip;
use airseal_esp::image::{HEADER_LEN, IMAGE_MAGIC};
use airseal_esp::secure_boot::{MAX_BLOCKS, SECTOR_LEN, Scheme, SignatureBlock, sector_offset};
use serde::Serialize;
use sha2::{Digest, Sha256, Sha384};

use super::boot_key::BootPublicKey;
use super::dump::View;
use super::signature_check::SignatureCheck;
use crate::Error;

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

/// Keys of which one must have signed.
#[derive(Clone, Debug)]
pub struct BootKeys(pub Vec<BootPublicKey>);

/// Digests in a chip's eFuses, of which one must be that of the key that signed.
#[derive(Clone, Debug, Default)]
pub struct FusedDigests {
    /// Those that count, as hexadecimal digits; the start of a digest is enough.
    pub trusted: Vec<String>,
    /// Those that were revoked.
    pub revoked: Vec<String>,
    /// True if signatures on P-384 are looked at.
    pub sha384: bool,
}

impl SignatureCheck for BootKeys {
    fn check(&self, view: View<'_>, image_len: u64) -> Result<Result<String, String>, Error> {
        check_sector(view, image_len, &|chip, block| {
            verifiable(chip, block)?;
            self.key_of(block)
        })
    }
}

impl SignatureCheck for FusedDigests {
    fn check(&self, view: View<'_>, image_len: u64) -> Result<Result<String, String>, Error> {
        check_sector(view, image_len, &|chip, block| {
            verifiable(chip, block)?;
            self.key_of(block)
        })
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
        check_blocks(image, sector, image_len, &|_, block| self.key_of(block))
    }

    fn key_of(&self, block: &SignatureBlock<'_>) -> Result<BootPublicKey, String> {
        let digest = block.key_digest();
        let has = |key: &&BootPublicKey| key.key_digest().is_ok_and(|own| own == digest);
        let key = self.0.iter().find(has);
        key.cloned()
            .ok_or_else(|| format!("is by another key, with digest {}", hex::encode(digest)))
    }
}

impl FusedDigests {
    fn key_of(&self, block: &SignatureBlock<'_>) -> Result<BootPublicKey, String> {
        let digest = hex::encode(block.key_digest());
        let holds = |list: &[String]| list.iter().any(|own| digest.starts_with(own.as_str()));
        if !holds(&self.trusted) {
            if holds(&self.revoked) {
                return Err(format!("is by a revoked key, with digest {digest}"));
            }
            return Err(format!(
                "is by a key with digest {digest}, which is not in the eFuses"
            ));
        }
        if block.scheme() == Scheme::EcdsaP384 && !self.sha384 {
            return Err("is on P-384, and SECURE_BOOT_SHA384_EN is not burned".to_owned());
        }
        Ok(BootPublicKey::of_block(block))
    }
}

/// The key of a block, if it is one to trust on the chip that the image is for.
type Trust<'t> = dyn Fn(Option<Chip>, &SignatureBlock<'_>) -> Result<BootPublicKey, String> + 't;

/// Refuses a scheme that the chip has not: its secure boot does not boot what is signed with it.
fn verifiable(chip: Option<Chip>, block: &SignatureBlock<'_>) -> Result<(), String> {
    match chip {
        Some(chip) if !chip.secure_boot().takes(block.scheme()) => Err(format!(
            "is {}, which the {chip} can't verify",
            block.scheme().name()
        )),
        _ => Ok(()),
    }
}

/// The chip that an image is for.
fn chip_of(image: &[u8]) -> Option<Chip> {
    let id = image.get(12..14)?.first_chunk()?;
    let is_image = image.first() == Some(&IMAGE_MAGIC);
    is_image
        .then(|| Chip::from_id(u16::from_le_bytes(*id)))
        .flatten()
}

/// Checks the sector behind an image in flash.
fn check_sector(
    view: View<'_>,
    image_len: u64,
    trust: &Trust<'_>,
) -> Result<Result<String, String>, Error> {
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
    Ok(check_blocks(image, sector, image_len, trust))
}

fn check_blocks(
    image: &[u8],
    sector: &[u8],
    image_len: u64,
    trust: &Trust<'_>,
) -> Result<String, String> {
    let mut why = None;
    let chip = chip_of(image);
    let looked_at = chip.map_or(MAX_BLOCKS, |chip| usize::from(chip.key_digests()));
    for (index, block) in SignatureBlock::read_sector(sector).enumerate() {
        if let Some(chip) = chip.filter(|_| index >= looked_at) {
            why.get_or_insert(format!(
                "signature block {index} is one that the {chip} does not look at"
            ));
            break;
        }
        let block = match block {
            Ok(block) => block,
            Err(fault) => {
                why.get_or_insert(fault.to_string());
                break;
            }
        };
        let key = match trust(chip, &block) {
            Ok(key) => key,
            Err(reason) => {
                why.get_or_insert(format!("signature block {index} {reason}"));
                continue;
            }
        };
        if block.image_digest() != digest_for(&block, image) {
            why.get_or_insert(changed(&block, image, image_len));
            continue;
        }
        if key.verifies(&key.digest(image), &big_endian(&block)) {
            return Ok(format!("signed ({}, block {index})", block.scheme().name()));
        }
        why.get_or_insert(format!(
            "signature block {index}: the signature does not hold under its key"
        ));
    }
    Err(why.unwrap_or_else(|| {
        format!(
            "is not signed: there is no signature block at {:#x}",
            image.len()
        )
    }))
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

/// The signature as its scheme's mathematics takes it.
fn big_endian(block: &SignatureBlock<'_>) -> Vec<u8> {
    let signature = block.signature();
    let part = block.scheme().coordinate_len().unwrap_or(signature.len());
    let parts = signature.chunks(part.max(1));
    parts.flat_map(|part| part.iter().rev()).copied().collect()
}

/// Longest image whose header is searched for; bootloaders are shorter.
const SEARCH_MAX: usize = 256 << 10;
