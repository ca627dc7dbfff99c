//! Which serial a board gets.

use airseal_pack::Error;

use super::Station;
use crate::emit;
use crate::labels::{LabelValues, is_qr};
use crate::line::decide::History;

impl Station<'_> {
    /// The serial that a label or its QR code says, in either case, with blanks around it or not.
    ///
    /// # Errors
    /// Refused if it is none of the batch, nor of a board that was taken in.
    pub fn serial_on(&self, label: &str) -> Result<String, Error> {
        let label = label.trim();
        let imported = self.journal.entries().iter().map(|entry| &entry.serial);
        let known = || {
            let all = self.description.serials.iter().chain(imported.clone());
            all.filter(|serial| !serial.is_empty())
        };
        if let Some(serial) = known().find(|serial| *serial == label) {
            return Ok(serial.clone());
        }
        let means =
            |serial: &&String| serial.eq_ignore_ascii_case(label) || self.is_qr_of(serial, label);
        let mut meant: Vec<&String> = known().filter(means).collect();
        meant.sort_unstable();
        meant.dedup();
        match meant.as_slice() {
            [serial] => Ok((*serial).clone()),
            _ => Err(Error::refused(
                format!("serial {label}"),
                format!("is not in the batch {}", self.description.batch),
                "scan the label again, or take the batch it belongs to",
            )),
        }
    }

    /// MAC and claim token may be any: nobody knows them yet.
    fn is_qr_of(&self, serial: &str, text: &str) -> bool {
        let values = LabelValues::new(&self.config, serial, "{mac}", "{claim}");
        let label = self.config.label.as_ref();
        label.is_some_and(|label| is_qr(label, &values, text))
    }

    /// The serial that a board without a label gets next: one that was begun and not finished, else the first free one.
    pub fn next_serial(&self) -> Option<String> {
        self.begun_serial()
            .or_else(|| self.free_serial(None, "").ok())
    }

    /// The first serial whose board was begun and not finished.
    pub fn begun_serial(&self) -> Option<String> {
        let entries = self.journal.entries();
        let begun = self.description.serials.iter().find(|serial| {
            let history = History::of_serial(entries, serial);
            history.bound.is_some() && !history.recorded && !history.scrapped
        });
        begun.cloned()
    }

    /// A MAC for the simulated board of a serial: its place in the batch, in a range that no maker has.
    pub fn simulated_mac(&self, serial: &str) -> String {
        let place = self
            .description
            .serials
            .iter()
            .position(|known| known == serial)
            .unwrap_or(0);
        let [_, _, _, _, b3, b2, b1, b0] = (place as u64).to_be_bytes();
        format!("02:00:{b3:02x}:{b2:02x}:{b1:02x}:{b0:02x}")
    }

    /// The serial that was scanned, or the first that nobody took.
    pub(super) fn free_serial(&self, scanned: Option<&str>, mac: &str) -> Result<String, Error> {
        let journalled = |serial: &str| {
            self.journal
                .entries()
                .iter()
                .any(|entry| entry.serial == serial)
        };
        // An older journal knows less than the batch.
        let bound = self.bound_boxes()?;
        let records = self.records()?;
        let is_free_of_others = |serial: &str| {
            bound.get(serial).is_none_or(|bound| bound == mac)
                && records.iter().all(|record| record.serial != serial)
        };
        let taken = |serial: &str| journalled(serial) || !is_free_of_others(serial);
        let has_keys = |serial: &str| self.folder.box_of(serial).exists();
        let published = |serial: &str| emit::is_published(&self.folder, serial);
        let Some(scanned) = scanned else {
            let is_free =
                |serial: &&String| !taken(serial) && has_keys(serial) && !published(serial);
            let serials = &self.description.serials;
            let own = serials
                .iter()
                .filter(|serial| bound.contains_key(*serial))
                .find(is_free);
            let free = own.or_else(|| serials.iter().find(is_free));
            return free.cloned().ok_or_else(|| {
                Error::refused(
                    &self.description.batch,
                    "has no serial left",
                    "close the batch, or make another one",
                )
            });
        };
        self.serial_on(scanned)?;
        if taken(scanned) {
            return Err(Error::refused(
                format!("serial {scanned}"),
                format!("belongs to another chip, not to {mac}"),
                "compare label and board",
            ));
        }
        emit::refuse_published(&self.folder, scanned)?;
        if !has_keys(scanned) {
            return Err(Error::refused(
                format!("serial {scanned}"),
                "has no box: its keys were not made yet",
                "run airseal esp provision on the batch",
            ));
        }
        Ok(scanned.to_owned())
    }
}
