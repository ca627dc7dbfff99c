//! Folders for lines without Airseal, and where a run of `esp provision` may stop.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use airseal_esp::Chip;
use airseal_esp::flash_encryption::{DEFAULT_CRYPT_CONFIG, FlashKey};
use airseal_factory::boxes::{self, BoxContext};
use airseal_factory::efuse::EfusePlan;
use airseal_factory::keymap::keymap;
use airseal_factory::prepare::{Prepared, prepare, prepare_files};
use airseal_factory::product::Product;
use airseal_factory::secrets::DeviceSecrets;
use airseal_pack::Error;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::esp::efuse_audit::EfuseState;
use airseal_pack::key::NoPassphrase;
use airseal_pack::open::OpenKey;
use common::ProductFolder;
use common::bench::{Line, bench, serial};

const FIRST: &str = "AL-2648-A-00001";

fn emit(folder: &ProductFolder) -> Result<Prepared, Error> {
    let product = Product::read(&folder.config())?;
    prepare_files(
        &product,
        &folder.path("batch"),
        Some(2),
        true,
        &SystemEntropy,
        &Control::default(),
    )
}

fn secrets(folder: &ProductFolder, serial: &str) -> DeviceSecrets {
    let key = OpenKey::read(&folder.path("line.key"), &NoPassphrase)
        .expect("a key")
        .key;
    let bytes = fs::read(folder.path(&format!("batch/sealed/{serial}.box"))).expect("a box");
    boxes::open(
        BoxContext {
            batch: "2648-A",
            serial,
        },
        &bytes,
        &key,
    )
    .expect("opened")
}

fn device(folder: &ProductFolder) -> PathBuf {
    folder.path(&format!("batch/devices/{FIRST}"))
}

fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().expect("a name"),
                fs::read(entry.path()).expect("a file"),
            )
        })
        .collect()
}

fn decrypt(key: &[u8], address: u32, bytes: &[u8]) -> Vec<u8> {
    let chip = Chip::from_name("esp32c3").expect("a chip");
    let mut plain = bytes.to_vec();
    FlashKey::new(chip, key, DEFAULT_CRYPT_CONFIG)
        .expect("a key")
        .decrypt(address, &mut plain)
        .expect("decrypted");
    plain
}

/// R10: nvs_keys is encrypted with the flash key like all that is marked so; NVS itself is not, it has keys of its own.
#[test]
fn each_region_is_encrypted_at_the_address_in_its_name() {
    let folder = ProductFolder::esp32c3();
    emit(&folder).expect("prepared");
    let secrets = secrets(&folder, FIRST);
    let files = files(&device(&folder));
    let arguments = String::from_utf8(files["flash.args"].clone()).expect("text");
    let regions: Vec<_> = files
        .iter()
        .filter(|(name, _)| name.contains('@'))
        .collect();
    assert_eq!(regions.len(), 6, "{:?}", files.keys());
    for (name, bytes) in regions {
        let (region, address) = name
            .trim_end_matches(".bin")
            .split_once("@0x")
            .expect("an address");
        assert!(
            arguments.contains(&format!("0x{address} {name}")),
            "{arguments}"
        );
        let address = u32::from_str_radix(address, 16).expect("a number");
        let plain = decrypt(&secrets.flash_key, address, bytes);
        match region {
            // NVS is encrypted by itself.
            "fctry" => assert_eq!(*bytes, *secrets.nvs[0].1),
            "nvs_keys" => {
                let keys = airseal_esp::nvs::keys_partition(
                    secrets.nvs_keys.as_slice().try_into().expect("64 bytes"),
                );
                assert_eq!(plain, &keys[..]);
            }
            _ => {
                let common = fs::read(folder.path(&format!("batch/common/{region}.bin")))
                    .expect("a common file");
                assert_eq!(plain.get(..common.len()), Some(&common[..]), "{region}");
                assert!(plain[common.len()..].iter().all(|byte| *byte == 0xFF));
                assert_ne!(bytes.get(..16), common.get(..16), "{region} is plain");
            }
        }
    }
    assert_eq!(files["flash-key.bin"], *secrets.flash_key);
    assert_eq!(files["seed.bin"], *secrets.seed);
    for name in files.keys() {
        let mode = fs::metadata(device(&folder).join(name))
            .expect("a file")
            .permissions()
            .mode()
            & 0o777;
        let public = name == "expect-efuse.json";
        assert!(public || mode & 0o077 == 0, "{name} has mode {mode:o}");
    }
    let mode = fs::metadata(device(&folder))
        .expect("a folder")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn one_file_holds_the_whole_flash_where_it_is_asked_for() {
    let folder = ProductFolder::esp32c3();
    folder.edit("[flash.partitions]", "merged = true\n\n[flash.partitions]");
    let product = Product::read(&folder.config()).expect("a product");
    prepare(
        &product,
        &folder.path("batch"),
        Some(1),
        &SystemEntropy,
        &Control::default(),
    )
    .expect("prepared");
    assert!(!device(&folder).exists(), "boxes alone give no key files");
    let whole = &files(&folder.path("batch/merged"))[&format!("{FIRST}@0x0.bin")];
    assert_eq!(
        keymap(&folder.path("batch")).expect("a map").open_folders,
        0
    );
    assert_eq!(whole.len(), 4 << 20);
    let app = fs::read(folder.path("batch/common/factory.bin")).expect("the app");
    let plain = decrypt(
        &secrets(&folder, FIRST).flash_key,
        0x10000,
        &whole[0x10000..0x10000 + app.len()],
    );
    assert_eq!(plain, app);
}

#[test]
fn a_development_key_goes_into_every_box() {
    let folder = ProductFolder::esp32c3();
    folder.edit(
        "mode = \"release\"",
        "mode = \"development\"\nkey = { file = \"dev.key\" }",
    );
    fs::write(folder.path("dev.key"), [7; 32]).expect("a key");
    emit(&folder).expect("prepared");
    for serial in [FIRST, "AL-2648-A-00002"] {
        assert_eq!(*secrets(&folder, serial).flash_key, [7; 32]);
    }
    assert_eq!(files(&device(&folder))["flash-key.bin"], [7; 32]);
}

#[test]
fn files_of_a_sealed_device_are_refused() {
    let folder = ProductFolder::esp32c3();
    let product = Product::read(&folder.config()).expect("a product");
    prepare(
        &product,
        &folder.path("batch"),
        Some(1),
        &SystemEntropy,
        &Control::default(),
    )
    .expect("boxes");
    let error = emit(&folder).expect_err("sealed").to_string();
    assert!(
        error.contains(FIRST) && error.contains("sealed in a box"),
        "{error}"
    );
}

/// Killed after the box was written and before the folder had its name, and killed before the box.
#[test]
fn a_stop_between_folder_and_box_leaves_one_set_of_keys() {
    let folder = ProductFolder::esp32c3();
    emit(&folder).expect("prepared");
    let (named, staged) = (
        device(&folder),
        folder.path(&format!("batch/devices/.{FIRST}.part")),
    );
    let sealed = folder.path(&format!("batch/sealed/{FIRST}.box"));
    let before = (files(&named), fs::read(&sealed).expect("a box"));

    fs::rename(&named, &staged).expect("as a kill left it");
    assert_eq!(emit(&folder).expect("goes on").made, 0);
    assert!(before == (files(&named), fs::read(&sealed).expect("a box")));

    fs::rename(&named, &staged).expect("as a kill left it");
    fs::remove_file(&sealed).expect("no box yet");
    assert_eq!(emit(&folder).expect("goes on").made, 1);
    assert_eq!(
        files(&named)["flash-key.bin"],
        *secrets(&folder, FIRST).flash_key
    );
    assert_ne!(files(&named)["flash-key.bin"], before.0["flash-key.bin"]);
    assert!(!staged.exists());
}

/// Killed before the box, then run without files: what was staged must not get the name of a device with other keys.
#[test]
fn a_folder_of_a_killed_run_is_not_published_by_a_run_without_files() {
    let folder = ProductFolder::esp32c3();
    emit(&folder).expect("prepared");
    let staged = folder.path(&format!("batch/devices/.{FIRST}.part"));
    fs::rename(device(&folder), &staged).expect("as a kill left it");
    fs::remove_file(folder.path(&format!("batch/sealed/{FIRST}.box"))).expect("no box yet");
    assert_eq!(folder.prepare().expect("goes on").made, 5);
    assert!(!device(&folder).exists(), "keys that are in no box");
    assert!(!staged.exists());
}

#[test]
fn what_a_run_left_before_its_description_is_made_anew() {
    let folder = ProductFolder::esp32c3();
    emit(&folder).expect("prepared");
    let batch = folder.path("batch");
    let error = {
        fs::rename(batch.join("batch.json"), folder.path("kept.json")).expect("moved");
        emit(&folder)
            .expect_err("boxes without a description")
            .to_string()
    };
    assert!(
        error.contains("boxes of devices and no batch.json"),
        "{error}"
    );
    fs::remove_dir_all(batch.join("sealed")).expect("removed");
    fs::write(batch.join("common/factory.bin"), b"half of an older run").expect("a file");
    fs::remove_dir_all(batch.join("devices")).expect("removed");
    emit(&folder).expect("made anew");
    emit(&folder).expect("and sound");
}

#[test]
fn a_changed_or_lost_common_file_is_named() {
    let folder = ProductFolder::esp32c3();
    emit(&folder).expect("prepared");
    let app = folder.path("batch/common/factory.bin");
    let mut bytes = fs::read(&app).expect("the app");
    bytes[100] ^= 1;
    fs::write(&app, bytes).expect("changed");
    let error = emit(&folder).expect_err("changed").to_string();
    assert!(
        error.contains("factory.bin") && error.contains("was changed"),
        "{error}"
    );
    fs::remove_file(&app).expect("removed");
    let error = emit(&folder).expect_err("lost").to_string();
    assert!(error.contains("factory.bin"), "{error}");
}

/// Runs where `AIRSEAL_ESPEFUSE` names the program; `cargo xtask interop` sets it.
#[test]
fn the_scripts_burn_what_the_plan_promises() {
    let Some(espefuse) = common::vendor_tools("AIRSEAL_ESPEFUSE") else {
        return;
    };
    let folder = ProductFolder::esp32c3();
    emit(&folder).expect("prepared");
    let virt = folder.path("efuse.virt");
    let espefuse = format!(
        "{} --virt --path-efuse-file {}",
        espefuse.to_string_lossy(),
        virt.display()
    );
    for script in ["1-burn.sh", "2-lock.sh"] {
        let output = Command::new(device(&folder).join(script))
            .env("ESPEFUSE", &espefuse)
            .output()
            .expect("a shell");
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut words = espefuse.split(' ');
    let output = Command::new(words.next().expect("a program"))
        .args(words)
        .args(["--chip", "esp32c3", "summary", "--format", "json"])
        .output()
        .expect("a summary");
    let state = EfuseState::parse("summary", &output.stdout).expect("a summary");
    let plan = fs::read(folder.path("batch/common/plan.json")).expect("a plan");
    let plan: EfusePlan = serde_json::from_slice(&plan).expect("a plan");
    assert_eq!(plan.differences(&state, true), Vec::<String>::new());
}

/// A chip as `espefuse summary` shows it: blank, or as the plan wants it before or after the lock.
fn shown(folder: &ProductFolder, mac: &str, burned: bool, locked: bool) -> String {
    let plan = fs::read(folder.path("batch/common/plan.json")).expect("a plan");
    let plan: EfusePlan = serde_json::from_slice(&plan).expect("a plan");
    let mut fields = std::collections::BTreeMap::new();
    for want in &plan.expect {
        let late = want.field == "ENABLE_SECURITY_DOWNLOAD";
        let done = burned && (locked || !late);
        let field = fields
            .entry(want.field.clone())
            .or_insert(serde_json::json!({
                "raw_value": "0x0", "readable": true, "value": "USER", "writeable": true,
            }));
        if done && let Some(value) = want.value {
            field["raw_value"] = format!("{value:#04x}").into();
        }
        if done && let Some(shown) = &want.shown {
            field["value"] = shown.as_str().into();
        }
        if done && let Some(readable) = want.readable {
            field["readable"] = readable.into();
        }
        if done && let Some(writeable) = want.writeable {
            field["writeable"] = writeable.into();
        }
    }
    fields.insert(
        "MAC".to_owned(),
        serde_json::json!({ "value": format!("{mac} (OK)") }),
    );
    let mut text = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    serde::Serialize::serialize(
        &fields,
        &mut serde_json::Serializer::with_formatter(&mut text, form),
    )
    .expect("a summary");
    format!(
        "espefuse v5.6.0\n{}\n",
        String::from_utf8(text).expect("text")
    )
}

/// A stand-in for espefuse: a folder is the chip, a file in it decides how a burning ends.
struct Chips<'f> {
    folder: &'f ProductFolder,
    tool: PathBuf,
}

impl<'f> Chips<'f> {
    fn new(folder: &'f ProductFolder) -> Chips<'f> {
        let tool = folder.path("espefuse");
        let program = "#!/bin/sh\ncase \"$*\" in\n*summary*) cat \"$CHIP/now\";;\n\
             *) echo burned >>\"$CHIP/log\"; [ ! -e \"$CHIP/cut\" ] || exit 1; \
             cp \"$CHIP/next\" \"$CHIP/now\"; [ ! -e \"$CHIP/late\" ];;\nesac\n";
        fs::write(&tool, program).expect("a tool");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("a tool");
        Chips { folder, tool }
    }

    fn chip(&self, number: u8) -> PathBuf {
        let chip = self.folder.path(&format!("chip{number}"));
        fs::create_dir(&chip).expect("a chip");
        self.shows(&chip, number, "now", false, false);
        self.shows(&chip, number, "next", true, false);
        chip
    }

    fn shows(&self, chip: &Path, number: u8, when: &str, burned: bool, locked: bool) {
        let mac = format!("02:00:00:00:00:0{number}");
        fs::write(chip.join(when), shown(self.folder, &mac, burned, locked)).expect("a summary");
    }

    fn run(&self, script: &str, chip: &Path) -> (bool, String) {
        let output = Command::new(device(self.folder).join(script))
            .env("ESPEFUSE", &self.tool)
            .env("CHIP", chip)
            .output()
            .expect("a shell");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    fn burned(chip: &Path) -> usize {
        let log = fs::read_to_string(chip.join("log")).unwrap_or_default();
        log.lines().count()
    }
}

/// The scripts ask the chip who it is: the keys of one device go into one chip.
#[test]
fn the_scripts_refuse_a_second_chip_and_a_lock_without_keys() {
    let folder = ProductFolder::esp32c3();
    emit(&folder).expect("prepared");
    let chips = Chips::new(&folder);
    let (one, two) = (chips.chip(1), chips.chip(2));
    let (ok, why) = chips.run("2-lock.sh", &one);
    assert!(!ok && why.contains("1-burn.sh did not end well"), "{why}");
    let (ok, why) = chips.run("1-burn.sh", &one);
    assert!(
        ok && why.contains("is burned on 02:00:00:00:00:01"),
        "{why}"
    );
    let (ok, why) = chips.run("1-burn.sh", &two);
    assert!(!ok && why.contains("no second one"), "{why}");
    assert!(!chips.run("2-lock.sh", &two).0);
    assert_eq!(Chips::burned(&two), 0);
    chips.shows(&one, 1, "next", true, true);
    assert!(chips.run("2-lock.sh", &one).0);
    assert_eq!(Chips::burned(&one), 2);
    assert!(chips.run("2-lock.sh", &one).0, "a second time");
    assert_eq!(Chips::burned(&one), 2);
}

/// A used chip on the bench must not take the keys of a device with it.
#[test]
fn the_scripts_bind_no_chip_that_is_not_blank() {
    let folder = ProductFolder::esp32c3();
    emit(&folder).expect("prepared");
    let chips = Chips::new(&folder);
    let (used, blank) = (chips.chip(1), chips.chip(2));
    chips.shows(&used, 1, "now", true, false);
    let (ok, why) = chips.run("1-burn.sh", &used);
    assert!(
        !ok && why.contains("is not blank") && why.contains("BLOCK_KEY0"),
        "{why}"
    );
    // A supplier's digest, in a block that the plan leaves alone.
    let supplied = chips.chip(3);
    let now = fs::read_to_string(supplied.join("now")).expect("a summary");
    let digest = "    \"KEY_PURPOSE_5\": {\n        \"raw_value\": \"0xb\",\n        \"readable\": true,\n        \
         \"value\": \"SECURE_BOOT_DIGEST2\",\n        \"writeable\": false\n    },\n    \"MAC\"";
    fs::write(supplied.join("now"), now.replace("    \"MAC\"", digest)).expect("a summary");
    let (ok, why) = chips.run("1-burn.sh", &supplied);
    assert!(!ok && why.contains("KEY_PURPOSE_5"), "{why}");
    assert!(!device(&folder).join("burn.mac").exists());
    assert!(chips.run("1-burn.sh", &blank).0);
    assert_eq!((Chips::burned(&used), Chips::burned(&blank)), (0, 1));
}

#[test]
fn the_scripts_go_on_after_a_cut_and_lock_nothing_that_differs() {
    let folder = ProductFolder::esp32c3();
    emit(&folder).expect("prepared");
    let chips = Chips::new(&folder);
    let chip = chips.chip(1);
    fs::write(chip.join("cut"), "").expect("a cut before anything is burned");
    let (ok, why) = chips.run("1-burn.sh", &chip);
    assert!(!ok && why.contains("Never force"), "{why}");
    fs::remove_file(chip.join("cut")).expect("mended");
    fs::write(chip.join("late"), "").expect("a cut after everything was burned");
    assert!(!chips.run("1-burn.sh", &chip).0);
    let calls = Chips::burned(&chip);
    let (ok, why) = chips.run("1-burn.sh", &chip);
    assert!(ok && why.contains("is burned"), "{why}");
    assert_eq!(Chips::burned(&chip), calls, "nothing is burned twice");

    let whole = fs::read_to_string(chip.join("now")).expect("a summary");
    let other = whole.replacen("XTS_AES_128_KEY", "USER", 1);
    assert_ne!(whole, other);
    fs::write(chip.join("now"), other).expect("a summary");
    let (ok, why) = chips.run("2-lock.sh", &chip);
    assert!(!ok && why.contains("KEY_PURPOSE_0: shows USER"), "{why}");
    assert_eq!(Chips::burned(&chip), calls);
}

#[test]
fn a_serial_whose_files_went_out_is_not_taken_at_the_line_and_keeps_its_box() {
    let Some(line) = Line::new() else { return };
    fs::create_dir_all(line.batch().join("devices").join(serial(1))).expect("a folder");
    let mut board = line.board(1);
    let mut station = line.station();
    assert_eq!(station.next_serial(), Some(serial(2)));
    let error = station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect_err("its keys are out")
        .to_string();
    assert!(error.contains("devices/"), "{error}");
    assert_eq!(station.close(true).expect("closed").unused_removed, 5);
    assert!(
        line.batch()
            .join("sealed")
            .join(format!("{}.box", serial(1)))
            .exists()
    );
}

#[test]
fn a_simulated_chip_is_for_its_owner_alone() {
    let Some(line) = Line::new() else { return };
    drop(line.board(1));
    let folder = line.product.path("board1");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("mac"))), (0o700, 0o600));
}

#[test]
fn a_lost_box_of_a_device_whose_files_went_out_gets_no_new_keys() {
    let folder = ProductFolder::esp32c3();
    emit(&folder).expect("prepared");
    let before = files(&device(&folder));
    fs::remove_file(folder.path(&format!("batch/sealed/{FIRST}.box"))).expect("removed");
    let error = emit(&folder).expect_err("lost").to_string();
    assert!(error.contains("is lost"), "{error}");
    assert_eq!(files(&device(&folder)), before);
}
