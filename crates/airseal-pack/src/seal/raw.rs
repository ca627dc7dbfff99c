//! Sealing what lies in a flash-encrypted slot: the firmware encrypted on the host under the device's flash key, once for
//! the address of every slot.

use std::path::Path;

use airseal_esp::flash_encryption::{BLOCK_LEN, DEFAULT_CRYPT_CONFIG, FlashKey, RegionFault};
use airseal_format::component::FlashEncryption;

use crate::Error;
use crate::esp::flash_key;
use crate::esp::partitions::ota_slots;
use crate::firmware::{Firmware, FirmwareChecks};

/// Where the flash key and the slots come from.
#[derive(Clone, Copy, Debug)]
pub struct RawFlashFiles<'a> {
    /// The flash encryption key of one device, or of all that share it: bare bytes.
    pub key: &'a Path,
    /// The partition table of these devices, CSV or binary.
    pub partitions: &'a Path,
    /// The original ESP32's `FLASH_CRYPT_CONFIG`; other chips have none.
    pub crypt_config: Option<u8>,
}

/// A flash key and the slots that firmware is encrypted for.
pub struct RawFlash {
    pub(super) key: FlashKey,
    pub(super) encryption: FlashEncryption,
    /// In the order of their numbers, at least one, at most eight.
    pub(super) slots: Vec<RawSlot>,
    /// What is unusual about the partition table.
    pub warnings: Vec<String>,
}

/// One application slot of the table.
#[derive(Clone, Debug)]
pub(super) struct RawSlot {
    pub(super) label: String,
    pub(super) address: u32,
}

impl RawFlash {
    /// Reads key and table for `firmware`, and checks that it fits every slot with its record area.
    ///
    /// # Errors
    /// `Io`; usage error if the firmware names no chip, or has none of this setting; refused if the chip takes no such
    /// key, the table has no slot or more than a release can hold, or a slot lies where the chip can't encrypt.
    pub fn read(files: &RawFlashFiles<'_>, firmware: &Firmware) -> Result<RawFlash, Error> {
        let Some(chip) = firmware.chip() else {
            return Err(Error::usage(
                "--raw-flash-key with --chip none: the chip decides how its flash is encrypted",
                "leave --chip away, or name the chip",
            ));
        };
        let is_legacy = chip.flash_encryption() == airseal_esp::chip::FlashEncryption::Legacy;
        if files.crypt_config.is_some() && !is_legacy {
            return Err(Error::usage(
                format!("--flash-crypt-conf: {chip} has no FLASH_CRYPT_CONFIG"),
                "leave it away; it belongs to the original ESP32",
            ));
        }
        let crypt_config = files.crypt_config.unwrap_or(DEFAULT_CRYPT_CONFIG);
        let (key, encryption) = flash_key::read_checked(files.key, chip, crypt_config)?;
        let (table, warnings) = firmware.read_table(files.partitions)?;
        let name = files.partitions.display().to_string();
        firmware.check_fits(&table, &name, &FirmwareChecks::default())?;
        let rows = ota_slots(&table);
        let refuse = |message: String, remedy: &str| Err(Error::refused(&*name, message, remedy));
        if rows.len() > MAX_SLOTS {
            return refuse(
                format!(
                    "has {} OTA slots, a release has room for {MAX_SLOTS}",
                    rows.len()
                ),
                "give a table with the slots that updates are written to",
            );
        }
        for row in &rows {
            if let Err(fault) = key.check(row.offset, padded(firmware.len())) {
                return refuse(
                    format!("slot {}: {fault}", row.label),
                    match fault {
                        RegionFault::Beyond { .. } => "put the slots where the chip can read them",
                        _ => "align the slots to 64 KiB",
                    },
                );
            }
        }
        let slots = rows
            .iter()
            .map(|row| RawSlot {
                label: row.label.to_string(),
                address: row.offset,
            })
            .collect();
        Ok(RawFlash {
            key,
            encryption,
            slots,
            warnings,
        })
    }
}

/// Bytes that are encrypted for an image of `len`: flash encryption works on whole blocks, and erased flash fills up.
pub(super) fn padded(len: u64) -> u64 {
    len.next_multiple_of(BLOCK_LEN as u64)
}

/// Components of a manifest.
const MAX_SLOTS: usize = airseal_format::manifest::MAX_COMPONENTS;
