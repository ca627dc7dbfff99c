//! The commands of the line as a person at the bench calls them: what they print, how they end, what they refuse.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of esptool and espefuse; `cargo xtask interop` sets it.

use std::fs;

use crate::factory_room::{Line, RUN, SERIAL, product, set, tree, vectors};
use crate::harness::Room;

/// One board: planned, cut, finished, found finished; then the batch is closed.
#[test]
fn a_board_is_planned_made_and_found_again() {
    let Some(line) = Line::new(1) else { return };
    let before = tree(&line.room.file("batch"));
    fs::copy(
        vectors("efuse/esp32c3-fe-sb.step0.json"),
        line.room.file("blank.json"),
    )
    .unwrap();
    let dry = "esp line run --batch batch --dry-run --state";
    let plan = line.room.ok(&format!("{dry} blank.json"));
    let words: Vec<&str> = plan.lines().map(str::trim).collect();
    assert_eq!(words[0], "the next free serial", "{plan}");
    for step in ["flash", "verify", "burn", "audit", "boot", "lock", "record"] {
        assert!(words.contains(&step), "{step}: {plan}");
    }
    let burn =
        "espefuse burn-key BLOCK_KEY0 flash-key.bin XTS_AES_128_KEY BLOCK_KEY1 seed.bin HMAC_UP";
    assert!(plan.contains(burn), "{plan}");
    assert!(!plan.contains("force"), "{plan}");
    let steps = line.room.json(&format!("{dry} blank.json"));
    assert_eq!(steps["serial"], serde_json::Value::Null, "{steps}");
    assert!(
        steps["steps"].to_string().contains("write-protect-efuse"),
        "{steps}"
    );
    assert_eq!(
        tree(&line.room.file("batch")),
        before,
        "a dry run wrote something"
    );

    assert_eq!(line.counts(), [1, 0, 0, 0]);
    let why = line.fails(1, "--fault before@4");
    assert!(
        why.contains("AL-A-00001 verify\nrefused") && why.contains("what to do: look at cable"),
        "{why}"
    );
    assert_eq!(line.counts(), [0, 1, 0, 0]);
    let why = line
        .room
        .fails(1, "esp line close --batch batch --key line.key");
    assert!(
        why.contains("not finished: AL-A-00001") && why.contains("esp line scrap"),
        "{why}"
    );

    let done = line.finished("");
    assert!(
        done.stdout.starts_with("AL-A-00001 is finished, in "),
        "{}",
        done.stdout
    );
    assert!(
        done.stderr
            .contains("AL-A-00001 burn\nAL-A-00001 audit\nAL-A-00001 boot\nAL-A-00001 lock"),
        "{}",
        done.stderr
    );
    assert_eq!(line.counts(), [0, 0, 1, 0]);
    let again = line.json(&format!("{RUN} --serial {SERIAL}"));
    assert_eq!(
        (&again["serial"], &again["was_finished"]),
        (&SERIAL.into(), &true.into()),
        "{again}"
    );
    let status = line.room.ok("esp line status --batch batch");
    assert_eq!(
        status, "1 finished, 0 begun, 0 scrapped, 0 not begun\n",
        "{status}"
    );

    let closed = line.room.ok("esp line close --batch batch --key line.key");
    assert!(
        closed.starts_with("1 finished, 0 scrapped; 0 unused") && closed.contains("report.html"),
        "{closed}"
    );
    let closed = line.json("esp line close --batch batch --key line.key");
    assert_eq!(
        (&closed["finished"], &closed["closed"]),
        (&1.into(), &true.into()),
        "{closed}"
    );
    assert!(
        line.room
            .ok("esp line status --batch batch")
            .ends_with("; closed\n")
    );
}

/// R18: a finished board is looked at first, and nothing is written. Its summary is what `--state` takes.
#[test]
fn r18_a_board_that_is_encrypted_already_is_named_by_a_dry_run() {
    let Some(line) = Line::new(2) else { return };
    line.finished("");
    let before = (
        tree(&line.room.file("batch")),
        tree(&line.room.file("board")),
    );
    let state = "esp line run --batch batch --dry-run --state board/summary.json";
    let on_the_bench = format!("{RUN} --dry-run --serial {SERIAL}");
    for call in [state, on_the_bench.as_str()] {
        let why = line.room.fails(1, call);
        assert!(
            why.contains("encrypted already") && why.contains("record AL-A-00001"),
            "{why}"
        );
        let why = line.room.fails(1, &format!("{call} --json"));
        let error: serde_json::Value = serde_json::from_str(why.trim()).unwrap();
        assert_eq!(error["error"]["kind"], "refused", "{error}");
    }
    let after = (
        tree(&line.room.file("batch")),
        tree(&line.room.file("board")),
    );
    assert!(after == before, "a dry run wrote something");
}

/// R12: a chip that was burned half-way gets what it lacks if the journal knows it, and nothing without it.
#[test]
fn r12_a_half_burned_board_gets_the_missing_steps_by_its_journal_alone() {
    let Some(line) = Line::new(2) else { return };
    for (fault, burns) in [("killed-2@7", true), ("after@7", false)] {
        line.fails(1, &format!("--fault {fault}"));
        let plan = line.room.ok(&format!("{RUN} --dry-run"));
        assert!(plan.starts_with(SERIAL), "{plan}");
        assert_eq!(plan.contains("burn-key BLOCK_KEY0"), burns, "{plan}");
        assert!(
            plan.contains("burn-efuse ENABLE_SECURITY_DOWNLOAD"),
            "{plan}"
        );
        assert!(!plan.contains("force"), "{plan}");
    }
    // The same board, and a batch whose journal does not have it.
    let config = String::from_utf8(line.room.read("acme.toml")).unwrap();
    line.room.write(
        "other.toml",
        config.replace("id = \"A\"", "id = \"B\"").as_bytes(),
    );
    line.room
        .ok("esp provision --config other.toml --out other");
    let before = (
        tree(&line.room.file("other/sealed")),
        tree(&line.room.file("board")),
    );
    let other = "esp line run --batch other --key line.key --tools tools --simulate=board";
    for more in ["--dry-run", ""] {
        let why = line.room.fails(1, &format!("{other} {more}"));
        assert!(why.contains("no journal line"), "{why}");
    }
    let after = (
        tree(&line.room.file("other/sealed")),
        tree(&line.room.file("board")),
    );
    assert!(after == before, "somebody else's board was touched");
    line.finished("");
}

#[test]
fn a_returned_board_is_written_anew_with_the_escrow_key() {
    let Some(line) = Line::of(with_escrow) else {
        return;
    };
    line.finished("");
    let reflash = "esp line reflash --batch batch --tools tools --simulate=board";
    let why = line
        .room
        .fails(1, &format!("{reflash} --key line.key --serial {SERIAL}"));
    assert!(why.contains("not sealed to this key"), "{why}");
    let why = line.room.fails(1, &format!("{reflash} --serial {SERIAL}"));
    assert!(why.contains("no key is given"), "{why}");

    let as_made = line.room.read("board/flash.bin");
    let mut worn = as_made.clone();
    worn[0xd000..0xf000].fill(0x5a);
    line.room.write_secret("board/flash.bin", &worn);
    let text = line
        .room
        .ok(&format!("{reflash} --key escrow.key --serial {SERIAL}"));
    assert_eq!(text, "AL-A-00001 is written anew\n");
    assert!(line.room.read("board/flash.bin") == as_made);
    let done = line.json(&format!(
        "{reflash} --key escrow.key --mac 02-00-00-00-00-00"
    ));
    assert_eq!(done["serial"], SERIAL, "{done}");
    for (more, words) in [
        ("--serial AL-A-00002", "AL-A-00002"),
        ("--mac 02:00:00:00:00:77", "02:00:00:00:00:77"),
    ] {
        let why = line
            .room
            .fails(1, &format!("{reflash} --key escrow.key {more}"));
        assert!(
            why.contains(words) && why.contains("no finished board of this batch"),
            "{why}"
        );
    }
}

/// R15: keys that lie in a folder by MAC are taken in, and write the board they belong to.
#[test]
fn r15_keys_from_a_folder_are_taken_in_and_write_their_board() {
    let Some(line) = Line::new(1) else { return };
    line.finished("");
    let config = String::from_utf8(line.room.read("acme.toml")).unwrap();
    line.room.write(
        "later.toml",
        config.replace("id = \"A\"", "id = \"B\"").as_bytes(),
    );
    line.room
        .ok("esp provision --config later.toml --out later");
    let key = line.room.read("board/flash-key");
    fs::create_dir(line.room.file("old-keys")).unwrap();
    line.room.write_secret("old-keys/020000000000.bin", &key);
    line.room.write("old-keys/README", b"keys of the old line");
    let import = "esp line import-keys --batch later --key line.key old-keys";

    line.room
        .write_secret("old-keys/0a-00-00-00-00-01.bin", &key[1..]);
    let before = tree(&line.room.file("later"));
    let why = line.room.fails(1, import);
    assert!(
        why.contains("0a-00-00-00-00-01.bin") && why.contains("31 bytes"),
        "{why}"
    );
    assert_eq!(
        tree(&line.room.file("later")),
        before,
        "a part was taken in"
    );
    fs::remove_file(line.room.file("old-keys/0a-00-00-00-00-01.bin")).unwrap();

    let text = line.room.ok(import);
    assert_eq!(
        text,
        "1 key taken in, 0 there already, no MAC in the name of README\n"
    );
    let again = line.json(import);
    assert_eq!(
        (&again["taken"], &again["known"], &again["skipped"][0]),
        (&serde_json::json!([]), &1.into(), &"README".into()),
        "{again}"
    );
    let reflash = "esp line reflash --batch later --key line.key --tools tools --simulate=board";
    let why = line.room.fails(1, &format!("{reflash} --mac 020000000000"));
    assert!(why.contains("--silent-board"), "{why}");
    let text = line
        .room
        .ok(&format!("{reflash} --mac 020000000000 --silent-board"));
    assert_eq!(text, "imported-020000000000 is written anew\n");
    let why = line.room.fails(
        3,
        "esp line import-keys --batch later --key line.key no-such-folder",
    );
    assert!(why.contains("no-such-folder"), "{why}");
}

#[test]
fn a_begun_board_is_given_up_and_its_serial_never_comes_back() {
    let Some(line) = Line::new(2) else { return };
    let scrap = "esp line scrap --batch batch --serial";
    let why = line
        .room
        .fails(1, &format!("{scrap} AL-A-00001 --reason cracked"));
    assert!(why.contains("is bound to no chip"), "{why}");
    line.fails(1, "--fault before@4");
    for reason in ["", " "] {
        let mut words: Vec<&str> = scrap.split(' ').collect();
        words.extend([SERIAL, "--reason", reason]);
        let done = line.room.run_args(&words);
        assert_eq!(done.code, 2, "{}", done.stderr);
    }
    assert_eq!(line.counts(), [1, 1, 0, 0]);
    let done = line.json(&format!("{scrap} AL-A-00001 --reason cracked"));
    assert_eq!(
        (&done["serial"], &done["reason"]),
        (&SERIAL.into(), &"cracked".into()),
        "{done}"
    );
    assert!(!line.room.file("batch/sealed/AL-A-00001.box").exists());
    assert!(line.journal().contains("cracked"));
    assert_eq!(line.counts(), [1, 0, 0, 1]);
    let why = line.fails(1, "--serial AL-A-00001");
    assert!(why.contains("was scrapped"), "{why}");
}

#[test]
fn calls_of_the_line_that_make_no_sense_are_refused_before_anything_is_made() {
    let Some(line) = Line::new(1) else { return };
    line.room.write("elsewhere", b"no folder");
    let before = tree(line.room.path());
    let run = "esp line run --batch batch --key line.key --tools tools";
    for (code, call, words) in [
        (2, run.to_owned(), "give --port, or --simulate"),
        (2, format!("{run} --port p --simulate"), "--simulate"),
        (2, format!("{run} --fault before@1"), "--simulate"),
        (2, format!("{run} --simulate=b --fault between@1"), "before, after or killed"),
        (2, format!("{run} --simulate=b --fault before"), "KIND@N"),
        (2, format!("{run} --simulate=b --fault before@one"), "one"),
        (2, format!("{run} --simulate=b --fault killed-x@1"), "killed-x@1"),
        (2, format!("{run} --state s.json"), "--dry-run"),
        (2, format!("{run} --dry-run --state s.json --simulate"), "--simulate"),
        (3, format!("{run} --dry-run --state s.json"), "s.json"),
        (1, format!("{run} --dry-run --state elsewhere"), "elsewhere"),
        (1, format!("{run} --simulate --serial AL-A-00009"), "is not in the batch"),
        (1, format!("{run} --simulate --serial ../../out"), "is not in the batch"),
        (1, format!("{run} --simulate=b --serial /out"), "is not in the batch"),
        (1, "esp line run --batch batch --key sb0.pem --tools tools --simulate=b".to_owned(), "sb0.pem"),
        (1, "esp line run --batch batch --tools tools --simulate=b".to_owned(), "no key is given"),
        (1, "esp line status --batch keyset".to_owned(), "is no batch"),
        (1, "esp line close --batch elsewhere".to_owned(), "elsewhere"),
        (2, "esp line reflash --batch batch --key line.key --simulate=b".to_owned(), "--serial"),
        (2, "esp line reflash --batch batch --simulate=b --serial S --mac 020000000001".to_owned(), "--mac"),
        (2, "esp line reflash --batch batch --simulate=b --mac 02000000000g".to_owned(), "twelve"),
        (1, "esp line reflash --batch batch --key line.key --tools tools --simulate --serial ../out".to_owned(), "../out"),
        (2, format!("esp line scrap --batch batch --serial {SERIAL}"), "--reason"),
        (2, "esp line import-keys --batch batch".to_owned(), "DIR"),
    ] {
        let why = line.room.fails(code, &call);
        assert!(why.contains(words), "{call}: {why}");
        let after = tree(line.room.path());
        let new: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
        assert!(after == before, "{call} left {new:?}");
        assert!(!line.room.file("b").exists() && !line.room.file("batch/simulated").exists(), "{call}");
    }
}

#[test]
fn a_board_needs_the_key_that_opens_its_box() {
    let Some(line) = Line::new(1) else { return };
    line.room.ok("key new --kind device -o other");
    for (key, words) in [
        ("", "no key is given"),
        ("--key other.key", "is not sealed to this key"),
    ] {
        let call = RUN.replace("--key line.key", key);
        let why = line.room.fails(1, &call);
        assert!(why.contains(words), "{why}");
        assert_eq!(line.counts(), [1, 0, 0, 0], "a serial was bound");
    }
}

/// What a scanner reads is the QR code's text; what a person types may have blanks and small letters.
#[test]
fn a_label_is_understood_as_it_is_scanned_or_typed() {
    let labelled = || {
        let room = product(2);
        set(
            &room,
            "[keys]",
            "[label]\ntext = [\"{serial}\"]\nqr = \"AIRSEAL1:{serial}:{mac}\"\nfiles = [\"csv\"]\n\n[keys]",
        );
        room
    };
    let Some(line) = Line::of(labelled) else {
        return;
    };
    let dry: Vec<&str> = RUN.split(' ').chain(["--dry-run", "--serial"]).collect();
    for label in [
        "AL-A-00002",
        " al-a-00002\n",
        "AIRSEAL1:AL-A-00002:02:00:00:00:00:01",
    ] {
        let mut words = dry.clone();
        words.push(label);
        let done = line.room.run_args(&words);
        assert_eq!(done.code, 0, "{label:?}: {}", done.stderr);
    }
    for label in [
        "AIRSEAL1:AL-A-00003:",
        "AIRSEAL1:AL-A-00002",
        "AL-A-0000",
        "",
    ] {
        let mut words = dry.clone();
        words.push(label);
        let done = line.room.run_args(&words);
        assert_eq!(done.code, 1, "{label:?}: {}", done.stdout);
        assert!(
            done.stderr.contains("is not in the batch A"),
            "{}",
            done.stderr
        );
    }
}

/// A program that reads `--json` sees each step as it is begun and as it ends.
#[test]
fn json_tells_every_step_and_then_the_result() {
    let Some(line) = Line::new(1) else { return };
    let done = line.finished("--json");
    let lines: Vec<serde_json::Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (result, events) = lines.split_last().unwrap();
    assert_eq!(
        (&result["serial"], &result["was_finished"]),
        (&SERIAL.into(), &false.into())
    );
    let told: Vec<String> = events
        .iter()
        .map(|event| {
            assert_eq!(
                (&event["event"], &event["serial"]),
                (&"step".into(), &SERIAL.into())
            );
            format!(
                "{} {}",
                event["step"].as_str().unwrap(),
                event["outcome"].as_str().unwrap()
            )
        })
        .collect();
    let steps = [
        "bind", "flash", "verify", "burn", "audit", "boot", "lock", "record",
    ];
    let wanted: Vec<String> = steps
        .iter()
        .flat_map(|step| [format!("{step} begun"), format!("{step} done")])
        .collect();
    assert_eq!(told, wanted);
    assert_eq!(done.stderr, "");
}

fn with_escrow() -> Room {
    let room = product(2);
    room.ok("key new --kind device -o escrow");
    set(
        &room,
        "after = \"destroy\"",
        "after = \"escrow\"\nescrow_to = [\"escrow.pub\"]",
    );
    room
}
