//! An ESP-IDF build as a source of settings: `flasher_args.json` fills what the configuration leaves out, and `sdkconfig`
//! must not contradict what it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::esp::flash_check::RollbackKind;
use serde_json::Value;

use crate::config::{BootScheme, Config, Download, EncryptionMode};

/// Longest file of a build that is read, bytes.
const MAX_FILE: u64 = 4 << 20;

const ANTI_ROLLBACK: &str = "BOOTLOADER_APP_ANTI_ROLLBACK";

/// Fills and compares; `file` names the configuration, which lies in `folder`. Gives how the bootloader was built.
///
/// # Errors
/// `Io`; refused for the first contradiction, with both sides.
pub(crate) fn apply(config: &mut Config, file: &str, folder: &Path) -> Result<RollbackKind, Error> {
    let Some(idf) = &config.idf else {
        return Ok(RollbackKind::Off);
    };
    let build = folder.join(&idf.build);
    Build::read(&build)?.fill(config, file, &idf.build.clone())?;
    let options = Sdkconfig::read(&build)?;
    options.compare(config, file)?;
    Ok(if options.is_on(ANTI_ROLLBACK) {
        RollbackKind::Anti(config.efuse.secure_version.into())
    } else {
        RollbackKind::On
    })
}

struct Build {
    file: PathBuf,
    arguments: Value,
}

impl Build {
    fn read(build: &Path) -> Result<Build, Error> {
        let file = build.join("flasher_args.json");
        let text = read_small(&file, MAX_FILE, "flasher_args.json")?;
        let arguments = serde_json::from_slice(&text).map_err(|error| {
            Error::refused(
                file.display().to_string(),
                format!("is damaged: {error}"),
                "build the project again",
            )
        })?;
        Ok(Build { file, arguments })
    }

    fn fill(&self, config: &mut Config, file: &str, build: &Path) -> Result<(), Error> {
        let chip = self.text(&["extra_esptool_args", "chip"])?;
        agree(
            file,
            "chip.family",
            &mut config.chip.family,
            chip,
            "flasher_args.json",
        )?;
        let size = self.text(&["flash_settings", "flash_size"])?;
        agree(
            file,
            "chip.flash_size",
            &mut config.chip.flash_size,
            size,
            "flasher_args.json",
        )?;
        let offset = self.offset("partition-table")?;
        agree(
            file,
            "flash.partition_table_offset",
            &mut config.flash.partition_table_offset,
            offset,
            "flasher_args.json",
        )?;
        let built = |name: &str| Ok::<_, Error>(build.join(self.text(&[name, "file"])?));
        if config.flash.bootloader.is_none() {
            config.flash.bootloader = Some(built("bootloader")?);
        }
        if config.flash.partition_table.is_none() {
            config.flash.partition_table = Some(built("partition-table")?);
        }
        Ok(())
    }

    fn text(&self, path: &[&str]) -> Result<String, Error> {
        let found = path
            .iter()
            .try_fold(&self.arguments, |value, name| value.get(name));
        found
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| {
                Error::refused(
                    self.file.display().to_string(),
                    format!("has no {}", path.join(".")),
                    "build the whole project, not the app alone",
                )
            })
    }

    fn offset(&self, name: &str) -> Result<u32, Error> {
        let text = self.text(&[name, "offset"])?;
        parse_number(&text).ok_or_else(|| {
            Error::refused(
                self.file.display().to_string(),
                format!("{name}.offset is {text:?}"),
                "build the project again",
            )
        })
    }
}

/// Takes `found` where nothing is set, and refuses another value.
fn agree<T: PartialEq + std::fmt::Debug>(
    file: &str,
    setting: &str,
    value: &mut Option<T>,
    found: T,
    source: &str,
) -> Result<(), Error> {
    match value {
        None => *value = Some(found),
        Some(set) if *set == found => {}
        Some(set) => {
            return Err(Error::refused(
                format!("{file}: {setting}"),
                format!("is {set:?}, and the build has {found:?} ({source})"),
                "change one of the two: an image built for another layout does not start",
            ));
        }
    }
    Ok(())
}

struct Sdkconfig {
    file: PathBuf,
    options: BTreeMap<String, String>,
}

impl Sdkconfig {
    /// In the build folder or the one above it.
    fn read(build: &Path) -> Result<Sdkconfig, Error> {
        let above = build.parent().map(|folder| folder.join("sdkconfig"));
        let file = [Some(build.join("sdkconfig")), above]
            .into_iter()
            .flatten()
            .find(|path| path.is_file());
        let file = file.ok_or_else(|| {
            Error::refused(
                build.display().to_string(),
                "has no sdkconfig, nor has the folder above",
                "name the project's build folder",
            )
        })?;
        let text = read_small(&file, MAX_FILE, "sdkconfig")?;
        let text = String::from_utf8_lossy(&text);
        let options = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("CONFIG_")?.split_once('='));
        let options = options
            .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
            .collect();
        Ok(Sdkconfig { file, options })
    }

    fn is_on(&self, name: &str) -> bool {
        self.options.get(name).is_some_and(|value| value == "y")
    }

    fn compare(&self, config: &Config, file: &str) -> Result<(), Error> {
        let encryption = config.flash_encryption.mode;
        let boot = config.secure_boot.scheme;
        let release = encryption == EncryptionMode::Release;
        let v2 = !matches!(boot, BootScheme::Off | BootScheme::V1);
        self.must(
            "flash_encryption.mode",
            file,
            "SECURE_FLASH_ENC_ENABLED",
            encryption != EncryptionMode::Off,
        )?;
        if encryption != EncryptionMode::Off {
            self.must(
                "flash_encryption.mode",
                file,
                "SECURE_FLASH_ENCRYPTION_MODE_RELEASE",
                release,
            )?;
        }
        self.must("secure_boot.scheme", file, "SECURE_BOOT_V2_ENABLED", v2)?;
        if v2 {
            let rsa = boot == BootScheme::V2Rsa;
            self.must(
                "secure_boot.scheme",
                file,
                "SECURE_SIGNED_APPS_RSA_SCHEME",
                rsa,
            )?;
        }
        // Without rollback a bad update is never taken back: potted boards need it.
        self.must(
            "flash.partitions",
            file,
            "BOOTLOADER_APP_ROLLBACK_ENABLE",
            true,
        )?;
        if config.efuse.secure_version > 0 {
            self.must("efuse.secure_version", file, ANTI_ROLLBACK, true)?;
        }
        self.loader(config, file)?;
        let Some(text) = self.options.get("PARTITION_TABLE_OFFSET") else {
            return Ok(());
        };
        let setting = "flash.partition_table_offset";
        match (parse_number(text), config.flash.partition_table_offset) {
            (None, _) => Err(self.contradiction(
                file,
                setting,
                &format!("can't be compared: CONFIG_PARTITION_TABLE_OFFSET is {text:?}"),
            )),
            (Some(built), Some(set)) if built != set => Err(self.contradiction(
                file,
                setting,
                &format!("is {set:#x}, and CONFIG_PARTITION_TABLE_OFFSET is {built:#x}"),
            )),
            _ => Ok(()),
        }
    }

    /// Firmware that closes the loader by itself does so when it first starts: at the line, before the lock. A loader in
    /// secure mode still answers, and is seen to be locked; one that is gone tells nothing any more.
    fn loader(&self, config: &Config, file: &str) -> Result<(), Error> {
        const GONE: &str = "SECURE_DISABLE_ROM_DL_MODE";
        const SECURE: &str = "SECURE_ENABLE_SECURE_ROM_DL_MODE";
        let set = config.efuse.download;
        let what = if self.is_on(GONE) {
            format!(
                "is {}, and CONFIG_{GONE} makes the firmware switch the loader off at its first start, before the line has closed it: no board could be finished",
                set.name()
            )
        } else if self.is_on(SECURE) && set != Download::Secure {
            format!(
                "is {}, and CONFIG_{SECURE} makes the firmware burn {}",
                set.name(),
                Download::Secure.name()
            )
        } else {
            return Ok(());
        };
        Err(self.contradiction(file, "efuse.download", &what))
    }

    fn must(&self, setting: &str, file: &str, option: &str, on: bool) -> Result<(), Error> {
        if self.is_on(option) == on {
            return Ok(());
        }
        let (wants, has) = if on { ("on", "off") } else { ("off", "on") };
        Err(self.contradiction(
            file,
            setting,
            &format!("needs CONFIG_{option} {wants}, and it is {has}"),
        ))
    }

    fn contradiction(&self, file: &str, setting: &str, what: &str) -> Error {
        Error::refused(
            format!("{file}: {setting}"),
            format!("{what} in {}", self.file.display()),
            "change the setting, or the option and build again",
        )
    }
}

fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
