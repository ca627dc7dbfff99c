//! A batch from an empty folder to devices that a server updates, as whole processes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use airseal_factory::record::{DeviceKeys, device_id};

use crate::factory_room::{SERIAL, boxes_in, product, secrets, set, tools, vectors};
use crate::harness::{Room, done, firmware, skip};
use crate::server::Serving;

fn seed(room: &Room) -> [u8; 32] {
    secrets(room, "line.key", SERIAL)
        .seed
        .as_slice()
        .try_into()
        .unwrap()
}

/// The board on the simulated line; where its tools are missing, its record as the line writes it.
fn make_board(room: &Room, seed: &[u8; 32]) {
    if let Some(tools) = tools() {
        let tools = tools.display();
        room.ok(&format!(
            "esp line run --batch batch --key line.key --simulate=board --tools {tools}"
        ));
        return;
    }
    let record = serde_json::json!({
        "schema": "airseal.device/1", "serial": SERIAL, "mac": "02:00:00:00:00:01", "device_id": device_id(seed),
        "vendor": "acme.example", "class": "lock", "hw_rev": 3, "chip": "esp32c3", "keys": DeviceKeys::derive(seed),
        "factory": {"version": "1.0.0", "seq": 1, "security_version": 1, "sha256": ""}, "batch": "A", "tags": ["eu"],
    });
    room.write("batch/devices.jsonl", format!("{record}\n").as_bytes());
}

#[test]
fn the_first_update_of_a_provisioned_device_works_after_the_import() {
    let room = product(2);
    room.ok("esp provision --config acme.toml --out batch");
    let seed = seed(&room);
    make_board(&room, &seed);
    room.write("seed.bin", &seed);
    room.ok("simulate device --state lock --vendor acme.example --class lock --keyset keyset --hw-rev 3 --slot-kib 960 --seed seed.bin --security-version 1");
    // The flash as the line left it: the device starts with the state area that provisioning made.
    let state = room.read("batch/common/airseal.bin");
    let mut flash = room.read("lock/flash.bin");
    flash[..state.len()].copy_from_slice(&state);
    room.write("lock/flash.bin", &flash);

    let options = "--sign vendor.key --keyset keyset --to-list batch/devices.jsonl --vendor acme.example --class lock --chip none";
    room.write("fw.bin", &firmware());
    room.ok(&format!(
        "seal fw.bin -o old.seal {options} --seq 5 --version 0.9.0 --security-version 0"
    ));
    room.ok(&format!(
        "seal fw.bin -o new.seal {options} --seq 2 --version 1.1.0 --security-version 1"
    ));
    let why = room.fails(1, "simulate device --state lock --from old.seal");
    assert!(
        why.contains("security"),
        "the floor of the factory image is not kept: {why}"
    );

    let serving = Serving::start(room);
    let dry = serving.ok("device import batch/devices.jsonl --dry-run");
    assert!(dry.contains("1 new"), "{dry}");
    serving.ok("device import batch/devices.jsonl");
    let again = serving.ok("device import batch/devices.jsonl");
    assert!(
        again.contains("0 new") && again.contains("1 known already"),
        "{again}"
    );
    serving.ok("release publish new.seal --keyset keyset");
    let url = serving.https.clone();
    serving.ok(&format!("simulate device --state lock --server {url}"));
    let shown: serde_json::Value =
        serde_json::from_str(&serving.ok(&format!("device show {SERIAL} --json"))).unwrap();
    let device = &shown["device"];
    assert_eq!(
        (&device["state"], &device["release_seq"]),
        (&"active".into(), &2.into()),
        "{shown}"
    );
    assert_eq!(
        (&device["security_version"], &device["hw_rev"]),
        (&1.into(), &3.into()),
        "{shown}"
    );
    assert_eq!(device["recipient_id"], device_id(&seed).as_str(), "{shown}");
    assert_eq!(shown["record"]["batch"], "A", "{shown}");
}

#[test]
fn a_list_with_wrong_lines_is_refused_by_line_and_file() {
    let room = product(1);
    room.ok("esp provision --config acme.toml --out batch");
    make_board(&room, &seed(&room));
    let good = String::from_utf8(room.read("batch/devices.jsonl")).unwrap();
    let serving = Serving::start(room);
    serving.room.write(
        "bad.jsonl",
        format!("{good}{}", good.replace("x25519:", "x448:")).as_bytes(),
    );
    let why = serving.fails(1, "device import bad.jsonl");
    assert!(
        why.contains("bad.jsonl") && why.contains("line 2: keys.unseal"),
        "{why}"
    );
    serving
        .room
        .write("twice.jsonl", format!("{good}{good}").as_bytes());
    let why = serving.fails(1, "device import twice.jsonl");
    assert!(
        why.contains("twice.jsonl: line 2") && why.contains("stands in line 1 too"),
        "{why}"
    );
    assert!(!serving.ok("device list").contains(SERIAL));

    let made: serde_json::Value = serde_json::from_str(&good).unwrap();
    let key = |name: &str| made["keys"][name].as_str().unwrap().to_owned();
    let row = format!(
        "{SERIAL},acme.example,lock,{},{},3,blue",
        key("request"),
        key("unseal")
    );
    let table = format!("serial,vendor,class,request,unseal,hw_rev,colour\n{row}\n");
    let wrong = table.replace("x25519:", "x448:");
    serving.room.write("wrong.csv", wrong.as_bytes());
    let why = serving.fails(1, "device import wrong.csv");
    assert!(
        why.contains("wrong.csv") && why.contains("line 2") && why.contains("unseal"),
        "{why}"
    );
    serving.room.write("list.csv", table.as_bytes());
    let done = serving.ok("device import list.csv");
    assert_eq!(done, "1 new, 0 announced before, 0 known already\n");
    let shown = serving.ok(&format!("device show {SERIAL} --json"));
    assert!(shown.contains("blue"), "{shown}");
    let known = serving.ok("device import batch/devices.jsonl");
    assert!(known.contains("1 known already"), "{known}");
}

/// R03: where the bootloader lies follows from chip and image; what is for another chip is named with both.
#[test]
fn r03_the_bootloader_lies_where_its_chip_looks_for_it() {
    let room = product(1);
    let check = "esp provision --config acme.toml --check";
    let plan = room.ok(check);
    assert!(plan.contains("0x00000000 bootloader"), "{plan}");
    let image = |name: &str| {
        let path = vectors("images").join(name);
        fs::copy(path, room.file("bootloader.bin")).unwrap();
    };
    image("esp32s3-bootloader.bin");
    let why = room.fails(1, check);
    assert!(why.contains("esp32s3") && why.contains("esp32c3"), "{why}");

    let c3 = room.read("acme.toml");
    set(&room, "esp32c3", "esp32p4");
    set(&room, "min_revision = 3", "min_revision = 300");
    image("esp32p4-v3-bootloader.bin");
    let why = room.fails(1, check);
    assert!(
        why.contains("bootloader.bin") && why.contains("begins at 0x2000"),
        "{why}"
    );

    room.write("acme.toml", &c3);
    for (from, to) in [
        ("esp32c3", "esp32"),
        ("min_revision = 3", "min_revision = 0"),
        ("mode = \"release\"", "mode = \"off\""),
        ("v2-rsa", "off"),
        ("sign = [\"sb0.pem\"]\ndigests = [\"sb0.pub.pem\"]\n", ""),
        ("efuse-hmac", "none"),
        ("encrypt = \"hmac\"", "encrypt = \"none\""),
        ("nvs_keys = \"generate\"\n", ""),
        (
            "[keys]",
            "[efuse]\ndownload = \"open\"\njtag = \"open\"\n\n[keys]",
        ),
    ] {
        set(&room, from, to);
    }
    image("esp32-bootloader.bin");
    fs::copy(vectors("images/app-esp32.bin"), room.file("app.bin")).unwrap();
    let plan = room.ok(check);
    assert!(plan.contains("0x00001000 bootloader"), "{plan}");
}

#[test]
fn a_killed_provision_goes_on_and_no_serial_gets_a_second_key() {
    let room = product(300);
    let mut child = room
        .command(&[
            "esp",
            "provision",
            "--config",
            "acme.toml",
            "--out",
            "batch",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while boxes_in(&room).len() < 20 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = boxes_in(&room);
    assert!(
        (20..300).contains(&before.len()),
        "killed in the middle: {}",
        before.len()
    );
    let made = room.json("esp provision --config acme.toml --out batch");
    assert_eq!(made["kept"], before.len());
    let after = boxes_in(&room);
    assert_eq!(after.len(), 300);
    assert!(
        before
            .iter()
            .all(|(name, bytes)| after.get(name) == Some(bytes)),
        "a box was made anew"
    );
    let names = fs::read_dir(room.file("batch/sealed"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 300, "the kill left a piece behind");
}

#[test]
fn a_full_disk_leaves_nothing_half_made_and_the_next_run_goes_on() {
    let room = product(100);
    fs::create_dir(room.file("small")).unwrap();
    let script = "mount -t tmpfs -o size=600k none small || exit 99
        \"$0\" esp provision --config acme.toml --out small/batch
        code=$?
        ls -A small/batch/sealed | grep -v '[.]box$' && exit 98
        mount -o remount,size=20m small || exit 99
        \"$0\" esp provision --config acme.toml --out small/batch || exit 97
        ls small/batch/sealed | wc -l
        exit $code";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_airseal")])
        .current_dir(room.path())
        .output();
    let Ok(output) = output else {
        return skip("unshare");
    };
    let done = done(output);
    if done.code != 3 && (done.code == 99 || done.stderr.contains("unshare")) {
        return; // mounting is not allowed here
    }
    assert_eq!(done.code, 3, "{}{}", done.stdout, done.stderr);
    assert!(
        done.stderr.contains("No space left") && done.stderr.contains("small/batch"),
        "{}",
        done.stderr
    );
    assert!(done.stdout.trim_end().ends_with("100"), "{}", done.stdout);
}

#[test]
fn the_keymap_names_every_key_and_shows_none() {
    let room = product(2);
    room.ok("esp provision --config acme.toml --out batch");
    let seed = hex::encode(seed(&room));
    let text = room.ok("keymap --batch batch");
    for words in [
        "flash encryption key",
        "BLOCK_KEY",
        "XTS_AES_128_KEY",
        "HMAC_UP",
        "NVS keys",
        "secure boot signing keys",
        "line.pub",
        "if it leaks",
        "2 boxes",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains(&seed));
    let map = room.json("keymap --batch batch");
    assert_eq!(map["boards"]["free"], 2);
    assert_eq!(map["keys"][0]["one_for"], "each device");
    let why = room.fails(1, "keymap --batch .");
    assert!(why.contains("is no batch"), "{why}");
}

#[test]
fn emitted_files_are_warned_about_and_shown_in_the_keymap() {
    let room = product(1);
    let done = room.run("esp provision --config acme.toml --out batch --emit files");
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("in the clear"), "{}", done.stderr);
    assert!(
        room.ok("keymap --batch batch")
            .contains("IN THE CLEAR in devices/")
    );
}

#[test]
fn a_check_makes_nothing() {
    let room = product(2);
    let before = room.files();
    let text = room.ok("esp provision --config acme.toml --check");
    assert!(
        text.contains("bootloader") && text.contains("2 serials"),
        "{text}"
    );
    room.ok("esp provision --config acme.toml --out batch --check");
    assert_eq!(room.files(), before);
    fs::write(room.file("line.pub"), "no key").unwrap();
    let why = room.fails(1, "esp provision --config acme.toml --check");
    assert!(why.contains("line.pub"), "{why}");
}

#[test]
fn a_keyset_of_another_vendor_or_without_signatures_is_refused() {
    let room = product(1);
    let new = "keyset new --root-threshold 1 --release vendor.pub -o keyset --force";
    for (options, words) in [
        (
            "--vendor other.example --root root.key",
            "of another vendor",
        ),
        ("--vendor acme.example --root root.pub", "keyset sign"),
    ] {
        room.ok(&format!("{new} {options}"));
        let why = room.fails(1, "esp provision --config acme.toml --check");
        assert!(why.contains("keyset") && why.contains(words), "{why}");
    }
}

/// FACTORY.md as a production engineer follows it; the bench where its tools are at hand. R16: one configuration, one plan, one
/// command a board, and `flash-check` and `efuse audit` say that it is right.
#[test]
fn the_factory_guide_works_as_printed() {
    let guide = include_str!("../../../../docs/FACTORY.md");
    let room = Room::new();
    for heading in ["## An empty folder", "## Prepare"] {
        follow(&room, guide, heading, &[]);
    }
    assert_eq!(
        room.files().iter().filter(|name| *name == "batch").count(),
        1
    );
    follow(&room, guide, "## A line that may not run Airseal", &[]);
    assert!(
        room.file("files/devices/AL-2648-A-00003/1-burn.sh")
            .is_file()
    );
    let Some(tools) = tools() else { return };
    let said = follow(
        &room,
        guide,
        "## The bench",
        &[("PATH", &tools.display().to_string())],
    );
    let records = String::from_utf8(room.read("batch/devices.jsonl")).unwrap();
    assert_eq!(records.lines().count(), 2, "{records}");
    assert_eq!(boxes_in(&room).len(), 0, "close destroys what was not used");
    assert!(said.contains("starts       factory"), "{said}");
    let serving = Serving::start(room);
    let guide = guide.replace("https://127.0.0.1:8443", &serving.https);
    let said = follow(
        &serving.room,
        &guide,
        "## Over the air",
        &[("AIRSEAL_SERVER", &serving.admin)],
    );
    assert!(said.contains("2 new") && said.contains("1.1.0"), "{said}");
}

/// Runs the blocks under a heading; what they print. A `PATH` comes before the one that is there.
fn follow(room: &Room, guide: &str, heading: &str, settings: &[(&str, &str)]) -> String {
    let section = guide
        .split(heading)
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let mut said = String::new();
    for block in section.split("```sh").skip(1) {
        let block = block.split("```").next().unwrap();
        let bin = Path::new(env!("CARGO_BIN_EXE_airseal")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-ec", block])
            .current_dir(room.path())
            .env("HOME", room.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("VECTORS", vectors(""))
            .stdin(Stdio::null());
        for (name, value) in settings {
            match *name {
                "PATH" => command.env("PATH", format!("{}:{value}:{path}", bin.display())),
                name => command.env(name, value),
            };
        }
        let done = done(command.output().unwrap());
        assert_eq!(done.code, 0, "{block}\n{}{}", done.stdout, done.stderr);
        said.push_str(&done.stdout);
    }
    said
}
