//! `airseal bridge mcuboot`, on what imgtool made.

use crate::harness::{Room, firmware};

fn room() -> Room {
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
    let room = room();
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
    let room = room();
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
    let room = room();
    let why = room.fails(
        1,
        "bridge mcuboot encrypt fw.bin fw.img --sign sign-ec256.pem --to enc-rsa2048-pub.pem --version 1.0.0",
    );
    assert!(why.contains("RSA") && why.contains("P-256"), "{why}");
    assert!(!room.file("fw.img").exists());
}

#[test]
fn an_image_of_somebody_else_leaves_nothing() {
    let room = room();
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
