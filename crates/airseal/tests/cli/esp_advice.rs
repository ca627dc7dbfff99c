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
