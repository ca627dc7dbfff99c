//! What happens next to the board on the bench: pure, from what the chip shows and what the journal knows.

use airseal_pack::esp::efuse_audit::EfuseState;

use crate::efuse::{Burn, EfusePlan, Progress};
use crate::journal::{Entry, Outcome, Step};

/// What could be learned from the board.
#[derive(Clone, Debug)]
pub enum Board {
    /// The loader is open: everything can be read.
    Open {
        /// Lower case, with colons.
        mac: String,
        /// The summary.
        efuses: EfuseState,
        /// What `check-error` found in a block, if anything.
        block_error: Option<String>,
    },
    /// Secure Download Mode: not even the MAC can be read. The serial comes from the label.
    Locked {
        /// As scanned.
        serial: String,
    },
}

/// What the journal knows of one board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Bound serial and MAC.
    pub bound: Option<(String, String)>,
    /// Whether the first eFuse call was announced.
    pub burn_begun: bool,
    /// Whether the audit passed.
    pub audited: bool,
    /// Whether the firmware was seen to run after the audit.
    pub booted: bool,
    /// Whether the lock was announced.
    pub lock_begun: bool,
    /// Whether the board is finished.
    pub recorded: bool,
    /// Whether it was given up.
    pub scrapped: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These tasks, in order, for this serial (none: the next free one is bound).
    Work {
        /// The serial, if one is bound.
        serial: Option<String>,
        /// What remains.
        tasks: Vec<Task>,
    },
    /// It is finished.
    Finished {
        /// The serial.
        serial: String,
    },
    /// It can't be finished: its serial and keys are given up.
    Scrap {
        /// The serial, if one is bound.
        serial: Option<String>,
        /// Why.
        why: String,
    },
    /// It is not ours: nothing is done to it.
    Refuse {
        /// Why.
        why: String,
        /// What a person can do.
        remedy: String,
    },
}

/// One step with what it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Bind the serial to the MAC.
    Bind,
    /// Erase and write every region.
    Flash,
    /// Compare every region.
    Verify,
    /// These calls of espefuse.
    Burn(Vec<Vec<Burn>>),
    /// Summary against plan and policy.
    Audit,
    /// Wait for the firmware's line.
    Boot,
    /// The last call of espefuse.
    Lock(Vec<Burn>),
    /// Record, label, keys.
    Record,
}

impl Task {
    /// The step as the journal names it.
    pub fn step(&self) -> Step {
        match self {
            Task::Bind => Step::Bind,
            Task::Flash => Step::Flash,
            Task::Verify => Step::Verify,
            Task::Burn(_) => Step::Burn,
            Task::Audit => Step::Audit,
            Task::Boot => Step::Boot,
            Task::Lock(_) => Step::Lock,
            Task::Record => Step::Record,
        }
    }
}

impl History {
    /// The board with this MAC.
    pub fn of_mac(entries: &[Entry], mac: &str) -> History {
        History::of(entries.iter().filter(|entry| entry.mac == mac))
    }

    /// The board with this serial.
    pub fn of_serial(entries: &[Entry], serial: &str) -> History {
        History::of(entries.iter().filter(|entry| entry.serial == serial))
    }

    fn of<'e>(entries: impl Iterator<Item = &'e Entry>) -> History {
        let mut history = History::default();
        for entry in entries {
            let done = entry.outcome == Outcome::Done;
            match entry.step {
                Step::Bind if done => {
                    history.bound = Some((entry.serial.clone(), entry.mac.clone()));
                }
                Step::Burn => history.burn_begun = true,
                Step::Audit => history.audited = done,
                Step::Boot => history.booted = done,
                Step::Lock => history.lock_begun = true,
                Step::Record if done => history.recorded = true,
                Step::Scrap if done => history.scrapped = true,
                _ => {}
            }
        }
        history
    }
}

/// Decides.
pub fn next(plan: &EfusePlan, order: crate::config::Order, board: &Board, history: &History) -> Next {
    let serial = history.bound.as_ref().map(|(serial, _)| serial.clone());
    if history.scrapped {
        return Next::Refuse {
            why: format!(
                "{} was scrapped; its serial and keys are never used again",
                serial.as_deref().unwrap_or("this board")
            ),
            remedy: "take another board".to_owned(),
        };
    }
    let (efuses, block_error) = match board {
        Board::Locked { serial } => return locked(serial, history),
        Board::Open {
            efuses,
            block_error,
            ..
        } => (efuses, block_error),
    };
    if let Some(error) = block_error {
        return Next::Scrap {
            serial,
            why: format!("an eFuse block has an error: {error}"),
        };
    }
    let progress = plan.progress(efuses);
    if serial.is_none() && progress != Progress::Blank {
        return Next::Refuse {
            why: "its eFuses are burned and no journal line knows its MAC: a board of somebody else, or of another batch"
                .to_owned(),
            remedy: "take `esp line reflash` with the batch its label names, or `esp line scrap`".to_owned(),
        };
    }
    let calls = match progress {
        Progress::Blank if history.burn_begun || !history.recorded => vec![plan.burn.clone()],
        Progress::Blank => {
            return Next::Refuse {
                why: "it is recorded as finished, and its eFuses are blank: another chip answers with this MAC".to_owned(),
                remedy: "compare the label".to_owned(),
            };
        }
        Progress::Begun(calls) if history.burn_begun => calls,
        Progress::Begun(_) => {
            return Next::Refuse {
                why: "some of its eFuses are burned, and the journal never began to burn it".to_owned(),
                remedy: "another tool was at work: find out which, then `esp line scrap`".to_owned(),
            };
        }
        Progress::Burned => Vec::new(),
        Progress::Spoiled { field, why } => {
            return Next::Scrap {
                serial,
                why: format!("{field}: {why}"),
            };
        }
    };
    if history.recorded && calls.is_empty() {
        return Next::Finished {
            serial: serial.unwrap_or_default(),
        };
    }
    let untouched = calls.first() == Some(&plan.burn) && !history.burn_begun;
    Next::Work {
        tasks: tasks(plan, order, serial.is_none(), untouched, calls),
        serial,
    }
}

fn tasks(
    plan: &EfusePlan,
    order: crate::config::Order,
    new: bool,
    untouched: bool,
    calls: Vec<Vec<Burn>>,
) -> Vec<Task> {
    let mut tasks = Vec::new();
    if new {
        tasks.push(Task::Bind);
    }
    // Once burning began the flash is as it was verified; only a chip that nothing was burned into is written again.
    let burn_first = order == crate::config::Order::BurnFirst;
    if untouched && !burn_first {
        tasks.extend([Task::Flash, Task::Verify]);
    }
    if !calls.is_empty() {
        tasks.push(Task::Burn(calls));
    }
    if burn_first {
        tasks.extend([Task::Flash, Task::Verify]);
    }
    tasks.extend([Task::Audit, Task::Boot]);
    if !plan.lock.is_empty() {
        tasks.push(Task::Lock(plan.lock.clone()));
    }
    tasks.push(Task::Record);
    tasks
}

/// The loader says nothing any more: the journal decides alone.
fn locked(serial: &str, history: &History) -> Next {
    match &history.bound {
        Some((bound, _)) if history.recorded => Next::Finished {
            serial: bound.clone(),
        },
        Some((bound, _)) if history.lock_begun => Next::Work {
            serial: Some(bound.clone()),
            tasks: vec![Task::Boot, Task::Record],
        },
        Some(_) => Next::Refuse {
            why: format!("{serial} is in Secure Download Mode, and the journal never began to lock it"),
            remedy: "compare the label; if it is right, another tool locked the board: `esp line scrap`".to_owned(),
        },
        None => Next::Refuse {
            why: format!("it is in Secure Download Mode, and no journal line knows the serial {serial}"),
            remedy: "scan the label again, or take the batch it names".to_owned(),
        },
    }
}
