//! Files that are missing, are directories, stand on both sides or may not be written, for every command of `esp` and `bridge`:
//! one error, the exit code of its kind, and not one file changed.

use std::collections::BTreeMap;

use crate::esp_data::{signed_flash, vector};
use crate::harness::Room;

/// `{NAME}` is a file that the command reads, the last of them its subject; `OUT` is what it writes.
const COMMANDS: [&str; 27] = [
    "esp info {app.bin}",
    "esp flash-check --chip esp32c3 --sb-key {boot.pem} {dump.bin}",
    "esp partitions to-bin {table.csv} OUT",
    "esp partitions to-csv {table.csv} OUT",
    "esp flash-encrypt --chip esp32c3 --key {flash.key} --address 0x10000 {app.bin} OUT",
    "esp flash-decrypt --chip esp32c3 --key {flash.key} --address 0x10000 {app.enc} OUT",
    "esp otadata show --slots 2 {otadata.bin}",
    "esp otadata select --slots 2 --factory --running factory --slot 1 {otadata.bin} OUT",
    "esp nvs to-bin --size 0x6000 --keys {nvs.keys} {nvs.csv} OUT",
    "esp nvs to-csv --keys {nvs.keys} {nvs.bin} OUT",
    "esp nvs keys --hmac-key {hmac.bin} OUT",
    "esp sign --scheme v2 --key {boot.pem} {app.bin} OUT",
    "esp sign --scheme v1 --bootloader --key {flash.key} --iv {iv.bin} {boot.bin} OUT",
    "esp verify-signature --scheme v2 --key {boot.pem} {signed.bin}",
    "esp key-digest --key {boot.pem} OUT",
    "esp key-digest --scheme v1 --key {p256.pem} OUT",
    "esp sign-request --scheme v2 {app.bin} -o OUT",
    "esp attach-signature --scheme v2 --key {boot.pem} --signature {signature} {app.bin} OUT",
    "esp encrypted-img encrypt --key {fleet.pem} {app.bin} OUT",
    "esp encrypted-img decrypt --key {fleet.pem} {container} OUT",
    "esp encrypted-img device-key --hmac-key {hmac.bin} -o OUT",
    "esp efuse audit --chip esp32c3 --policy release --state {efuses.json}",
    "bridge aes-cbc encrypt --key {flash.key} --sign {p256.pem} {app.bin} OUT",
    "bridge aes-cbc decrypt --key {flash.key} --verify {p256.pem} {layer.bin} OUT",
    "bridge mcuboot encrypt --sign {p256.pem} --to {to.pem} --version 1.2.3 {payload.bin} OUT",
    "bridge mcuboot decrypt --key {to.pem} --verify {p256.pem} {mcuboot.img} OUT",
    "bridge mcuboot verify --key {to.pem} --verify {p256.pem} {mcuboot.img}",
];

/// A room in which every command of [`COMMANDS`] succeeds.
fn room() -> Room {
    let room = Room::new();
    for (name, path) in [
        ("app.bin", "images/app.bin"),
        ("boot.bin", "images/esp32-bootloader.bin"),
        ("boot.pem", "secureboot/v2-rsa0.pem"),
        ("p256.pem", "mcuboot/sign-ec256.pem"),
        ("to.pem", "mcuboot/enc-ec256.pem"),
        ("payload.bin", "mcuboot/payload.bin"),
        ("fleet.pem", "enc_img/rsa3072.pem"),
        ("container", "enc_img/rsa-plain1000.enc"),
        ("hmac.bin", "enc_img/device_hmac_key.bin"),
        ("efuses.json", "efuse/esp32c3-fe-sb.step11.json"),
    ] {
        room.write(name, &vector(path));
    }
    room.write("flash.key", &[0x5A; 32]);
    room.write("iv.bin", &[3; 128]);
    room.write("dump.bin", &signed_flash());
    room.write("otadata.bin", &[0xFF; 0x2000]);
    room.write("table.csv", b"a,app,factory,0x10000,1M\n");
    room.write(
        "nvs.csv",
        b"key,type,encoding,value\nns,namespace,,\na,data,u8,1\n",
    );
    let flash_crypt = "--chip esp32c3 --key flash.key --address 0x10000";
    for line in [
        "esp nvs keys nvs.keys",
        "esp nvs to-bin --size 0x6000 --keys nvs.keys nvs.csv nvs.bin",
        "esp sign --scheme v2 --key boot.pem app.bin signed.bin",
        "esp sign-request --scheme v2 app.bin -o request",
        "bridge aes-cbc encrypt --key flash.key --sign p256.pem app.bin layer.bin",
        "bridge mcuboot encrypt --sign p256.pem --to to.pem --version 1.2.3 payload.bin mcuboot.img",
        &format!("esp flash-encrypt {flash_crypt} app.bin app.enc"),
    ] {
        room.ok(line);
    }
    // The signature as it stands in the first block behind the image: little-endian, behind digest, modulus, exponent, R and M'.
    let signed = room.read("signed.bin");
    let block = &signed[signed.len() - 4096..];
    let signature: Vec<u8> = block[812..812 + 384].iter().rev().copied().collect();
    room.write("signature", &signature);
    std::fs::create_dir(room.file("folder")).unwrap();
    room
}

/// The files that a command of the table reads.
fn inputs(command: &str) -> Vec<&str> {
    let parts = command.split('{').skip(1);
    parts.filter_map(|part| part.split('}').next()).collect()
}

/// The command with `file` in the place of one of its inputs.
fn with(command: &str, input: &str, file: &str) -> String {
    plain(&command.replace(&format!("{{{input}}}"), file))
}

fn plain(command: &str) -> String {
    command.replace(['{', '}'], "")
}

fn writing() -> impl Iterator<Item = &'static str> {
    COMMANDS
        .into_iter()
        .filter(|command| command.contains("OUT"))
}

fn content(room: &Room) -> BTreeMap<String, Vec<u8>> {
    let names = room.files().into_iter();
    names
        .filter(|name| room.file(name).is_file())
        .map(|name| (name.clone(), room.read(&name)))
        .collect()
}

/// One error that names `name` and has every word; nothing on standard output, no file changed.
#[track_caller]
fn refuses(room: &Room, code: i32, line: &str, words: &[&str]) {
    let before = content(room);
    let done = room.run(line);
    assert_eq!(
        done.code, code,
        "airseal {line}\n{}{}",
        done.stdout, done.stderr
    );
    assert_eq!(done.stdout, "", "airseal {line}");
    for word in words {
        assert!(
            done.stderr.contains(word),
            "{line}: no {word:?} in {}",
            done.stderr
        );
    }
    assert!(content(room) == before, "airseal {line}: a file changed");
}

#[test]
fn every_command_of_the_table_does_its_work() {
    let room = room();
    for command in COMMANDS {
        let line = plain(command);
        if !command.contains("OUT") {
            room.json(&line);
        } else {
            let shown = room.json(&format!("{line} --force"));
            let name = shown.get("output").or(shown.get("request"));
            assert_eq!(name.unwrap(), "OUT", "{line}");
            assert!(!room.read("OUT").is_empty(), "{line}");
        }
    }
}

#[test]
fn a_missing_file_is_named_and_nothing_is_written() {
    let room = room();
    for command in COMMANDS {
        for input in inputs(command) {
            let line = with(command, input, "absent");
            refuses(&room, 3, &line, &["absent", "No such file"]);
        }
    }
}

#[test]
fn a_directory_in_the_place_of_a_file_is_named_and_nothing_is_written() {
    let room = room();
    for command in COMMANDS {
        for input in inputs(command) {
            let line = with(command, input, "folder");
            refuses(&room, 1, &line, &["folder", "directory", "what to do"]);
        }
    }
    for command in writing() {
        let line = plain(command).replace("OUT", "folder");
        refuses(&room, 1, &line, &["folder", "directory", "what to do"]);
    }
}

#[test]
fn a_file_that_is_read_is_never_the_output_even_with_force() {
    let room = room();
    for command in writing() {
        for input in inputs(command) {
            for name in [input.to_owned(), format!("folder/../{input}")] {
                let line = plain(&command.replace("OUT", &name));
                let words = [input, "is read by this command", "what to do"];
                refuses(&room, 2, &format!("{line} --force"), &words);
            }
        }
    }
    room.write("x.json", &room.read("app.bin"));
    let line = "esp sign-request --scheme v2 x.json -o x --force";
    refuses(&room, 2, line, &["x.json", "is read by this command"]);
}

#[test]
fn an_output_that_exists_stays_without_force() {
    let room = room();
    room.write("OUT", b"before");
    for command in writing() {
        let line = plain(command);
        refuses(&room, 1, &line, &["OUT", "exists already", "--force"]);
    }
    std::fs::remove_file(room.file("OUT")).unwrap();
    room.write("OUT.json", b"before");
    let line = "esp sign-request --scheme v2 app.bin -o OUT";
    refuses(&room, 1, line, &["OUT.json", "exists already", "--force"]);
}

#[test]
fn a_place_that_can_not_be_written_is_named() {
    let room = room();
    for command in writing() {
        let line = plain(command).replace("OUT", "no/such/OUT");
        refuses(&room, 3, &line, &["no/such/OUT", "No such file"]);
    }
    if cfg!(target_os = "linux") {
        for command in writing() {
            let line = plain(command).replace("OUT", "/proc/OUT");
            refuses(&room, 3, &line, &["/proc/OUT"]);
        }
    }
}

#[test]
fn standard_input_and_output_stand_for_files() {
    let room = room();
    for command in COMMANDS {
        let inputs = inputs(command);
        let subject = inputs.last().unwrap();
        let line = with(command, subject, "-").replace("OUT", "piped --force");
        let done = room.run_with(&line, &room.read(subject));
        assert_eq!(done.code, 0, "airseal {line}\n{}", done.stderr);
    }
    for command in writing() {
        let to_file = plain(command).replace("OUT", "piped --force");
        room.ok(&to_file);
        let line = plain(command).replace("OUT", "-");
        let done = room.run(&line);
        assert_eq!(done.code, 0, "airseal {line}\n{}", done.stderr);
        // Ciphertexts and RSA-PSS signatures are new each time, their lengths are not.
        assert_eq!(done.bytes.len(), room.read("piped").len(), "airseal {line}");
    }
}
