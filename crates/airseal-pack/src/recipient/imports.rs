//! Lists of devices that a server takes in: the records that a factory line writes, or CSV.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::list::{
    DeviceRecord, MAX_LIST, SCHEMA, csv_message, json_message, list_text, parse_key,
};
use crate::Error;
use crate::bundle::read_small;
use crate::key::DevicePublicKey;

/// Wrong lines that an error names.
const LINES_SHOWN: usize = 20;

/// A device as a server has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRecord {
    /// Line of the list, from 1.
    pub line: u64,
    /// The name people know it by.
    pub serial: String,
    /// The vendor's name.
    pub vendor: String,
    /// The class's name.
    pub class: String,
    /// Hardware revision.
    pub hw_rev: u16,
    /// The key it proves when it connects.
    pub request: RequestKey,
    /// The key its releases are sealed to.
    pub unseal: DevicePublicKey,
    /// Sequence of the image it was born with.
    pub release_seq: u64,
    /// Security version of that image.
    pub security_version: u32,
    /// `active` unless the list says otherwise.
    pub state: String,
    /// Everything the list says, as it says it.
    pub record: Value,
}

/// The public half of the key that a device signs requests and handshakes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKey {
    /// 32 bytes, RFC 8032.
    Ed25519([u8; 32]),
    /// 65 bytes, uncompressed point (SEC 1).
    P256([u8; 65]),
}

impl ImportRecord {
    /// False for devices that were given up or cut off.
    pub fn is_active(&self) -> bool {
        DeviceRecord::is_served(&self.state)
    }
}

/// Reads a list; `-` is standard input. A file that starts with `{` is JSON lines, anything else CSV with a header.
///
/// CSV columns: `serial`, `vendor`, `class`, `request` (`ed25519:BASE64` or `p256:BASE64`), `unseal` (`x25519:BASE64` or
/// `p256:BASE64`), and optionally `hw_rev`, `seq`, `security_version` and `state`; others go into the record as they are.
///
/// # Errors
/// `Io` if it can't be read; refused with the numbers of the lines that are wrong, the first twenty of them.
pub fn read_import_list(path: &Path) -> Result<Vec<ImportRecord>, Error> {
    let text = read_small(path, MAX_LIST, "a device list")?;
    parse_import_list(&path.display().to_string(), &text)
}

/// Reads the text of a list; `name` is for messages.
///
/// # Errors
/// As [`read_import_list`].
pub fn parse_import_list(name: &str, text: &[u8]) -> Result<Vec<ImportRecord>, Error> {
    let text = list_text(name, text)?;
    let mut faults = Vec::new();
    let records = if text.trim_start().starts_with('{') {
        parse_jsonl(text, &mut faults)
    } else {
        parse_csv(name, text, &mut faults)?
    };
    if !faults.is_empty() {
        let more = faults.len().saturating_sub(LINES_SHOWN);
        faults.truncate(LINES_SHOWN);
        if more > 0 {
            faults.push(format!("and {more} more"));
        }
        return Err(Error::refused(
            name,
            faults.join("; "),
            "correct these lines; the list is taken whole or not at all",
        ));
    }
    if records.is_empty() {
        return Err(Error::refused(name, "lists no device", ""));
    }
    Ok(records)
}

#[derive(Deserialize)]
struct JsonRecord {
    schema: String,
    serial: String,
    vendor: String,
    class: String,
    #[serde(default)]
    hw_rev: u16,
    keys: JsonKeys,
    #[serde(default)]
    factory: JsonFactory,
    #[serde(default = "active")]
    state: String,
}

#[derive(Deserialize)]
struct JsonKeys {
    unseal: String,
    request: String,
}

#[derive(Default, Deserialize)]
struct JsonFactory {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    security_version: u32,
}

fn active() -> String {
    "active".to_owned()
}

fn parse_jsonl(text: &str, faults: &mut Vec<String>) -> Vec<ImportRecord> {
    let mut records = Vec::new();
    for (line, text) in (1..)
        .zip(text.lines())
        .filter(|(_, text)| !text.trim().is_empty())
    {
        match json_record(line, text) {
            Ok(record) => records.push(record),
            Err(what) => faults.push(format!("line {line}: {what}")),
        }
    }
    records
}

fn json_record(line: u64, text: &str) -> Result<ImportRecord, String> {
    let known: JsonRecord = serde_json::from_str(text).map_err(|error| json_message(&error))?;
    let record: Value = serde_json::from_str(text).map_err(|error| json_message(&error))?;
    if known.schema != SCHEMA {
        return Err(format!("schema is {:?}, expected {SCHEMA:?}", known.schema));
    }
    Ok(ImportRecord {
        line,
        serial: named("serial", known.serial)?,
        vendor: named("vendor", known.vendor)?,
        class: named("class", known.class)?,
        hw_rev: known.hw_rev,
        request: request_key(&known.keys.request)
            .map_err(|what| format!("keys.request: {what}"))?,
        unseal: parse_key(&known.keys.unseal).map_err(|what| format!("keys.unseal: {what}"))?,
        release_seq: known.factory.seq,
        security_version: known.factory.security_version,
        state: known.state,
        record,
    })
}

fn parse_csv(name: &str, text: &str, faults: &mut Vec<String>) -> Result<Vec<ImportRecord>, Error> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|_| Error::refused(format!("{name} line 1"), "is no CSV header", CSV_REMEDY))?
        .clone();
    for wanted in ["serial", "vendor", "class", "request", "unseal"] {
        if !header.iter().any(|column| column == wanted) {
            return Err(Error::refused(
                format!("{name} line 1"),
                format!("has no column {wanted}"),
                CSV_REMEDY,
            ));
        }
    }
    let mut records = Vec::new();
    for row in reader.records() {
        let read = row.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            (line, csv_message(&error))
        });
        let read = read.and_then(|row| {
            let line = row.position().map_or(0, csv::Position::line);
            csv_record(line, &header, &row).map_err(|what| (line, what))
        });
        match read {
            Ok(record) => records.push(record),
            Err((line, what)) => faults.push(format!("line {line}: {what}")),
        }
    }
    Ok(records)
}

fn csv_record(
    line: u64,
    header: &csv::StringRecord,
    row: &csv::StringRecord,
) -> Result<ImportRecord, String> {
    let field = |wanted: &str| {
        let cell = header.iter().zip(row).find(|(column, _)| *column == wanted);
        cell.map_or("", |(_, cell)| cell)
    };
    let cells = header
        .iter()
        .zip(row)
        .map(|(column, cell)| (column.to_owned(), Value::from(cell)));
    Ok(ImportRecord {
        line,
        serial: named("serial", field("serial").to_owned())?,
        vendor: named("vendor", field("vendor").to_owned())?,
        class: named("class", field("class").to_owned())?,
        hw_rev: number("hw_rev", field("hw_rev"))?,
        request: request_key(field("request")).map_err(|what| format!("request: {what}"))?,
        unseal: parse_key(field("unseal")).map_err(|what| format!("unseal: {what}"))?,
        release_seq: number("seq", field("seq"))?,
        security_version: number("security_version", field("security_version"))?,
        state: match field("state") {
            "" => active(),
            state => state.to_owned(),
        },
        record: Value::Object(cells.collect::<Map<_, _>>()),
    })
}

fn named(field: &str, text: String) -> Result<String, String> {
    if text.is_empty() {
        return Err(format!("{field} is empty"));
    }
    Ok(text)
}

/// 0 for an empty cell.
fn number<N: std::str::FromStr + Default>(field: &str, text: &str) -> Result<N, String> {
    if text.is_empty() {
        return Ok(N::default());
    }
    text.parse()
        .map_err(|_| format!("{field}: {text:?} is no number that fits"))
}

fn request_key(text: &str) -> Result<RequestKey, String> {
    let (algorithm, encoded) = text
        .split_once(':')
        .ok_or("expected ed25519:BASE64 or p256:BASE64")?;
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|error| format!("no base64: {error}"))?;
    let wrong_length = |expected: usize| format!("{} bytes, expected {expected}", bytes.len());
    match algorithm {
        "ed25519" => {
            let key = bytes.as_slice().try_into().map_err(|_| wrong_length(32))?;
            Ok(RequestKey::Ed25519(key))
        }
        "p256" => {
            let key: [u8; 65] = bytes.as_slice().try_into().map_err(|_| wrong_length(65))?;
            p256::PublicKey::from_sec1_bytes(&key).map_err(|_| "no point on P-256")?;
            Ok(RequestKey::P256(key))
        }
        other => Err(format!(
            "algorithm {other} signs no requests; expected ed25519 or p256"
        )),
    }
}

const CSV_REMEDY: &str = "the first line names the columns: serial, vendor, class, request, unseal, and optionally hw_rev, seq, security_version and state";

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may unwrap, and documents itself by its name"
    )]
    use super::*;

    fn key(kind: &str, fill: u8) -> String {
        format!("{kind}:{}", STANDARD.encode([fill; 32]))
    }

    fn json(serial: &str) -> String {
        let (request, unseal) = (key("ed25519", 1), key("x25519", 2));
        format!(
            "{{\"schema\":\"{SCHEMA}\",\"serial\":\"{serial}\",\"vendor\":\"v\",\"class\":\"c\",\"hw_rev\":3,\
             \"keys\":{{\"unseal\":\"{unseal}\",\"request\":\"{request}\"}},\"factory\":{{\"seq\":4,\"security_version\":5}},\"mac\":\"m\"}}\n"
        )
    }

    #[test]
    fn both_forms_give_the_same_device() {
        let (request, unseal) = (key("ed25519", 1), key("x25519", 2));
        let csv = format!(
            "serial,vendor,class,hw_rev,request,unseal,seq,security_version,mac\nA1,v,c,3,{request},{unseal},4,5,m\n"
        );
        let from_json = parse_import_list("l", json("A1").as_bytes())
            .unwrap()
            .remove(0);
        let from_csv = parse_import_list("l", csv.as_bytes()).unwrap().remove(0);
        assert_eq!(from_json.record["mac"], from_csv.record["mac"]);
        let comparable = |record: ImportRecord| ImportRecord {
            line: 0,
            record: Value::Null,
            ..record
        };
        assert_eq!(comparable(from_json), comparable(from_csv));
    }

    #[test]
    fn every_wrong_line_is_named() {
        let list = [
            json("A1"),
            json("A2").replace("ed25519", "rsa"),
            json(""),
            "{\n".to_owned(),
        ]
        .concat();
        let error = parse_import_list("l", list.as_bytes())
            .unwrap_err()
            .to_string();
        for words in [
            "line 2: keys.request: algorithm rsa",
            "line 3: serial is empty",
            "line 4: column",
        ] {
            assert!(error.contains(words), "{words}: {error}");
        }
        let csv = format!(
            "serial,vendor,class,request,unseal,hw_rev\nA1,v,c,{0},{1},70000\nA2,v,c,{0},{1}\n",
            key("ed25519", 1),
            key("x25519", 2)
        );
        let error = parse_import_list("l", csv.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 2: hw_rev") && error.contains("line 3: has 5 fields"),
            "{error}"
        );
    }

    #[test]
    fn many_wrong_lines_are_counted() {
        let list = json("").repeat(50);
        let error = parse_import_list("l", list.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 20:")
                && !error.contains("line 21:")
                && error.contains("and 30 more"),
            "{error}"
        );
    }
}
