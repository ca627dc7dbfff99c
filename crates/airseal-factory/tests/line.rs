//! The line on simulated boards: the real espefuse on virtual eFuses, a file for the flash, and a boot played from both.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use airseal_factory::journal::{Outcome, Step};
use airseal_factory::line::simulated::Fault;
use airseal_factory::line::station::{Shift, Station, Which, Who};
use airseal_factory::status::status;
use airseal_pack::esp::efuse_audit::{Policy, audit};
use common::bench::{
    BURN, Line, PLACES, bench, clock, files, holds, no_work_left, nothing, records, serial,
    spellings, state, with_escrow,
};

#[test]
fn a_board_is_made_and_found_finished() {
    let Some(line) = Line::new() else { return };
    let mut board = line.board(1);
    let mut station = line.station();
    let begun = Instant::now();
    let (done, in_tools) = {
        let mut bench = bench(&station, &mut board);
        let done = station.run(&mut bench, None).expect("finished");
        (done, bench.in_tools())
    };
    let beside = begun.elapsed() - in_tools;
    println!("{beside:?} beside {in_tools:?} in the tools");
    assert!(beside < Duration::from_secs(2), "{beside:?}");
    assert_eq!(
        (done.serial.as_str(), done.was_finished),
        (serial(1).as_str(), false)
    );
    let audited =
        audit(station.expected().chip, &state(&board), &Policy::release()).expect("an audit");
    assert!(
        audited.ok,
        "{:?}",
        audited
            .rules
            .iter()
            .filter(|rule| !rule.ok)
            .collect::<Vec<_>>()
    );
    assert_eq!(records(&line.batch()).len(), 1);
    assert!(
        !line.batch().join("sealed/AL-2648-A-00001.box").exists(),
        "the keys are still there"
    );
    // Two calls burn, and no more.
    let burns = board
        .calls()
        .iter()
        .filter(|call| call.iter().any(|word| word.starts_with("burn-")))
        .count();
    assert_eq!(burns, 2);
    let again = station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect("found");
    assert!(again.was_finished);
    no_work_left(&line.batch());
}

/// The exact words at a board, from first look to lock; only the file names differ from run to run.
/// R17: ciphertext is written and verified before the first burning, and no call resets the board in between.
#[test]
fn the_words_of_every_call_are_these() {
    let Some(line) = Line::new() else { return };
    let mut board = line.board(1);
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut board), None)
        .expect("finished");
    let folder = line.product.path("board1").display().to_string();
    let work = airseal_factory::line::work::WorkFolder::root(&line.batch())
        .join(serial(1))
        .display()
        .to_string();
    let shown: Vec<String> = board
        .calls()
        .iter()
        .map(|call| {
            call.join(" ")
                .replace(&work, "WORK")
                .replace(&folder, "BOARD")
        })
        .collect();
    let esptool = "esptool --chip esp32c3 --port BOARD --before default-reset --after no-reset";
    let espefuse = "espefuse --chip esp32c3 --virt --path-efuse-file BOARD/efuse.virt --before default-reset --after no-reset --do-not-confirm";
    let want = [
        format!("{esptool} get-security-info"),
        format!("{espefuse} check-error summary --format json"),
        format!("{esptool} flash-id"),
        format!("{esptool} write-flash --erase-all --flash-mode keep --flash-freq keep --flash-size keep {PLACES}"),
        format!("{esptool} verify-flash {PLACES}"),
        format!("{esptool} get-security-info"),
        format!("{espefuse} check-error summary --format json"),
        format!("{espefuse} {BURN}"),
        format!("{esptool} get-security-info"),
        format!("{espefuse} check-error summary --format json"),
        "esptool --chip esp32c3 --port BOARD --before default-reset --after hard-reset get-security-info".to_owned(),
        format!("{esptool} get-security-info"),
        format!("{espefuse} check-error summary --format json"),
        format!("{espefuse} burn-efuse ENABLE_SECURITY_DOWNLOAD 1"),
        format!("{esptool} get-security-info"),
    ];
    assert_eq!(shown, want);
}

/// The boot is the proof: another key, a damaged or an unsigned image in the flash, and no board gets a record.
#[test]
fn a_board_that_does_not_boot_as_planned_is_not_recorded() {
    let Some(line) = Line::new() else { return };
    // A byte of this file of the board is flipped just before it boots.
    let cases = [
        (1, "another flash key", "flash-key", 0, "did not say"),
        (2, "a flipped byte", "flash.bin", 0x10100, "did not say"),
        (3, "another seed", "seed", 0, "says device"),
    ];
    for (number, what, file, at, words) in cases {
        let mut board = line.board(number);
        let spoil_before_boot = |_: &str, step: Step, outcome: Outcome| {
            if (step, outcome) == (Step::Boot, Outcome::Begun) {
                let path = line.product.path(&format!("board{number}/{file}"));
                let mut bytes = fs::read(&path).expect("a file");
                bytes[at] ^= 1;
                fs::write(&path, bytes).expect("a file");
            }
        };
        let mut station = line.station_in(&line.batch(), "line.key", None, &spoil_before_boot);
        let error = station
            .run(&mut bench(&station, &mut board), Some(&serial(number)))
            .expect_err(what)
            .to_string();
        assert!(error.contains(words), "{what}: {error}");
        assert!(records(&line.batch()).is_empty(), "{what}");
        assert!(
            !board
                .calls()
                .iter()
                .flatten()
                .any(|word| word == "ENABLE_SECURITY_DOWNLOAD"),
            "{what}: locked"
        );
    }
}

/// R20: three boards and one Ctrl-C, and no key of any of them is in the folder, raw, in hex or in base64; nor in any
/// process's arguments or environment while the tools run.
#[test]
fn no_key_is_left_in_the_folder_or_seen_in_any_process() {
    let Some(line) = Line::new() else { return };
    let needles: Vec<Vec<u8>> = (1..=3)
        .flat_map(|number| spellings(&line.secrets(&serial(number))))
        .collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut looks, mut tools_seen) = (0, 0);
            while !over.load(Ordering::SeqCst) {
                for process in fs::read_dir("/proc").expect("/proc").flatten() {
                    for file in ["cmdline", "environ"] {
                        let Ok(text) = fs::read(process.path().join(file)) else {
                            continue;
                        };
                        assert!(
                            !holds(&text, &needles),
                            "a key in {}",
                            process.path().join(file).display()
                        );
                        tools_seen += usize::from(text.windows(8).any(|part| part == b"burn-key"));
                    }
                }
                looks += 1;
            }
            (looks, tools_seen)
        });
        for number in 1..=3 {
            let stop = AtomicBool::new(false);
            let interrupt = |_: &str, step: Step, outcome: Outcome| {
                // The second board is interrupted while its secrets lie in the clear.
                if number == 2 && (step, outcome) == (Step::Burn, Outcome::Done) {
                    stop.store(true, Ordering::SeqCst);
                }
            };
            let mut board = line.board(number);
            let mut station = line.station_in(&line.batch(), "line.key", Some(&stop), &interrupt);
            let done = station.run(&mut bench(&station, &mut board), Some(&serial(number)));
            assert_eq!(done.is_err(), number == 2, "{done:?}");
            drop(station);
            no_work_left(&line.batch());
        }
        over.store(true, Ordering::SeqCst);
        let (looks, tools_seen) = watcher.join().expect("no key seen");
        assert!(
            looks > 10 && tools_seen > 0,
            "{looks} looks, {tools_seen} burns seen"
        );
    });
    for file in files(&line.batch()) {
        assert!(
            !holds(&fs::read(&file).expect("a file"), &needles),
            "a key in {}",
            file.display()
        );
    }
}

#[test]
fn a_second_station_is_refused_while_one_works_and_status_is_not() {
    let Some(line) = Line::new() else { return };
    let station = line.station();
    let who = Who {
        station: "b".to_owned(),
        operator: "o".to_owned(),
    };
    let shift = Shift {
        who,
        clock: &clock,
        stop: None,
        watch: &nothing,
    };
    let error = Station::open(&line.batch(), None, shift)
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("another program works on this batch"),
        "{error}"
    );
    assert_eq!(status(&line.batch()).expect("a status").free, 6);
    drop(station);
    line.station();
}

/// A board dies on the line: its serial and keys are never used again, not even by preparing the batch anew.
#[test]
fn a_scrapped_serial_never_gets_a_chip_or_keys_again() {
    let Some(line) = Line::new() else { return };
    let mut board = line.board(1);
    board.set_fault(5, Fault::Killed(1));
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut board), None)
        .expect_err("killed");
    station
        .scrap(&serial(1), "cracked", false)
        .expect("scrapped");
    let error = station
        .run(&mut bench(&station, &mut board), None)
        .expect_err("refused")
        .to_string();
    assert!(error.contains("was scrapped"), "{error}");
    drop(station);
    let prepared = line.product.prepare().expect("prepared");
    assert_eq!((prepared.made, prepared.kept), (0, 6));
    let mut station = line.station();
    let mut next = line.board(2);
    let done = station
        .run(&mut bench(&station, &mut next), None)
        .expect("finished");
    assert_eq!(done.serial, serial(2));
    let error = station
        .run(&mut bench(&station, &mut next), Some(&serial(1)))
        .expect_err("another label")
        .to_string();
    assert!(error.contains("AL-2648-A-00001"), "{error}");
}

/// R19: a returned board, locked, is known by its label; all of its flash is written again, otadata too.
#[test]
fn a_returned_board_is_written_anew_with_its_own_keys() {
    let Some(line) = Line::of(with_escrow) else {
        return;
    };
    let (mut board, mut station) = line.finished();
    let error = station
        .reflash(
            &mut bench(&station, &mut board),
            &Which::Serial(serial(1)),
            false,
        )
        .expect_err("the line's key");
    assert!(
        error.to_string().contains("not sealed to this key"),
        "{error}"
    );
    drop(station);
    let as_made = fs::read(board.flash()).expect("the flash");
    // It comes back with another otadata and a half-written slot.
    let mut worn = as_made.clone();
    worn[0xd000..0xf000].fill(0x5A);
    worn[0x10_0000..0x10_4000].fill(0x11);
    fs::write(board.flash(), &worn).expect("the flash");
    let mut station = line.station_in(&line.batch(), "escrow.key", None, &nothing);
    let before = board.calls().len();
    let done = station
        .reflash(
            &mut bench(&station, &mut board),
            &Which::Serial(serial(1)),
            false,
        )
        .expect("written");
    assert_eq!(done.serial, serial(1));
    assert!(fs::read(board.flash()).expect("the flash") == as_made);
    let calls: Vec<String> = board.calls()[before..]
        .iter()
        .map(|call| call.join(" "))
        .collect();
    assert!(
        calls[2].ends_with("erase-region --force 0x0 0x400000"),
        "{calls:?}"
    );
    assert!(
        calls[3]
            .contains("write-flash --force --flash-mode keep --flash-freq keep --flash-size 4MB"),
        "{calls:?}"
    );
    assert!(calls[3].contains("0xd000 "), "{calls:?}");
    let unknown = station
        .reflash(
            &mut bench(&station, &mut board),
            &Which::Serial(serial(2)),
            false,
        )
        .expect_err("unknown");
    assert!(
        unknown.to_string().contains("no finished board"),
        "{unknown}"
    );
    no_work_left(&line.batch());
}

#[test]
fn destroyed_keys_can_not_write_a_board_anew() {
    let Some(line) = Line::new() else { return };
    let (mut board, mut station) = line.finished();
    let before = board.calls().len();
    let error = station
        .reflash(
            &mut bench(&station, &mut board),
            &Which::Serial(serial(1)),
            false,
        )
        .expect_err("destroyed");
    assert!(error.to_string().contains("is not there"), "{error}");
    assert!(
        board.calls()[before..]
            .iter()
            .flatten()
            .all(|word| word != "write-flash" && word != "erase-region")
    );
}

/// R15: keys of boards that were burned elsewhere lie in a folder, named by MAC.
#[test]
fn keys_from_a_folder_write_boards_that_were_burned_elsewhere() {
    let Some(line) = Line::new() else { return };
    // A board of the same product that another line made: burned with a key that only the folder has.
    let foreign = Line::of(with_escrow).expect("tools");
    let mut board = foreign.board(9);
    let mut station = foreign.station();
    station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect("finished");
    let key = fs::read(foreign.product.path("board9/flash-key")).expect("a key");
    let folder = line.product.path("old-keys");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("02-00-00-00-00-09.bin"), &key).expect("a key");
    fs::write(folder.join("README"), "keys").expect("a file");
    let mut station = line.station();
    let imported = station.import_keys(&folder).expect("imported");
    assert_eq!(
        (imported.taken.as_slice(), imported.skipped.as_slice()),
        (
            &["02:00:00:00:00:09".to_owned()][..],
            &["README".to_owned()][..]
        )
    );
    assert_eq!(station.import_keys(&folder).expect("again").known, 1);
    let which = Which::mac("020000000009").expect("a MAC");
    let mut board = line.board_in(&foreign.product.path("board9"), 9);
    let error = station
        .reflash(&mut bench(&station, &mut board), &which, false)
        .expect_err("nothing on the board says that it is the one")
        .to_string();
    assert!(error.contains("--silent-board"), "{error}");
    let done = station
        .reflash(&mut bench(&station, &mut board), &which, true)
        .expect("written");
    assert_eq!(done.serial, "imported-020000000009");
    // What only its own line knew stayed as it was.
    let flash = fs::read(board.flash()).expect("the flash");
    assert!(flash[0xf000..0x10000] != [0xFF; 0x1000]);
    let mut other = key.clone();
    other[0] ^= 1;
    fs::write(folder.join("02-00-00-00-00-09.bin"), &other).expect("a key");
    let error = station
        .import_keys(&folder)
        .expect_err("another key")
        .to_string();
    assert!(
        error.contains("another key than the one taken in"),
        "{error}"
    );
    fs::write(folder.join("02-00-00-00-00-09.bin"), &key).expect("a key");
    for (name, bytes, words) in [
        ("020000000009.key", &key[..], "second key"),
        ("02000000000a.bin", &key[1..], "31 bytes"),
    ] {
        fs::write(folder.join(name), bytes).expect("a key");
        let error = station
            .import_keys(&folder)
            .expect_err("refused")
            .to_string();
        assert!(error.contains(words), "{error}");
        fs::remove_file(folder.join(name)).expect("removed");
    }
}

#[test]
fn a_batch_is_closed_once_every_board_is_settled() {
    let Some(line) = Line::new() else { return };
    let mut boards = [line.board(1), line.board(2)];
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut boards[0]), None)
        .expect("finished");
    boards[1].set_fault(4, Fault::Before);
    station
        .run(&mut bench(&station, &mut boards[1]), None)
        .expect_err("the cable fell out");
    let error = station
        .close(true)
        .expect_err("a board is begun")
        .to_string();
    assert!(error.contains(&serial(2)), "{error}");
    station
        .scrap(&serial(2), "dropped <and> broken", false)
        .expect("scrapped");
    // One board of five: what is left of the keys goes only when told.
    let error = station.close(false).expect_err("boards are missing");
    assert!(error.to_string().contains("keys of 4 serials"), "{error}");
    assert_eq!(station.would_close().expect("a look").unused_removed, 4);
    let boxes = || {
        let sealed = fs::read_dir(line.batch().join("sealed"));
        sealed.expect("a folder").count()
    };
    assert_eq!(boxes(), 4);
    let closed = station.close(true).expect("closed");
    assert_eq!(
        (
            closed.counts.finished,
            closed.counts.scrapped,
            closed.unused_removed
        ),
        (1, 1, 4)
    );
    assert_eq!(boxes(), 0);
    let report = fs::read_to_string(line.batch().join("report.csv")).expect("a report");
    assert_eq!(report.lines().count(), 7, "{report}");
    assert!(
        report.contains("AL-2648-A-00001,02:00:00:00:00:01,finished"),
        "{report}"
    );
    let page = fs::read_to_string(line.batch().join("report.html")).expect("a report");
    assert!(page.contains("dropped &lt;and> broken"), "{page}");
    drop(station);
    let mut third = line.board(3);
    let mut station = line.station();
    let error = station
        .run(&mut bench(&station, &mut third), None)
        .expect_err("closed")
        .to_string();
    assert!(error.contains("is closed"), "{error}");
    drop(station);
    let error = line.product.prepare().expect_err("closed");
    assert!(error.to_string().contains("is closed"), "{error}");
}
