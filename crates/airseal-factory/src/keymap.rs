//! Where each key of a batch lives, and what falls if it leaks.

use std::path::Path;

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use serde::Serialize;

use crate::batch::{Description, RegionSource};
use crate::config::{
    AfterVerification, BootScheme, Config, EncryptionMode, FlashKeyConfig, NvsEncryption,
    SeedSource,
};
use crate::efuse::{BurnedKey, EfusePlan};
use crate::prepare::{CONFIG, TEST_KEY};
use crate::product::open_doors;
use crate::status::{Counts, status};

/// Largest plan that is read, bytes.
pub(crate) const MAX_PLAN: u64 = 1 << 20;

/// The keys of a batch.
#[derive(Clone, Debug, Serialize)]
pub struct KeyMap {
    /// The batch.
    pub batch: String,
    /// The chip.
    pub chip: String,
    /// Its boards.
    pub boards: Counts,
    /// Boxes in `sealed/`.
    pub boxes: usize,
    /// Folders with keys in the clear in `devices/`.
    pub open_folders: usize,
    /// Each kind of key.
    pub keys: Vec<KeyPlace>,
    /// Doors that its finished boards leave open, as the configuration wants it.
    pub open_doors: Vec<String>,
}

/// One kind of key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyPlace {
    /// What it is.
    pub key: &'static str,
    /// How many there are.
    pub one_for: &'static str,
    /// Where it is on the device, or empty.
    pub device: String,
    /// Where else it is, or was.
    pub elsewhere: String,
    /// What whoever gets hold of it can do.
    pub leak: String,
}

/// Draws the map of the batch in `folder`; needs no key.
///
/// # Errors
/// `Io`; refused if the folder is no batch, or damaged.
pub fn keymap(folder: &Path) -> Result<KeyMap, Error> {
    let description = Description::read(folder)?;
    let common = |name: &str| folder.join("common").join(name);
    let config = Config::read(&common(CONFIG))?;
    let path = common("plan.json");
    let plan = read_small(&path, MAX_PLAN, "a plan")?;
    let plan: EfusePlan = serde_json::from_slice(&plan).map_err(|error| {
        Error::refused(
            path.display().to_string(),
            format!("is damaged: {error}"),
            "bring it back from a copy of the batch",
        )
    })?;
    let open_folders = entries(&folder.join("devices"), "")?;
    let draw = Draw {
        config: &config,
        plan: &plan,
        description: &description,
        open: open_folders > 0,
        test_key: folder.join(TEST_KEY).exists(),
    };
    Ok(KeyMap {
        batch: description.batch.clone(),
        chip: description.chip.clone(),
        boards: status(folder)?,
        boxes: entries(&folder.join("sealed"), ".box")?,
        open_folders,
        keys: draw.keys(),
        open_doors: open_doors(&config),
    })
}

fn entries(folder: &Path, end: &str) -> Result<usize, Error> {
    let names = match std::fs::read_dir(folder) {
        Ok(names) => names.collect::<Result<Vec<_>, _>>(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => Err(error),
    };
    let names = names.map_err(|error| Error::io("read", folder, error))?;
    Ok(names
        .iter()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(end))
        .count())
}

struct Draw<'b> {
    config: &'b Config,
    plan: &'b EfusePlan,
    description: &'b Description,
    open: bool,
    test_key: bool,
}

impl Draw<'_> {
    fn keys(&self) -> Vec<KeyPlace> {
        let all = [
            self.flash_key(),
            self.seed(),
            self.nvs_keys(),
            self.claim(),
            self.boot_keys(),
            self.release_keys(),
            Some(self.line_keys()),
            self.escrow_keys(),
            Some(self.server()),
        ];
        all.into_iter().flatten().collect()
    }

    fn block(&self, key: BurnedKey) -> Option<String> {
        let block = self.plan.keys().find(|block| block.key == key)?;
        let purpose = block
            .purpose
            .as_ref()
            .map(|purpose| format!(", {purpose}"))
            .unwrap_or_default();
        let access = if block.readable {
            "readable"
        } else {
            "no software reads it"
        };
        Some(format!("eFuse {}{purpose}: {access}", block.block))
    }

    /// A secret that was made for one device.
    fn in_boxes(&self) -> String {
        let recipients = self.config.keys.at_rest.join(", ");
        let end = match self.config.keys.after {
            AfterVerification::Destroy => {
                "destroyed with the box once the board is recorded".to_owned()
            }
            AfterVerification::Escrow => {
                let to: Vec<String> = self
                    .config
                    .keys
                    .escrow_to
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                format!(
                    "the box is sealed anew to {} once the board is recorded",
                    to.join(", ")
                )
            }
        };
        let open = if self.open {
            "; IN THE CLEAR in devices/ (--emit files)"
        } else {
            ""
        };
        format!(
            "sealed/SERIAL.box, sealed to {recipients}; in the line's memory while the board is on the bench; {end}{open}"
        )
    }

    fn flash_key(&self) -> Option<KeyPlace> {
        let config = &self.config.flash_encryption;
        if config.mode == EncryptionMode::Off {
            return None;
        }
        let signed = self.config.secure_boot.scheme != BootScheme::Off;
        let write = if signed {
            "secure boot still refuses changed firmware"
        } else {
            "and its firmware can be changed: there is no secure boot"
        };
        let (one_for, whose, file) = match &config.key {
            FlashKeyConfig::PerDevice => ("each device", "this one device", String::new()),
            FlashKeyConfig::File(path) => (
                "the batch",
                "EVERY device of the batch",
                format!("{}; ", path.display()),
            ),
        };
        Some(KeyPlace {
            key: "flash encryption key",
            one_for,
            device: self.block(BurnedKey::Flash).unwrap_or_default(),
            elsewhere: format!("{file}{}", self.in_boxes()),
            leak: format!(
                "what lies in the flash of {whose} can be read by who has the board in hand; {write}"
            ),
        })
    }

    fn seed(&self) -> Option<KeyPlace> {
        let device = match self.config.device_key.source {
            SeedSource::None => return None,
            SeedSource::EfuseHmac => self.block(BurnedKey::Seed).unwrap_or_default(),
            SeedSource::Nvs => self.seed_in_flash(),
        };
        let vendor = if self.config.device_key.vendor_image {
            ", vendor images"
        } else {
            ""
        };
        Some(KeyPlace {
            key: "device seed",
            one_for: "each device",
            device,
            elsewhere: self.in_boxes(),
            leak: format!(
                "this one device's keys follow from it (unseal, request, Noise{vendor}, HMAC-encrypted NVS): releases sealed to it can be read and it can be impersonated until it is revoked"
            ),
        })
    }

    /// NVS is never under flash encryption: its own keys hide the seed.
    fn seed_in_flash(&self) -> String {
        let name = self.description.seed_row.as_deref().unwrap_or_default();
        let regions = &self.description.regions;
        let Some(region) = regions.iter().find(|region| region.name == name) else {
            return "flash, in a row that batch.json does not name".to_owned();
        };
        let row = self.config.flash.partitions.get(name);
        let nvs = row
            .and_then(|content| content.strip_prefix("nvs:"))
            .and_then(|nvs| self.config.nvs.get(nvs));
        let how = match nvs.map(|nvs| nvs.encrypt) {
            Some(NvsEncryption::Keys) => "NVS encrypted with the NVS keys (below)",
            Some(NvsEncryption::Hmac) => "NVS encrypted with keys from the HMAC block",
            Some(NvsEncryption::None) | None => "IN THE CLEAR",
        };
        format!("flash, {name} at {:#x}: {how}", region.address)
    }

    fn nvs_keys(&self) -> Option<KeyPlace> {
        let region = self
            .description
            .regions
            .iter()
            .find(|region| region.source == RegionSource::NvsKeys)?;
        let how = if region.encrypted {
            "under flash encryption"
        } else {
            "IN THE CLEAR"
        };
        Some(KeyPlace {
            key: "NVS keys",
            one_for: "each device",
            device: format!("flash, {} at {:#x}, {how}", region.name, region.address),
            elsewhere: self.in_boxes(),
            leak: "the encrypted NVS values of this one device can be read and changed by who has the board in hand".to_owned(),
        })
    }

    fn claim(&self) -> Option<KeyPlace> {
        let label = self.config.label.as_ref()?;
        let on_label = label
            .text
            .iter()
            .chain(&label.qr)
            .any(|text| text.contains("{claim}"));
        on_label.then(|| KeyPlace {
            key: "claim token",
            one_for: "each device",
            device: "its label, and NVS where a field holds {claim}".to_owned(),
            elsewhere: format!("labels/; {}", self.in_boxes()),
            leak: "somebody else can enrol in the place of this device, once, before it does"
                .to_owned(),
        })
    }

    fn boot_keys(&self) -> Option<KeyPlace> {
        let boot = &self.config.secure_boot;
        if boot.scheme == BootScheme::Off {
            return None;
        }
        let digests = self
            .plan
            .keys()
            .filter(|key| matches!(key.key, BurnedKey::Digest(_)));
        let blocks: Vec<String> = digests.map(|key| key.block.clone()).collect();
        let spare = boot.digests.len() > 1;
        let remedy = if spare {
            "sign with the spare and let the update revoke the key that leaked"
        } else {
            "there is no spare digest: potted boards can't be moved to another key"
        };
        Some(KeyPlace {
            key: "secure boot signing keys",
            one_for: "the product",
            device: format!(
                "only digests of the public halves, eFuse {}: readable",
                blocks.join(", ")
            ),
            elsewhere: format!(
                "where they were made ({}); not in the batch",
                boot.sign.join(", ")
            ),
            leak: format!(
                "firmware of somebody else starts on every device that can be written to; {remedy}"
            ),
        })
    }

    fn release_keys(&self) -> Option<KeyPlace> {
        let keyset = self.config.release.keyset.as_ref()?;
        Some(KeyPlace {
            key: "release signing keys",
            one_for: "the product",
            device: "only the public halves, in the keyset of the state area".to_owned(),
            elsewhere: format!("where they were made; {} has the public halves", keyset.display()),
            leak: "with a threshold of them, every device takes releases of somebody else until a keyset rotation reaches it".to_owned(),
        })
    }

    fn line_keys(&self) -> KeyPlace {
        let recipients = self.config.keys.at_rest.join(", ");
        let (elsewhere, leak) = if self.test_key {
            (
                format!("{TEST_KEY} BESIDE THE BOXES"),
                "whoever reads the folder opens every box: a batch for tests only".to_owned(),
            )
        } else {
            (
                format!("private halves of {recipients}, at the line and wherever a copy is kept; not in the batch"),
                "with the folder: every box that is still there opens, so every board that is not recorded yet".to_owned(),
            )
        };
        KeyPlace {
            key: "keys of the line",
            one_for: "the batch",
            device: String::new(),
            elsewhere,
            leak,
        }
    }

    fn escrow_keys(&self) -> Option<KeyPlace> {
        let keys = &self.config.keys;
        (keys.after == AfterVerification::Escrow).then(|| KeyPlace {
            key: "keys of the escrow",
            one_for: "the batch",
            device: String::new(),
            elsewhere: "private halves of keys.escrow_to; not in the batch, and not needed at the line".to_owned(),
            leak: "with the folder: every finished board's keys, so every device of the batch can be cloned".to_owned(),
        })
    }

    fn server(&self) -> KeyPlace {
        KeyPlace {
            key: "public keys of the devices",
            one_for: "each device",
            device: "follow from the seed".to_owned(),
            elsewhere: "devices.jsonl; the update server after `airseal device import`. No private key and no content key is there".to_owned(),
            leak: "nothing: with them releases are sealed to a device, not opened".to_owned(),
        }
    }
}
