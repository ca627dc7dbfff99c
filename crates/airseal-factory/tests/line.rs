//! The line on simulated boards: the real espefuse on virtual eFuses, and every place where it can stop.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use airseal_esp::Chip;
use airseal_factory::line::simulated::{Fault, SimulatedBench};
use airseal_factory::line::station::{Station, Who};
use airseal_factory::line::tools::Tools;
use airseal_factory::prepare::prepare;
use airseal_factory::product::Product;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::esp::efuse_audit::{EfuseState, Policy, audit};
use airseal_pack::key::NoPassphrase;
use airseal_pack::open::OpenKey;
use common::ProductFolder;

struct Line {
    product: ProductFolder,
    tools: PathBuf,
}

fn clock() -> String {
    "2026-01-01T00:00:00Z".to_owned()
}

impl Line {
    fn new() -> Option<Line> {
        let tools = std::env::var_os("AIRSEAL_ESPTOOLS")?.into();
        let product = ProductFolder::esp32c3();
        let read = Product::read(&product.config()).expect("a product");
        let out = product.path("batch");
        prepare(&read, &out, None, &SystemEntropy, &Control::default()).expect("a batch");
        Some(Line { product, tools })
    }

    fn station(&self) -> Station<'static> {
        let key = OpenKey::read(&self.product.path("line.key"), &NoPassphrase).expect("a key").key;
        let who = Who { station: "a".to_owned(), operator: "o".to_owned() };
        Station::open(&self.product.path("batch"), key, who, &clock).expect("a station")
    }

    fn board(&self, number: u8) -> SimulatedBench {
        let chip = Chip::from_name("esp32c3").expect("a chip");
        let folder = self.product.path(&format!("board{number}"));
        let mac = format!("02:00:00:00:00:{number:02x}");
        let mut bench =
            SimulatedBench::open(Tools::new(Some(&self.tools)), chip, &folder, &mac, 4 << 20).expect("a board");
        bench.set_label(&format!("AL-2648-A-{number:05}"), "1.0.0");
        bench
    }

    fn records(&self) -> Vec<String> {
        let path = self.product.path("batch/devices.jsonl");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn assert_finished(&self, board: &SimulatedBench, serial: &str) {
        let chip = Chip::from_name("esp32c3").expect("a chip");
        let state = EfuseState::parse("x", board.summary().expect("a summary").as_bytes()).expect("a summary");
        let audited = audit(chip, &state, &Policy::release()).expect("an audit");
        assert!(audited.ok, "{:?}", audited.rules.iter().filter(|rule| !rule.ok).collect::<Vec<_>>());
        let records = self.records();
        let mine: Vec<_> = records.iter().filter(|line| line.contains(serial)).collect();
        assert_eq!(mine.len(), 1, "{records:?}");
        assert!(!self.product.path(&format!("batch/sealed/{serial}.box")).exists(), "the box is still there");
    }
}

fn no_work_left(batch: &Path) {
    let left = airseal_factory::line::work::WorkFolder::clean(batch).expect("cleaned");
    assert!(!left, "secrets were left in the clear");
}

#[test]
fn a_board_is_made_and_found_finished() {
    let Some(line) = Line::new() else { return };
    let mut board = line.board(1);
    let done = line.station().run(&mut board, None).expect("finished");
    assert_eq!((done.serial.as_str(), done.was_finished), ("AL-2648-A-00001", false));
    line.assert_finished(&board, &done.serial);
    let again = line.station().run(&mut board, Some("AL-2648-A-00001")).expect("found");
    assert!(again.was_finished);
    no_work_left(&line.product.path("batch"));
}

/// At every call, in every way: the line stops, a new station goes on, and the board ends the same.
#[test]
fn stopped_at_every_call_in_every_way_the_board_ends_the_same() {
    let Some(line) = Line::new() else { return };
    let mut number = 0;
    'all: for fault in [Fault::Before, Fault::After, Fault::Killed] {
        for at in 0.. {
            number += 1;
            if number > 6 {
                // Six serials to a batch: a new one goes on where this ended.
                break 'all;
            }
            let mut board = line.board(number);
            board.set_fault(at * 3 + 1, fault);
            let serial = format!("AL-2648-A-{number:05}");
            let stopped = line.station().run(&mut board, Some(&serial));
            let struck = stopped.is_err();
            let done = line.station().run(&mut board, Some(&serial)).expect("finished");
            assert_eq!(done.was_finished, !struck);
            line.assert_finished(&board, &serial);
            if !struck {
                break;
            }
        }
    }
}
