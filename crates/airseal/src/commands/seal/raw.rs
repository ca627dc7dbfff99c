//! Options of releases that are flash-encrypted already.

use std::path::PathBuf;

use airseal_pack::firmware::Firmware;
use airseal_pack::seal::{RawFlash, RawFlashFiles, Sealed};

use crate::commands::esp::shared::crypt_config;
use crate::commands::shared::warn_of_readable;
use crate::failure::Failure;
use crate::ui::Ui;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Raw images for encrypted flash")]
pub(super) struct RawFlashArgs {
    /// Encrypt the image for the flash of devices with this flash encryption key (bare bytes), once for each slot of --partitions; such devices write it as it comes
    #[arg(long, value_name = "FILE", requires = "partitions")]
    raw_flash_key: Option<PathBuf>,

    /// The partition table of these devices, CSV or binary
    #[arg(long, value_name = "FILE", requires = "raw_flash_key")]
    partitions: Option<PathBuf>,

    /// The original ESP32's FLASH_CRYPT_CONFIG [default: 0xF]
    #[arg(
        long,
        value_name = "N",
        value_parser = crypt_config,
        requires = "raw_flash_key"
    )]
    flash_crypt_conf: Option<u8>,
}

impl RawFlashArgs {
    /// The files that are read.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.raw_flash_key.iter().chain(&self.partitions)
    }

    /// Reads key and table, if they are given.
    pub(super) fn read(&self, firmware: &Firmware, ui: &Ui) -> Result<Option<RawFlash>, Failure> {
        warn_of_readable(&self.raw_flash_key, ui);
        let (Some(key), Some(partitions)) = (&self.raw_flash_key, &self.partitions) else {
            return Ok(None);
        };
        let files = RawFlashFiles {
            key,
            partitions,
            crypt_config: self.flash_crypt_conf,
        };
        Ok(Some(RawFlash::read(&files, firmware)?))
    }
}

/// Lines about the slots, or nothing.
pub(super) fn text(sealed: &Sealed) -> String {
    let Some(check) = &sealed.flash_key_check else {
        return String::new();
    };
    let slots = sealed.slots.iter().map(|slot| {
        format!(
            "\nslot         {} at {:#x}: component {}",
            slot.label, slot.address, slot.component
        )
    });
    let slots: String = slots.collect();
    format!(
        "\nraw flash    {}, key check value {check}{slots}",
        sealed.flash_encryption
    )
}
