use airseal_esp::Chip;
use airseal_esp::flash_encryption::DEFAULT_CRYPT_CONFIG;
use airseal_esp::partition::DEFAULT_TABLE_OFFSET;
use airseal_format::component::FlashEncryption;
use airseal_pack::esp::flash_key;
use airseal_pack::esp::partitions::{self, TablePlace};
use airseal_sim::device::STATE_LEN;
use airseal_update::flash::Region;

use super::args::DeviceArgs;
use crate::failure::Failure;

/// Scheme and check value of the flash key, if one is named.
///
/// # Errors
/// Environment; refused for a key that the chip does not take.
pub(super) fn encryption(args: &DeviceArgs, chip: Chip) -> Result<FlashEncryption, Failure> {
    match &args.flash_key {
        None => Ok(FlashEncryption::None),
        Some(path) => {
            let (_, encryption) = flash_key::read_checked(path, chip, DEFAULT_CRYPT_CONFIG)?;
            Ok(encryption)
        }
    }
}

/// The first two OTA slots of the partition table, if one is named.
///
/// # Errors
/// Environment; refused for a table that can't be read or has no two slots.
pub(super) fn slots(args: &DeviceArgs, chip: Chip) -> Result<Option<[Region; 2]>, Failure> {
    let Some(path) = &args.partitions else {
        return Ok(None);
    };
    let place = TablePlace {
        offset: DEFAULT_TABLE_OFFSET,
        flash_size: None,
        chip: Some(chip),
    };
    let (table, _) = partitions::read(path, place)?;
    let rows = partitions::ota_slots(&table);
    let wrong = |what: String, hint: &str| {
        Err(Failure::refused(format_args!("{}: {what}", path.display())).hint(hint))
    };
    let [a, b, ..] = rows[..] else {
        return wrong(
            format!("has {} OTA slots, a device needs two", rows.len()),
            "add ota_0 and ota_1",
        );
    };
    let slots = [a, b].map(|row| Region {
        offset: row.offset,
        len: row.size / SECTOR * SECTOR,
    });
    if a.offset.min(b.offset) < STATE_LEN || a.end().max(b.end()) > MAX_FLASH {
        return wrong(
            "its slots do not fit a simulated flash".to_owned(),
            "they lie between 16 KiB and 256 MiB",
        );
    }
    Ok(Some(slots))
}

const SECTOR: u32 = 4096;
const MAX_FLASH: u64 = 256 << 20;
