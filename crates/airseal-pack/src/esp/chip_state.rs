//! What a chip's eFuses mean for the boot: flash encryption, secure boot, versions (ESP-IDF `flash_encrypt.c`,
//! `secure_boot.c`, `bootloader_common_loader.c`).

use airseal_esp::Chip;
use airseal_esp::chip::FlashEncryption;
use serde::Serialize;

use super::efuse_audit::{EfuseState, Field};
use crate::Error;

/// The eFuses of one chip, as far as they decide what boots.
#[derive(Clone, Debug, Serialize)]
pub struct ChipState {
    /// True if the chip decrypts what it reads from flash.
    pub flash_encryption: bool,
    /// Name and value of the counter that says so.
    pub counter: String,
    /// The original ESP32's `FLASH_CRYPT_CONFIG`.
    pub flash_crypt_config: Option<u8>,
    /// Secure boot.
    #[serde(flatten)]
    pub secure_boot: FusedSecureBoot,
    /// Lowest secure version that an application may have, where the bootloader was built with anti-rollback.
    pub secure_version: u32,
    /// Revision of the chip, major times 100 plus minor.
    pub chip_revision: u16,
    /// Revision of the eFuse blocks, likewise; `None` on the original ESP32, which has none.
    pub efuse_block_revision: Option<u16>,
    /// True if an image's highest chip revision is not looked at.
    pub ignores_max_chip_revision: bool,
    /// True if an application's highest eFuse block revision is not looked at.
    pub ignores_max_block_revision: bool,
    /// Lengths of a flash encryption key that fits the key blocks, bytes; empty if none is burned, `None` if that can't
    /// be told.
    #[serde(skip)]
    pub key_lens: Option<Vec<u64>>,
}

/// Secure boot as it is burned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "secure_boot", rename_all = "lowercase")]
pub enum FusedSecureBoot {
    /// The chip boots whatever is there.
    #[default]
    Off,
    /// Version 1, on the original ESP32.
    V1,
    /// Version 2.
    V2 {
        /// Digests of keys that count, as hexadecimal digits; on the ESP32-C2 the first 16 bytes.
        trusted: Vec<String>,
        /// Digests of keys that were revoked.
        revoked: Vec<String>,
        /// True if signatures on P-384 are looked at.
        sha384: bool,
    },
}

impl ChipState {
    /// Reads them out of a summary.
    ///
    /// # Errors
    /// Refused if it is the summary of another chip, or lacks a field that decides what boots: that must not read as
    /// switched off.
    pub fn of(chip: Chip, state: &EfuseState) -> Result<ChipState, Error> {
        let counter = state.counter_of(chip)?;
        let esp32 = chip.flash_encryption() == FlashEncryption::Legacy;
        let revision = |kind: &str| {
            let part = |which: &str| state.needed(&format!("{kind}_VERSION_{which}"));
            let (major, minor) = (part("MAJOR")?, part("MINOR")?);
            let revision = major.saturating_mul(100).saturating_add(minor);
            Ok::<u16, Error>(u16::try_from(revision).unwrap_or(u16::MAX))
        };
        // The original ESP32 has neither these limits nor versions of its blocks.
        let ignores = |what: &str| {
            if esp32 {
                return Ok(false);
            }
            let bits = state.needed(&format!("DISABLE_{what}_VERSION_MAJOR"))?;
            Ok::<bool, Error>(bits != 0)
        };
        let config = match esp32 {
            true => u8::try_from(state.needed("FLASH_CRYPT_CONFIG")?).ok(),
            false => None,
        };
        let set = |name: &str| state.field(name).is_some_and(Field::is_set);
        let count = state.needed(counter)?;
        Ok(ChipState {
            flash_encryption: count.count_ones() % 2 == 1,
            counter: format!("{counter} = {count:#x}"),
            flash_crypt_config: config,
            secure_boot: secure_boot(chip, state)?,
            // A unary counter: one more bit for each version.
            secure_version: state.needed("SECURE_VERSION")?.count_ones(),
            chip_revision: revision("WAFER")?,
            efuse_block_revision: match esp32 {
                true => None,
                false => Some(revision("BLK")?),
            },
            ignores_max_chip_revision: ignores("WAFER")?,
            ignores_max_block_revision: ignores("BLK")?,
            key_lens: key_lens(chip, state, &set),
        })
    }

    /// Checks that a key file of this length can be what the chip has.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn check_key_len(&self, len: u64) -> Result<(), String> {
        match &self.key_lens {
            Some(lens) if lens.is_empty() => {
                Err("no eFuse block holds a flash encryption key".to_owned())
            }
            Some(lens) if !lens.contains(&len) => {
                let lens: Vec<String> = lens.iter().map(u64::to_string).collect();
                Err(format!(
                    "the key file has {len} bytes, the key in the eFuses has {}",
                    lens.join(" or ")
                ))
            }
            _ => Ok(()),
        }
    }

    /// Checks the revisions that an image asks for; the highest counts for applications alone.
    ///
    /// # Errors
    /// Which revision is wrong, in words.
    pub(crate) fn check_chip_revision(&self, min: u16, max: Option<u16>) -> Result<(), String> {
        let max = max.filter(|_| !self.ignores_max_chip_revision);
        in_range("chip", self.chip_revision, Some(min), max)
    }

    /// Checks the eFuse block revisions that an application asks for.
    ///
    /// # Errors
    /// Which revision is wrong, in words.
    pub(crate) fn check_block_revision(&self, min: u16, max: u16) -> Result<(), String> {
        let Some(found) = self.efuse_block_revision else {
            return Ok(());
        };
        let max = Some(max).filter(|_| !self.ignores_max_block_revision);
        in_range("eFuse block", found, is_set(min), max)
    }
}

/// 0 and 65535 mean that a field says nothing.
fn is_set(revision: u16) -> Option<u16> {
    (revision != 0 && revision != u16::MAX).then_some(revision)
}

fn in_range(what: &str, found: u16, min: Option<u16>, max: Option<u16>) -> Result<(), String> {
    let shown = |revision: u16| format!("v{}.{}", revision / 100, revision % 100);
    if let Some(min) = min.filter(|min| found < *min) {
        return Err(format!(
            "needs {what} revision {} or later, this one is {}",
            shown(min),
            shown(found)
        ));
    }
    match max.and_then(is_set).filter(|max| found > *max) {
        Some(max) => Err(format!(
            "is for {what} revisions up to {}, this one is {}",
            shown(max),
            shown(found)
        )),
        None => Ok(()),
    }
}

fn secure_boot(chip: Chip, state: &EfuseState) -> Result<FusedSecureBoot, Error> {
    let set = |name: &str| state.needed(name).map(|bits| bits != 0);
    // A digest that can't be read, or is not as long as one, is none that a chip could compare.
    let digest = |block: &str, len: usize| {
        let bytes = state.field(block)?.bytes()?;
        (bytes.len() == len).then(|| hex::encode(bytes))
    };
    let single = |block: &str, len: usize| FusedSecureBoot::V2 {
        trusted: digest(block, len).into_iter().collect(),
        revoked: Vec::new(),
        sha384: false,
    };
    match chip.name() {
        "esp32" if set("ABS_DONE_1")? => return Ok(single("BLOCK2", DIGEST_LEN)),
        "esp32" if set("ABS_DONE_0")? => return Ok(FusedSecureBoot::V1),
        "esp32" => return Ok(FusedSecureBoot::Off),
        _ if !set("SECURE_BOOT_EN")? => return Ok(FusedSecureBoot::Off),
        "esp32c2" => return Ok(single("BLOCK_KEY0_HI_128", DIGEST_LEN / 2)),
        _ => {}
    }
    let (mut trusted, mut revoked) = (Vec::new(), Vec::new());
    for slot in 0..chip.key_digests() {
        let list = if set(&format!("SECURE_BOOT_KEY_REVOKE{slot}"))? {
            &mut revoked
        } else {
            &mut trusted
        };
        let blocks = state.blocks_for(&format!("SECURE_BOOT_DIGEST{slot}"));
        let digests = blocks.iter().map(|block| format!("BLOCK_KEY{block}"));
        list.extend(digests.filter_map(|block| digest(&block, DIGEST_LEN)));
    }
    Ok(FusedSecureBoot::V2 {
        trusted,
        revoked,
        sha384: state
            .field("SECURE_BOOT_SHA384_EN")
            .is_some_and(Field::is_set),
    })
}

/// Bytes of the digest of a key; the ESP32-C2 has the first half.
const DIGEST_LEN: usize = 32;

fn key_lens(chip: Chip, state: &EfuseState, set: &dyn Fn(&str) -> bool) -> Option<Vec<u64>> {
    let burned = |block: &str| {
        state
            .field(block)
            .is_some_and(|field| field.used || !field.readable)
    };
    let held = |purpose: &str| !state.blocks_for(purpose).is_empty();
    let lens = match chip.name() {
        "esp32" if !burned("BLOCK1") => vec![],
        "esp32" if set("CODING_SCHEME") => vec![24],
        "esp32" => vec![32],
        "esp32c2" if !burned("BLOCK_KEY0_LOW_128") => vec![],
        "esp32c2" if set("XTS_KEY_LENGTH_256") => vec![32],
        "esp32c2" => vec![16],
        _ if set("FORCE_USE_KEY_MANAGER_KEY") => return None,
        _ if held("XTS_AES_256_KEY_1") && held("XTS_AES_256_KEY_2") => vec![64],
        _ if held("XTS_AES_128_KEY") => vec![32],
        _ => vec![],
    };
    Some(lens)
}
