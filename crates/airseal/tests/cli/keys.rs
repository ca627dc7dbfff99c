//! `airseal key`, and the same keys in openssl's hands.

use crate::harness::{Room, tool};

#[test]
fn a_new_key_is_two_files_and_the_private_one_is_mine_alone() {
    let room = Room::new();
    let made = room.json("key new --kind signing -o vendor");
    assert_eq!(room.files(), ["vendor.key", "vendor.pub"]);
    assert_eq!(made["kind"], "signing");
    assert_eq!(made["key_file"], "vendor.key");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(room.file("vendor.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let public = room.json("key show vendor.pub");
    let private = room.json("key show vendor.key");
    assert_eq!(public["id"], private["id"]);
    assert_eq!(public["fingerprint"], made["fingerprint"]);
    assert_eq!(private["private"], true);
}

#[test]
fn a_group_key_has_no_public_file_and_rotates_to_the_next_generation() {
    let room = Room::new();
    room.ok("key new --kind group -o fleet");
    assert_eq!(room.files(), ["fleet.key"]);
    let next = room.json("key rotate fleet.key -o fleet2.key");
    assert_eq!(next["generation"], 2);
    let before = room.json("key show fleet.key");
    assert_ne!(before["id"], next["id"]);
}

#[test]
fn the_secret_is_never_shown() {
    let room = Room::new();
    for kind in ["signing", "signing-p256", "device", "device-p256", "group"] {
        let made = room.ok(&format!("key new --kind {kind} -o {kind}"));
        let pem = String::from_utf8(room.read(&format!("{kind}.key"))).unwrap();
        let body: Vec<&str> = pem
            .lines()
            .filter(|line| !line.contains(['-', ':']))
            .collect();
        let secret = body.join("");
        assert!(secret.len() > 40, "{kind}: {pem}");
        let mut shown = made;
        shown.push_str(&room.ok(&format!("key show {kind}.key")));
        shown.push_str(&room.ok(&format!("key show {kind}.key --json")));
        if kind != "group" {
            for format in ["pem", "c", "rust"] {
                shown.push_str(&room.ok(&format!("key show {kind}.key --format {format}")));
            }
        }
        for line in body {
            assert!(
                !shown.contains(line) || room.public_has(kind, line),
                "{kind} shows {line}"
            );
        }
    }
}

#[test]
fn every_form_of_the_public_part_is_the_same_key() {
    let room = Room::new();
    room.ok("key new --kind device -o dev");
    let shown = room.json("key show dev.pub");
    let raw = room.run("key show dev.pub --format raw");
    assert_eq!(shown["public_key"], hex::encode(&raw.bytes));
    assert_eq!(
        room.ok("key show dev.key --format pem").as_bytes(),
        room.read("dev.pub")
    );
    let c = room.ok("key show dev.pub --format c");
    assert!(
        c.contains("[32]") && c.contains(&format!("0x{:02x}", raw.bytes[0])),
        "{c}"
    );
}

#[test]
fn openssl_reads_our_keys() {
    let room = Room::new();
    for (kind, name) in [
        ("signing", "ED25519"),
        ("signing-p256", "prime256v1"),
        ("device", "X25519"),
        ("device-p256", "prime256v1"),
    ] {
        room.ok(&format!("key new --kind {kind} -o {kind}"));
        let Some(private) = tool(
            &room,
            "openssl",
            &format!("pkey -in {kind}.key -noout -text"),
        ) else {
            return;
        };
        let text = String::from_utf8_lossy(&private.stdout).into_owned();
        assert!(text.contains(name), "{kind}: {text}");
        let public = tool(
            &room,
            "openssl",
            &format!("pkey -pubin -in {kind}.pub -outform DER"),
        )
        .unwrap();
        let derived = tool(
            &room,
            "openssl",
            &format!("pkey -in {kind}.key -pubout -outform DER"),
        )
        .unwrap();
        assert_eq!(public.stdout, derived.stdout, "{kind}");
    }
}

#[test]
fn openssl_keys_are_read_by_their_algorithm() {
    let room = Room::new();
    for (algorithm, kind) in [("ED25519", "signing"), ("X25519", "device")] {
        let Some(_) = tool(
            &room,
            "openssl",
            &format!("genpkey -algorithm {algorithm} -out {kind}.pem"),
        ) else {
            return;
        };
        tool(
            &room,
            "openssl",
            &format!("pkey -in {kind}.pem -pubout -out {kind}.pub.pem"),
        );
        let private = room.json(&format!("key show {kind}.pem"));
        let public = room.json(&format!("key show {kind}.pub.pem"));
        assert_eq!(private["kind"], kind);
        assert_eq!(private["id"], public["id"]);
    }
    tool(
        &room,
        "openssl",
        "ecparam -name prime256v1 -genkey -noout -out p.pem",
    );
    assert!(
        room.fails(1, "key show p.pem")
            .contains("--kind signing-p256")
    );
    assert_eq!(
        room.json("key show p.pem --kind device-p256")["kind"],
        "device-p256"
    );
    room.write("fw.bin", &crate::harness::firmware());
    room.ok("seal fw.bin -o fw.seal --sign signing.pem --to device.pub.pem --vendor v --class c --seq 1 --version 1 --chip none");
    room.ok("open fw.seal --trust signing.pub.pem --key device.pem -o out.bin");
    assert_eq!(room.read("out.bin"), crate::harness::firmware());
    tool(
        &room,
        "openssl",
        "ecparam -name prime256v1 -genkey -noout -out p256.pem",
    );
    tool(
        &room,
        "openssl",
        "pkey -in p256.pem -pubout -out p256.pub.pem",
    );
    room.ok("seal fw.bin -o p.seal --sign p256.pem --to device.pub.pem --vendor v --class c --seq 1 --version 1 --chip none");
    room.ok("verify p.seal --trust p256.pub.pem");
}

#[test]
fn encrypted_private_keys_need_their_passphrase() {
    let room = Room::new();
    room.write("pass", b"correct horse\nsecond line\n");
    room.write("wrong", b"battery staple");
    room.ok("key new --kind signing -o vendor --passphrase-file pass");
    let pem = String::from_utf8(room.read("vendor.key")).unwrap();
    assert!(pem.contains("BEGIN ENCRYPTED PRIVATE KEY"), "{pem}");
    if let Some(output) = tool(
        &room,
        "openssl",
        "pkey -in vendor.key -passin file:pass -noout -text",
    ) {
        assert!(String::from_utf8_lossy(&output.stdout).contains("ED25519"));
        tool(
            &room,
            "openssl",
            "genpkey -algorithm ED25519 -aes-256-cbc -pass file:pass -out theirs.pem",
        );
        assert_eq!(
            room.json("key show theirs.pem --passphrase-file pass")["kind"],
            "signing"
        );
    }
    room.ok("key show vendor.key --passphrase-file pass");
    let environment = room
        .command(&["key", "show", "vendor.key"])
        .env("AIRSEAL_PASSPHRASE_FILE", "pass")
        .output()
        .unwrap();
    assert!(environment.status.success());
    let wrong = room.fails(1, "key show vendor.key --passphrase-file wrong");
    assert!(
        wrong.contains("vendor.key") && !wrong.contains("battery"),
        "{wrong}"
    );
    let nobody = room.fails(1, "key show vendor.key");
    assert!(nobody.contains("passphrase"), "{nobody}");
    let nobody = room.fails(2, "key show vendor.key --passphrase");
    assert!(nobody.contains("AIRSEAL_PASSPHRASE_FILE"), "{nobody}");
}

impl Room {
    /// True if a line of the private file stands in the public one too (the head of a DER structure may).
    fn public_has(&self, kind: &str, line: &str) -> bool {
        std::fs::read_to_string(self.file(&format!("{kind}.pub")))
            .is_ok_and(|text| text.contains(line))
    }
}
