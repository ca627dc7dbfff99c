//! `airseal esp sign` and its relatives, on what espsecure made.

use crate::esp_data::vector;
use crate::harness::{Room, tool};

fn room() -> Room {
    let room = Room::new();
    for name in ["v2-rsa0", "v2-rsa1", "v2-ec256", "v1-ecdsa256"] {
        for file in [format!("{name}.pem"), format!("{name}-pub.pem")] {
            room.write(&file, &vector(&format!("secureboot/{file}")));
        }
    }
    room.write("boot.bin", &vector("images/esp32c3-bootloader.bin"));
    room.write("boot-c6.bin", &vector("images/esp32c6-bootloader.bin"));
    room.write("app-v1.bin", &vector("images/app-esp32-securepad-v1.bin"));
    room
}

#[test]
fn an_image_is_signed_with_several_keys_and_each_verifies() {
    let room = room();
    let done = room.json("esp sign --scheme v2 --key v2-rsa0.pem boot.bin one.bin");
    assert_eq!(done["key_digests"].as_array().unwrap().len(), 1);
    room.ok("esp sign --scheme v2 --key v2-rsa1.pem --append one.bin two.bin");
    for key in ["v2-rsa0-pub.pem", "v2-rsa1-pub.pem", "v2-rsa1.pem"] {
        room.ok(&format!(
            "esp verify-signature --scheme v2 --key {key} two.bin"
        ));
    }
    let text = room.fails(
        1,
        "esp verify-signature --scheme v2 --key v2-rsa1-pub.pem one.bin",
    );
    assert!(text.contains("by another key"), "{text}");
    let text = room.fails(
        1,
        "esp sign --scheme v2 --key v2-rsa0.pem two.bin three.bin",
    );
    assert!(text.contains("signed already"), "{text}");
    assert!(!room.files().contains(&"three.bin".to_owned()));
}

#[test]
fn version_1_is_signed_as_espsecure_does() {
    let room = room();
    room.ok("esp sign --scheme v1 --key v1-ecdsa256.pem app-v1.bin signed.bin");
    let expected = [
        vector("images/app-esp32-securepad-v1.bin"),
        vector("secureboot/v1-app.signature"),
    ];
    assert_eq!(room.read("signed.bin"), expected.concat());
    room.ok("esp verify-signature --scheme v1 --key v1-ecdsa256-pub.pem signed.bin");
    room.fails(
        2,
        "esp sign --scheme v1 --key v1-ecdsa256.pem --key v2-ec256.pem app-v1.bin x.bin",
    );
}

#[test]
fn a_bootloader_gets_the_digest_of_version_1_as_espsecure_makes_it() {
    let room = room();
    let expected = vector("secureboot/v1-bootloader-digest.bin");
    room.write("boot32.bin", &vector("images/esp32-bootloader.bin"));
    room.write("key", &vector("secureboot/v1-digest.key"));
    room.write("iv", &expected[..128]);
    let line = "esp sign --scheme v1 --bootloader --key";
    room.ok(&format!("{line} key --iv iv boot32.bin signed.bin"));
    let signed = room.read("signed.bin");
    assert!(signed[..192] == expected && signed[192..0x1000].iter().all(|byte| *byte == 0xFF));
    assert!(signed[0x1000..] == room.read("boot32.bin"));
    room.ok(&format!("{line} key boot32.bin random.bin"));
    let random = room.read("random.bin");
    assert!(random[..128] != expected[..128] && random[192..] == signed[192..]);
    room.write("k24", &[7; 24]);
    let before = room.files();
    for (code, arguments, word) in [
        (1, "key --iv key boot32.bin x", "128"),
        (1, "k24 boot32.bin x", "3/4 coding"),
        (1, "v2-ec256.pem boot32.bin x", "key-digest --scheme v1"),
        (1, "key boot.bin x", "--scheme v2"),
        (1, "key app-v1.bin x", "is an application"),
        (2, "key --append boot32.bin x", "--append"),
    ] {
        let text = room.fails(code, &format!("{line} {arguments}"));
        assert!(text.contains(word), "{arguments}: {text}");
        assert_eq!(room.files(), before);
    }
    room.fails(
        2,
        "esp sign --scheme v2 --bootloader --key key boot32.bin x",
    );
}

#[test]
fn the_key_of_a_bootloader_digest_follows_from_a_signing_key_and_is_not_shown() {
    let room = room();
    let expected = vector("secureboot/v1-digest-private-key.bin");
    let line = "esp key-digest --scheme v1 --key";
    let shown = room.ok(&format!("{line} v1-ecdsa256.pem digest.key"));
    assert_eq!(room.read("digest.key"), expected);
    assert!(!shown.contains(&hex::encode(&expected)), "{shown}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(room.file("digest.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    room.fails(2, &format!("{line} v1-ecdsa256.pem"));
    let text = room.fails(1, &format!("{line} v1-ecdsa256-pub.pem x"));
    assert!(text.contains("public key"), "{text}");
    let text = room.fails(1, &format!("{line} v2-rsa0.pem x"));
    assert!(text.contains("P-256"), "{text}");
}

#[test]
fn a_key_digest_is_that_of_espsecure() {
    let room = room();
    room.ok("esp key-digest --key v2-rsa0.pem digest.bin");
    assert_eq!(
        room.read("digest.bin"),
        vector("secureboot/v2-rsa0.digest.bin")
    );
    let text = room.ok("esp key-digest --key v2-rsa0-pub.pem");
    assert_eq!(
        text.trim(),
        hex::encode(vector("secureboot/v2-rsa0.digest.bin"))
    );
}

#[test]
fn openssl_signs_a_request_and_its_usual_mistakes_are_named() {
    let room = room();
    room.ok("esp sign-request --scheme v2 boot.bin -o req");
    let about: serde_json::Value = serde_json::from_slice(&room.read("req.json")).unwrap();
    assert_eq!(about["padding"], "pss");
    assert_eq!(about["salt"], 32);
    let pss = "dgst -sha256 -sign v2-rsa0.pem -sigopt rsa_padding_mode:pss";
    let attach = "esp attach-signature --scheme v2 --key v2-rsa0-pub.pem --signature";
    if tool(
        &room,
        "openssl",
        &format!("{pss} -sigopt rsa_pss_saltlen:32 -out good req"),
    )
    .is_none()
    {
        return;
    }
    room.ok(&format!("{attach} good boot.bin signed.bin"));
    room.ok("esp verify-signature --scheme v2 --key v2-rsa0-pub.pem signed.bin");
    for (line, why) in [
        (
            format!("{pss} -sigopt rsa_pss_saltlen:20 -out bad req"),
            "wrong salt length",
        ),
        (
            "dgst -sha256 -sign v2-rsa0.pem -out bad req".to_owned(),
            "wrong padding",
        ),
        (
            format!("{pss} -sigopt rsa_pss_saltlen:32 -out bad boot.bin"),
            "unpadded input",
        ),
        (
            "dgst -sha256 -sign v2-rsa1.pem -sigopt rsa_padding_mode:pss -out bad req".to_owned(),
            "wrong key",
        ),
    ] {
        tool(&room, "openssl", &line).unwrap();
        let text = room.fails(1, &format!("{attach} bad boot.bin not.bin"));
        assert!(text.contains(why), "{text}");
    }
    tool(
        &room,
        "openssl",
        "dgst -sha256 -sign v2-ec256.pem -out der req",
    )
    .unwrap();
    room.ok("esp sign-request --scheme v2 boot-c6.bin -o req6");
    tool(
        &room,
        "openssl",
        "dgst -sha256 -sign v2-ec256.pem -out der req6",
    )
    .unwrap();
    room.ok("esp attach-signature --scheme v2 --key v2-ec256-pub.pem --signature der boot-c6.bin c6.bin");
    assert!(!room.files().contains(&"not.bin".to_owned()));
}

/// R06.
#[test]
fn r06_a_p384_signature_from_elsewhere_is_taken_as_der_and_as_r_and_s() {
    let room = room();
    // No vector is an image for a chip that takes P-384.
    room.write("data.bin", &vector("secureboot/payload.bin"));
    for name in ["ec384", "ec256"] {
        room.write("key.pem", &vector(&format!("secureboot/v2-{name}.pem")));
        std::fs::rename(room.file("key.pem"), room.file(&format!("{name}.pem"))).unwrap();
    }
    room.ok("esp sign-request --scheme v2 --any-data data.bin -o req");
    for line in [
        "dgst -sha384 -sign ec384.pem -out der req",
        "dgst -sha256 -sign ec256.pem -out p256 req",
    ] {
        if tool(&room, "openssl", line).is_none() {
            return;
        }
    }
    let der = room.read("der");
    let number = |at: usize| {
        let len = usize::from(der[at + 1]);
        let bytes = &der[at + 2..at + 2 + len];
        let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
        let mut padded = vec![0; 48 - bytes.len()];
        padded.extend_from_slice(bytes);
        (padded, at + 2 + len)
    };
    let (r, next) = number(2);
    room.write("raw", &[r, number(next).0].concat());
    let attach = "esp attach-signature --scheme v2 --any-data --key ec384.pem --signature";
    for form in ["der", "raw"] {
        room.ok(&format!("{attach} {form} data.bin {form}.signed"));
        room.ok(&format!(
            "esp verify-signature --scheme v2 --key ec384.pem {form}.signed"
        ));
    }
    room.fails(1, &format!("{attach} p256 data.bin x"));
    assert!(!room.files().contains(&"x".to_owned()));
}

#[cfg(unix)]
#[test]
fn a_program_signs_in_place_of_a_key_file() {
    let room = room();
    let sign = "openssl dgst -sha256 -sign v2-rsa0.pem -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32";
    if tool(&room, "openssl", "version").is_none() {
        return;
    }
    let program =
        format!("command:if [ $AIRSEAL_SIGN = public ]; then cat v2-rsa0-pub.pem; else {sign}; fi");
    let args = [
        "esp",
        "sign",
        "--scheme",
        "v2",
        "--key",
        &program,
        "boot.bin",
        "signed.bin",
    ];
    let done = room.run_args(&args);
    assert_eq!(done.code, 0, "{}", done.stderr);
    room.ok("esp verify-signature --scheme v2 --key v2-rsa0-pub.pem signed.bin");
}
