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
