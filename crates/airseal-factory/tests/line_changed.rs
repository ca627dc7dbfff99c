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
