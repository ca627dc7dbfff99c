//! `airseal esp flash-check`: what would start from a dump, and why not.

use crate::esp_data::{encrypted_flash, flash, repair, signed_flash, vector};
use crate::harness::Room;

#[test]
fn a_flash_is_told_to_boot_and_what() {
    let room = Room::new();
    let mut dump = flash();
    room.write("flash.bin", &dump);
    let verdict = room.json("esp flash-check flash.bin --chip esp32c3");
    assert_eq!(verdict["boots"], "ota_0");
    assert_eq!(verdict["app"], "vector-app 1.4.2");
    assert!(verdict["reason"].as_str().unwrap().contains("factory"));

    let mut record = vec![0xFF; 32];
    record[..4].copy_from_slice(&2u32.to_le_bytes());
    record[28..].copy_from_slice(&0x55F6_3774_u32.to_le_bytes());
    dump[0xE000..0xE020].copy_from_slice(&record);
    room.write("flash.bin", &dump);
    let verdict = room.json("esp flash-check flash.bin --chip esp32c3");
    assert_eq!(verdict["boots"], "ota_1");
    assert_eq!(verdict["reason"], serde_json::Value::Null);
    assert!(
        room.ok("esp flash-check flash.bin --chip esp32c3")
            .contains("record 1 selects ota_1")
    );
}

/// R19.
#[test]
fn r19_a_new_image_starts_only_once_otadata_names_its_slot() {
    let room = Room::new();
    let mut dump = flash();
    let mut record = vec![0xFF; 32];
    record[..4].copy_from_slice(&2u32.to_le_bytes());
    record[28..].copy_from_slice(&0x55F6_3774_u32.to_le_bytes());
    dump[0xD000..0xD020].copy_from_slice(&record);
    // Reflashed over a cable: another version in slot 0, and nothing else.
    dump[0x11_0000 + 32 + 16..][..6].copy_from_slice(b"9.9.9\0");
    repair(&mut dump[0x11_0000..]);
    room.write("flash.bin", &dump);
    let verdict = room.json("esp flash-check flash.bin --chip esp32c3");
    assert_eq!(
        (&verdict["boots"], &verdict["app"]),
        (&"ota_1".into(), &"vector-app 1.4.2".into())
    );
    room.write("otadata", &dump[0xD000..0xF000]);
    room.ok("esp otadata select --slots 2 --factory --running 1 --slot 0 otadata new");
    dump[0xD000..0xF000].copy_from_slice(&room.read("new"));
    room.write("flash.bin", &dump);
    let verdict = room.json("esp flash-check flash.bin --chip esp32c3");
    assert_eq!(
        (&verdict["boots"], &verdict["app"]),
        (&"ota_0".into(), &"vector-app 9.9.9".into())
    );
}

#[test]
fn a_flash_that_does_not_boot_is_refused_with_the_first_reason() {
    let room = Room::new();
    let check = |dump: &[u8], word: &str| {
        room.write("flash.bin", dump);
        let stderr = room.fails(1, "esp flash-check flash.bin --chip esp32c3");
        assert!(
            stderr.contains("would not boot") && stderr.contains(word),
            "{word}: {stderr}"
        );
    };
    let whole = flash();
    let mut dump = whole.clone();
    dump[..0x8000].fill(0xFF);
    check(&dump, "bootloader at 0x0: is erased");
    let mut dump = whole.clone();
    dump[0x8000] = 0;
    check(&dump, "partition table at 0x8000");
    let mut dump = whole.clone();
    dump[0x8010] ^= 1;
    check(&dump, "MD5");
    let mut dump = whole.clone();
    dump[0x11_0100] ^= 1;
    dump[0x21_0100] ^= 1;
    check(&dump, "factory (factory) at 0x10000: is erased");
    check(&whole[..0x20_0000], "beyond the flash");
    room.write("flash.bin", &whole);
    let stderr = room.fails(1, "esp flash-check flash.bin --chip esp32s3");
    assert!(stderr.contains("chip_id"), "{stderr}");
}

#[test]
fn an_application_older_than_the_efuses_allow_does_not_boot() {
    let room = Room::new();
    room.write("flash.bin", &flash());
    let line = "esp flash-check flash.bin --chip esp32c3 --rollback anti";
    room.ok(&format!("{line} --efuse-version 3"));
    let stderr = room.fails(1, &format!("{line} --efuse-version 4"));
    assert!(stderr.contains("would not boot"), "{stderr}");
}

#[test]
fn nvs_beside_the_boot_is_looked_into() {
    let room = Room::new();
    let mut dump = flash();
    let nvs = vector("nvs/files_hmac.bin");
    dump[0x9000..0x9000 + nvs.len()].copy_from_slice(&nvs);
    room.write("flash.bin", &dump);
    room.write("hmac.key", &vector("nvs/hmac.key"));
    let line = "esp flash-check flash.bin --chip esp32c3 --hmac-key hmac.key";
    assert!(room.ok(line).contains("NVS, keys: "));
    dump[0x9000 + 104] ^= 1;
    room.write("flash.bin", &dump);
    let done = room.run(line);
    assert_eq!(done.code, 0);
    assert!(
        done.stderr.contains("warning") && done.stderr.contains("CRC"),
        "{}",
        done.stderr
    );
    room.write("hmac.key", &[1; 31]);
    assert!(room.fails(1, line).contains("31"));
}

#[test]
fn an_encrypted_flash_is_checked_with_its_key() {
    let room = Room::new();
    let dump = encrypted_flash(&room);
    room.write("flash.bin", &dump);
    let verdict = room.json("esp flash-check flash.bin --chip esp32c3 --key key");
    assert_eq!(verdict["boots"], "ota_0");
    let stderr = room.fails(1, "esp flash-check flash.bin --chip esp32c3");
    assert!(stderr.contains("--key"), "{stderr}");
    room.write("other", &[0x5B; 32]);
    let stderr = room.fails(1, "esp flash-check flash.bin --chip esp32c3 --key other");
    assert!(stderr.contains("another key"), "{stderr}");
    room.write("short", &[0x5B; 24]);
    let stderr = room.fails(1, "esp flash-check flash.bin --chip esp32c3 --key short");
    assert!(stderr.contains("24"), "{stderr}");
}

#[test]
fn data_that_was_encrypted_for_another_address_is_told_with_that_address() {
    let room = Room::new();
    let mut dump = encrypted_flash(&room);
    let slot = dump[0x21_0000..0x23_0000].to_vec();
    dump[0x11_0000..0x13_0000].copy_from_slice(&slot);
    dump[0x21_0000..0x23_0000].fill(0xFF);
    room.write("flash.bin", &dump);
    let done = room.run("esp flash-check flash.bin --chip esp32c3 --key key --json");
    let verdict: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(done.code, 1);
    let found: Vec<&str> = verdict["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["found"].as_str().unwrap())
        .collect();
    assert!(
        found
            .iter()
            .any(|found| found.contains("was encrypted for address 0x210000")),
        "{found:?}"
    );
}

#[test]
fn a_plain_image_in_an_encrypted_flash_is_told() {
    let room = Room::new();
    let mut dump = encrypted_flash(&room);
    dump[..0x8000].copy_from_slice(&flash()[..0x8000]);
    room.write("flash.bin", &dump);
    let stderr = room.fails(1, "esp flash-check flash.bin --chip esp32c3 --key key");
    assert!(stderr.contains("is not encrypted"), "{stderr}");
}

#[test]
fn secure_boot_is_played_with_the_keys_that_are_trusted() {
    let room = Room::new();
    for key in ["rsa0", "rsa1", "ec256"] {
        let name = format!("v2-{key}-pub.pem");
        room.write(key, &vector(&format!("secureboot/{name}")));
    }
    room.write("private", &vector("secureboot/v2-rsa0.pem"));
    room.write("flash.bin", &signed_flash());
    let line = "esp flash-check flash.bin --chip esp32c3 --sb-key";
    let verdict = room.json(&format!("{line} rsa0"));
    assert_eq!(verdict["boots"], "ota_0");
    room.ok(&format!("{line} ec256 rsa0"));
    let stderr = room.fails(1, &format!("{line} rsa1"));
    assert!(stderr.contains("by another key"), "{stderr}");
    room.ok(&format!("{line} private"));
    room.write("rsa0.digest", &vector("secureboot/v2-rsa0.digest.bin"));
    room.fails(1, &format!("{line} rsa0.digest"));

    let mut dump = signed_flash();
    dump[0x11_0000 + 100] ^= 1;
    room.write("flash.bin", &dump);
    let stderr = room.fails(1, &format!("{line} rsa0"));
    assert!(stderr.contains("would not boot"), "{stderr}");
    room.write("flash.bin", &flash());
    let stderr = room.fails(1, &format!("{line} rsa0"));
    assert!(stderr.contains("is not signed"), "{stderr}");
}

#[test]
fn every_scheme_is_verified_on_a_bootloader() {
    let room = Room::new();
    let mut dump = flash();
    for name in ["rsa0", "rsa1", "ec192", "ec256", "ec256b", "ec384"] {
        let bytes = vector(&format!("secureboot/v2-{name}-bootloader.signed"));
        dump[..bytes.len()].copy_from_slice(&bytes);
        room.write("flash.bin", &dump);
        room.write("key", &vector(&format!("secureboot/v2-{name}-pub.pem")));
        let stderr = room.fails(1, "esp flash-check flash.bin --chip esp32c3 --sb-key key");
        // The signatures hold; but this chip takes RSA alone.
        let refused = stderr.contains("bootloader at") && stderr.contains("can't verify");
        assert_eq!(refused, name.starts_with("ec"), "{name}: {stderr}");
    }
    for name in ["flip-body", "flip-sig-crcfixed", "badcrc"] {
        let bytes = vector(&format!("secureboot/neg-v2-{name}.signed"));
        dump[..bytes.len()].copy_from_slice(&bytes);
        room.write("flash.bin", &dump);
        for key in ["rsa0", "rsa1"] {
            room.write("key", &vector(&format!("secureboot/v2-{key}-pub.pem")));
            let stderr = room.fails(1, "esp flash-check flash.bin --chip esp32c3 --sb-key key");
            assert!(stderr.contains("bootloader at"), "{name}: {stderr}");
        }
    }
}

/// A summary of the vectors with some fields set to other values.
fn efuses(room: &Room, name: &str, changes: &[(&str, u64)]) {
    let mut summary: serde_json::Value =
        serde_json::from_slice(&vector(&format!("efuse/{name}.json"))).unwrap();
    for (field, value) in changes {
        let field = &mut summary[*field];
        assert!(field.is_object(), "{name} has all fields");
        field["raw_value"] = format!("{value:#x}").into();
        field["value"] = (*value).into();
    }
    room.write("efuses.json", summary.to_string().as_bytes());
}

const NEW_CHIP: &str = "esp32c3-fe-sb.step0";
const DONE_CHIP: &str = "esp32c3-fe-sb.step11";
/// Revision 0.3, which the vectors' images ask for.
const REV_3: (&str, u64) = ("WAFER_VERSION_MINOR", 3);

const CHECK: &str = "esp flash-check flash.bin --chip esp32c3 --efuses efuses.json";

#[test]
fn a_new_chip_takes_the_flash_as_it_is_whatever_keys_are_given() {
    let room = Room::new();
    efuses(&room, NEW_CHIP, &[REV_3]);
    room.write("flash.bin", &flash());
    let verdict = room.json(CHECK);
    assert_eq!(verdict["boots"], "ota_0");
    assert_eq!(verdict["efuses"]["flash_encryption"], false);
    assert_eq!(verdict["efuses"]["secure_boot"], "off");
    assert_eq!(verdict["efuses"]["chip_revision"], 3);
    room.write("rsa1", &vector("secureboot/v2-rsa1-pub.pem"));
    let done = room.run(&format!("{CHECK} --sb-key rsa1"));
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stderr.contains("secure boot is off"),
        "{}",
        done.stderr
    );

    room.write("flash.bin", &encrypted_flash(&room));
    let stderr = room.fails(1, &format!("{CHECK} --key key"));
    assert!(
        stderr.contains("the chip does not decrypt") && stderr.contains("SPI_BOOT_CRYPT_CNT = 0x0"),
        "{stderr}"
    );
    let stderr = room.fails(1, CHECK);
    assert!(stderr.contains("flash encryption is off"), "{stderr}");
}

#[test]
fn a_chip_with_flash_encryption_needs_its_key_of_the_right_length() {
    let room = Room::new();
    let off = [REV_3, ("SECURE_BOOT_EN", 0)];
    efuses(&room, DONE_CHIP, &off);
    room.write("flash.bin", &encrypted_flash(&room));
    assert_eq!(room.json(&format!("{CHECK} --key key"))["boots"], "ota_0");
    let stderr = room.fails(1, CHECK);
    assert!(stderr.contains("give the key with --key"), "{stderr}");
    room.write("flash.bin", &flash());
    let stderr = room.fails(1, &format!("{CHECK} --key key"));
    assert!(stderr.contains("is not encrypted"), "{stderr}");
    // Two bits of three: switched off again.
    efuses(
        &room,
        DONE_CHIP,
        &[REV_3, ("SECURE_BOOT_EN", 0), ("SPI_BOOT_CRYPT_CNT", 3)],
    );
    assert_eq!(room.json(CHECK)["boots"], "ota_0");

    room.write("efuses.json", &vector("efuse/esp32s3-xts256.step2.json"));
    let mut summary: serde_json::Value = serde_json::from_slice(&room.read("efuses.json")).unwrap();
    summary["SPI_BOOT_CRYPT_CNT"]["raw_value"] = "0x7".into();
    room.write("efuses.json", summary.to_string().as_bytes());
    let line = "esp flash-check flash.bin --chip esp32s3 --efuses efuses.json --key key";
    let stderr = room.fails(1, line);
    assert!(
        stderr.contains("32 bytes") && stderr.contains("has 64"),
        "{stderr}"
    );
    let stderr = room.fails(
        1,
        "esp flash-check flash.bin --chip esp32 --efuses efuses.json",
    );
    assert!(stderr.contains("FLASH_CRYPT_CNT"), "{stderr}");
}

#[test]
fn the_digests_in_the_efuses_decide_whose_signature_counts() {
    let room = Room::new();
    let plain = [REV_3, ("SPI_BOOT_CRYPT_CNT", 0)];
    efuses(&room, DONE_CHIP, &plain);
    room.write("flash.bin", &signed_flash());
    let done = room.json(CHECK);
    assert_eq!(done["boots"], "ota_0");
    assert_eq!(
        done["efuses"]["trusted"][0],
        hex::encode(vector("secureboot/v2-rsa0.digest.bin"))
    );
    room.write("flash.bin", &flash());
    let stderr = room.fails(1, CHECK);
    assert!(stderr.contains("is not signed"), "{stderr}");
    let mut dump = signed_flash();
    let other = vector("secureboot/v2-rsa1-bootloader.signed");
    dump[..other.len()].copy_from_slice(&other);
    room.write("flash.bin", &dump);
    let stderr = room.fails(1, CHECK);
    assert!(stderr.contains("not in the eFuses"), "{stderr}");

    room.write("flash.bin", &signed_flash());
    efuses(
        &room,
        DONE_CHIP,
        &[
            REV_3,
            ("SPI_BOOT_CRYPT_CNT", 0),
            ("SECURE_BOOT_KEY_REVOKE0", 1),
        ],
    );
    let stderr = room.fails(1, CHECK);
    assert!(
        stderr.contains("no digest of a key that is not revoked"),
        "{stderr}"
    );
    let text = vector("efuse/esp32c3-fe-sb.step11.json");
    let text = String::from_utf8(text).unwrap();
    let both = text.replace("\"USER\"", "\"SECURE_BOOT_DIGEST1\"");
    room.write("efuses.json", both.as_bytes());
    let mut summary: serde_json::Value = serde_json::from_str(&both).unwrap();
    for (field, value) in [
        ("SPI_BOOT_CRYPT_CNT", "0x0"),
        ("WAFER_VERSION_MINOR", "0x3"),
        ("SECURE_BOOT_KEY_REVOKE0", "0x1"),
        ("SECURE_BOOT_KEY_REVOKE1", "0x0"),
    ] {
        summary[field]["raw_value"] = value.into();
    }
    room.write("efuses.json", summary.to_string().as_bytes());
    let stderr = room.fails(1, CHECK);
    assert!(stderr.contains("by a revoked key"), "{stderr}");
}

#[test]
fn versions_and_revisions_in_the_efuses_are_compared() {
    let room = Room::new();
    room.write("flash.bin", &flash());
    efuses(&room, NEW_CHIP, &[]);
    let stderr = room.fails(1, CHECK);
    assert!(
        stderr.contains("needs chip revision v0.3 or later, this one is v0.0"),
        "{stderr}"
    );
    // The highest revision counts for applications alone, and not where the eFuses say so.
    efuses(&room, NEW_CHIP, &[("WAFER_VERSION_MAJOR", 2)]);
    let stderr = room.fails(1, CHECK);
    assert!(stderr.contains("factory"), "{stderr}");
    let json = room.run(&format!("{CHECK} --json")).stdout;
    assert!(json.contains("up to v1.99, this one is v2.0"), "{json}");
    efuses(
        &room,
        NEW_CHIP,
        &[
            ("WAFER_VERSION_MAJOR", 2),
            ("DISABLE_WAFER_VERSION_MAJOR", 1),
        ],
    );
    room.ok(CHECK);

    // A unary counter: three bits are version 3, which the application has.
    efuses(&room, NEW_CHIP, &[REV_3, ("SECURE_VERSION", 7)]);
    let line = format!("{CHECK} --rollback anti");
    assert_eq!(room.json(&line)["efuses"]["secure_version"], 3);
    efuses(&room, NEW_CHIP, &[REV_3, ("SECURE_VERSION", 15)]);
    let stderr = room.fails(1, &line);
    assert!(stderr.contains("would not boot"), "{stderr}");
    let done = room.run(CHECK);
    assert!(done.stderr.contains("--rollback anti"), "{}", done.stderr);
    room.fails(2, &format!("{line} --efuse-version 3"));

    let mut dump = flash();
    dump[0x11_0000 + 32 + 176] = 101;
    let at = 0x11_0000;
    repair(&mut dump[at..]);
    room.write("flash.bin", &dump);
    let json = room.run(&format!("{CHECK} --json")).stdout;
    assert!(json.contains("needs eFuse block revision v1.1"), "{json}");
}

#[test]
fn segments_that_the_bootloader_would_not_load_are_told() {
    let room = Room::new();
    for (address, word) in [
        (0x2000_0000_u32, "no memory"),
        (0x3FCD_5830, "over the bootloader"),
        (0x3C01_1020, "a page of 0x10000"),
    ] {
        let mut dump = flash();
        for slot in [0x11_0000, 0x21_0000] {
            // The header of segment 1.
            dump[slot + 0x520..slot + 0x524].copy_from_slice(&address.to_le_bytes());
            repair(&mut dump[slot..]);
        }
        room.write("flash.bin", &dump);
        let done = room.run("esp flash-check flash.bin --chip esp32c3 --json");
        assert!(
            done.code == 1 && done.stdout.contains(word),
            "{word}: {}",
            done.stdout
        );
    }
}

/// A flash of an ESP32: digest and bootloader, table, a signed application.
fn v1_flash() -> Vec<u8> {
    let mut flash = vec![0xFF; 4 << 20];
    let app = [
        vector("images/app-esp32-securepad-v1.bin"),
        vector("secureboot/v1-app.signature"),
    ];
    for (offset, bytes) in [
        (0, vector("secureboot/v1-bootloader-digest.bin")),
        (0x8000, vector("partitions/two_ota_factory.bin")),
        (0x1_0000, app.concat()),
    ] {
        flash[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }
    // What the digest leaves out of the bootloader is flashed all the same.
    let bootloader = vector("images/esp32-bootloader.bin");
    flash[0x1000..0x1000 + bootloader.len()].copy_from_slice(&bootloader);
    flash
}

#[test]
fn secure_boot_v1_is_played_with_the_digest_key_and_the_signing_key() {
    let room = Room::new();
    room.write("digest.key", &vector("secureboot/v1-digest.key"));
    room.write("app.pem", &vector("secureboot/v1-ecdsa256-pub.pem"));
    room.write("other.pem", &vector("secureboot/v2-ec256-pub.pem"));
    room.write("rsa.pem", &vector("secureboot/v2-rsa0-pub.pem"));
    room.write("flash.bin", &v1_flash());
    let line = "esp flash-check flash.bin --chip esp32 --sb-v1-key digest.key --sb-key";
    let verdict = room.json(&format!("{line} app.pem"));
    assert_eq!(verdict["boots"], "factory");
    let found = verdict["steps"].to_string();
    assert!(
        found.contains("digest at 0x0 fits") && found.contains("signed (v1)"),
        "{found}"
    );
    let stderr = room.fails(1, &format!("{line} other.pem"));
    assert!(stderr.contains("by another key"), "{stderr}");
    let stderr = room.fails(1, &format!("{line} rsa.pem"));
    assert!(stderr.contains("P-256"), "{stderr}");
    room.write("digest.key", &[7; 32]);
    let stderr = room.fails(1, &format!("{line} app.pem"));
    assert!(stderr.contains("digest at 0x0"), "{stderr}");
    room.write("digest.key", &[7; 24]);
    let stderr = room.fails(1, &format!("{line} app.pem"));
    assert!(stderr.contains("3/4 coding"), "{stderr}");
    let mut dump = v1_flash();
    dump[..0x1000].fill(0xFF);
    room.write("flash.bin", &dump);
    let line = "esp flash-check flash.bin --chip esp32 --sb-scheme v1";
    let stderr = room.fails(1, line);
    assert!(stderr.contains("no digest at 0x0"), "{stderr}");
    room.write("flash.bin", &v1_flash());
    let found = room.json(line)["steps"].to_string();
    assert!(found.contains("not checked"), "{found}");
    room.fails(2, "esp flash-check flash.bin --chip esp32c3 --sb-scheme v1");
}

#[test]
fn an_esp32_is_played_with_its_efuses() {
    let room = Room::new();
    efuses(
        &room,
        "esp32-fe-sb.step0",
        &[("ABS_DONE_0", 1), ("FLASH_CRYPT_CNT", 0)],
    );
    room.write("flash.bin", &v1_flash());
    room.write("app.pem", &vector("secureboot/v1-ecdsa256-pub.pem"));
    let line = "esp flash-check flash.bin --chip esp32 --efuses efuses.json";
    let verdict = room.json(&format!("{line} --sb-key app.pem"));
    assert_eq!(verdict["efuses"]["secure_boot"], "v1");
    assert_eq!(verdict["boots"], "factory");
    // The eFuses say version 1: the other version's check must not take its place.
    let stderr = room.fails(2, &format!("{line} --sb-scheme v2"));
    assert!(stderr.contains("version 1"), "{stderr}");
    efuses(&room, "esp32-fe-sb.step9", &[("FLASH_CRYPT_CNT", 0)]);
    let stderr = room.fails(1, line);
    assert!(stderr.contains("is not signed"), "{stderr}");
}
