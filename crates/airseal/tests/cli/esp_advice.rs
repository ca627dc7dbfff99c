//! What the commands for Espressif's formats say of a mistake names the mistake, and the remedy fits the command.

use crate::esp_data::{encrypted_flash, flash, vector};
use crate::harness::Room;

/// Each line ends with exit code 1 and says every word.
#[track_caller]
fn refused(room: &Room, cases: &[(&str, &[&str])]) {
    for (line, words) in cases {
        let stderr = room.fails(1, line);
        for word in *words {
            assert!(stderr.contains(word), "{line}: no {word:?} in {stderr}");
        }
    }
}

/// R08.
#[test]
fn r08_plain_otadata_in_an_encrypted_flash_is_told() {
    let room = Room::new();
    let mut dump = encrypted_flash(&room);
    room.write("erased", &[0xFF; 0x2000]);
    room.ok("esp otadata select --slots 2 --factory --running 0 --slot 1 erased plain");
    dump[0xD000..0xF000].copy_from_slice(&room.read("plain"));
    room.write("flash.bin", &dump);
    let line = "esp flash-check flash.bin --chip esp32c3 --key key";
    let shown = room.run(line);
    assert!(
        shown.stdout.contains("BAD 0x0000d000 otadata")
            && shown.stdout.contains("is not encrypted"),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stdout.contains("encrypt it for address 0xd000"),
        "{}",
        shown.stdout
    );
    room.write("part", &dump[0xD000..0xF000]);
    room.ok("esp flash-encrypt part moved --chip esp32c3 --key key --address 0x20000");
    dump[0xD000..0xF000].copy_from_slice(&room.read("moved"));
    room.write("flash.bin", &dump);
    let shown = room.run(line).stdout;
    assert!(
        shown.contains("was encrypted for address 0x20000"),
        "{shown}"
    );
    room.ok("esp flash-encrypt part part.enc --chip esp32c3 --key key --address 0xd000 --force");
    dump[0xD000..0xF000].copy_from_slice(&room.read("part.enc"));
    room.write("flash.bin", &dump);
    assert_eq!(room.json(line)["boots"], "ota_1");
}

#[test]
fn what_is_no_dump_of_this_chip_is_told_by_what_it_is() {
    let room = Room::new();
    room.write("app.bin", &vector("images/app.bin"));
    room.write("flash.bin", &flash());
    refused(
        &room,
        &[
            (
                "esp flash-check app.bin --chip esp32c3",
                &["is an application, not the dump of a flash", "esp info"],
            ),
            (
                "esp flash-check app.bin --chip esp32",
                &["is an application, not the dump of a flash"],
            ),
            (
                "esp flash-check flash.bin --chip esp32",
                &["esp32c3 at 0x0", "--chip esp32c3"],
            ),
        ],
    );
}

#[test]
fn no_byte_of_a_key_is_shown() {
    let room = Room::new();
    room.ok("esp nvs keys nvs.key");
    let keys = room.read("nvs.key");
    let key: Vec<u8> = (0xC0..0xE0).collect();
    room.write("k32", &key);
    room.write("k64", &[&key[..], &keys[..32]].concat());
    room.write("k68", &keys[..68]);
    let mut torn = keys.clone();
    torn[64] ^= 1;
    room.write("torn.key", &torn);
    let cases: &[(&str, &[&str])] = &[
        ("esp info k32", &["32 bytes", "perhaps a key"]),
        ("esp info k64", &["64 bytes", "perhaps a key"]),
        ("esp info k68", &["NVS keys", "CRC holds", "--keys"]),
        ("esp info nvs.key", &["NVS keys", "CRC holds", "--keys"]),
        ("esp info torn.key", &["NVS keys", "CRC does not hold"]),
    ];
    refused(&room, cases);
    for (line, _) in cases {
        let shown = room.run(line).stderr;
        for start in [&key, &keys] {
            let start = hex::encode(&start[..4]);
            assert!(!shown.contains(&start), "{line}: {shown}");
        }
    }
    room.write("rsa.pem", &vector("secureboot/v2-rsa0.pem"));
    refused(&room, &[("esp info rsa.pem", &["esp key-digest --key"])]);
}

#[test]
fn secrets_that_others_can_read_are_warned_of() {
    let room = Room::new();
    room.write("64.bin", &[1; 64]);
    room.write("app.bin", &vector("images/app.bin"));
    for (name, bytes) in [
        ("key", vec![9; 32]),
        ("rsa.pem", vector("secureboot/v2-rsa0.pem")),
        ("fleet.pem", vector("enc_img/rsa3072.pem")),
        ("ec256.pem", vector("secureboot/v2-ec256.pem")),
    ] {
        room.write_secret(name, &bytes);
    }
    room.write("container", &vector("enc_img/rsa-plain1000.enc"));
    let lines = [
        (
            "key",
            "esp flash-encrypt 64.bin - --chip esp32c3 --key key --address 0",
        ),
        (
            "key",
            "esp flash-decrypt 64.bin - --chip esp32c3 --key key --address 0",
        ),
        ("key", "esp nvs keys - --hmac-key key"),
        ("key", "esp encrypted-img device-key --hmac-key key -o -"),
        (
            "fleet.pem",
            "esp encrypted-img decrypt container - --key fleet.pem",
        ),
        ("rsa.pem", "esp sign --scheme v2 --key rsa.pem app.bin -"),
        ("ec256.pem", "esp key-digest --scheme v1 --key ec256.pem -"),
        ("key", "bridge aes-cbc encrypt --key key 64.bin -"),
    ];
    for (name, line) in lines {
        let quiet = room.run(line);
        assert_eq!(quiet.code, 0, "{line}: {}", quiet.stderr);
        assert!(!quiet.stderr.contains("read"), "{line}: {}", quiet.stderr);
        let path = room.write(name, &room.read(name));
        open_to_all(&path);
        let warned = room.run(line);
        let told = warned.stderr.contains("warning") && warned.stderr.contains(name);
        assert!(warned.code == 0 && told, "{line}: {}", warned.stderr);
        room.write_secret(name, &room.read(name));
    }
}

fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn signing_names_the_file_and_what_can_be_signed() {
    let room = Room::new();
    let app = vector("images/app.bin");
    room.write("cut.bin", &app[..app.len() / 2]);
    room.write("app.elf", b"\x7FELF\x01\x01\x01\0");
    room.write("t.csv", b"a,data,nvs,0x9000,0x4000\n");
    room.write("t.bin", &vector("partitions/two_ota_factory.bin"));
    room.write("rsa.pem", &vector("secureboot/v2-rsa0.pem"));
    let line = |name: &str| format!("esp sign --scheme v2 --key rsa.pem {name} out");
    refused(
        &room,
        &[
            (&line("cut.bin"), &["build or copy the image again"]),
            (&line("app.elf"), &["ELF", "elf2image"]),
            (&line("t.bin"), &["partition table", "is not signed"]),
            (&line("t.csv"), &["text", "name the bootloader"]),
            (
                "esp verify-signature --scheme v1 --key rsa.pem t.bin",
                &["rsa.pem: is rsa3072"],
            ),
        ],
    );
    for name in ["cut.bin", "app.elf", "t.bin", "t.csv"] {
        let shown = room.run(&line(name)).stderr;
        let foreign = shown.contains("--chip none") || shown.contains("then encrypt");
        assert!(!foreign, "{name}: {shown}");
    }
}

#[test]
fn a_table_that_is_being_written_is_told_what_to_change() {
    let room = Room::new();
    let table = |rows: &str, options: &str, words: &[&str]| {
        room.write("t.csv", rows.replace('/', "\n").as_bytes());
        let line = format!("esp partitions to-bin t.csv out {options}");
        refused(&room, &[(&line, words)]);
        let shown = room.run(&line).stderr;
        let asks = shown.contains("the device really uses");
        assert_eq!(asks, rows.is_empty(), "{rows}: {shown}");
    };
    let large = "app,app,factory,0x10000,3M";
    table(large, "--flash-size 2MB", &["smaller", "--flash-size"]);
    let early = "n,data,nvs,0x9000,0x4000";
    table(
        early,
        "--offset 0x10000",
        &["0x11000", "leave the offset empty"],
    );
    let subtype = "n,data,nvz,0x9000,0x4000";
    table(subtype, "", &["SubType \"nvz\"", "nvs", "coredump"]);
    table("a,app,ota_16,,1M", "", &["\"ota_16\"", "ota_0 to ota_15"]);
    table("n,dta,nvs,,0x4000", "", &["Type \"dta\"", "app, data"]);
    table("n;data;nvs;;0x4000", "", &["Type is empty", "commas"]);
    table("n,data,nvs,$X,0x4000", "", &["\"$X\"", "not expanded"]);
    table("n,data,nvs,,4G", "", &["Size \"4G\"", "24K"]);
    table(
        "n,data,nvs,,0x4000,crypt",
        "",
        &["Flags \"crypt\"", "encrypted"],
    );
    table("", "", &["no row"]);
    let twice = "n,data,nvs,,0x4000/n,data,phy,,0x1000";
    table(twice, "", &["same name", "change this row"]);
    room.write("t.csv", b"n,data,nvs,,0x4000,encrypted\n");
    let done = room.run("esp partitions to-bin t.csv out");
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stderr.contains("leave out the flag"),
        "{}",
        done.stderr
    );
}

#[test]
fn what_lies_behind_a_signed_image_is_named() {
    let room = Room::new();
    let signed = vector("secureboot/v2-rsa0-app.signed");
    room.write("signed", &signed);
    let shown = room.json("esp info signed").to_string();
    assert!(shown.contains(r#""trailing":"signature""#), "{shown}");
    let shown = room.ok("esp info signed");
    assert!(shown.contains("then padding and the signature"), "{shown}");
    room.write("more", &[&signed[..], &[1; 16]].concat());
    let shown = room.ok("esp info more");
    assert!(shown.contains("then other data"), "{shown}");
}

#[test]
fn pages_of_an_nvs_are_counted_in_one_way() {
    let room = Room::new();
    room.write(
        "n.csv",
        b"key,type,encoding,value\nspace,namespace,,\nnumber,data,u8,7\n",
    );
    let made = room.ok("esp nvs to-bin n.csv n.bin --size 0x6000");
    let shown = room.ok("esp info n.bin");
    assert!(made.contains("1 of 5 pages in use"), "{made}");
    assert!(
        shown.contains("1 of 5 in use, one more in reserve"),
        "{shown}"
    );
}

#[test]
fn lists_and_policies_are_told_what_is_missing_or_too_much() {
    let room = Room::new();
    room.write("app.bin", &vector("images/app.bin"));
    room.write("list.csv", b"serial,key\na,b\n");
    let nvs = "key,type,encoding,value\nspace,namespace,,\nnumber,data,u8,7\n";
    room.write("two.csv", format!("{nvs}{nvs}").as_bytes());
    room.write(
        "policy.json",
        br#"{"name":"mine","base":"release","except":["DIS_USB_JTAGG"]}"#,
    );
    room.write("summary.json", &vector("efuse/esp32c3-fe-sb.step0.json"));
    let audit = "esp efuse audit --chip esp32c3 --state summary.json --policy";
    refused(
        &room,
        &[
            (
                "esp encrypted-img encrypt app.bin --to-list list.csv --out-dir d",
                &[
                    "list.csv line 1: names no column vendor_image",
                    "serial,vendor_image",
                ],
            ),
            (
                "esp nvs to-bin two.csv out --size 0x3000",
                &["line 4", "second line of column names", "leave it out"],
            ),
            (
                &format!("{audit} relaese"),
                &["no such policy", "development"],
            ),
            (
                &format!("{audit} policy.json"),
                &["except names DIS_USB_JTAGG"],
            ),
            (
                "esp otadata show app.bin --slots 2",
                &["0x2000 bytes, here are more"],
            ),
        ],
    );
}

#[test]
fn requests_and_digests_are_called_what_they_are() {
    let room = Room::new();
    room.write("c6.bin", &vector("images/esp32c6-bootloader.bin"));
    room.write("c3.bin", &vector("images/esp32c3-bootloader.bin"));
    room.ok("esp sign-request --scheme v2 c6.bin -o c6");
    room.ok("esp sign-request --scheme v2 c3.bin -o c3");
    let about = |name: &str| -> serde_json::Value {
        let text = room.read(name);
        assert_eq!(text.last(), Some(&b'\n'));
        serde_json::from_slice(&text).unwrap()
    };
    let c6 = about("c6.json")["schemes"].to_string();
    assert!(c6.contains("ecdsa256") && c6.contains("rsa3072"), "{c6}");
    let c3 = about("c3.json")["schemes"].to_string();
    assert_eq!(c3, r#"[{"hash":"sha256","scheme":"rsa3072"}]"#);
    room.write_secret("digest.key", &[7; 32]);
    room.write("esp32.bin", &vector("images/esp32-bootloader.bin"));
    let done = room.ok("esp sign --scheme v1 --bootloader --key digest.key esp32.bin out");
    assert!(done.contains("digest (v1) at 0x80"), "{done}");
    room.ok("esp image-info c3.bin");
}
