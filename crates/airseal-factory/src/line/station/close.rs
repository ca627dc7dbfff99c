//! The end of a batch: what is left of its keys goes, and the report is written.

use std::fmt::Write as _;

use airseal_pack::Error;
use airseal_pack::output::{Access, Existing, write_file};
use serde::Serialize;

use super::Station;
use crate::emit;
use crate::journal::{Outcome, Step};
use crate::labels::cell;
use crate::line::decide::History;
use crate::secrets::{is_there, shred};
use crate::status::{self, Counts};

/// What [`Station::close`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// The boards.
    #[serde(flatten)]
    pub counts: Counts,
    /// Boxes of serials that no board has, removed now.
    pub unused_removed: usize,
}

struct Row {
    serial: String,
    mac: String,
    state: &'static str,
    at: String,
    station: String,
    device_id: String,
    keys: &'static str,
    note: String,
}

impl Station<'_> {
    /// Closes the batch: no board is begun any more. Keys of unused serials are destroyed; those of finished boards went
    /// when the boards were recorded. Closing again writes the report again.
    ///
    /// # Errors
    /// `Io`; refused while a board is begun and neither finished nor given up, and while fewer boards are finished than were
    /// wanted, unless the keys of `unused` serials may go.
    pub fn close(&mut self, unused: bool) -> Result<Closed, Error> {
        let would = self.would_close()?;
        self.settle_records()?;
        let wanted = usize::try_from(self.config.batch.count).unwrap_or(usize::MAX);
        let counts = would.counts;
        if !unused && !counts.closed && counts.finished < wanted && would.unused_removed > 0 {
            return Err(Error::refused(
                format!("batch {}", self.description.batch),
                format!(
                    "has {} finished boards of {wanted}, and would lose the keys of {} serials for good",
                    counts.finished, would.unused_removed
                ),
                "make the missing boards first; to end the batch all the same, say so with --unused",
            ));
        }
        if !counts.closed {
            self.note("", "", Step::Close, Outcome::Done, "", None)?;
        }
        for serial in self.unused()? {
            shred(&self.folder.box_of(&serial))?;
        }
        let counts = status::counts(&self.description, self.journal.entries());
        self.report(counts)?;
        Ok(Closed { counts, ..would })
    }

    /// What [`Station::close`] would do; nothing is.
    ///
    /// # Errors
    /// As [`Station::close`], but for boards that are missing.
    pub fn would_close(&self) -> Result<Closed, Error> {
        self.check_records()?;
        let entries = self.journal.entries();
        let begun: Vec<&str> = self
            .description
            .serials
            .iter()
            .filter(|serial| {
                let history = History::of_serial(entries, serial);
                history.bound.is_some() && !history.recorded && !history.scrapped
            })
            .map(String::as_str)
            .collect();
        if !begun.is_empty() {
            return Err(Error::refused(
                format!("batch {}", self.description.batch),
                format!("has boards that are not finished: {}", begun.join(", ")),
                "finish each with `esp line run`, or give it up with `esp line scrap`",
            ));
        }
        let journalled = |serial: &str| entries.iter().any(|entry| entry.serial == serial);
        if let Some((serial, mac)) = self
            .bound_boxes()?
            .into_iter()
            .find(|(serial, _)| !journalled(serial))
        {
            return Err(Error::refused(
                format!("the box of {serial}"),
                format!("was opened for the chip {mac}, and the journal does not know it"),
                "bring back the newest journal, finish that board, or give it up with `esp line scrap`",
            ));
        }
        Ok(Closed {
            counts: status::counts(&self.description, entries),
            unused_removed: self.unused()?.len(),
        })
    }

    /// Serials whose keys are there, and that no board has.
    fn unused(&self) -> Result<Vec<String>, Error> {
        let mut unused = Vec::new();
        for serial in &self.description.serials {
            if History::of_serial(self.journal.entries(), serial)
                .bound
                .is_none()
                && is_there(&self.folder.box_of(serial))?
                && !emit::is_published(&self.folder, serial)
            {
                unused.push(serial.clone());
            }
        }
        Ok(unused)
    }

    pub(super) fn report(&self, counts: Counts) -> Result<(), Error> {
        let rows = self.rows()?;
        let path = self.folder.path().join("report.csv");
        let io = |error: csv::Error| Error::io("write", &path, std::io::Error::other(error));
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(HEADS).map_err(io)?;
        for row in &rows {
            table
                .write_record(row.cells().map(|text| cell(text).into_owned()))
                .map_err(io)?;
        }
        let bytes = table
            .into_inner()
            .map_err(|error| io(error.into_error().into()))?;
        write_file(&path, &bytes, Existing::Replace, Access::Public)?;
        let path = self.folder.path().join("report.html");
        write_file(
            &path,
            self.page(counts, &rows).as_bytes(),
            Existing::Replace,
            Access::Public,
        )
    }

    fn rows(&self) -> Result<Vec<Row>, Error> {
        let entries = self.journal.entries();
        let records = self.records()?;
        let imported = entries
            .iter()
            .filter(|entry| entry.step == Step::Import)
            .map(|entry| &entry.serial);
        let serials = self.description.serials.iter().chain(imported);
        let rows = serials.map(|serial| {
            let history = History::of_serial(entries, serial);
            let record = records.iter().find(|record| record.serial == *serial);
            let last = entries.iter().rfind(|entry| entry.serial == *serial);
            let state = match (&history.bound, history.imported) {
                _ if history.scrapped => "scrapped",
                (Some(_), true) => "imported",
                (Some(_), false) => "finished",
                (None, _) => "unused",
            };
            Row {
                serial: serial.clone(),
                mac: history.bound.map(|(_, mac)| mac).unwrap_or_default(),
                state,
                at: last.map(|entry| entry.time.clone()).unwrap_or_default(),
                station: last.map(|entry| entry.station.clone()).unwrap_or_default(),
                device_id: record
                    .map(|record| record.device_id.clone())
                    .unwrap_or_default(),
                keys: if self.folder.box_of(serial).exists() {
                    "sealed"
                } else {
                    "destroyed"
                },
                note: last
                    .filter(|_| state == "scrapped")
                    .map(|entry| entry.note.clone())
                    .unwrap_or_default(),
            }
        });
        Ok(rows.collect())
    }

    fn page(&self, counts: Counts, rows: &[Row]) -> String {
        let title = format!(
            "{} {}",
            text(&self.description.product),
            text(&self.description.batch)
        );
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
             <style>body{{font:14px sans-serif}}td,th{{padding:2px 8px;text-align:left;border-bottom:1px solid #ccc}}</style>\n\
             <h1>{title}</h1>\n<p>{} finished, {} scrapped, {} unused; version {}, {}.</p>\n<table>\n<tr>",
            counts.finished,
            counts.scrapped,
            counts.free,
            text(&self.config.release.version),
            text(&self.description.chip),
        );
        for head in HEADS {
            let _ = write!(page, "<th>{head}</th>");
        }
        page.push_str("</tr>\n");
        for row in rows {
            page.push_str("<tr>");
            for cell in row.cells() {
                let _ = write!(page, "<td>{}</td>", text(cell));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</table>\n</html>\n");
        page
    }
}

const HEADS: [&str; 8] = [
    "serial",
    "mac",
    "state",
    "at",
    "station",
    "device_id",
    "keys",
    "note",
];

impl Row {
    fn cells(&self) -> [&str; 8] {
        [
            &self.serial,
            &self.mac,
            self.state,
            &self.at,
            &self.station,
            &self.device_id,
            self.keys,
            &self.note,
        ]
    }
}

fn text(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}
