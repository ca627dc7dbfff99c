//! How far a batch is.

use std::collections::BTreeSet;
use std::path::Path;

use airseal_pack::Error;
use serde::Serialize;

use crate::batch::{BatchFolder, Description};
use crate::journal::{Entry, Journal, Step};
use crate::line::decide::History;

/// Boards of a batch by how far they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Recorded.
    pub finished: usize,
    /// Bound to a chip and not finished.
    pub begun: usize,
    /// Given up.
    pub scrapped: usize,
    /// Serials that no chip has.
    pub free: usize,
    /// Whether the batch is closed.
    pub closed: bool,
}

/// Counts the boards of the batch in `folder`; a station may be at work meanwhile.
///
/// # Errors
/// `Io`; refused if the folder is no batch or its journal is damaged.
pub fn status(folder: &Path) -> Result<Counts, Error> {
    let description = Description::read(folder)?;
    let entries = Journal::read(&BatchFolder::journal_of(folder))?;
    Ok(counts(&description, &entries))
}

pub(crate) fn counts(description: &Description, entries: &[Entry]) -> Counts {
    let used: BTreeSet<&str> = entries.iter().map(|entry| entry.serial.as_str()).collect();
    let mut counts = Counts {
        closed: is_closed(entries),
        ..Counts::default()
    };
    for serial in &description.serials {
        if !used.contains(serial.as_str()) {
            counts.free += 1;
            continue;
        }
        let history = History::of_serial(entries, serial);
        match (history.scrapped, history.recorded) {
            (true, _) => counts.scrapped += 1,
            (_, true) => counts.finished += 1,
            _ => counts.begun += 1,
        }
    }
    counts
}

pub(crate) fn is_closed(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.step == Step::Close)
}

/// Whether keys may be drawn for a serial whose box is not there: never a second time.
///
/// # Errors
/// Refused if its chip was begun with keys that are lost, or the batch is closed.
pub(crate) fn may_draw_keys(entries: &[Entry], serial: &str) -> Result<bool, Error> {
    let history = History::of_serial(entries, serial);
    if history.recorded || history.scrapped {
        return Ok(false);
    }
    if history.bound.is_some() {
        return Err(Error::refused(
            format!("the box of {serial}"),
            "is lost, and a chip was begun with its keys",
            "bring the box back from a copy; new keys would not fit that chip",
        ));
    }
    if is_closed(entries) {
        return Err(Error::refused(
            serial,
            "gets no keys: the batch is closed",
            "make another batch",
        ));
    }
    Ok(true)
}
