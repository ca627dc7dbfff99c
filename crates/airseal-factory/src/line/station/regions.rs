//! The bytes of one board's flash, encrypted where its chip expects it.

use airseal_esp::flash_encryption::{DEFAULT_CRYPT_CONFIG, FlashKey};
use airseal_pack::Error;
use zeroize::Zeroizing;

use super::{Job, Station};
use crate::batch::{RegionPlan, RegionSource};
use crate::line::bench::FlashFile;
use crate::secrets::DeviceSecrets;

/// A multiple of what every scheme encrypts at once, bytes.
const UNIT: usize = 32;

impl Station<'_> {
    /// Writes a file for each region into the work folder.
    pub(super) fn regions(&self, job: &mut Job<'_>) -> Result<Vec<FlashFile>, Error> {
        self.secrets(job)?;
        let secrets = job.secrets.take().unwrap_or_default();
        let files = self.description.regions.iter().map(|region| {
            let bytes = self.region(region, &secrets)?;
            let name = format!("{}@{:#x}.bin", region.name, region.address);
            Ok(FlashFile {
                address: region.address,
                path: job.work.replace(&name, &bytes)?,
            })
        });
        let files = files.collect();
        job.secrets = Some(secrets);
        files
    }

    fn region(&self, region: &RegionPlan, secrets: &DeviceSecrets) -> Result<Zeroizing<Vec<u8>>, Error> {
        let missing = || Error::refused(&region.name, "is not in the device's box", "the box is of an older batch");
        let mut bytes = Zeroizing::new(match &region.source {
            RegionSource::Common { file, sha256, .. } => self.common(file, sha256)?,
            RegionSource::NvsKeys => {
                let keys = secrets.nvs_keys.as_slice().try_into().map_err(|_| missing())?;
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
            FlashKey::new(self.chip, &secrets.flash_key, DEFAULT_CRYPT_CONFIG)
                .map_err(|fault| refuse(fault.to_string()))?
                .encrypt(region.address, &mut bytes)
                .map_err(|fault| refuse(fault.to_string()))?;
        }
        Ok(bytes)
    }
}
