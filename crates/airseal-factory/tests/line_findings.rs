//! What a program says in trouble is no finding about a chip, and a board that is exchanged under the line gets no key.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::ffi::OsString;
use std::time::Duration;

use airseal_factory::journal::{Journal, Outcome, Step};
use airseal_factory::line::bench::Bench;
use airseal_factory::line::connection::{Connection, Program};
use airseal_factory::line::simulated::SimulatedBoard;
use airseal_factory::line::station::{Shift, Station, Who};
use airseal_factory::status::status;
use airseal_pack::Error;
use common::bench::{Line, bench, serial};

/// A board whose `check-error` fails in given words, as often as they last.
struct Noisy<'b> {
    board: &'b mut SimulatedBoard,
    says: Vec<&'static str>,
}

impl Connection for Noisy<'_> {
    fn place(&self, program: Program) -> Vec<OsString> {
        self.board.place(program)
    }

    fn call(&mut self, program: Program, words: &[OsString]) -> Result<String, Error> {
        if words.iter().any(|word| word == "check-error") && !self.says.is_empty() {
            return Err(Error::refused("espefuse", self.says.remove(0), ""));
        }
        self.board.call(program, words)
    }

    fn listen(
        &mut self,
        reset: &[OsString],
        enough: &dyn Fn(&str) -> bool,
        wait: Duration,
    ) -> Result<String, Error> {
        self.board.listen(reset, enough, wait)
    }
}

const NOISE: &str = "failed: Failed to connect to ESP32-C3: No serial data received.";
const BAD_BLOCK: &str = "failed: Error(s) were detected in eFuses.";

/// Whatever is said of a bound board, in one call or in many, its box stays until a person gives it up.
#[test]
fn a_call_that_failed_is_no_finding_and_a_finding_is_no_verdict() {
    let Some(line) = Line::new() else { return };
    let mut board = line.board(1);
    board.set_fault(5, airseal_factory::line::simulated::Fault::Before);
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect_err("the cable falls out");
    let sealed = line.batch().join(format!("sealed/{}.box", serial(1)));
    for (says, words) in [
        (vec![NOISE], "No serial data"),
        (vec![BAD_BLOCK, NOISE], "No serial data"),
        (vec![BAD_BLOCK, BAD_BLOCK], "looks like scrap"),
    ] {
        let noisy = Noisy {
            board: &mut board,
            says,
        };
        let mut bench = Bench::new(Box::new(noisy), station.expected());
        let error = station.run(&mut bench, None).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
        assert!(sealed.exists(), "{words}: the box is gone");
    }
    let entries = Journal::read(&line.batch().join("journal.jsonl")).expect("a journal");
    let findings: Vec<Outcome> = entries
        .iter()
        .filter(|entry| entry.step == Step::Scrap)
        .map(|entry| entry.outcome)
        .collect();
    assert_eq!(findings, [Outcome::Begun]);
    // The third time the wire is quiet: the board is finished.
    let noisy = Noisy {
        board: &mut board,
        says: vec![BAD_BLOCK],
    };
    let mut bench = Bench::new(Box::new(noisy), station.expected());
    let done = station.run(&mut bench, None).expect("finished");
    assert_eq!(done.serial, serial(1));
}

/// Two boards and a jig that puts the second one in place after some calls.
struct Exchanged<'b> {
    boards: [&'b mut SimulatedBoard; 2],
    left: usize,
}

impl Exchanged<'_> {
    fn now(&mut self) -> &mut SimulatedBoard {
        let [first, second] = &mut self.boards;
        match self.left {
            0 => second,
            _ => {
                self.left -= 1;
                first
            }
        }
    }
}

impl Connection for Exchanged<'_> {
    // The jig is one port: the words name the board that is there for the call they are made for.
    fn place(&self, program: Program) -> Vec<OsString> {
        self.boards[usize::from(self.left == 0)].place(program)
    }

    fn call(&mut self, program: Program, words: &[OsString]) -> Result<String, Error> {
        self.now().call(program, words)
    }

    fn listen(
        &mut self,
        reset: &[OsString],
        enough: &dyn Fn(&str) -> bool,
        wait: Duration,
    ) -> Result<String, Error> {
        self.now().listen(reset, enough, wait)
    }
}

/// Whenever another blank board is put in place, no key goes into it, and the first one ends with keys of its own.
#[test]
fn a_board_that_is_exchanged_at_any_call_is_never_burned() {
    let Some(line) = Line::new() else { return };
    let calls = {
        let mut station = line.station();
        let mut board = line.board(200);
        station
            .run(&mut bench(&station, &mut board), Some(&serial(5)))
            .expect("finished");
        board.calls().len()
    };
    let burned = |board: &SimulatedBoard| {
        board
            .calls()
            .iter()
            .any(|call| call.iter().any(|word| word.starts_with("burn-")))
    };
    // After one call nothing is known of the first board yet: the second one is simply the board.
    for left in 2..calls {
        let folder = tempfile::tempdir().expect("a folder");
        let batch = folder.path().join("batch");
        common::bench::copy_tree(&line.batch(), &batch);
        let mut first = line.board_in(&folder.path().join("first"), 1);
        let mut second = line.board_in(&folder.path().join("second"), 2);
        let mut station = line.station_in(&batch, "line.key", None, &common::bench::nothing);
        let exchanged = Exchanged {
            boards: [&mut first, &mut second],
            left,
        };
        let mut bench = Bench::new(Box::new(exchanged), station.expected());
        let done = station.run(&mut bench, Some(&serial(1)));
        drop(bench);
        // Between a look and the call that it allows no hand is fast enough; every other moment is seen.
        let looks = first
            .calls()
            .iter()
            .filter(|call| call.iter().any(|word| word == "summary"))
            .count();
        let just_looked = first
            .calls()
            .last()
            .is_some_and(|call| call.iter().any(|word| word == "summary"));
        if just_looked && (looks == 2 || looks == 4) {
            continue;
        }
        assert!(done.is_err(), "exchanged after call {left}");
        assert!(
            !burned(&second),
            "burned the second board, after call {left}"
        );
        // flash-id names the board right before it is erased.
        let erased = second
            .calls()
            .iter()
            .any(|call| call.iter().any(|word| word == "--erase-all"));
        assert!(
            !erased || left == 3,
            "erased the second board, after call {left}"
        );
    }
}

/// A box that can't be opened is not a box that is gone: nothing is finished, and the right key finishes it.
#[test]
fn a_key_that_does_not_open_the_box_does_not_make_its_keys_destroyed() {
    let Some(line) = Line::new() else { return };
    let wrong = airseal_pack::key::PrivateKey::generate(airseal_pack::key::KeyKind::Device)
        .and_then(|key| airseal_pack::key::private_to_pem(&key, None))
        .expect("a key");
    std::fs::write(line.product.path("wrong.key"), wrong.as_bytes()).expect("a key");
    let sealed = line.batch().join(format!("sealed/{}.box", serial(1)));
    let mut board = line.board(1);
    // The label can't be written: the record is there, and the box is not yet gone.
    std::fs::write(line.batch().join("labels"), b"").expect("a file in the way");
    let mut run = |key: &str, words: &str| {
        let mut station = line.station_in(&line.batch(), key, None, &common::bench::nothing);
        let done = station.run(&mut bench(&station, &mut board), Some(&serial(1)));
        if let Err(error) = &done {
            assert!(error.to_string().contains(words), "{error}");
        }
        done.is_ok()
    };
    assert!(!run("line.key", "labels"));
    std::fs::remove_file(line.batch().join("labels")).expect("removed");
    assert!(sealed.exists());
    assert!(!run("wrong.key", "is not sealed to this key"));
    assert!(
        sealed.exists(),
        "the box went with a key that does not open it"
    );
    assert!(run("line.key", ""));
    assert!(!sealed.exists());
    assert!(line.batch().join("labels/labels.csv").exists());
    // A cut after the last line of the journal: the next start removes what should be gone.
    std::fs::write(&sealed, b"left behind").expect("a box");
    drop(line.station());
    assert!(!sealed.exists());
}

fn opens(line: &Line) -> Result<(), String> {
    let shift = Shift {
        who: Who {
            station: "a".to_owned(),
            operator: "o".to_owned(),
        },
        clock: &common::bench::clock,
        stop: None,
        watch: &common::bench::nothing,
    };
    Station::open(&line.batch(), Some(line.key("line.key")), shift)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Whoever can write to `common/` decides neither what is burned nor who gets the keys.
#[test]
fn what_boards_are_made_from_is_what_the_batch_was_made_with() {
    let Some(line) = Line::new() else { return };
    let common = line.batch().join("common");
    let names: Vec<String> = std::fs::read_dir(&common)
        .expect("files")
        .map(|entry| {
            entry
                .expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| {
            ["plan.json", "config.toml"].contains(&name.as_str())
                || name.starts_with("digest")
                || name.ends_with(".pub")
        })
        .collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        let path = common.join(&name);
        let kept = std::fs::read(&path).expect("a file");
        let mut changed = kept.clone();
        changed[0] ^= 1;
        std::fs::write(&path, changed).expect("changed");
        let error = opens(&line).expect_err(&name);
        assert!(error.contains(&name), "{name}: {error}");
        std::fs::write(&path, kept).expect("as it was");
    }
    let added = common.join("escrow-0000000000000000.pub");
    std::fs::copy(line.product.path("line.pub"), &added).expect("added");
    let error = opens(&line).expect_err("a key that was added");
    assert!(error.contains("is no key of the batch"), "{error}");
    std::fs::remove_file(&added).expect("removed");
    opens(&line).expect("as it was");
}

/// Without its journal, or with one that lost lines, nobody says which keys are in use: none are drawn, no serial is free.
#[test]
fn a_journal_that_is_missing_or_short_stops_station_provision_and_status() {
    let Some(line) = Line::new() else { return };
    let (_board, station) = line.finished();
    drop(station);
    let journal = line.batch().join("journal.jsonl");
    let kept = std::fs::read(&journal).expect("a journal");
    let refused = |words: &str| {
        let provision = line.product.prepare();
        for error in [
            opens(&line).expect_err(words),
            provision.expect_err(words).to_string(),
            status(&line.batch()).expect_err(words).to_string(),
        ] {
            assert!(error.contains(words), "{error}");
        }
    };
    std::fs::remove_file(&journal).expect("removed");
    refused("is not there");
    assert!(!journal.exists(), "no new one is begun");
    let lines: Vec<&[u8]> = kept.split_inclusive(|byte| *byte == b'\n').collect();
    std::fs::write(&journal, lines[..lines.len() - 1].concat()).expect("cut");
    refused("are lost");
    std::fs::write(&journal, lines[0]).expect("cut");
    refused("are lost");
    std::fs::write(&journal, kept).expect("as it was");
    opens(&line).expect("as it was");
}

/// A wrong key, a damaged box or a changed part of the batch costs no serial and no board.
#[test]
fn what_the_batch_lacks_is_found_before_a_serial_is_bound() {
    let Some(line) = Line::new() else { return };
    let wrong = airseal_pack::key::PrivateKey::generate(airseal_pack::key::KeyKind::Device)
        .and_then(|key| airseal_pack::key::private_to_pem(&key, None))
        .expect("a key");
    std::fs::write(line.product.path("wrong.key"), wrong.as_bytes()).expect("a key");
    let mut board = line.board(1);
    let mut refused = |key: &str, words: &str| {
        let mut station = line.station_in(&line.batch(), key, None, &common::bench::nothing);
        let error = station
            .run(&mut bench(&station, &mut board), Some(&serial(1)))
            .expect_err(words)
            .to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(status(&line.batch()).expect("a status").free, 6, "{words}");
    };
    refused("wrong.key", "is not sealed to this key");
    let sealed = line.batch().join(format!("sealed/{}.box", serial(1)));
    let factory = line.batch().join("common/factory.bin");
    for (path, words) in [(sealed, "the box of"), (factory, "factory.bin")] {
        let kept = std::fs::read(&path).expect("a file");
        std::fs::write(&path, b"").expect("damaged");
        refused("line.key", words);
        std::fs::write(&path, kept).expect("as it was");
    }
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect("finished");
}

/// A board whose firmware prints what is nobody's business, and never who it is.
struct Chatty<'b>(&'b mut SimulatedBoard);

impl Connection for Chatty<'_> {
    fn place(&self, program: Program) -> Vec<OsString> {
        self.0.place(program)
    }

    fn call(&mut self, program: Program, words: &[OsString]) -> Result<String, Error> {
        self.0.call(program, words)
    }

    fn listen(
        &mut self,
        _: &[OsString],
        _: &dyn Fn(&str) -> bool,
        _: Duration,
    ) -> Result<String, Error> {
        Ok("psk hunter2 \u{1b}[31m".repeat(100) + "\n")
    }
}

/// The journal is public: it says that the board did not start, and the screen says how.
#[test]
fn what_a_firmware_prints_is_not_in_the_journal() {
    let Some(line) = Line::new() else { return };
    let mut board = line.board(1);
    let mut station = line.station();
    let mut bench = Bench::new(Box::new(Chatty(&mut board)), station.expected());
    let error = station.run(&mut bench, None).expect_err("does not start");
    assert!(error.to_string().contains("psk hunter2"), "{error}");
    drop(bench);
    station
        .scrap(&serial(1), &"cracked\u{7}\n".repeat(100), false)
        .expect("scrapped");
    let entries = Journal::read(&line.batch().join("journal.jsonl")).expect("a journal");
    let notes: Vec<&str> = entries.iter().map(|entry| entry.note.as_str()).collect();
    assert!(notes.iter().any(|note| note.starts_with("the firmware")));
    for note in notes {
        assert!(!note.contains("psk"), "{note}");
        assert!(note.chars().count() <= 200, "{note}");
        assert!(!note.contains(char::is_control), "{note:?}");
    }
}
