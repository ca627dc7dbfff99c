//! Boards that come back: written anew only when they are the ones their labels name, given up only when it is meant.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::fs;

use airseal_factory::line::simulated::SimulatedBoard;
use airseal_factory::line::station::{Station, Which};
use airseal_pack::Error;
use common::ProductFolder;
use common::bench::{Line, bench, nothing, records, serial, with_escrow};

fn reflash(
    station: &mut Station<'_>,
    board: &mut SimulatedBoard,
    label: u8,
    silent: bool,
) -> Result<(), Error> {
    let which = Which::Serial(serial(label));
    station
        .reflash(&mut bench(station, board), &which, silent)
        .map(drop)
}

fn refused(done: Result<(), Error>, words: &str) {
    let error = done.expect_err(words).to_string();
    assert!(error.contains(words), "{error}");
}

/// Two boards come back, and their labels are mixed up: nothing is erased. What can't start is written only when told, and is no
/// finished board until it starts.
#[test]
fn a_board_under_another_label_is_not_erased() {
    let Some(line) = Line::of(with_escrow) else {
        return;
    };
    let (mut first, mut station) = line.finished();
    let mut second = line.board(2);
    station
        .run(&mut bench(&station, &mut second), Some(&serial(2)))
        .expect("finished");
    drop(station);
    let mut station = line.station_in(&line.batch(), "escrow.key", None, &nothing);
    let as_made = fs::read(second.flash()).expect("the flash");
    let mixed_up = reflash(&mut station, &mut second, 1, true);
    refused(mixed_up, &format!("which is {}", serial(2)));
    assert!(fs::read(second.flash()).expect("the flash") == as_made);
    // It was never begun, so it is as finished as before.
    station
        .run(&mut bench(&station, &mut first), Some(&serial(1)))
        .expect("finished before");

    let mut worn = fs::read(first.flash()).expect("the flash");
    worn[0x1_0100] ^= 1;
    fs::write(first.flash(), &worn).expect("the flash");
    refused(reflash(&mut station, &mut first, 1, false), "did not say");
    assert!(fs::read(first.flash()).expect("the flash") == worn);
    // Under the wrong label it is lost, and the line says so of that label.
    refused(reflash(&mut station, &mut first, 2, true), "did not say");
    let found = station.run(&mut bench(&station, &mut first), Some(&serial(2)));
    refused(found.map(drop), "did not start as it should");
    reflash(&mut station, &mut first, 1, true).expect("written");
    reflash(&mut station, &mut second, 2, false).expect("written");
    let done = station.run(&mut bench(&station, &mut second), Some(&serial(2)));
    assert!(done.expect("finished").was_finished);
}

fn without_a_key() -> ProductFolder {
    let folder = with_escrow();
    folder.edit("source = \"efuse-hmac\"", "source = \"none\"");
    folder.edit("encrypt = \"hmac\"", "encrypt = \"keys\"");
    folder
}

/// Two boards that both say nothing are alike, whatever their labels say.
#[test]
fn a_board_without_a_device_key_is_written_only_when_told() {
    let Some(line) = Line::of(without_a_key) else {
        return;
    };
    let (mut first, station) = line.finished();
    drop(station);
    let mut station = line.station_in(&line.batch(), "escrow.key", None, &nothing);
    let as_made = fs::read(first.flash()).expect("the flash");
    refused(reflash(&mut station, &mut first, 1, false), "no device key");
    assert!(fs::read(first.flash()).expect("the flash") == as_made);
    reflash(&mut station, &mut first, 1, true).expect("written");
}

/// A wrong digit in a serial gives up no board that is in the field.
#[test]
fn a_finished_board_is_given_up_only_when_told_and_its_record_says_so() {
    let Some(line) = Line::of(with_escrow) else {
        return;
    };
    let (_board, mut station) = line.finished();
    let sealed = line.batch().join(format!("sealed/{}.box", serial(1)));
    refused(station.scrap(&serial(1), "lost", false), "finished board");
    refused(station.scrap(&serial(1), " ", true), "without a reason");
    assert!(sealed.exists());
    assert!(!records(&line.batch())[0].contains("scrapped"));
    station.close(true).expect("closed");
    station.scrap(&serial(1), "lost", true).expect("given up");
    assert!(!sealed.exists());
    assert!(
        records(&line.batch())[0].contains(r#""state":"scrapped""#),
        "{:?}",
        records(&line.batch())
    );
    let report = fs::read_to_string(line.batch().join("report.csv")).expect("a report");
    assert!(report.contains(",scrapped,"), "{report}");
    refused(
        station.scrap(&serial(1), "again", true),
        "was scrapped before",
    );
    // A cut before the mark: it is made again.
    let unmarked = records(&line.batch())[0].replace(r#","state":"scrapped""#, "");
    fs::write(line.batch().join("devices.jsonl"), unmarked + "\n").expect("a record");
    station.would_close().expect("a look");
    assert!(
        !records(&line.batch())[0].contains("scrapped"),
        "a look wrote"
    );
    station.close(true).expect("closed");
    assert!(records(&line.batch())[0].contains(r#""state":"scrapped""#));
}
