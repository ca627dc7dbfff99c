//! Boxes that somebody else made never get to a board.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::fs;

use common::bench::{Line, bench, serial};

#[test]
fn a_foreign_box_is_refused_before_a_serial_is_bound() {
    let Some(line) = Line::new() else { return };
    let (batch, kept) = (line.batch(), line.product.path("kept"));
    fs::rename(&batch, &kept).expect("moved");
    line.product.prepare().expect("the same names again");
    let sealed = format!("sealed/{}.box", serial(1));
    let foreign = fs::read(batch.join(&sealed)).expect("a box");
    fs::remove_dir_all(&batch).expect("removed");
    fs::rename(&kept, &batch).expect("moved back");
    let own = fs::read(batch.join(&sealed)).expect("a box");
    fs::write(batch.join(&sealed), foreign).expect("a foreign box");

    let mut board = line.board(1);
    let mut station = line.station();
    let error = station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect_err("keys that somebody knows")
        .to_string();
    assert!(error.contains("sealed.jsonl"), "{error}");
    assert!(
        station
            .journal()
            .entries()
            .iter()
            .all(|entry| entry.serial.is_empty()),
        "the serial was bound"
    );
    fs::write(batch.join(&sealed), own).expect("brought back");
    station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .expect("a board");
}
