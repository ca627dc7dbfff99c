//! A batch folder that somebody writes to while a station works on it.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::fs;

use common::bench::{Line, bench, records, serial, state};

/// The digests that were compared when the station began are burned, audited and recorded, whatever lies there by then.
#[test]
fn a_digest_that_is_exchanged_while_the_station_works_is_never_burned() {
    let Some(line) = Line::new() else { return };
    let mut station = line.station();
    let path = line.batch().join("common/digest1.bin");
    let own = fs::read(&path).expect("a digest");
    fs::write(&path, [0x5A; 32]).expect("exchanged");
    let mut board = line.board(1);
    station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect("finished");
    let efuses = state(&board);
    let shown = &efuses.field("BLOCK_KEY3").expect("a block").shown;
    let shown: String = shown.split_whitespace().take(32).collect();
    assert_eq!(shown, hex::encode(&own));
    assert!(records(&line.batch())[0].contains(&hex::encode(&own)));
}

/// What an editor or a bad disk made of a mark stops the line with its name, and never becomes a line that no journal is read with.
#[test]
fn a_mark_that_names_no_chip_is_refused_and_gets_into_no_journal() {
    let Some(line) = Line::new() else { return };
    let mark = line.batch().join("bound").join(serial(1));
    fs::create_dir(line.batch().join("bound")).expect("a folder");
    let mut station = line.station();
    let lines = station.journal().entries().len();
    for text in ["xyz\n", "", "02:00:00:00:00:+1"] {
        fs::write(&mark, text).expect("a mark");
        let mut board = line.board(2);
        let run = station.run(&mut bench(&station, &mut board), None);
        let scrap = station.scrap(&serial(1), "damaged", false);
        for error in [run.map(drop), scrap, station.close(true).map(drop)] {
            let error = error.expect_err(text).to_string();
            assert!(error.contains(&serial(1)), "{error}");
            assert!(error.contains("names no chip"), "{error}");
        }
        assert_eq!(station.journal().entries().len(), lines, "{text}");
    }
    fs::write(&mark, "02:00:00:00:00:01\n").expect("the mark");
    station
        .scrap(&serial(1), "damaged", false)
        .expect("given up");
    drop(station);
    line.station();
}

/// A cut between the journal's line and the end of the box.
#[test]
fn the_key_of_a_board_that_was_taken_in_and_given_up_goes_at_the_next_start() {
    let Some(line) = Line::new() else { return };
    let keys = line.product.path("keys");
    fs::create_dir(&keys).expect("a folder");
    fs::write(keys.join("020000000009.bin"), [7; 32]).expect("a key");
    let mut station = line.station();
    station.import_keys(&keys).expect("taken in");
    let sealed = line.batch().join("sealed/imported-020000000009.box");
    let kept = fs::read(&sealed).expect("a box");
    station
        .scrap("imported-020000000009", "lost", true)
        .expect("given up");
    drop(station);
    fs::write(&sealed, kept).expect("left by the cut");
    line.station();
    assert!(!sealed.exists());
}
