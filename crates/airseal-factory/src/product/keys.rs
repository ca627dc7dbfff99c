//! Whose keys, how long, and who keeps them.

use airseal_esp::Chip;
use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use zeroize::Zeroizing;

use super::{Checker, Content, Region};
use crate::config::{
    AfterVerification, BootScheme, EncryptionMode, FlashKeyConfig, NvsEncryption, SeedSource,
};
use crate::labels;
use crate::secrets::SecretKinds;

/// Longest flash key, bytes.
const MAX_FLASH_KEY: u64 = 64;

impl Checker {
    pub(super) fn keys(&self) -> Result<(), Error> {
        let keys = &self.config.keys;
        if keys.at_rest.is_empty() {
            return Err(self.refuse("keys.at_rest", "names nobody", "name the line's public key"));
        }
        if keys.at_rest.len() > 1 && keys.at_rest.iter().any(|name| name == "plain-for-tests") {
            return Err(self.refuse(
                "keys.at_rest",
                "names keys and plain-for-tests",
                "sealed boxes are worth nothing beside plain ones: take one or the other",
            ));
        }
        match (keys.after, keys.escrow_to.is_empty()) {
            (AfterVerification::Escrow, true) => Err(self.refuse(
                "keys.escrow_to",
                "is empty, and keys.after is escrow",
                "name who keeps the keys",
            )),
            (AfterVerification::Destroy, false) => Err(self.refuse(
                "keys.escrow_to",
                "names somebody, and keys.after is destroy",
                "set keys.after to escrow, or leave escrow_to out",
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn secrets(&self, chip: Chip, regions: &[Region]) -> Result<SecretKinds, Error> {
        let encryption = &self.config.flash_encryption;
        let per_device = encryption.key == FlashKeyConfig::PerDevice;
        let flash_key_len = match (encryption.mode, per_device) {
            (EncryptionMode::Off, _) => 0,
            (EncryptionMode::Release, false) => {
                return Err(self.refuse(
                    "flash_encryption.key",
                    "is a file, and the mode is release: one leaked key would open every device",
                    "take key = \"per-device\", or mode = \"development\"",
                ));
            }
            (EncryptionMode::Development, false) => 0,
            (_, true) => self.flash_key_len(chip)?,
        };
        let nvs_keys = regions
            .iter()
            .any(|region| matches!(region.content, Content::NvsKeys));
        let hmac = self.config.device_key.source == SeedSource::EfuseHmac;
        for (name, nvs) in &self.config.nvs {
            let missing = match nvs.encrypt {
                NvsEncryption::Hmac if !hmac => "device_key.source = \"efuse-hmac\"",
                NvsEncryption::Keys if !nvs_keys => "a row with the content \"generate\"",
                _ => continue,
            };
            return Err(self.refuse(
                &format!("nvs.{name}.encrypt"),
                &format!("needs {missing}"),
                "add it, or encrypt in another way",
            ));
        }
        if self.config.device_key.vendor_image && !hmac {
            return Err(self.refuse(
                "device_key.vendor_image",
                "needs the seed in an HMAC block",
                "set device_key.source to efuse-hmac, or leave vendor_image out",
            ));
        }
        let label = self.config.label.as_ref();
        if let Some(name) = label.and_then(labels::unknown_placeholder) {
            return Err(self.refuse(
                "label",
                &format!("holds {{{name}}}, which nothing fills"),
                &format!("known are {{{}}}", labels::PLACEHOLDERS.join("}, {")),
            ));
        }
        let texts = label
            .iter()
            .flat_map(|label| label.text.iter().chain(&label.qr));
        Ok(SecretKinds {
            flash_key_len,
            seed: self.config.device_key.source != SeedSource::None,
            nvs_keys,
            claim: texts.into_iter().any(|text| text.contains("{claim}")),
        })
    }

    fn flash_key_len(&self, chip: Chip) -> Result<usize, Error> {
        let bits = self.config.flash_encryption.bits;
        let signed = self.config.secure_boot.scheme != BootScheme::Off;
        let len = match (chip.name(), bits) {
            ("esp32c2", 128) if signed => 16,
            (_, 128) => 32,
            (_, 256) => 64,
            _ => 0,
        };
        if len != 0 && chip.flash_encryption().takes_key_len(len) {
            return Ok(len);
        }
        Err(self.refuse(
            "flash_encryption.bits",
            &format!("{chip} has no XTS-AES-{bits}"),
            "leave bits out; 256 is for esp32s2, esp32s3 and esp32p4",
        ))
    }

    /// The key file of a development batch; [`Checker::secrets`] has refused one in release mode.
    pub(super) fn development_key(&self, chip: Chip) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let encryption = &self.config.flash_encryption;
        let FlashKeyConfig::File(path) = &encryption.key else {
            return Ok(None);
        };
        if encryption.mode == EncryptionMode::Off {
            return Ok(None);
        }
        let key = read_small(&self.folder.join(path), MAX_FLASH_KEY, "a flash key")
            .map_err(|error| self.of_setting("flash_encryption.key", error))?;
        let key = Zeroizing::new(key);
        if !chip.flash_encryption().takes_key_len(key.len()) {
            return Err(self.refuse(
                "flash_encryption.key",
                &format!("{} has {} bytes, which no key of an {chip} has", path.display(), key.len()),
                "name the bare key: 32 bytes, 64 for XTS-AES-256, 16 for an esp32c2 with secure boot",
            ));
        }
        Ok(Some(key))
    }
}
