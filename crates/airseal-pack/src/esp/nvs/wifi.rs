//! The rows that `nvs_partition_gen` adds for keys of the Wi-Fi driver.
//!
//! With the first `sta.ssid` or `sta.pswd` come three keys that the driver expects; once network name, password and kind of
//! the device's own network are all there, so does the key of that network, derived as IEEE 802.11i says.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::PathBuf;

use airseal_esp::nvs::Name;
use aws_lc_rs::pbkdf2;
use zeroize::Zeroizing;

use super::rows::{Action, Field, Row, Rows};
use crate::Error;

/// Adds the rows, each unless the CSV has it itself, and says so.
///
/// # Errors
/// Refused if one of the driver's keys is given as a file.
pub(super) fn add(mut rows: Rows) -> Result<(Rows, Vec<String>), Error> {
    let mut given = given(&rows.rows);
    let mut state = Wifi::default();
    let mut namespace = None;
    let mut notes = Vec::new();
    let mut all = Vec::with_capacity(rows.rows.len());
    for row in std::mem::take(&mut rows.rows) {
        let Action::Pair(field) = &row.action else {
            namespace = Some(row.name);
            all.push(row);
            continue;
        };
        let key = row.name.as_str();
        if !KEYS.contains(&key) {
            all.push(row);
            continue;
        }
        if field.is_file {
            return Err(rows.refused(
                row.line,
                format!("{key}: a key of the Wi-Fi driver can't come from a file"),
                "give the value as data: nvs_partition_gen would take the file's name for it",
            ));
        }
        let (before, behind) = state.meet(key, &field.value);
        let mut taken = |added: Added| {
            let name = Name::new(added.key).ok()?;
            if !given.insert((namespace, name)) {
                return None;
            }
            notes.push(format!(
                "line {}: with {key} comes {}, as nvs_partition_gen adds it",
                row.line, added.key
            ));
            let action = Action::Pair(Field {
                encoding: "hex2bin".to_owned(),
                value: added.hex,
                is_file: false,
            });
            let line = row.line;
            Some(Row { line, name, action })
        };
        all.extend(before.and_then(&mut taken));
        let behind: Vec<Row> = behind.into_iter().filter_map(&mut taken).collect();
        all.push(row);
        all.extend(behind);
    }
    rows.rows = all;
    Ok((rows, notes))
}

/// True if rows would be added to a CSV that was made of a partition.
pub(super) fn are_missing(csv: &str) -> bool {
    KEYS.iter().any(|key| csv.contains(key))
        && Rows::parse("", PathBuf::new(), csv)
            .and_then(add)
            .is_ok_and(|(_, notes)| !notes.is_empty())
}

const KEYS: [&str; 5] = [
    "ap.ssid",
    "ap.passwd",
    "ap.authmode",
    "sta.ssid",
    "sta.pswd",
];

/// A row to be added.
struct Added {
    key: &'static str,
    hex: Zeroizing<String>,
}

#[derive(Default)]
struct Wifi {
    ssid: Zeroizing<String>,
    password: Zeroizing<String>,
    authenticated: bool,
    station: bool,
}

impl Wifi {
    /// What comes before and behind a key of the driver.
    fn meet(&mut self, key: &str, value: &str) -> (Option<Added>, Vec<Added>) {
        match key {
            "ap.ssid" => self.ssid = Zeroizing::new(value.to_owned()),
            "ap.passwd" => self.password = Zeroizing::new(value.to_owned()),
            "ap.authmode" if value == "0" => {}
            "ap.authmode" => self.authenticated = !value.is_empty(),
            _ if self.station => return (None, Vec::new()),
            _ => {
                self.station = true;
                return (None, station());
            }
        }
        let complete = !self.ssid.is_empty() && !self.password.is_empty() && self.authenticated;
        (complete.then(|| self.access_point()), Vec::new())
    }

    fn access_point(&self) -> Added {
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA1,
            PMK_ITERATIONS,
            self.ssid.as_bytes(),
            self.password.as_bytes(),
            &mut key[..],
        );
        Added {
            key: "ap.pmk_info",
            hex: Zeroizing::new("00".repeat(100) + &hex::encode(&key[..])),
        }
    }
}

/// What the driver expects of a network that it has not met yet.
fn station() -> Vec<Added> {
    let rows = [
        ("sta.apinfo", "ff".repeat(140)),
        ("sta.pmk", "00".repeat(32)),
        ("sta.apsw", "0000".to_owned()),
    ];
    rows.map(|(key, hex)| Added {
        key,
        hex: Zeroizing::new(hex),
    })
    .into()
}

fn given(rows: &[Row]) -> HashSet<(Option<Name>, Name)> {
    let mut namespace = None;
    let mut given = HashSet::new();
    for row in rows {
        match row.action {
            Action::Namespace => namespace = Some(row.name),
            Action::Pair(_) => {
                given.insert((namespace, row.name));
            }
        }
    }
    given
}

const PMK_ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("a constant above zero");
