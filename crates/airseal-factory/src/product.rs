//! A configuration that was looked at as a whole: every file read, every contradiction found, before anything is made.

use std::path::{Path, PathBuf};

use airseal_esp::Chip;
use airseal_esp::partition::PartitionTable;
use airseal_pack::Error;
use airseal_pack::esp::boot_key::BootPublicKey;
use airseal_pack::esp::flash_check::RollbackKind;
use zeroize::Zeroizing;

mod boot;
mod images;
mod keys;
mod layout;
mod play;
mod release;
mod seed;
mod serials;
mod warnings;

pub use layout::{Content, Region};
pub(crate) use warnings::open_doors;

use crate::batch::names_a_file;
use crate::config::{BootScheme, Config, Download};
use crate::efuse::{EfusePlan, EfuseWish};
use crate::idf;
use crate::secrets::SecretKinds;

/// Everything a batch is made from.
pub struct Product {
    /// The file it was read from; messages name it.
    pub file: String,
    /// The file as it was read.
    pub text: String,
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
    /// The NVS row that holds the seed, if one does.
    pub seed_row: Option<String>,
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
        let (mut config, text) = Config::read_text(path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let rollback = idf::apply(&mut config, &path.display().to_string(), &folder)?;
        Checker {
            file: path.display().to_string(),
            folder,
            text,
            config,
            rollback,
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
    text: String,
    config: Config,
    /// How the bootloader was built, as far as a build says.
    rollback: RollbackKind,
}

impl Checker {
    fn check(self) -> Result<Product, Error> {
        let chip = self.chip()?;
        let flash_size = self.flash_size()?;
        self.names()?;
        self.version()?;
        self.revision(chip)?;
        self.keys()?;
        let boot_keys = self.boot_keys(chip)?;
        let (table, mut warnings) = self.table(chip, flash_size)?;
        let regions = self.regions(chip, &table, &boot_keys, &mut warnings)?;
        let mut secrets = self.secrets(chip, &regions)?;
        let fields = self.secret_fields(&regions)?;
        secrets.claim |= fields.claim;
        let development_key = self.development_key(chip)?;
        let key_len = development_key
            .as_ref()
            .map_or(secrets.flash_key_len, |key| key.len());
        let efuses = EfusePlan::new(&self.wish(chip, key_len, &boot_keys))
            .map_err(|error| self.within(error))?;
        let serials = self.serials()?;
        self.versions(chip, &table, &regions, &mut warnings)?;
        self.room_for_updates(&table, &regions, &mut warnings)?;
        self.boots(
            chip,
            flash_size,
            &table,
            &regions,
            &boot_keys,
            &mut warnings,
        )?;
        self.open_doors(&mut warnings);
        if self.config.keys.at_rest == ["plain-for-tests"] {
            warnings.push(
                "keys.at_rest is plain-for-tests: whoever reads this folder can clone every device"
                    .to_owned(),
            );
        }
        Ok(Product {
            file: self.file,
            text: self.text,
            chip,
            flash_size,
            table,
            regions,
            boot_keys,
            efuses,
            secrets,
            seed_row: fields.seed_row,
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

    /// Older chips of the original take the switches and do nothing of it: they would be recorded as locked.
    fn revision(&self, chip: Chip) -> Result<(), Error> {
        const FIRST: u16 = 300;
        let config = &self.config;
        if chip.name() != "esp32" || config.chip.min_revision >= FIRST {
            return Ok(());
        }
        let what = if config.secure_boot.scheme != BootScheme::Off {
            "secure_boot.scheme v2"
        } else if config.efuse.download == Download::Off {
            "efuse.download off"
        } else {
            return Ok(());
        };
        Err(self.refuse(
            "chip.min_revision",
            &format!(
                "is {}, and {what} works on an esp32 from revision 3.0 on",
                config.chip.min_revision
            ),
            &format!("write {FIRST}: the line then takes no older chip"),
        ))
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

    /// An error about a file that a setting names, in words of the configuration.
    fn of_setting(&self, setting: &str, error: Error) -> Error {
        let place = format!("{}: {setting}", self.file);
        match error {
            Error::Io { action, source } => Error::Io {
                action: format!("{place}: {action}"),
                source,
            },
            Error::Refused { ref subject, .. } if subject.starts_with(&self.file) => error,
            Error::Cancelled | Error::Usage { .. } => error,
            other => {
                let text = other.to_string();
                let remedy = other.remedy();
                let message = text.strip_suffix(&format!("; {remedy}")).unwrap_or(&text);
                Error::refused(place, message, in_settings(remedy))
            }
        }
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

/// A remedy of a command on files, whose options are settings here.
fn in_settings(remedy: &str) -> &str {
    let known = [
        (
            "--flash-size",
            "make partitions smaller, or write the real size as chip.flash_size",
        ),
        ("--chip none", "build or copy the firmware again"),
        (
            "--append",
            "say secure_boot.sign = [\"already-signed\"], or name the unsigned image",
        ),
        ("--allow-no-descriptor", "name the application of the build"),
    ];
    let found = known.iter().find(|(option, _)| remedy.contains(option));
    match found {
        Some((_, here)) => here,
        None if remedy.is_empty() => "name the file of the build",
        None => remedy,
    }
}
