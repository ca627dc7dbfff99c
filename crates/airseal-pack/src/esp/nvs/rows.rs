//! The rows of a CSV: `key,type,encoding,value`, in any order of columns.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use airseal_esp::nvs::Name;
use zeroize::Zeroizing;

use crate::Error;
use crate::recognise::{FileKind, HEAD_LEN, recognise};
use crate::source::Source;

/// Longest CSV that is read, bytes.
const MAX_CSV: u64 = 256 << 20;

const COLUMNS: [&str; 4] = ["key", "type", "encoding", "value"];
const FORM: &str = "the first line names the columns: key,type,encoding,value";

/// A CSV that was read.
pub(super) struct Rows {
    file: String,
    folder: PathBuf,
    pub(super) rows: Vec<Row>,
    pub(super) warnings: Vec<String>,
}

/// A row.
pub(super) struct Row {
    /// Its line in the file.
    pub(super) line: u64,
    /// The key, or the name of the namespace.
    pub(super) name: Name,
    pub(super) action: Action,
}

/// What a row does.
pub(super) enum Action {
    /// The rows that follow are in this namespace.
    Namespace,
    /// A key with a value.
    Pair(Field),
}

/// The value of a row, as it is written there.
pub(super) struct Field {
    pub(super) encoding: String,
    pub(super) value: Zeroizing<String>,
    /// True if the value is the name of a file.
    pub(super) is_file: bool,
}

impl Rows {
    /// Reads a CSV.
    ///
    /// # Errors
    /// `Io`; refused with the line and what is wrong in it.
    pub(super) fn read(path: &Path) -> Result<Rows, Error> {
        let source = Source::open(path)?;
        let text = text(&source)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::parse(source.name(), folder, &text)
    }

    /// Reads the text of a CSV; `file` is for messages, `folder` where the files lie that it names.
    pub(super) fn parse(file: &str, folder: PathBuf, text: &str) -> Result<Rows, Error> {
        // Line ends become one character, within values too: so Python reads text.
        let text = text.trim_start_matches('\u{FEFF}');
        let text = Zeroizing::new(text.replace("\r\n", "\n").replace('\r', "\n"));
        let mut rows = Rows {
            file: file.to_owned(),
            folder,
            rows: Vec::new(),
            warnings: Vec::new(),
        };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        let mut record = csv::StringRecord::new();
        let mut columns = None;
        let mut header = csv::StringRecord::new();
        let mut names = Names::default();
        loop {
            let start = reader.position().clone();
            let more = reader.read_record(&mut record);
            let line = line_behind(&text, &start);
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(rows.refused(line, error.to_string(), FORM)),
            }
            let Some((columns, width)) = columns else {
                columns = Some((rows.columns(line, &record)?, record.len()));
                header.clone_from(&record);
                continue;
            };
            if record == header {
                return Err(rows.refused(
                    line,
                    "is a second line of column names".to_owned(),
                    "leave it out; the first line names the columns",
                ));
            }
            if record.iter().skip(width).any(|field| !field.is_empty()) {
                return Err(rows.refused(
                    line,
                    format!("there are {} fields for {width} columns", record.len()),
                    "put a value with a comma in it between double quotes; nvs_partition_gen cuts it at the comma",
                ));
            }
            let row = rows.row(line, columns, &record)?;
            if let Some(row) = names.check(&rows, row)? {
                rows.rows.push(row);
            }
        }
        if columns.is_none() {
            return Err(Error::refused(rows.file, "has no line", FORM));
        }
        Ok(rows)
    }

    /// An error about a line.
    pub(super) fn refused(&self, line: u64, message: impl Into<String>, remedy: &str) -> Error {
        Error::refused(format!("{} line {line}", self.file), message, remedy)
    }

    /// Where a file lies that the CSV names.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn columns(&self, line: u64, record: &csv::StringRecord) -> Result<[usize; 4], Error> {
        let mut places = [0; COLUMNS.len()];
        for (place, name) in places.iter_mut().zip(COLUMNS) {
            *place = record
                .iter()
                .position(|column| column == name)
                .ok_or_else(|| {
                    self.refused(line, format!("there is no column called {name}"), FORM)
                })?;
        }
        Ok(places)
    }

    fn row(
        &mut self,
        line: u64,
        columns: [usize; 4],
        record: &csv::StringRecord,
    ) -> Result<Row, Error> {
        let [key, kind, encoding, value] = columns.map(|at| record.get(at).unwrap_or_default());
        let is_file = match kind {
            "namespace" | "data" => false,
            "file" => true,
            _ => {
                let message = format!("type: {kind:?} is none");
                let remedy = "write namespace, data or file, without spaces around it";
                return Err(self.refused(line, message, remedy));
            }
        };
        let name = Name::new(key).map_err(|fault| {
            let what = if kind == "namespace" {
                "namespace"
            } else {
                "key"
            };
            let message = format!("{what} {key:?} {fault}");
            self.refused(line, message, "use 1 to 15 ASCII characters")
        })?;
        if value.contains("\n#") {
            self.warnings.push(format!(
                "{} line {line}: {name}: a line of its value begins with #; it is kept, nvs_partition_gen drops it",
                self.file
            ));
        }
        let action = if kind == "namespace" {
            Action::Namespace
        } else {
            Action::Pair(Field {
                encoding: encoding.to_owned(),
                value: Zeroizing::new(value.to_owned()),
                is_file,
            })
        };
        Ok(Row { line, name, action })
    }
}

/// Which names were met, and where.
#[derive(Default)]
struct Names {
    namespace: Option<Name>,
    namespaces: HashMap<Name, u64>,
    keys: HashMap<(Name, Name), u64>,
}

impl Names {
    /// Checks a row against those before. `None` if it names the namespace that is the last one anyway.
    fn check(&mut self, rows: &Rows, row: Row) -> Result<Option<Row>, Error> {
        let (name, line) = (row.name, row.line);
        if matches!(row.action, Action::Namespace) {
            if self.namespace == Some(name) {
                return Ok(None);
            }
            if let Some(before) = self.namespaces.insert(name, line) {
                return Err(rows.refused(
                    line,
                    format!("namespace {name} was begun in line {before} already"),
                    "put all its keys in one place: nvs_partition_gen would put these into another namespace",
                ));
            }
            self.namespace = Some(name);
            return Ok(Some(row));
        }
        let Some(namespace) = self.namespace else {
            return Err(rows.refused(
                line,
                format!("key {name} is in no namespace"),
                "begin with a row NAME,namespace,,",
            ));
        };
        if let Some(before) = self.keys.insert((namespace, name), line) {
            return Err(rows.refused(
                line,
                format!("key {name} is in line {before} of the same namespace already"),
                "keep one of them: a device reads only one",
            ));
        }
        Ok(Some(row))
    }
}

/// The text of a CSV.
fn text(source: &Source) -> Result<Zeroizing<String>, Error> {
    let head = source.head(0, HEAD_LEN)?;
    let refuse =
        |message: String, remedy: &str| Err(Error::refused(source.name(), message, remedy));
    if source.len() > MAX_CSV {
        return refuse("is too large for a CSV".to_owned(), "name the CSV");
    }
    if super::scan::looks_like_nvs(&head) {
        return refuse(
            "is an NVS partition already, not a CSV".to_owned(),
            "airseal esp nvs to-csv makes a CSV of it",
        );
    }
    let bytes = Zeroizing::new(source.head(0, MAX_CSV as usize)?);
    let Ok(text) = std::str::from_utf8(&bytes) else {
        let message = match recognise(&head) {
            Some(kind) if kind != FileKind::Pem => format!("is {kind}, not a CSV"),
            _ => "is not UTF-8 text".to_owned(),
        };
        return refuse(
            message,
            "name the CSV; values that are not text are given as hex2bin or in a file",
        );
    };
    Ok(Zeroizing::new(text.to_owned()))
}

/// The line of the record behind a position: empty lines and comments come first.
fn line_behind(text: &str, position: &csv::Position) -> u64 {
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = text.get(start..).unwrap_or_default();
    let skipped = rest
        .split_inclusive('\n')
        .take_while(|line| *line == "\n" || line.starts_with('#'))
        .count();
    position.line() + skipped as u64
}
