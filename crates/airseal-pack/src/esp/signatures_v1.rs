//! Secure boot version 1 of the original ESP32: the digest before the bootloader, and the signature behind an application.

use std::path::Path;

use airseal_esp::Image;
use airseal_esp::secure_boot::v1::{self, BOOTLOADER_AT, IV_LEN};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::boot_key::{BootPublicKey, BootSigner};
use super::dump::View;
use super::signature_check::SignatureCheck;
use crate::Error;
use crate::bridge::keys::read_small;
use crate::recognise::{FileKind, recognise};

/// The keys of version 1; a part without its key is not checked, and said to be so.
#[derive(Default)]
pub struct BootKeysV1 {
    app: Option<BootPublicKey>,
    bootloader: Option<DigestKey>,
}

/// The AES-256 key in the chip's BLOCK2, under which ROM and tool make the bootloader's digest.
pub struct DigestKey(Zeroizing<[u8; 32]>);

impl DigestKey {
    /// Reads 32 bare bytes.
    ///
    /// # Errors
    /// `Io`; refused for another length, naming what the file is if that can be told.
    pub fn read(path: &Path) -> Result<DigestKey, Error> {
        const REMEDY: &str = "name the key that is burned into BLOCK2, as bare bytes; of a signing key it is made by esp key-digest --scheme v1";
        let bytes = read_small(path)?;
        if let Ok(key) = <[u8; 32]>::try_from(bytes.as_slice()) {
            return Ok(DigestKey(Zeroizing::new(key)));
        }
        let found = match (recognise(&bytes), bytes.len()) {
            (Some(kind @ FileKind::Pem), _) => format!("is {kind}, not a key of 32 bare bytes"),
            (_, 24) => {
                "has 24 bytes, which belong to an ESP32 with 3/4 coding; the digest is made with 32"
                    .to_owned()
            }
            (_, len) => format!("has {len} bytes, the key of a bootloader's digest has 32"),
        };
        Err(Error::refused(path.display().to_string(), found, REMEDY))
    }

    /// Makes it of a signing key on P-256, as `espsecure digest-private-key` does: the SHA-256 of its secret number.
    ///
    /// # Errors
    /// `Io`; refused for a public key, and one on another curve.
    pub fn of_signer(path: &Path) -> Result<DigestKey, Error> {
        let signer = BootSigner::open(&path.display().to_string())?;
        signer.public().check_p256(signer.name())?;
        let secret = signer.p256_secret().ok_or_else(|| {
            Error::refused(signer.name(), "is not at hand", "name the private key file")
        })?;
        Ok(DigestKey(Zeroizing::new(
            Sha256::digest(secret.as_slice()).into(),
        )))
    }

    /// The key itself, to be written to a file of its owner's.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The digest over `bootloader`, whose header says whether a hash follows.
    pub fn digest(&self, iv: &[u8; IV_LEN], bootloader: &[u8]) -> [u8; 64] {
        v1::bootloader_digest(&self.0, iv, bootloader, bootloader.get(23) == Some(&1))
    }
}

impl BootKeysV1 {
    /// Reads the public key of applications, and takes the key of the bootloader's digest.
    ///
    /// # Errors
    /// `Io`; refused if `app` holds no key on P-256.
    pub fn read(app: Option<&Path>, bootloader: Option<DigestKey>) -> Result<BootKeysV1, Error> {
        let app = app.map(read_p256).transpose()?;
        Ok(BootKeysV1 { app, bootloader })
    }
}

/// Reads the public key that verifies applications.
///
/// # Errors
/// `Io`; refused for a key that version 1 does not take.
pub fn read_p256(path: &Path) -> Result<BootPublicKey, Error> {
    let key = BootPublicKey::read(path)?;
    key.check_p256(&path.display().to_string())?;
    Ok(key)
}

impl SignatureCheck for BootKeysV1 {
    fn check(&self, view: View<'_>, image_len: u64) -> Result<Result<String, String>, Error> {
        let Some(key) = &self.app else {
            return Ok(Ok("its signature not checked: give --sb-key".to_owned()));
        };
        let Ok(len) = usize::try_from(image_len) else {
            return Ok(Err("is too long".to_owned()));
        };
        let bytes = view.head(len + v1::SIGNATURE_LEN)?;
        let Some(signature) = v1::parse(&bytes).filter(|_| bytes.len() == len + v1::SIGNATURE_LEN)
        else {
            return Ok(Err(format!(
                "is not signed: there is no signature of version 1 at {image_len:#x}, right behind the image"
            )));
        };
        let (body, _) = bytes.split_at(len);
        Ok(if key.verifies(&key.digest(body), signature) {
            Ok("signed (v1)".to_owned())
        } else {
            Err(
                "the signature (v1) is by another key, or the image was changed after signing"
                    .to_owned(),
            )
        })
    }

    fn check_bootloader(
        &self,
        view: View<'_>,
        image: &Image,
        before: View<'_>,
    ) -> Result<Result<String, String>, Error> {
        let head = before.head(IV_LEN + 64)?;
        if head.iter().all(|byte| *byte == 0xFF) {
            return Ok(Err(
                "has no digest at 0x0, which secure boot version 1 needs: write the output of esp sign --scheme v1 --bootloader to 0x0".to_owned(),
            ));
        }
        let Some(key) = &self.bootloader else {
            return Ok(Ok("its digest not checked: give --sb-v1-key".to_owned()));
        };
        let Some((iv, digest)) = head.split_first_chunk::<IV_LEN>() else {
            return Ok(Err(
                "has no digest at 0x0: the dump ends before it".to_owned()
            ));
        };
        let bootloader = view.head(usize::try_from(image.len).unwrap_or(BOOTLOADER_AT))?;
        Ok(if key.digest(iv, &bootloader) == *digest {
            Ok("digest at 0x0 fits (v1)".to_owned())
        } else {
            Err(
                "the digest at 0x0 is of another bootloader, or was made with another key"
                    .to_owned(),
            )
        })
    }
}
