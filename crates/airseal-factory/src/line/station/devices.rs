//! `devices.jsonl`: one public record for each finished board, held against the journal. What is in it is nowhere else once the
//! keys are destroyed, and it goes to the server: a line that is lost or changed must not pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::output::{Access, Existing, write_durable};
use sha2::{Digest, Sha256};

use super::{MAX_FILE, Station};
use crate::journal::{Outcome, Step};
use crate::record::{DeviceRecord, SCRAPPED};
use crate::secrets::is_there;

impl Station<'_> {
    /// The record of a serial, if its board is finished.
    pub(super) fn record_of(&self, serial: &str) -> Result<Option<DeviceRecord>, Error> {
        Ok(self
            .records()?
            .into_iter()
            .find(|record| record.serial == serial))
    }

    /// All records; a last line that a cut tore is none.
    pub(super) fn records(&self) -> Result<Vec<DeviceRecord>, Error> {
        let path = self.records_path();
        if !is_there(&path)? {
            return Ok(Vec::new());
        }
        let text = read_small(&path, MAX_FILE, "device records")?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        let lines = text
            .get(..whole)
            .unwrap_or_default()
            .split(|byte| *byte == b'\n');
        let records =
            lines
                .enumerate()
                .filter(|(_, line)| !line.is_empty())
                .map(|(index, line)| {
                    serde_json::from_slice(line).map_err(|error| {
                        Error::refused(
                            path.display().to_string(),
                            format!("line {}: is no device record: {error}", index + 1),
                            "bring it back from a copy of the batch",
                        )
                    })
                });
        records.collect()
    }

    /// Refuses records that are not those the journal saw written; nothing is changed.
    pub(super) fn check_records(&self) -> Result<(), Error> {
        self.checked_records().map(drop)
    }

    /// Refuses as [`Station::check_records`], and makes marks of scrapped boards that a cut prevented.
    pub(super) fn settle_records(&self) -> Result<(), Error> {
        let records = self.checked_records()?;
        let scrapped = self.scrapped();
        let lacks_mark = |record: &DeviceRecord| {
            record.state.is_none() && scrapped.contains(record.serial.as_str())
        };
        if !records.iter().any(lacks_mark) {
            return Ok(());
        }
        let marked = records.into_iter().map(|record| match lacks_mark(&record) {
            true => record.scrapped(),
            false => record,
        });
        self.write_records(&marked.collect::<Vec<_>>())
    }

    /// Serials of boards that were given up.
    fn scrapped(&self) -> BTreeSet<&str> {
        let entries = self.journal.entries().iter();
        entries
            .filter(|entry| entry.step == Step::Scrap && entry.outcome == Outcome::Done)
            .map(|entry| entry.serial.as_str())
            .collect()
    }

    fn checked_records(&self) -> Result<Vec<DeviceRecord>, Error> {
        let records = self.records()?;
        let entries = self.journal.entries();
        let written: BTreeMap<&str, &str> = entries
            .iter()
            .filter(|entry| entry.step == Step::Record && entry.outcome == Outcome::Done)
            .filter_map(|entry| Some((entry.serial.as_str(), entry.sha256.as_deref()?)))
            .collect();
        let begun: BTreeSet<&str> = entries
            .iter()
            .filter(|entry| entry.step == Step::Record)
            .map(|entry| entry.serial.as_str())
            .collect();
        let refuse = |what: String, remedy: &str| {
            let path = self.records_path().display().to_string();
            Err(Error::refused(path, what, remedy))
        };
        let copy = "bring it back from a copy of the batch: once keys are destroyed, nothing else knows the board";
        let mut seen = BTreeSet::new();
        for record in &records {
            let serial = record.serial.as_str();
            if !seen.insert(serial) {
                return refuse(format!("has {serial} twice"), copy);
            }
            match written.get(serial) {
                Some(sha256) if *sha256 == digest_of(record) => {}
                Some(_) => {
                    return refuse(
                        format!("the record of {serial} is not the one that was written"),
                        copy,
                    );
                }
                // A cut after the record, before the journal had it.
                None if begun.contains(serial) => {}
                None => {
                    return refuse(
                        format!(
                            "has a record of {serial}, and the journal never finished that board"
                        ),
                        "the journal is an older one, or somebody added the line: bring back the newest of both; never work with a copy of a batch that went on",
                    );
                }
            }
        }
        if let Some(serial) = written.keys().find(|serial| !seen.contains(*serial)) {
            return refuse(format!("the record of {serial} is missing"), copy);
        }
        Ok(records)
    }

    /// From now on no list of devices takes the board for a good one.
    pub(super) fn mark_scrapped(&self, serial: &str) -> Result<(), Error> {
        let records = self.records()?;
        if !records.iter().any(|record| record.serial == serial) {
            return Ok(());
        }
        let marked = records
            .into_iter()
            .map(|record| match record.serial == serial {
                true => record.scrapped(),
                false => record,
            });
        self.write_records(&marked.collect::<Vec<_>>())
    }

    fn records_path(&self) -> PathBuf {
        self.folder.path().join("devices.jsonl")
    }

    fn write_records(&self, records: &[DeviceRecord]) -> Result<(), Error> {
        let path = self.records_path();
        let mut text = Vec::new();
        for record in records {
            let line = serde_json::to_vec(record);
            text.extend(line.map_err(|error| Error::io("write", &path, error.into()))?);
            text.push(b'\n');
        }
        write_durable(&path, &text, Existing::Replace, Access::Public)
    }

    pub(super) fn append(&self, record: &DeviceRecord) -> Result<(), Error> {
        let path = self.records_path();
        let io = |error| Error::io("write", &path, error);
        let there = if is_there(&path)? {
            read_small(&path, MAX_FILE, "device records")?
        } else {
            Vec::new()
        };
        let whole = there
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let mut line = serde_json::to_vec(record).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        file.set_len(whole as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        file.write_all(&line)
            .and_then(|()| file.sync_all())
            .map_err(io)
    }
}

/// SHA-256 of a record as it was written when its board was finished, hex.
pub(super) fn digest_of(record: &DeviceRecord) -> String {
    let as_written = match record.state.as_deref() {
        Some(SCRAPPED) => DeviceRecord {
            state: None,
            ..record.clone()
        },
        _ => record.clone(),
    };
    let line = serde_json::to_vec(&as_written).unwrap_or_default();
    hex::encode(Sha256::digest(&line))
}
