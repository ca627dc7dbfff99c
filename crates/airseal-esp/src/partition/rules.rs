//! The rules that hold for a table whichever form it came in.

use core::fmt;

use super::{FLAG_ENCRYPTED, FLAG_READONLY, Label, Partition, PartitionFault, TYPE_APP, TYPE_DATA};

/// Something about a table that works, but is seldom meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionWarning {
    /// A row lies before the row above it.
    OutOfOrder {
        /// The row's name.
        label: Label,
    },
    /// The numbers of the OTA slots are not 0, 1, 2 ...: the bootloader counts rows and takes the wrong one.
    SlotGap {
        /// Name of the first row whose number does not fit.
        label: Label,
    },
    /// Two rows are the same slot, or both the factory application: the bootloader starts the last one, others find the
    /// first.
    SameSlot {
        /// The name of the second one.
        label: Label,
    },
    /// A row has flags that no word stands for; a CSV loses them.
    UnknownFlags {
        /// The row's name.
        label: Label,
        /// All its flags.
        flags: u32,
    },
    /// An NVS partition is marked as encrypted.
    EncryptedNvs {
        /// The row's name.
        label: Label,
    },
    /// There are OTA slots, but no otadata to choose with.
    NoOtaData,
    /// There is only one OTA slot and no factory application: an update has nowhere to go.
    SingleSlot,
}

impl fmt::Display for PartitionWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartitionWarning::OutOfOrder { label } => write!(
                f,
                "partition {label} lies before the one above it; Espressif's tool refuses that in a CSV"
            ),
            PartitionWarning::SlotGap { label } => write!(
                f,
                "partition {label}: OTA slots must be numbered from ota_0 without a gap, or the bootloader takes the wrong one"
            ),
            PartitionWarning::SameSlot { label } => write!(
                f,
                "partition {label} is the same slot as one above it: the bootloader starts this one, others write to that one"
            ),
            PartitionWarning::UnknownFlags { label, flags } => write!(
                f,
                "partition {label}: flags {flags:#x} are more than encrypted and readonly; a CSV loses them"
            ),
            PartitionWarning::EncryptedNvs { label } => write!(
                f,
                "partition {label} is an NVS with the flag encrypted: flash encryption leaves NVS out, which has keys of its own; leave out the flag"
            ),
            PartitionWarning::NoOtaData => {
                f.write_str("there are OTA slots but no otadata partition, so none can be chosen")
            }
            PartitionWarning::SingleSlot => {
                f.write_str("one OTA slot and no factory application: an update has nowhere to go")
            }
        }
    }
}

pub(super) fn warnings(rows: &[Partition]) -> impl Iterator<Item = PartitionWarning> {
    let order = rows.windows(2).filter_map(|pair| match pair {
        [above, row] if row.offset < above.offset => {
            Some(PartitionWarning::OutOfOrder { label: row.label })
        }
        _ => None,
    });
    let slots = rows.iter().filter(|row| row.is_ota_slot()).count();
    let gap = rows
        .iter()
        .find(|row| {
            row.ota_slot()
                .is_some_and(|slot| usize::from(slot) >= slots)
        })
        .map(|row| PartitionWarning::SlotGap { label: row.label });
    let has_otadata = rows.iter().any(Partition::is_otadata);
    let has_factory = rows.iter().any(Partition::is_factory);
    let no_otadata = (slots > 0 && !has_otadata).then_some(PartitionWarning::NoOtaData);
    let single = (slots == 1 && !has_factory).then_some(PartitionWarning::SingleSlot);
    let same = rows.iter().enumerate().filter_map(|(index, row)| {
        let before = rows.get(..index).unwrap_or_default();
        let is_slot = row.is_ota_slot() || row.is_factory();
        let same = |other: &Partition| other.kind == row.kind && other.subtype == row.subtype;
        (is_slot && before.iter().any(same))
            .then_some(PartitionWarning::SameSlot { label: row.label })
    });
    let flags = rows
        .iter()
        .filter(|row| row.flags & !(FLAG_ENCRYPTED | FLAG_READONLY) != 0)
        .map(|row| PartitionWarning::UnknownFlags {
            label: row.label,
            flags: row.flags,
        });
    let nvs = rows
        .iter()
        .filter(|row| row.is_nvs() && row.flags & FLAG_ENCRYPTED != 0)
        .map(|row| PartitionWarning::EncryptedNvs { label: row.label });
    let order = order.chain(gap).chain(same).chain(nvs);
    order.chain(flags).chain(no_otadata).chain(single)
}

const SUBTYPE_COREDUMP: u8 = 3;
const NVS_SIZE_MIN: u32 = 0x3000;
const OTADATA_SIZE: u32 = 0x2000;

/// Checks all rows against each other; `table_offset` is known for a CSV only.
pub(super) fn check(rows: &[Partition], table_offset: Option<u32>) -> Result<(), PartitionFault> {
    let mut otadata = 0;
    for (index, row) in rows.iter().enumerate() {
        let fault = |rule| {
            Err(PartitionFault::Rule {
                label: row.label,
                rule,
            })
        };
        let readonly = row.flags & FLAG_READONLY != 0;
        let is_coredump = row.kind == TYPE_DATA && row.subtype == SUBTYPE_COREDUMP;
        let before = rows.get(..index).unwrap_or_default();
        if row.kind == TYPE_APP && !row.offset.is_multiple_of(0x1_0000) {
            return fault("the offset of an app is not a multiple of 0x10000");
        }
        if !row.offset.is_multiple_of(0x1000) {
            return fault("the offset is not a multiple of 0x1000");
        }
        if row.kind == TYPE_APP && !row.size.is_multiple_of(0x1000) {
            return fault("the size of an app is not a multiple of 0x1000");
        }
        if row.size == 0 {
            return fault("the size is 0");
        }
        if row.end() > 1 << 32 {
            return fault("it ends beyond 4 GiB");
        }
        if row.kind <= TYPE_DATA
            && table_offset.is_some_and(|table| row.offset < table.saturating_add(0x1000))
        {
            return fault("it lies on or before the partition table");
        }
        if table_offset.is_some() && readonly && (row.is_otadata() || is_coredump) {
            return fault("a partition that the chip writes can't be readonly");
        }
        if table_offset.is_some() && row.is_nvs() && !readonly && row.size < NVS_SIZE_MIN {
            return fault("an nvs that is not readonly needs at least 0x3000 bytes");
        }
        if before.iter().any(|other| other.label == row.label) {
            return fault("another partition has the same name");
        }
        if before
            .iter()
            .any(|other| u64::from(row.offset) < other.end() && u64::from(other.offset) < row.end())
        {
            return fault("it overlaps another partition");
        }
        if row.is_otadata() {
            otadata += 1;
            if otadata > 1 {
                return fault("it is the second otadata partition");
            }
            if row.size != OTADATA_SIZE {
                return fault("the size of otadata is not 0x2000");
            }
        }
    }
    Ok(())
}
