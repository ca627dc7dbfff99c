//! Parts of a batch folder that are older than the rest, lost or edited: no key goes into a second chip, and no record is lost
//! without a word.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::fs;
use std::path::Path;

use airseal_factory::line::simulated::Fault;
use airseal_pack::Error;
use common::bench::{Line, bench, records, serial, with_escrow};

/// The journal as it was, with its head.
struct Kept(Vec<(&'static str, Vec<u8>)>);

impl Kept {
    fn of(batch: &Path) -> Kept {
        let files = ["journal.jsonl", "journal.head"];
        Kept(
            files
                .map(|name| (name, fs::read(batch.join(name)).expect(name)))
                .into(),
        )
    }

    fn restore(&self, batch: &Path) {
        for (name, bytes) in &self.0 {
            fs::write(batch.join(name), bytes).expect(name);
        }
    }
}

fn run(line: &Line, board: u8, label: Option<u8>) -> Result<String, Error> {
    let label = label.map(serial);
    let mut board = line.board(board);
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut board), label.as_deref())
        .map(|done| done.serial)
}

fn refused<T>(done: Result<T, Error>, words: &str) {
    let error = done.err().expect(words).to_string();
    assert!(error.contains(words), "{error}");
}

/// A board is burned and not yet recorded; its box is there. With the journal of the morning its serial looks free.
#[test]
fn an_older_journal_does_not_put_the_keys_of_a_chip_into_another() {
    let Some(line) = Line::new() else { return };
    let morning = Kept::of(&line.batch());
    let mut board = line.board(1);
    board.set_fault(7, Fault::After);
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect_err("burned, and its answer lost");
    drop(station);
    let seed = fs::read(line.product.path("board1/seed")).expect("burned");
    morning.restore(&line.batch());
    refused(run(&line, 2, Some(1)), "belongs to another chip");
    assert_eq!(run(&line, 3, None).expect("finished"), serial(2));
    assert!(fs::read(line.product.path("board3/seed")).expect("a seed") != seed);
    // Its own chip is burned, and nobody knows how far: not even that one goes on.
    refused(run(&line, 1, Some(1)), "no journal line knows its MAC");
    // Its keys are in that chip: they are no unused ones, and a person gives them up.
    refused(line.station().close(true), "the journal does not know it");
    line.station()
        .scrap(&serial(1), "an older journal", false)
        .expect("given up");
    line.station().close(true).expect("closed");
}

/// A blank chip keeps the serial it was bound to.
#[test]
fn an_older_journal_gives_a_blank_chip_its_own_serial_again() {
    let Some(line) = Line::new() else { return };
    let morning = Kept::of(&line.batch());
    let mut board = line.board(1);
    board.set_fault(4, Fault::Before);
    let mut station = line.station();
    station
        .run(&mut bench(&station, &mut board), Some(&serial(3)))
        .expect_err("the cable fell out");
    drop(station);
    morning.restore(&line.batch());
    assert_eq!(run(&line, 1, None).expect("finished"), serial(3));
}

/// With the box in escrow a recorded serial has keys: its record says that it is taken.
#[test]
fn a_serial_with_a_record_is_never_bound_again() {
    let Some(line) = Line::of(with_escrow) else {
        return;
    };
    let morning = Kept::of(&line.batch());
    drop(line.finished());
    morning.restore(&line.batch());
    for label in [Some(1), None] {
        refused(
            run(&line, 2, label),
            "the journal never finished that board",
        );
    }
    assert!(!line.product.path("board2/seed").exists());
}

/// Public keys of a finished board are nowhere else.
#[test]
fn records_that_are_lost_or_edited_stop_run_and_close() {
    let Some(line) = Line::new() else { return };
    drop(line.finished());
    assert_eq!(run(&line, 2, None).expect("finished"), serial(2));
    let path = line.batch().join("devices.jsonl");
    let whole = fs::read_to_string(&path).expect("records");
    let first = &records(&line.batch())[0];
    let other = first.replace("AL-2648-A-00001", "AL-2648-A-00777");
    for (text, words) in [
        (String::new(), "the record of AL-2648-A-00001 is missing"),
        (format!("{first}\n"), "AL-2648-A-00002 is missing"),
        (format!("{whole}{first}\n"), "AL-2648-A-00001 twice"),
        (
            whole.replace("lock-c3", "lock-c4"),
            "is not the one that was written",
        ),
        (format!("{whole}{other}\n"), "AL-2648-A-00777"),
    ] {
        fs::write(&path, &text).expect("edited");
        refused(run(&line, 3, None), words);
        refused(line.station().close(true), words);
        let boxes = fs::read_dir(line.batch().join("sealed")).expect("boxes");
        assert_eq!(boxes.count(), 4, "{words}: boxes went");
    }
    fs::remove_file(&path).expect("removed");
    refused(line.station().close(true), "is missing");
    fs::write(&path, &whole).expect("as it was");
    assert_eq!(run(&line, 3, None).expect("finished"), serial(3));
    line.station().close(true).expect("closed");
}
