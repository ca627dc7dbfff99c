//! Reading a partition: what a device would find in it, as a CSV.

use std::collections::HashMap;
use std::path::Path;

use airseal_esp::nvs::{
    FIRST_ENTRY, Item, Kind, Name, NvsFault, NvsKey, PAGE_LEN, Page, PageState,
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Contents, MAX_PARTITION};
use crate::Error;
use crate::recognise::{FileKind, HEAD_LEN, recognise};
use crate::source::Source;

/// Above this, blobs are written as base64: Python's reader takes no field above 128 KiB.
const HEX_MAX: usize = 65_536;

/// A partition as CSV.
pub struct Dump {
    /// The text.
    pub csv: Zeroizing<String>,
    /// What is in it.
    pub contents: Contents,
    /// What a device passes over, or can't be said in a CSV.
    pub warnings: Vec<String>,
}

/// Reads a partition, whole and in the order in which it was written.
///
/// # Errors
/// `Io`; refused if it is something else or damaged (with the offset), if it is encrypted and there is no key, or the wrong
/// one.
pub fn to_csv(path: &Path, key: Option<&NvsKey>) -> Result<Dump, Error> {
    let source = Source::open(path)?;
    let name = source.name();
    let head = source.head(0, HEAD_LEN)?;
    let kind = recognise(&head).filter(|_| !looks_like_nvs(&head));
    if let Some(kind) = kind.filter(|kind| *kind != FileKind::ErasedFlash) {
        return Err(Error::refused(
            name,
            format!("is {kind}, not an NVS partition"),
            FORM,
        ));
    }
    if source.len() > u64::from(MAX_PARTITION) {
        let message = format!("has {} bytes, more than {MAX_PARTITION}", source.len());
        return Err(Error::refused(name, message, FORM));
    }
    let bytes = Zeroizing::new(source.head(0, MAX_PARTITION as usize)?);
    parse(&bytes, key).map_err(|(message, remedy)| Error::refused(name, message, remedy))
}

const FORM: &str = "name the partition, cut out of the flash at its offset in the partition table";

/// An NVS partition, as far as it shows without keys.
#[derive(Clone, Debug, Serialize)]
pub struct NvsInfo {
    /// Format, 1 or 2.
    pub version: u8,
    /// True if nothing of it can be read without keys.
    pub encrypted: bool,
    /// Pages.
    pub pages: usize,
    /// Pages in use.
    pub used_pages: usize,
    /// Entries in use, the names of namespaces included.
    pub items: usize,
    /// Names of the namespaces.
    pub namespaces: Vec<String>,
}

/// What shows of a partition, and the first damage; `None` if it is none.
pub fn describe(bytes: &[u8]) -> Option<(NvsInfo, Option<String>)> {
    if !looks_like_nvs(bytes) {
        return None;
    }
    let scan = Scan::new(bytes, None);
    let pages = bytes.len() / PAGE_LEN;
    let mut namespaces: Vec<(u8, Name)> = scan.namespaces().into_iter().collect();
    namespaces.sort_unstable();
    let info = NvsInfo {
        version: scan.version,
        encrypted: scan.is_encrypted(),
        pages,
        used_pages: scan.used_pages,
        items: scan.items.len(),
        namespaces: namespaces
            .iter()
            .map(|(_, name)| name.to_string())
            .collect(),
    };
    let damage = scan.fault.filter(|_| !info.encrypted);
    Some((info, damage.map(|fault| fault.to_string())))
}

/// True if the bytes begin with the header of a page.
pub(super) fn looks_like_nvs(head: &[u8]) -> bool {
    let Some(header) = head.get(..FIRST_ENTRY) else {
        return false;
    };
    let mut page = [0xFF; PAGE_LEN];
    for (to, from) in page.iter_mut().zip(header) {
        *to = *from;
    }
    Page::parse(&page, 0).is_ok_and(|page| page.state.holds_items())
}

/// All items of a partition.
struct Scan<'b, 'k> {
    items: Vec<Item<'b, 'k>>,
    /// The first damage.
    fault: Option<NvsFault>,
    /// True if there is an entry whose CRC does not hold.
    has_wrong_entry: bool,
    version: u8,
    used_pages: usize,
    warnings: Vec<String>,
}

impl<'b, 'k> Scan<'b, 'k> {
    fn new(bytes: &'b [u8], key: Option<&'k NvsKey>) -> Scan<'b, 'k> {
        let mut scan = Scan {
            items: Vec::new(),
            fault: None,
            has_wrong_entry: false,
            version: 2,
            used_pages: 0,
            warnings: Vec::new(),
        };
        let (pages, rest) = bytes.as_chunks::<PAGE_LEN>();
        if pages.is_empty() || !rest.is_empty() {
            scan.fault = Some(NvsFault::PartitionLen { len: bytes.len() });
        }
        let mut used = Vec::new();
        for (number, bytes) in pages.iter().enumerate() {
            let offset = number * PAGE_LEN;
            match Page::parse(bytes, offset) {
                Ok(page) if page.state.holds_items() => used.push(page),
                Ok(page) if page.state == PageState::Unused && page.is_erased() => {}
                Ok(_) => scan.warnings.push(format!(
                    "the page at offset {offset:#x} was given up or never begun: a device erases it"
                )),
                Err(fault) => scan.damaged(fault),
            }
        }
        used.sort_by_key(|page| page.sequence);
        scan.used_pages = used.len();
        scan.version = used
            .iter()
            .map(|page| page.version.number())
            .max()
            .unwrap_or(2);
        for item in used.iter().flat_map(|page| page.items(key)) {
            match item {
                Ok(item) => scan.items.push(item),
                Err(fault) => scan.damaged(fault),
            }
        }
        scan
    }

    fn damaged(&mut self, fault: NvsFault) {
        self.has_wrong_entry |= matches!(fault, NvsFault::EntryCrc { .. });
        self.fault.get_or_insert(fault);
    }

    /// True if entries are in use and none of them reads as one.
    fn is_encrypted(&self) -> bool {
        self.items.is_empty() && self.has_wrong_entry
    }

    fn namespaces(&self) -> HashMap<u8, Name> {
        let names = self.items.iter().filter(|item| item.entry.namespace == 0);
        let names = names.filter_map(|item| match item.entry.kind {
            Kind::Integer(kind) => {
                let index = u8::try_from(kind.decode(item.entry.data)).ok()?;
                Some((index, item.entry.name))
            }
            _ => None,
        });
        names.collect()
    }
}

/// A message and a remedy.
fn parse(bytes: &[u8], key: Option<&NvsKey>) -> Result<Dump, (String, &'static str)> {
    let damaged = |fault: NvsFault| {
        (
            fault.to_string(),
            "read the partition again; a device would pass over what is damaged",
        )
    };
    let mut scan = Scan::new(bytes, key);
    if scan.is_encrypted() {
        return Err(match key {
            None => (
                "is encrypted: no entry can be read".to_owned(),
                "give its keys with --keys, or the key in the eFuses with --hmac-key",
            ),
            Some(_) if !Scan::new(bytes, None).items.is_empty() => {
                ("is not encrypted".to_owned(), "leave out the keys")
            }
            Some(_) => (
                "is encrypted with other keys: no entry can be read".to_owned(),
                "give the keys of this device; each has its own",
            ),
        });
    }
    if let Some(fault) = scan.fault {
        return Err(damaged(fault));
    }
    if scan.used_pages == 0 {
        scan.warnings
            .push("no page is in use: there are no keys in it".to_owned());
    }
    let mut contents = Contents {
        len: bytes.len(),
        version: scan.version,
        encrypted: key.is_some() && !scan.items.is_empty(),
        namespaces: 0,
        pairs: 0,
        pages: scan.used_pages,
        usable_pages: bytes.len() / PAGE_LEN,
    };
    let names = scan.namespaces();
    let mut warnings = std::mem::take(&mut scan.warnings);
    let mut found = Found::new(&scan, &names);
    let mut table = Table::new();
    for namespace in std::mem::take(&mut found.order) {
        let Some(name) = names.get(&namespace) else {
            found.warnings.push(format!(
                "namespace {namespace} has no name: a device does not find its keys"
            ));
            continue;
        };
        contents.namespaces += 1;
        table.row(name, "namespace", "", "");
        for item in found.pairs(namespace) {
            contents.pairs += 1;
            let entry = &item.entry;
            let value = match entry.kind {
                Kind::Integer(kind) => {
                    table.row(
                        &entry.name,
                        "data",
                        kind.name(),
                        &kind.decode(entry.data).to_string(),
                    );
                    continue;
                }
                Kind::BlobIndex => found.blob(item)?,
                _ => data(item).map_err(damaged)?,
            };
            if entry.kind != Kind::String {
                table.blob(&entry.name, &value);
            } else if let Some(text) = printable(&value) {
                table.row(&entry.name, "data", "string", text);
            } else {
                contents.pairs -= 1;
                found.warnings.push(format!(
                    "{name} {}: the string has a byte that a CSV can't carry; it is there as a comment, in hex",
                    entry.name
                ));
                table.comment(&entry.name, &value);
            }
        }
    }
    warnings.append(&mut found.warnings);
    Ok(Dump {
        csv: table.0,
        contents,
        warnings,
    })
}

/// What a device finds: of items with the same key the one written last.
struct Found<'s, 'b, 'k> {
    /// Namespaces, in the order in which they are met.
    order: Vec<u8>,
    pairs: Vec<&'s Item<'b, 'k>>,
    chunks: HashMap<(u8, Name, u8), &'s Item<'b, 'k>>,
    warnings: Vec<String>,
}

impl<'s, 'b, 'k> Found<'s, 'b, 'k> {
    fn new(scan: &'s Scan<'b, 'k>, names: &HashMap<u8, Name>) -> Found<'s, 'b, 'k> {
        let mut found = Found {
            order: Vec::new(),
            pairs: Vec::new(),
            chunks: HashMap::new(),
            warnings: Vec::new(),
        };
        let mut last = HashMap::new();
        for item in &scan.items {
            let entry = &item.entry;
            let namespace = match entry.kind {
                Kind::Integer(kind) if entry.namespace == 0 => {
                    u8::try_from(kind.decode(entry.data)).unwrap_or_default()
                }
                _ => entry.namespace,
            };
            if !found.order.contains(&namespace) {
                found.order.push(namespace);
            }
            if entry.namespace == 0 {
                continue;
            }
            if entry.kind == Kind::BlobData {
                found
                    .chunks
                    .insert((namespace, entry.name, entry.chunk), item);
                continue;
            }
            let place = found.pairs.len();
            if let Some(before) = last.insert((namespace, entry.name), place) {
                let name = names.get(&namespace).map(Name::as_str).unwrap_or_default();
                let offset = found
                    .pairs
                    .get(before)
                    .map_or(0, |item: &&Item<'_, '_>| item.offset);
                found.warnings.push(format!(
                    "{name} {}: the value at offset {offset:#x} was replaced by the one at {:#x}",
                    entry.name, item.offset
                ));
            }
            found.pairs.push(item);
        }
        let mut number = 0;
        found.pairs.retain(|item| {
            let is_last = last.get(&(item.entry.namespace, item.entry.name)) == Some(&number);
            number += 1;
            is_last
        });
        found
    }

    fn pairs(&self, namespace: u8) -> Vec<&'s Item<'b, 'k>> {
        let pairs = self.pairs.iter().copied();
        pairs
            .filter(|item| item.entry.namespace == namespace)
            .collect()
    }

    /// A blob from its chunks. No more is held than there is in the partition.
    fn blob(&self, index: &Item<'_, '_>) -> Result<Zeroizing<Vec<u8>>, (String, &'static str)> {
        let entry = &index.entry;
        let (len, count, start) = entry.blob_index();
        let refuse = |what: String| {
            (
                format!("blob {} at offset {:#x}: {what}", entry.name, index.offset),
                "read the partition again; a device does not find this blob",
            )
        };
        let mut blob = Zeroizing::new(Vec::new());
        for number in 0..count {
            let chunk = start.checked_add(number).and_then(|chunk| {
                self.chunks
                    .get(&(entry.namespace, entry.name, chunk))
                    .copied()
            });
            let chunk =
                chunk.ok_or_else(|| refuse(format!("chunk {number} of {count} is missing")))?;
            let bytes = data(chunk).map_err(|fault| refuse(fault.to_string()))?;
            blob.extend_from_slice(&bytes);
        }
        if u32::try_from(blob.len()) != Ok(len) {
            let found = blob.len();
            return Err(refuse(format!("its chunks have {found} bytes, not {len}")));
        }
        Ok(blob)
    }
}

fn data(item: &Item<'_, '_>) -> Result<Zeroizing<Vec<u8>>, NvsFault> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(item.entry.data_len()));
    item.read_data(|part| bytes.extend_from_slice(part))?;
    Ok(bytes)
}

/// The text of a string, if it comes back the same from a CSV.
fn printable(value: &[u8]) -> Option<&str> {
    let (nul, text) = value.split_last()?;
    let text = std::str::from_utf8(text).ok()?;
    (*nul == 0 && !text.contains(['\0', '\r'])).then_some(text)
}

/// The CSV in the making.
struct Table(Zeroizing<String>);

impl Table {
    fn new() -> Table {
        Table(Zeroizing::new("key,type,encoding,value\n".to_owned()))
    }

    fn row(&mut self, key: &Name, kind: &str, encoding: &str, value: &str) {
        self.field(key.as_str());
        for field in [kind, encoding, value] {
            self.0.push(',');
            self.field(field);
        }
        self.0.push('\n');
    }

    fn blob(&mut self, key: &Name, value: &[u8]) {
        use base64::Engine as _;
        if value.len() > HEX_MAX {
            let text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(value));
            self.row(key, "data", "base64", &text);
        } else {
            let text = Zeroizing::new(hex::encode(value));
            self.row(key, "data", "hex2bin", &text);
        }
    }

    fn comment(&mut self, key: &Name, value: &[u8]) {
        self.0.push_str("# ");
        self.0.push_str(key.as_str());
        self.0.push_str(",data,string as hex,");
        self.0.push_str(&hex::encode(value));
        self.0.push('\n');
    }

    /// In quotes where the field has a meaning of its own, and where the row would be a comment.
    fn field(&mut self, field: &str) {
        if !field.contains(['"', ',', '\n']) && !field.starts_with('#') {
            self.0.push_str(field);
            return;
        }
        self.0.push('"');
        self.0.push_str(&field.replace('"', "\"\""));
        self.0.push('"');
    }
}
