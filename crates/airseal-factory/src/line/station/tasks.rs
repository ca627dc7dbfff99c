//! Each task of a station.

use std::collections::BTreeMap;
use std::path::PathBuf;

use airseal_pack::Error;
use airseal_pack::esp::efuse_audit::{EfuseState, Policy, audit};
use sha2::{Digest, Sha256};

use super::{Job, Station};
use crate::config::{BootScheme, EncryptionMode, Jtag, Order};
use crate::efuse::{Burn, BurnedKey, Progress, arguments};
use crate::journal::Step;
use crate::line::bench::{FIRMWARE, FlashFile, Write};
use crate::line::decide::{Board, History, Task};
use crate::record::device_id;

/// Times a write is tried before the board is put aside.
const WRITES: usize = 3;

impl Station<'_> {
    /// Does it; the result is the SHA-256 of what was written, if anything was.
    pub(super) fn perform(
        &self,
        job: &mut Job<'_, '_>,
        task: &Task,
    ) -> Result<Option<String>, Error> {
        match task {
            // The journal line binds serial and MAC, the mark outlives it.
            Task::Bind => self.bind_box(&job.serial, &job.mac).map(|()| None),
            Task::Flash => self.flash(job).map(Some),
            Task::Verify => self
                .regions(job)
                .and_then(|files| job.bench.verify(&files))
                .map(|()| None),
            Task::Burn(calls) => self.burn(job, calls).map(|()| None),
            Task::Audit => self.audit(job).map(|()| None),
            Task::Boot => self.boot(job).map(|()| None),
            Task::Lock(call) => self.lock(job, call).map(|()| None),
            Task::Record => self.record(job).map(Some),
        }
    }

    fn flash(&self, job: &mut Job<'_, '_>) -> Result<String, Error> {
        let files = self.regions(job)?;
        let how = match self.config.flash.order {
            Order::FlashFirst => Write::Blank,
            Order::BurnFirst => Write::Burned,
        };
        let mut tries = 1;
        while let Err(error) = job.bench.write(&files, how) {
            if tries == WRITES {
                return Err(error);
            }
            // Never a second time without a look: the board may have been exchanged.
            self.look_again(job)?;
            tries += 1;
        }
        digest(&files)
    }

    fn burn(&self, job: &mut Job<'_, '_>, calls: &[Vec<Burn>]) -> Result<(), Error> {
        self.bind_box(&job.serial, &job.mac)?;
        let efuses = self.look_again(job)?;
        let history = History::of_serial(self.journal.entries(), &job.serial);
        let unfinished = self.unfinished(&efuses, &history)?;
        let lacks = match self.plan.progress(&efuses, &unfinished) {
            Progress::Blank(calls) | Progress::Begun(calls) => calls,
            Progress::Burned | Progress::Spoiled { .. } => Vec::new(),
        };
        if lacks != calls {
            return Err(Error::refused(
                "the eFuses",
                "are not as they were when the work was decided",
                "run again: what is missing is found anew",
            ));
        }
        for (index, call) in calls.iter().enumerate() {
            if index > 0 {
                self.look_again(job)?;
            }
            let files = self.key_files(job, call)?;
            let file_of = |key| files.get(&key).cloned().unwrap_or_default();
            let burned = job.bench.burn(&arguments(call, file_of));
            for key in files.keys() {
                job.work.forget(&key_file(*key))?;
            }
            burned?;
        }
        Ok(())
    }

    /// Key files for the tool, of bytes that were compared: they exist while it runs.
    fn key_files(
        &self,
        job: &mut Job<'_, '_>,
        call: &[Burn],
    ) -> Result<BTreeMap<BurnedKey, PathBuf>, Error> {
        let keys = call.iter().flat_map(|burn| match burn {
            Burn::Keys(keys) => keys.as_slice(),
            Burn::Fields(_) | Burn::WriteProtect(_) => &[],
        });
        let mut files = BTreeMap::new();
        for key in keys {
            let file = match key.key {
                BurnedKey::Digest(_) => {
                    let name = key_file(key.key);
                    job.work.replace(&name, self.part(&name)?)?
                }
                BurnedKey::Flash => {
                    let bytes = self.secrets(job)?.flash_key.clone();
                    job.work.replace(FLASH_KEY, &bytes)?
                }
                BurnedKey::Seed => {
                    let bytes = self.secrets(job)?.seed.clone();
                    job.work.replace(SEED, &bytes)?
                }
                BurnedKey::BootloaderDigestKey => {
                    return Err(Error::refused("secure boot v1", "is not provisioned", ""));
                }
            };
            files.insert(key.key, file);
        }
        Ok(files)
    }

    /// The chip against plan and policy, before anything that can't be looked behind.
    fn audit(&self, job: &mut Job<'_, '_>) -> Result<(), Error> {
        let efuses = self.look_again(job)?;
        let mut wrong = self.plan.differences(&efuses, false);
        if !self.plan.is_burned(&efuses) {
            wrong.push("something of the plan is not burned".to_owned());
        }
        wrong.extend(self.against_policy(&efuses)?);
        for (index, key) in self.plan.keys().filter(|key| key.readable).enumerate() {
            let digest = self.part(&format!("digest{index}.bin"))?;
            let shown = efuses
                .field(&key.block)
                .map(|field| field.shown.clone())
                .unwrap_or_default();
            let shown: String = shown.split_whitespace().take(32).collect();
            let names_a_block = key.block.starts_with("BLOCK_KEY")
                && !shown.is_empty()
                && self.chip.name() != "esp32c2";
            if names_a_block && shown != hex::encode(digest) {
                wrong.push(format!("{} holds another digest", key.block));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::refused(
            "the eFuses",
            wrong.join("; "),
            "run again: what is missing is burned, what is wrong is named",
        ))
    }

    /// A release board is measured against the release policy too, but for the lock and what the configuration leaves open.
    fn against_policy(&self, efuses: &EfuseState) -> Result<Vec<String>, Error> {
        let config = &self.config;
        if config.flash_encryption.mode != EncryptionMode::Release
            || config.secure_boot.scheme == BootScheme::Off
        {
            return Ok(Vec::new());
        }
        let audited = audit(self.chip, efuses, &Policy::release())?;
        let excused = |field: &str| match field {
            "ENABLE_SECURITY_DOWNLOAD" | "DIS_DOWNLOAD_MODE" | "UART_DOWNLOAD_DIS" => true,
            "DIS_USB_JTAG" | "DIS_PAD_JTAG" | "HARD_DIS_JTAG" | "JTAG_DISABLE" => {
                config.efuse.jtag != Jtag::Off
            }
            field if field.starts_with("SECURE_BOOT_KEY_REVOKE") => {
                !config.secure_boot.revoke_unused
            }
            _ => false,
        };
        let bad = audited
            .rules
            .iter()
            .filter(|rule| !rule.ok && !excused(&rule.field));
        Ok(bad
            .map(|rule| {
                format!(
                    "{} is {}, release wants {}",
                    rule.field, rule.found, rule.want
                )
            })
            .collect())
    }

    /// The firmware's own words prove flash key, seed and signature at once.
    pub(super) fn boot(&self, job: &mut Job<'_, '_>) -> Result<(), Error> {
        let want = self.expected_id(job)?;
        let found = job.bench.boot()?;
        let version = &self.config.release.version;
        if want.as_ref().is_none_or(|want| *want == found.device_id) && found.version == *version {
            return Ok(());
        }
        Err(Error::refused(
            FIRMWARE,
            format!(
                "says device {:?} and version {:?}; the plan has {:?} and {version:?}",
                found.device_id,
                found.version,
                want.unwrap_or_default()
            ),
            "another image or another key is in the chip: put the board aside",
        ))
    }

    /// The id that the board must name, as its record has it, or its box. `None` for a board that was burned elsewhere.
    pub(super) fn expected_id(&self, job: &mut Job<'_, '_>) -> Result<Option<String>, Error> {
        if let Some(record) = self.record_of(&job.serial)? {
            return Ok(Some(record.device_id));
        }
        if self.is_imported(&job.serial) {
            return Ok(None);
        }
        let seed = <[u8; 32]>::try_from(self.secrets(job)?.seed.as_slice());
        Ok(Some(seed.map(|seed| device_id(&seed)).unwrap_or_default()))
    }

    /// Whether its firmware can say which board it is.
    fn has_id(&self, job: &mut Job<'_, '_>) -> Result<bool, Error> {
        Ok(self.expected_id(job)?.is_some_and(|id| !id.is_empty()))
    }

    /// The board on the bench now, which must be the one that the work was decided for.
    fn look_again(&self, job: &mut Job<'_, '_>) -> Result<EfuseState, Error> {
        let board = job.bench.look()?;
        Self::still_there(board, &job.mac)
    }

    fn still_there(board: Board, bound: &str) -> Result<EfuseState, Error> {
        let refuse = |why: String, remedy: &str| Err(Error::refused("the board", why, remedy));
        match board {
            Board::Open { mac, .. } if mac != bound => refuse(
                format!("is now {mac}, it was {bound}"),
                "put the first one back",
            ),
            Board::Open {
                block_error: Some(error),
                ..
            } => refuse(
                format!("has an error in an eFuse block: {error}"),
                "run again; if it stays so, `esp line scrap`",
            ),
            Board::Open { efuses, .. } => Ok(efuses),
            Board::Locked => refuse(
                "was locked before its turn".to_owned(),
                "see the journal; another board may be on the bench. If it is the one, run again with its label: --serial",
            ),
            Board::Silent { why } => refuse(why, "look at cable, power and port, and run again"),
        }
    }

    fn lock(&self, job: &mut Job<'_, '_>, call: &[Burn]) -> Result<(), Error> {
        let board = job.bench.look()?;
        // Firmware may lock its chip when it first starts. The chip was audited a moment ago; that it is still the one, only its
        // firmware can say now.
        if matches!(board, Board::Locked) && !self.plan.closes_loader() && self.has_id(job)? {
            return self.boot(job);
        }
        let efuses = Self::still_there(board, &job.mac)?;
        if !self.plan.is_burned(&efuses) {
            return Err(Error::refused(
                "the eFuses",
                "are not as they were audited",
                "run again: what is missing is burned, what is wrong is named",
            ));
        }
        if self.plan.is_locked(&efuses) {
            return Ok(());
        }
        job.bench.burn(&arguments(call, |_| PathBuf::new()))
    }

    /// After the journal has it that the lock was burned: only a loader that is seen all the same, on a chip that does not show
    /// the lock, speaks against it, and is journalled.
    pub(super) fn see_locked(&mut self, job: &mut Job<'_, '_>) -> Result<(), Error> {
        match job.bench.look()? {
            Board::Silent { .. } if self.plan.closes_loader() => Ok(()),
            Board::Locked if !self.plan.closes_loader() => Ok(()),
            Board::Silent { why } => Err(Error::refused(
                "the board",
                why,
                "look at cable, power and port, and run again",
            )),
            Board::Open { mac, efuses, .. } if mac == job.mac && self.plan.is_locked(&efuses) => {
                Err(Error::refused(
                    "the board",
                    "was not reset: its lock is burned, and its loader still answers",
                    "reset it, or take its power away and give it back, and run again with its label: --serial",
                ))
            }
            Board::Open { .. } | Board::Locked => {
                let error = Error::refused("the loader", "still answers", "run again");
                Err(self.failed(&job.serial, &job.mac, Step::Lock, error)?)
            }
        }
    }
}

/// The file a key is burned from, in the work folder while espefuse runs; that of a digest is called so in `common/` too.
pub(super) fn key_file(key: BurnedKey) -> String {
    match key {
        BurnedKey::Flash => FLASH_KEY.to_owned(),
        BurnedKey::Seed => SEED.to_owned(),
        BurnedKey::Digest(number) => format!("digest{number}.bin"),
        BurnedKey::BootloaderDigestKey => "bootloader-digest-key.bin".to_owned(),
    }
}

const FLASH_KEY: &str = "flash-key.bin";
const SEED: &str = "seed.bin";

/// Over the digests of all files, in order.
fn digest(files: &[FlashFile]) -> Result<String, Error> {
    let mut hash = Sha256::new();
    for file in files {
        let bytes =
            std::fs::read(&file.path).map_err(|error| Error::io("read", &file.path, error))?;
        hash.update(Sha256::digest(&bytes));
    }
    Ok(hex::encode(hash.finalize()))
}
