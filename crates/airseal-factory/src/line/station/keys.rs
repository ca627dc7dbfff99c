//! The keys of a board, from its box, and the parts that are the same for all.

use std::collections::BTreeSet;
use std::path::PathBuf;

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::esp::efuse_audit::EfuseState;
use airseal_pack::open::OpenKey;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::tasks::key_file;
use super::{Job, MAX_FILE, Station};
use crate::boxes::{self, BoxContext};
use crate::efuse::BurnedKey;
use crate::line::decide::History;
use crate::secrets::{DeviceSecrets, is_there};

impl Station<'_> {
    /// Which keys of its box lie in the chip, not yet switched on, once its burning was begun.
    pub(super) fn unfinished(
        &self,
        efuses: &EfuseState,
        history: &History,
    ) -> Result<BTreeSet<BurnedKey>, Error> {
        match &history.bound {
            Some((serial, _)) if history.burn_begun && !history.recorded && !history.scrapped => {
                self.plan
                    .unfinished(efuses, |key| self.key_bytes(serial, key))
            }
            _ => Ok(BTreeSet::new()),
        }
    }

    /// A key as its file has it.
    pub(super) fn key_bytes(
        &self,
        serial: &str,
        key: BurnedKey,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        match key {
            BurnedKey::Digest(_) => self.part(&key_file(key)).map(|part| part.to_vec().into()),
            BurnedKey::Flash => Ok(self.open_box(serial)?.flash_key.clone()),
            BurnedKey::Seed => Ok(self.open_box(serial)?.seed.clone()),
            BurnedKey::BootloaderDigestKey => Ok(Zeroizing::default()),
        }
    }

    pub(super) fn secrets<'j>(&self, job: &'j mut Job<'_, '_>) -> Result<&'j DeviceSecrets, Error> {
        let opened = match job.secrets.take() {
            Some(secrets) => secrets,
            None => self.open_box(&job.serial)?,
        };
        Ok(job.secrets.insert(opened))
    }

    /// Refuses if no key was given: no board can be made then.
    ///
    /// # Errors
    /// Refused.
    pub fn needs_key(&self) -> Result<(), Error> {
        self.the_key("the boxes of the batch").map(drop)
    }

    pub(super) fn the_key(&self, what: &str) -> Result<&OpenKey, Error> {
        self.key.as_ref().ok_or_else(|| {
            Error::refused(
                what,
                "can't be opened: no key is given",
                "name one of keys.at_rest with --key (after escrow, one of keys.escrow_to)",
            )
        })
    }

    pub(super) fn open_box(&self, serial: &str) -> Result<DeviceSecrets, Error> {
        let key = self.the_key(&format!("the box of {serial}"))?;
        let path = self.folder.box_of(serial);
        if !is_there(&path)? {
            return Err(Error::refused(
                format!("the box of {serial}"),
                "is not there",
                "keys that were destroyed can't be brought back; a box that was lost can, from a copy of the batch",
            ));
        }
        let sealed = read_small(&path, MAX_FILE, "a box")?;
        // What another line burned has a box that was made here.
        if self.description.serials.iter().any(|known| known == serial) {
            let history = History::of_serial(self.journal.entries(), serial);
            self.sealed.check(serial, &sealed, &history)?;
        }
        boxes::open(self.context(serial), &sealed, key)
    }

    pub(super) fn context<'s>(&'s self, serial: &'s str) -> BoxContext<'s> {
        BoxContext {
            batch: &self.description.batch,
            serial,
        }
    }

    /// A file of the batch as it was when the station began, whatever lies there by now.
    pub(super) fn part(&self, name: &str) -> Result<&[u8], Error> {
        let part = self.files.get(name).map(Vec::as_slice);
        part.ok_or_else(|| {
            Error::refused(
                self.folder.common(name).display().to_string(),
                "is not in batch.json",
                "bring it back from a copy of the batch",
            )
        })
    }

    pub(super) fn common(&self, file: &str, sha256: &str) -> Result<Vec<u8>, Error> {
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
