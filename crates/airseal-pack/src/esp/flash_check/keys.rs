//! The keys that a flash is checked with, from their files.

use std::path::{Path, PathBuf};

use airseal_esp::Chip;
use airseal_esp::flash_encryption::FlashKey;

use crate::Error;
use crate::esp::boot_key::BootPublicKey;
use crate::esp::chip_state::{ChipState, FusedSecureBoot};
use crate::esp::flash_key;
use crate::esp::signature_check::SignatureCheck;
use crate::esp::signatures::BootKeys;
use crate::esp::signatures_v1::{BootKeysV1, DigestKey};
use crate::source::Source;

/// Key files, and what belongs to them.
pub struct CheckKeys<'a> {
    /// The chip.
    pub chip: Chip,
    /// The chip's eFuses, which decide where they say something.
    pub efuses: Option<&'a ChipState>,
    /// The flash encryption key.
    pub flash_key: Option<&'a Path>,
    /// `FLASH_CRYPT_CONFIG` of the original ESP32, where the eFuses do not tell.
    pub crypt_config: u8,
    /// Keys of secure boot, of which one must have signed.
    pub boot_keys: &'a [PathBuf],
    /// Whether it is secure boot version 1; `None` as the eFuses and the other keys say.
    pub is_v1: Option<bool>,
    /// Version 1: the key of the bootloader's digest.
    pub digest_key: Option<&'a Path>,
}

impl CheckKeys<'_> {
    /// The key that the flash is decrypted with; `None` if none is named.
    ///
    /// # Errors
    /// `Io`; refused for a key that the chip does not take, or that was not burned into it.
    pub fn read_flash_key(&self) -> Result<Option<FlashKey>, Error> {
        let Some(path) = self.flash_key else {
            return Ok(None);
        };
        let config = self.efuses.and_then(|efuses| efuses.flash_crypt_config);
        let key = flash_key::read(path, self.chip, config.unwrap_or(self.crypt_config))?;
        if let Some(efuses) = self.efuses.filter(|efuses| efuses.flash_encryption) {
            efuses
                .check_key_len(Source::open(path)?.len())
                .map_err(|why| {
                    Error::refused(
                        path.display().to_string(),
                        why,
                        "give the key that was burned into this chip, and its own summary",
                    )
                })?;
        }
        Ok(Some(key))
    }

    /// What tells whether an image is signed; `None` if no key is named.
    ///
    /// # Errors
    /// `Io`; refused for a file that is no such key; usage for keys of another version of secure boot.
    pub fn read_signatures(&self) -> Result<Option<Box<dyn SignatureCheck>>, Error> {
        let fused_v1 = self
            .efuses
            .is_some_and(|efuses| efuses.secure_boot == FusedSecureBoot::V1);
        if self.is_v1.unwrap_or(self.digest_key.is_some() || fused_v1) {
            return Ok(Some(Box::new(self.read_v1()?)));
        }
        if fused_v1 {
            return Err(Error::usage(
                "--sb-scheme v2: the eFuses say that this chip has secure boot version 1",
                "leave out --sb-scheme",
            ));
        }
        if self.digest_key.is_some() {
            return Err(Error::usage(
                "--sb-v1-key goes with version 1",
                "leave out --sb-scheme v2",
            ));
        }
        let keys = self.boot_keys.iter().map(|path| BootPublicKey::read(path));
        let keys: Vec<BootPublicKey> = keys.collect::<Result<_, _>>()?;
        let keys = (!keys.is_empty()).then_some(BootKeys(keys));
        Ok(keys.map(|keys| Box::new(keys) as Box<dyn SignatureCheck>))
    }

    fn read_v1(&self) -> Result<BootKeysV1, Error> {
        if !self.chip.secure_boot().v1 {
            return Err(Error::usage(
                format!("the {} has no secure boot version 1", self.chip),
                "that is for the original ESP32 alone",
            ));
        }
        let app = match self.boot_keys {
            [] => None,
            [key] => Some(key.as_path()),
            _ => {
                return Err(Error::usage(
                    "version 1 has one signature by one key",
                    "give one --sb-key",
                ));
            }
        };
        let digest_key = self.digest_key.map(DigestKey::read).transpose()?;
        BootKeysV1::read(app, digest_key)
    }
}
