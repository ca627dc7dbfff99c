//! Tables made by Espressif's tool, read in both forms, and the ones that tool refuses.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::partition::{DEFAULT_TABLE_OFFSET, PartitionFault, PartitionTable};
use proptest::prelude::*;
use serde_json::Value;

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/../../vectors/esp/partitions/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

const TABLES: &[(&str, u32)] = &[
    ("two_ota_factory", 0x8000),
    ("no_factory", 0x8000),
    ("offset_0x10000", 0x10000),
    ("nomd5", 0x8000),
    ("secure_v2", 0xC000),
    ("negative_size", 0x8000),
    ("bootloader_rows", 0x9000),
];

#[test]
fn both_forms_give_the_rows_that_espressif_tool_wrote() {
    let expected: Value = serde_json::from_slice(&data("expected.json")).unwrap();
    for (name, table_offset) in TABLES {
        let rows: Vec<&Value> = expected[name]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row.get("md5").is_none())
            .collect();
        for form in ["bin", "csv"] {
            let table =
                PartitionTable::parse(&data(&format!("{name}.{form}")), *table_offset).unwrap();
            assert_eq!(table.as_slice().len(), rows.len(), "{name}.{form}");
            for (row, want) in table.as_slice().iter().zip(&rows) {
                assert_eq!(row.label.to_string(), want["label"], "{name}.{form}");
                let got = (
                    u64::from(row.kind),
                    u64::from(row.subtype),
                    u64::from(row.flags),
                );
                assert_eq!(got.0, want["type"], "{name}.{form} {}", row.label);
                assert_eq!(got.1, want["subtype"], "{name}.{form} {}", row.label);
                assert_eq!(got.2, want["flags"], "{name}.{form} {}", row.label);
                assert_eq!(
                    u64::from(row.offset),
                    want["offset"],
                    "{name}.{form} {}",
                    row.label
                );
                assert_eq!(
                    u64::from(row.size),
                    want["size"],
                    "{name}.{form} {}",
                    row.label
                );
            }
        }
    }
}

#[test]
fn tables_that_espressif_tool_refuses_are_refused() {
    for name in [
        "app_misaligned",
        "bad_flag",
        "dup_name",
        "empty_size",
        "inside_table",
        "otadata_size",
        "overlap",
        "two_otadata",
    ] {
        let table = PartitionTable::parse(&data(&format!("neg/{name}.csv")), DEFAULT_TABLE_OFFSET);
        assert!(table.is_err(), "{name}: {table:?}");
    }
}

#[test]
fn a_wrong_md5_is_refused() {
    assert!(matches!(
        PartitionTable::from_binary(&data("neg/bad-md5.bin")),
        Err(PartitionFault::Md5 { .. })
    ));
}

#[test]
fn a_table_without_an_end_is_refused() {
    let bytes = data("two_ota_factory.bin");
    assert!(matches!(
        PartitionTable::from_binary(&bytes[..7 * 32]),
        Err(PartitionFault::NoEnd { offset: 224 })
    ));
    assert!(matches!(
        PartitionTable::from_binary(&[0xFF; 0xC00]),
        Err(PartitionFault::RowMagic { offset: 0, .. })
    ));
}

#[test]
fn the_smallest_slot_is_an_ota_slot() {
    let table = PartitionTable::parse(&data("two_ota_factory.csv"), DEFAULT_TABLE_OFFSET).unwrap();
    assert_eq!(table.smallest_ota_slot().unwrap().size, 1 << 20);
    let table = PartitionTable::parse(&data("nomd5.bin"), DEFAULT_TABLE_OFFSET).unwrap();
    assert!(table.smallest_ota_slot().is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = PartitionTable::parse(&bytes, DEFAULT_TABLE_OFFSET);
        let _ = PartitionTable::from_binary(&bytes);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[a-z0-9_,: \\n#xKM-]{0,200}") {
        let _ = PartitionTable::from_csv(&text, DEFAULT_TABLE_OFFSET);
    }
}
