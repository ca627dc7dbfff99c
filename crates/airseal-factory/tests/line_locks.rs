//! A loader that is closed for good proves nothing by its silence.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use airseal_factory::journal::{Outcome, Step};
use airseal_factory::line::bench::Bench;
use airseal_factory::line::connection::{Connection, Program};
use airseal_factory::line::simulated::SimulatedBoard;
use airseal_pack::Error;
use common::ProductFolder;
use common::bench::{Line, bench, records, serial, state};

fn closed_for_good() -> ProductFolder {
    let folder = ProductFolder::esp32c3();
    folder.edit("[keys]", "[efuse]\ndownload = \"off\"\n\n[keys]");
    folder
}

/// A board whose loader is not heard from the lock on; its firmware is.
struct Deaf<'b> {
    board: &'b mut SimulatedBoard,
    says: &'static str,
    deaf: bool,
}

impl Connection for Deaf<'_> {
    fn place(&self, program: Program) -> Vec<OsString> {
        self.board.place(program)
    }

    fn call(&mut self, program: Program, words: &[OsString]) -> Result<String, Error> {
        self.deaf |= words.iter().any(|word| word == "DIS_DOWNLOAD_MODE");
        if self.deaf {
            return Err(Error::refused(program.name(), self.says, ""));
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

/// The call that locks fails before it burns, and the board runs its firmware: it is no finished board, however silent.
#[test]
fn a_board_that_falls_silent_before_its_lock_is_burned_is_not_finished() {
    let Some(line) = Line::of(closed_for_good) else {
        return;
    };
    let mut board = line.board(1);
    let mut station = line.station();
    let busy = "failed: Could not open /dev/ttyUSB0, the port is busy or doesn't exist.";
    let silent = "failed: Failed to connect to ESP32-C3: No serial data received.";
    for (says, deaf, words) in [
        (silent, false, "No serial data"),
        (silent, true, "its lock may not be burned"),
        (busy, true, "busy"),
    ] {
        let deaf = Deaf {
            board: &mut board,
            says,
            deaf,
        };
        let mut bench = Bench::new(Box::new(deaf), station.expected());
        let error = station.run(&mut bench, Some(&serial(1))).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
        assert!(records(&line.batch()).is_empty(), "{words}");
    }
    let burned = |board: &SimulatedBoard| {
        let bits = state(board)
            .field("DIS_DOWNLOAD_MODE")
            .expect("a field")
            .bits;
        bits == Some(1)
    };
    assert!(!burned(&board));
    station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect("finished once it answers");
    assert!(burned(&board));
    assert_eq!(records(&line.batch()).len(), 1);
}

/// Stopped right after the journal had it that the lock was burned: label and firmware are enough.
#[test]
fn a_lock_that_the_journal_saw_burned_needs_no_loader_any_more() {
    let Some(line) = Line::of(closed_for_good) else {
        return;
    };
    let stop = AtomicBool::new(false);
    let after_lock = |_: &str, step: Step, outcome: Outcome| {
        if (step, outcome) == (Step::Lock, Outcome::Done) {
            stop.store(true, Ordering::SeqCst);
        }
    };
    let mut board = line.board(1);
    let mut station = line.station_in(&line.batch(), "line.key", Some(&stop), &after_lock);
    let stopped = station.run(&mut bench(&station, &mut board), Some(&serial(1)));
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    drop(station);
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect("finished");
    assert_eq!(records(&line.batch()).len(), 1);
}

/// A board that is not reset after its lock was burned: the loader that runs stays as it was.
struct Unreset<'b> {
    board: &'b mut SimulatedBoard,
    locked: bool,
}

impl Connection for Unreset<'_> {
    fn place(&self, program: Program) -> Vec<OsString> {
        self.board.place(program)
    }

    fn call(&mut self, program: Program, words: &[OsString]) -> Result<String, Error> {
        self.locked |= words.iter().any(|word| word == "DIS_DOWNLOAD_MODE");
        let answer = self.board.call(program, words);
        match (program, answer) {
            (Program::Esptool, Err(_)) if self.locked => Ok("Flags: 0x00000000\n".to_owned()),
            (Program::Espefuse, Err(_)) if self.locked => self.board.summary(),
            (_, answer) => answer,
        }
    }

    fn listen(
        &mut self,
        reset: &[OsString],
        enough: &dyn Fn(&str) -> bool,
        wait: Duration,
    ) -> Result<String, Error> {
        assert!(!self.locked, "reset before the journal had the lock");
        self.board.listen(reset, enough, wait)
    }
}

/// The chip shows the lock: whatever its loader still answers, the journal must not have it as failed.
#[test]
fn a_board_that_is_not_reset_after_its_lock_is_finished_once_it_is() {
    let Some(line) = Line::of(closed_for_good) else {
        return;
    };
    let mut board = line.board(1);
    let mut station = line.station();
    let unreset = Unreset {
        board: &mut board,
        locked: false,
    };
    let mut held = Bench::new(Box::new(unreset), station.expected());
    for _ in 0..2 {
        let error = station
            .run(&mut held, Some(&serial(1)))
            .expect_err("the loader answers")
            .to_string();
        assert!(error.contains("was not reset"), "{error}");
    }
    drop(held);
    assert!(records(&line.batch()).is_empty());
    station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect("finished after the reset");
    assert_eq!(records(&line.batch()).len(), 1);
}

/// ESP-IDF's default: the firmware of a release build burns Secure Download Mode when it first starts.
#[test]
fn firmware_that_locks_its_chip_at_its_first_start_is_no_failure() {
    let Some(line) = Line::new() else { return };
    let mut board = line.board(1);
    board.set_burned_at_start("ENABLE_SECURITY_DOWNLOAD");
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect("finished at once");
    assert!(
        station
            .journal()
            .entries()
            .iter()
            .all(|entry| entry.outcome != Outcome::Failed)
    );
    drop(station);

    let stop = AtomicBool::new(false);
    let at_boot = |_: &str, step: Step, outcome: Outcome| {
        if (step, outcome) == (Step::Boot, Outcome::Done) {
            stop.store(true, Ordering::SeqCst);
        }
    };
    let mut board = line.board(2);
    board.set_burned_at_start("ENABLE_SECURITY_DOWNLOAD");
    let mut station = line.station_in(&line.batch(), "line.key", Some(&stop), &at_boot);
    let stopped = station.run(&mut bench(&station, &mut board), Some(&serial(2)));
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    drop(station);
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut board), Some(&serial(2)))
        .expect("its firmware says who it is");
    assert_eq!(records(&line.batch()).len(), 2);
}
