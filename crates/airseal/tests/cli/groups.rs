//! Groups of devices, and how their key is renewed from inside a release.

use crate::harness::Room;

const SEAL: &str = "--sign vendor.key --vendor example.com --class lamp --chip none";

#[test]
fn a_new_generation_of_a_group_key_travels_inside_a_release() {
    let room = Room::new().with_release();
    room.ok("key new --kind group -o fleet1");
    room.ok("key rotate fleet1.key -o fleet2.key");
    let first = format!(
        "seal fw.bin -o first.seal --seq 1 --version 1.0 --to fleet1.key --carry-group fleet2.key {SEAL}"
    );
    let done = room.run(&first);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stdout
            .contains("carries      group key generation 2, for holders of generation 1"),
        "{}",
        done.stdout
    );
    assert!(
        done.stderr.contains("each later release"),
        "{}",
        done.stderr
    );
    assert!(!done.stderr.contains("one step only"), "{}", done.stderr);
    let second = format!("seal fw.bin -o second.seal --seq 2 --version 2.0 --to fleet2.key {SEAL}");
    room.ok(&second);

    let shown = room.json("inspect first.seal");
    let old = room.json("key show fleet1.key");
    assert_eq!(shown["carried_groups"][0]["old"], old["id"]);
    assert_eq!(shown["carried_groups"][0]["generation"], 2);
    assert_eq!(shown["extensions"].as_array().unwrap().len(), 0);
    let text = room.ok("inspect first.seal");
    assert!(
        text.contains("carries      group key generation 2"),
        "{text}"
    );

    let new = "--vendor example.com --class lamp --trust vendor.pub --slot-kib 64";
    room.ok(&format!("simulate device --state lamp {new}"));
    let member = "simulate device --state lamp --group-key fleet1.key --from";
    let early = room.fails(1, &format!("{member} second.seal"));
    assert!(early.contains("no envelope for this key"), "{early}");
    assert_eq!(room.json(&format!("{member} first.seal"))["version"], "1.0");
    let stranger = room.fails(1, "simulate device --state lamp --from second.seal");
    assert!(stranger.contains("no envelope for this key"), "{stranger}");
    assert_eq!(
        room.json(&format!("{member} second.seal"))["version"],
        "2.0"
    );
}

#[test]
fn a_second_step_from_a_carried_key_is_warned_of() {
    let room = Room::new().with_release();
    room.ok("key new --kind group -o fleet1");
    room.ok("key rotate fleet1.key -o fleet2.key");
    room.ok("key rotate fleet2.key -o fleet3.key");
    let done = room.run(&format!(
        "seal fw.bin -o out.seal --seq 3 --version 3.0 --to fleet2.key --carry-group fleet3.key {SEAL}"
    ));
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("one step only"), "{}", done.stderr);
}

#[test]
fn a_carried_group_key_follows_exactly_one_key_of_the_recipients() {
    let room = Room::new().with_release();
    room.ok("key new --kind group -o fleet1");
    room.ok("key rotate fleet1.key -o fleet2.key");
    room.ok("key new --kind group -o other1");
    let cases = [
        ("--to dev.pub --carry-group fleet2.key", "--to OLD.key"),
        (
            "--to fleet2.key --carry-group fleet1.key",
            "older than generation 1",
        ),
        (
            "--to fleet1.key --to other1.key --carry-group fleet2.key",
            "more than one older group key",
        ),
        ("--suite none --carry-group fleet2.key", "--to OLD.key"),
    ];
    for (options, expected) in cases {
        let why = room.fails(
            2,
            &format!("seal fw.bin -o out.seal --seq 9 --version 1.0 {options} {SEAL}"),
        );
        assert!(why.contains(expected), "{options}: {why}");
        assert!(!room.file("out.seal").exists());
    }
    let kind = format!(
        "seal fw.bin -o out.seal --seq 9 --version 1.0 --to dev.pub --carry-group dev.key {SEAL}"
    );
    let why = room.fails(1, &kind);
    assert!(why.contains("no group key"), "{why}");
}
