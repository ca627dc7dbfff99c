//! NVS partitions and their CSVs: nothing panics, and what was read is written and read again the same.
#![no_main]

use std::path::PathBuf;

use airseal_esp::nvs::{NvsKey, Version, keys_from_partition};
use airseal_pack::esp::nvs::{Layout, describe, parse_csv, parse_partition};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = keys_from_partition(data);
    let _ = describe(data);
    let key = NvsKey::new(&core::array::from_fn(|at| at as u8)).expect("two different keys");
    let _ = parse_partition(data, Some(&key));
    if let Ok(dump) = parse_partition(data, None) {
        again(&dump.csv, None);
    }
    // Values from files would make a run depend on what lies on this machine.
    if let Ok(text) = core::str::from_utf8(data)
        && !text.contains("file")
    {
        again(text, Some(&key));
    }
});

/// Makes a partition of a CSV, and a CSV of that, until it is the same.
fn again(text: &str, key: Option<&NvsKey>) {
    let layout = |wifi_rows| Layout {
        size: 0x2_0000,
        version: Version::Two,
        key,
        wifi_rows,
    };
    let Ok(made) = parse_csv("fuzz", PathBuf::from("/nonexistent"), text, &layout(true)) else {
        return;
    };
    let dump = parse_partition(&made.bytes, key).expect("what was made is read");
    let again = parse_csv(
        "again",
        PathBuf::from("/nonexistent"),
        &dump.csv,
        &layout(false),
    );
    assert!(again.expect("what was read is made").bytes == made.bytes);
}
