//! What is burned into a board, in which call, and what the summary shows afterwards.
//!
//! One call burns everything but the lock: `espefuse` checks key blocks before it burns block 0, so nothing is switched on
//! by a key that did not take. The lock is a call of its own, since after it no tool reads anything any more.
//! (ESP-IDF: security features enablement workflows; `espefuse`: `efuse/CHIP/fields.py`.)

use std::collections::BTreeSet;

use airseal_esp::Chip;
use airseal_pack::Error;
use airseal_pack::esp::efuse_audit::EfuseState;
use serde::{Deserialize, Serialize};

mod blocks;
mod command;
mod custom;
mod family;
mod remaining;

pub use blocks::{Blocks, KeyBlock};
pub use command::arguments;
pub use custom::custom_names;
use family::Family;
pub use remaining::Progress;

use crate::config::{BootScheme, Download, EncryptionMode, Jtag, SeedSource};

/// What decides about eFuses, checked for itself but not against the chip.
#[derive(Clone, Debug)]
pub struct EfuseWish {
    /// The chip.
    pub chip: Chip,
    /// Flash encryption.
    pub encryption: EncryptionMode,
    /// Length of the flash key file, bytes.
    pub flash_key_len: usize,
    /// Block for it, if one is named.
    pub flash_key_block: Option<String>,
    /// Where the seed lives.
    pub seed: SeedSource,
    /// Block for it, if one is named.
    pub seed_block: Option<String>,
    /// Secure boot.
    pub secure_boot: BootScheme,
    /// Number of key digests.
    pub digests: u8,
    /// Whether digest slots without a key are closed.
    pub revoke_unused: bool,
    /// Whether one bad signature revokes its key.
    pub aggressive_revoke: bool,
    /// The serial loader.
    pub download: Download,
    /// The debug port.
    pub jtag: Jtag,
    /// Anti-rollback counter.
    pub secure_version: u8,
    /// Further names and values.
    pub custom: Vec<(String, u64)>,
}

/// A key that goes into a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BurnedKey {
    /// The flash encryption key.
    Flash,
    /// The device's seed.
    Seed,
    /// The digest of secure boot key 0, 1 or 2.
    Digest(u8),
    /// The secret key of secure boot v1.
    BootloaderDigestKey,
}

/// One command of an `espefuse` call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Burn {
    /// `burn-key`, all keys at once.
    Keys(Vec<KeyBlock>),
    /// `burn-efuse`, all names at once.
    Fields(Vec<(String, u64)>),
    /// `write-protect-efuse`; two names at least, or the only command of a call.
    WriteProtect(Vec<String>),
}

/// What the summary shows of one field on a finished board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The field.
    pub field: String,
    /// Its bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// The word shown for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// Whether it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readable: Option<bool>,
    /// Whether it can still be burned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writeable: Option<bool>,
}

/// The whole plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EfusePlan {
    /// The first call.
    pub burn: Vec<Burn>,
    /// The second call; empty if the loader stays open.
    pub lock: Vec<Burn>,
    /// The summary after both.
    pub expect: Vec<Expectation>,
}

impl EfusePlan {
    /// Plans for the chip.
    ///
    /// # Errors
    /// Refused for anything the chip does not have, naming the setting.
    pub fn new(wish: &EfuseWish) -> Result<EfusePlan, Error> {
        let family = Family::of(wish.chip)?;
        let blocks = Blocks::assign(wish, &family)?;
        let mut fields = family.fields(wish)?;
        custom::check(wish)?;
        fields.extend(wish.custom.iter().cloned());
        let protect = family.protected(wish);
        let lock = family.lock(wish)?;

        let mut expect = blocks.expected();
        let locked = |name: &str| protect.iter().any(|p| family.covers(p, name));
        expect.extend(fields.iter().chain(&lock).map(|(name, value)| Expectation {
            value: Some(*value),
            writeable: locked(name).then_some(false),
            ..Expectation::of(name)
        }));
        expect.extend(protect.iter().map(|name| Expectation {
            writeable: Some(false),
            ..Expectation::of(name)
        }));

        let mut burn = Vec::new();
        if !blocks.keys().is_empty() {
            burn.push(Burn::Keys(blocks.keys().to_vec()));
        }
        if !fields.is_empty() {
            burn.push(Burn::Fields(fields));
        }
        if !protect.is_empty() {
            burn.push(Burn::WriteProtect(protect));
        }
        let lock = if lock.is_empty() {
            Vec::new()
        } else {
            vec![Burn::Fields(lock)]
        };
        Ok(EfusePlan { burn, lock, expect })
    }

    /// What the summary of a chip shows and the plan did not promise; before the lock its fields may still be missing.
    pub fn differences(&self, chip: &EfuseState, locked: bool) -> Vec<String> {
        let in_lock = |name: &str| {
            self.lock.iter().any(|burn| matches!(burn, Burn::Fields(fields) if fields.iter().any(|(field, _)| field == name)))
        };
        let due = self
            .expect
            .iter()
            .filter(|want| locked || !in_lock(&want.field));
        due.filter_map(|want| want.difference(chip)).collect()
    }

    /// Whether all of the first call is burned.
    pub fn is_burned(&self, chip: &EfuseState) -> bool {
        self.progress(chip, &BTreeSet::new()) == Progress::Burned
    }

    /// Whether the second call leaves no loader that answers.
    pub fn closes_loader(&self) -> bool {
        let closes = ["DIS_DOWNLOAD_MODE", "UART_DOWNLOAD_DIS"];
        self.locks()
            .any(|(name, _)| closes.contains(&name.as_str()))
    }

    /// Whether the second call is burned; true if there is none.
    pub fn is_locked(&self, chip: &EfuseState) -> bool {
        self.locks().all(|(name, value)| {
            chip.field(name)
                .is_some_and(|field| field.bits == Some(*value))
        })
    }

    fn locks(&self) -> impl Iterator<Item = &(String, u64)> {
        self.lock.iter().flat_map(|burn| match burn {
            Burn::Fields(fields) => fields.as_slice(),
            Burn::Keys(_) | Burn::WriteProtect(_) => &[],
        })
    }

    /// The blocks that are burned.
    pub fn keys(&self) -> impl Iterator<Item = &KeyBlock> {
        self.burn.iter().flat_map(|burn| match burn {
            Burn::Keys(keys) => keys.as_slice(),
            Burn::Fields(_) | Burn::WriteProtect(_) => &[],
        })
    }
}

impl Expectation {
    fn difference(&self, chip: &EfuseState) -> Option<String> {
        let name = &self.field;
        let Some(field) = chip.field(name) else {
            return Some(format!("{name} is not in the summary"));
        };
        if self.value.is_some_and(|value| field.bits != Some(value))
            || self
                .shown
                .as_ref()
                .is_some_and(|shown| *shown != field.shown)
        {
            let want = self
                .shown
                .clone()
                .or(self.value.map(|value| format!("{value:#x}")));
            return Some(format!(
                "{name} is {}, not {}",
                field.shown,
                want.unwrap_or_default()
            ));
        }
        let access = |wanted: Option<bool>, found: bool, what: &str| match wanted {
            Some(true) if !found => Some(format!("{name} can't be {what} any more")),
            Some(false) if found => Some(format!("{name} can still be {what}")),
            _ => None,
        };
        access(self.readable, field.readable, "read").or(access(
            self.writeable,
            field.writeable,
            "burned",
        ))
    }

    fn of(field: &str) -> Expectation {
        Expectation {
            field: field.to_owned(),
            value: None,
            shown: None,
            readable: None,
            writeable: None,
        }
    }
}

fn refuse(setting: &str, what: &str, remedy: &str) -> Error {
    Error::refused(setting, what, remedy)
}
