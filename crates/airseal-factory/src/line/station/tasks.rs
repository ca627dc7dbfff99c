//! Each task of a station.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use sha2::{Digest, Sha256};

use super::{Job, MAX_FILE, Station};
use crate::batch::RegionSource;
use crate::efuse::{Burn, BurnedKey, Progress, arguments};
use crate::labels::{self, LabelValues};
use crate::line::bench::{BootLine, FlashFile};
use crate::line::decide::{Board, Task};
use crate::record::{DeviceKeys, DeviceRecord, FactoryImage, device_id};
use crate::secrets::shred;

/// Times a write is tried before the board is put aside.
const WRITES: usize = 3;

impl Station<'_> {
    /// Does it; the result is the SHA-256 of what was written, if anything was.
    pub(super) fn perform(&self, job: &mut Job<'_>, task: &Task) -> Result<Option<String>, Error> {
        match task {
            // The journal line itself binds serial and MAC.
            Task::Bind => Ok(None),
            Task::Flash => self.flash(job).map(Some),
            Task::Verify => self.regions(job).and_then(|files| job.bench.verify(&files)).map(|()| None),
            Task::Burn(calls) => self.burn(job, calls).map(|()| None),
            Task::Audit => self.audit(job).map(|()| None),
            Task::Boot => self.boot(job).map(|()| None),
            Task::Lock(call) => self.lock(job, call).map(|()| None),
            Task::Record => self.record(job).map(Some),
        }
    }

    fn flash(&self, job: &mut Job<'_>) -> Result<String, Error> {
        let files = self.regions(job)?;
        let mut tries = 1;
        while let Err(error) = job.bench.write(&files) {
            if tries == WRITES {
                return Err(error);
            }
            tries += 1;
        }
        digest(&files)
    }

    fn burn(&self, job: &mut Job<'_>, calls: &[Vec<Burn>]) -> Result<(), Error> {
        for call in calls {
            let files = self.key_files(job, call)?;
            let file_of = |key| files.get(&key).cloned().unwrap_or_default();
            job.bench.burn(&arguments(call, file_of))?;
        }
        Ok(())
    }

    /// Key files for the tool: they exist while it runs.
    fn key_files(&self, job: &mut Job<'_>, call: &[Burn]) -> Result<BTreeMap<BurnedKey, PathBuf>, Error> {
        let keys = call.iter().flat_map(|burn| match burn {
            Burn::Keys(keys) => keys.as_slice(),
            Burn::Fields(_) | Burn::WriteProtect(_) => &[],
        });
        let mut files = BTreeMap::new();
        for key in keys {
            let file = match key.key {
                BurnedKey::Digest(number) => self.folder.common(&format!("digest{number}.bin")),
                BurnedKey::Flash => {
                    let bytes = self.secrets(job)?.flash_key.clone();
                    job.work.replace("flash-key.bin", &bytes)?
                }
                BurnedKey::Seed => {
                    let bytes = self.secrets(job)?.seed.clone();
                    job.work.replace("seed.bin", &bytes)?
                }
                BurnedKey::BootloaderDigestKey => {
                    return Err(Error::refused("secure boot v1", "is not provisioned", ""));
                }
            };
            files.insert(key.key, file);
        }
        Ok(files)
    }

    /// The chip against the plan, before anything that can't be looked behind.
    fn audit(&self, job: &mut Job<'_>) -> Result<(), Error> {
        let Board::Open { efuses, .. } = job.bench.look()? else {
            return Err(Error::refused("the board", "was locked before it was audited", "see the journal"));
        };
        let mut wrong = self.plan.differences(&efuses, false);
        if self.plan.progress(&efuses) != Progress::Burned {
            wrong.push("something of the plan is not burned".to_owned());
        }
        for (index, key) in self.plan.keys().filter(|key| key.readable).enumerate() {
            let path = self.folder.common(&format!("digest{index}.bin"));
            let digest = read_small(&path, 32, "a digest")?;
            let shown = efuses.field(&key.block).map(|field| field.shown.clone()).unwrap_or_default();
            let shown: String = shown.split_whitespace().take(32).collect();
            let names_a_block = key.block.starts_with("BLOCK_KEY") && !shown.is_empty() && self.chip.name() != "esp32c2";
            if names_a_block && shown != hex::encode(&digest) {
                wrong.push(format!("{} holds another digest", key.block));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::refused("the eFuses", wrong.join("; "), "run again: what is missing is burned, what is wrong is named"))
    }

    /// The firmware's own words prove flash key, seed and signature at once.
    fn boot(&self, job: &mut Job<'_>) -> Result<(), Error> {
        let seed = <[u8; 32]>::try_from(self.secrets(job)?.seed.as_slice());
        let want = BootLine {
            device_id: seed.map(|seed| device_id(&seed)).unwrap_or_default(),
            version: self.config.release.version.clone(),
        };
        let found = job.bench.boot()?;
        if found == want {
            return Ok(());
        }
        Err(Error::refused(
            "the firmware",
            format!(
                "says device {:?} and version {:?}; the plan has {:?} and {:?}",
                found.device_id, found.version, want.device_id, want.version
            ),
            "another image or another key is in the chip: put the board aside",
        ))
    }

    fn lock(&self, job: &mut Job<'_>, call: &[Burn]) -> Result<(), Error> {
        job.bench.burn(&arguments(call, |_| PathBuf::new()))?;
        match job.bench.look()? {
            Board::Locked { .. } => Ok(()),
            Board::Open { .. } => Err(Error::refused("the loader", "still answers", "run again")),
        }
    }

    fn record(&self, job: &mut Job<'_>) -> Result<String, Error> {
        let path = self.folder.path().join("devices.jsonl");
        let io = |error| Error::io("write", &path, error);
        let there = if path.exists() { read_small(&path, MAX_FILE, "device records")? } else { Vec::new() };
        let mut line = serde_json::to_vec(&self.device_record(job)?).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        // A line that a cut tore ends where the next begins.
        let whole = there.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let known = there.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n').any(|line| {
            serde_json::from_slice::<DeviceRecord>(line).is_ok_and(|record| record.serial == job.serial)
        });
        if !known {
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(io)?;
            file.set_len(whole as u64).map_err(io)?;
            std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).map_err(io)?;
            file.write_all(&line).and_then(|()| file.sync_all()).map_err(io)?;
        }
        self.label(job)?;
        self.keys_go(job)?;
        Ok(hex::encode(Sha256::digest(&line)))
    }

    fn label(&self, job: &mut Job<'_>) -> Result<(), Error> {
        let Some(label) = &self.config.label else {
            return Ok(());
        };
        let claim = self.secrets(job)?.claim.clone();
        let hw_rev = self.config.hw_rev.to_string();
        let config = &self.config;
        let values = [&config.product, &hw_rev, &job.serial, &config.batch.id, &job.mac, &config.class, claim.as_str()];
        labels::write(label, &self.folder.path().join("labels"), &LabelValues(values))
    }

    fn keys_go(&self, job: &mut Job<'_>) -> Result<(), Error> {
        job.secrets = None;
        match self.config.keys.after {
            crate::config::AfterVerification::Destroy => shred(&self.folder.box_of(&job.serial)),
            crate::config::AfterVerification::Escrow => Ok(()),
        }
    }

    fn device_record(&self, job: &mut Job<'_>) -> Result<DeviceRecord, Error> {
        let secrets = self.secrets(job)?;
        let seed = <[u8; 32]>::try_from(secrets.seed.as_slice()).ok();
        let check = Sha256::new_with_prefix(b"airseal1 fe").chain_update(&*secrets.flash_key).finalize();
        let mut check = hex::encode(check);
        check.truncate(if secrets.flash_key.is_empty() { 0 } else { 32 });
        let app = self.description.regions.iter().find_map(|region| match &region.source {
            RegionSource::Common { sha256, .. } if region.name != "bootloader" && region.name != "partition-table" => Some(sha256.clone()),
            _ => None,
        });
        let digests = self.plan.keys().filter(|key| key.readable).enumerate().map(|(index, _)| {
            read_small(&self.folder.common(&format!("digest{index}.bin")), 32, "a digest").map(hex::encode)
        });
        Ok(DeviceRecord {
            schema: DeviceRecord::schema(),
            serial: job.serial.clone(),
            mac: job.mac.clone(),
            device_id: seed.as_ref().map(device_id).unwrap_or_default(),
            vendor: self.config.vendor.clone(),
            class: self.config.class.clone(),
            hw_rev: self.config.hw_rev,
            chip: self.description.chip.clone(),
            keys: seed.as_ref().map(DeviceKeys::derive).unwrap_or_default(),
            flash_key_check: check,
            sb_digests: digests.collect::<Result<_, _>>()?,
            factory: FactoryImage {
                version: self.config.release.version.clone(),
                seq: self.config.release.seq,
                security_version: self.config.release.security_version,
                sha256: app.unwrap_or_default(),
            },
            batch: self.description.batch.clone(),
            tags: self.config.batch.tags.clone(),
            provisioned_at: (self.clock)(),
            station: self.who.station.clone(),
            keys_after: match self.config.keys.after {
                crate::config::AfterVerification::Destroy => "destroyed".to_owned(),
                crate::config::AfterVerification::Escrow => "escrowed".to_owned(),
            },
        })
    }
}

/// Over the digests of all files, in order.
fn digest(files: &[FlashFile]) -> Result<String, Error> {
    let mut hash = Sha256::new();
    for file in files {
        let bytes = std::fs::read(&file.path).map_err(|error| Error::io("read", &file.path, error))?;
        hash.update(Sha256::digest(&bytes));
    }
    Ok(hex::encode(hash.finalize()))
}
