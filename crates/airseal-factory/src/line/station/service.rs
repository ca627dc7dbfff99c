//! Boards that come back, or were never ours: given up, written anew, taken in.

use std::collections::BTreeSet;
use std::path::Path;

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use serde::Serialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Finished, Job, Station};
use crate::batch::{RegionPlan, RegionSource};
use crate::efuse::Progress;
use crate::journal::{Outcome, Step};
use crate::line::bench::{Bench, FIRMWARE, Write};
use crate::line::decide::{Board, History};
use crate::prepare::AT_REST;
use crate::secrets::DeviceSecrets;
use crate::status::{counts, is_closed};

/// Longest key file, bytes.
const MAX_KEY: u64 = 64;

/// How a board is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its label.
    Serial(String),
    /// By its MAC, lower case with colons.
    Mac(String),
}

/// What [`Station::import_keys`] took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// MACs taken in now.
    pub taken: Vec<String>,
    /// MACs whose key was there.
    pub known: usize,
    /// Files that are no keys by their names.
    pub skipped: Vec<String>,
}

impl Station<'_> {
    /// Gives a board up; a finished one only with `finished`, since it may be in the field and its keys go.
    ///
    /// # Errors
    /// `Io`; refused for a serial that no chip is bound to, a board that was given up before, or no reason.
    pub fn scrap(&mut self, serial: &str, reason: &str, finished: bool) -> Result<(), Error> {
        let refuse = |what: &str, remedy: &str| {
            Err(Error::refused(format!("serial {serial}"), what, remedy))
        };
        let history = History::of_serial(self.journal.entries(), serial);
        // A journal of an earlier moment may not know what the mark of the box knows.
        let mac = match history.bound {
            Some((_, mac)) => Some(mac),
            None => self.bound_to(serial)?,
        };
        let Some(mac) = mac else {
            return refuse(
                "is bound to no chip",
                "a serial that was never used needs no scrapping",
            );
        };
        if history.scrapped {
            return refuse("was scrapped before", "nothing is to be done");
        }
        if reason.trim().is_empty() {
            return refuse("is given up without a reason", "say why with --reason");
        }
        if history.recorded && !finished {
            return refuse(
                "is that of a finished board, and its keys and record would be given up",
                "compare the label; if it is the one, say so with --finished, and revoke it on the server: airseal device revoke",
            );
        }
        self.settle_records()?;
        self.give_up(serial, &mac, reason)?;
        match is_closed(self.journal.entries()) {
            true => self.report(counts(&self.description, self.journal.entries())),
            false => Ok(()),
        }
    }

    /// Writes a finished board anew, as it left the line: its box must still be there (escrow). The firmware on the board is asked
    /// first who it is; with `silent`, a board that says nothing is believed by its label.
    ///
    /// # Errors
    /// The bench's; refused for a board that was never finished, whose keys are gone, or that is another one.
    pub fn reflash(
        &mut self,
        bench: &mut Bench<'_>,
        which: &Which,
        silent: bool,
    ) -> Result<Finished, Error> {
        self.settle_records()?;
        let entries = self.journal.entries();
        let (history, name) = match which {
            Which::Serial(serial) => (History::of_serial(entries, serial), serial),
            Which::Mac(mac) => (History::of_mac(entries, mac), mac),
        };
        let (serial, mac) = match history.bound {
            Some(bound) if history.recorded && !history.scrapped => bound,
            _ => {
                return Err(Error::refused(
                    name,
                    "is no finished board of this batch",
                    "a board that was begun goes on with `esp line run`; one that was burned elsewhere needs `esp line import-keys`",
                ));
            }
        };
        let board = bench.look()?;
        let told = matches!(board, Board::Open { .. });
        match board {
            Board::Locked => {}
            Board::Open { mac: found, .. } if found != mac => {
                return Err(Error::refused(
                    format!("board {serial}"),
                    format!("has the chip {mac}, and {found} is on the bench"),
                    "compare label and board",
                ));
            }
            Board::Open { efuses, .. }
                if !history.imported
                    && matches!(
                        self.plan.progress(&efuses, &BTreeSet::new()),
                        Progress::Blank(_) | Progress::Begun(_)
                    ) =>
            {
                return Err(Error::refused(
                    format!("board {serial}"),
                    "is recorded as finished, and not all of its eFuses are burned",
                    "another chip answers with its MAC: put it aside",
                ));
            }
            Board::Open { efuses, .. } if !history.imported => {
                if let Progress::Spoiled { field, why } =
                    self.plan.progress(&efuses, &BTreeSet::new())
                {
                    return Err(Error::refused(
                        format!("board {serial}"),
                        format!("was burned further since it was finished: {field}: {why}"),
                        "the image it was made with may not start any more: update it over the air instead",
                    ));
                }
            }
            Board::Open { .. } => {}
            Board::Silent { why } => {
                return Err(Error::refused(
                    "the board",
                    format!("does not answer: {why}"),
                    "a board whose loader is off for good can't be written; else look at cable, power and port",
                ));
            }
        }
        let mut job = self.job(bench, serial.clone(), mac.clone())?;
        // Of a board that was burned elsewhere only what is the same for all is known: the rest of its flash stays.
        let wanted = |region: &RegionPlan| {
            !history.imported || matches!(region.source, RegionSource::Common { .. })
        };
        let files = self.some_regions(&mut job, &wanted)?;
        self.ask(&mut job, silent, told)?;
        self.note(&serial, &mac, Step::Reflash, Outcome::Begun, "", None)?;
        let erase = !history.imported;
        let written = job.bench.write(&files, Write::Locked { erase });
        if let Err(error) = written.and_then(|()| self.boot(&mut job)) {
            return Err(self.failed(&serial, &mac, Step::Reflash, error)?);
        }
        self.note(&serial, &mac, Step::Reflash, Outcome::Done, "", None)?;
        Ok(Finished {
            serial,
            was_finished: true,
        })
    }

    /// Written with the keys of another board, a board is dead: what is on it now must say that the label is its own.
    /// A board without a key of its own can't; an open loader has told its MAC then (`told`).
    fn ask(&self, job: &mut Job<'_, '_>, silent: bool, told: bool) -> Result<(), Error> {
        let want = self.expected_id(job)?;
        let found = match job.bench.boot() {
            Ok(line) => line.device_id,
            Err(Error::Refused { .. }) if silent => return Ok(()),
            Err(Error::Refused { message, .. }) => {
                return Err(Error::refused(
                    FIRMWARE,
                    message,
                    "nothing was written. Compare label and board; if it can't start and the label is surely its own, --silent-board writes it all the same",
                ));
            }
            Err(error) => return Err(error),
        };
        let others = self.records()?;
        let owner = others
            .iter()
            .find(|record| !found.is_empty() && record.device_id == found)
            .map(|record| record.serial.as_str());
        let want = want.as_deref();
        let is_it = match want {
            Some(want) => want == found,
            None => owner.is_none(),
        };
        let says_nothing = want.is_none_or(str::is_empty);
        if is_it && says_nothing && !told && !silent {
            return Err(Error::refused(
                FIRMWARE,
                "has no device key that could say which board this is, and neither has its loader",
                "nothing was written. Compare label and board; if the label is surely its own, --silent-board writes it",
            ));
        }
        if is_it {
            return Ok(());
        }
        Err(Error::refused(
            format!("board {}", job.serial),
            format!(
                "is not on the bench: the firmware there says device {found:?}{}",
                owner
                    .map(|owner| format!(", which is {owner}"))
                    .unwrap_or_default()
            ),
            "nothing was written: compare label and board",
        ))
    }

    /// Takes in flash keys of boards that were burned elsewhere: files named by their MAC, such as `a0b1c2d3e4f5.bin`.
    ///
    /// # Errors
    /// `Io`; refused for a key of the wrong length, two files for one MAC, or a MAC of this batch. Nothing is taken then.
    pub fn import_keys(&mut self, folder: &Path) -> Result<Imported, Error> {
        let io = |error| Error::io("read", folder, error);
        let mut imported = Imported::default();
        let mut keys: Vec<(String, Zeroizing<Vec<u8>>)> = Vec::new();
        let mut seen = BTreeSet::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let Some(mac) = mac_in(&name) else {
                imported.skipped.push(name);
                continue;
            };
            let refuse = |what: String, remedy: &str| {
                Err(Error::refused(path.display().to_string(), what, remedy))
            };
            let bytes = Zeroizing::new(read_small(&path, MAX_KEY, "a flash key")?);
            if !self.chip.flash_encryption().takes_key_len(bytes.len()) {
                return refuse(
                    format!(
                        "has {} bytes, and no key of an {} has",
                        bytes.len(),
                        self.chip
                    ),
                    "name keys as bare bytes",
                );
            }
            if !seen.insert(mac.clone()) {
                return refuse(
                    format!("is a second key for {mac}"),
                    "keep the one that was burned",
                );
            }
            let history = History::of_mac(self.journal.entries(), &mac);
            match (history.bound, history.imported) {
                (None, _) => keys.push((mac, bytes)),
                (Some((serial, _)), true) => {
                    if !self.holds_key(&serial, &bytes)? {
                        return refuse(
                            format!("is another key than the one taken in for {mac}"),
                            "find out which of them was burned; the one that was taken in is kept",
                        );
                    }
                    imported.known += 1;
                }
                (Some((serial, _)), false) => {
                    return refuse(
                        format!("is for {mac}, which this batch made as {serial}"),
                        "leave it out",
                    );
                }
            }
        }
        imported.skipped.sort();
        keys.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (mac, flash_key) in keys {
            let serial = format!("imported-{}", mac.replace(':', ""));
            let secrets = DeviceSecrets {
                flash_key,
                ..DeviceSecrets::default()
            };
            self.seal(&serial, &secrets, AT_REST)?;
            let check = Some(check_of(&secrets.flash_key));
            self.note(&serial, &mac, Step::Import, Outcome::Done, "", check)?;
            imported.taken.push(mac);
        }
        Ok(imported)
    }

    /// Whether the key of a board that was taken in is this one; the journal has its check value.
    fn holds_key(&self, serial: &str, key: &[u8]) -> Result<bool, Error> {
        let mut entries = self.journal.entries().iter();
        let taken = entries.find(|entry| entry.step == Step::Import && entry.serial == serial);
        match taken.and_then(|entry| entry.sha256.as_ref()) {
            Some(check) => Ok(*check == check_of(key)),
            None => Ok(*self.open_box(serial)?.flash_key == key),
        }
    }

    pub(super) fn is_imported(&self, serial: &str) -> bool {
        History::of_serial(self.journal.entries(), serial).imported
    }
}

/// Says of a key whether it is another's, and nothing about the key.
fn check_of(key: &[u8]) -> String {
    let digest = Sha256::new_with_prefix(b"airseal1 fe").chain_update(key);
    hex::encode(digest.finalize())
}

/// A MAC, from twelve digits with or without `:`, `-` or `_` between them; what follows a dot does not count.
pub(crate) fn mac_in(name: &str) -> Option<String> {
    let stem = name.split('.').next()?;
    let digits: String = stem
        .chars()
        .filter(|letter| !":-_".contains(*letter))
        .collect();
    if digits.len() != 12 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let pairs: Vec<&str> = (0..6)
        .filter_map(|index| lower.get(2 * index..2 * index + 2))
        .collect();
    Some(pairs.join(":"))
}

impl Which {
    /// A MAC in any usual spelling.
    pub fn mac(text: &str) -> Option<Which> {
        mac_in(text).map(Which::Mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_found_in_the_usual_names() {
        let mac = Some("a0:b1:c2:d3:e4:f5".to_owned());
        for name in [
            "A0B1C2D3E4F5.bin",
            "a0-b1-c2-d3-e4-f5.key",
            "a0:b1:c2:d3:e4:f5",
            "a0_b1_c2_d3_e4_f5.bin",
        ] {
            assert_eq!(mac_in(name), mac, "{name}");
        }
        for name in [
            "README.md",
            "a0b1c2d3e4.bin",
            "a0b1c2d3e4f5a6.bin",
            "g0b1c2d3e4f5",
        ] {
            assert_eq!(mac_in(name), None, "{name}");
        }
    }
}
