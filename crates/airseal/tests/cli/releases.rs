//! Sealing, signing, opening: what goes in comes out, and nothing else does.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::harness::{Room, SEAL, firmware, tool};

#[test]
fn what_is_sealed_opens_for_its_device_and_for_nobody_else() {
    let room = Room::new().with_release();
    room.ok("open fw.seal --trust vendor.pub --key dev.key -o out.bin");
    assert_eq!(room.read("out.bin"), firmware());
    let verified = room.json("verify fw.seal --trust vendor.pub");
    assert_eq!(verified["sequence"], 7);
    assert_eq!(verified["chunks"], 4);
    room.ok("key new --kind device -o other");
    let error = room.fails(
        1,
        "open fw.seal --trust vendor.pub --key other.key -o no.bin",
    );
    assert!(error.contains("has no envelope for other.key"), "{error}");
    room.ok("key new --kind signing -o stranger");
    let error = room.fails(
        1,
        "open fw.seal --trust stranger.pub --key dev.key -o no.bin",
    );
    assert!(error.contains("fw.seal: signed by"), "{error}");
    assert!(!room.file("no.bin").exists());
}

#[test]
fn options_may_stand_before_the_file() {
    let room = Room::new().with_release();
    room.ok("verify --trust vendor.pub fw.seal");
    room.ok("key new --kind signing -o other");
    room.ok("verify --trust other.pub vendor.pub fw.seal");
    room.ok("open --key dev.key --trust vendor.pub fw.seal -o out.bin");
    assert!(
        room.fails(2, "verify --trust vendor.pub")
            .contains("not named")
    );
}

#[test]
fn r47_inspect_needs_no_key() {
    let room = Room::new().with_release();
    for name in ["vendor.key", "vendor.pub", "dev.key"] {
        std::fs::remove_file(room.file(name)).unwrap();
    }
    let found = room.json("inspect fw.seal");
    assert_eq!(found["version"], "1.2.3");
    assert_eq!(found["sequence"], 7);
    assert_eq!(found["vendor_id"], "cfbff0d1-9375-5685-968c-48ce8b15ae17");
    assert_eq!(found["class_id"].as_str().unwrap().len(), 36);
    let recipient = room.json("key show dev.pub")["id"].clone();
    assert_eq!(found["recipients"][0]["id"], recipient);
    assert_eq!(found["signatures"].as_array().unwrap().len(), 1);
    let text = room.ok("inspect fw.seal");
    assert!(
        text.contains("1.2.3") && text.contains(recipient.as_str().unwrap()),
        "{text}"
    );
}

#[test]
fn standard_input_and_output_are_files_too() {
    let room = Room::new().with_release();
    let args = format!("seal - -o - {SEAL}");
    let sealed = room.run_with(&args, &firmware());
    assert_eq!(sealed.code, 0, "{}", sealed.stderr);
    let opened = room.run_with(
        "open - --trust vendor.pub --key dev.key -o -",
        &sealed.bytes,
    );
    assert_eq!(opened.code, 0, "{}", opened.stderr);
    assert_eq!(opened.bytes, firmware());
}

#[test]
fn the_same_time_can_be_asked_for_twice() {
    let room = Room::new().with_release();
    let built = |name: &str| {
        let args = format!("seal fw.bin -o {name} {SEAL}");
        let args: Vec<&str> = args.split_whitespace().collect();
        assert!(
            room.command(&args)
                .env("SOURCE_DATE_EPOCH", "1000000000")
                .status()
                .unwrap()
                .success()
        );
        room.json(&format!("inspect {name}"))["built_at"].clone()
    };
    assert_eq!(built("a.seal"), 1_000_000_000);
}

#[test]
fn a_group_key_opens_and_a_later_recipient_is_added_without_a_signature() {
    let room = Room::new().with_release();
    room.ok("key new --kind group -o fleet");
    room.ok("key new --kind device-p256 -o late");
    let before = room.json(&format!(
        "seal fw.bin -o g.seal --content-key-out ck {SEAL}"
    ));
    let mode = std::fs::metadata(room.file("ck")).unwrap();
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
    let added = room.json("envelope add g.seal --content-key ck --to fleet.key late.pub");
    assert_eq!(added["added"].as_array().unwrap().len(), 2);
    assert_eq!(added["manifest_digest"], before["manifest_digest"]);
    for key in ["fleet", "late", "dev"] {
        room.ok(&format!(
            "open g.seal --trust vendor.pub --key {key}.key -o {key}.bin"
        ));
        assert_eq!(room.read(&format!("{key}.bin")), firmware());
    }
    let error = room.fails(1, "envelope add fw.seal --content-key ck --to fleet.key");
    assert!(error.contains("content key is of"), "{error}");
}

#[test]
fn a_device_list_seals_to_all_of_a_tag() {
    let room = Room::new().with_release();
    use base64::Engine as _;
    let key = |name: &str| {
        let public = room.json(&format!("key show {name}.pub"))["public_key"]
            .as_str()
            .unwrap()
            .to_owned();
        format!(
            "x25519:{}",
            base64::engine::general_purpose::STANDARD.encode(hex::decode(public).unwrap())
        )
    };
    room.ok("key new --kind device -o two");
    room.ok("key new --kind device -o three");
    let list = format!(
        "serial,unseal,tags,state\nA,{},beta,\nB,{},beta,revoked\nC,{},,\n",
        key("dev"),
        key("two"),
        key("three")
    );
    room.write("list.csv", list.as_bytes());
    let args = SEAL.replace("--to dev.pub", "--to-list list.csv --tag beta");
    let sealed = room.run(&format!("seal fw.bin -o l.seal {args} --json"));
    assert_eq!(sealed.code, 0, "{}", sealed.stderr);
    assert!(sealed.stderr.contains("B is revoked"), "{}", sealed.stderr);
    assert_eq!(
        room.json("inspect l.seal")["recipients"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    room.write("bad.csv", b"serial,unseal\nA,x25519:AAAA\n");
    let args = SEAL.replace("--to dev.pub", "--to-list bad.csv");
    assert!(
        room.fails(1, &format!("seal fw.bin -o b.seal {args}"))
            .contains("bad.csv line 2")
    );
}

#[test]
fn a_keyset_with_thresholds_rotates_and_old_keys_end() {
    let room = Room::new().with_release();
    for name in ["r1", "r2", "r3", "k1", "k2", "k3"] {
        room.ok(&format!("key new --kind signing -o {name}"));
    }
    let keyset = "--root r1.key r2.pub r3.pub --release k1.pub k2.pub --threshold 2 --vendor example.com --class lamp";
    let state = room.json(&format!("keyset new {keyset} -o ks"));
    assert_eq!(state["complete"], false);
    let error = room.fails(1, "verify fw.seal --keyset ks");
    assert!(error.contains("1 of 2 root signatures"), "{error}");
    room.ok("keyset sign ks --sign r2.key");
    assert_eq!(room.json("keyset show ks")["complete"], true);

    let seal = SEAL.replace("vendor.key", "k1.key --keyset ks");
    room.ok(&format!("seal fw.bin -o one.seal {seal}"));
    let error = room.fails(1, "verify one.seal --keyset ks");
    assert!(error.contains("fewer signatures"), "{error}");
    for name in ["k1", "k2"] {
        let id = room.json(&format!("key show {name}.pub"))["id"].clone();
        assert!(error.contains(id.as_str().unwrap()), "{name}: {error}");
    }
    assert!(
        error.contains("wanted are 2 of") && error.contains("airseal cosign"),
        "{error}"
    );
    let digest = room.json("inspect one.seal")["manifest_digest"].clone();
    room.ok("cosign one.seal --sign k2.key");
    assert_eq!(room.json("inspect one.seal")["manifest_digest"], digest);
    assert_eq!(
        room.json("verify one.seal --keyset ks")["accepted_under"],
        1
    );

    std::fs::copy(room.file("ks"), room.file("ks1")).unwrap();
    room.ok("keyset rotate -o ks --release k2.pub k3.pub --sign r1.key r3.key");
    assert_eq!(
        room.json("keyset show ks")["keysets"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let error = room.fails(1, "verify one.seal --keyset ks");
    assert!(error.contains("fewer signatures"), "{error}");
    let seal = SEAL.replace("vendor.key", "k2.key --sign k3.key --keyset ks");
    room.ok(&format!("seal fw.bin -o two.seal {seal}"));
    assert_eq!(
        room.json("verify two.seal --keyset ks1")["accepted_under"],
        2
    );
    let error = room.fails(1, "keyset sign ks --sign k1.key");
    assert!(error.contains("no root"), "{error}");
}

#[test]
fn a_release_that_nobody_could_install_is_not_made() {
    let room = Room::new().with_release();
    for (more, word) in [
        ("--min-seq 7", "--min-seq 7 is not below --seq 7"),
        ("--min-seq 8", "--min-seq 8 is not below --seq 7"),
        ("--min-security-version 1", "above the release's own, 0"),
    ] {
        let error = room.fails(2, &format!("seal fw.bin -o no.seal {SEAL} {more}"));
        assert!(error.contains(word), "{error}");
    }
    room.ok(&format!("seal fw.bin -o yes.seal {SEAL} --min-seq 6"));
    room.ok("key new --kind signing -o root1");
    room.ok("key new --kind signing -o root2");
    room.ok("keyset new --vendor example.com --root root1.key root2.pub --root-threshold 2 --release vendor.pub -o keyset");
    let seal = format!("seal fw.bin -o no.seal {SEAL} --keyset keyset");
    let error = room.fails(1, &seal);
    assert!(
        error.contains("has 1 of 2 root signatures") && error.contains("airseal keyset sign"),
        "{error}"
    );
    assert!(!room.file("no.seal").exists());
    room.ok("keyset sign keyset --sign root2.key");
    room.ok(&seal);
}

#[test]
fn an_air_gapped_signature_comes_back_as_a_file() {
    let room = Room::new().with_release();
    let draft = SEAL.replace("--sign vendor.key", "--unsigned");
    room.ok(&format!("seal fw.bin -o draft.seal {draft}"));
    room.fails(1, "verify draft.seal --trust vendor.pub");
    room.ok("sign-request draft.seal -o req");
    let Some(_) = tool(
        &room,
        "openssl",
        "pkeyutl -sign -inkey vendor.key -rawin -in req -out sig",
    ) else {
        return;
    };
    room.ok("attach draft.seal sig --key vendor.pub");
    room.ok("verify draft.seal --trust vendor.pub");
    let mut wrong = room.read("sig");
    wrong[10] ^= 1;
    room.write("wrong", &wrong);
    let error = room.fails(1, "attach draft.seal wrong --key vendor.pub");
    assert!(error.contains("does not verify"), "{error}");
    // A P-256 signature of openssl is DER, and in half of the cases not low-S.
    room.ok("key new --kind signing-p256 -o p256");
    for _ in 0..4 {
        tool(&room, "openssl", "dgst -sha256 -sign p256.key -out der req");
        room.ok("attach draft.seal der --key p256.pub");
        room.ok("verify draft.seal --trust p256.pub");
    }
}

#[cfg(unix)]
#[test]
fn a_program_signs_in_place_of_a_key_file() {
    let room = Room::new().with_release();
    if tool(&room, "openssl", "version").is_none() {
        return;
    }
    room.write(
        "hsm.sh",
        b"if [ \"$AIRSEAL_SIGN\" = public ]; then openssl pkey -in vendor.key -pubout; exit; fi\ncat > message\nopenssl pkeyutl -sign -inkey vendor.key -rawin -in message\n",
    );
    let seal = [
        "seal",
        "fw.bin",
        "-o",
        "h.seal",
        "--sign",
        "command:sh hsm.sh",
    ];
    let rest: Vec<&str> = SEAL.split_whitespace().skip(2).collect();
    let done = room.run_args(&[&seal[..], &rest[..]].concat());
    assert_eq!(done.code, 0, "{}", done.stderr);
    room.ok("verify h.seal --trust vendor.pub");
    for (script, remedy) in [("exit 4", "by hand"), ("echo hello", "PEM")] {
        room.write("broken.sh", script.as_bytes());
        let program = "command:sh broken.sh";
        let seal = ["seal", "fw.bin", "-o", "x.seal", "--sign", program];
        let done = room.run_args(&[&seal[..], &rest[..]].concat());
        assert_eq!(done.code, 1, "{}", done.stderr);
        for words in [program, "AIRSEAL_SIGN=public", remedy] {
            assert!(done.stderr.contains(words), "{}", done.stderr);
        }
        assert!(!room.file("x.seal").exists());
    }
}

#[test]
fn detached_parts_are_the_parts_of_the_bundle() {
    let room = Room::new().with_release();
    room.ok(&format!("seal fw.bin -o d.seal --detached parts {SEAL}"));
    let bundle = room.read("d.seal");
    for part in ["parts/manifest", "parts/payload"] {
        let bytes = room.read(part);
        assert!(
            bundle.windows(bytes.len()).any(|window| window == bytes),
            "{part}"
        );
    }
    let envelopes = std::fs::read_dir(room.file("parts/envelopes"))
        .unwrap()
        .count();
    assert_eq!(envelopes, 1);
}

#[test]
fn a_release_for_one_device_opens_for_that_device_alone() {
    let room = Room::new().with_release();
    room.ok("key new --kind device -o mine");
    room.ok(&format!(
        "seal fw.bin -o only.seal --only mine.pub --to mine.pub {SEAL}"
    ));
    room.ok("open only.seal --trust vendor.pub --key mine.key -o out.bin");
    let error = room.fails(
        1,
        "open only.seal --trust vendor.pub --key dev.key -o no.bin",
    );
    assert!(!error.is_empty() && !room.file("no.bin").exists());
    let id = room.json("key show mine.pub")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    room.ok(&format!(
        "seal fw.bin -o id.seal --only {id} --to mine.pub {SEAL}"
    ));
    assert_eq!(room.json("inspect id.seal")["only"][0], id);
}

#[test]
fn every_suite_and_profile_opens() {
    let room = Room::new().with_release();
    for (name, options) in [
        ("c", "--suite chacha20"),
        ("s", "--small-ram"),
        ("b", "--suite chacha20 --small-ram"),
    ] {
        room.ok(&format!("seal fw.bin -o {name}.seal {options} {SEAL}"));
        room.ok(&format!(
            "open {name}.seal --trust vendor.pub --key dev.key -o {name}.bin"
        ));
        assert_eq!(room.read(&format!("{name}.bin")), firmware());
    }
    let plain = SEAL.replace("--to dev.pub", "--suite none");
    room.ok(&format!("seal fw.bin -o n.seal {plain}"));
    room.ok("open n.seal --trust vendor.pub -o n.bin");
    assert_eq!(room.read("n.bin"), firmware());
}

#[test]
fn an_espressif_image_is_checked_before_it_is_sealed() {
    let room = Room::new().with_release();
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../firmware/images");
    let image = std::fs::read(images.join("esp32c3-wifi-1.0.0.bin")).unwrap();
    room.write("esp.bin", &image);
    let auto = SEAL.replace(" --chip none", "");
    let sealed = room.json(&format!("seal esp.bin -o e.seal {auto}"));
    assert_eq!(sealed["chip"], "esp32c3");
    let mut damaged = image.clone();
    damaged[100_000] ^= 1;
    room.write("damaged.bin", &damaged);
    let error = room.fails(1, &format!("seal damaged.bin -o d.seal {auto}"));
    assert!(
        error.contains("damaged.bin") && error.contains("checksum"),
        "{error}"
    );
    room.write("short.bin", &image[..300_000]);
    room.fails(1, &format!("seal short.bin -o d.seal {auto}"));
    let error = room.fails(1, &format!("seal esp.bin -o d.seal --chip esp32s3 {auto}"));
    assert!(error.contains("esp32c3"), "{error}");
    room.write("small.csv", b"factory,app,factory,0x10000,512K\nota_0,app,ota_0,,512K\nota_1,app,ota_1,,512K\notadata,data,ota,,0x2000\n");
    let error = room.fails(
        1,
        &format!("seal esp.bin -o d.seal --fits small.csv {auto}"),
    );
    assert!(error.contains("smallest slot"), "{error}");
    assert!(!room.file("d.seal").exists());
}

#[test]
fn one_of_several_components_is_opened_by_its_id() {
    let room = Room::new();
    let vectors = format!("{}/../../vectors/v1", env!("CARGO_MANIFEST_DIR"));
    let open = format!(
        "open {vectors}/good/two-places.seal --trust {vectors}/keys/release-a.pub --key {vectors}/keys/device-1.key"
    );
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(format!("{vectors}/index.json")).unwrap()).unwrap();
    let cases = index["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == "two-places");
    let components = case.unwrap()["components"].as_array().unwrap();
    assert_eq!(components.len(), 2);
    for component in components {
        let id = &component["id"];
        let opened = room.json(&format!("{open} --component {id} -o {id}.bin"));
        assert_eq!(opened["component"], *id);
        let digest = hex::encode(Sha256::digest(room.read(&format!("{id}.bin"))));
        assert_eq!(component["sha256"], digest);
    }
    for (component, what) in [("", "--component: 1, 7"), ("--component 2", "it has 1, 7")] {
        let error = room.fails(2, &format!("{open} {component} -o other.bin"));
        assert!(error.contains(what), "{error}");
    }
    assert!(!room.file("other.bin").exists());
}
