//! NVS contents with placeholders: the same rows for every device, other values in each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use airseal_pack::Error;
use airseal_pack::bundle::read_small;

/// Longest file of fields or values, bytes.
const MAX_FILE: u64 = 256 << 20;

/// The rows and values behind one `[nvs.NAME]`.
pub struct Values {
    fields_file: String,
    folder: PathBuf,
    fields: String,
    /// Column names and, by serial, the cells.
    columns: Vec<String>,
    rows: BTreeMap<String, Vec<String>>,
}

impl Values {
    /// Reads fields and values; every one of `serials` must have its row.
    ///
    /// # Errors
    /// `Io`; refused for a missing or doubled row, a serial column that is not there, or a placeholder nobody fills.
    pub fn read(
        fields: &Path,
        values: Option<&Path>,
        serials: &[String],
        known: &[&str],
    ) -> Result<Values, Error> {
        let fields_file = fields.display().to_string();
        let text = read_text(fields)?;
        let mut read = Values {
            fields_file,
            folder: fields.parent().unwrap_or(Path::new("")).to_owned(),
            fields: text,
            columns: Vec::new(),
            rows: BTreeMap::new(),
        };
        if let Some(path) = values {
            read.values(path)?;
            let missing = serials
                .iter()
                .find(|serial| !read.rows.contains_key(*serial));
            if let Some(serial) = missing {
                return Err(Error::refused(
                    path.display().to_string(),
                    format!("has no row for serial {serial}"),
                    "add it: every board of the batch, spares included, needs one",
                ));
            }
        }
        for name in placeholders(&read.fields) {
            if !known.contains(&name) && !read.columns.iter().any(|column| column == name) {
                return Err(Error::refused(
                    &read.fields_file,
                    format!("{{{name}}} is no placeholder"),
                    format!(
                        "known are {{{}}} and the columns of the values file; a board's MAC is not known before it is on the bench",
                        known.join("}, {")
                    ),
                ));
            }
        }
        Ok(read)
    }

    /// The rows as they are written, with their placeholders.
    pub(crate) fn fields(&self) -> &str {
        &self.fields
    }

    /// The rows of one device.
    ///
    /// # Errors
    /// Refused if a value would break out of its cell.
    pub fn render(&self, serial: &str, known: &[(&str, &str)]) -> Result<Rendered<'_>, Error> {
        let mut text = self.fields.clone();
        let cells = self.rows.get(serial).map_or(&[][..], Vec::as_slice);
        let own = self
            .columns
            .iter()
            .map(String::as_str)
            .zip(cells.iter().map(String::as_str));
        for (name, value) in known.iter().copied().chain(own) {
            let placeholder = format!("{{{name}}}");
            if !text.contains(&placeholder) {
                continue;
            }
            if value.contains(['"', '\n', '\r', ',']) {
                return Err(Error::refused(
                    &self.fields_file,
                    format!(
                        "the value of {placeholder} for serial {serial} has a comma, quote or line break"
                    ),
                    "give it in hex, with the encoding hex2bin",
                ));
            }
            text = text.replace(&placeholder, value);
        }
        Ok(Rendered {
            name: &self.fields_file,
            folder: &self.folder,
            text,
        })
    }

    fn values(&mut self, path: &Path) -> Result<(), Error> {
        let file = path.display().to_string();
        let text = read_text(path)?;
        let refuse = |line: u64, what: String, remedy: &str| {
            Error::refused(&file, format!("line {line}: {what}"), remedy)
        };
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let broken = |error: csv::Error| {
            let line = error.position().map_or(0, csv::Position::line);
            refuse(
                line,
                error.to_string(),
                "every line needs a cell for each column",
            )
        };
        self.columns = reader
            .headers()
            .map_err(broken)?
            .iter()
            .map(|name| name.trim().to_owned())
            .collect();
        let Some(at) = self.columns.iter().position(|name| name == "serial") else {
            return Err(refuse(
                1,
                "no column is called serial".to_owned(),
                "add it: rows are joined by it",
            ));
        };
        for record in reader.records() {
            let record = record.map_err(broken)?;
            let line = record.position().map_or(0, csv::Position::line);
            let cells: Vec<String> = record.iter().map(|cell| cell.trim().to_owned()).collect();
            let serial = cells.get(at).cloned().unwrap_or_default();
            if self.rows.insert(serial.clone(), cells).is_some() {
                return Err(refuse(
                    line,
                    format!("serial {serial} is there twice"),
                    "keep one of the two",
                ));
            }
        }
        Ok(())
    }
}

/// The files that rows of an NVS CSV name, as they are written there.
pub(crate) fn named_files(text: &str) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .flexible(true)
        .from_reader(text.as_bytes());
    let Ok(columns) = reader.headers().cloned() else {
        return Vec::new();
    };
    let place = |name: &str| columns.iter().position(|column| column == name);
    let (Some(kind), Some(value)) = (place("type"), place("value")) else {
        return Vec::new();
    };
    reader
        .records()
        .flatten()
        .filter(|row| row.get(kind) == Some("file"))
        .filter_map(|row| row.get(value).map(str::to_owned))
        .collect()
}

/// A CSV for one device.
pub struct Rendered<'v> {
    /// The file of the fields, for messages.
    pub name: &'v str,
    /// Where the files lie that it names.
    pub folder: &'v Path,
    /// The text; secret if a value is.
    pub text: String,
}

/// The names between braces, in order.
pub fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = read_small(path, MAX_FILE, "a list of values")?;
    String::from_utf8(bytes).map_err(|_| {
        Error::refused(
            path.display().to_string(),
            "is not UTF-8 text",
            "save it as UTF-8",
        )
    })
}
