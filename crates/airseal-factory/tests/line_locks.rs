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
