//! The rules that hold for a table whichever form it came in.

use super::{Partition, PartitionFault, TYPE_APP, TYPE_DATA};

const SUBTYPE_OTADATA: u8 = 0;
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
        if before.iter().any(|other| other.label == row.label) {
            return fault("another partition has the same name");
        }
        if before
            .iter()
            .any(|other| u64::from(row.offset) < other.end() && u64::from(other.offset) < row.end())
        {
            return fault("it overlaps another partition");
        }
        if row.kind == TYPE_DATA && row.subtype == SUBTYPE_OTADATA {
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
