//! What `esp provision` refuses, each by the name of the setting and with what to do, before anything is made.

mod common;

use std::fs;

use airseal_esp::Chip;
use airseal_factory::batch::BatchFolder;
use airseal_factory::batch::Description;
use airseal_factory::check::check;
use airseal_factory::config::{BootScheme, Download, EncryptionMode, Jtag, SeedSource};
use airseal_factory::efuse::{EfusePlan, EfuseWish};
use airseal_factory::prepare::prepare;
use airseal_factory::product::Product;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::key::{DevicePublicKey, PublicKey, public_to_pem};
use common::{ProductFolder, refused};

fn accepted(folder: &ProductFolder) {
    let product = Product::read(&folder.config()).expect("a product");
    check(&product, None).expect("checked");
}

#[test]
fn unknown_keys_are_refused_with_their_line() {
    for (from, to, line) in [
        ("hw_rev = 3", "hw_rev = 3\ncolour = 1", "line 6"),
        (
            "mode = \"release\"",
            "mode = \"release\"\nbit = 128",
            "line 25",
        ),
        (
            "at_rest = [\"line.pub\"]",
            "at_rest = [\"line.pub\"]\nat_work = 1",
            "at_work",
        ),
    ] {
        let folder = ProductFolder::esp32c3();
        folder.edit(from, to);
        refused(&folder, &["acme.toml", line, "unknown field"]);
    }
}

#[test]
fn a_partition_that_is_not_in_the_table_is_refused() {
    let folder = ProductFolder::esp32c3();
    folder.edit("fctry = \"nvs:fctry\"", "factry = \"nvs:fctry\"");
    refused(
        &folder,
        &[
            "flash.partitions.factry",
            "not in the partition table",
            "fctry",
        ],
    );
}

#[test]
fn rows_whose_names_can_not_be_those_of_files_get_no_content() {
    for name in [
        "../../x",
        "a/b",
        "a b",
        ".x",
        "-x",
        "digest0",
        "bootloader",
        "partition-table",
    ] {
        let folder = ProductFolder::esp32c3();
        let table = fs::read_to_string(folder.path("partitions.csv")).expect("a table");
        let table = table.replace("fctry,data", &format!("{name},data"));
        fs::write(folder.path("partitions.csv"), table).expect("a table");
        folder.edit(
            "fctry = \"nvs:fctry\"",
            &format!("{name:?} = \"nvs:fctry\""),
        );
        refused(&folder, &["flash.partitions", "can't name a file"]);
    }
}

#[test]
fn a_description_whose_names_lead_elsewhere_is_refused() {
    let folder = ProductFolder::esp32c3();
    let product = Product::read(&folder.config()).expect("a product");
    let out = folder.path("batch");
    prepare(&product, &out, Some(1), &SystemEntropy, &Control::default()).expect("prepared");
    let text = fs::read_to_string(out.join("batch.json")).expect("a description");
    for (from, to) in [
        ("\"name\": \"factory\"", "\"name\": \"../factory\""),
        ("\"file\": \"factory.bin\"", "\"file\": \"../factory.bin\""),
        ("\"AL-2648-A-00002\"", "\"../AL-2648-A-00002\""),
        ("\"batch\": \"2648-A\"", "\"batch\": \"../2648-A\""),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(out.join("batch.json"), text.replace(from, to)).expect("written");
        let error = Description::read(&out).expect_err(to).to_string();
        assert!(error.contains("can't be that of a file"), "{error}");
    }
}

#[test]
fn blank_otadata_without_a_factory_row_is_refused() {
    let folder = ProductFolder::esp32c3();
    let table = fs::read_to_string(folder.path("partitions.csv")).expect("a table");
    let table: String = table
        .lines()
        .filter(|line| !line.starts_with("factory"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(folder.path("partitions.csv"), table).expect("a table");
    folder.edit("factory = \"app.bin\"", "ota_0 = \"app.bin\"");
    refused(
        &folder,
        &["flash.partitions.otadata", "no factory row", "ota_0"],
    );
    folder.edit("otadata = \"blank\"", "otadata = \"ota_0\"");
    accepted(&folder);
}

#[test]
fn a_signed_bootloader_that_reaches_the_table_is_refused() {
    let folder = ProductFolder::esp32c3();
    folder.edit(
        "partition_table_offset = 0x8000",
        "partition_table_offset = 0x6000",
    );
    refused(
        &folder,
        &[
            "bootloader.bin",
            "with its signature",
            "reaches the partition table at 0x6000",
            "PARTITION_TABLE_OFFSET",
        ],
    );
    // Without its signature it ends before the table.
    folder.edit(
        "scheme = \"v2-rsa\"\nsign = [\"sb0.pem\"]\ndigests = [\"sb0.pub.pem\", \"sb1.pub.pem\"]",
        "scheme = \"off\"",
    );
    accepted(&folder);
}

#[test]
fn an_app_larger_than_its_slot_less_the_record_area_is_refused() {
    let folder = ProductFolder::esp32c3();
    let product = Product::read(&folder.config()).expect("a product");
    let airseal_factory::product::Content::Common(app) =
        &product.region("factory").expect("the row").content
    else {
        panic!("an app is common to all devices");
    };
    let len = app.len();
    let with_slot = |slot: usize| {
        let table = format!(
            "otadata,data,ota,0xd000,0x2000\nnvs_keys,data,nvs_keys,0xf000,0x1000,encrypted\nfactory,app,factory,0x10000,{len:#x}\n\
             ota_0,app,ota_0,0x100000,{slot:#x}\nfctry,data,nvs,0x2e0000,0x4000\n"
        );
        fs::write(folder.path("partitions.csv"), table).expect("a table");
    };
    folder.edit(
        "factory = \"app.bin\"",
        "factory = \"app.bin\"\nota_0 = \"app.bin\"",
    );
    with_slot(len + 0x2000);
    accepted(&folder);
    with_slot(len + 0x1000);
    refused(
        &folder,
        &[
            "app.bin",
            "with its signature",
            "ota_0 holds",
            "record area",
        ],
    );
}

#[test]
fn serials_that_are_printed_twice_or_too_few_are_refused() {
    let folder = ProductFolder::esp32c3();
    folder.edit(
        "serial = \"AL-{batch}-{n:05}\"",
        "serials = \"serials.csv\"",
    );
    fs::write(
        folder.path("serials.csv"),
        "serial\nA1\nA2\nA3\nA2\nA4\nA5\n",
    )
    .expect("serials");
    refused(
        &folder,
        &["batch.serials", "serial A2 is there twice", "number 4"],
    );
    fs::write(folder.path("serials.csv"), "A1\nA2\n").expect("serials");
    refused(&folder, &["batch.serials", "gives 2 serials", "want 6"]);
}

#[test]
fn doubled_and_missing_rows_of_values_are_refused_by_the_check_too() {
    let folder = ProductFolder::esp32c3();
    let values = fs::read_to_string(folder.path("values.csv")).expect("values");
    fs::write(
        folder.path("values.csv"),
        format!("{values}AL-2648-A-00002,x\n"),
    )
    .expect("values");
    refused(
        &folder,
        &["values.csv", "line 8", "AL-2648-A-00002 is there twice"],
    );
    fs::write(
        folder.path("values.csv"),
        values.replace("AL-2648-A-00006", "AL-9"),
    )
    .expect("values");
    refused(
        &folder,
        &[
            "values.csv",
            "no row for serial AL-2648-A-00006",
            "spares included",
        ],
    );
}

#[test]
fn a_value_of_one_device_that_does_not_fit_is_found_before_any_box() {
    let folder = ProductFolder::esp32c3();
    let values = fs::read_to_string(folder.path("values.csv")).expect("values");
    fs::write(
        folder.path("values.csv"),
        values.replace("calibration-5", &"long".repeat(1100)),
    )
    .expect("values");
    refused(&folder, &["fctry.csv", "serial AL-2648-A-00005"]);
}

#[test]
fn a_recipient_that_can_not_be_read_back_is_refused() {
    let zero = public_to_pem(&PublicKey::Device(DevicePublicKey::X25519([0; 32])));
    for (content, words) in [
        (None, "line-b.pub"),
        (Some("no key at all"), "line-b.pub"),
        (Some(zero.as_str()), "line-b.pub"),
    ] {
        let folder = ProductFolder::esp32c3();
        folder.edit(
            "at_rest = [\"line.pub\"]",
            "at_rest = [\"line.pub\", \"line-b.pub\"]",
        );
        if let Some(content) = content {
            fs::write(folder.path("line-b.pub"), content).expect("a file");
        }
        refused(&folder, &[words]);
    }
    let folder = ProductFolder::esp32c3();
    folder.edit(
        "at_rest = [\"line.pub\"]",
        "at_rest = [\"line.pub\", \"sb0.pub.pem\"]",
    );
    refused(&folder, &["keys.at_rest", "sb0.pub.pem"]);
    let folder = ProductFolder::esp32c3();
    folder.edit(
        "after = \"destroy\"",
        "after = \"escrow\"\nescrow_to = [\"escrow.pub\"]",
    );
    refused(&folder, &["escrow.pub"]);
}

#[test]
fn block_key5_is_refused_for_xts_where_the_chip_can_not() {
    let folder = ProductFolder::esp32c3();
    folder.edit(
        "mode = \"release\"",
        "mode = \"release\"\nblock = \"BLOCK_KEY5\"",
    );
    refused(
        &folder,
        &[
            "flash_encryption.block",
            "BLOCK_KEY5",
            "name another block, or auto",
        ],
    );
    for (chip, takes) in [
        ("esp32s3", false),
        ("esp32c3", false),
        ("esp32c6", true),
        ("esp32h2", true),
    ] {
        let wish = EfuseWish {
            chip: Chip::from_name(chip).expect("a chip"),
            encryption: EncryptionMode::Release,
            flash_key_len: 32,
            flash_key_block: Some("BLOCK_KEY5".to_owned()),
            seed: SeedSource::EfuseHmac,
            seed_block: None,
            secure_boot: BootScheme::V2Rsa,
            digests: 1,
            revoke_unused: true,
            aggressive_revoke: false,
            download: Download::Secure,
            jtag: Jtag::Off,
            secure_version: 0,
            custom: Vec::new(),
        };
        assert_eq!(EfusePlan::new(&wish).is_ok(), takes, "{chip}");
    }
}

/// espefuse puts the second half of a long key into the block above.
#[test]
fn block_key5_is_refused_for_the_second_half_of_a_256_bit_key() {
    let wish = |block: &str, seed: Option<&str>| EfuseWish {
        chip: Chip::from_name("esp32s3").expect("a chip"),
        encryption: EncryptionMode::Release,
        flash_key_len: 64,
        flash_key_block: (block != "auto").then(|| block.to_owned()),
        seed: SeedSource::EfuseHmac,
        seed_block: seed.map(str::to_owned),
        secure_boot: BootScheme::V2Rsa,
        digests: 1,
        revoke_unused: true,
        aggressive_revoke: false,
        download: Download::Secure,
        jtag: Jtag::Off,
        secure_version: 0,
        custom: Vec::new(),
    };
    for (block, word) in [("BLOCK_KEY4", "BLOCK_KEY5"), ("BLOCK_KEY5", "second half")] {
        let error = EfusePlan::new(&wish(block, None)).expect_err(block);
        let text = error.to_string();
        assert!(
            text.contains("flash_encryption.block") && text.contains(word),
            "{block}: {text}"
        );
    }
    for (block, seed) in [
        ("auto", "BLOCK_KEY0"),
        ("auto", "BLOCK_KEY1"),
        ("BLOCK_KEY3", "BLOCK_KEY5"),
    ] {
        let plan = EfusePlan::new(&wish(block, Some(seed))).expect("a plan");
        let keys: Vec<&str> = plan.keys().map(|key| key.block.as_str()).collect();
        assert!(keys.contains(&seed), "{keys:?}");
    }
}

#[test]
fn rd_dis_wr_dis_and_key_purposes_in_custom_are_refused() {
    for name in [
        "RD_DIS",
        "WR_DIS",
        "KEY_PURPOSE_3",
        "BLOCK_KEY0",
        "DIS_USB_JTAG",
    ] {
        let folder = ProductFolder::esp32c3();
        folder.edit(
            "[keys]",
            &format!("[efuse]\ncustom = {{ {name} = 1 }}\n\n[keys]"),
        );
        refused(&folder, &[&format!("efuse.custom.{name}"), "leave it out"]);
    }
}

#[test]
fn a_bootloader_of_another_chip_is_refused_with_both_names() {
    let folder = ProductFolder::esp32c3();
    fs::copy(
        common::vectors().join("images/esp32s3-bootloader.bin"),
        folder.path("bootloader.bin"),
    )
    .expect("a copy");
    refused(&folder, &["bootloader.bin", "esp32s3", "esp32c3"]);
}

#[test]
fn an_image_for_newer_chips_than_the_station_takes_is_refused() {
    let folder = ProductFolder::esp32c3();
    folder.edit("min_revision = 3", "min_revision = 2");
    refused(
        &folder,
        &[
            "chip.min_revision",
            "is 2",
            "bootloader.bin starts only on chips from 3 on",
        ],
    );
}

#[test]
fn a_label_that_no_qr_code_holds_is_refused_before_a_board_is_burned() {
    let folder = ProductFolder::esp32c3();
    folder.edit("qr = \"AIRSEAL1:", &format!("qr = \"{}", "x".repeat(3000)));
    refused(&folder, &["label.qr", "too long for a QR code"]);
}

#[test]
fn a_development_key_of_a_wrong_length_is_refused() {
    let folder = ProductFolder::esp32c3();
    folder.edit(
        "mode = \"release\"",
        "mode = \"development\"\nkey = { file = \"dev.key\" }",
    );
    fs::write(folder.path("dev.key"), [7; 31]).expect("a key");
    refused(&folder, &["flash_encryption.key", "dev.key has 31 bytes"]);
    fs::write(folder.path("dev.key"), [7; 32]).expect("a key");
    accepted(&folder);
}

#[test]
fn a_batch_that_another_program_works_on_is_refused() {
    let folder = ProductFolder::esp32c3();
    let product = Product::read(&folder.config()).expect("a product");
    let out = folder.path("batch");
    let station = BatchFolder::open(&out).expect("a folder");
    let run = || prepare(&product, &out, None, &SystemEntropy, &Control::default());
    let error = run().expect_err("locked").to_string();
    assert!(
        error.contains("another program works on this batch"),
        "{error}"
    );
    drop(station);
    run().expect("prepared");
}

#[test]
fn a_check_finds_changed_settings_of_a_batch_and_writes_nothing() {
    let folder = ProductFolder::esp32c3();
    let product = Product::read(&folder.config()).expect("a product");
    let out = folder.path("batch");
    check(&product, Some(&out)).expect("checked");
    assert!(!out.exists());
    prepare(&product, &out, None, &SystemEntropy, &Control::default()).expect("prepared");
    check(&product, Some(&out)).expect("the same settings");
    folder.edit("hw_rev = 3", "hw_rev = 4");
    let product = Product::read(&folder.config()).expect("a product");
    let error = check(&product, Some(&out))
        .expect_err("changed")
        .to_string();
    assert!(error.contains("hw_rev"), "{error}");
}

#[test]
fn a_changed_development_key_is_a_changed_setting() {
    let folder = ProductFolder::esp32c3();
    folder.edit(
        "mode = \"release\"",
        "mode = \"development\"\nkey = { file = \"dev.key\" }",
    );
    let out = folder.path("batch");
    let run = || {
        let product = Product::read(&folder.config())?;
        prepare(&product, &out, Some(1), &SystemEntropy, &Control::default())
    };
    fs::write(folder.path("dev.key"), [7; 32]).expect("a key");
    run().expect("prepared");
    fs::write(folder.path("dev.key"), [8; 32]).expect("a key");
    let error = run().expect_err("changed").to_string();
    assert!(
        error.contains("flash_encryption.key (check value)"),
        "{error}"
    );
}
