//! `airseal esp info`, `partitions` and `otadata`, on what Espressif's tools made.

use crate::esp_data::{encrypted_flash, flash, vector};
use crate::harness::Room;

#[test]
fn an_image_is_shown_with_everything_that_espressif_tool_shows() {
    let room = Room::new();
    let expected: serde_json::Value =
        serde_json::from_slice(&vector("images/expected.json")).unwrap();
    for (name, want) in expected.as_object().unwrap() {
        room.write(name, &vector(&format!("images/{name}")));
        let info = room.json(&format!("esp info {name}"));
        for field in [
            "chip_id",
            "entry",
            "spi_mode",
            "spi_speed",
            "spi_size",
            "wp_pin",
            "spi_pin_drv",
            "min_chip_rev",
            "min_rev_full",
            "max_rev_full",
            "segment_count",
            "segments",
            "checksum",
            "checksum_off",
            "checksum_ok",
            "hash_appended",
            "image_len",
            "file_len",
        ] {
            assert_eq!(info[field], want[field], "{name} {field}");
        }
        for field in ["sha256", "sha256_ok", "app_desc"] {
            assert_eq!(
                info[field],
                want.get(field).cloned().unwrap_or_default(),
                "{name} {field}"
            );
        }
        let text = room.ok(&format!("esp info {name}"));
        assert!(text.contains(info["chip"].as_str().unwrap()), "{text}");
    }
}

#[test]
fn a_damaged_image_is_shown_and_refused_where_it_is_damaged() {
    let room = Room::new();
    let expected: serde_json::Value =
        serde_json::from_slice(&vector("images/neg/expected.json")).unwrap();
    for (name, what) in expected.as_object().unwrap() {
        room.write(name, &vector(&format!("images/neg/{name}")));
        let done = room.run(&format!("esp info {name}"));
        let accepted = name == "hash-flag-cleared.bin";
        assert_eq!(
            done.code,
            i32::from(!accepted),
            "{name} ({what}): {}",
            done.stderr
        );
    }
    let stderr = room.fails(1, "esp info bad-hash.bin");
    assert!(stderr.contains("SHA-256 at offset"), "{stderr}");
    let done = room.run("esp info bad-checksum.bin --json");
    let info: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(info["checksum_ok"], false);
    assert!(info["damage"].as_str().unwrap().contains("offset"));
}

#[test]
fn a_whole_flash_is_recognised_and_read() {
    let room = Room::new();
    room.write("flash.bin", &flash());
    let info = room.json("esp info flash.bin");
    assert_eq!(info["kind"], "flash");
    assert_eq!(info["bootloader"]["chip"], "esp32c3");
    assert_eq!(info["table_offset"], 0x8000);
    let holds: Vec<&str> = info["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|partition| partition["holds"].as_str().unwrap())
        .collect();
    assert_eq!(
        holds,
        ["erased", "erased", "erased", "erased", "image", "image"]
    );
    assert!(room.ok("esp info flash.bin").contains("vector-app 1.4.2"));
}

#[test]
fn tables_and_otadata_are_recognised() {
    let room = Room::new();
    room.write("t.csv", &vector("partitions/no_factory.csv"));
    room.write("t.bin", &vector("partitions/no_factory.bin"));
    room.write("blank.bin", &[0xFF; 0x2000]);
    for (file, form) in [("t.csv", "csv"), ("t.bin", "binary")] {
        let info = room.json(&format!("esp info {file}"));
        assert_eq!(info["kind"], "partition_table");
        assert_eq!(info["form"], form);
        assert_eq!(info["partitions"][2]["label"], "ota_0");
    }
    assert_eq!(room.json("esp info blank.bin")["kind"], "otadata");
}

#[test]
fn other_files_are_named_with_the_command_that_takes_them() {
    let room = Room::new();
    let cases: [(&str, &[u8], &str); 4] = [
        ("container", b"\xCF\xB6\x88\x07rest", "encrypted-img"),
        ("mcuboot", b"\x3D\xB8\xF3\x96rest", "bridge mcuboot"),
        ("elf", b"\x7FELF\x01", "elf2image"),
        ("page", b"<!doctype html>", "HTML"),
    ];
    for (name, bytes, word) in cases {
        room.write(name, bytes);
        let stderr = room.fails(1, &format!("esp info {name}"));
        assert!(stderr.contains(word), "{stderr}");
    }
}

#[test]
fn both_forms_of_a_table_are_those_of_espressif_tool() {
    let room = Room::new();
    for (name, options) in [
        ("two_ota_factory", ""),
        ("no_factory", ""),
        ("offset_0x10000", "--offset 0x10000"),
        ("nomd5", "--no-md5"),
        ("secure_v2", "--offset 0xc000"),
        ("negative_size", ""),
        ("bootloader_rows", "--offset 0x9000 --chip esp32c3"),
    ] {
        room.write("in.csv", &vector(&format!("partitions/{name}.csv")));
        room.ok(&format!(
            "esp partitions to-bin in.csv out.bin --force {options}"
        ));
        assert_eq!(
            room.read("out.bin"),
            vector(&format!("partitions/{name}.bin")),
            "{name}"
        );
        room.ok("esp partitions to-csv out.bin out.csv --force");
        assert_eq!(
            room.read("out.csv"),
            vector(&format!("partitions/{name}.roundtrip.csv")),
            "{name}"
        );
    }
}

#[test]
fn tables_that_espressif_tool_refuses_are_refused_and_nothing_is_written() {
    let room = Room::new();
    let cases: [(&str, &str); 9] = [
        ("app_misaligned", "0x10000"),
        ("bad_flag", "Flags"),
        ("dup_name", "same name"),
        ("empty_size", "Size"),
        ("flash_too_small", "beyond the flash"),
        ("inside_table", "0x9000"),
        ("otadata_size", "0x2000"),
        ("overlap", "0x11000"),
        ("two_otadata", "second otadata"),
    ];
    for (name, word) in cases {
        room.write("in.csv", &vector(&format!("partitions/neg/{name}.csv")));
        let stderr = room.fails(1, "esp partitions to-bin in.csv out.bin --flash-size 2MB");
        assert!(stderr.contains(word), "{name}: {stderr}");
        assert_eq!(room.files(), ["in.csv"]);
    }
}

#[test]
fn a_table_with_a_wrong_checksum_is_refused() {
    let room = Room::new();
    room.write("t.bin", &vector("partitions/neg/bad-md5.bin"));
    let stderr = room.fails(1, "esp partitions to-csv t.bin t.csv");
    assert!(stderr.contains("MD5 at offset"), "{stderr}");
}

#[test]
fn otadata_is_shown_and_selected_as_espressif_code_does() {
    let room = Room::new();
    let cases: Vec<serde_json::Value> =
        serde_json::from_slice(&vector("otadata/cases.json")).unwrap();
    let partition = |case: &serde_json::Value, suffix: &str| {
        let mut bytes = vec![0xFF; 0x2000];
        for (name, offset) in [("entry0", 0), ("entry1", 0x1000)] {
            let entry = hex::decode(case[format!("{name}{suffix}")].as_str().unwrap()).unwrap();
            bytes[offset..offset + 32].copy_from_slice(&entry);
        }
        bytes
    };
    for case in cases
        .iter()
        .filter(|case| case["op"] == "esp_rewrite_ota_data")
    {
        room.write("in", &partition(case, ""));
        let shown = room.json("esp otadata show in --slots 2");
        let running = match shown["active"].as_u64() {
            Some(active) => shown["entries"][active as usize]["slot"].clone(),
            None => serde_json::json!("ota_0"),
        };
        let state = if case["config"] == "rollback" {
            "new"
        } else {
            "undefined"
        };
        room.ok(&format!(
            "esp otadata select in out --force --slots 2 --running {} --slot {} --state {state}",
            running.as_str().unwrap(),
            case["target_slot"]
        ));
        assert_eq!(room.read("out"), partition(case, "_after"), "{case}");
    }
}

#[test]
fn otadata_shows_what_the_bootloader_writes() {
    let room = Room::new();
    let mut bytes = vec![0xFF; 0x2000];
    bytes[..4].copy_from_slice(&1u32.to_le_bytes());
    bytes[24..28].copy_from_slice(&0u32.to_le_bytes());
    bytes[28..32].copy_from_slice(&0x4743_989A_u32.to_le_bytes());
    room.write("in", &bytes);
    let shown = room.json("esp otadata show in --slots 2 --rollback on");
    assert_eq!(shown["boots"], "ota_0");
    assert_eq!(shown["entries_after"][0]["state"], "pending-verify");
    room.fails(2, "esp otadata show in --slots 2 --rollback anti");
    let shown = room.json(
        "esp otadata show in --slots 2 --rollback anti --efuse-version 3 --slot-versions 2,3",
    );
    assert_eq!(shown["active"], serde_json::Value::Null);
}

#[test]
fn a_slot_that_the_table_does_not_have_is_refused() {
    let room = Room::new();
    room.write("in", &[0xFF; 0x2000]);
    let line = "esp otadata select in out --slots 2 --running 0";
    let stderr = room.fails(1, &format!("{line} --slot 2"));
    assert!(stderr.contains("no ota_2"), "{stderr}");
    room.fails(1, &format!("{line} --slot factory"));
    room.write("short", &[0xFF; 0x1000]);
    let stderr = room.fails(1, "esp otadata show short --slots 2");
    assert!(stderr.contains("0x2000"), "{stderr}");
    assert_eq!(room.files(), ["in", "short"]);
}

#[test]
fn flash_encryption_of_files_is_that_of_espsecure() {
    let room = Room::new();
    let cases: Vec<serde_json::Value> =
        serde_json::from_slice(&vector("flashenc/cases.json")).unwrap();
    for case in cases {
        let text = |field: &str| case[field].as_str().unwrap();
        let chip = match (text("key"), text("plain")) {
            ("k192.key" | "k256.key", _) => "esp32",
            ("x128d.key", _) => "esp32c2",
            (_, "images/esp32c3-bootloader.bin") => "esp32c3",
            ("x512.key", _) => "esp32p4",
            _ => "esp32s3",
        };
        room.write("key", &vector(&format!("flashenc/{}", text("key"))));
        room.write("in", &vector(text("plain")));
        let config = case["flash_crypt_conf"].as_u64().unwrap_or(0xF);
        let options = format!(
            "--chip {chip} --key key --address {} --flash-crypt-conf {config} --force",
            case["address"]
        );
        room.ok(&format!("esp flash-encrypt in out {options}"));
        assert!(room.read("out") == vector(text("cipher")), "{case}");
        room.ok(&format!("esp flash-decrypt out back {options}"));
        assert!(room.read("back") == vector(text("plain")), "{case}");
    }
}

#[test]
fn signature_blocks_are_shown_with_the_digests_of_their_keys() {
    let room = Room::new();
    for name in ["rsa0", "ec192", "ec256", "ec384"] {
        room.write(
            "signed",
            &vector(&format!("secureboot/v2-{name}-bootloader.signed")),
        );
        let digest = hex::encode(vector(&format!("secureboot/v2-{name}.digest.bin")));
        let info = room.json("esp info signed");
        let block = &info["signature_blocks"][0];
        assert_eq!(block["key_digest"], digest, "{name}");
        assert_eq!(block["image_digest_ok"], true, "{name}");
        assert!(room.ok("esp info signed").contains(&digest));
    }
    room.write("signed", &vector("secureboot/v2-multi.signed"));
    let info = room.json("esp info signed");
    assert!(info["signature_blocks"].as_array().unwrap().len() > 1);
}

#[test]
fn encrypted_otadata_is_shown_with_the_key_and_its_address() {
    let room = Room::new();
    let dump = encrypted_flash(&room);
    room.write("otadata", &dump[0xD000..0xF000]);
    let line = "esp otadata show otadata --slots 2 --factory";
    let options = "--key key --chip esp32c3 --address";
    let shown = room.json(&format!("{line} {options} 0xd000"));
    assert_eq!(shown["boots"], "factory");
    assert_eq!(shown["entries"][0]["seq"], serde_json::Value::Null);
    room.fails(1, &format!("{line} {options} 0xe000"));
    room.fails(1, &format!("{line} {options} 0xd008"));
    room.fails(2, &format!("{line} --key key"));
}
