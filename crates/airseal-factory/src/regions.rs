//! The bytes of one board's flash, encrypted where its chip expects it.

use airseal_esp::Chip;
use airseal_esp::flash_encryption::{DEFAULT_CRYPT_CONFIG, FlashKey};
use airseal_pack::Error;
use zeroize::Zeroizing;

use crate::batch::{RegionPlan, RegionSource};
use crate::secrets::DeviceSecrets;

/// A multiple of what every scheme encrypts at once, bytes.
const UNIT: usize = 32;

/// What the region holds on the device with these secrets. `common` reads a file of the batch by its name and SHA-256.
///
/// # Errors
/// Those of `common`; refused if the box lacks a part, or the key does not fit the chip.
pub fn device_bytes(
    chip: Chip,
    region: &RegionPlan,
    secrets: &DeviceSecrets,
    common: impl FnOnce(&str, &str) -> Result<Vec<u8>, Error>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let missing = || {
        Error::refused(
            &region.name,
            "is not in the device's box",
            "the box is of an older batch",
        )
    };
    let mut bytes = Zeroizing::new(match &region.source {
        RegionSource::Common { file, sha256, .. } => common(file, sha256)?,
        RegionSource::NvsKeys => {
            let keys = secrets
                .nvs_keys
                .as_slice()
                .try_into()
                .map_err(|_| missing())?;
            airseal_esp::nvs::keys_partition(keys).to_vec()
        }
        RegionSource::Nvs => {
            let found = secrets.nvs.iter().find(|(name, _)| *name == region.name);
            found.ok_or_else(missing)?.1.to_vec()
        }
    });
    if region.encrypted {
        let padded = bytes.len().next_multiple_of(UNIT);
        bytes.resize(padded, 0xFF);
        let refuse = |fault: String| Error::refused(&region.name, fault, "");
        FlashKey::new(chip, &secrets.flash_key, DEFAULT_CRYPT_CONFIG)
            .map_err(|fault| refuse(fault.to_string()))?
            .encrypt(region.address, &mut bytes)
            .map_err(|fault| refuse(fault.to_string()))?;
    }
    Ok(bytes)
}

/// The file of a region: its name and where it is written to.
pub fn file_name(region: &RegionPlan) -> String {
    format!("{}@{:#x}.bin", region.name, region.address)
}
