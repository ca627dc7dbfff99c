//! How far a batch is.

use std::collections::BTreeSet;
use std::path::Path;

use airseal_pack::Error;
use serde::Serialize;

use crate::batch::BatchFolder;
use crate::journal::Journal;
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
}

/// Counts the boards of the batch in `folder`.
///
/// # Errors
/// `Io`; refused if the folder is no batch, its journal is damaged, or a station works on it.
pub fn status(folder: &Path) -> Result<Counts, Error> {
    let refuse = || Error::refused(folder.display().to_string(), "is no batch: it has no batch.json", "make one with airseal esp provision");
    if !folder.join("batch.json").is_file() {
        return Err(refuse());
    }
    let folder = BatchFolder::open(folder)?;
    let description = folder.description()?.ok_or_else(refuse)?;
    let journal = Journal::open(&folder.journal())?;
    let entries = journal.entries();
    let used: BTreeSet<&str> = entries.iter().map(|entry| entry.serial.as_str()).collect();
    let mut counts = Counts::default();
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
    Ok(counts)
}
