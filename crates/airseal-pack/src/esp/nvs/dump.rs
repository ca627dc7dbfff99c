//! Reading a partition: what a device would find in it, as a CSV.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use airseal_esp::nvs::{Item, Kind, Name, NvsFault, NvsKey, usable_pages};
use zeroize::Zeroizing;

use super::scan::{Scan, looks_like_nvs};
use super::table::Table;
use super::{Contents, MAX_PARTITION, wifi};
use crate::Error;
use crate::recognise::{FileKind, HEAD_LEN, recognise};
use crate::source::Source;

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
    parse_partition(&bytes, key)
        .map_err(|refused| Error::refused(name, refused.message, refused.remedy))
}

/// What a partition holds, as far as the keys at hand tell.
pub(crate) enum NvsContents {
    /// So many keys with their values.
    Pairs(usize),
    /// It is encrypted, and no key opens it.
    Locked,
    /// Why a device would not find all of it.
    Damaged(String),
}

/// Looks at a partition with whichever of the keys opens it.
pub(crate) fn contents<'k>(
    bytes: &[u8],
    mut keys: impl Iterator<Item = &'k NvsKey>,
) -> NvsContents {
    let key = if Scan::new(bytes, None).is_encrypted() {
        let opens = |key: &&NvsKey| !Scan::new(bytes, Some(key)).is_encrypted();
        match keys.find(opens) {
            Some(key) => Some(key),
            None => return NvsContents::Locked,
        }
    } else {
        None
    };
    match parse_partition(bytes, key) {
        Ok(dump) => NvsContents::Pairs(dump.contents.pairs),
        Err(refused) => NvsContents::Damaged(refused.message),
    }
}

/// Why a partition can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong, with the offset.
    pub message: String,
    /// What to do.
    pub remedy: &'static str,
}

const FORM: &str = "name the partition, cut out of the flash at its offset in the partition table";

/// Reads a partition from its bytes.
///
/// # Errors
/// [`Refused`] if it is damaged or encrypted otherwise.
pub fn parse_partition(bytes: &[u8], key: Option<&NvsKey>) -> Result<Dump, Refused> {
    let refused = |message: &str, remedy| Refused {
        message: message.to_owned(),
        remedy,
    };
    let damaged = |fault: NvsFault| Refused {
        message: fault.to_string(),
        remedy: "read the partition again; a device would pass over what is damaged",
    };
    let mut scan = Scan::new(bytes, key);
    if scan.is_encrypted() {
        return Err(match key {
            None => refused(
                "is encrypted: no entry can be read",
                "give its keys with --keys, or the key in the eFuses with --hmac-key",
            ),
            Some(_) if !Scan::new(bytes, None).items.is_empty() => {
                refused("is not encrypted", "leave out the keys")
            }
            Some(_) => refused(
                "is encrypted with other keys: no entry can be read",
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
        usable_pages: usable_pages(bytes.len()),
    };
    let names = scan.namespaces();
    let mut warnings = std::mem::take(&mut scan.warnings);
    let mut found = Found::new(&scan, &names);
    let mut table = Table::new();
    let mut named = HashSet::new();
    for namespace in std::mem::take(&mut found.order) {
        let Some(name) = names.get(&namespace) else {
            found.warnings.push(format!(
                "namespace {namespace} has no name: a device does not find its keys"
            ));
            continue;
        };
        if !named.insert(*name) {
            found.warnings.push(format!(
                "namespace {name} is there twice: a device does not find the keys of the second"
            ));
            continue;
        }
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
    let csv = table.finish();
    if wifi::are_missing(&csv) {
        warnings.push(
            "it has keys of the Wi-Fi driver without those that to-bin adds to them: with --no-wifi-rows it makes the same partition again"
                .to_owned(),
        );
    }
    Ok(Dump {
        csv,
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
    fn blob(&self, index: &Item<'_, '_>) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let entry = &index.entry;
        let (len, count, start) = entry.blob_index();
        let refuse = |what: String| Refused {
            message: format!("blob {} at offset {:#x}: {what}", entry.name, index.offset),
            remedy: "read the partition again; a device does not find this blob",
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
