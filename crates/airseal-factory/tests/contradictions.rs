//! Settings that are each right and end badly together: found by `esp provision --check`, not by a burned chip.

mod common;

use std::fs;

use airseal_factory::batch::Description;
use airseal_factory::keymap::keymap;
use airseal_factory::product::Product;
use common::{ProductFolder, refused, vectors};

const SEED: &str = "seed,data,hex2bin,{seed}\n";

fn add_field(folder: &ProductFolder, row: &str) {
    let path = folder.path("fctry.csv");
    let fields = fs::read_to_string(&path).expect("fields");
    fs::write(&path, format!("{fields}{row}")).expect("fields");
}

fn without_claim(folder: &ProductFolder) {
    let path = folder.path("fctry.csv");
    let fields = fs::read_to_string(&path).expect("fields");
    fs::write(&path, fields.replace("claim,data,string,{claim}\n", "")).expect("fields");
}

fn seed_in_nvs(folder: &ProductFolder) {
    folder.edit("source = \"efuse-hmac\"", "source = \"nvs\"");
    folder.edit("encrypt = \"hmac\"", "encrypt = \"keys\"");
}

fn warnings(folder: &ProductFolder) -> String {
    let product = Product::read(&folder.config()).expect("a product");
    product.warnings.join("\n")
}

#[test]
fn a_seed_in_nvs_that_no_field_holds_is_refused() {
    let folder = ProductFolder::esp32c3();
    seed_in_nvs(&folder);
    refused(&folder, &["device_key.source", "no field", "{seed}"]);
    add_field(&folder, SEED);
    folder.prepare().expect("prepared");
}

#[test]
fn a_seed_in_two_partitions_is_refused() {
    let folder = ProductFolder::esp32c3();
    seed_in_nvs(&folder);
    add_field(&folder, SEED);
    folder.edit(
        "fctry = \"nvs:fctry\"",
        "fctry = \"nvs:fctry\"\nnvs = \"nvs:fctry\"",
    );
    refused(&folder, &["device_key.source", "nvs and fctry"]);
}

#[test]
fn a_seed_or_claim_in_plain_nvs_is_refused() {
    for source in ["nvs", "efuse-hmac"] {
        let folder = ProductFolder::esp32c3();
        folder.edit("source = \"efuse-hmac\"", &format!("source = {source:?}"));
        folder.edit("encrypt = \"hmac\"", "encrypt = \"none\"");
        if source == "nvs" {
            without_claim(&folder);
            add_field(&folder, SEED);
            refused(&folder, &["nvs.fctry.encrypt", "is none", "{seed}"]);
        } else {
            refused(&folder, &["nvs.fctry.encrypt", "is none", "{claim}"]);
        }
    }
}

#[test]
fn a_seed_under_keys_that_lie_in_plain_flash_is_refused() {
    let off = ("mode = \"release\"", "mode = \"off\"");
    let folder = ProductFolder::esp32c3();
    seed_in_nvs(&folder);
    add_field(&folder, SEED);
    folder.edit(off.0, off.1);
    refused(&folder, &["nvs.fctry.encrypt", "plain flash"]);
}

#[test]
fn a_seed_of_efuses_or_of_no_device_does_not_go_into_nvs() {
    for source in ["efuse-hmac", "none"] {
        let folder = ProductFolder::esp32c3();
        folder.edit("source = \"efuse-hmac\"", &format!("source = {source:?}"));
        folder.edit("encrypt = \"hmac\"", "encrypt = \"keys\"");
        add_field(&folder, SEED);
        refused(&folder, &["nvs.fctry.fields", "{seed}", source]);
    }
}

#[test]
fn the_keymap_names_the_partition_of_the_seed_and_what_hides_it() {
    let folder = ProductFolder::esp32c3();
    seed_in_nvs(&folder);
    add_field(&folder, SEED);
    folder.prepare().expect("prepared");
    let map = keymap(&folder.path("batch")).expect("a map");
    let seed = map.keys.iter().find(|place| place.key == "device seed");
    let device = &seed.expect("a seed").device;
    assert_eq!(
        device,
        "flash, fctry at 0x2e0000: NVS encrypted with the NVS keys (below)"
    );
    let description = Description::read(&folder.path("batch")).expect("a description");
    assert_eq!(description.seed_row.as_deref(), Some("fctry"));
}

#[test]
fn a_version_that_the_firmware_can_not_print_is_refused() {
    let long = "1".repeat(33);
    for version in ["1.0.0 rc1", "", "\\n\\r", "ü", &long] {
        let folder = ProductFolder::esp32c3();
        folder.edit("version = \"1.0.0\"", &format!("version = \"{version}\""));
        refused(&folder, &["release.version", "one word"]);
    }
}

#[test]
fn versions_of_image_and_configuration_are_compared() {
    let folder = ProductFolder::esp32c3();
    let found = warnings(&folder);
    assert!(found.contains("release.version is 1.0.0"), "{found}");
    assert!(found.contains("release.security_version is 0"), "{found}");
    folder.edit("seq = 1", "seq = 1\nsecurity_version = 3");
    assert!(!warnings(&folder).contains("security_version"));
    folder.edit("security_version = 3", "security_version = 4");
    refused(
        &folder,
        &["release.security_version", "app.bin", "secure version 3"],
    );
}

#[test]
fn efuses_that_start_no_image_are_refused() {
    let folder = ProductFolder::esp32c3();
    folder.edit("[keys]", "[efuse]\nsecure_version = 4\n\n[keys]");
    refused(
        &folder,
        &["efuse.secure_version", "app.bin", "secure version 3"],
    );
}

#[test]
fn efuses_that_the_bootloader_would_raise_at_the_line_are_refused() {
    let folder = ProductFolder::esp32c3();
    folder.edit("[keys]", "[efuse]\nsecure_version = 1\n\n[keys]");
    refused(
        &folder,
        &["efuse.secure_version", "burn the rest", "write 3, or 0"],
    );
}

#[test]
fn an_original_esp32_before_revision_3_is_refused_where_it_would_stay_open() {
    for (boot, download) in [(true, "open"), (false, "off")] {
        let folder = ProductFolder::esp32c3();
        for (from, to) in [
            ("esp32-bootloader.bin", "bootloader.bin"),
            ("app-esp32.bin", "app.bin"),
        ] {
            fs::copy(vectors().join("images").join(from), folder.path(to)).expect(from);
        }
        folder.edit("family = \"esp32c3\"", "family = \"esp32\"");
        folder.edit("min_revision = 3", "min_revision = 299");
        folder.edit(
            "[keys]",
            &format!("[efuse]\ndownload = {download:?}\n\n[keys]"),
        );
        if !boot {
            folder.edit("scheme = \"v2-rsa\"", "scheme = \"off\"");
        }
        refused(&folder, &["chip.min_revision", "revision 3.0", "write 300"]);
    }
}

/// The application was built for a page size that the bootloader does not set: it lies where no address of it can be mapped.
#[test]
fn an_image_that_would_not_start_is_refused() {
    let folder = ProductFolder::esp32c3();
    for (from, to) in [
        ("esp32c6-bootloader.bin", "bootloader.bin"),
        ("app-esp32c6-mmu.bin", "app.bin"),
    ] {
        fs::copy(vectors().join("images").join(from), folder.path(to)).expect(from);
    }
    folder.edit("family = \"esp32c3\"", "family = \"esp32c6\"");
    refused(&folder, &["flash", "nothing would start", "segment"]);
}

#[test]
fn slots_that_no_update_fits_are_refused_or_told() {
    let folder = ProductFolder::esp32c3();
    let table = fs::read_to_string(folder.path("partitions.csv")).expect("a table");
    let small = table
        .replace("0x100000,0xf0000", "0x100000,0x10000")
        .replace("0x1f0000,0xf0000", "0x1f0000,0x10000");
    fs::write(folder.path("partitions.csv"), small).expect("a table");
    refused(&folder, &["flash.partition_table", "ota_0", "no update"]);

    let rows = table.lines().filter(|line| !line.starts_with("ota_"));
    let without: String = rows.map(|line| format!("{line}\n")).collect();
    fs::write(folder.path("partitions.csv"), without).expect("a table");
    assert!(warnings(&folder).contains("no slot for an update"));
}

#[test]
fn doors_that_stay_open_are_told() {
    let folder = ProductFolder::esp32c3();
    folder.edit(
        "[keys]",
        "[efuse]\ndownload = \"open\"\njtag = \"open\"\n\n[keys]",
    );
    let told = warnings(&folder);
    assert!(told.contains("efuse.download is open"), "{told}");
    assert!(told.contains("efuse.jtag is open"), "{told}");
    folder.prepare().expect("prepared");
    assert_eq!(
        keymap(&folder.path("batch"))
            .expect("a map")
            .open_doors
            .len(),
        2
    );
}

#[test]
fn remedies_are_settings_and_no_options_of_other_commands() {
    let folder = ProductFolder::esp32c3();
    folder.edit("flash_size = \"4MB\"", "flash_size = \"2MB\"");
    refused(&folder, &["flash.partition_table"]);
    let error = Product::read(&folder.config()).err().expect("refused");
    assert!(
        error.remedy().contains("chip.flash_size") && !error.to_string().contains("--flash-size"),
        "{error}"
    );

    let folder = ProductFolder::esp32c3();
    let app = fs::read(folder.path("app.bin")).expect("the application");
    fs::write(folder.path("app.bin"), &app[..app.len() / 2]).expect("cut");
    refused(&folder, &["flash.partitions.factory"]);
    let error = Product::read(&folder.config()).err().expect("refused");
    assert!(!error.remedy().contains("--"), "{}", error.remedy());

    for (file, setting) in [
        ("sb0.pem", "secure_boot.sign"),
        ("sb1.pub.pem", "secure_boot.digests"),
        ("bootloader.bin", "flash.bootloader"),
        ("line.pub", "keys.at_rest"),
        ("fctry.csv", "nvs.fctry.fields"),
        ("values.csv", "nvs.fctry.fields or values"),
    ] {
        let folder = ProductFolder::esp32c3();
        fs::remove_file(folder.path(file)).expect(file);
        refused(&folder, &[setting, file]);
    }
}
