//! What happens next to the board on the bench: pure, from what the chip shows and what the journal knows.

use std::collections::BTreeSet;

use airseal_pack::esp::efuse_audit::EfuseState;

use crate::config::Order;
use crate::efuse::{Burn, BurnedKey, EfusePlan, Progress};
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
    Locked,
    /// The loader does not answer: it is closed, or no board is there.
    Silent {
        /// What the tool says.
        why: String,
    },
}

/// What the journal knows of one board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Bound serial and MAC.
    pub bound: Option<(String, String)>,
    /// Whether the first eFuse call was announced.
    pub burn_begun: bool,
    /// Keys of the board's box that were seen in their blocks, not yet switched on.
    pub unfinished: BTreeSet<BurnedKey>,
    /// Whether the audit passed.
    pub audited: bool,
    /// Whether the firmware was seen to run after the audit.
    pub booted: bool,
    /// Whether the lock was announced.
    pub lock_begun: bool,
    /// Whether the last call that locks ended well, and no loader was seen since. Where none answers, nothing else says so.
    pub lock_burned: bool,
    /// Whether the board is finished.
    pub recorded: bool,
    /// Whether it was given up.
    pub scrapped: bool,
    /// Whether it was burned elsewhere, and its key taken in.
    pub imported: bool,
    /// Whether it was written anew since, and did not start as it should.
    pub unproved: bool,
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
    /// It looks like one that can't be finished. That is for a person to say: keys and serial stay until `esp line scrap`.
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

    fn serial(&self) -> Option<String> {
        self.bound.as_ref().map(|(serial, _)| serial.clone())
    }

    fn of<'e>(entries: impl Iterator<Item = &'e Entry>) -> History {
        let mut history = History::default();
        for entry in entries {
            let done = entry.outcome == Outcome::Done;
            match entry.step {
                // A serial is taken as soon as the line says so, whatever came of it.
                Step::Bind => {
                    history.bound = Some((entry.serial.clone(), entry.mac.clone()));
                }
                Step::Burn => history.burn_begun = true,
                Step::Audit => history.audited = done,
                Step::Boot => history.booted = done,
                Step::Lock => {
                    history.lock_begun = true;
                    history.lock_burned = done;
                }
                Step::Record if done => history.recorded = true,
                Step::Scrap if done => history.scrapped = true,
                Step::Reflash => history.unproved = !done,
                Step::Import if done => {
                    history.bound = Some((entry.serial.clone(), entry.mac.clone()));
                    history.imported = true;
                    history.recorded = true;
                }
                _ => {}
            }
        }
        history
    }
}

/// Decides. For a board that tells its MAC, `history` is that MAC's; for one that does not, that of the `scanned` serial.
pub fn next(
    plan: &EfusePlan,
    order: Order,
    board: &Board,
    history: &History,
    scanned: Option<&str>,
) -> Next {
    if history.scrapped {
        let serial = history.serial().or_else(|| scanned.map(str::to_owned));
        return refuse(
            format!(
                "{} was scrapped; its serial and keys are never used again",
                serial
                    .as_deref()
                    .filter(|serial| !serial.is_empty())
                    .unwrap_or("this board")
            ),
            "take another board",
        );
    }
    let next = match board {
        Board::Open {
            efuses,
            block_error,
            ..
        } => open(plan, order, efuses, block_error.as_deref(), history),
        Board::Locked if plan.closes_loader() => refuse(
            "it is in Secure Download Mode, and the plan closes the loader for good".to_owned(),
            "compare label and board: another tool locked it, or it is another batch's",
        ),
        Board::Locked => closed(
            "it is in Secure Download Mode",
            history.lock_begun,
            history,
            scanned,
        ),
        // Only a loader that was closed for good is silent; in Secure Download Mode it still says so.
        Board::Silent { why } if plan.closes_loader() => closed(
            &format!("no loader answers ({why})"),
            history.lock_burned,
            history,
            scanned,
        ),
        Board::Silent { why } => refuse(
            format!("no loader answers ({why})"),
            "look at cable, power and port, and run again",
        ),
    };
    match next {
        Next::Finished { serial } if history.unproved => refuse(
            format!(
                "{serial} was written anew since it was finished, and did not start as it should"
            ),
            "write it anew with its own label: `esp line reflash`; perhaps that label was another board's",
        ),
        next => next,
    }
}

fn open(
    plan: &EfusePlan,
    order: Order,
    efuses: &EfuseState,
    block_error: Option<&str>,
    history: &History,
) -> Next {
    let serial = history.serial();
    let progress = plan.progress(efuses, &history.unfinished);
    let Some(bound) = &serial else {
        let progress = match (progress, plan.brought(efuses)) {
            (Progress::Blank(_), Some((field, why))) => Progress::Spoiled { field, why },
            (progress, _) => progress,
        };
        return match (block_error, progress) {
            (None, Progress::Blank(calls)) => work(plan, order, history, Flash::Unwritten, calls),
            (None, Progress::Burned) if plan.burn.is_empty() => {
                work(plan, order, history, Flash::Unwritten, Vec::new())
            }
            (Some(error), _) => refuse(
                format!("an eFuse block has an error: {error}"),
                "put the chip aside: it was never bound to a serial",
            ),
            (None, Progress::Spoiled { field, why }) => refuse(
                format!("it is not blank, and no journal line knows its MAC: {field}: {why}"),
                "take `esp line reflash` with the batch its label names, or put it aside",
            ),
            _ => refuse(
                "its eFuses are burned and no journal line knows its MAC: a board of somebody else, or of another batch".to_owned(),
                "take `esp line reflash` with the batch its label names, or put it aside",
            ),
        };
    };
    // A finished board may have been burned further since: by its firmware, or by who burned it elsewhere.
    let found = |finding: String| match history.recorded {
        true => refuse(
            format!("{bound} is recorded as finished, and now: {finding}"),
            "write it anew with `esp line reflash`, or give it up with `esp line scrap`",
        ),
        false => Next::Scrap {
            serial: serial.clone(),
            why: finding,
        },
    };
    if let Some(error) = block_error {
        return found(format!("an eFuse block has an error: {error}"));
    }
    let other_chip = |what: &str| {
        refuse(
            format!(
                "{bound} is recorded as finished, and {what}: another chip answers with this MAC"
            ),
            "compare label and board",
        )
    };
    match progress {
        Progress::Spoiled { field, why } => found(format!("{field}: {why}")),
        Progress::Burned if history.recorded && !plan.is_locked(efuses) => {
            other_chip("its loader is open")
        }
        Progress::Burned if history.recorded => Next::Finished {
            serial: bound.clone(),
        },
        Progress::Blank(_) | Progress::Begun(_) if history.recorded => {
            other_chip("not all of its eFuses are burned")
        }
        Progress::Burned if !history.burn_begun && !plan.burn.is_empty() => other_tool(),
        Progress::Burned if plan.burn.is_empty() && !history.booted => {
            work(plan, order, history, Flash::Unwritten, Vec::new())
        }
        // It was not reset since. The journal must know of the lock before a reset closes the loader.
        Progress::Burned if !plan.lock.is_empty() && plan.is_locked(efuses) => Next::Work {
            serial: history.serial(),
            tasks: vec![
                Task::Audit,
                Task::Lock(plan.lock.clone()),
                Task::Boot,
                Task::Record,
            ],
        },
        Progress::Burned => work(plan, order, history, Flash::Proved, Vec::new()),
        Progress::Blank(calls) => work(plan, order, history, Flash::Unwritten, calls),
        Progress::Begun(_) if !history.burn_begun => other_tool(),
        Progress::Begun(calls) => work(plan, order, history, Flash::Written, calls),
    }
}

fn other_tool() -> Next {
    refuse(
        "some of its eFuses are burned, and the journal never began to burn it".to_owned(),
        "another tool was at work: find out which, then `esp line scrap`",
    )
}

/// What the flash must be taken for before anything more is burned. The chip says so, not the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flash {
    /// No key is in the chip: write it and read it back, whatever was done before.
    Unwritten,
    /// Some of the plan is burned: read it back.
    Written,
    /// All of it is: the boot is the proof, and firmware that ran may have written to partitions of its own.
    Proved,
}

fn work(
    plan: &EfusePlan,
    order: Order,
    history: &History,
    flash: Flash,
    calls: Vec<Vec<Burn>>,
) -> Next {
    let mut tasks = Vec::new();
    if history.bound.is_none() {
        tasks.push(Task::Bind);
    }
    let flash_first = order == Order::FlashFirst;
    match flash {
        Flash::Unwritten if flash_first => tasks.extend([Task::Flash, Task::Verify]),
        Flash::Written if flash_first => tasks.push(Task::Verify),
        _ => {}
    }
    if !calls.is_empty() {
        tasks.push(Task::Burn(calls));
    }
    if !flash_first {
        tasks.extend([Task::Flash, Task::Verify]);
    }
    tasks.extend([Task::Audit, Task::Boot]);
    if !plan.lock.is_empty() {
        tasks.push(Task::Lock(plan.lock.clone()));
    }
    tasks.push(Task::Record);
    Next::Work {
        serial: history.serial(),
        tasks,
    }
}

/// The loader says nothing any more: the journal decides alone. `locked` says that the lock of the plan is burned, as the chip
/// shows, or the journal where the chip shows nothing: a wire that is loose is silent too.
fn closed(what: &str, locked: bool, history: &History, scanned: Option<&str>) -> Next {
    let Some(scanned) = scanned else {
        return refuse(
            format!("{what}, so it can't tell who it is"),
            "scan its label: --serial; without a board, look at cable, power and port",
        );
    };
    match &history.bound {
        Some((bound, _)) if history.recorded => Next::Finished {
            serial: bound.clone(),
        },
        Some((bound, _)) if locked => Next::Work {
            serial: Some(bound.clone()),
            tasks: vec![Task::Boot, Task::Record],
        },
        Some(_) if history.lock_begun => refuse(
            format!(
                "{what}, and no journal line says that {scanned} was locked: its lock may not be burned"
            ),
            "look at cable, power and port until the board answers, and run again; if it never does, `esp line scrap`",
        ),
        Some(_) => refuse(
            format!("{what}, and the journal never began to lock {scanned}"),
            "look at cable, power, port and label; if all are right, another tool locked the board: `esp line scrap`",
        ),
        None => refuse(
            format!("{what}, and no journal line knows the serial {scanned}"),
            "scan the label again, or take the batch it names",
        ),
    }
}

fn refuse(why: String, remedy: &str) -> Next {
    Next::Refuse {
        why,
        remedy: remedy.to_owned(),
    }
}
