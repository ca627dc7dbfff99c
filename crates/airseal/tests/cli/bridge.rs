//! `airseal bridge mcuboot`, on what imgtool made, and `airseal bridge aes-cbc`, against openssl.

use crate::harness::{Room, firmware};

fn mcuboot_room() -> Room {
    let room = Room::new();
    for name in [
        "enc-ec256-aes128.bin",
        "enc-ec256.pem",
        "enc-ec256-pub.pem",
        "enc-rsa2048-pub.pem",
        "sign-ec256.pem",
        "sign-ec256-pub.pem",
        "sign-ed25519-pub.pem",
        "payload.bin",
    ] {
        let path = format!(
            "{}/../../vectors/esp/mcuboot/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        room.write(name, &std::fs::read(path).unwrap());
    }
    room.write("fw.bin", &firmware());
    room
}

#[test]
fn an_image_of_imgtool_is_verified_and_opened() {
    let room = mcuboot_room();
    let image = "enc-ec256-aes128.bin";
    let keys = "--key enc-ec256.pem --verify sign-ec256-pub.pem";
    let shown = room.json(&format!("bridge mcuboot verify {image} {keys}"));
    assert_eq!(shown["encrypted"], true);
    room.ok(&format!("bridge mcuboot decrypt {image} out.bin {keys}"));
    let payload = room.read("payload.bin");
    assert_eq!(room.read("out.bin")[..payload.len()], payload);
}

#[test]
fn an_image_goes_there_and_back() {
    let room = mcuboot_room();
    room.ok("bridge mcuboot encrypt fw.bin fw.img --sign sign-ec256.pem --to enc-ec256-pub.pem --version 1.2.3+4");
    room.ok(
        "bridge mcuboot decrypt fw.img back.bin --key enc-ec256.pem --verify sign-ec256-pub.pem",
    );
    let firmware = firmware();
    let back = room.read("back.bin");
    assert_eq!(back[..firmware.len()], firmware);
    assert!(back[firmware.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn r33_a_pair_that_mcuboot_does_not_know_is_refused_with_those_that_work() {
    let room = mcuboot_room();
    let why = room.fails(
        1,
        "bridge mcuboot encrypt fw.bin fw.img --sign sign-ec256.pem --to enc-rsa2048-pub.pem --version 1.0.0",
    );
    assert!(why.contains("RSA") && why.contains("P-256"), "{why}");
    assert!(!room.file("fw.img").exists());
}

#[test]
fn an_image_of_somebody_else_leaves_nothing() {
    let room = mcuboot_room();
    let why = room.fails(
        1,
        "bridge mcuboot decrypt enc-ec256-aes128.bin out.bin --key enc-ec256.pem --verify sign-ed25519-pub.pem",
    );
    assert!(why.contains("sign"), "{why}");
    room.fails(
        1,
        "bridge mcuboot decrypt fw.bin out.bin --key enc-ec256.pem",
    );
    assert!(!room.file("out.bin").exists());
}

const KEY: [u8; 32] = [0x5a; 32];

fn aes_cbc_room() -> Room {
    let room = mcuboot_room();
    room.write("key", &KEY);
    room.write("key.hex", hex::encode(KEY).as_bytes());
    room
}

#[test]
fn openssl_opens_what_the_aes_cbc_bridge_makes_and_the_other_way_round() {
    let room = aes_cbc_room();
    let made = room.run("bridge aes-cbc encrypt fw.bin made.bin --key key");
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stderr.contains("nothing proves"), "{}", made.stderr);
    let made = room.read("made.bin");
    room.write("made.ct", &made[16..]);
    let openssl = |direction: &str, iv: &[u8], input: &str, output: &str| {
        let status = std::process::Command::new("openssl")
            .args(["enc", direction, "-aes-256-cbc", "-K", &hex::encode(KEY)])
            .args(["-iv", &hex::encode(iv)])
            .arg("-in")
            .arg(room.file(input))
            .arg("-out")
            .arg(room.file(output))
            .status()
            .unwrap();
        assert!(status.success());
    };
    room.ok("bridge aes-cbc encrypt fw.bin again.bin --key key");
    let again = room.read("again.bin");
    assert!(made[..16] != again[..16], "the same IV for two files");
    openssl("-d", &made[..16], "made.ct", "back.bin");
    assert_eq!(room.read("back.bin"), firmware());

    openssl("-e", &[7; 16], "fw.bin", "theirs.ct");
    let theirs = [&b"FLEET1"[..], &[7; 16], &room.read("theirs.ct")].concat();
    room.write("theirs.bin", &theirs);
    room.write("layout", b"hex:464c45455431,iv,ct\n");
    room.ok("bridge aes-cbc decrypt theirs.bin out.bin --key key.hex --key-hex --layout layout");
    assert_eq!(room.read("out.bin"), firmware());
}

#[test]
fn a_changed_byte_of_a_signed_container_is_refused_before_anything_is_decrypted() {
    let room = aes_cbc_room();
    room.ok("bridge aes-cbc encrypt fw.bin good.bin --key key --sign sign-ec256.pem");
    let open = "--key key --verify sign-ec256-pub.pem";
    room.ok(&format!("bridge aes-cbc decrypt good.bin out.bin {open}"));
    assert_eq!(room.read("out.bin"), firmware());
    let good = room.read("good.bin");
    for offset in [
        0,
        15,
        16,
        good.len() / 2,
        good.len() - 65,
        good.len() - 64,
        good.len() - 1,
    ] {
        let mut bad = good.clone();
        bad[offset] ^= 1;
        room.write("bad.bin", &bad);
        let why = room.fails(1, &format!("bridge aes-cbc decrypt bad.bin bad.out {open}"));
        assert!(why.contains("signature"), "offset {offset}: {why}");
    }
    assert!(!room.file("bad.out").exists());
}

#[test]
fn what_can_not_be_a_container_is_named() {
    let room = aes_cbc_room();
    room.ok("bridge aes-cbc encrypt fw.bin good.bin --key key --sign sign-ec256.pem");
    room.write("cut.bin", &room.read("good.bin")[..1000]);
    for (code, line, expected) in [
        (1, "decrypt cut.bin o --key key", "a multiple of 16"),
        (1, "decrypt good.bin o --key key.hex", "give --key-hex"),
        (
            1,
            "decrypt good.bin o --key sign-ec256.pem --key-hex",
            "hexadecimal",
        ),
        (
            2,
            "decrypt good.bin o --key key --layout iv,sig",
            "ct must stand there once",
        ),
        (
            2,
            "decrypt good.bin o --key key --layout iv,ct,mac",
            "no field \"mac\"",
        ),
        (
            2,
            "decrypt good.bin o --key key --layout iv,ct --verify sign-ec256-pub.pem",
            "no signature to check",
        ),
        (
            2,
            "encrypt fw.bin o --key key --layout iv,ct,sig",
            "nobody signs",
        ),
        (
            1,
            "encrypt fw.bin o --key key --sign sign-ec256-pub.pem",
            "can't sign",
        ),
        (
            1,
            "decrypt good.bin o --key key --layout hex:00,iv,ct",
            "expected",
        ),
        (
            1,
            "decrypt good.bin o --key key --layout hex:00000000000000000000000000000000,iv,ct,sig",
            "at offset 0",
        ),
    ] {
        let why = room.fails(code, &format!("bridge aes-cbc {line}"));
        assert!(why.contains(expected), "{line}: {why}");
        assert!(!room.file("o").exists());
    }
}
