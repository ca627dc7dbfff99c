//! The OTA data partition: two records of 32 bytes, each in a sector of its own, from which the bootloader learns which
//! slot to start (ESP-IDF `esp_flash_partitions.h`, `bootloader_utility.c`, `esp_ota_ops.c`).
//!
//! A record counts if its sequence number is set, its state is neither invalid nor aborted, and its CRC holds. The CRC
//! covers the sequence number alone: a state that was torn while it was written can't be told from a whole one. Of two
//! records that count, the one with the larger number is active, and its number modulo the number of slots is the slot.
//!
//! [`OtaData::selection`] plays the bootloader, [`OtaData::select`] and [`OtaData::mark`] say what to erase and write to
//! change its mind. Nothing here touches a flash.

use core::fmt;

use crate::crc::rom_crc32;

mod plan;

pub use plan::{FlashStep, Plan, PlanFault};

/// Length of a record in bytes.
pub const ENTRY_LEN: usize = 32;
/// Length of a flash sector in bytes; record 1 begins here.
pub const SECTOR_LEN: u32 = 0x1000;
/// Length of the partition in bytes.
pub const OTADATA_LEN: usize = 0x2000;
/// Largest number of OTA slots a partition table can have.
pub const MAX_SLOTS: u8 = 16;

/// What a record says about the application in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtaState {
    /// Never started; a bootloader with rollback gives it one try.
    New,
    /// Started for the first time, not confirmed; the next start takes it as failed.
    PendingVerify,
    /// Confirmed.
    Valid,
    /// Refused by the application itself.
    Invalid,
    /// Not confirmed in its one try.
    Aborted,
    /// Written without rollback.
    Undefined,
    /// A number that no version of ESP-IDF writes; bootloaders take it as good.
    Unknown(u32),
}

impl OtaState {
    /// The state with this number in flash.
    pub fn from_number(number: u32) -> OtaState {
        match number {
            0 => OtaState::New,
            1 => OtaState::PendingVerify,
            2 => OtaState::Valid,
            3 => OtaState::Invalid,
            4 => OtaState::Aborted,
            u32::MAX => OtaState::Undefined,
            other => OtaState::Unknown(other),
        }
    }

    /// The number in flash.
    pub fn number(self) -> u32 {
        match self {
            OtaState::New => 0,
            OtaState::PendingVerify => 1,
            OtaState::Valid => 2,
            OtaState::Invalid => 3,
            OtaState::Aborted => 4,
            OtaState::Undefined => u32::MAX,
            OtaState::Unknown(other) => other,
        }
    }
}

impl fmt::Display for OtaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OtaState::New => "new",
            OtaState::PendingVerify => "pending-verify",
            OtaState::Valid => "valid",
            OtaState::Invalid => "invalid",
            OtaState::Aborted => "aborted",
            OtaState::Undefined => "undefined",
            OtaState::Unknown(number) => return write!(f, "unknown ({number:#x})"),
        })
    }
}

/// One record, whatever it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtaEntry {
    /// The sequence number; 0xFFFFFFFF in an erased record.
    pub sequence: u32,
    /// Unused by ESP-IDF, normally erased; kept as it is.
    pub label: [u8; 20],
    /// What is known of the application.
    pub state: OtaState,
    /// The stored CRC.
    pub crc: u32,
}

impl OtaEntry {
    /// An erased record.
    pub const ERASED: OtaEntry = OtaEntry {
        sequence: u32::MAX,
        label: [0xFF; 20],
        state: OtaState::Undefined,
        crc: u32::MAX,
    };

    /// A record with the right CRC.
    pub fn new(sequence: u32, state: OtaState) -> OtaEntry {
        OtaEntry {
            sequence,
            state,
            crc: crc_of(sequence),
            ..OtaEntry::ERASED
        }
    }

    /// Reads the 32 bytes of a record.
    pub fn from_bytes(bytes: &[u8; ENTRY_LEN]) -> OtaEntry {
        let [s0, s1, s2, s3, label @ .., t0, t1, t2, t3, c0, c1, c2, c3] = *bytes;
        OtaEntry {
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            label,
            state: OtaState::from_number(u32::from_le_bytes([t0, t1, t2, t3])),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
        }
    }

    /// The 32 bytes of the record.
    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        let fields: [(usize, &[u8]); 4] = [
            (0, &self.sequence.to_le_bytes()),
            (4, &self.label),
            (24, &self.state.number().to_le_bytes()),
            (28, &self.crc.to_le_bytes()),
        ];
        for (at, field) in fields {
            let place = bytes.iter_mut().skip(at);
            place.zip(field).for_each(|(to, from)| *to = *from);
        }
        bytes
    }

    /// True if the record is empty or its application is known to be bad; the CRC is not looked at.
    pub fn is_ruled_out(&self) -> bool {
        self.sequence == u32::MAX || matches!(self.state, OtaState::Invalid | OtaState::Aborted)
    }

    /// True if the stored CRC is that of the sequence number.
    pub fn crc_holds(&self) -> bool {
        self.crc == crc_of(self.sequence)
    }

    /// True if the bootloader may follow this record.
    pub fn counts(&self) -> bool {
        !self.is_ruled_out() && self.crc_holds()
    }

    /// The slot this record points to among `slots` of them, counted from 0; `None` if there are no slots.
    pub fn slot(&self, slots: u8) -> Option<u8> {
        self.sequence
            .wrapping_sub(1)
            .checked_rem(u32::from(slots))
            .and_then(|slot| u8::try_from(slot).ok())
    }
}

/// Both records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtaData {
    /// Record 0 at the start of the partition, record 1 one sector later.
    pub entries: [OtaEntry; 2],
}

impl OtaData {
    /// A partition without any record.
    pub const ERASED: OtaData = OtaData {
        entries: [OtaEntry::ERASED; 2],
    };

    /// Reads a whole partition.
    ///
    /// # Errors
    /// [`OtaDataFault::Length`] unless there are 0x2000 bytes.
    pub fn from_partition(bytes: &[u8]) -> Result<OtaData, OtaDataFault> {
        let fault = OtaDataFault::Length { found: bytes.len() };
        if bytes.len() != OTADATA_LEN {
            return Err(fault);
        }
        let first = bytes.first_chunk().ok_or(fault)?;
        let second = bytes
            .get(SECTOR_LEN as usize..)
            .and_then(|sector| sector.first_chunk())
            .ok_or(fault)?;
        Ok(OtaData {
            entries: [OtaEntry::from_bytes(first), OtaEntry::from_bytes(second)],
        })
    }

    /// The number of the record that the bootloader follows, 0 or 1.
    pub fn active(&self) -> Option<usize> {
        self.newest(|entry| entry.counts())
    }

    /// What the bootloader does with these records, and what it writes before it starts the application.
    pub fn selection(&self, layout: Layout, rollback: Rollback<'_>) -> Selection {
        let mut after = *self;
        if rollback != Rollback::Off {
            for entry in &mut after.entries {
                if entry.state == OtaState::PendingVerify {
                    entry.state = OtaState::Aborted;
                }
            }
        }
        let empty = after.entries.iter().all(OtaEntry::is_ruled_out) || layout.slots == 0;
        let anti = match rollback {
            Rollback::Anti(versions) => Some(versions),
            _ => None,
        };
        let may_run = |entry: &OtaEntry| {
            entry.counts()
                && anti.is_none_or(|versions| {
                    entry
                        .slot(layout.slots)
                        .is_some_and(|slot| versions.allows(slot))
                })
        };
        let active = if empty { None } else { after.newest(may_run) };
        let record = active.and_then(|index| after.entries.get(index)).copied();
        let slot = record.and_then(|record| record.slot(layout.slots));
        let start = match slot {
            Some(slot) => Some(BootSlot::Ota(slot)),
            None if empty && anti.is_none() && !layout.factory => Some(BootSlot::Ota(0)),
            None => None,
        };
        let raised = match (anti, record, slot) {
            (Some(versions), Some(record), Some(slot)) if record.state == OtaState::Valid => {
                versions
                    .of_slot(slot)
                    .filter(|version| *version > versions.efuse)
            }
            _ => None,
        };
        if rollback != Rollback::Off
            && let Some(entry) = active.and_then(|index| after.entries.get_mut(index))
            && entry.state == OtaState::New
        {
            entry.state = OtaState::PendingVerify;
        }
        Selection {
            active,
            start,
            after,
            raised,
            records_first_start: empty,
        }
    }

    fn newest(&self, counts: impl Fn(&OtaEntry) -> bool) -> Option<usize> {
        let [first, second] = &self.entries;
        match (counts(first), counts(second)) {
            (true, true) => Some(usize::from(second.sequence > first.sequence)),
            (true, false) => Some(0),
            (false, true) => Some(1),
            (false, false) => None,
        }
    }
}

/// What the partition table offers to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of OTA slots.
    pub slots: u8,
    /// True if there is a factory application.
    pub factory: bool,
}

impl Layout {
    /// The order in which the bootloader tries applications: from the selected one down to the factory application, then
    /// up through the slots above. `None` begins at the factory application.
    pub fn tried(self, start: Option<BootSlot>) -> impl Iterator<Item = BootSlot> {
        let first = match start {
            Some(BootSlot::Ota(slot)) => slot.saturating_add(1),
            _ => 0,
        };
        let down = (0..first).rev().map(BootSlot::Ota);
        let factory = self.factory.then_some(BootSlot::Factory);
        let up = (first..self.slots).map(BootSlot::Ota);
        down.chain(factory).chain(up)
    }
}

/// An application partition that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootSlot {
    /// The factory application.
    Factory,
    /// OTA slot, from 0.
    Ota(u8),
}

impl fmt::Display for BootSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootSlot::Factory => f.write_str("factory"),
            BootSlot::Ota(slot) => write!(f, "ota_{slot}"),
        }
    }
}

/// How the bootloader was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollback<'v> {
    /// Without rollback: states are not used, except that invalid and aborted records do not count.
    Off,
    /// A new application gets one try.
    On,
    /// Rollback, and no application older than the chip's eFuses allow.
    Anti(SecureVersions<'v>),
}

/// Secure versions, for anti-rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecureVersions<'v> {
    /// The version in the eFuses: the number of bits set.
    pub efuse: u32,
    /// The version of the application in each slot; `None` where there is none.
    pub slots: &'v [Option<u32>],
}

impl SecureVersions<'_> {
    fn of_slot(&self, slot: u8) -> Option<u32> {
        self.slots.get(usize::from(slot)).copied().flatten()
    }

    fn allows(&self, slot: u8) -> bool {
        self.of_slot(slot)
            .is_some_and(|version| version >= self.efuse)
    }
}

/// What the bootloader makes of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The record it follows.
    pub active: Option<usize>,
    /// Where it begins to try; `None` means at the factory application, or at slot 0 if there is none.
    pub start: Option<BootSlot>,
    /// The records when the application starts.
    pub after: OtaData,
    /// The secure version it burns, if it burns one.
    pub raised: Option<u32>,
    records_first_start: bool,
}

impl Selection {
    /// The records once `slot` was found to load: with no record at all, the bootloader notes the first slot it started.
    pub fn after_loading(&self, slot: BootSlot) -> OtaData {
        let mut after = self.after;
        if let (true, BootSlot::Ota(slot)) = (self.records_first_start, slot) {
            after.entries[0] = OtaEntry::new(u32::from(slot) + 1, OtaState::Valid);
        }
        after
    }
}

/// Why bytes are no OTA data partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtaDataFault {
    /// The length is wrong.
    Length {
        /// Bytes found.
        found: usize,
    },
}

impl fmt::Display for OtaDataFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OtaDataFault::Length { found } if *found > OTADATA_LEN => write!(
                f,
                "an otadata partition has {OTADATA_LEN:#x} bytes, here are more"
            ),
            OtaDataFault::Length { found } => write!(
                f,
                "an otadata partition has {OTADATA_LEN:#x} bytes, here are {found:#x}"
            ),
        }
    }
}

impl core::error::Error for OtaDataFault {}

/// The CRC of a record: over the four bytes of the sequence number.
fn crc_of(sequence: u32) -> u32 {
    rom_crc32(u32::MAX, sequence.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_the_one_in_shipped_records() {
        assert_eq!(crc_of(1), 0x4743_989A);
        assert_eq!(crc_of(2), 0x55F6_3774);
    }

    #[test]
    fn a_record_survives_its_bytes() {
        let mut bytes = [0; ENTRY_LEN];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = index as u8;
        }
        assert_eq!(OtaEntry::from_bytes(&bytes).to_bytes(), bytes);
        assert_eq!(OtaEntry::ERASED.to_bytes(), [0xFF; ENTRY_LEN]);
    }

    #[test]
    fn the_search_goes_down_to_the_factory_and_then_up() {
        let layout = Layout {
            slots: 4,
            factory: true,
        };
        let order: std::vec::Vec<_> = layout.tried(Some(BootSlot::Ota(1))).collect();
        let ota = BootSlot::Ota;
        assert_eq!(order, [ota(1), ota(0), BootSlot::Factory, ota(2), ota(3)]);
        assert_eq!(layout.tried(None).next(), Some(BootSlot::Factory));
    }
}
