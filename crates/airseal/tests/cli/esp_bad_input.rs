//! Bad input to the commands for Espressif's formats: a clear error with the remedy, exit code 1, nothing written.

use crate::esp_data::{flash, signed_flash, vector};
use crate::harness::Room;

/// A room with images, keys and files that are no images.
fn room() -> Room {
    let room = Room::new();
    for (name, path) in [
        ("app.bin", "images/app.bin"),
        ("app-c6.bin", "images/app-esp32c6-mmu.bin"),
        ("boot.bin", "images/esp32c3-bootloader.bin"),
        ("boot-c6.bin", "images/esp32c6-bootloader.bin"),
        ("rsa0.pem", "secureboot/v2-rsa0.pem"),
        ("rsa1.pem", "secureboot/v2-rsa1.pem"),
        ("ec192.pem", "secureboot/v2-ec192.pem"),
        ("ec256.pem", "secureboot/v2-ec256.pem"),
        ("ec256b.pem", "secureboot/v2-ec256b.pem"),
        ("ec384.pem", "secureboot/v2-ec384.pem"),
        ("rsa2048.pem", "mcuboot/sign-rsa2048.pem"),
        ("ed25519.pem", "mcuboot/sign-ed25519.pem"),
        ("fleet.pem", "enc_img/rsa3072.pem"),
        ("container", "enc_img/rsa-plain1000.enc"),
    ] {
        room.write(name, &vector(path));
    }
    room.write("k24", &[7; 24]);
    room.write_secret("k32", &[7; 32]);
    room.write("k64", &[7; 64]);
    room.write("64.bin", &[1; 64]);
    room.write("37.bin", &[1; 37]);
    room
}

/// Each line is refused with exit code 1, says every word and what to do, and writes nothing.
#[track_caller]
fn refused(room: &Room, cases: &[(&str, &[&str])]) {
    let before = room.files();
    for (line, words) in cases {
        let stderr = room.fails(1, &format!("esp {line}"));
        for word in *words {
            assert!(stderr.contains(word), "{line}: no {word:?} in {stderr}");
        }
        assert!(stderr.contains("what to do"), "{line}: {stderr}");
        assert_eq!(room.files(), before, "{line}");
    }
}

/// The same for a partition table in CSV form, one row a `;`.
#[track_caller]
fn table_refused(rows: &str, words: &[&str]) {
    let room = Room::new();
    room.write("t.csv", rows.replace(';', "\n").as_bytes());
    refused(&room, &[("partitions to-bin t.csv x", words)]);
}

#[test]
fn unaligned_addresses_and_lengths() {
    refused(
        &room(),
        &[
            (
                "flash-encrypt 64.bin x --chip esp32c3 --key k32 --address 8",
                &["multiple of 16"],
            ),
            (
                "flash-decrypt 64.bin x --chip esp32 --key k32 --address 0x1008",
                &["multiple of 16"],
            ),
            (
                "flash-encrypt 37.bin x --chip esp32c3 --key k32 --address 0x10000",
                &["37", "pad"],
            ),
            (
                "flash-encrypt 37.bin x --chip esp32 --key k32 --address 0x10000",
                &["37", "pad"],
            ),
            (
                "flash-encrypt app.bin x --chip esp32c3 --key k32 --address 0x18000",
                &["0x10000"],
            ),
        ],
    );
    table_refused("a,data,nvs,0x9100,0x3000", &["0x1000"]);
    table_refused("a,app,factory,0x10000,0x1234", &["size", "0x1000"]);
}

#[test]
fn areas_that_overlap_or_leave_the_flash() {
    refused(
        &room(),
        &[
            (
                "flash-encrypt 64.bin x --chip esp32c3 --key k32 --address 0xfffffff0",
                &["address space"],
            ),
            (
                "flash-encrypt 64.bin x --chip esp32 --key k32 --address 0xfffff0",
                &["0x1000000"],
            ),
        ],
    );
    table_refused(
        "a,data,nvs,0x9000,0x4000;b,data,phy,0xa000,0x1000",
        &["a", "0xa000"],
    );
    table_refused("a,data,nvs,0x8000,0x4000", &["0x9000"]);
    let room = Room::new();
    room.write("t.csv", b"a,app,factory,0x10000,4M\n");
    refused(
        &room,
        &[("partitions to-bin t.csv x --flash-size 4MB", &["flash"])],
    );
    room.write("flash.bin", &flash()[..0x20_0000]);
    let stderr = room.fails(1, "esp flash-check flash.bin --chip esp32c3");
    assert!(
        stderr.contains("beyond the flash") && stderr.contains("not whole"),
        "{stderr}"
    );
}

#[test]
fn images_for_another_chip() {
    let room = room();
    room.write("digest.key", &[7; 32]);
    refused(
        &room,
        &[
            (
                "flash-encrypt app.bin x --chip esp32s3 --key k32 --address 0x10000",
                &["chip_id", "esp32c3"],
            ),
            (
                "sign --scheme v1 --key ec256.pem app.bin x",
                &["esp32c3", "--scheme v2"],
            ),
            (
                "sign --scheme v1 --bootloader --key digest.key boot.bin x",
                &["esp32c3", "--scheme v2"],
            ),
        ],
    );
    room.write("flash.bin", &flash());
    let stderr = room.fails(1, "esp flash-check flash.bin --chip esp32c6");
    assert!(
        stderr.contains("chip_id at offset 12 says esp32c3, not esp32c6"),
        "{stderr}"
    );
}

#[test]
fn more_than_three_signature_blocks() {
    let room = room();
    let keys = "--key rsa0.pem --key rsa1.pem --key ec256.pem";
    room.ok(&format!(
        "esp sign --scheme v2 --any-data {keys} 64.bin three.bin"
    ));
    refused(
        &room,
        &[
            (
                "sign --scheme v2 --any-data --append --key ec256b.pem three.bin x",
                &["one too many", "3", "fewer keys"],
            ),
            (
                "sign --scheme v2 --any-data --key rsa0.pem --key rsa1.pem --key ec256.pem --key ec256b.pem 64.bin x",
                &["one too many"],
            ),
        ],
    );
}

#[test]
fn keys_of_a_wrong_curve_or_size() {
    refused(
        &room(),
        &[
            (
                "sign --scheme v2 --key rsa2048.pem boot.bin x",
                &["2048", "RSA-3072"],
            ),
            (
                "sign --scheme v2 --key ed25519.pem boot.bin x",
                &["another kind"],
            ),
            (
                "sign --scheme v2 --key ec256.pem boot.bin x",
                &["esp32c3", "RSA-3072"],
            ),
            (
                "sign --scheme v2 --key ec384.pem boot-c6.bin x",
                &["ecdsa384", "esp32c6"],
            ),
            (
                "sign --scheme v1 --any-data --key ec192.pem 64.bin x",
                &["ecdsa192", "P-256"],
            ),
            ("key-digest --key rsa2048.pem x", &["2048"]),
            (
                "encrypted-img encrypt app.bin x --key rsa2048.pem",
                &["2048", "3072"],
            ),
            (
                "encrypted-img encrypt app.bin x --key ec384.pem",
                &["P-256"],
            ),
            (
                "encrypted-img decrypt container x --key ec192.pem",
                &["P-256"],
            ),
            (
                "flash-encrypt 64.bin x --chip esp32c3 --key k64 --address 0",
                &["64", "32"],
            ),
            (
                "encrypted-img device-key --hmac-key k64 -o x",
                &["64", "32"],
            ),
        ],
    );
}

#[test]
fn keys_of_24_bytes() {
    let room = room();
    refused(
        &room,
        &[
            (
                "flash-encrypt 64.bin x --chip esp32c3 --key k24 --address 0",
                &["24"],
            ),
            (
                "flash-decrypt 64.bin x --chip esp32s3 --key k24 --address 0",
                &["24"],
            ),
            (
                "sign --scheme v1 --bootloader --key k24 boot.bin x",
                &["24", "3/4 coding"],
            ),
            (
                "encrypted-img device-key --hmac-key k24 -o x",
                &["24", "32"],
            ),
        ],
    );
    room.ok("esp flash-encrypt 64.bin x --chip esp32 --key k24 --address 0");
}

#[test]
fn labels_longer_than_16_bytes() {
    table_refused("seventeen_letters,data,nvs,,0x4000", &["17 bytes", "16"]);
    table_refused(
        "zw\u{f6}lf_zeichen_12\u{fc},data,nvs,,0x4000",
        &["19 bytes"],
    );
}

#[test]
fn tables_out_of_order_or_without_checksum() {
    table_refused(
        "a,data,nvs,0xa000,0x3000;b,data,phy,0x9000,0x1000",
        &["b", "0x9000"],
    );
    let room = Room::new();
    let mut rows = vector("partitions/nomd5.bin");
    let (first, second) = rows.split_at_mut(32);
    first.swap_with_slice(&mut second[..32]);
    room.write("t.bin", &rows);
    let done = room.run("esp info t.bin");
    assert_eq!(done.code, 0, "{}", done.stderr);
    for word in ["no checksum", "before the one above it"] {
        assert!(done.stderr.contains(word), "{word}: {}", done.stderr);
    }
}

#[test]
fn two_otadata_partitions() {
    table_refused(
        "a,data,ota,0x9000,0x2000;b,data,ota,0xb000,0x2000",
        &["otadata"],
    );
}

#[test]
fn application_partitions_off_64_kib() {
    table_refused("a,app,factory,0x18000,1M", &["0x10000"]);
}

#[test]
fn an_application_without_a_descriptor() {
    let room = room();
    room.ok("key new --kind signing -o vendor");
    room.ok("key new --kind device -o dev");
    let before = room.files();
    let seal = "seal boot.bin -o x --sign vendor.key --to dev.pub --vendor a.example --class c --seq 1 --version 1";
    let stderr = room.fails(1, seal);
    assert!(stderr.contains("bootloader"), "{stderr}");
    let mut bare = vector("images/app.bin");
    bare[32] ^= 1;
    let flash = {
        let mut flash = flash();
        flash[0x11_0000 + 32] ^= 1;
        crate::esp_data::repair(&mut flash[0x11_0000..]);
        flash
    };
    crate::esp_data::repair(&mut bare);
    room.write("bare.bin", &bare);
    let stderr = room.fails(1, &seal.replace("boot.bin", "bare.bin"));
    assert!(
        stderr.contains("descriptor") && stderr.contains("--no-app-descriptor"),
        "{stderr}"
    );
    room.write("flash.bin", &flash);
    let done = room.run("esp flash-check flash.bin --chip esp32c3");
    assert!(
        done.stderr.contains("no application descriptor"),
        "{}",
        done.stderr
    );
    assert!(!room.files().contains(&"x".to_owned()) && before.len() + 2 == room.files().len());
}

#[test]
fn an_encrypted_image_where_a_plain_one_is_expected() {
    let room = room();
    room.ok("esp flash-encrypt boot.bin boot.enc --chip esp32c3 --key k32 --address 0");
    refused(
        &room,
        &[
            ("info boot.enc", &["encrypted", "flash-decrypt"]),
            (
                "info container",
                &["esp_encrypted_img", "encrypted-img decrypt"],
            ),
            (
                "flash-encrypt boot.enc x --chip esp32c3 --key k32 --address 0",
                &["encrypted"],
            ),
            (
                "flash-encrypt container x --chip esp32c3 --key k32 --address 0x10000",
                &["esp_encrypted_img"],
            ),
            (
                "encrypted-img encrypt container x --key fleet.pem",
                &["encrypted already"],
            ),
        ],
    );
}

#[test]
fn a_plain_image_where_an_encrypted_one_is_expected() {
    refused(
        &room(),
        &[
            (
                "flash-decrypt boot.bin x --chip esp32c3 --key k32 --address 0",
                &["not flash-encrypted"],
            ),
            (
                "encrypted-img decrypt app.bin x --key fleet.pem",
                &["no pre-encrypted image"],
            ),
        ],
    );
}

#[test]
fn a_signature_over_an_encrypted_image() {
    let room = room();
    room.ok("esp flash-encrypt boot.bin boot.enc --chip esp32c3 --key k32 --address 0");
    refused(
        &room,
        &[
            (
                "sign --scheme v2 --key rsa0.pem boot.enc x",
                &["sign first, then encrypt"],
            ),
            (
                "sign --scheme v1 --key ec256.pem boot.enc x",
                &["sign first, then encrypt"],
            ),
            (
                "sign-request --scheme v2 boot.enc -o x",
                &["sign first, then encrypt"],
            ),
            (
                "sign --scheme v2 --key rsa0.pem container x",
                &["esp_encrypted_img", "sign first"],
            ),
        ],
    );
}

#[test]
fn a_bootloader_whose_header_a_flashing_tool_rewrote_after_signing() {
    let room = room();
    let mut dump = signed_flash();
    dump[2] = 0;
    dump[3] = 0x3F;
    let hash = <sha2::Sha256 as sha2::Digest>::digest(&dump[..20560 - 32]);
    dump[20560 - 32..20560].copy_from_slice(&hash);
    let signed = vector("secureboot/v2-rsa0-bootloader.signed");
    room.write("boot.signed", &dump[..signed.len()]);
    refused(
        &room,
        &[(
            "verify-signature --scheme v2 --key rsa0.pem boot.signed",
            &["rewrote the header", "sign what is flashed"],
        )],
    );
    room.write("flash.bin", &dump);
    let stderr = room.fails(
        1,
        "esp flash-check flash.bin --chip esp32c3 --sb-key rsa0.pem",
    );
    assert!(
        stderr.contains("bootloader at 0x0") && stderr.contains("rewrote the header"),
        "{stderr}"
    );
}

#[test]
fn encrypted_otadata_is_not_read_as_records() {
    let room = room();
    room.write("k", &[9; 32]);
    room.write("ota.bin", &[0xFF; 0x2000]);
    room.ok("esp flash-encrypt ota.bin ota.enc --chip esp32c3 --key k --address 0xd000");
    let select = "otadata select --slots 2 --running ota_0 --slot ota_1 ota.enc x";
    let key = "--chip esp32c3 --address 0xd000 --slots 2";
    refused(
        &room,
        &[
            (select, &["without structure", "flash-decrypt"]),
            ("otadata show ota.enc --slots 2", &["without structure"]),
            (
                &format!("otadata show ota.enc --key k32 {key}"),
                &["another key or address"],
            ),
            (
                &format!("otadata show ota.bin --key k {key}"),
                &["without structure"],
            ),
        ],
    );
    room.ok(&format!("esp otadata show ota.enc --key k {key}"));
}

#[test]
fn another_key_or_address_of_encrypted_data() {
    let room = room();
    let encrypt = "esp flash-encrypt app.bin app.enc --chip esp32c3 --key k32 --address 0x110000";
    room.ok(encrypt);
    refused(
        &room,
        &[(
            "flash-decrypt app.enc x --chip esp32c3 --key k32 --address 0x10000",
            &["encrypted for 0x110000"],
        )],
    );
    room.write("other", &[8; 32]);
    let line = "esp flash-decrypt app.enc app.dec --chip esp32c3 --address 0x110000 --key";
    let done = room.run(&format!("{line} other"));
    assert!(
        done.stderr.contains("another key or address"),
        "{}",
        done.stderr
    );
    let done = room.run(&format!("{line} k32 --force"));
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert_eq!(room.read("app.dec"), room.read("app.bin"));
}

#[test]
fn what_no_chip_reads_through_flash_encryption() {
    let room = room();
    room.write("app.elf", b"\x7FELF\x01\x01\x01\0");
    room.write("t.csv", b"a,data,nvs,0x9000,0x4000\n");
    let place = "--chip esp32c3 --key k32 --address 0x10000";
    refused(
        &room,
        &[
            (
                &format!("flash-encrypt app.elf x {place}"),
                &["ELF", "elf2image"],
            ),
            (
                &format!("flash-encrypt t.csv x {place}"),
                &["as CSV", "to-bin"],
            ),
        ],
    );
    room.write(
        "n.csv",
        b"key,type,encoding,value\nspace,namespace,,\nnumber,data,u8,7\n",
    );
    room.ok("esp nvs to-bin n.csv nvs.bin --size 0x3000");
    room.write("flash.bin", &flash());
    for (file, word) in [("nvs.bin", "NVS partition"), ("flash.bin", "whole flash")] {
        let done = room.run(&format!(
            "esp flash-encrypt {file} {file}.enc --chip esp32c3 --key k32 --address 0"
        ));
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(done.stderr.contains(word), "{file}: {}", done.stderr);
    }
}

#[test]
fn a_container_of_what_is_no_firmware() {
    let room = room();
    let mut damaged = vector("images/app.bin");
    damaged[100] ^= 1;
    room.write("damaged.bin", &damaged);
    room.write("table.bin", &vector("partitions/two_ota_factory.bin"));
    room.write("app.elf", b"\x7FELF\x01\x01\x01\0");
    let line = |name: &str| format!("encrypted-img encrypt --key fleet.pem {name} x");
    refused(
        &room,
        &[
            (&line("damaged.bin"), &["the image is damaged"]),
            (&line("table.bin"), &["partition table"]),
            (&line("app.elf"), &["ELF"]),
            (&line("container"), &["encrypted already"]),
        ],
    );
    room.ok("esp flash-encrypt app.bin app.enc --chip esp32c3 --key k32 --address 0x10000");
    let done = room.run(&format!("esp {}", line("app.enc")));
    assert!(done.stderr.contains("no structure"), "{}", done.stderr);
}
