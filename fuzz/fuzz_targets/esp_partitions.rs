//! Partition tables in both forms: what is read is written, and what is written is read again the same.
#![no_main]

use airseal_esp::partition::PartitionTable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(table) = PartitionTable::from_binary(data) {
        again(&table);
    }
    if let Ok(text) = core::str::from_utf8(data)
        && let Ok(table) = PartitionTable::from_csv(text, 0x8000)
    {
        again(&table);
    }
});

fn again(table: &PartitionTable) {
    let _ = table.warnings().count();
    let _ = table.layout();
    // A binary table may hold what a CSV can't say (types with fixed places, order); names and numbers come back.
    if let Ok(csv) = table.csv() {
        let _ = csv.to_string();
    }
    for md5 in [false, true] {
        let Ok(bytes) = table.to_binary(md5) else {
            continue;
        };
        let read = PartitionTable::from_binary(&bytes).expect("what was written is read");
        assert_eq!(read.as_slice(), table.as_slice());
        assert_eq!(read.has_md5(), md5);
    }
}
