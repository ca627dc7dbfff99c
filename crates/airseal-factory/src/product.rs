//! A configuration that was looked at as a whole: every file read, every contradiction found, before anything is made.

use std::path::{Path, PathBuf};

use airseal_esp::Chip;
use airseal_esp::partition::PartitionTable;
use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::esp::boot_key::BootPublicKey;
use zeroize::Zeroizing;

mod boot;
mod layout;
mod serials;

pub use layout::{Content, Region};

use crate::batch::names_a_file;
use crate::config::{
    AfterVerification, BootScheme, Config, EncryptionMode, FlashKeyConfig, NvsEncryption,
    SeedSource,
};
use crate::efuse::{EfusePlan, EfuseWish};
use crate::idf;
use crate::labels;
use crate::secrets::SecretKinds;

/// Longest flash key, bytes.
const MAX_FLASH_KEY: u64 = 64;

/// Everything a batch is made from.
pub struct Product {
    /// The file it was read from; messages name it.
    pub file: String,
    /// The settings.
    pub config: Config,
    /// The chip.
    pub chip: Chip,
    /// Bytes of flash.
    pub flash_size: u64,
    /// The partition table.
    pub table: PartitionTable,
    /// What is flashed, ascending by address.
    pub regions: Vec<Region>,
    /// Keys whose digests are burned.
    pub boot_keys: Vec<BootPublicKey>,
    /// What is burned.
    pub efuses: EfusePlan,
    /// Which secrets each device has.
    pub secrets: SecretKinds,
    /// The flash key that all devices of a development batch share, if one is named.
    pub development_key: Option<Zeroizing<Vec<u8>>>,
    /// Serials, spares included, in order.
    pub serials: Vec<String>,
    /// What is unusual, for people.
    pub warnings: Vec<String>,
}

impl Product {
    /// Reads a configuration and everything it names.
    ///
    /// # Errors
    /// `Io`; refused for the first setting that contradicts another, a file or the chip.
    pub fn read(path: &Path) -> Result<Product, Error> {
        let mut config = Config::read(path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        idf::apply(&mut config, &path.display().to_string(), &folder)?;
        Checker {
            file: path.display().to_string(),
            folder,
            config,
        }
        .check()
    }

    /// The folder that the configuration's paths are relative to.
    pub fn folder(&self) -> &Path {
        Path::new(&self.file).parent().unwrap_or(Path::new(""))
    }

    /// The region of this name.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == name)
    }
}

struct Checker {
    file: String,
    folder: PathBuf,
    config: Config,
}

impl Checker {
    fn check(self) -> Result<Product, Error> {
        let chip = self.chip()?;
        let flash_size = self.flash_size()?;
        self.names()?;
        self.keys()?;
        let boot_keys = self.boot_keys(chip)?;
        let (table, mut warnings) = self.table(chip, flash_size)?;
        let regions = self.regions(chip, &table, &boot_keys)?;
        let secrets = self.secrets(chip, &regions)?;
        let development_key = self.development_key(chip)?;
        let key_len = development_key
            .as_ref()
            .map_or(secrets.flash_key_len, |key| key.len());
        let efuses = EfusePlan::new(&self.wish(chip, key_len, &boot_keys))
            .map_err(|error| self.within(error))?;
        let serials = self.serials()?;
        if self.config.keys.at_rest == ["plain-for-tests"] {
            warnings.push(
                "keys.at_rest is plain-for-tests: whoever reads this folder can clone every device"
                    .to_owned(),
            );
        }
        Ok(Product {
            file: self.file,
            chip,
            flash_size,
            table,
            regions,
            boot_keys,
            efuses,
            secrets,
            development_key,
            serials,
            warnings,
            config: self.config,
        })
    }

    fn chip(&self) -> Result<Chip, Error> {
        let Some(name) = &self.config.chip.family else {
            return Err(self.refuse(
                "chip.family",
                "is missing",
                "name the chip, or an [idf] build that does",
            ));
        };
        Chip::from_name(name).ok_or_else(|| {
            self.refuse(
                "chip.family",
                &format!("{name} is no chip known here"),
                "esp32c3 and so on",
            )
        })
    }

    fn flash_size(&self) -> Result<u64, Error> {
        let text = self.config.chip.flash_size.as_deref().unwrap_or("");
        let megabytes = text
            .strip_suffix("MB")
            .and_then(|number| number.parse::<u64>().ok());
        match megabytes {
            Some(number) if number.is_power_of_two() && number <= 128 => Ok(number << 20),
            _ => Err(self.refuse(
                "chip.flash_size",
                &format!("is {text:?}"),
                "write 2MB, 4MB, 8MB and so on up to 128MB",
            )),
        }
    }

    /// Names end up in files, labels and programs' arguments.
    fn names(&self) -> Result<(), Error> {
        for (setting, text) in [
            ("product", &self.config.product),
            ("batch.id", &self.config.batch.id),
        ] {
            if !names_a_file(text, 32) {
                return Err(self.refuse(
                    setting,
                    &format!("is {text:?}"),
                    "use 1 to 32 letters, digits, - _ and . and begin with a letter or digit",
                ));
            }
        }
        Ok(())
    }

    fn keys(&self) -> Result<(), Error> {
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

    fn secrets(&self, chip: Chip, regions: &[Region]) -> Result<SecretKinds, Error> {
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
    fn development_key(&self, chip: Chip) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let encryption = &self.config.flash_encryption;
        let FlashKeyConfig::File(path) = &encryption.key else {
            return Ok(None);
        };
        if encryption.mode == EncryptionMode::Off {
            return Ok(None);
        }
        let key = Zeroizing::new(read_small(
            &self.folder.join(path),
            MAX_FLASH_KEY,
            "a flash key",
        )?);
        if !chip.flash_encryption().takes_key_len(key.len()) {
            return Err(self.refuse(
                "flash_encryption.key",
                &format!("{} has {} bytes, which no key of an {chip} has", path.display(), key.len()),
                "name the bare key: 32 bytes, 64 for XTS-AES-256, 16 for an esp32c2 with secure boot",
            ));
        }
        Ok(Some(key))
    }

    fn wish(&self, chip: Chip, flash_key_len: usize, boot_keys: &[BootPublicKey]) -> EfuseWish {
        let named = |block: &str| (block != "auto").then(|| block.to_owned());
        let config = &self.config;
        EfuseWish {
            chip,
            encryption: config.flash_encryption.mode,
            flash_key_len,
            flash_key_block: named(&config.flash_encryption.block),
            seed: config.device_key.source,
            seed_block: named(&config.device_key.block),
            secure_boot: config.secure_boot.scheme,
            digests: u8::try_from(boot_keys.len()).unwrap_or(u8::MAX),
            revoke_unused: config.secure_boot.revoke_unused,
            aggressive_revoke: config.secure_boot.aggressive_revoke,
            download: config.efuse.download,
            jtag: config.efuse.jtag,
            secure_version: config.efuse.secure_version,
            custom: config.efuse.custom.clone().into_iter().collect(),
        }
    }

    fn refuse(&self, setting: &str, what: &str, remedy: &str) -> Error {
        Error::refused(format!("{}: {setting}", self.file), what, remedy)
    }

    /// An error about a setting, with the file before it.
    fn within(&self, error: Error) -> Error {
        match error {
            Error::Refused {
                subject,
                message,
                remedy,
            } => Error::refused(format!("{}: {subject}", self.file), message, remedy),
            other => other,
        }
    }
}
