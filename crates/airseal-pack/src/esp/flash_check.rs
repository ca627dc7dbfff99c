//! Would a chip boot from this flash, and what: the boot is played from a dump, part by part, as ROM and bootloader do it.

use std::fmt;

use airseal_esp::Chip;
use airseal_esp::nvs::NvsKey;
use serde::Serialize;

use super::chip_state::{ChipState, FusedSecureBoot};
use super::dump::FlashCipher;
use super::otadata::OtaInfo;
use super::signature_check::SignatureCheck;
use super::signatures::FusedDigests;
use crate::Error;
use crate::source::Source;
use play::Play;

mod app;
mod beside;
mod explain;
mod keys;
mod play;

pub use keys::CheckKeys;

/// How the boot is played.
pub struct FlashCheck<'a> {
    /// The chip.
    pub chip: Chip,
    /// The chip's eFuses; `None` takes the chip as `cipher` and `signatures` say.
    pub efuses: Option<&'a ChipState>,
    /// What decrypts the flash; `None` for a chip without flash encryption.
    pub cipher: Option<&'a dyn FlashCipher>,
    /// Where the partition table lies.
    pub table_offset: u32,
    /// How the bootloader was built.
    pub rollback: RollbackKind,
    /// What tells whether an image is signed as secure boot wants it; `None` without secure boot, and where the eFuses
    /// tell.
    pub signatures: Option<&'a dyn SignatureCheck>,
    /// The NVS keys that the chip derives from the HMAC key in its eFuses.
    pub nvs_key: Option<&'a NvsKey>,
}

/// How the bootloader was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackKind {
    /// Without rollback.
    Off,
    /// With rollback.
    On,
    /// With anti-rollback, and this secure version in the eFuses.
    Anti(u32),
}

/// What would happen.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// The dump.
    pub file: String,
    /// The chip.
    pub chip: &'static str,
    /// The application that starts.
    pub boots: Option<String>,
    /// Its project and version.
    pub app: Option<String>,
    /// The first reason why nothing starts, or why something else starts than was selected.
    pub reason: Option<String>,
    /// What was looked at, in the order of the boot; then what the boot does not look at.
    pub steps: Vec<Step>,
    /// The records of the OTA data partition.
    pub otadata: Option<OtaInfo>,
    /// What the eFuses say, if they were given.
    pub efuses: Option<ChipState>,
    /// What works, but is seldom meant.
    pub warnings: Vec<String>,
}

/// One part of the flash.
#[derive(Debug, Serialize)]
pub struct Step {
    /// The part: `bootloader`, `partition table`, `otadata`, an application, or a partition with NVS or its keys.
    pub part: String,
    /// Where it lies in flash.
    pub offset: u64,
    /// True if nothing is wrong with it.
    pub ok: bool,
    /// What was found.
    pub found: String,
}

impl FlashCheck<'_> {
    /// Plays the boot.
    ///
    /// # Errors
    /// `Io` if the dump can't be read. A flash that does not boot is a verdict.
    pub fn run(&self, source: &Source) -> Result<Verdict, Error> {
        let mut play = Play {
            check: self,
            source,
            cipher: self
                .cipher
                .filter(|_| self.efuses.is_none_or(|efuses| efuses.flash_encryption)),
            fused: self.fused_digests(),
            bootloader: None,
            verdict: Verdict {
                file: source.name().to_owned(),
                chip: self.chip.name(),
                boots: None,
                app: None,
                reason: None,
                steps: Vec::new(),
                otadata: None,
                efuses: self.efuses.cloned(),
                warnings: Vec::new(),
            },
        };
        play.boot()?;
        Ok(play.verdict)
    }

    /// The digests in the eFuses, where secure boot version 2 is on.
    fn fused_digests(&self) -> Option<FusedDigests> {
        match &self.efuses?.secure_boot {
            FusedSecureBoot::V2 {
                trusted,
                revoked,
                sha384,
            } => Some(FusedDigests {
                trusted: trusted.clone(),
                revoked: revoked.clone(),
                sha384: *sha384,
            }),
            _ => None,
        }
    }
}

impl fmt::Debug for FlashCheck<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlashCheck")
            .field("chip", &self.chip)
            .field("table_offset", &self.table_offset)
            .field("rollback", &self.rollback)
            .finish_non_exhaustive()
    }
}
