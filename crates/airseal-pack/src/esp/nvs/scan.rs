//! The items of a partition, and what shows of them without keys.

use std::collections::HashMap;

use airseal_esp::nvs::{
    FIRST_ENTRY, Item, Kind, Name, NvsFault, NvsKey, PAGE_LEN, Page, PageState, usable_pages,
};
use serde::Serialize;

use super::MAX_PARTITION;
use crate::Error;
use crate::source::Source;

/// An NVS partition, as far as it shows without keys.
#[derive(Clone, Debug, Serialize)]
pub struct NvsInfo {
    /// Format, 1 or 2.
    pub version: u8,
    /// True if nothing of it can be read without keys.
    pub encrypted: bool,
    /// Pages.
    pub pages: usize,
    /// Pages that pairs can be in: one is kept in reserve.
    pub usable_pages: usize,
    /// Pages in use.
    pub used_pages: usize,
    /// Entries in use, the names of namespaces included.
    pub items: usize,
    /// Names of the namespaces.
    pub namespaces: Vec<String>,
}

/// What shows of a partition in a file; `None` if it is none.
///
/// # Errors
/// `Io` if the file can't be read.
pub(crate) fn describe_file(source: &Source) -> Result<Option<(NvsInfo, Option<String>)>, Error> {
    let head = source.head(0, PAGE_LEN)?;
    if !looks_like_nvs(&head) || source.len() > u64::from(MAX_PARTITION) {
        return Ok(None);
    }
    Ok(describe(&source.head(0, MAX_PARTITION as usize)?))
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
        usable_pages: usable_pages(bytes.len()),
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
pub(crate) fn looks_like_nvs(head: &[u8]) -> bool {
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
pub(super) struct Scan<'b, 'k> {
    /// In the order of writing.
    pub(super) items: Vec<Item<'b, 'k>>,
    /// The first damage.
    pub(super) fault: Option<NvsFault>,
    /// True if there is an entry whose CRC does not hold.
    has_wrong_entry: bool,
    /// Format, 1 or 2.
    pub(super) version: u8,
    /// Pages in use.
    pub(super) used_pages: usize,
    pub(super) warnings: Vec<String>,
}

impl<'b, 'k> Scan<'b, 'k> {
    pub(super) fn new(bytes: &'b [u8], key: Option<&'k NvsKey>) -> Scan<'b, 'k> {
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
    pub(super) fn is_encrypted(&self) -> bool {
        self.items.is_empty() && self.has_wrong_entry
    }

    /// The names of the namespaces, by their index.
    pub(super) fn namespaces(&self) -> HashMap<u8, Name> {
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
