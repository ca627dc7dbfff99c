//! What is glued onto a board: a row for a label printer, a picture with a QR code.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use airseal_pack::Error;
use airseal_pack::bundle::read_small;
use airseal_pack::output::{Access, Existing, sync_folder, write_durable};
use airseal_pack::seal::{class_id, vendor_id};
use qrcodegen::{QrCode, QrCodeEcc};

use crate::config::{Config, Label, LabelFile};
use crate::secrets::is_there;
use crate::values::placeholders;

/// Longest table of labels, bytes.
const MAX_TABLE: u64 = 256 << 20;

/// Quiet zone around a QR code, modules (ISO/IEC 18004, 4 on each side).
const QUIET: i32 = 4;

/// Stands for a value that is not known; no label has it.
const ANYTHING: char = '\0';

/// Names that labels may hold in braces.
pub const PLACEHOLDERS: [&str; 8] = [
    "product",
    "hw_rev",
    "serial",
    "batch",
    "mac",
    "class",
    "class_id8",
    "claim",
];

/// Hex digits of the class id that a label has room for.
const CLASS_ID_DIGITS: usize = 8;

/// The values of one board, in the order of [`PLACEHOLDERS`].
pub struct LabelValues([String; PLACEHOLDERS.len()]);

impl LabelValues {
    /// Those of the batch, with what is the board's own.
    pub fn new(config: &Config, serial: &str, mac: &str, claim: &str) -> LabelValues {
        let class = class_id(vendor_id(&config.vendor), &config.class);
        let class_id8 = hex::encode(class.0).chars().take(CLASS_ID_DIGITS).collect();
        LabelValues([
            config.product.clone(),
            config.hw_rev.to_string(),
            serial.to_owned(),
            config.batch.id.clone(),
            mac.to_owned(),
            config.class.clone(),
            class_id8,
            claim.to_owned(),
        ])
    }
}

/// The first name in braces that no label knows.
pub fn unknown_placeholder(label: &Label) -> Option<&str> {
    let texts = label.text.iter().chain(&label.qr);
    texts
        .flat_map(|text| placeholders(text))
        .find(|name| !PLACEHOLDERS.contains(name))
}

/// Writes the label of one board into `folder`, and waits until it is on the disk: the keys that could make it again go next.
/// A second time for the same board changes nothing.
///
/// # Errors
/// `Io`; refused if the text is too long for a QR code.
pub fn write(label: &Label, folder: &Path, values: &LabelValues) -> Result<(), Error> {
    if !is_there(folder)? {
        std::fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
        folder.parent().map_or(Ok(()), sync_folder)?;
    }
    let qr = label.qr.as_ref().map(|text| fill(text, values));
    let [_, _, serial, _, mac, ..] = &values.0;
    // A claim token lets its holder enrol: labels that carry one are for the owner alone.
    let access = if label
        .qr
        .iter()
        .chain(&label.text)
        .any(|text| text.contains("{claim}"))
    {
        Access::Owner
    } else {
        Access::Public
    };
    for file in &label.files {
        match file {
            LabelFile::Csv => row(
                &folder.join("labels.csv"),
                [serial, mac, qr.as_deref().unwrap_or("")],
                access,
            )?,
            LabelFile::Svg => {
                let lines: Vec<String> = label.text.iter().map(|text| fill(text, values)).collect();
                let path = folder.join(format!("{serial}.svg"));
                write_durable(
                    &path,
                    svg(&lines, qr.as_deref())?.as_bytes(),
                    Existing::Replace,
                    access,
                )?;
            }
        }
    }
    Ok(())
}

/// Whether a label with these values can be made; nothing is written.
///
/// # Errors
/// Refused if the text is too long for a QR code.
pub fn check(label: &Label, values: &LabelValues) -> Result<(), Error> {
    let qr = label.qr.as_ref().map(|text| fill(text, values));
    svg(&[], qr.as_deref()).map(|_| ())
}

/// Whether the label's QR code says `text`; a value that is its own name in braces may be anything.
pub(crate) fn is_qr(label: &Label, values: &LabelValues, text: &str) -> bool {
    let Some(qr) = label.qr.as_ref().filter(|qr| qr.contains("{serial}")) else {
        return false;
    };
    let filled = fill(qr, values);
    let open: Vec<String> = PLACEHOLDERS
        .iter()
        .map(|name| format!("{{{name}}}"))
        .collect();
    let filled = open.iter().fold(filled, |text, name| {
        text.replace(name, &ANYTHING.to_string())
    });
    let mut pieces = filled.split(ANYTHING);
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn fill(text: &str, values: &LabelValues) -> String {
    let pairs = PLACEHOLDERS.iter().zip(&values.0);
    pairs.fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}

/// A cell of a table for people: a spreadsheet takes these beginnings for formulas. Tables for label printers stay as they
/// are.
pub(crate) fn cell(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

fn row(path: &Path, cells: [&str; 3], access: Access) -> Result<(), Error> {
    let before = if is_there(path)? {
        read_small(path, MAX_TABLE, "a table of labels")?
    } else {
        Vec::new()
    };
    let mut rows = csv::Reader::from_reader(before.as_slice())
        .into_records()
        .collect::<Result<Vec<csv::StringRecord>, csv::Error>>()
        .map_err(|error| {
            Error::refused(
                path.display().to_string(),
                format!("is damaged: {error}"),
                "move it away: a new table is begun",
            )
        })?;
    rows.retain(|row| row.get(0) != cells.first().copied());
    rows.push(cells.iter().collect());
    let io = |error: csv::Error| Error::io("write", path, std::io::Error::other(error));
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["serial", "mac", "qr"]).map_err(io)?;
    for row in &rows {
        table.write_record(row).map_err(io)?;
    }
    let bytes = table
        .into_inner()
        .map_err(|error| io(error.into_error().into()))?;
    write_durable(path, &bytes, Existing::Replace, access)
}

/// 1 unit is one module of the QR code.
fn svg(lines: &[String], qr: Option<&str>) -> Result<String, Error> {
    let code = qr
        .map(|text| QrCode::encode_text(text, QrCodeEcc::Medium))
        .transpose()
        .map_err(|_| {
            Error::refused(
                "label.qr",
                "is too long for a QR code",
                "leave something out",
            )
        })?;
    let side = code.as_ref().map_or(0, |code| code.size() + 2 * QUIET);
    let widest = lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0);
    let width = side + i32::try_from(widest).unwrap_or(0) * 3 + QUIET;
    let height = side.max(i32::try_from(lines.len()).unwrap_or(0) * 6 + QUIET);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    if let Some(code) = &code {
        text.push_str("<path d=\"");
        for y in 0..code.size() {
            for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
                let _ = write!(text, "M{} {}h1v1h-1z", x + QUIET, y + QUIET);
            }
        }
        text.push_str("\"/>\n");
    }
    for (index, line) in (1..).zip(lines) {
        let line = line.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" font-family=\"monospace\" font-size=\"5\">{line}</text>",
            side + 1,
            index * 6
        );
    }
    text.push_str("</svg>\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled() {
        let names: Vec<String> = PLACEHOLDERS
            .iter()
            .map(|name| format!("{{{name}}}"))
            .collect();
        let values =
            LabelValues(["p", "3", "S3", "b", "aa:bb", "c", "01234567", "t"].map(str::to_owned));
        assert_eq!(
            fill(&names.join(" "), &values),
            "p 3 S3 b aa:bb c 01234567 t"
        );
    }

    #[test]
    fn a_damaged_table_is_named_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let label = Label {
            text: Vec::new(),
            qr: None,
            files: vec![LabelFile::Csv],
        };
        let path = folder.path().join("labels.csv");
        let damaged = "serial,mac,qr\nS1,aa\nS2,bb,c\n";
        std::fs::write(&path, damaged).unwrap();
        let values =
            LabelValues(["p", "3", "S3", "b", "aa:bb", "c", "01234567", ""].map(str::to_owned));
        let error = write(&label, folder.path(), &values)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("labels.csv") && error.contains("damaged"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
    }

    #[test]
    fn a_code_is_known_by_all_that_stands_around_what_may_be_anything() {
        let is = |qr: &str, text: &str| {
            let label = Label {
                text: Vec::new(),
                qr: Some(qr.to_owned()),
                files: Vec::new(),
            };
            let values = LabelValues(
                ["p", "3", "S3", "b", "{mac}", "c", "01234567", "{claim}"].map(str::to_owned),
            );
            is_qr(&label, &values, text)
        };
        assert!(is("AIRSEAL1:{serial}", "AIRSEAL1:S3"));
        assert!(!is("AIRSEAL1:{serial}", "AIRSEAL1:S33"));
        assert!(!is("AIRSEAL1:{serial}", "S3"));
        let pattern = "{mac}/{serial}/{claim}#{class}";
        assert!(is(pattern, "02:00:00:00:00:01/S3/0a0b#c"));
        assert!(!is(pattern, "02:00:00:00:00:01/S4/0a0b#c"));
        assert!(!is(pattern, "02:00:00:00:00:01/S3/0a0b#d"));
        assert!(!is("{product} {batch}", "p b"), "names no serial");
    }

    #[test]
    fn cells_are_no_formulas() {
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("-2"), "'-2");
        assert_eq!(cell("AL-1"), "AL-1");
    }

    #[test]
    fn a_label_is_written_once_for_each_board() {
        let folder = tempfile::tempdir().unwrap();
        let label = Label {
            text: vec!["S/N {serial} <{product}>".to_owned()],
            qr: Some("A:{serial}:{mac}".to_owned()),
            files: vec![LabelFile::Csv, LabelFile::Svg],
        };
        for serial in ["S1", "S2", "S1"] {
            let values = LabelValues(
                ["p", "3", serial, "b", "aa:bb", "c", "01234567", ""].map(str::to_owned),
            );
            write(&label, folder.path(), &values).unwrap();
        }
        let table = std::fs::read_to_string(folder.path().join("labels.csv")).unwrap();
        assert_eq!(
            table,
            "serial,mac,qr\nS2,aa:bb,A:S2:aa:bb\nS1,aa:bb,A:S1:aa:bb\n"
        );
        let picture = std::fs::read_to_string(folder.path().join("S1.svg")).unwrap();
        assert!(picture.contains("S/N S1 &lt;p>") && picture.contains("M4 4h1v1h-1z"));
    }
}
