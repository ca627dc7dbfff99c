//! `airseal esp nvs`, on what Espressif's tool made.

use crate::harness::Room;

fn vector(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../../vectors/esp/nvs/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).unwrap()
}

fn room() -> Room {
    let room = Room::new();
    for name in [
        "types.csv",
        "types.bin",
        "types_v1.bin",
        "types_keys.bin",
        "files.csv",
        "files_hmac.bin",
        "pages.csv",
        "keys.bin",
        "hmac.key",
        "hmac_keys.bin",
    ] {
        room.write(name, &vector(name));
    }
    std::fs::create_dir(room.file("files")).unwrap();
    for name in [
        "cert.pem",
        "blob.bin",
        "hex.txt",
        "base64.txt",
        "number.txt",
        "large.bin",
    ] {
        let name = format!("files/{name}");
        room.write(&name, &vector(&name));
    }
    room
}

#[test]
fn partitions_are_made_as_espressif_tool_makes_them() {
    let room = room();
    for (line, want) in [
        ("types.csv OUT --size 0x3000", "types.bin"),
        ("types.csv OUT --size 12K --version 1", "types_v1.bin"),
        (
            "types.csv OUT --size 12288 --keys keys.bin",
            "types_keys.bin",
        ),
        (
            "files.csv OUT --size 0x3000 --hmac-key hmac.key",
            "files_hmac.bin",
        ),
    ] {
        let line = line.replace("OUT", "out.bin --force");
        let text = room.ok(&format!("esp nvs to-bin {line}"));
        assert!(text.contains("1 of 2 pages in use"), "{text}");
        assert_eq!(room.read("out.bin"), room.read(want), "{line}");
    }
}

#[test]
fn a_partition_goes_to_csv_and_back_with_each_kind_of_key() {
    let room = room();
    for (partition, keys) in [
        ("types.bin", ""),
        ("types_keys.bin", "--keys keys.bin"),
        ("files_hmac.bin", "--hmac-key hmac.key"),
        ("files_hmac.bin", "--keys hmac_keys.bin"),
    ] {
        room.ok(&format!(
            "esp nvs to-csv {partition} out.csv --force {keys}"
        ));
        room.ok(&format!(
            "esp nvs to-bin out.csv back.bin --force --size 0x3000 {keys}"
        ));
        assert_eq!(room.read("back.bin"), room.read(partition), "{keys}");
    }
}

#[test]
fn keys_are_new_or_those_that_a_device_derives() {
    let room = room();
    room.ok("esp nvs keys derived.bin --hmac-key hmac.key");
    assert_eq!(room.read("derived.bin"), room.read("hmac_keys.bin"));
    let written = room.json("esp nvs keys new.bin");
    assert_eq!(written["keys"], "new");
    room.ok("esp nvs keys other.bin");
    assert_ne!(room.read("new.bin"), room.read("other.bin"));
    room.ok("esp nvs to-bin types.csv out.bin --size 0x3000 --keys new.bin");
    room.ok("esp nvs to-csv out.bin out.csv --keys new.bin");
    let error = room.fails(1, "esp nvs to-csv out.bin no.csv --keys other.bin");
    assert!(error.contains("other keys"), "{error}");
}

#[cfg(unix)]
#[test]
fn keys_and_what_was_encrypted_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let room = room();
    room.ok("esp nvs keys new.bin");
    room.ok("esp nvs to-csv types_keys.bin out.csv --keys keys.bin");
    for name in ["new.bin", "out.csv"] {
        let mode = std::fs::metadata(room.file(name)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn standard_streams_take_the_place_of_files() {
    let room = room();
    let done = room.run_with("esp nvs to-bin - - --size 0x3000", &room.read("types.csv"));
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(done.bytes, room.read("types.bin"));
}

#[test]
fn the_result_says_what_is_in_the_partition() {
    let room = room();
    let made = room.json("esp nvs to-bin pages.csv out.bin --size 0x7000");
    assert_eq!(made["nvs"]["pairs"], 104);
    assert_eq!(made["nvs"]["pages"], 5);
    assert_eq!(made["nvs"]["usable_pages"], 6);
    assert_eq!(made["nvs"]["encrypted"], false);
    let read = room.json("esp nvs to-csv out.bin back.csv");
    assert_eq!(read["nvs"], made["nvs"]);
}

#[test]
fn info_recognises_a_partition_with_and_without_encryption() {
    let room = room();
    let plain = room.json("esp info types.bin");
    assert_eq!(plain["kind"], "nvs");
    assert_eq!(plain["namespaces"][1], "texts");
    assert_eq!(plain["used_pages"], 1);
    let encrypted = room.ok("esp info types_keys.bin");
    assert!(encrypted.contains("format 2, encrypted"), "{encrypted}");
    let mut damaged = room.read("types.bin");
    damaged[0x85] ^= 1;
    room.write("damaged.bin", &damaged);
    let error = room.fails(1, "esp info damaged.bin");
    assert!(error.contains("0x80"), "{error}");
}

#[test]
fn what_can_not_be_made_is_refused_and_nothing_is_written() {
    let room = room();
    room.write(
        "long.csv",
        b"key,type,encoding,value\nn,namespace,,\nsixteen_letters_,data,u8,1\n",
    );
    let before = room.files();
    for (line, want) in [
        ("to-bin pages.csv out --size 0x4000", "line 103"),
        ("to-bin types.csv out --size 0x3001", "multiple of 0x1000"),
        ("to-bin long.csv out --size 0x3000", "line 3"),
        (
            "to-bin types.bin out --size 0x3000",
            "NVS partition already",
        ),
        (
            "to-bin types.csv out --size 0x3000 --keys hmac.key",
            "--hmac-key",
        ),
        (
            "to-bin types.csv out --size 0x3000 --hmac-key keys.bin",
            "32",
        ),
        ("to-csv types_keys.bin out", "--keys"),
        (
            "to-csv types_keys.bin out --hmac-key hmac.key",
            "other keys",
        ),
        ("to-csv types.bin out --keys keys.bin", "not encrypted"),
        ("to-csv keys.bin out", "page"),
        ("to-csv files/large.bin out", "without structure"),
    ] {
        let error = room.fails(1, &format!("esp nvs {line}"));
        assert!(error.contains(want), "{line}: {error}");
        assert_eq!(room.files(), before, "{line}");
    }
    let both = "esp nvs to-csv types_keys.bin out --keys keys.bin --hmac-key hmac.key";
    let error = room.fails(2, both);
    assert!(error.contains("--hmac-key"), "{error}");
    let error = room.fails(
        2,
        "esp nvs to-bin types.csv types.csv --size 0x3000 --force",
    );
    assert!(error.contains("read by this command"), "{error}");
    assert_eq!(room.files(), before);
}

#[test]
fn the_rows_of_the_wifi_driver_are_left_out_on_request() {
    let room = Room::new();
    room.write(
        "in.csv",
        b"key,type,encoding,value\nwifi,namespace,,\nsta.ssid,data,string,home\n",
    );
    let line = "esp nvs to-bin in.csv out.bin --size 0x3000";
    let pairs = |made: serde_json::Value| made["nvs"]["pairs"].clone();
    assert_eq!(pairs(room.json(line)), 4);
    let line = format!("{line} --force --no-wifi-rows");
    assert_eq!(pairs(room.json(&line)), 1);
    let done = room.run("esp nvs to-csv out.bin -");
    assert!(done.stderr.contains("--no-wifi-rows"), "{}", done.stderr);
    assert!(done.stdout.ends_with("sta.ssid,data,string,home\n"));
}
