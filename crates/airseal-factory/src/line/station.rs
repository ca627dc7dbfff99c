//! One station: it looks at the board, decides, and does the work, each step journalled before and after.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use airseal_esp::Chip;
use airseal_pack::Error;
use airseal_pack::open::OpenKey;

mod bound;
mod close;
mod devices;
mod keys;
mod records;
mod regions;
mod serials;
mod service;
mod tasks;

pub use close::Closed;
pub use service::{Imported, Which};

use super::bench::{Bench, Expected, FIRMWARE, FlashFile};
use super::decide::{Board, History, Next, Task, next};
use super::work::WorkFolder;
use crate::batch::{BatchFolder, DESCRIPTION, Description};
use crate::config::{Config, SeedSource};
use crate::efuse::{Burn, EfusePlan, arguments};
use crate::journal::{Entry, Journal, Outcome, Step};
use crate::prepare::{CONFIG, PLAN};
use crate::sealed::SealedList;
use crate::secrets::{DeviceSecrets, shred};
use crate::status::is_closed;

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

/// What surrounds a station.
pub struct Shift<'c> {
    /// Who works.
    pub who: Who,
    /// The time, RFC 3339.
    pub clock: &'c dyn Fn() -> String,
    /// Once true, the station stops before the next step and cleans up.
    pub stop: Option<&'c AtomicBool>,
    /// Told about each step.
    pub watch: &'c dyn Fn(&str, Step, Outcome),
}

/// A station with its batch.
pub struct Station<'c> {
    folder: BatchFolder,
    description: Description,
    /// What the description has a digest of, as it was read when that was compared.
    files: BTreeMap<String, Vec<u8>>,
    config: Config,
    chip: Chip,
    plan: EfusePlan,
    journal: Journal,
    sealed: SealedList,
    key: Option<OpenKey>,
    shift: Shift<'c>,
}

/// Most letters of a note.
const MAX_NOTE: usize = 200;

/// One line that can be printed.
fn for_people(note: &str) -> String {
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    note.chars().map(printable).take(MAX_NOTE).collect()
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
struct Job<'b, 'c> {
    bench: &'b mut Bench<'c>,
    serial: String,
    mac: String,
    /// Opened when first needed: a finished board has no box any more.
    secrets: Option<DeviceSecrets>,
    /// Made when first needed.
    files: Option<Vec<FlashFile>>,
    work: WorkFolder,
}

impl<'c> Station<'c> {
    /// Opens the batch in `folder` for one station; what a crash left in the clear is removed. Without a key nothing can be
    /// done to a board, only decided.
    ///
    /// # Errors
    /// `Io`; refused if the folder is no batch, its journal is damaged, or another station works on it.
    pub fn open(
        folder: &Path,
        key: Option<OpenKey>,
        shift: Shift<'c>,
    ) -> Result<Station<'c>, Error> {
        let (description, sha256) = Description::read_hashed(folder)?;
        let folder = BatchFolder::open(folder)?;
        WorkFolder::clean(folder.path())?;
        let damaged = |path: &Path, what: String| {
            Error::refused(
                path.display().to_string(),
                what,
                "bring it back from a copy of the batch",
            )
        };
        let files = folder.check_files(&description)?;
        let part = |name: &str| {
            files
                .get(name)
                .ok_or_else(|| damaged(&folder.common(name), "is not in batch.json".to_owned()))
        };
        let config = folder.common(CONFIG).display().to_string();
        let config = Config::parse(&config, &String::from_utf8_lossy(part(CONFIG)?))?;
        let plan = serde_json::from_slice(part(PLAN)?)
            .map_err(|error| damaged(&folder.common(PLAN), format!("is damaged: {error}")))?;
        let chip = Chip::from_name(&description.chip).ok_or_else(|| {
            damaged(
                folder.path(),
                format!("is for {}, no chip known here", description.chip),
            )
        })?;
        let journal = Journal::open(&folder.journal())?;
        if journal.description() != sha256 {
            let path = folder.path().join(DESCRIPTION);
            return Err(damaged(&path, "was changed while it was read".to_owned()));
        }
        let sealed = SealedList::read(folder.path())?;
        let station = Station {
            folder,
            description,
            files,
            config,
            chip,
            plan,
            journal,
            sealed,
            key,
            shift,
        };
        station.sweep()?;
        Ok(station)
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The batch's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Refuses if the batch is not the one with this fingerprint, which `esp provision` printed.
    ///
    /// # Errors
    /// Refused.
    pub fn refuse_other(&self, told: &str) -> Result<(), Error> {
        self.sealed.refuse_other(told, self.journal.description())
    }

    /// What its boards must be.
    pub fn expected(&self) -> Expected {
        Expected {
            chip: self.chip,
            min_revision: self.config.chip.min_revision,
            flash_size: self.description.flash_size,
        }
    }

    /// What would be done to the board; nothing is.
    ///
    /// # Errors
    /// As [`Bench::look`].
    pub fn decide(&self, board: &Board, scanned: Option<&str>) -> Result<Next, Error> {
        let entries = self.journal.entries();
        let history = match (board, scanned) {
            (Board::Open { mac, efuses, .. }, _) => {
                let mut history = History::of_mac(entries, mac);
                history.unfinished = self.unfinished(efuses, &history)?;
                history
            }
            (_, Some(serial)) => {
                let mut history = History::of_serial(entries, serial);
                // Firmware may lock its chip when it first starts, which is after the audit; it must say then who it is.
                history.lock_begun |=
                    history.audited && self.config.device_key.source != SeedSource::None;
                history
            }
            (_, None) => History::default(),
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
        let next = next(
            &self.plan,
            self.config.flash.order,
            board,
            &history,
            scanned,
        );
        // Without a seed the firmware names no id: a label on the wrong board would be believed.
        let trusts_label =
            matches!(next, Next::Work { .. }) && !matches!(board, Board::Open { .. });
        if trusts_label && self.config.device_key.source == SeedSource::None {
            self.refuse_a_choice()?;
        }
        Ok(next)
    }

    /// Refuses if more than one board was locked and not recorded.
    fn refuse_a_choice(&self) -> Result<(), Error> {
        let entries = self.journal.entries();
        let mut locked: Vec<&str> = entries
            .iter()
            .filter(|entry| entry.step == Step::Lock)
            .map(|entry| entry.serial.as_str())
            .collect();
        locked.sort_unstable();
        locked.dedup();
        locked.retain(|serial| {
            let history = History::of_serial(entries, serial);
            !history.recorded && !history.scrapped
        });
        if locked.len() < 2 {
            return Ok(());
        }
        Err(Error::refused(
            "the board",
            format!(
                "is locked and can't name itself, and it may be any of {}",
                locked.join(", ")
            ),
            "give all but one of them up with `esp line scrap`; a device key would let each board prove who it is",
        ))
    }

    /// The words after `espefuse`'s own options for each call of a task; key files without their folder.
    pub fn burn_words(task: &Task) -> Vec<Vec<String>> {
        let calls = match task {
            Task::Burn(calls) => calls.as_slice(),
            Task::Lock(call) => std::slice::from_ref(call),
            _ => &[],
        };
        let words = |call: &Vec<Burn>| {
            let words = arguments(call, |key| PathBuf::from(tasks::key_file(key)));
            words
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect()
        };
        calls.iter().map(words).collect()
    }

    /// Does what the board on the bench needs, all of it.
    ///
    /// # Errors
    /// The bench's; refused for a board that is not ours or can't be finished, or if the batch is closed.
    pub fn run(&mut self, bench: &mut Bench<'_>, scanned: Option<&str>) -> Result<Finished, Error> {
        self.settle_records()?;
        let board = bench.look()?;
        let next = self.decide(&board, scanned)?;
        match next {
            Next::Finished { serial } => Ok(Finished {
                serial,
                was_finished: true,
            }),
            Next::Refuse { why, remedy } => Err(Error::refused("the board", why, remedy)),
            Next::Scrap { serial, why } => {
                let serial = serial.unwrap_or_default();
                let mac = self.mac_of(&board, &serial);
                // A finding is no verdict: the box stays until a person gives the board up.
                self.note(&serial, &mac, Step::Scrap, Outcome::Begun, &why, None)?;
                Err(Error::refused(
                    format!("board {serial}"),
                    format!("looks like scrap: {why}"),
                    "look at cable and port and run again; if it stays so, `esp line scrap` gives it up with its keys",
                ))
            }
            Next::Work { serial, tasks } => {
                self.refuse_closed()?;
                self.the_key("the boxes of the batch")?;
                let serial = match serial {
                    Some(serial) => serial,
                    None => self.free_serial(scanned, &self.mac_of(&board, ""))?,
                };
                let mac = self.mac_of(&board, &serial);
                let mut job = self.job(bench, serial, mac)?;
                self.ready(&mut job, &tasks)?;
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

    /// What would stop the work half-way is found before a serial is bound or anything is burned: a box that does not open, a part
    /// of the batch that was changed, a flash that is too small.
    fn ready(&self, job: &mut Job<'_, '_>, tasks: &[Task]) -> Result<(), Error> {
        let (mut writes, mut burns) = (false, false);
        for task in tasks {
            writes |= matches!(task, Task::Flash | Task::Verify);
            burns |= matches!(task, Task::Burn(_));
        }
        if burns {
            self.secrets(job)?;
        }
        if writes {
            self.regions(job)?;
        }
        if writes || burns {
            job.bench.check_flash(&job.mac)?;
        }
        Ok(())
    }

    fn job<'b, 'd>(
        &self,
        bench: &'b mut Bench<'d>,
        serial: String,
        mac: String,
    ) -> Result<Job<'b, 'd>, Error> {
        Ok(Job {
            bench,
            work: WorkFolder::make(self.folder.path(), &serial)?,
            serial,
            mac,
            secrets: None,
            files: None,
        })
    }

    /// As the board says, or the journal where it says nothing.
    fn mac_of(&self, board: &Board, serial: &str) -> String {
        match board {
            Board::Open { mac, .. } => mac.clone(),
            Board::Locked | Board::Silent { .. } => {
                let history = History::of_serial(self.journal.entries(), serial);
                history.bound.map(|(_, mac)| mac).unwrap_or_default()
            }
        }
    }

    fn refuse_closed(&self) -> Result<(), Error> {
        if !is_closed(self.journal.entries()) {
            return Ok(());
        }
        Err(Error::refused(
            format!("batch {}", self.description.batch),
            "is closed: its unused keys are gone",
            "make another batch",
        ))
    }

    /// Serial and keys are never used again.
    fn give_up(&mut self, serial: &str, mac: &str, reason: &str) -> Result<(), Error> {
        self.note(serial, mac, Step::Scrap, Outcome::Done, reason, None)?;
        self.mark_scrapped(serial)?;
        shred(&self.folder.box_of(serial))
    }

    /// One task between its two lines.
    fn step(&mut self, job: &mut Job<'_, '_>, task: &Task) -> Result<(), Error> {
        if self
            .shift
            .stop
            .is_some_and(|stop| stop.load(Ordering::SeqCst))
        {
            return Err(Error::Cancelled);
        }
        let (serial, mac) = (job.serial.clone(), job.mac.clone());
        let step = task.step();
        self.note(&serial, &mac, step, Outcome::Begun, "", None)?;
        let done = match self.perform(job, task) {
            Ok(sha256) => self.note(&serial, &mac, step, Outcome::Done, "", sha256),
            Err(error) => Err(self.failed(&serial, &mac, step, error)?),
        };
        done?;
        match task {
            Task::Lock(_) => self.see_locked(job),
            _ => Ok(()),
        }
    }

    /// Journals that a step ended with an error, which comes back.
    fn failed(
        &mut self,
        serial: &str,
        mac: &str,
        step: Step,
        error: Error,
    ) -> Result<Error, Error> {
        // What the firmware prints is nobody's to publish; the station's screen has it.
        let note = match &error {
            Error::Refused { subject, .. } if subject == FIRMWARE => {
                "the firmware did not say what the plan has".to_owned()
            }
            error => error.to_string(),
        };
        self.note(serial, mac, step, Outcome::Failed, &note, None)?;
        Ok(error)
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
        (self.shift.watch)(serial, step, outcome);
        self.journal.append(Entry {
            time: (self.shift.clock)(),
            station: self.shift.who.station.clone(),
            operator: self.shift.who.operator.clone(),
            serial: serial.to_owned(),
            mac: mac.to_owned(),
            step,
            outcome,
            note: for_people(note),
            sha256,
        })
    }
}
