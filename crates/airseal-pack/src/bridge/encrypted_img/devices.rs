//! Images for many devices, each with a key of its own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::encrypt;
use super::keys::EncryptKey;
use crate::bundle::read_small;
use crate::control::Control;
use crate::entropy::Entropy;
use crate::output::{Access, Existing, check_target};
use crate::source::Source;
use crate::{Error, OutputFile};

/// Longest list of devices that is read, bytes.
const MAX_LIST: u64 = 1 << 30;

/// Encrypts `input` for each device into `dir`, as `SERIAL.enc`; returns the files.
///
/// Every target is looked at before the first is written, and each appears whole or not at all.
///
/// # Errors
/// As [`encrypt`]; refused if a target exists and may not be replaced.
pub fn encrypt_each(
    input: &Source,
    devices: &[VendorDevice],
    dir: &Path,
    existing: Existing,
    entropy: &dyn Entropy,
    control: &Control<'_>,
) -> Result<Vec<PathBuf>, Error> {
    let targets: Vec<PathBuf> = devices
        .iter()
        .map(|device| dir.join(format!("{}.enc", device.serial)))
        .collect();
    for target in &targets {
        check_target(target, existing)?;
    }
    for (device, target) in devices.iter().zip(&targets) {
        let output = OutputFile::create(target, existing, Access::Public)?;
        encrypt(input, &device.key, entropy, &output, control)?;
        output.commit()?;
    }
    Ok(targets)
}

/// One device that gets an image of its own.
pub struct VendorDevice {
    /// The name people know it by.
    pub serial: String,
    /// Its ECIES key.
    pub key: EncryptKey,
}

/// Reads who gets images: JSON lines with `serial` and `keys.vendor_image`, or CSV with the columns `serial` and
/// `vendor_image`; a key is `p256:BASE64` of the point, as a device record has it.
///
/// # Errors
/// `Io`; refused with the number of the line that is wrong, or if a serial stands twice.
pub fn read_vendor_devices(path: &Path) -> Result<Vec<VendorDevice>, Error> {
    let text = read_small(path, MAX_LIST, "a device list")?;
    parse_vendor_devices(&path.display().to_string(), &text)
}

/// Reads the text of such a list; `name` is for messages.
///
/// # Errors
/// As [`read_vendor_devices`].
pub fn parse_vendor_devices(name: &str, text: &[u8]) -> Result<Vec<VendorDevice>, Error> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let text = std::str::from_utf8(text)
        .map_err(|_| Error::refused(name, "is no device list: it is not text", ""))?;
    let rows = if text.trim_start().starts_with('{') {
        json_rows(name, text)?
    } else {
        csv_rows(name, text)?
    };
    let mut seen = HashSet::new();
    let mut devices = Vec::new();
    for (line, serial, key) in rows {
        let place = format!("{name} line {line}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if serial.is_empty() || serial.starts_with('.') || !serial.chars().all(plain) {
            return Err(Error::refused(
                place,
                format!("serial {serial:?} can't name a file"),
                "use letters, digits, - _ and .",
            ));
        }
        if !seen.insert(serial.clone()) {
            return Err(Error::refused(
                place,
                format!("serial {serial} stands twice"),
                "",
            ));
        }
        let bytes = key
            .strip_prefix("p256:")
            .and_then(|key| STANDARD.decode(key).ok())
            .ok_or_else(|| {
                Error::refused(
                    &place,
                    "vendor_image is not p256: and the point in base64",
                    "",
                )
            })?;
        let key = EncryptKey::Ecies(point_of(&place, &bytes)?);
        devices.push(VendorDevice { serial, key });
    }
    if devices.is_empty() {
        return Err(Error::refused(name, "lists no device", ""));
    }
    Ok(devices)
}

#[derive(Deserialize)]
struct JsonDevice {
    serial: String,
    keys: JsonKeys,
}

#[derive(Deserialize)]
struct JsonKeys {
    vendor_image: String,
}

#[derive(Deserialize)]
struct CsvDevice {
    serial: String,
    vendor_image: String,
}

fn json_rows(name: &str, text: &str) -> Result<Vec<(usize, String, String)>, Error> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let device: JsonDevice = serde_json::from_str(line).map_err(|error| {
                Error::refused(format!("{name} line {}", index + 1), error.to_string(), "")
            })?;
            Ok((index + 1, device.serial, device.keys.vendor_image))
        })
        .collect()
}

fn csv_rows(name: &str, text: &str) -> Result<Vec<(usize, String, String)>, Error> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let form = "the first line names the columns: serial,vendor_image";
    let header = reader.headers().cloned();
    let header = header.map_err(|error| Error::refused(name, error.to_string(), form))?;
    for column in ["serial", "vendor_image"] {
        if !header.iter().any(|found| found == column) {
            let place = format!("{name} line 1");
            return Err(Error::refused(
                place,
                format!("names no column {column}"),
                form,
            ));
        }
    }
    reader
        .deserialize::<CsvDevice>()
        .enumerate()
        .map(|(index, row)| {
            let device = row.map_err(|error| Error::refused(name, error.to_string(), form))?;
            Ok((index + 2, device.serial, device.vendor_image))
        })
        .collect()
}

fn point_of(name: &str, bytes: &[u8]) -> Result<p256::PublicKey, Error> {
    p256::PublicKey::from_sec1_bytes(bytes)
        .map_err(|_| Error::refused(name, "the public key is no point on P-256", ""))
}
