//! The line as the machine stops it: signals, a tool that fails, a disk that is full. No key is left or shown anywhere.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of esptool and espefuse; `cargo xtask interop` sets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use airseal_factory::line::work::WorkFolder;

use crate::factory_room::{Line, RUN, SERIAL, holds, secrets, spellings, tree};
use crate::harness::{Done, done, skip};

/// Everything the command prints while a board fails in every way, and then is finished: no key of it, in any spelling.
#[test]
fn no_key_of_a_board_is_in_what_the_command_prints() {
    let Some(line) = Line::new(1) else { return };
    let needles = spellings(&secrets(&line.room, "line.key", SERIAL));
    // A tool that shows a key on its standard output, as espefuse does, and then dies without a word about why.
    line.stand_in(
        "talking",
        r#"case "$*" in *burn-key*)
            for word in "$@"; do case "$word" in *$(cat shows).bin)
                printf -- '- BLOCK_KEY0 -> [%s]\n' "$(od -An -v -tx1 "$word" | tr -s ' \n' '  ' | sed 's/^ //; s/ $//')"
            esac; done
            exit 2
        esac
        exec "$REAL" "$@""#,
    );
    let talking = RUN.replace("--tools tools", "--tools talking");
    let faults = [
        "before@0",
        "after@1",
        "before@4",
        "killed-1@7",
        "after@7",
        "before@9",
        "after@13",
    ];
    let mut calls: Vec<String> = faults
        .iter()
        .map(|fault| format!("{RUN} --fault {fault}"))
        .collect();
    for shown in ["flash-key", "seed"] {
        calls.insert(3, format!("{talking} --operator {shown}"));
    }
    calls.insert(0, format!("{RUN} --dry-run"));
    let mut failures = 0;
    for call in calls {
        let shown = call.rsplit(' ').next().unwrap();
        line.room.write("shows", shown.as_bytes());
        for json in ["", " --json"] {
            let done = line.room.run(&format!("{call}{json}"));
            failures += usize::from(done.code != 0);
            says_no_key(&call, &done, &needles);
            if call.contains("talking") {
                assert!(done.stderr.contains("it says nothing"), "{}", done.stderr);
            }
        }
    }
    assert!(failures >= 10, "{failures}");
    let done = line.run("");
    says_no_key("the last run", &done, &needles);
    assert_eq!(line.counts(), [0, 0, 1, 0], "{}", done.stderr);
    for (name, bytes) in tree(&line.room.file("batch")) {
        assert!(!holds(&bytes, &needles), "a key in {name}");
    }
}

fn says_no_key(call: &str, done: &Done, needles: &[Vec<u8>]) {
    let stderr = done.stderr.as_bytes();
    assert!(
        !holds(&done.bytes, needles) && !holds(stderr, needles),
        "{call}: {}{}",
        done.stdout,
        done.stderr
    );
}

/// A stand-in that waits before it burns: keys lie in the clear for as long as `waiting` is there.
const WAITS: &str = r#"case "$*" in *burn-key*)
    echo $$ > burning.part; mv burning.part burning
    while test -e waiting; do sleep 0.05; done
esac
exec "$REAL" "$@""#;

/// Starts a run and waits until its tool holds the keys of the board.
fn run_until_keys_are_out(line: &Line) -> Child {
    fs::write(line.room.file("waiting"), b"").unwrap();
    let call = RUN.replace("--tools tools", "--tools waits");
    let child = line
        .room
        .command(&call.split(' ').collect::<Vec<_>>())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&line.room.file("burning"));
    child
}

fn wait_for(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(name: &str, process: &str) {
    let sent = std::process::Command::new("kill")
        .args([name, process])
        .status()
        .unwrap();
    assert!(sent.success(), "{name} {process}");
}

fn clear_keys(line: &Line) -> (PathBuf, usize) {
    let root = WorkFolder::root(&line.room.file("batch"));
    let keys = tree(&root)
        .keys()
        .filter(|name| name.ends_with("flash-key.bin") || name.ends_with("seed.bin"))
        .count();
    (root, keys)
}

fn same_keys(line: &Line, wanted: &(Vec<u8>, Vec<u8>)) {
    let burned = (
        line.room.read("board/flash-key"),
        line.room.read("board/seed"),
    );
    assert!(
        burned == *wanted,
        "the board has other keys than its box had"
    );
}

fn keys_of(line: &Line) -> (Vec<u8>, Vec<u8>) {
    let keys = secrets(&line.room, "line.key", SERIAL);
    (keys.flash_key.to_vec(), keys.seed.to_vec())
}

#[test]
fn ctrl_c_while_a_tool_burns_waits_for_it_and_leaves_no_key() {
    let Some(line) = Line::new(1) else { return };
    line.stand_in("waits", WAITS);
    let keys = keys_of(&line);
    let child = run_until_keys_are_out(&line);
    let (root, clear) = clear_keys(&line);
    assert_eq!(clear, 2, "{}", root.display());
    signal("-INT", &child.id().to_string());
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(clear_keys(&line).1, 2, "a tool was left without its keys");
    fs::remove_file(line.room.file("waiting")).unwrap();
    let stopped = done(child.wait_with_output().unwrap());
    assert_eq!(stopped.code, 3, "{}{}", stopped.stdout, stopped.stderr);
    assert!(stopped.stderr.contains("interrupted"), "{}", stopped.stderr);
    assert!(!root.exists(), "{} is left", root.display());
    // The burning was not cut: it is done, and what comes after it was not begun.
    let plan = line.room.ok(&format!("{RUN} --dry-run"));
    assert!(
        plan.starts_with(SERIAL) && !plan.contains("burn-key"),
        "{plan}"
    );
    line.finished("");
    same_keys(&line, &keys);
    assert_eq!(line.counts(), [0, 0, 1, 0]);
}

/// The line's computer dies with the keys of a board in the clear: program and tool are gone, nothing cleaned up.
#[test]
fn a_kill_while_a_tool_holds_keys_leaves_none_after_the_next_start() {
    let Some(line) = Line::new(2) else { return };
    line.stand_in("waits", WAITS);
    let keys = keys_of(&line);
    let mut child = run_until_keys_are_out(&line);
    signal("-KILL", &child.id().to_string());
    child.wait().unwrap();
    let tool = String::from_utf8(line.room.read("burning")).unwrap();
    signal("-KILL", tool.trim());
    let (root, clear) = clear_keys(&line);
    assert_eq!(clear, 2, "what a kill leaves: {}", root.display());
    // Any start of the line on this batch cleans up, one that does nothing too.
    let plan = line.room.ok(&format!("{RUN} --dry-run"));
    assert!(
        plan.starts_with(SERIAL) && plan.contains("burn-key BLOCK_KEY0"),
        "{plan}"
    );
    assert!(!root.exists(), "{} is left", root.display());
    let done = line.finished("");
    assert!(
        done.stdout.starts_with("AL-A-00001 is finished"),
        "{}",
        done.stdout
    );
    same_keys(&line, &keys);
    assert_eq!(line.counts(), [1, 0, 1, 0]);
    assert!(!root.exists(), "{} is left", root.display());
}

/// Signals hit the program while a tool only reads: the board goes on from there, with the keys it was bound to.
#[test]
fn a_kill_while_a_tool_reads_loses_nothing() {
    let Some(line) = Line::new(2) else { return };
    line.stand_in("waits", &WAITS.replace("*burn-key*", "*summary*"));
    let keys = keys_of(&line);
    for name in ["-KILL", "-TERM"] {
        let mut child = run_until_keys_are_out(&line);
        signal(name, &child.id().to_string());
        fs::remove_file(line.room.file("waiting")).unwrap();
        child.wait().unwrap();
        fs::remove_file(line.room.file("burning")).unwrap();
    }
    line.finished("");
    same_keys(&line, &keys);
    let (root, clear) = clear_keys(&line);
    assert_eq!(clear, 0, "{}", root.display());
}

/// The disk of the batch has room for so many lines of the journal and no more; a long name makes each line the same 100 kB.
const LINES: [(usize, &str); 7] = [
    (0, "bind begun"),
    (2, "flash begun"),
    (4, "burn begun"),
    (5, "burn done"),
    (4, "lock begun"),
    (5, "lock done"),
    (3, "record done"),
];

#[test]
fn a_full_disk_at_the_line_burns_nothing_and_goes_on_with_room() {
    let Some(line) = Line::new(1) else { return };
    let keys = keys_of(&line);
    let script = r#"mount -t tmpfs -o size=12m none small || exit 99
        cp -a batch small/batch
        mkdir small/batch/simulated
        run() {
            "$0" esp line run --batch small/batch --key line.key --tools tools --simulate=board \
                --operator "$(head -c 100000 /dev/zero | tr '\0' x)" > $1/out 2> $1/err
            echo $? > $1/code
            cp small/batch/journal.jsonl $1
            if test -e board/burned; then cp board/burned $1; else : > $1/burned; fi
        }
        number=0
        for lines in "$@"; do
            mkdir run$number
            room=$((lines * 100400 + 60000))
            head -c $(($(stat -f -c '%f * %S' small) - room)) /dev/zero > small/fill || exit 98
            run run$number
            rm small/fill
            number=$((number + 1))
        done
        mkdir last
        run last
        cp -a small/batch after"#;
    fs::create_dir(line.room.file("small")).unwrap();
    let output = std::process::Command::new("unshare")
        .args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_airseal")])
        .args(LINES.map(|(lines, _)| lines.to_string()))
        .current_dir(line.room.path())
        .output();
    let Ok(output) = output else {
        return skip("unshare");
    };
    let ended = done(output);
    if ended.code == 99 || ended.stderr.contains("unshare") {
        return; // mounting is not allowed here
    }
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);

    let mut burned_before = String::new();
    for (number, (_, missing)) in LINES.into_iter().enumerate() {
        let folder = line.room.file(&format!("run{number}"));
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let why = text("err");
        assert_eq!(text("code"), "3\n", "{missing}: {}{why}", text("out"));
        assert!(
            why.contains("can't write small/batch/journal.jsonl: No space left on device"),
            "{missing}: {why}"
        );
        let (step, outcome) = missing.split_once(' ').unwrap();
        let has = |step: &str, outcome: &str| {
            let words = [
                format!("\"step\":\"{step}\""),
                format!("\"outcome\":\"{outcome}\""),
            ];
            let journal = text("journal.jsonl");
            journal
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)))
        };
        assert!(!has(step, outcome), "{missing} was written");
        // What could not be announced is not burned; what was announced is, though the disk is full by then.
        let (burned, wanted) = (text("burned"), outcome == "done" && step != "record");
        assert_eq!(burned != burned_before, wanted, "{missing}: {burned}");
        burned_before = burned;
    }
    let last = String::from_utf8(line.room.read("last/out")).unwrap();
    assert!(last.starts_with("AL-A-00001 is finished"), "{last}");
    same_keys(&line, &keys);
    let counts = line.room.json("esp line status --batch after");
    assert_eq!(
        (&counts["finished"], &counts["begun"]),
        (&1.into(), &0.into())
    );
    let records = String::from_utf8(line.room.read("after/devices.jsonl")).unwrap();
    assert_eq!(records.lines().count(), 1, "{records}");
    assert!(!WorkFolder::root(&line.room.file("small/batch")).exists());
}
