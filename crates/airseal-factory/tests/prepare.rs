//! `esp provision` as a library: what is made, what is kept, what is refused.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use airseal_esp::nvs::NvsKey;
use airseal_factory::boxes::{self, BoxContext};
use airseal_factory::record::device_id;
use airseal_factory::sealed::{fingerprint, refuse_other};
use airseal_pack::esp::nvs::{derive_keys, parse_partition};
use airseal_pack::key::NoPassphrase;
use airseal_pack::open::OpenKey;
use common::ProductFolder;

fn tree(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["", "common", "sealed"] {
        for entry in fs::read_dir(path.join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                files.insert(path.display().to_string(), fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

#[test]
fn a_batch_is_made_and_a_second_run_changes_nothing() {
    let folder = ProductFolder::esp32c3();
    let prepared = folder.prepare().expect("prepared");
    assert_eq!((prepared.made, prepared.kept), (6, 0));
    let before = tree(&folder.path("batch"));
    let again = folder.prepare().expect("prepared again");
    assert_eq!((again.made, again.kept), (0, 6));
    assert!(
        before == tree(&folder.path("batch")),
        "a second run changed a file"
    );
}

/// R08: without a factory row a blank otadata would boot nothing for sure.
#[test]
fn r08_without_a_factory_row_otadata_names_the_slot() {
    let folder = ProductFolder::esp32c3();
    let table = fs::read_to_string(folder.path("partitions.csv")).unwrap();
    let rows = table.lines().filter(|line| !line.starts_with("factory"));
    let table: String = rows.map(|line| format!("{line}\n")).collect();
    fs::write(folder.path("partitions.csv"), table).unwrap();
    folder.edit("factory = \"app.bin\"", "ota_0 = \"app.bin\"");
    folder.edit("otadata = \"blank\"", "otadata = \"ota_0\"");
    folder.prepare().expect("prepared");
    let otadata = fs::read(folder.path("batch/common/otadata.bin")).unwrap();
    assert_eq!(otadata[..4], 1_u32.to_le_bytes(), "sequence");
    assert_eq!(otadata[24..28], 2_u32.to_le_bytes(), "valid");
    assert_eq!(otadata[28..32], 0x4743_989A_u32.to_le_bytes(), "crc");
    let plan: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("batch/batch.json")).unwrap()).unwrap();
    let region = plan["regions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|region| region["name"] == "otadata");
    assert_eq!(region.expect("a region")["encrypted"], true);
}

#[test]
fn a_missing_box_is_made_and_no_other_is_touched() {
    let folder = ProductFolder::esp32c3();
    folder.prepare().expect("prepared");
    let before = tree(&folder.path("batch"));
    let lost = folder.path("batch/sealed/AL-2648-A-00003.box");
    fs::remove_file(&lost).expect("a box");
    assert_eq!(folder.prepare().expect("resumed").made, 1);
    let mut after = tree(&folder.path("batch"));
    let lost = lost.display().to_string();
    assert_ne!(after.remove(&lost), before.get(&lost).cloned());
    let list = folder.path("batch/sealed.jsonl").display().to_string();
    let (older, newer) = (&before[&list], after.remove(&list).expect("a list"));
    assert!(
        newer.starts_with(older) && newer.ends_with(b"}\n"),
        "a line more"
    );
    assert!(
        after
            .iter()
            .all(|(name, bytes)| before.get(name) == Some(bytes))
    );
}

#[test]
fn boxes_open_for_the_line_and_hold_secrets_of_their_own() {
    let folder = ProductFolder::esp32c3();
    folder.prepare().expect("prepared");
    let key = OpenKey::read(&folder.path("line.key"), &NoPassphrase)
        .expect("a key")
        .key;
    let mut seen = std::collections::BTreeSet::new();
    for n in 1..=6 {
        let serial = format!("AL-2648-A-{n:05}");
        let bytes = fs::read(folder.path(&format!("batch/sealed/{serial}.box"))).expect("a box");
        let context = BoxContext {
            batch: "2648-A",
            serial: &serial,
        };
        let secrets = boxes::open(context, &bytes, &key).expect("opened");
        assert_eq!(secrets.flash_key.len(), 32);
        assert_eq!(secrets.nvs.len(), 1);
        assert!(bytes.len() < 64 << 10, "{} bytes", bytes.len());
        assert!(seen.insert(secrets.flash_key.to_vec()) && seen.insert(secrets.seed.to_vec()));
        for (_, file) in tree(&folder.path("batch")) {
            for secret in [&*secrets.flash_key, &*secrets.seed, &*secrets.nvs_keys] {
                let text = hex::encode(secret).into_bytes();
                let holds = |needle: &[u8]| file.windows(needle.len()).any(|part| part == needle);
                assert!(
                    !holds(secret) && !holds(&text),
                    "a secret lies open in the folder"
                );
            }
        }
    }
}

#[test]
fn nvs_holds_the_values_of_its_own_device() {
    let folder = ProductFolder::esp32c3();
    let fields = fs::read_to_string(folder.path("fctry.csv")).expect("fields");
    fs::write(
        folder.path("fctry.csv"),
        format!("{fields}id,data,string,{{device_id}}\n"),
    )
    .expect("fields");
    folder.prepare().expect("prepared");
    let key = OpenKey::read(&folder.path("line.key"), &NoPassphrase)
        .expect("a key")
        .key;
    for n in 1..=6 {
        let serial = format!("AL-2648-A-{n:05}");
        let bytes = fs::read(folder.path(&format!("batch/sealed/{serial}.box"))).expect("a box");
        let context = BoxContext {
            batch: "2648-A",
            serial: &serial,
        };
        let secrets = boxes::open(context, &bytes, &key).expect("opened");
        let seed = <[u8; 32]>::try_from(&secrets.seed[..]).expect("a seed");
        let keys = NvsKey::new(&derive_keys(&seed)).expect("keys");
        let dump = parse_partition(&secrets.nvs[0].1, Some(&keys));
        let dump = dump.map_err(|refused| refused.message).expect("NVS");
        for row in [
            format!("serial,data,string,{serial}\n"),
            format!("trim,data,string,calibration-{n}\n"),
            format!("id,data,string,{}\n", device_id(&seed)),
            format!("claim,data,string,{}\n", *secrets.claim),
        ] {
            assert!(dump.csv.contains(&row), "{row} is not in {}", *dump.csv);
        }
    }
}

#[test]
fn changed_settings_on_a_batch_are_named() {
    let folder = ProductFolder::esp32c3();
    folder.prepare().expect("prepared");
    let before = tree(&folder.path("batch"));
    folder.edit("hw_rev = 3", "hw_rev = 4");
    fs::write(
        folder.path("fctry.csv"),
        "key,type,encoding,value\nx,namespace,,\n",
    )
    .expect("fields");
    let error = folder.prepare().expect_err("refused").to_string();
    assert!(
        error.contains("hw_rev") && error.contains("nvs.fctry.fields (content)"),
        "{error}"
    );
    assert!(before == tree(&folder.path("batch")));
}

/// Each wrong setting with the words its refusal must hold; nothing may be made.
#[test]
fn wrong_settings_are_refused_by_name_before_anything_is_made() {
    let cases = [
        ("schema = 1", "schema = 2", "schema is 2"),
        ("hw_rev = 3", "hw_rev = 3\ncolour = 1", "colour"),
        ("factory = \"app.bin\"", "ota_7 = \"app.bin\"", "ota_7"),
        ("factory = \"app.bin\"\n", "", "factory"),
        (
            "partition_table_offset = 0x8000",
            "partition_table_offset = 0x5000",
            "reaches the partition table",
        ),
        ("otadata = \"blank\"", "otadata = \"ota_5\"", "ota_5"),
        ("source = \"efuse-hmac\"", "source = \"none\"", "efuse-hmac"),
        ("family = \"esp32c3\"", "family = \"esp32c6\"", "chip"),
        ("family = \"esp32c3\"", "family = \"esp33\"", "esp33"),
        ("flash_size = \"4MB\"", "flash_size = \"2MB\"", "flash"),
        (
            "mode = \"release\"",
            "mode = \"release\"\nbits = 256",
            "XTS-AES-256",
        ),
        (
            "mode = \"release\"",
            "mode = \"release\"\nblock = \"BLOCK_KEY5\"",
            "BLOCK_KEY5",
        ),
        (
            "mode = \"release\"",
            "mode = \"release\"\nkey = { file = \"line.key\" }",
            "release",
        ),
        (
            "scheme = \"v2-rsa\"",
            "scheme = \"v2-ecdsa256\"",
            "sb0.pub.pem",
        ),
        ("sign = [\"sb0.pem\"]", "sign = []", "secure_boot.sign"),
        (
            "sign = [\"sb0.pem\"]",
            "sign = [\"already-signed\"]",
            "is not signed",
        ),
        (
            "\"sb0.pub.pem\", \"sb1.pub.pem\"",
            "\"sb1.pub.pem\"",
            "none of the keys",
        ),
        (
            "\"sb0.pub.pem\", \"sb1.pub.pem\"",
            "\"sb0.pub.pem\", \"sb0.pub.pem\"",
            "twice",
        ),
        ("serial = \"AL-{batch}-{n:05}\"", "serial = \"AL\"", "{n}"),
        (
            "serial = \"AL-{batch}-{n:05}\"",
            "serial = \"AL/{n}\"",
            "AL/1",
        ),
        ("spare = 1", "spare = 2", "AL-2648-A-00007"),
        ("at_rest = [\"line.pub\"]", "at_rest = []", "at_rest"),
        (
            "at_rest = [\"line.pub\"]",
            "at_rest = [\"sb0.pem\"]",
            "sb0.pem",
        ),
        ("after = \"destroy\"", "after = \"escrow\"", "escrow_to"),
        (
            "[keys]",
            "[efuse]\ncustom = { RD_DIS = 1 }\n\n[keys]",
            "RD_DIS",
        ),
        (
            "[keys]",
            "[efuse]\ncustom = { WR_DIS = 1 }\n\n[keys]",
            "WR_DIS",
        ),
        (
            "[keys]",
            "[efuse]\ncustom = { KEY_PURPOSE_3 = 1 }\n\n[keys]",
            "KEY_PURPOSE_3",
        ),
        (
            "fctry = \"nvs:fctry\"",
            "fctry = \"nvs:other\"",
            "nvs.other",
        ),
    ];
    for (from, to, words) in cases {
        let folder = ProductFolder::esp32c3();
        folder.edit(from, to);
        let error = folder.prepare().expect_err(to).to_string();
        assert!(error.contains(words), "{to}: {error}");
        assert!(
            !folder.path("batch/sealed").exists()
                || fs::read_dir(folder.path("batch/sealed")).unwrap().count() == 0,
            "{to}"
        );
    }
}

#[test]
fn doubled_and_missing_rows_of_values_are_refused() {
    let folder = ProductFolder::esp32c3();
    let values = fs::read_to_string(folder.path("values.csv")).unwrap();
    fs::write(
        folder.path("values.csv"),
        format!("{values}AL-2648-A-00002,x\n"),
    )
    .unwrap();
    let error = folder.prepare().expect_err("doubled").to_string();
    assert!(
        error.contains("line 8") && error.contains("AL-2648-A-00002"),
        "{error}"
    );
    fs::write(
        folder.path("values.csv"),
        values.replace("AL-2648-A-00004", "AL-2648-A-10004"),
    )
    .unwrap();
    let error = folder.prepare().expect_err("missing").to_string();
    assert!(error.contains("AL-2648-A-00004"), "{error}");
}

/// An ESP-IDF build beside the configuration, with these options off or on.
fn with_build(folder: &ProductFolder, edit: impl Fn(String) -> String) {
    let build = folder.path("build");
    fs::create_dir(&build).unwrap();
    fs::rename(folder.path("bootloader.bin"), build.join("bootloader.bin")).unwrap();
    fs::copy(
        folder.path("partitions.csv"),
        build.join("partition-table.bin"),
    )
    .unwrap();
    let arguments = r#"{"flash_settings":{"flash_size":"4MB"},"extra_esptool_args":{"chip":"esp32c3"},
        "bootloader":{"offset":"0x0","file":"bootloader.bin"},
        "partition-table":{"offset":"0x8000","file":"partition-table.bin"}}"#;
    fs::write(build.join("flasher_args.json"), edit(arguments.to_owned())).unwrap();
    let options = "CONFIG_SECURE_FLASH_ENC_ENABLED=y\nCONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE=y\n\
        CONFIG_SECURE_BOOT_V2_ENABLED=y\nCONFIG_SECURE_SIGNED_APPS_RSA_SCHEME=y\n\
        CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE=y\nCONFIG_PARTITION_TABLE_OFFSET=0x8000\n";
    fs::write(folder.path("sdkconfig"), edit(options.to_owned())).unwrap();
    folder.edit(
        "[chip]\nfamily = \"esp32c3\"\n",
        "[idf]\nbuild = \"build\"\n\n[chip]\n",
    );
    folder.edit(
        "bootloader = \"bootloader.bin\"\npartition_table = \"partitions.csv\"\n",
        "",
    );
}

#[test]
fn an_idf_build_fills_what_is_left_out() {
    let folder = ProductFolder::esp32c3();
    with_build(&folder, |text| text);
    assert_eq!(folder.prepare().expect("prepared").made, 6);
}

#[test]
fn contradictions_of_an_idf_build_are_errors() {
    let cases = [
        (
            "SECURE_FLASH_ENC_ENABLED=y",
            "X=y",
            "CONFIG_SECURE_FLASH_ENC_ENABLED",
        ),
        ("MODE_RELEASE=y", "MODE_RELEASE=n", "MODE_RELEASE"),
        (
            "SECURE_BOOT_V2_ENABLED=y",
            "X=y",
            "CONFIG_SECURE_BOOT_V2_ENABLED",
        ),
        ("ROLLBACK_ENABLE=y", "ROLLBACK_ENABLE=n", "ROLLBACK"),
        ("TABLE_OFFSET=0x8000", "TABLE_OFFSET=0x9000", "0x9000"),
        (
            "\"offset\":\"0x8000\"",
            "\"offset\":\"0xa000\"",
            "partition_table_offset",
        ),
        ("4MB", "8MB", "flash_size"),
        ("esp32c3", "esp32c2", "esp32c2"),
        (
            "TABLE_OFFSET=0x8000",
            "TABLE_OFFSET=8k",
            "can't be compared",
        ),
        (
            "TABLE_OFFSET=0x8000\n",
            "TABLE_OFFSET=0x8000\nCONFIG_SECURE_DISABLE_ROM_DL_MODE=y\n",
            "efuse.download: is secure",
        ),
    ];
    for (from, to, words) in cases {
        let folder = ProductFolder::esp32c3();
        with_build(&folder, |text| text.replace(from, to));
        let error = folder.prepare().expect_err(to).to_string();
        assert!(error.contains(words), "{to}: {error}");
    }
}

#[test]
fn a_build_decides_what_secure_version_and_loader_may_be() {
    let with = |efuse: &str, options: &'static str| {
        let folder = ProductFolder::esp32c3();
        with_build(&folder, |text| {
            text.replace(
                "TABLE_OFFSET=0x8000\n",
                &format!("TABLE_OFFSET=0x8000\n{options}"),
            )
        });
        folder.edit("[keys]", &format!("[efuse]\n{efuse}\n\n[keys]"));
        folder
            .prepare()
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let error = with("secure_version = 3", "").expect_err("the bootloader does not count");
    assert!(
        error.contains("CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK"),
        "{error}"
    );
    let secure = "CONFIG_SECURE_ENABLE_SECURE_ROM_DL_MODE=y\n";
    with("download = \"secure\"", secure).expect("the same loader");
    let error = with("download = \"open\"", secure).expect_err("another loader");
    assert!(error.contains("efuse.download: is open"), "{error}");
    let gone = "CONFIG_SECURE_DISABLE_ROM_DL_MODE=y\n";
    let error = with("download = \"off\"", gone).expect_err("gone before the lock");
    assert!(error.contains("before the line has closed it"), "{error}");
}

#[test]
fn a_batch_that_was_made_with_another_plan_or_key_digest_is_refused() {
    for (name, words) in [
        ("plan.json", "another plan"),
        ("digest0.bin", "another key"),
    ] {
        let folder = ProductFolder::esp32c3();
        folder.prepare().expect("prepared");
        let path = folder.path("batch/common").join(name);
        let other = match name {
            "plan.json" => fs::read_to_string(&path)
                .expect("a plan")
                .replace("\"DIS_DIRECT_BOOT\"", "\"DIS_TWAI\"")
                .into_bytes(),
            _ => vec![7; 32],
        };
        fs::write(&path, &other).expect("written");
        let error = folder
            .prepare()
            .expect_err("not what it was made with")
            .to_string();
        assert!(error.contains(name) && error.contains(words), "{error}");
        assert_eq!(fs::read(&path).expect("there"), other, "it was rewritten");
    }
}

/// Anybody can seal a box with public keys: one that the batch did not make is not taken, and the fingerprint tells another
/// batch that was made with the same names.
#[test]
fn a_box_of_somebody_else_is_refused_and_changes_the_fingerprint() {
    let folder = ProductFolder::esp32c3();
    let made = folder.prepare().expect("prepared");
    let batch = folder.path("batch");
    assert_eq!(fingerprint(&batch).expect("a batch"), made.fingerprint);
    refuse_other(&batch, &made.fingerprint.to_uppercase()).expect("the batch itself");

    fs::rename(&batch, folder.path("first")).unwrap();
    let other = folder.prepare().expect("prepared").fingerprint;
    assert_ne!(other, made.fingerprint);
    let error = refuse_other(&batch, &made.fingerprint).expect_err("another batch");
    assert!(error.to_string().contains(&other), "{error}");

    let sealed = "sealed/AL-2648-A-00002.box";
    fs::copy(folder.path("first").join(sealed), batch.join(sealed)).unwrap();
    let error = folder.prepare().expect_err("a foreign box").to_string();
    assert!(
        error.contains("AL-2648-A-00002") && error.contains("sealed.jsonl"),
        "{error}"
    );
    fs::write(batch.join(sealed), []).unwrap();
    assert!(folder.prepare().is_err(), "an empty box");
}

/// A word that happens to name a file is no file; a file that a row of the fields names is one of the settings.
#[test]
fn files_are_what_settings_and_fields_name() {
    let folder = ProductFolder::esp32c3();
    let fields = fs::read_to_string(folder.path("fctry.csv")).unwrap();
    fs::write(
        folder.path("fctry.csv"),
        format!("{fields}ca,file,binary,ca.der\nown,file,binary,{{serial}}.der\n"),
    )
    .unwrap();
    fs::write(folder.path("ca.der"), "a certificate").unwrap();
    for n in 1..=6 {
        fs::write(folder.path(&format!("AL-2648-A-{n:05}.der")), "its own").unwrap();
    }
    folder.prepare().expect("prepared");
    for word in ["lock-c3", "acme-lock", "1.0.0", "generate", "blank"] {
        fs::write(folder.path(word), "a file of that name").unwrap();
    }
    folder.prepare().expect("the same settings");
    for file in ["ca.der", "AL-2648-A-00004.der"] {
        let before = fs::read(folder.path(file)).unwrap();
        fs::write(folder.path(file), "another").unwrap();
        let error = folder.prepare().expect_err(file).to_string();
        assert!(
            error.contains("nvs.fctry.fields (files)"),
            "{file}: {error}"
        );
        fs::write(folder.path(file), before).unwrap();
    }
    folder.prepare().expect("the same again");
}

#[test]
fn the_configuration_is_read_once() {
    let folder = ProductFolder::esp32c3();
    let product = airseal_factory::product::Product::read(&folder.config()).expect("a product");
    let before = fs::read(folder.config()).unwrap();
    folder.edit("hw_rev = 3", "hw_rev = 4");
    airseal_factory::prepare::prepare(
        &product,
        &folder.path("batch"),
        None,
        &airseal_pack::entropy::SystemEntropy,
        &airseal_pack::control::Control::default(),
    )
    .expect("prepared");
    assert_eq!(
        fs::read(folder.path("batch/common/config.toml")).unwrap(),
        before
    );
    let error = folder.prepare().expect_err("changed").to_string();
    assert!(error.contains("hw_rev"), "{error}");
}
