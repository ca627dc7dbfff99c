//! One station: it looks at the board, decides, and does the work, each step journalled before and after.

use std::path::{Path, PathBuf};

use airseal_esp::Chip;
use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::open::OpenKey;
use sha2::{Digest, Sha256};

mod regions;
mod tasks;

use super::bench::Bench;
use super::decide::{Board, History, Next, Task, next};
use super::work::WorkFolder;
use crate::batch::{BatchFolder, Description};
use crate::boxes::{self, BoxContext};
use crate::config::Config;
use crate::efuse::EfusePlan;
use crate::journal::{Entry, Journal, Outcome, Step};
use crate::prepare::CONFIG;
use crate::secrets::{DeviceSecrets, shred};

/// Largest file of a batch that a station reads, bytes.
const MAX_FILE: u64 = 256 << 20;

/// Who works here; it goes into every line of the journal.
#[derive(Clone, Debug)]
pub struct Who {
    /// The station.
    pub station: String,
    /// The person.
    pub operator: String,
}

/// A station with its batch.
pub struct Station<'c> {
    folder: BatchFolder,
    description: Description,
    config: Config,
    chip: Chip,
    plan: EfusePlan,
    journal: Journal,
    key: OpenKey,
    who: Who,
    clock: &'c dyn Fn() -> String,
}

/// A board that is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its serial.
    pub serial: String,
    /// True if it was finished before.
    pub was_finished: bool,
}

/// One board at work.
struct Job<'b> {
    bench: &'b mut dyn Bench,
    serial: String,
    mac: String,
    /// Opened when first needed: a finished board has no box any more.
    secrets: Option<DeviceSecrets>,
    work: WorkFolder,
}

impl<'c> Station<'c> {
    /// Opens the batch in `folder` for one station; what a crash left in the clear is removed.
    ///
    /// # Errors
    /// `Io`; refused if the folder is no batch, its journal is damaged, or another station works on it.
    pub fn open(
        folder: &Path,
        key: OpenKey,
        who: Who,
        clock: &'c dyn Fn() -> String,
    ) -> Result<Station<'c>, Error> {
        if !folder.join("batch.json").is_file() {
            return Err(Error::refused(
                folder.display().to_string(),
                "is no batch: it has no batch.json",
                "make one with airseal esp provision",
            ));
        }
        let folder = BatchFolder::open(folder)?;
        WorkFolder::clean(folder.path())?;
        let damaged = |path: &Path, what: String| {
            Error::refused(path.display().to_string(), what, "bring it back from a copy of the batch")
        };
        let description = folder
            .description()?
            .ok_or_else(|| damaged(folder.path(), "has no batch.json".to_owned()))?;
        let config = Config::read(&folder.common(CONFIG))?;
        let plan_path = folder.common("plan.json");
        let plan = read_small(&plan_path, MAX_FILE, "a plan")?;
        let plan = serde_json::from_slice(&plan)
            .map_err(|error| damaged(&plan_path, format!("is damaged: {error}")))?;
        let chip = Chip::from_name(&description.chip)
            .ok_or_else(|| damaged(folder.path(), format!("is for {}, no chip known here", description.chip)))?;
        let journal = Journal::open(&folder.journal())?;
        Ok(Station {
            folder,
            description,
            config,
            chip,
            plan,
            journal,
            key,
            who,
            clock,
        })
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The chip of the batch.
    pub fn chip(&self) -> Chip {
        self.chip
    }

    /// Bytes of flash of its boards.
    pub fn flash_size(&self) -> u64 {
        self.description.flash_size
    }

    /// What the firmware calls its version.
    pub fn version(&self) -> &str {
        &self.config.release.version
    }

    /// Gives a board up.
    ///
    /// # Errors
    /// `Io`; refused for a serial that no chip is bound to.
    pub fn scrap(&mut self, serial: &str, reason: &str) -> Result<(), Error> {
        let history = History::of_serial(self.journal.entries(), serial);
        let Some((_, mac)) = history.bound else {
            return Err(Error::refused(
                format!("serial {serial}"),
                "is bound to no chip",
                "a serial that was never used needs no scrapping",
            ));
        };
        self.note(serial, &mac, Step::Scrap, Outcome::Done, reason, None)?;
        shred(&self.folder.box_of(serial))
    }

    /// What would be done to the board; nothing is.
    ///
    /// # Errors
    /// As [`Bench::look`].
    pub fn decide(&self, bench: &mut dyn Bench, scanned: Option<&str>) -> Result<Next, Error> {
        Ok(self.look(bench, scanned)?.1)
    }

    /// Does what the board on the bench needs, all of it.
    ///
    /// # Errors
    /// The bench's; refused for a board that is not ours or can't be finished.
    pub fn run(&mut self, bench: &mut dyn Bench, scanned: Option<&str>) -> Result<Finished, Error> {
        let (board, next) = self.look(bench, scanned)?;
        let mac = match &board {
            Board::Open { mac, .. } => mac.clone(),
            Board::Locked { serial } => {
                let history = History::of_serial(self.journal.entries(), serial);
                history.bound.map(|(_, mac)| mac).unwrap_or_default()
            }
        };
        match next {
            Next::Finished { serial } => Ok(Finished {
                serial,
                was_finished: true,
            }),
            Next::Refuse { why, remedy } => Err(Error::refused("the board", why, remedy)),
            Next::Scrap { serial, why } => {
                let serial = serial.unwrap_or_default();
                self.note(&serial, &mac, Step::Scrap, Outcome::Done, &why, None)?;
                Err(Error::refused(
                    format!("board {serial}"),
                    format!("is scrap: {why}"),
                    "take another board; serial and keys of this one are never used again",
                ))
            }
            Next::Work { serial, tasks } => {
                let serial = match serial {
                    Some(serial) => serial,
                    None => self.free_serial(scanned, &mac)?,
                };
                let work = WorkFolder::make(self.folder.path(), &serial)?;
                let mut job = Job {
                    bench,
                    serial,
                    mac,
                    secrets: None,
                    work,
                };
                for task in &tasks {
                    self.step(&mut job, task)?;
                }
                Ok(Finished {
                    serial: job.serial,
                    was_finished: false,
                })
            }
        }
    }

    fn look(&self, bench: &mut dyn Bench, scanned: Option<&str>) -> Result<(Board, Next), Error> {
        let mut board = bench.look()?;
        if let (Board::Locked { serial }, Some(scanned)) = (&mut board, scanned) {
            scanned.clone_into(serial);
        }
        let entries = self.journal.entries();
        let history = match &board {
            Board::Open { mac, .. } => History::of_mac(entries, mac),
            Board::Locked { serial } => History::of_serial(entries, serial),
        };
        if let (Some(scanned), Some((bound, _))) = (scanned, &history.bound)
            && scanned != bound
        {
            return Err(Error::refused(
                format!("label {scanned}"),
                format!("is not this board's: its chip is bound to {bound}"),
                "compare label and board",
            ));
        }
        let decision = next(&self.plan, self.config.flash.order, &board, &history);
        Ok((board, decision))
    }

    /// One task between its two lines.
    fn step(&mut self, job: &mut Job<'_>, task: &Task) -> Result<(), Error> {
        let (serial, mac) = (job.serial.clone(), job.mac.clone());
        let step = task.step();
        self.note(&serial, &mac, step, Outcome::Begun, "", None)?;
        match self.perform(job, task) {
            Ok(sha256) => self.note(&serial, &mac, step, Outcome::Done, "", sha256),
            Err(error) => {
                self.note(&serial, &mac, step, Outcome::Failed, &error.to_string(), None)?;
                Err(error)
            }
        }
    }

    /// The serial that was scanned, or the first that nobody took.
    fn free_serial(&self, scanned: Option<&str>, mac: &str) -> Result<String, Error> {
        let taken = |serial: &str| self.journal.entries().iter().any(|entry| entry.serial == serial);
        let Some(scanned) = scanned else {
            let free = self.description.serials.iter().find(|serial| !taken(serial));
            return free.cloned().ok_or_else(|| {
                Error::refused(
                    &self.description.batch,
                    "has no serial left",
                    "close the batch, or make another one",
                )
            });
        };
        if !self.description.serials.iter().any(|serial| serial == scanned) {
            return Err(Error::refused(
                format!("serial {scanned}"),
                format!("is not in the batch {}", self.description.batch),
                "scan the label again, or take the batch it belongs to",
            ));
        }
        if taken(scanned) {
            return Err(Error::refused(
                format!("serial {scanned}"),
                format!("belongs to another chip, not to {mac}"),
                "compare label and board",
            ));
        }
        Ok(scanned.to_owned())
    }

    fn note(
        &mut self,
        serial: &str,
        mac: &str,
        step: Step,
        outcome: Outcome,
        note: &str,
        sha256: Option<String>,
    ) -> Result<(), Error> {
        self.journal.append(Entry {
            time: (self.clock)(),
            station: self.who.station.clone(),
            operator: self.who.operator.clone(),
            serial: serial.to_owned(),
            mac: mac.to_owned(),
            step,
            outcome,
            note: note.to_owned(),
            sha256,
        })
    }

    fn secrets<'j>(&self, job: &'j mut Job<'_>) -> Result<&'j DeviceSecrets, Error> {
        if job.secrets.is_none() {
            let path = self.folder.box_of(&job.serial);
            let bytes = read_small(&path, MAX_FILE, "a box")?;
            let context = BoxContext {
                batch: &self.description.batch,
                serial: &job.serial,
            };
            job.secrets = Some(boxes::open(context, &bytes, &self.key)?);
        }
        job.secrets.as_ref().ok_or_else(|| Error::refused(&job.serial, "has no box", ""))
    }

    fn common(&self, file: &str, sha256: &str) -> Result<Vec<u8>, Error> {
        let path: PathBuf = self.folder.common(file);
        let bytes = read_small(&path, MAX_FILE, "a part of a batch")?;
        if hex::encode(Sha256::digest(&bytes)) != sha256 {
            return Err(Error::refused(
                path.display().to_string(),
                "was changed since the batch was made: its SHA-256 is not that of batch.json",
                "bring it back from a copy of the batch",
            ));
        }
        Ok(bytes)
    }
}
