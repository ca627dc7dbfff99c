//! The serials of a batch: made from a pattern, or read where labels are printed already.

use std::collections::BTreeSet;

use airseal_pack::Error;
use airseal_pack::bundle::read_small;

use super::Checker;
use crate::batch::names_a_file;

/// Longest list of serials that is read, bytes.
const MAX_LIST: u64 = 64 << 20;

/// Most devices of one batch, spares included.
const MAX_DEVICES: u32 = 1_000_000;

impl Checker {
    pub(super) fn serials(&self) -> Result<Vec<String>, Error> {
        let batch = &self.config.batch;
        let wanted = batch
            .count
            .checked_add(batch.spare)
            .filter(|sum| *sum <= MAX_DEVICES && batch.count > 0);
        let Some(wanted) = wanted else {
            return Err(self.refuse(
                "batch.count",
                "with spare is not between 1 and a million",
                "make several batches",
            ));
        };
        let (setting, serials) = match (&batch.serial, &batch.serials) {
            (Some(pattern), None) => ("batch.serial", self.patterned(pattern, wanted)?),
            (None, Some(path)) => {
                let path = self.folder.join(path);
                let text = read_small(&path, MAX_LIST, "a list of serials")
                    .map_err(|error| self.of_setting("batch.serials", error))?;
                let text = String::from_utf8_lossy(&text);
                let lines = text
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty() && *line != "serial");
                ("batch.serials", lines.map(str::to_owned).collect())
            }
            _ => {
                return Err(self.refuse(
                    "batch.serial",
                    "and serials: exactly one of the two is needed",
                    "serial = \"AL-{batch}-{n:05}\", or serials = a file with one serial a line",
                ));
            }
        };
        if serials.len() < wanted as usize {
            return Err(self.refuse(
                setting,
                &format!(
                    "gives {} serials, count and spare want {wanted}",
                    serials.len()
                ),
                "add serials, or make fewer boards",
            ));
        }
        let mut seen = BTreeSet::new();
        for (index, serial) in serials.iter().enumerate() {
            if !names_a_file(serial, 64) {
                return Err(self.refuse(
                    setting,
                    &format!("serial {}, {serial:?}, can't name a file", index + 1),
                    "use 1 to 64 letters, digits, - _ and . and begin with a letter or digit",
                ));
            }
            if !seen.insert(serial.as_str()) {
                return Err(self.refuse(
                    setting,
                    &format!(
                        "serial {serial} is there twice (the second is number {})",
                        index + 1
                    ),
                    "give every board its own",
                ));
            }
        }
        Ok(serials)
    }

    /// `{batch}`, `{n}` and `{n:05}`, counted from 1.
    fn patterned(&self, pattern: &str, wanted: u32) -> Result<Vec<String>, Error> {
        let bad = |what: &str| {
            self.refuse(
                "batch.serial",
                what,
                "it may hold {batch}, and holds {n} or {n:05} once",
            )
        };
        let text = pattern.replace("{batch}", &self.config.batch.id);
        let (before, rest) = text
            .split_once("{n")
            .ok_or_else(|| bad("has no {n}: every board would be called the same"))?;
        let (width, after) = rest
            .split_once('}')
            .ok_or_else(|| bad("has a { without }"))?;
        let width = match width.strip_prefix(":0") {
            Some(digits) => digits.parse::<usize>().ok().filter(|width| *width <= 12),
            None => width.is_empty().then_some(0),
        };
        let width = width.ok_or_else(|| bad("has a width that is no number up to 12"))?;
        if before.contains(['{', '}']) || after.contains(['{', '}']) {
            return Err(bad("has a placeholder that is not known"));
        }
        Ok((1..=wanted)
            .map(|n| format!("{before}{n:0width$}{after}"))
            .collect())
    }
}
