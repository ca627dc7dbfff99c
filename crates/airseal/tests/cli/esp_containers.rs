//! `airseal esp encrypted-img` and `esp efuse audit`, on what Espressif's tools made.

use base64::Engine as _;

use crate::esp_data::vector;
use crate::harness::{Room, firmware};

fn room() -> Room {
    let room = Room::new();
    for name in [
        "device_hmac_key.bin",
        "device_pub_key.pem",
        "device_priv_key.pem",
        "rsa3072.pem",
        "rsa3072-pub.pem",
        "ecc-plain1000.enc",
        "rsa-plain1000.enc",
        "plain1000.bin",
    ] {
        room.write(name, &vector(&format!("enc_img/{name}")));
    }
    room.write("fw.bin", &firmware());
    room
}

#[test]
fn the_vendors_images_are_opened_with_every_kind_of_key() {
    let room = room();
    for (number, line) in [
        "rsa-plain1000.enc OUT --key rsa3072.pem",
        "ecc-plain1000.enc OUT --key device_priv_key.pem",
        "ecc-plain1000.enc OUT --hmac-key device_hmac_key.bin",
    ]
    .iter()
    .enumerate()
    {
        let out = format!("out{number}");
        room.ok(&format!(
            "esp encrypted-img decrypt {}",
            line.replace("OUT", &out)
        ));
        assert_eq!(room.read(&out), room.read("plain1000.bin"), "{line}");
    }
}

#[test]
fn an_image_goes_there_and_back_in_both_schemes() {
    let room = room();
    for (public, secret) in [
        ("rsa3072-pub.pem", "rsa3072.pem"),
        ("device_pub_key.pem", "device_priv_key.pem"),
    ] {
        room.ok(&format!(
            "esp encrypted-img encrypt fw.bin c.enc --force --key {public}"
        ));
        room.ok(&format!(
            "esp encrypted-img decrypt c.enc back.bin --force --key {secret}"
        ));
        assert_eq!(room.read("back.bin"), firmware());
    }
}

/// R29.
#[test]
fn a_vendor_image_cut_at_63_percent_is_refused_by_size_and_nothing_is_written() {
    let room = room();
    let whole = room.read("ecc-plain1000.enc");
    room.write("cut.enc", &whole[..whole.len() * 63 / 100]);
    let stderr = room.fails(
        1,
        "esp encrypted-img decrypt cut.enc out --key device_priv_key.pem",
    );
    assert!(stderr.contains("size"), "{stderr}");
    assert!(!room.files().contains(&"out".to_owned()));
}

/// R32.
#[test]
fn two_hmac_keys_give_two_devices_that_open_only_their_own_image() {
    let room = room();
    room.ok("esp encrypted-img device-key --hmac-key device_hmac_key.bin -o pub.pem");
    assert_eq!(room.read("pub.pem"), room.read("device_pub_key.pem"));
    let mut list = String::from("serial,vendor_image\n");
    for number in [1_u8, 2] {
        room.write(&format!("{number}.hmac"), &[number; 32]);
        room.ok(&format!(
            "esp encrypted-img device-key --hmac-key {number}.hmac -o {number}.pem"
        ));
        let text = String::from_utf8(room.read(&format!("{number}.pem"))).unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let base64 = base64::engine::general_purpose::STANDARD;
        let der = base64.decode(body).unwrap();
        let point = base64.encode(&der[der.len() - 65..]);
        list.push_str(&format!("D{number},p256:{point}\n"));
    }
    room.write("list.csv", list.as_bytes());
    room.ok("esp encrypted-img encrypt fw.bin --to-list list.csv --out-dir out");
    for (device, key, code) in [(1, 1, 0), (1, 2, 1), (2, 1, 1), (2, 2, 0)] {
        let line = format!(
            "esp encrypted-img decrypt out/D{device}.enc got-{device}-{key} --hmac-key {key}.hmac"
        );
        let done = room.run(&line);
        assert_eq!(done.code, code, "{line}: {}", done.stderr);
    }
    assert_eq!(room.read("got-1-1"), firmware());
    assert!(!room.files().contains(&"got-1-2".to_owned()));
}

#[test]
fn the_wrong_kind_of_input_is_named() {
    let room = room();
    let stderr = room.fails(
        1,
        "esp encrypted-img encrypt ecc-plain1000.enc x --key rsa3072-pub.pem",
    );
    assert!(stderr.contains("encrypted already"), "{stderr}");
    let stderr = room.fails(1, "esp encrypted-img decrypt fw.bin x --key rsa3072.pem");
    assert!(stderr.contains("no pre-encrypted image"), "{stderr}");
    let stderr = room.fails(
        1,
        "esp encrypted-img decrypt ecc-plain1000.enc x --key device_pub_key.pem",
    );
    assert!(stderr.contains("public key"), "{stderr}");
    room.fails(
        1,
        "esp encrypted-img decrypt ecc-plain1000.enc x --key rsa3072.pem",
    );
    assert!(!room.files().contains(&"x".to_owned()));
}

/// R01.
#[test]
fn an_audit_names_rd_dis_and_says_never() {
    let room = Room::new();
    room.write("f.json", &vector("efuse/esp32c3-wrong-order.step2.json"));
    let line = "esp efuse audit --chip esp32c3 --policy release --state f.json";
    let stderr = room.fails(1, line);
    assert!(stderr.contains("RD_DIS (never)"), "{stderr}");
    let done = room.run(&format!("{line} --json"));
    let audit: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code, &audit["ok"]), (1, &false.into()));
}

#[test]
fn a_finished_chip_passes_the_audit() {
    let room = Room::new();
    room.write("f.json", &vector("efuse/esp32c3-fe-sb.step11.json"));
    let audit = room.json("esp efuse audit --chip esp32c3 --policy release --state f.json");
    assert_eq!(audit["ok"], true);
    let stderr = room.fails(
        1,
        "esp efuse audit --chip esp32 --policy release --state f.json",
    );
    assert!(stderr.contains("FLASH_CRYPT_CNT"), "{stderr}");
}
