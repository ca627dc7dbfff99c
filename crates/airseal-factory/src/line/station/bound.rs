//! Which chip the keys of a box went into: one small file for each serial, in `bound/`, on the disk before anything is burned.
//! It outlives a journal of an earlier moment that somebody puts back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::output::{Access, Existing, sync_folder, write_durable};

use super::Station;
use crate::journal::is_mac;
use crate::secrets::is_there;

/// Longest file, bytes.
const MAX_MARK: u64 = 64;

impl Station<'_> {
    /// Marks a box as that of the chip with this MAC.
    ///
    /// # Errors
    /// `Io`; refused if it is another chip's.
    pub(super) fn bind_box(&self, serial: &str, mac: &str) -> Result<(), Error> {
        let folder = self.bound_folder();
        let path = folder.join(serial);
        match self.bound_to(serial)? {
            Some(bound) if bound == mac => return Ok(()),
            Some(bound) => {
                return Err(Error::refused(
                    format!("the box of {serial}"),
                    format!("was opened for the chip {bound}, and this one is {mac}"),
                    "its keys may be in that chip: take another serial; if the journal is an older one, bring back the newest",
                ));
            }
            None => {}
        }
        std::fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
        sync_folder(self.folder.path())?;
        let mark = format!("{mac}\n");
        write_durable(&path, mark.as_bytes(), Existing::Refuse, Access::Public)
    }

    /// Every serial whose box was opened for a chip, with its MAC.
    pub(super) fn bound_boxes(&self) -> Result<BTreeMap<String, String>, Error> {
        let mut bound = BTreeMap::new();
        if !is_there(&self.bound_folder())? {
            return Ok(bound);
        }
        for serial in &self.description.serials {
            if let Some(mac) = self.bound_to(serial)? {
                bound.insert(serial.clone(), mac);
            }
        }
        Ok(bound)
    }

    /// The MAC of the chip that the box was opened for.
    ///
    /// # Errors
    /// `Io`; refused for a mark that names no chip.
    pub(super) fn bound_to(&self, serial: &str) -> Result<Option<String>, Error> {
        let path = self.bound_folder().join(serial);
        let known = self.description.serials.iter().any(|known| known == serial);
        if !known || !is_there(&path)? {
            return Ok(None);
        }
        let text = read_small(&path, MAX_MARK, "the mark of a box")?;
        let mac = String::from_utf8_lossy(&text).trim().to_owned();
        if is_mac(&mac) {
            return Ok(Some(mac));
        }
        Err(Error::refused(
            path.display().to_string(),
            format!("is damaged: it names no chip, but {mac:?}"),
            "bring it back from a copy of the batch, or write the MAC of the chip into it that this serial's board has",
        ))
    }

    fn bound_folder(&self) -> PathBuf {
        self.folder.path().join("bound")
    }
}
