//! The vendor's own tables of numbers, each against what is read and written here.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::image::Image;
use airseal_esp::otadata::{BootSlot, Layout, OtaData, OtaEntry, OtaState, Rollback};
use airseal_esp::partition::PartitionTable;
use airseal_esp::{Chip, chip::FlashEncryption};

/// `esp_app_format.h`: `esp_chip_id_t`.
#[test]
fn chips_have_the_ids_of_image_headers() {
    let ids: Vec<(u16, &str)> = Chip::ALL.iter().map(|c| (c.id(), c.name())).collect();
    let expected = [
        (0, "esp32"),
        (2, "esp32s2"),
        (5, "esp32c3"),
        (9, "esp32s3"),
        (12, "esp32c2"),
        (13, "esp32c6"),
        (16, "esp32h2"),
        (18, "esp32p4"),
        (20, "esp32c61"),
        (23, "esp32c5"),
        (25, "esp32h21"),
        (28, "esp32h4"),
        (32, "esp32s31"),
    ];
    assert_eq!(ids, expected);
    assert_eq!(Chip::from_id(0xFFFF), None);
}

#[test]
fn an_image_of_every_chip_is_read() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../vectors/esp/images/app-nodigest.bin"
    );
    let built = std::fs::read(path).unwrap();
    for chip in Chip::ALL {
        let mut bytes = built.clone();
        bytes[12..14].copy_from_slice(&chip.id().to_le_bytes());
        let image = Image::parse(&mut &bytes[..]).unwrap();
        assert_eq!(image.chip, *chip);
        assert_eq!(image.len, bytes.len() as u64);
    }
}

/// `soc_caps.h`, and `efuse/<chip>` of espefuse for the derived key of the C2.
#[test]
fn flash_encryption_keys_have_the_lengths_of_each_chip() {
    for (scheme, lens) in [
        (FlashEncryption::Legacy, &[24, 32][..]),
        (FlashEncryption::Xts128, &[32]),
        (FlashEncryption::Xts128Derived, &[16, 32]),
        (FlashEncryption::Xts256, &[32, 64]),
    ] {
        let taken: Vec<usize> = (0..100).filter(|len| scheme.takes_key_len(*len)).collect();
        assert_eq!(taken, lens, "{scheme:?}");
    }
}

fn header(mode: u8, speed_and_size: u8) -> Image {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../vectors/esp/images/app.bin"
    );
    let mut bytes = std::fs::read(path).unwrap();
    bytes[2] = mode;
    bytes[3] = speed_and_size;
    Image::examine(&mut &bytes[..]).unwrap().0
}

/// `esp_app_format.h`: `esp_image_spi_mode_t` and `esp_image_flash_size_t`.
#[test]
fn flash_modes_and_sizes_have_their_numbers() {
    let names = ["qio", "qout", "dio", "dout", "fast-read", "slow-read"];
    for (mode, name) in (0..).zip(names) {
        assert_eq!(header(mode, 0).header.spi_mode_name(), Some(name));
    }
    assert_eq!(header(6, 0).header.spi_mode_name(), None);
    for (size, mebibytes) in (0..).zip([1_u32, 2, 4, 8, 16, 32, 64, 128]) {
        let header = header(2, size << 4 | 0xF).header;
        assert_eq!(header.flash_size(), Some(mebibytes << 20));
        assert_eq!(header.spi_speed, 0xF);
    }
    assert_eq!(header(2, 0x80).header.flash_size(), None);
}

fn one_row(kind: &str, subtype: &str, flags: &str) -> Option<PartitionTable> {
    let size = match (kind, subtype) {
        ("data", "ota") => "0x2000",
        _ => "0x10000",
    };
    let text = format!("x,{kind},{subtype},0x20000,{size},{flags}\n");
    PartitionTable::from_csv(&text, 0x8000).ok()
}

/// `gen_esp32part.py`: `TYPES` and `SUBTYPES`.
#[test]
fn partition_types_and_subtypes_have_their_numbers() {
    let words = "app factory 0 0|app test 0 32|app tee_0 0 48|app tee_1 0 49|app ota_0 0 16|app ota_15 0 31\
        |data ota 1 0|data phy 1 1|data nvs 1 2|data coredump 1 3|data nvs_keys 1 4|data efuse 1 5|data undefined 1 6\
        |data esphttpd 1 128|data fat 1 129|data spiffs 1 130|data littlefs 1 131|data tee_ota 1 144\
        |0x40 0x7 64 7|0xfe 9 254 9";
    for row in words.split('|') {
        let parts: Vec<&str> = row.split_whitespace().collect();
        let table = one_row(parts[0], parts[1], "").unwrap();
        let found = &table.as_slice()[0];
        let numbers = (found.kind.to_string(), found.subtype.to_string());
        assert_eq!(numbers, (parts[2].to_owned(), parts[3].to_owned()), "{row}");
    }
    for (kind, subtype) in [("app", "ota_16"), ("data", "factory"), ("disk", "0")] {
        assert!(one_row(kind, subtype, "").is_none(), "{kind} {subtype}");
    }
}

/// `esp_partition/partition.c`: what flash encryption covers, flagged or not.
#[test]
fn flash_encryption_covers_code_otadata_and_nvs_keys_and_what_is_flagged() {
    let encrypted = |kind, subtype, flags| {
        let table = one_row(kind, subtype, flags).unwrap();
        table.as_slice()[0].is_encrypted()
    };
    for (kind, subtype) in [
        ("app", "factory"),
        ("app", "ota_3"),
        ("app", "test"),
        ("data", "ota"),
        ("data", "tee_ota"),
        ("data", "nvs_keys"),
    ] {
        assert!(encrypted(kind, subtype, ""), "{kind} {subtype}");
    }
    for subtype in ["phy", "nvs", "coredump", "fat", "spiffs", "undefined"] {
        assert!(!encrypted("data", subtype, ""), "{subtype}");
        assert!(encrypted("data", subtype, "encrypted"), "{subtype}");
    }
}

/// `esp_flash_partitions.h`: `esp_ota_img_states_t`, and the CRC over the number alone.
#[test]
fn otadata_records_have_the_numbers_and_the_crc_of_the_vendor() {
    for (state, number) in [
        (OtaState::New, 0_u32),
        (OtaState::PendingVerify, 1),
        (OtaState::Valid, 2),
        (OtaState::Invalid, 3),
        (OtaState::Aborted, 4),
        (OtaState::Undefined, u32::MAX),
    ] {
        for (sequence, crc) in [(1_u32, 0x4743_989A_u32), (2, 0x55F6_3774)] {
            let bytes = OtaEntry::new(sequence, state).to_bytes();
            assert_eq!(bytes[..4], sequence.to_le_bytes());
            assert_eq!(bytes[4..24], [0xFF; 20]);
            assert_eq!(bytes[24..28], number.to_le_bytes());
            assert_eq!(bytes[28..], crc.to_le_bytes());
        }
    }
    // Slot = (number - 1) modulo the slots, and 0 wraps around.
    for (sequence, slots, slot) in [
        (1, 2, 0),
        (2, 2, 1),
        (3, 2, 0),
        (7, 3, 0),
        (0, 3, 0),
        (0, 4, 3),
    ] {
        let data = OtaData {
            entries: [
                OtaEntry::new(sequence, OtaState::Valid),
                OtaData::ERASED.entries[1],
            ],
        };
        let layout = Layout {
            slots,
            factory: false,
        };
        let start = data.selection(layout, Rollback::Off).start;
        assert_eq!(start, Some(BootSlot::Ota(slot)), "{sequence} of {slots}");
    }
}
