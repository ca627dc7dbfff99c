//! Which box is whose: the SHA-256 of every box, as `esp provision` made it, in `sealed.jsonl`.
//!
//! Anybody can seal a box with public keys, and would know what is in it. So a board is begun only with a box that is as it
//! was made, and the fingerprint of the whole batch, which people carry to the line, says that this list is the one.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::batch::{DESCRIPTION, Description, MAX_DESCRIPTION};
use crate::line::decide::History;
use crate::secrets::is_there;

const LIST: &str = "sealed.jsonl";

/// Longest list that is read, bytes.
const MAX_LIST: u64 = 256 << 20;

/// Bytes of the digest that people compare.
const FINGERPRINT_LEN: usize = 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    serial: String,
    /// Hex.
    sha256: String,
}

/// The list of a batch.
pub(crate) struct SealedList {
    path: PathBuf,
    /// SHA-256 of the box, hex, by serial.
    digests: BTreeMap<String, String>,
    /// Bytes of whole lines; what follows a cut tore.
    len: u64,
}

impl SealedList {
    /// Reads the list of the batch in `folder`; none is an empty one.
    ///
    /// # Errors
    /// `Io`; refused for a line that is none.
    pub(crate) fn read(folder: &Path) -> Result<SealedList, Error> {
        let mut list = SealedList {
            path: folder.join(LIST),
            digests: BTreeMap::new(),
            len: 0,
        };
        if !is_there(&list.path)? {
            return Ok(list);
        }
        let text = read_small(&list.path, MAX_LIST, "a list of boxes")?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        list.len = whole as u64;
        let lines = text.get(..whole).unwrap_or_default();
        for (index, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let line: Line = serde_json::from_slice(line).map_err(|error| {
                Error::refused(
                    list.path.display().to_string(),
                    format!("line {}: {error}", index + 1),
                    "bring it back from a copy of the batch",
                )
            })?;
            // A box that was lost before its board was begun is made anew.
            list.digests.insert(line.serial, line.sha256);
        }
        Ok(list)
    }

    /// Adds the box that is written next, and waits until that is on the disk.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn add(&mut self, serial: &str, sealed: &[u8]) -> Result<(), Error> {
        let line = Line {
            serial: serial.to_owned(),
            sha256: hex::encode(Sha256::digest(sealed)),
        };
        let io = |error| Error::io("write", &self.path, error);
        let mut text = serde_json::to_vec(&line).map_err(|error| io(error.into()))?;
        text.push(b'\n');
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)
            .map_err(io)?;
        file.set_len(self.len)
            .and_then(|()| file.seek(SeekFrom::Start(self.len)))
            .and_then(|_| file.write_all(&text))
            .and_then(|()| file.sync_all())
            .map_err(io)?;
        self.len += text.len() as u64;
        self.digests.insert(line.serial, line.sha256);
        Ok(())
    }

    /// Refuses a box that is not as it was made. After its board has passed the audit it may be another: that of the escrow.
    ///
    /// # Errors
    /// Refused.
    pub(crate) fn check(
        &self,
        serial: &str,
        sealed: &[u8],
        history: &History,
    ) -> Result<(), Error> {
        if history.audited || history.recorded || history.imported {
            return Ok(());
        }
        let what = match self.digests.get(serial) {
            Some(digest) if *digest == hex::encode(Sha256::digest(sealed)) => return Ok(()),
            Some(_) => {
                "is not the one that was made for it: its SHA-256 is not that of sealed.jsonl"
            }
            None => {
                "is in no line of sealed.jsonl: nobody knows who made it, and who knows its keys"
            }
        };
        Err(Error::refused(
            format!("the box of {serial}"),
            what,
            "bring it back from a copy of the batch; if no board was begun with it, remove it and run esp provision again, which makes other keys",
        ))
    }

    /// Refuses if the batch has another fingerprint; `description` is the SHA-256 of its `batch.json`.
    ///
    /// # Errors
    /// Refused.
    pub(crate) fn refuse_other(&self, told: &str, description: [u8; 32]) -> Result<(), Error> {
        let found = self.fingerprint_of(description);
        let told = told.trim();
        if found.eq_ignore_ascii_case(told) {
            return Ok(());
        }
        let batch = self.path.parent().unwrap_or(Path::new(""));
        Err(Error::refused(
            batch.display().to_string(),
            format!("has the fingerprint {found}, not {told}"),
            "take the batch that esp provision made, and the fingerprint of its last run; if both are right, somebody put boxes or files of their own in place",
        ))
    }

    /// What stands for the whole batch: description and boxes.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn fingerprint(&self) -> Result<String, Error> {
        let path = self.path.with_file_name(DESCRIPTION);
        let description = read_small(&path, MAX_DESCRIPTION, "the description of a batch")?;
        Ok(self.fingerprint_of(Sha256::digest(&description).into()))
    }

    fn fingerprint_of(&self, description: [u8; 32]) -> String {
        let mut hash = Sha256::new_with_prefix(b"airseal1 batch");
        hash.update(description);
        for (serial, sha256) in &self.digests {
            hash.update(format!("{serial} {sha256}\n"));
        }
        let digest = hash.finalize();
        hex::encode(digest.get(..FINGERPRINT_LEN).unwrap_or_default())
    }
}

/// The fingerprint of the batch in `folder`: 32 hex digits that stand for its description and every box that was made.
///
/// # Errors
/// `Io`; refused if the folder is no batch or its list is damaged.
pub fn fingerprint(folder: &Path) -> Result<String, Error> {
    SealedList::read(folder)?.fingerprint()
}

/// Refuses a batch that is not the one people were told.
///
/// # Errors
/// As [`fingerprint`].
pub fn refuse_other(folder: &Path, told: &str) -> Result<(), Error> {
    let (_, description) = Description::read_hashed(folder)?;
    SealedList::read(folder)?.refuse_other(told, description)
}
