//! Flashes that somebody else wrote, played as a chip boots: what it would not start must not be said to start.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::Chip;
use airseal_esp::nvs::NvsKey;
use airseal_esp::partition::{DEFAULT_TABLE_OFFSET, PartitionTable};
use airseal_pack::esp::boot_key::BootPublicKey;
use airseal_pack::esp::chip_state::ChipState;
use airseal_pack::esp::efuse_audit::EfuseState;
use airseal_pack::esp::flash_check::{FlashCheck, RollbackKind, Verdict};
use airseal_pack::esp::nvs::derive_keys;
use airseal_pack::esp::signatures::BootKeys;
use airseal_pack::source::Source;

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/../../vectors/esp/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

fn put(flash: &mut [u8], offset: usize, bytes: &[u8]) {
    flash[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// An ESP32-C3 with this table and an application at each of these places.
fn flash(table: &str, apps: &[usize]) -> Vec<u8> {
    let mut flash = vec![0xFF; 4 << 20];
    let table = PartitionTable::from_csv(table, DEFAULT_TABLE_OFFSET).unwrap();
    put(&mut flash, 0, &vector("images/esp32c3-bootloader.bin"));
    put(&mut flash, 0x8000, &table.to_binary(true).unwrap());
    for offset in apps {
        put(&mut flash, *offset, &vector("images/app.bin"));
    }
    flash
}

fn check<'a>(chip: &str, efuses: Option<&'a ChipState>) -> FlashCheck<'a> {
    FlashCheck {
        chip: Chip::from_name(chip).unwrap(),
        efuses,
        cipher: None,
        table_offset: DEFAULT_TABLE_OFFSET,
        rollback: RollbackKind::Off,
        signatures: None,
        nvs_key: None,
    }
}

fn play(check: &FlashCheck<'_>, flash: &[u8]) -> Verdict {
    let source = Source::spool("flash.bin", &mut { flash }).unwrap();
    check.run(&source).unwrap()
}

fn warns(verdict: &Verdict, word: &str) -> bool {
    verdict.warnings.iter().any(|text| text.contains(word))
}

#[test]
fn without_otadata_the_slots_come_after_the_factory_application() {
    let table = "nvs,data,nvs,,0x4000\na,app,ota_0,,1M\nb,app,ota_1,,1M";
    let verdict = play(&check("esp32c3", None), &flash(table, &[0x11_0000]));
    assert_eq!(verdict.boots.as_deref(), Some("ota_1"));
    assert!(warns(&verdict, "no otadata partition"));
}

#[test]
fn of_two_rows_for_one_slot_the_last_one_is_played() {
    let table = "o,data,ota,,0x2000\na,app,ota_0,0x10000,1M\nb,app,ota_0,0x110000,1M";
    let first = play(&check("esp32c3", None), &flash(table, &[0x1_0000]));
    assert_eq!(first.boots, None, "the bootloader never looks there");
    let second = play(&check("esp32c3", None), &flash(table, &[0x11_0000]));
    assert_eq!(second.boots.as_deref(), Some("ota_0"));
    assert!(warns(&second, "same slot"));
}

#[test]
fn anti_rollback_finds_no_version_without_a_descriptor() {
    let table = "o,data,ota,,0x2000\nf,app,factory,0x10000,1M\na,app,ota_0,,1M";
    let mut bare = flash(table, &[0x1_0000]);
    bare[0x1_0020] ^= 1;
    // The checksum is an exclusive or, the hash is left out.
    let end = 0x1_0000 + usize::try_from(image_len()).unwrap();
    bare[end - 33] ^= 1;
    bare[0x1_0000 + 23] = 0;
    assert_eq!(
        play(&check("esp32c3", None), &bare).boots.as_deref(),
        Some("factory")
    );
    let anti = FlashCheck {
        rollback: RollbackKind::Anti(0),
        ..check("esp32c3", None)
    };
    let verdict = play(&anti, &bare);
    assert_eq!(verdict.boots, None);
    assert!(
        verdict
            .reason
            .unwrap()
            .contains("no application descriptor")
    );
}

fn image_len() -> u64 {
    let image = vector("images/app.bin");
    airseal_esp::Image::parse(&mut &image[..]).unwrap().len
}

#[test]
fn a_header_that_says_less_flash_than_the_table_needs_is_said() {
    let table = "o,data,ota,,0x2000\na,app,ota_0,0x10000,1M\nb,app,ota_1,0x110000,1M";
    let mut dump = flash(table, &[0x1_0000]);
    assert_eq!(dump[3] >> 4, 1, "2 MiB");
    assert!(warns(&play(&check("esp32c3", None), &dump), "spi_size"));
    dump[3] = 0x2F;
    assert!(!warns(&play(&check("esp32c3", None), &dump), "spi_size"));
}

/// The eFuses of an ESP32 with secure boot version 1, and nothing to check signatures with.
#[test]
fn secure_boot_version_1_in_the_efuses_is_never_taken_as_off() {
    let mut summary: serde_json::Value =
        serde_json::from_slice(&vector("efuse/esp32-fe-sb.step0.json")).unwrap();
    summary["ABS_DONE_0"]["raw_value"] = "0x1".into();
    let chip = Chip::from_name("esp32").unwrap();
    let state = EfuseState::parse("s.json", summary.to_string().as_bytes()).unwrap();
    let state = ChipState::of(chip, &state).unwrap();
    let mut dump = vec![0xFF; 4 << 20];
    put(&mut dump, 0, &vector("secureboot/v1-bootloader-digest.bin"));
    put(&mut dump, 0x1000, &vector("images/esp32-bootloader.bin"));
    put(&mut dump, 0x8000, &vector("partitions/two_ota_factory.bin"));
    let app = vector("images/app-esp32-securepad-v1.bin");
    put(&mut dump, 0x1_0000, &app);
    let verdict = play(&check("esp32", Some(&state)), &dump);
    assert!(warns(&verdict, "no signature is checked here"));
    let said = verdict.steps.iter().map(|step| step.found.as_str());
    assert_eq!(
        said.filter(|found| found.contains("not checked")).count(),
        2
    );
    dump[..0x1000].fill(0xFF);
    let verdict = play(&check("esp32", Some(&state)), &dump);
    assert!(verdict.reason.unwrap().contains("no digest at 0x0"));
}

const WITH_NVS: &str = "n,data,nvs,0x9000,0x4000\nk,data,nvs_keys,0xf000,0x1000,encrypted\nf,app,factory,0x10000,1M\no,app,ota_0,0x110000,1M";

#[test]
fn damage_that_stops_no_boot_is_a_warning() {
    let mut dump = flash(WITH_NVS, &[0x1_0000, 0x11_0000]);
    put(&mut dump, 0x9000, &vector("nvs/types_keys.bin"));
    put(&mut dump, 0xF000, &vector("nvs/keys.bin"));
    let check = check("esp32c3", None);
    let about = |dump: &[u8]| {
        let verdict = play(&check, dump);
        assert_eq!(verdict.boots.as_deref(), Some("factory"));
        assert_eq!(verdict.reason, None);
        let warnings = verdict.warnings.into_iter();
        let warnings =
            warnings.filter(|text| !text.contains("otadata") && !text.contains("spi_size"));
        warnings.collect::<Vec<_>>()
    };
    assert_eq!(about(&dump), Vec::<String>::new());
    for (place, words) in [
        (0xF000, "k at 0xf000: the CRC"),
        (0x9050, "n at 0x9000: "),
        (0x9000 + 4, "n at 0x9000: "),
        (0x11_0100, "ota_0 (o) at 0x110000: "),
    ] {
        dump[place] ^= 1;
        let said = about(&dump);
        assert!(
            said.iter().any(|text| text.contains(words)),
            "{place:#x}: {said:?}"
        );
        dump[place] ^= 1;
    }
}

#[test]
fn nvs_is_looked_into_with_the_key_in_the_efuses() {
    let mut dump = flash(WITH_NVS, &[0x1_0000]);
    put(&mut dump, 0x9000, &vector("nvs/files_hmac.bin"));
    let key = <[u8; 32]>::try_from(vector("nvs/hmac.key")).unwrap();
    let key = NvsKey::new(&derive_keys(&key)).unwrap();
    let without = check("esp32c3", None);
    let with = FlashCheck {
        nvs_key: Some(&key),
        ..check("esp32c3", None)
    };
    let found = |check: &FlashCheck<'_>, dump: &[u8]| {
        let mut steps = play(check, dump).steps.into_iter();
        let step = steps.find(|step| step.part == "n").unwrap();
        (step.ok, step.found)
    };
    assert!(found(&without, &dump).1.contains("keys that are not here"));
    let (ok, pairs) = found(&with, &dump);
    assert!(ok && pairs.starts_with("NVS, keys: "), "{pairs}");
    dump[0x9000 + 64 + 40] ^= 1;
    assert!(!found(&with, &dump).0);
}

/// Image, padding, signature block: whatever byte is another one, nothing starts.
#[test]
fn no_changed_byte_of_a_signed_flash_boots() {
    let table = "o,data,ota,0xd000,0x2000\na,app,ota_0,0x10000,192K";
    let bootloader = vector("secureboot/v2-rsa0-bootloader.signed");
    let app = vector("secureboot/v2-rsa0-app.signed");
    let mut dump = flash(table, &[]);
    dump.truncate(0x4_0000);
    put(&mut dump, 0, &bootloader);
    put(&mut dump, 0x1_0000, &app);
    let path = format!(
        "{}/../../vectors/esp/secureboot/v2-rsa0-pub.pem",
        env!("CARGO_MANIFEST_DIR")
    );
    let keys = BootKeys(vec![BootPublicKey::read(path.as_ref()).unwrap()]);
    let signed = FlashCheck {
        signatures: Some(&keys),
        ..check("esp32c3", None)
    };
    assert_eq!(play(&signed, &dump).boots.as_deref(), Some("ota_0"));
    // Behind the CRC of the block 16 bytes are unused.
    let covered = |file: &[u8]| file.len() - 4096 + 1200;
    let places = (0..covered(&bootloader)).chain(0x1_0000..0x1_0000 + covered(&app));
    for place in places.step_by(211) {
        dump[place] ^= 0x10;
        assert_eq!(play(&signed, &dump).boots, None, "byte {place:#x}");
        dump[place] ^= 0x10;
    }
}
