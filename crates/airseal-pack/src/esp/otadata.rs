//! OTA data partitions from and to files.

use airseal_esp::otadata::{
    BootSlot, Layout, OTADATA_LEN, OtaData, OtaEntry, OtaState, Rollback, SECTOR_LEN,
};
use serde::Serialize;

use crate::Error;
use crate::recognise::{FileKind, recognise};

/// Both records and what the bootloader makes of them.
#[derive(Clone, Debug, Serialize)]
pub struct OtaInfo {
    /// The records.
    pub entries: Vec<EntryInfo>,
    /// The record that the bootloader follows, 0 or 1.
    pub active: Option<usize>,
    /// The slot that it tries first, if the layout is known.
    pub boots: Option<String>,
    /// All that it tries, in that order.
    pub tries: Vec<String>,
    /// What it writes before the application starts: the records then.
    pub entries_after: Option<Vec<EntryInfo>>,
    /// The secure version it burns.
    pub raises_secure_version: Option<u32>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryInfo {
    /// The sequence number, nothing in an erased record.
    pub seq: Option<u32>,
    /// The state in words.
    pub state: String,
    /// The stored CRC.
    pub crc: u32,
    /// True if it is that of the sequence number.
    pub crc_ok: bool,
    /// True if the bootloader may follow it.
    pub counts: bool,
    /// The slot it leads to, if the number of slots is known.
    pub slot: Option<String>,
    /// The 32 bytes as hexadecimal digits.
    pub raw: String,
}

/// Reads a partition.
///
/// # Errors
/// Refused if the length is wrong or the bytes have no structure, naming `file`.
pub fn parse(file: &str, bytes: &[u8]) -> Result<OtaData, Error> {
    let is_noise = recognise(bytes) == Some(FileKind::Encrypted);
    if is_noise && bytes.len() == OTADATA_LEN {
        return Err(Error::refused(
            file,
            "is data without structure, such as flash-encrypted otadata",
            "decrypt it first (airseal esp flash-decrypt, or here with --key, --chip and --address); if that was done, it is another key or address",
        ));
    }
    OtaData::from_partition(bytes).map_err(|fault| {
        Error::refused(
            file,
            fault.to_string(),
            "read the whole otadata partition, 0x2000 bytes",
        )
    })
}

/// What is shown of the records; without a layout only they themselves.
pub fn describe(data: &OtaData, layout: Option<Layout>, rollback: Rollback<'_>) -> OtaInfo {
    let entries = entries(data, layout);
    let Some(layout) = layout else {
        return OtaInfo {
            entries,
            active: data.active(),
            boots: None,
            tries: Vec::new(),
            entries_after: None,
            raises_secure_version: None,
        };
    };
    let selection = data.selection(layout, rollback);
    let tries: Vec<String> = layout
        .tried(selection.start)
        .map(|slot| slot.to_string())
        .collect();
    let after = match layout.tried(selection.start).next() {
        Some(slot) => selection.after_loading(slot),
        None => selection.after,
    };
    OtaInfo {
        entries,
        active: selection.active,
        boots: tries.first().cloned(),
        tries,
        entries_after: (after != *data).then(|| self::entries(&after, Some(layout))),
        raises_secure_version: selection.raised,
    }
}

/// The partition after `target` was chosen while `running` runs.
///
/// # Errors
/// Refused if there is no such slot.
pub fn select(
    file: &str,
    data: &OtaData,
    layout: Layout,
    running: BootSlot,
    target: BootSlot,
    state: OtaState,
) -> Result<OtaData, Error> {
    let plan = data
        .select(layout, running, target, state)
        .map_err(|fault| {
            Error::refused(
                file,
                fault.to_string(),
                "name a slot of the partition table; --slots and --factory say what it has",
            )
        })?;
    Ok(data.after(&plan))
}

/// The bytes of the partition.
pub fn to_partition(data: &OtaData) -> Vec<u8> {
    let mut bytes = vec![0xFF; OTADATA_LEN];
    for (sector, entry) in bytes
        .chunks_mut(SECTOR_LEN as usize)
        .zip(data.entries.iter())
    {
        for (to, from) in sector.iter_mut().zip(entry.to_bytes()) {
            *to = from;
        }
    }
    bytes
}

fn entries(data: &OtaData, layout: Option<Layout>) -> Vec<EntryInfo> {
    let entries = data.entries.iter();
    entries.map(|entry| entry_info(entry, layout)).collect()
}

fn entry_info(entry: &OtaEntry, layout: Option<Layout>) -> EntryInfo {
    let written = entry.sequence != u32::MAX;
    EntryInfo {
        seq: written.then_some(entry.sequence),
        state: entry.state.to_string(),
        crc: entry.crc,
        crc_ok: entry.crc_holds(),
        counts: entry.counts(),
        slot: layout
            .filter(|_| written)
            .and_then(|layout| entry.slot(layout.slots))
            .map(|slot| BootSlot::Ota(slot).to_string()),
        raw: hex::encode(entry.to_bytes()),
    }
}
