//! Releases that are flash-encrypted already, and the container for stock devices: sealed, looked at, opened, installed.

use crate::harness::Room;

/// The check values were computed apart: SHA-256 of `airseal1 fe` and the key file, 16 bytes.
const X256_CHECK: &str = "a5a8e85fe0a1f2e6807f58ea193cf513";
const SLOTS: [(u16, &str, u32); 2] = [(1, "ota_0", 0x11_0000), (2, "ota_1", 0x21_0000)];

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../vectors/esp/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// Keys of a vendor and of a device, flash keys, tables, and applications of an ESP32-C3 and an ESP32.
fn room() -> Room {
    let room = Room::new();
    room.ok("key new --kind signing -o vendor");
    room.ok("key new --kind device -o dev");
    for key in ["k192", "k256", "x128d", "x256", "x512"] {
        room.write_secret(
            &format!("{key}.key"),
            &vector(&format!("flashenc/{key}.key")),
        );
    }
    room.write_secret("other.key", &[0x42; 32]);
    room.write("app.bin", &vector("images/app.bin"));
    room.write("app-esp32.bin", &vector("images/app-esp32.bin"));
    room.write("table.csv", &vector("partitions/two_ota_factory.csv"));
    room.write("table.bin", &vector("partitions/two_ota_factory.bin"));
    room.write("moved.csv", &vector("partitions/no_factory.csv"));
    room
}

fn seal(image: &str, key: &str, more: &str) -> String {
    format!(
        "seal {image} -o out.seal --raw-flash-key {key} --partitions table.csv --sign vendor.key --to dev.pub \
         --vendor example.com --class lamp --seq 7 --version 1.2.3 {more}"
    )
}

/// The application as if it were built for another chip of the same memory layout, without its hash.
fn app_for(chip_id: u8) -> Vec<u8> {
    let mut app = vector("images/app.bin");
    app[12] = chip_id;
    app[23] = 0;
    app
}

#[test]
fn every_slot_gets_the_image_that_flash_encrypt_makes_for_its_address() {
    let room = room();
    let sealed = room.json(&seal("app.bin", "x256.key", ""));
    assert_eq!(sealed["flash_encryption"], "xts-128");
    assert_eq!(sealed["flash_key_check"], X256_CHECK);
    let inspected = room.json("inspect out.seal");
    let components = inspected["components"].as_array().unwrap();
    assert_eq!(components.len(), 2);
    for (i, (component, label, address)) in SLOTS.into_iter().enumerate() {
        let slot = &sealed["slots"][i];
        assert_eq!(slot["component"], component);
        assert_eq!(slot["label"], label);
        assert_eq!(slot["address"], address);
        assert_eq!(slot["image_digest"], components[i]["image_digest"]);
        assert_eq!(components[i]["id"], component);
        assert_eq!(components[i]["place"], 0);
        assert_eq!(components[i]["address"], address);
        assert_eq!(components[i]["chip"], "esp32c3");
        assert_eq!(components[i]["flash_encryption"], "xts-128");
        assert_eq!(components[i]["flash_key_check"], X256_CHECK);

        let open = "open out.seal --trust vendor.pub --key dev.key --force -o raw.bin";
        let opened = room.json(&format!("{open} --component {component}"));
        assert_eq!(opened["address"], address);
        let region = format!("--chip esp32c3 --key x256.key --address {address} --force");
        room.ok(&format!("esp flash-encrypt app.bin expected.bin {region}"));
        assert!(room.read("raw.bin") == room.read("expected.bin"), "{label}");
        room.ok(&format!("esp flash-decrypt raw.bin back.bin {region}"));
        assert!(room.read("back.bin") == room.read("app.bin"), "{label}");
    }
    assert_ne!(components[0]["image_digest"], components[1]["image_digest"]);

    let text = room.ok("inspect out.seal");
    assert!(text.contains("address 0x210000"), "{text}");
    assert!(text.contains(X256_CHECK), "{text}");
    let verified = room.json("verify out.seal --trust vendor.pub");
    assert_eq!(verified["components"], 2);
    let stderr = room.fails(2, "open out.seal --trust vendor.pub --key dev.key -o x");
    assert!(stderr.contains("--component"), "{stderr}");
}

#[test]
fn the_chip_and_the_key_decide_the_scheme() {
    let room = room();
    room.write("c2.bin", &app_for(12));
    room.write("s3.bin", &app_for(9));
    let cases = [
        (
            "esp32",
            "app-esp32.bin",
            "k256",
            "",
            "esp32-legacy",
            "70b59f204f737cf85af3a3f5f5513fec",
        ),
        (
            "esp32",
            "app-esp32.bin",
            "k192",
            "",
            "esp32-legacy",
            "7c68058ea360d92a8417ea2e695dac8d",
        ),
        (
            "esp32",
            "app-esp32.bin",
            "k256",
            "--flash-crypt-conf 0x5",
            "esp32-legacy",
            "70b59f204f737cf85af3a3f5f5513fec",
        ),
        (
            "esp32c2",
            "c2.bin",
            "x128d",
            "",
            "xts-128",
            "0f7db3cf81f8d11465fcd0c6ecf61c17",
        ),
        (
            "esp32s3",
            "s3.bin",
            "x512",
            "",
            "xts-256",
            "e914f29c4d9b5eb085c65543fb940608",
        ),
    ];
    for (chip, image, key, more, scheme, check) in cases {
        let line = seal(image, &format!("{key}.key"), &format!("{more} --force"));
        let sealed = room.json(&line);
        assert_eq!(sealed["chip"], chip, "{line}");
        assert_eq!(sealed["flash_encryption"], scheme, "{line}");
        assert_eq!(sealed["flash_key_check"], check, "{line}");
        room.ok("open out.seal --trust vendor.pub --key dev.key --component 2 -o raw.bin --force");
        room.ok(&format!(
            "esp flash-encrypt {image} expected.bin --chip {chip} --key {key}.key --address 0x210000 {more} --force"
        ));
        assert!(room.read("raw.bin") == room.read("expected.bin"), "{line}");
    }
}

#[test]
fn signed_images_are_filled_up_with_erased_flash_to_whole_blocks() {
    let room = room();
    for key in ["v1-ecdsa256.pem", "v2-rsa0.pem"] {
        room.write(key, &vector(&format!("secureboot/{key}")));
    }
    room.write("v1.bin", &vector("images/app-esp32-securepad-v1.bin"));
    for (image, scheme, signing_key, chip) in [
        ("v1.bin", "v1", "v1-ecdsa256.pem", "esp32"),
        ("app.bin", "v2", "v2-rsa0.pem", "esp32c3"),
    ] {
        room.ok(&format!(
            "esp sign --scheme {scheme} --key {signing_key} {image} signed.bin --force"
        ));
        room.ok(&seal("signed.bin", "x256.key", "--force"));
        room.ok("open out.seal --trust vendor.pub --key dev.key --component 1 -o raw.bin --force");
        room.ok(&format!(
            "esp flash-decrypt raw.bin back.bin --chip {chip} --key x256.key --address 0x110000 --force"
        ));
        let (back, mut signed) = (room.read("back.bin"), room.read("signed.bin"));
        signed.resize(signed.len().next_multiple_of(16), 0xFF);
        assert!(back == signed, "{image}");
    }
}

/// Flash key, slots and update on a device, with the power lost again and again.
#[test]
fn a_device_writes_the_image_for_the_slot_as_it_comes_and_the_chip_reads_the_application() {
    let room = room();
    let device = "simulate device --state dev1";
    room.ok(&format!(
        "{device} --vendor example.com --class lamp --trust vendor.pub --chip esp32c3 --partitions table.csv --flash-key x256.key"
    ));
    let saved = String::from_utf8(room.read("dev1/device.json")).unwrap();
    assert!(saved.contains(X256_CHECK) && !saved.contains(&hex::encode(room.read("x256.key"))));
    let mut regions = Vec::new();
    for (seq, (_, _, address)) in (7..).zip(SLOTS) {
        let line = seal("app.bin", "x256.key", "--force");
        let line = line
            .replace("--to dev.pub", "--to dev1/device.pub")
            .replace("--seq 7", &format!("--seq {seq}"))
            .replace("1.2.3", &format!("1.2.{seq}"));
        room.ok(&line);
        let report = room.json(&format!("{device} --from out.seal --cut-power-at 4"));
        assert_eq!(report["sequence"], seq);
        assert!(report["power_cuts"].as_u64().unwrap() >= 2, "{report}");
        let flash = room.read("dev1/flash.bin");
        let start = address as usize;
        let len = room.read("app.bin").len();
        let raw = flash[start..start + len].to_vec();
        room.write("raw.bin", &raw);
        room.ok(&format!(
            "esp flash-decrypt raw.bin back.bin --chip esp32c3 --key x256.key --address {address} --force"
        ));
        assert!(
            room.read("back.bin") == room.read("app.bin"),
            "{address:#x}"
        );
        regions.push(raw);
    }
    assert!(regions[0] != regions[1], "both slots hold the same bytes");
    room.fails(2, &format!("{device} --flash-key other.key"));
    room.fails(2, &format!("{device} --partitions moved.csv"));
}

#[test]
fn devices_of_a_batch_that_share_a_flash_key_take_one_release() {
    let room = room();
    let new = "--vendor example.com --class lamp --trust vendor.pub --chip esp32c3 --partitions table.csv --flash-key x256.key";
    for state in ["one", "two"] {
        room.ok(&format!("simulate device --state {state} {new}"));
    }
    let line = seal("app.bin", "x256.key", "");
    room.ok(&line.replace("--to dev.pub", "--to one/device.pub --to two/device.pub"));
    let mut flashes = Vec::new();
    for state in ["one", "two"] {
        let report = room.json(&format!("simulate device --state {state} --from out.seal"));
        assert_eq!(report["sequence"], 7, "{state}: {report}");
        flashes.push(room.read(&format!("{state}/flash.bin")));
    }
    let slot = SLOTS[0].2 as usize..SLOTS[0].2 as usize + room.read("app.bin").len();
    assert!(flashes[0][slot.clone()] == flashes[1][slot.clone()]);
    assert!(flashes[0][slot] != room.read("app.bin")[..]);
}

#[test]
fn a_device_names_another_flash_key_and_another_slot_address() {
    let room = room();
    room.ok(&seal("app.bin", "x256.key", ""));
    let new = "--vendor example.com --class lamp --trust vendor.pub --chip esp32c3 --from out.seal";
    for (state, options, code, word) in [
        (
            "a",
            "--partitions table.csv --flash-key other.key",
            208,
            "another flash key",
        ),
        ("b", "--partitions table.csv", 208, "another flash key"),
        (
            "c",
            "--partitions moved.csv --flash-key x256.key",
            209,
            "address of the slot",
        ),
        ("d", "--flash-key x256.key", 209, "address of the slot"),
    ] {
        let line = format!("simulate device --state {state} {new} {options} --report {state}.json");
        let stderr = room.fails(1, &line);
        assert!(stderr.contains(word), "{line}: {stderr}");
        let report: serde_json::Value =
            serde_json::from_slice(&room.read(&format!("{state}.json"))).unwrap();
        assert_eq!(report["code"], code, "{line}: {report}");
        let touched = report["events"].as_array().unwrap().iter();
        let touched: Vec<_> = touched
            .filter_map(|event| event["slot_operations"].as_u64())
            .collect();
        assert_eq!(touched, [0], "{line}: {report}");
        let explained = room.ok(&format!("explain {code}"));
        assert!(explained.contains("what to do"), "{explained}");
    }
}

#[test]
fn what_no_device_could_run_is_refused_and_nothing_is_written() {
    let room = room();
    room.write("k24", &[7; 24]);
    room.write("k31", &[7; 31]);
    room.ok(
        "esp flash-encrypt app.bin encrypted.bin --chip esp32c3 --key x256.key --address 0x110000",
    );
    room.write("boot.bin", &vector("images/esp32c3-bootloader.bin"));
    room.write("short.bin", &vector("images/app.bin")[..40_000]);
    let row = |rows: &str| format!("otadata,data,ota,0xd000,0x2000,\n{rows}");
    room.write(
        "none.csv",
        row("factory,app,factory,0x10000,1M,\n").as_bytes(),
    );
    room.write(
        "small.csv",
        row("ota_0,app,ota_0,0x10000,1M,\nota_1,app,ota_1,0x110000,64K,\n").as_bytes(),
    );
    room.write(
        "off.csv",
        row("ota_0,app,ota_0,0x18000,1M,\nota_1,app,ota_1,0x118000,1M,\n").as_bytes(),
    );
    let many: String = (0..9)
        .map(|n| format!("ota_{n},app,ota_{n},,1M,\n"))
        .collect();
    room.write("many.csv", row(&many).as_bytes());
    room.write(
        "far.csv",
        row("ota_0,app,ota_0,0x10000,1M,\nota_1,app,ota_1,0x1000000,1M,\n").as_bytes(),
    );
    let with = |table: &str| seal("app.bin", "x256.key", "").replace("table.csv", table);
    let cases = [
        (1, seal("app.bin", "k24", ""), "24"),
        (1, seal("app.bin", "k31", ""), "31 bytes"),
        (1, seal("app.bin", "x512.key", ""), "64 bytes"),
        (1, seal("app.bin", "x128d.key", ""), "16 bytes"),
        (
            1,
            seal("app.bin", "vendor.key", ""),
            "not a flash encryption key",
        ),
        (1, seal("app.bin", "absent.key", ""), "absent.key"),
        (1, seal("app.bin", "x256.key", "--chip esp32c6"), "chip_id"),
        (2, seal("app.bin", "x256.key", "--chip none"), "--chip none"),
        (
            2,
            seal("app.bin", "x256.key", "--flash-crypt-conf 3"),
            "FLASH_CRYPT_CONFIG",
        ),
        (
            2,
            seal("app-esp32.bin", "k256.key", "--flash-crypt-conf 16"),
            "0 to 0xF",
        ),
        (1, seal("encrypted.bin", "x256.key", ""), "flash-encrypted"),
        (1, seal("boot.bin", "x256.key", ""), "bootloader"),
        (1, seal("short.bin", "x256.key", ""), "short.bin"),
        (1, with("none.csv"), "no OTA slot"),
        (1, with("small.csv"), "smallest slot"),
        (1, with("off.csv"), "0x10000"),
        (1, with("many.csv"), "9 OTA slots"),
        (1, with("app.bin"), "not a partition table"),
        (
            1,
            with("far.csv").replace("app.bin", "app-esp32.bin"),
            "ota_1",
        ),
        (
            2,
            with("table.csv").replace("--partitions table.csv", ""),
            "--partitions",
        ),
        (
            2,
            with("table.csv").replace("--raw-flash-key x256.key", ""),
            "--raw-flash-key",
        ),
        (2, with("table.csv --fits table.csv"), "--fits"),
        (
            2,
            with("table.csv").replace("out.seal", "x256.key"),
            "x256.key",
        ),
    ];
    let before = room.files();
    for (code, line, word) in cases {
        let code = if line.contains("absent.key") { 3 } else { code };
        let stderr = room.fails(code, &line);
        assert!(stderr.contains(word), "{line}: {stderr}");
        assert_eq!(room.files(), before, "{line}");
    }
    assert_eq!(room.read("x256.key"), vector("flashenc/x256.key"));
    // The smallest slot that holds image and record area; an encrypted image is not signed any more.
    room.write(
        "tight.csv",
        row("ota_0,app,ota_0,0x10000,76K,\nota_1,app,ota_1,0x30000,76K,\n").as_bytes(),
    );
    room.ok(&with("tight.csv"));
    let stderr = room.fails(2, &with("tight.csv --secure-boot-sector --force"));
    assert!(stderr.contains("--secure-boot-sector"), "{stderr}");
}

#[test]
fn what_is_seldom_meant_is_said() {
    let room = room();
    room.ok("key new --kind device -o dev2");
    room.write(
        "one.csv",
        b"otadata,data,ota,0xd000,0x2000,\nota_0,app,ota_0,0x10000,1M,\n",
    );
    let line = seal("app.bin", "x256.key", "--to dev2.pub").replace("table.csv", "one.csv");
    let done = room.run(&line);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("one OTA slot"), "{}", done.stderr);
    assert!(done.stderr.contains("one flash key"), "{}", done.stderr);
    assert!(done.stdout.contains("ota_0 at 0x10000"), "{}", done.stdout);
    let done = room.run(&seal("app.bin", "x256.key", "--force"));
    assert_eq!(done.stderr, "");
    let table = room.read("table.bin");
    let piped = seal("app.bin", "x256.key", "--force").replace("table.csv", "-");
    let done = room.run_with(&piped, &table);
    assert_eq!(done.code, 0, "{}", done.stderr);
}

#[test]
fn stock_devices_get_the_vendors_container_with_the_warning_that_it_proves_no_origin() {
    let room = room();
    for key in [
        "rsa3072-pub.pem",
        "rsa3072.pem",
        "device_pub_key.pem",
        "device_priv_key.pem",
    ] {
        room.write(key, &vector(&format!("enc_img/{key}")));
    }
    for (public, private, scheme) in [
        ("rsa3072-pub.pem", "rsa3072.pem", "rsa-3072"),
        ("device_pub_key.pem", "device_priv_key.pem", "ecies-p256"),
    ] {
        let line = format!("seal app.bin -o app.enc --stock-container {public} --force --json");
        let done = room.run(&line);
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(done.stderr.contains("proves no origin"), "{}", done.stderr);
        let made: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(made["scheme"], scheme);
        assert!(
            made["warning"]
                .as_str()
                .unwrap()
                .contains("proves no origin")
        );
        room.ok(&format!(
            "esp encrypted-img decrypt app.enc back.bin --key {private} --force"
        ));
        assert!(room.read("back.bin") == room.read("app.bin"));
    }
    let stock = "--stock-container rsa3072-pub.pem";
    room.ok(
        "esp flash-encrypt app.bin encrypted.bin --chip esp32c3 --key x256.key --address 0x110000",
    );
    let before = room.files();
    for (code, line, word) in [
        (
            2,
            format!("seal app.bin -o x {stock} --sign vendor.key"),
            "--sign",
        ),
        (2, format!("seal app.bin -o x {stock} --seq 3"), "--seq"),
        (
            2,
            format!("seal app.bin -o x {stock} --raw-flash-key x256.key --partitions table.csv"),
            "--raw-flash-key",
        ),
        (
            1,
            format!("seal app.bin -o x {stock} --chip esp32"),
            "chip_id",
        ),
        (
            1,
            format!("seal encrypted.bin -o x {stock}"),
            "flash-encrypted",
        ),
        (1, format!("seal app.enc -o x {stock}"), "esp_encrypted_img"),
        (
            1,
            format!("seal app.bin -o app.bin {stock} --force"),
            "app.bin",
        ),
        (
            1,
            "seal app.bin -o x --stock-container vendor.pub".to_owned(),
            "vendor.pub",
        ),
    ] {
        let done = room.run(&line);
        assert!(
            done.code == code || (done.code == 2 && line.contains("-o app.bin")),
            "{line}: {} {}",
            done.code,
            done.stderr
        );
        assert!(done.stderr.contains(word), "{line}: {}", done.stderr);
        assert_eq!(room.files(), before, "{line}");
    }
}

#[test]
fn stock_devices_keep_no_record_behind_the_image() {
    let room = room();
    room.write("fleet.pem", &vector("enc_img/rsa3072-pub.pem"));
    let size = room.read("app.bin").len().next_multiple_of(4096);
    let table = format!("ota_0,app,ota_0,0x10000,{size}\nota_1,app,ota_1,0x110000,{size}\n");
    room.write("tight.csv", table.as_bytes());
    let line = "seal app.bin -o x --stock-container fleet.pem --fits tight.csv";
    room.ok(line);
    let stderr = room.fails(1, &format!("{line} --secure-boot-sector --force"));
    assert!(stderr.contains("image, signature sector need"), "{stderr}");
}
