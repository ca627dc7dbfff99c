//! Device lists: JSON lines (`airseal.device/1`) or CSV, as provisioning and the server write them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::Error;
use crate::bundle::read_small;
use crate::key::DevicePublicKey;
use crate::recognise::{HEAD_LEN, Purpose, recognise};

pub(super) const SCHEMA: &str = "airseal.device/1";
/// Longest list that is read, bytes: about two million devices.
pub(super) const MAX_LIST: u64 = 1 << 30;

/// One device of a list, as far as sealing needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// The name people know it by.
    pub serial: String,
    /// The key its releases are sealed to.
    pub unseal: DevicePublicKey,
    /// Free words to select by.
    pub tags: Vec<String>,
    /// `active` unless the list says otherwise.
    pub state: String,
}

impl DeviceRecord {
    /// False for devices that were cut off.
    pub fn may_receive(&self) -> bool {
        DeviceRecord::is_served(&self.state)
    }

    /// False for the states of devices that get nothing any more.
    pub(super) fn is_served(state: &str) -> bool {
        !matches!(state, "revoked" | "retired" | "scrapped")
    }
}

/// Reads a device list; `-` is standard input. A file whose first line starts with `{` is JSON lines, anything else CSV with a header.
///
/// CSV columns: `serial`, `unseal` (`x25519:BASE64` or `p256:BASE64`), and optionally `tags` (separated by spaces or `;`)
/// and `state`; others are ignored.
///
/// # Errors
/// `Io` if it can't be read; refused with the number of the line that is wrong.
pub fn read_device_list(path: &Path) -> Result<Vec<DeviceRecord>, Error> {
    let text = read_small(path, MAX_LIST, "a device list")?;
    parse_device_list(&path.display().to_string(), &text)
}

/// Reads the text of a device list; `name` is for messages.
///
/// # Errors
/// Refused with the number of the line that is wrong.
pub fn parse_device_list(name: &str, text: &[u8]) -> Result<Vec<DeviceRecord>, Error> {
    let text = list_text(name, text)?;
    let records = if text.trim_start().starts_with('{') {
        parse_jsonl(name, text)?
    } else {
        parse_csv(name, text)?
    };
    if records.is_empty() {
        return Err(Error::refused(name, "lists no device", ""));
    }
    Ok(records)
}

/// The text of a list, which may be of either form.
pub(super) fn list_text<'t>(name: &str, text: &'t [u8]) -> Result<&'t str, Error> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    if let Some(kind) = recognise(text.get(..HEAD_LEN).unwrap_or(text)) {
        return Err(Error::refused(
            name,
            format!("is {kind}, not a device list"),
            kind.remedy(Purpose::ReadDeviceList),
        ));
    }
    std::str::from_utf8(text).map_err(|error| {
        Error::refused(
            name,
            format!(
                "is no device list: no text at offset {}",
                error.valid_up_to()
            ),
            "",
        )
    })
}

#[derive(Deserialize)]
struct JsonRecord {
    schema: String,
    serial: String,
    keys: JsonKeys,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default = "active")]
    state: String,
}

#[derive(Deserialize)]
struct JsonKeys {
    unseal: String,
}

fn active() -> String {
    "active".to_owned()
}

fn parse_jsonl(name: &str, text: &str) -> Result<Vec<DeviceRecord>, Error> {
    let mut records = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let refuse =
            |message: String| Error::refused(format!("{name} line {}", index + 1), message, "");
        let record: JsonRecord =
            serde_json::from_str(line).map_err(|error| refuse(json_message(&error)))?;
        if record.schema != SCHEMA {
            return Err(refuse(format!(
                "schema is {:?}, expected {SCHEMA:?}",
                record.schema
            )));
        }
        let unseal = parse_key(&record.keys.unseal)
            .map_err(|message| refuse(format!("keys.unseal: {message}")))?;
        records.push(DeviceRecord {
            serial: record.serial,
            unseal,
            tags: record.tags,
            state: record.state,
        });
    }
    Ok(records)
}

/// What is wrong with one line of JSON, without a line number of its own.
pub(super) fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("column {}: {what}", error.column())
}

fn parse_csv(name: &str, text: &str) -> Result<Vec<DeviceRecord>, Error> {
    let refuse = |line: u64, message: String| {
        Error::refused(format!("{name} line {line}"), message, CSV_REMEDY)
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|_| refuse(1, "is no CSV header".to_owned()))?
        .clone();
    let column = |wanted: &str| header.iter().position(|column| column == wanted);
    let needed =
        |wanted: &str| column(wanted).ok_or_else(|| refuse(1, format!("has no column {wanted}")));
    let (serial, unseal) = (needed("serial")?, needed("unseal")?);
    let (tags, state) = (column("tags"), column("state"));
    let mut records = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            refuse(line, csv_message(&error))
        })?;
        let line = row.position().map_or(0, csv::Position::line);
        let field = |column: Option<usize>| {
            column
                .and_then(|column| row.get(column))
                .unwrap_or_default()
        };
        records.push(DeviceRecord {
            serial: field(Some(serial)).to_owned(),
            unseal: parse_key(field(Some(unseal)))
                .map_err(|message| refuse(line, format!("unseal: {message}")))?,
            tags: field(tags)
                .split([' ', ';'])
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect(),
            state: match field(state) {
                "" => active(),
                state => state.to_owned(),
            },
        });
    }
    Ok(records)
}

pub(super) fn csv_message(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("has {len} fields, the header has {expected_len}"),
        _ => "can't be read as CSV".to_owned(),
    }
}

const CSV_REMEDY: &str =
    "the first line names the columns: serial, unseal, and optionally tags and state";

pub(super) fn parse_key(text: &str) -> Result<DevicePublicKey, String> {
    let (algorithm, encoded) = text
        .split_once(':')
        .ok_or("expected x25519:BASE64 or p256:BASE64")?;
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|error| format!("no base64: {error}"))?;
    let wrong_length = |expected: usize| format!("{} bytes, expected {expected}", bytes.len());
    match algorithm {
        "x25519" => Ok(DevicePublicKey::X25519(
            bytes.as_slice().try_into().map_err(|_| wrong_length(32))?,
        )),
        "p256" => {
            let key: [u8; 65] = bytes.as_slice().try_into().map_err(|_| wrong_length(65))?;
            p256::PublicKey::from_sec1_bytes(&key).map_err(|_| "no point on P-256")?;
            Ok(DevicePublicKey::P256(key))
        }
        other => Err(format!(
            "algorithm {other} can't be sealed to; expected x25519 or p256"
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may unwrap, and documents itself by its name"
    )]
    use super::*;

    fn key(fill: u8) -> String {
        format!("x25519:{}", STANDARD.encode([fill; 32]))
    }

    #[test]
    fn both_forms_give_the_same_devices() {
        let jsonl = format!(
            "{{\"schema\":\"{SCHEMA}\",\"serial\":\"A1\",\"keys\":{{\"unseal\":\"{}\"}},\"tags\":[\"lab\",\"x\"],\"batch\":\"7\"}}\n",
            key(9)
        );
        let csv = format!("serial,batch,unseal,tags\nA1,7,{},lab;x\n", key(9));
        let expected = DeviceRecord {
            serial: "A1".to_owned(),
            unseal: DevicePublicKey::X25519([9; 32]),
            tags: vec!["lab".to_owned(), "x".to_owned()],
            state: "active".to_owned(),
        };
        for text in [jsonl, csv] {
            let list = parse_device_list("l", text.as_bytes()).unwrap();
            assert_eq!(list, std::slice::from_ref(&expected));
        }
    }

    #[test]
    fn what_is_no_list_is_named() {
        let cases = [
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n", "is a PEM key"),
            ("serial,key\nA1,x\n", "line 1: has no column unseal"),
            (
                "serial,unseal\nA1,x,y\n",
                "line 2: has 3 fields, the header has 2",
            ),
            ("{\"schema\":1}", "line 1: column "),
        ];
        for (text, expected) in cases {
            let error = parse_device_list("l", text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        let csv = format!("serial,unseal\nA1,{}\nA2,rsa:AAAA\n", key(1));
        let error = parse_device_list("list.csv", csv.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("list.csv line 3: unseal: algorithm rsa"),
            "{error}"
        );
        let error = parse_device_list("list", b"{\"schema\":\"other/9\"}")
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
