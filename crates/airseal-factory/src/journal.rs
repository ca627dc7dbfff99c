//! What happened to every board: one line for each step begun and ended, never changed, each line bound to the one before.
//!
//! A line is written whole and synced before the step it announces. A last line that a power cut tore is dropped when the
//! journal is opened; any other line that does not fit the chain is an error, since a missing line can hide a used serial.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use airseal_pack::Error;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest journal that is read, bytes: over a hundred thousand boards.
const MAX_JOURNAL: u64 = 1 << 30;

/// What is done to a board, in order; those after `Record` are the exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The serial and the chip's MAC belong together from here on.
    Bind,
    /// Erase and write.
    Flash,
    /// Read back and compare.
    Verify,
    /// The first eFuse call.
    Burn,
    /// The summary against the plan and the policy.
    Audit,
    /// The firmware says who it is.
    Boot,
    /// The second eFuse call.
    Lock,
    /// Record, label; the keys go.
    Record,
    /// The board is given up; its serial and keys are never used again.
    Scrap,
    /// A returned board was written anew.
    Reflash,
    /// The key of a board that was burned elsewhere was taken in.
    Import,
    /// The batch is finished: no board is begun any more.
    Close,
}

impl Step {
    /// The word the journal has for it.
    pub fn name(self) -> &'static str {
        match self {
            Step::Bind => "bind",
            Step::Flash => "flash",
            Step::Verify => "verify",
            Step::Burn => "burn",
            Step::Audit => "audit",
            Step::Boot => "boot",
            Step::Lock => "lock",
            Step::Record => "record",
            Step::Scrap => "scrap",
            Step::Reflash => "reflash",
            Step::Import => "import",
            Step::Close => "close",
        }
    }
}

/// Whether a step was begun, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Announced, before anything is done.
    Begun,
    /// Ended well.
    Done,
    /// Ended with an error.
    Failed,
}

/// What one line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When, RFC 3339.
    pub time: String,
    /// Which station.
    pub station: String,
    /// Who.
    pub operator: String,
    /// The board's serial.
    pub serial: String,
    /// The chip's MAC, lower case with colons.
    pub mac: String,
    /// The step.
    pub step: Step,
    /// Begun, done or failed.
    pub outcome: Outcome,
    /// For people; nothing secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// SHA-256 of what was written, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Number of the line, from 1.
    n: u64,
    /// SHA-256 of the line before, hex; zeros for the first.
    prev: String,
    #[serde(flatten)]
    entry: Entry,
}

/// The journal of a batch, open for one station.
pub struct Journal {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
    last: [u8; 32],
}

impl Journal {
    /// Opens or makes the journal at `path`. The caller holds the batch's lock.
    ///
    /// # Errors
    /// `Io`; refused for a line that does not fit the one before, with its number.
    pub fn open(path: &Path) -> Result<Journal, Error> {
        let io = |source| Error::io("open", path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        let mut text = Vec::new();
        (&mut file)
            .take(MAX_JOURNAL + 1)
            .read_to_end(&mut text)
            .map_err(io)?;
        if text.len() as u64 > MAX_JOURNAL {
            return Err(Error::refused(
                path.display().to_string(),
                "is longer than any journal of a batch",
                "close the batch and make another one",
            ));
        }
        let chain = Chain::read(path, &text)?;
        if chain.len < text.len() {
            file.set_len(chain.len as u64).map_err(io)?;
            file.sync_all().map_err(io)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(Journal {
            path: path.to_owned(),
            file,
            entries: chain.entries,
            last: chain.last,
        })
    }

    /// The lines of the journal at `path`, which stays as it is; none if there is no journal yet. A last line that is being
    /// written, or that a cut tore, is left out.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn read(path: &Path) -> Result<Vec<Entry>, Error> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = airseal_pack::bundle::read_small(path, MAX_JOURNAL, "a journal")?;
        Ok(Chain::read(path, &text)?.entries)
    }

    /// Adds a line and waits until it is on the disk. A line that could not be written whole is taken back.
    ///
    /// # Errors
    /// `Io`; the step must not be done then.
    pub fn append(&mut self, entry: Entry) -> Result<(), Error> {
        let line = Line {
            n: self.entries.len() as u64 + 1,
            prev: hex::encode(self.last),
            entry: entry.clone(),
        };
        let io = |source| Error::io("write", &self.path, source);
        let mut text = serde_json::to_vec(&line).map_err(|error| io(error.into()))?;
        text.push(b'\n');
        let end = self.file.stream_position().map_err(io)?;
        let written = self
            .file
            .write_all(&text)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // A torn line that stays is dropped when the journal is opened again.
            let _ = self.file.set_len(end);
            let _ = self.file.seek(SeekFrom::Start(end));
            return Err(io(error));
        }
        self.last = Sha256::digest(&text).into();
        self.entries.push(entry);
        Ok(())
    }

    /// Every line, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// The whole lines of a journal.
#[derive(Default)]
struct Chain {
    entries: Vec<Entry>,
    last: [u8; 32],
    /// Bytes of the whole lines.
    len: usize,
}

impl Chain {
    fn read(path: &Path, text: &[u8]) -> Result<Chain, Error> {
        let mut chain = Chain {
            len: text
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1),
            ..Chain::default()
        };
        let whole = text.get(..chain.len).unwrap_or_default();
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            chain.take(path, line)?;
        }
        Ok(chain)
    }

    fn take(&mut self, path: &Path, text: &[u8]) -> Result<(), Error> {
        let number = self.entries.len() as u64 + 1;
        let refuse = |what: String| {
            Error::refused(
                path.display().to_string(),
                format!("line {number}: {what}"),
                "bring back the journal as it was: lines that are lost can hide a serial or a key in use",
            )
        };
        let line: Line = serde_json::from_slice(text)
            .map_err(|error| refuse(format!("is no journal line: {error}")))?;
        if line.n != number {
            return Err(refuse(format!("calls itself line {}", line.n)));
        }
        if line.prev != hex::encode(self.last) {
            return Err(refuse("does not follow from the line before".to_owned()));
        }
        self.last = Sha256::digest(text).into();
        self.entries.push(line.entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(serial: &str, step: Step, outcome: Outcome) -> Entry {
        Entry {
            time: "2026-01-01T00:00:00Z".to_owned(),
            station: "a".to_owned(),
            operator: "b".to_owned(),
            serial: serial.to_owned(),
            mac: "aa:bb:cc:dd:ee:ff".to_owned(),
            step,
            outcome,
            note: String::new(),
            sha256: None,
        }
    }

    fn three_lines(path: &Path) -> Vec<u8> {
        let mut journal = Journal::open(path).expect("works");
        for outcome in [Outcome::Begun, Outcome::Done, Outcome::Failed] {
            journal
                .append(entry("S1", Step::Flash, outcome))
                .expect("works");
        }
        std::fs::read(path).expect("works")
    }

    #[test]
    fn a_torn_last_line_is_dropped_wherever_it_tore() {
        let folder = tempfile::tempdir().expect("works");
        let path = folder.path().join("journal.jsonl");
        let text = three_lines(&path);
        let second_ends = text.len()
            - text
                .split_inclusive(|b| *b == b'\n')
                .next_back()
                .expect("works")
                .len();
        for len in second_ends..text.len() {
            std::fs::write(&path, &text[..len]).expect("works");
            let mut journal = Journal::open(&path).expect("works");
            assert_eq!(journal.entries().len(), 2);
            journal
                .append(entry("S1", Step::Flash, Outcome::Failed))
                .expect("works");
            assert_eq!(std::fs::read(&path).expect("works"), text);
        }
    }

    #[test]
    fn a_changed_missing_or_swapped_line_is_refused() {
        let folder = tempfile::tempdir().expect("works");
        let path = folder.path().join("journal.jsonl");
        let text = three_lines(&path);
        let lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
        let changed = String::from_utf8_lossy(lines[0])
            .replace("S1", "S2")
            .into_bytes();
        for damaged in [
            [lines[1], lines[2]].concat(),
            [lines[0], lines[2]].concat(),
            [lines[1], lines[0], lines[2]].concat(),
            [&changed, lines[1], lines[2]].concat(),
        ] {
            std::fs::write(&path, &damaged).expect("works");
            assert!(Journal::open(&path).is_err());
            assert_eq!(
                std::fs::read(&path).expect("works"),
                damaged,
                "nothing was written"
            );
        }
    }
}
