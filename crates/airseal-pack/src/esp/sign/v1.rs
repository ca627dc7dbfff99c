//! Version 1 of the original ESP32: a signature right behind an application, a digest before the bootloader.

use std::path::Path;

use airseal_esp::Image;
use airseal_esp::secure_boot::v1;

use super::{SignOptions, Signed, SignedReport, examine, whole};
use crate::Error;
use crate::entropy::{Entropy as _, SystemEntropy};
use crate::esp::boot_key::{BootPublicKey, BootSigner};
use crate::esp::refusal;
use crate::esp::signatures_v1::DigestKey;
use crate::source::Source;

/// Signs with version 1: ECDSA P-256, for the original ESP32.
///
/// # Errors
/// As [`Unsigned::read`](super::Unsigned::read); refused for a key of another kind.
pub fn sign_v1(
    source: &Source,
    signer: &BootSigner,
    options: SignOptions,
) -> Result<Signed, Error> {
    signer.public().check_p256(signer.name())?;
    let mut bytes = whole(source)?;
    if let Some(image) = examine(source, &bytes, options)? {
        if !image.chip.secure_boot().v1 {
            return Err(Error::refused(
                source.name(),
                format!(
                    "is for the {}, which has no secure boot version 1",
                    image.chip
                ),
                "sign it with --scheme v2",
            ));
        }
        if image.len != bytes.len() as u64 {
            return Err(Error::refused(
                source.name(),
                format!(
                    "has {} bytes behind the image, where the signature belongs ({:#x})",
                    (bytes.len() as u64).saturating_sub(image.len),
                    image.len
                ),
                "sign the image alone; if that is a signature, it is signed already",
            ));
        }
    }
    let signature_offset = bytes.len();
    let signature = signer.sign(&bytes)?;
    let digest = signer.public().digest(&bytes);
    if !signer.public().verifies(&digest, &signature) {
        return Err(refusal::explain(
            signer.name(),
            signer.public(),
            &bytes,
            &bytes,
            &signature,
        ));
    }
    let signature: &[u8; 64] = signature
        .first_chunk()
        .ok_or_else(|| Error::refused(signer.name(), "made no P-256 signature", ""))?;
    bytes.extend_from_slice(&v1::encode(signature));
    Ok(Signed {
        bytes,
        report: SignedReport {
            scheme: "v1",
            signature_offset,
            key_digests: Vec::new(),
            warnings: Vec::new(),
        },
    })
}

/// Puts the digest of version 1 before a bootloader of the original ESP32; the whole is flashed to address 0.
///
/// # Errors
/// As [`Unsigned::read`](super::Unsigned::read); refused for an application.
pub fn sign_bootloader_v1(
    source: &Source,
    key: &DigestKey,
    iv: &[u8; v1::IV_LEN],
) -> Result<Signed, Error> {
    let mut bootloader = whole(source)?;
    let refuse = |message: String, remedy: &str| Error::refused(source.name(), message, remedy);
    if let Some(image) = examine(source, &bootloader, SignOptions::default())? {
        if !image.chip.secure_boot().v1 {
            return Err(refuse(
                format!(
                    "is for the {}, which has no secure boot version 1",
                    image.chip
                ),
                "sign it with --scheme v2",
            ));
        }
        if image.app().is_some() {
            return Err(refuse(
                "is an application, not a bootloader".to_owned(),
                "sign it with a signing key, without --bootloader",
            ));
        }
        if image.len != bootloader.len() as u64 {
            return Err(refuse(
                format!("goes on behind the image, which ends at {:#x}", image.len),
                "cut the file to the image; esp info tells its length",
            ));
        }
    }
    let digest = key.digest(iv, &bootloader);
    // The ROM reads whole blocks of 128 bytes, and leaves out one that would hold nothing but the hash.
    let tail = bootloader.len() % 128;
    if bootloader.get(23) == Some(&1) && tail <= 32 {
        bootloader.truncate(bootloader.len() - tail);
    }
    bootloader.resize(bootloader.len().next_multiple_of(128), 0xFF);
    let mut bytes = iv.to_vec();
    bytes.extend_from_slice(&digest);
    bytes.resize(v1::BOOTLOADER_AT, 0xFF);
    bytes.extend_from_slice(&bootloader);
    Ok(Signed {
        bytes,
        report: SignedReport {
            scheme: "v1",
            signature_offset: v1::IV_LEN,
            key_digests: Vec::new(),
            warnings: Vec::new(),
        },
    })
}

/// Random bytes for the start of a bootloader's digest.
///
/// # Errors
/// `Io` if the system gives none.
pub fn random_iv() -> Result<[u8; v1::IV_LEN], Error> {
    let mut iv = [0; v1::IV_LEN];
    SystemEntropy.fill(&mut iv)?;
    Ok(iv)
}

/// Reads the start of a bootloader's digest from a file.
///
/// # Errors
/// `Io`; refused for another length.
pub fn read_iv(path: &Path) -> Result<[u8; v1::IV_LEN], Error> {
    let source = Source::open(path)?;
    let bytes = source.head(0, v1::IV_LEN)?;
    <[u8; v1::IV_LEN]>::try_from(bytes.as_slice())
        .ok()
        .filter(|_| source.len() == v1::IV_LEN as u64)
        .ok_or_else(|| {
            Error::refused(
                source.name(),
                format!("has {} bytes, the start of a digest has 128", source.len()),
                "leave out --iv for random bytes",
            )
        })
}

/// Verifies version 1: everything before the last 68 bytes.
///
/// # Errors
/// `Io`; refused if the signature is missing or does not hold.
pub fn verify_v1(source: &Source, key: &BootPublicKey) -> Result<String, Error> {
    let bytes = whole(source)?;
    let signature = v1::parse(&bytes).ok_or_else(|| {
        Error::refused(
            source.name(),
            "does not end with a signature of secure boot version 1",
            "for version 2 use --scheme v2",
        )
    })?;
    let body = bytes.split_at(bytes.len() - v1::SIGNATURE_LEN).0;
    if let Ok((image, _)) = Image::examine(&mut &body[..])
        && image.len != body.len() as u64
    {
        return Err(Error::refused(
            source.name(),
            format!(
                "has its signature at {:#x}, and the chip looks for it right behind the image, at {:#x}",
                body.len(),
                image.len
            ),
            "sign the image alone",
        ));
    }
    if !key.verifies(&key.digest(body), signature) {
        return Err(Error::refused(
            source.name(),
            "the signature is by another key, or the file was changed after signing",
            "",
        ));
    }
    Ok(format!("signed (v1, {} bytes)", body.len()))
}
