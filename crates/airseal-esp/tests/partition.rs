//! Tables made by Espressif's tool, read in both forms, and the ones that tool refuses.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::otadata::BootSlot;
use airseal_esp::partition::{
    DEFAULT_TABLE_OFFSET, PartitionFault, PartitionTable, PartitionWarning,
};
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
fn both_forms_are_written_byte_for_byte_as_espressif_tool_writes_them() {
    for (name, table_offset) in TABLES {
        let csv = data(&format!("{name}.csv"));
        let table = PartitionTable::parse(&csv, *table_offset).unwrap();
        let binary = table.to_binary(*name != "nomd5").unwrap();
        assert_eq!(&binary[..], data(&format!("{name}.bin")), "{name}");
        let back = PartitionTable::from_binary(&binary).unwrap();
        let text = data(&format!("{name}.roundtrip.csv"));
        assert_eq!(
            back.csv().unwrap().to_string(),
            String::from_utf8(text).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn a_table_without_room_for_its_end_is_refused() {
    let rows = |count: u32| {
        let lines = (0..count).map(|n| format!("n{n},data,undefined,,0x1000\n"));
        lines.collect::<String>()
    };
    let table = |count| PartitionTable::from_csv(&rows(count), DEFAULT_TABLE_OFFSET);
    assert!(table(94).unwrap().to_binary(true).is_ok());
    let full = table(95).unwrap();
    assert_eq!(full.to_binary(true), Err(PartitionFault::TooManyRows));
    assert!(PartitionTable::from_binary(&full.to_binary(false).unwrap()).is_ok());
    assert_eq!(table(96).unwrap_err(), PartitionFault::TooManyRows);
}

#[test]
fn a_name_longer_than_16_bytes_is_said_not_cut() {
    let text = "seventeen_letters,data,nvs,,0x4000";
    assert_eq!(
        PartitionTable::from_csv(text, DEFAULT_TABLE_OFFSET).unwrap_err(),
        PartitionFault::LabelTooLong { line: 1, len: 17 }
    );
    let text = "sixteen_letters_,data,nvs,,0x4000";
    assert!(PartitionTable::from_csv(text, DEFAULT_TABLE_OFFSET).is_ok());
}

#[test]
fn a_table_that_leaves_the_flash_is_refused() {
    let text = data("neg/flash_too_small.csv");
    let table = PartitionTable::parse(&text, DEFAULT_TABLE_OFFSET).unwrap();
    assert!(table.check_flash_size(8 << 20).is_ok());
    assert!(matches!(
        table.check_flash_size(2 << 20),
        Err(PartitionFault::BeyondFlash { .. })
    ));
}

#[test]
fn a_table_out_of_order_is_refused_as_csv_and_warned_about_as_binary() {
    let text = "b,data,nvs,0xe000,0x4000\na,data,phy,0x9000,0x1000";
    assert!(matches!(
        PartitionTable::from_csv(text, DEFAULT_TABLE_OFFSET),
        Err(PartitionFault::Overlap { line: 2, .. })
    ));
    let text = "a,data,phy,0x9000,0x1000\nb,data,nvs,0xe000,0x4000";
    let table = PartitionTable::from_csv(text, DEFAULT_TABLE_OFFSET).unwrap();
    let mut binary = table.to_binary(false).unwrap();
    let (first, second) = binary[..64].split_at_mut(32);
    first.swap_with_slice(second);
    let table = PartitionTable::from_binary(&binary).unwrap();
    assert!(!table.has_md5());
    assert!(matches!(
        table.warnings().next(),
        Some(PartitionWarning::OutOfOrder { .. })
    ));
}

#[test]
fn slots_that_the_bootloader_would_confuse_are_warned_about() {
    let text = "o,data,ota,,0x2000\na,app,ota_0,,1M\nb,app,ota_2,,1M";
    let table = PartitionTable::from_csv(text, DEFAULT_TABLE_OFFSET).unwrap();
    let warnings: Vec<_> = table.warnings().collect();
    assert!(matches!(warnings[..], [PartitionWarning::SlotGap { .. }]));
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
fn a_row_behind_the_md5_is_refused() {
    let mut bytes = data("two_ota_factory.bin");
    let md5 = bytes.chunks(32).position(|row| row[0] == 0xEB).unwrap() * 32;
    let mut row: Vec<u8> = bytes[..32].to_vec();
    row[4..8].copy_from_slice(&0x3F_0000u32.to_le_bytes());
    row[8..12].copy_from_slice(&0x1000u32.to_le_bytes());
    row[12] = b'z';
    bytes[md5 + 32..md5 + 64].copy_from_slice(&row);
    assert_eq!(
        PartitionTable::from_binary(&bytes).unwrap_err(),
        PartitionFault::BehindMd5 { offset: md5 + 32 }
    );
}

#[test]
fn of_two_rows_for_one_slot_the_last_one_starts_and_that_is_said() {
    let text = "o,data,ota,,0x2000\na,app,ota_0,,1M\nb,app,ota_0,,1M\nc,app,ota_1,,1M";
    let table = PartitionTable::from_csv(text, DEFAULT_TABLE_OFFSET).unwrap();
    let row = table.row_of(BootSlot::Ota(0)).unwrap();
    assert_eq!(row.label.as_bytes(), b"b");
    assert!(table.row_of(BootSlot::Factory).is_none());
    let warnings: Vec<_> = table.warnings().collect();
    assert!(
        matches!(warnings[..], [PartitionWarning::SameSlot { label }] if label == row.label),
        "{warnings:?}"
    );
}

/// Names and flags of a binary table that somebody else wrote.
#[test]
fn a_name_that_moves_the_columns_of_a_csv_is_refused() {
    let table = PartitionTable::from_csv("abc,data,nvs,,0x4000", DEFAULT_TABLE_OFFSET).unwrap();
    let plain = table.to_binary(false).unwrap();
    let named = |name: &[u8]| {
        let mut bytes = plain;
        bytes[12..12 + name.len()].copy_from_slice(name);
        PartitionTable::from_binary(&bytes).unwrap()
    };
    for name in [b"a,b", b"#ab", b" ab", b"a\nb", b"a\xFFb", b"a\0b"] {
        let refused = named(name).csv().unwrap_err();
        assert!(
            matches!(refused, PartitionFault::LabelText { .. }),
            "{name:?}"
        );
    }
    let umlaut = named("\u{e4}x".as_bytes()).csv().unwrap().to_string();
    assert!(umlaut.contains("\n\u{e4}x,data,nvs"), "{umlaut}");
    let mut bytes = plain;
    bytes[28] = 0x11;
    let table = PartitionTable::from_binary(&bytes).unwrap();
    assert!(
        table
            .warnings()
            .any(|warning| matches!(warning, PartitionWarning::UnknownFlags { flags: 0x11, .. }))
    );
}

#[test]
fn numbers_that_could_be_meant_otherwise_are_refused() {
    for row in [
        "a,app,ota_+1,,1M",
        "a,app,ota_01,,1M",
        "a,data,nvs,,0x+4000",
        "a,data,nvs,,016384",
    ] {
        let table = PartitionTable::from_csv(row, DEFAULT_TABLE_OFFSET);
        assert!(table.is_err(), "{row}");
    }
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
    fn what_is_read_is_written_and_read_again(text in "([ab]{1,3},(app|data),(ota_[0-3]|nvs|factory|0x10),,(64K|1M|0x3000),(encrypted|readonly)?\n){1,6}") {
        if let Ok(table) = PartitionTable::from_csv(&text, DEFAULT_TABLE_OFFSET) {
            let again = PartitionTable::from_binary(&table.to_binary(true).unwrap()).unwrap();
            prop_assert_eq!(again.as_slice(), table.as_slice());
            let again = PartitionTable::from_csv(&table.csv().unwrap().to_string(), DEFAULT_TABLE_OFFSET).unwrap();
            prop_assert_eq!(again.as_slice(), table.as_slice());
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[a-z0-9_,: \\n#xKM-]{0,200}") {
        let _ = PartitionTable::from_csv(&text, DEFAULT_TABLE_OFFSET);
    }
}
