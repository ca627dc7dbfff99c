//! What happened to every board: one line for each step begun and ended, never changed, each line bound to the one before.
//!
//! A line is written whole and synced before the step it announces. A last line that a power cut tore is left out, and goes
//! with the next one; any other line that does not fit the chain is an error, since a missing line can hide a used serial.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::output::{Access, Existing, OutputFile, write_durable};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::batch::{DESCRIPTION, MAX_DESCRIPTION, MAX_SERIAL, names_a_file};
use crate::secrets::is_there;

/// Longest journal that is read, bytes: over a hundred thousand boards.
const MAX_JOURNAL: u64 = 1 << 30;

/// The last line and its number, beside the journal: whole lines that are cut off its end are missed.
const HEAD: &str = "journal.head";

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
    /// The batch was made: the first line, bound to `batch.json`.
    Provision,
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
            Step::Provision => "provision",
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

impl Entry {
    /// What no line may have: it names a board that can't be.
    fn fault(&self) -> Option<String> {
        if !self.serial.is_empty() && !names_a_file(&self.serial, MAX_SERIAL) {
            return Some(format!("has the serial {:?}, which none is", self.serial));
        }
        let is_none = !self.mac.is_empty() && !is_mac(&self.mac);
        is_none.then(|| format!("has the MAC {:?}, which none is", self.mac))
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Number of the line, from 1.
    n: u64,
    /// SHA-256 of the line before, hex; that of `batch.json` for the first.
    prev: String,
    #[serde(flatten)]
    entry: Entry,
}

/// The journal of a batch, open for one station.
pub struct Journal {
    path: PathBuf,
    file: File,
    description: [u8; 32],
    entries: Vec<Entry>,
    last: [u8; 32],
    /// Bytes of whole lines; what follows was torn by a cut, and goes with the next line.
    len: u64,
}

impl Journal {
    /// Makes the journal of a new batch at `path`; its first line is bound to the description with this SHA-256.
    ///
    /// # Errors
    /// `Io`; refused if lines of boards are there.
    pub(crate) fn begin(path: &Path, description: [u8; 32]) -> Result<(), Error> {
        if is_there(path)? {
            let text = read_small(path, MAX_JOURNAL, "a journal")?;
            if text.iter().filter(|byte| **byte == b'\n').count() > 1 {
                return Err(Error::refused(
                    path.display().to_string(),
                    "is the journal of a batch whose batch.json is lost",
                    "bring batch.json back from a copy, or take a new folder",
                ));
            }
        }
        let line = Line {
            n: 1,
            prev: hex::encode(description),
            entry: Entry {
                time: String::new(),
                station: String::new(),
                operator: String::new(),
                serial: String::new(),
                mac: String::new(),
                step: Step::Provision,
                outcome: Outcome::Done,
                note: String::new(),
                sha256: None,
            },
        };
        let mut text =
            serde_json::to_vec(&line).map_err(|error| Error::io("write", path, error.into()))?;
        text.push(b'\n');
        write_durable(path, &text, Existing::Replace, Access::Public)?;
        write_head(path, 1, &Sha256::digest(&text).into())
    }

    /// Opens the journal at `path`, which lies beside its batch's description. The caller holds the batch's lock.
    ///
    /// # Errors
    /// `Io`; refused if it is not there, is another batch's or lost lines, and for a line that does not fit the one before,
    /// with its number.
    pub fn open(path: &Path) -> Result<Journal, Error> {
        let io = |source| Error::io("open", path, source);
        refuse_missing(path)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
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
        let chain = Chain::read(path, &text, Head::read(path)?.as_ref())?;
        Ok(Journal {
            path: path.to_owned(),
            file,
            description: chain.description,
            entries: chain.entries,
            last: chain.last,
            len: chain.len as u64,
        })
    }

    /// The lines of the journal at `path`, which stays as it is. A last line that is being written, or that a cut tore, is left
    /// out.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn read(path: &Path) -> Result<Vec<Entry>, Error> {
        refuse_missing(path)?;
        // The head before the lines: a station may add some meanwhile.
        let head = Head::read(path)?;
        let text = read_small(path, MAX_JOURNAL, "a journal")?;
        Ok(Chain::read(path, &text, head.as_ref())?.entries)
    }

    /// Adds a line and waits until it is on the disk. A line that could not be written whole is taken back.
    ///
    /// # Errors
    /// `Io`; refused for a line that no journal is read with. The step must not be done then.
    pub fn append(&mut self, entry: Entry) -> Result<(), Error> {
        if let Some(what) = entry.fault() {
            return Err(Error::refused(
                self.path.display().to_string(),
                format!("takes no such line, which would end it for good: it {what}"),
                "find out where that name comes from: batch.json, a file in bound/, or the chip",
            ));
        }
        self.write(entry)
    }

    fn write(&mut self, entry: Entry) -> Result<(), Error> {
        let line = Line {
            n: self.entries.len() as u64 + 1,
            prev: hex::encode(self.last),
            entry: entry.clone(),
        };
        let io = |source| Error::io("write", &self.path, source);
        let mut text = serde_json::to_vec(&line).map_err(|error| io(error.into()))?;
        text.push(b'\n');
        let end = self.len;
        let written = self
            .file
            .set_len(end)
            .and_then(|()| self.file.seek(SeekFrom::Start(end)))
            .and_then(|_| self.file.write_all(&text))
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // A torn line that stays goes with the next one.
            let _ = self.file.set_len(end);
            return Err(io(error));
        }
        self.len = end + text.len() as u64;
        self.last = Sha256::digest(&text).into();
        self.entries.push(entry);
        write_head(&self.path, self.entries.len(), &self.last)
    }

    /// SHA-256 of the `batch.json` that its first line is bound to.
    pub(crate) fn description(&self) -> [u8; 32] {
        self.description
    }

    /// Every line, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

fn refuse_missing(path: &Path) -> Result<(), Error> {
    if is_there(path)? {
        return Ok(());
    }
    Err(Error::refused(
        path.display().to_string(),
        "is not there: nobody can say which serials and keys are in use",
        "bring it back as it was last, never an older one, or make a new batch",
    ))
}

/// Whole after a power cut; that the name may still lead to the head before is no harm.
fn write_head(journal: &Path, lines: usize, last: &[u8; 32]) -> Result<(), Error> {
    let path = journal.with_file_name(HEAD);
    let text = format!("{lines} {}\n", hex::encode(last));
    let mut head = OutputFile::create(&path, Existing::Replace, Access::Public)?;
    head.write_all(text.as_bytes())
        .map_err(|error| Error::io("write", &path, error))?;
    head.sync()?;
    head.commit()
}

/// Whether it is a MAC, lower case with colons.
pub(crate) fn is_mac(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 17
        && text.bytes().enumerate().all(|(at, byte)| match at % 3 {
            2 => byte == b':',
            _ => digit(byte),
        })
}

/// The whole lines of a journal.
#[derive(Default)]
struct Chain {
    description: [u8; 32],
    entries: Vec<Entry>,
    last: [u8; 32],
    /// Bytes of the whole lines.
    len: usize,
}

impl Chain {
    fn read(path: &Path, text: &[u8], head: Option<&Head>) -> Result<Chain, Error> {
        let description = path.with_file_name(DESCRIPTION);
        let description = read_small(&description, MAX_DESCRIPTION, "the description of a batch")?;
        let description = Sha256::digest(&description).into();
        let mut chain = Chain {
            description,
            last: description,
            len: text
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1),
            ..Chain::default()
        };
        let whole = text.get(..chain.len).unwrap_or_default();
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            chain.take(path, line)?;
            if let Some(head) = head
                && head.lines == chain.entries.len()
                && head.last != hex::encode(chain.last)
            {
                return Err(head.refuse(path));
            }
        }
        match head {
            Some(head) if head.lines > chain.entries.len() => Err(head.refuse(path)),
            // A cut while the batch was made: its first line is there, the head not yet.
            None if chain.entries.len() > 1 => Err(Error::refused(
                path.with_file_name(HEAD).display().to_string(),
                "is not there: nobody can say whether the journal is whole",
                "bring it back as it was last, never an older one",
            )),
            _ if chain.entries.is_empty() => Err(Error::refused(
                path.display().to_string(),
                "is empty",
                "bring it back as it was last, never an older one",
            )),
            _ => Ok(chain),
        }
    }

    fn take(&mut self, path: &Path, text: &[u8]) -> Result<(), Error> {
        let number = self.entries.len() as u64 + 1;
        let refuse = |what: String| {
            Error::refused(
                path.display().to_string(),
                format!("line {number}: {what}"),
                "bring back the journal as it was last: lines that are lost can hide a serial or a key in use",
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
        if let Some(what) = line.entry.fault() {
            return Err(refuse(what));
        }
        self.last = Sha256::digest(text).into();
        self.entries.push(line.entry);
        Ok(())
    }
}

/// How far the journal was.
struct Head {
    lines: usize,
    last: String,
}

impl Head {
    fn read(journal: &Path) -> Result<Option<Head>, Error> {
        let path = journal.with_file_name(HEAD);
        if !is_there(&path)? {
            return Ok(None);
        }
        let text =
            String::from_utf8_lossy(&read_small(&path, 128, "the head of a journal")?).into_owned();
        let parts = text.trim_end().split_once(' ');
        let head = parts.and_then(|(lines, last)| {
            Some(Head {
                lines: lines.parse().ok()?,
                last: last.to_owned(),
            })
        });
        head.map(Some).ok_or_else(|| {
            Error::refused(
                path.display().to_string(),
                "is damaged",
                "bring it back as it was last, never an older one",
            )
        })
    }

    fn refuse(&self, journal: &Path) -> Error {
        Error::refused(
            journal.display().to_string(),
            format!(
                "had {} lines, and the last ones are lost or others",
                self.lines
            ),
            "bring back the journal as it was last: lines that are lost can hide a serial or a key in use",
        )
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

    /// After the first line, that of the batch.
    fn three_lines(path: &Path) -> Vec<u8> {
        let description = path.with_file_name(DESCRIPTION);
        std::fs::write(description, b"{}").expect("works");
        Journal::begin(path, Sha256::digest(b"{}").into()).expect("works");
        let mut journal = Journal::open(path).expect("works");
        for outcome in [Outcome::Begun, Outcome::Done, Outcome::Failed] {
            journal
                .append(entry("S1", Step::Flash, outcome))
                .expect("works");
        }
        std::fs::read(path).expect("works")
    }

    #[test]
    fn a_line_that_no_journal_is_read_with_is_not_written() {
        let folder = tempfile::tempdir().expect("works");
        let path = folder.path().join("journal.jsonl");
        let text = three_lines(&path);
        let mut journal = Journal::open(&path).expect("works");
        let named = |serial: &str, mac: &str| Entry {
            mac: mac.to_owned(),
            ..entry(serial, Step::Scrap, Outcome::Done)
        };
        for entry in [
            named("S1", "xyz"),
            named("S1", "AA:bb:cc:dd:ee:ff"),
            named("../S1", "aa:bb:cc:dd:ee:ff"),
        ] {
            let error = journal.append(entry).expect_err("refused").to_string();
            assert!(error.contains("which none is"), "{error}");
            assert_eq!(std::fs::read(&path).expect("works"), text);
        }
        journal.append(named("S1", "")).expect("no MAC is known");
        drop(journal);
        Journal::open(&path).expect("whole");
    }

    #[test]
    fn a_torn_last_line_is_dropped_wherever_it_tore() {
        let folder = tempfile::tempdir().expect("works");
        let path = folder.path().join("journal.jsonl");
        let text = three_lines(&path);
        // The line that tears is one that the head does not know yet.
        let last: [u8; 32] =
            Sha256::digest(text.split_inclusive(|b| *b == b'\n').nth(2).expect("works")).into();
        let second_ends = text.len()
            - text
                .split_inclusive(|b| *b == b'\n')
                .next_back()
                .expect("works")
                .len();
        for len in second_ends..text.len() {
            std::fs::write(&path, &text[..len]).expect("works");
            write_head(&path, 3, &last).expect("works");
            drop(Journal::open(&path).expect("works"));
            let there = std::fs::read(&path).expect("works");
            assert_eq!(there, text[..len], "a look changed it");
            let mut journal = Journal::open(&path).expect("works");
            assert_eq!(journal.entries().len(), 3);
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
        let changed = |line: usize| {
            String::from_utf8_lossy(lines[line])
                .replace("S1", "S2")
                .into_bytes()
        };
        for damaged in [
            lines[1..].concat(),
            [lines[0], lines[2], lines[3]].concat(),
            [lines[0], lines[2], lines[1], lines[3]].concat(),
            [lines[0], &changed(1), lines[2], lines[3]].concat(),
            // Whole lines at the end, and all of them.
            lines[..3].concat(),
            lines[..1].concat(),
            [lines[0], lines[1], lines[2], &changed(3)].concat(),
            Vec::new(),
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

    /// Serials become names of files: a line can be made by whoever can write to the folder.
    #[test]
    fn a_line_whose_serial_or_mac_is_none_is_refused() {
        let folder = tempfile::tempdir().expect("works");
        let path = folder.path().join("journal.jsonl");
        for (serial, mac) in [
            ("../../outside", "aa:bb:cc:dd:ee:ff"),
            ("/etc", "aa:bb:cc:dd:ee:ff"),
            (".", "aa:bb:cc:dd:ee:ff"),
            ("S1", "../../outside/aab"),
            ("S1", "aa:bb:cc:dd:ee"),
        ] {
            three_lines(&path);
            let mut journal = Journal::open(&path).expect("works");
            let mut line = entry(serial, Step::Scrap, Outcome::Done);
            line.mac = mac.to_owned();
            journal.write(line).expect("works");
            let error = Journal::open(&path).err().expect("refused").to_string();
            assert!(error.contains("line 5"), "{error}");
            std::fs::remove_file(&path).expect("works");
        }
    }

    #[test]
    fn a_journal_that_is_missing_or_of_another_batch_is_refused() {
        let folder = tempfile::tempdir().expect("works");
        let path = folder.path().join("journal.jsonl");
        three_lines(&path);
        std::fs::write(path.with_file_name(DESCRIPTION), b"{ }").expect("works");
        assert!(Journal::open(&path).is_err(), "of another batch");
        std::fs::write(path.with_file_name(DESCRIPTION), b"{}").expect("works");
        assert!(Journal::read(&path).is_ok());
        std::fs::remove_file(path.with_file_name(HEAD)).expect("works");
        assert!(Journal::open(&path).is_err(), "without its head");
        std::fs::remove_file(&path).expect("works");
        assert!(Journal::open(&path).is_err(), "missing");
        assert!(Journal::read(&path).is_err(), "missing");
        assert!(!path.exists(), "none was made");
    }
}
