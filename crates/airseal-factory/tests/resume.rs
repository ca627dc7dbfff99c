//! Boards that were stopped half-way by other means, as `espefuse` showed them, with and without their journal.

mod common;

use std::fs;
use std::path::Path;

use airseal_factory::journal::{Entry, Journal, Outcome, Step};
use airseal_factory::line::bench::mac_of;
use airseal_factory::line::decide::{Board, Next};
use airseal_factory::line::station::{Shift, Station, Who};
use airseal_factory::prepare::prepare;
use airseal_factory::product::Product;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::esp::efuse_audit::EfuseState;
use common::bench::{clock, nothing, serial};
use common::{ProductFolder, vectors};
use sha2::{Digest, Sha256};

const BOUND: (Step, Outcome) = (Step::Bind, Outcome::Done);
const BURNING: (Step, Outcome) = (Step::Burn, Outcome::Begun);
const LOCKING: (Step, Outcome) = (Step::Lock, Outcome::Begun);
const RECORDED: (Step, Outcome) = (Step::Record, Outcome::Done);

/// A batch whose plan is that of the vectors: flash key, one digest, seed.
fn batch() -> ProductFolder {
    let folder = ProductFolder::esp32c3();
    folder.edit("\"sb0.pub.pem\", \"sb1.pub.pem\"", "\"sb0.pub.pem\"");
    folder.edit(
        "source = \"efuse-hmac\"",
        "source = \"efuse-hmac\"\nblock = \"BLOCK_KEY2\"",
    );
    folder.edit("[keys]", "[efuse]\nsecure_version = 1\n\n[keys]");
    let app = folder.path("app.bin");
    fs::write(&app, of_version_1(fs::read(&app).expect("an image"))).expect("an image");
    folder.prepare().expect("a batch");
    folder
}

/// The image with another secure version, which its checksum and hash cover.
fn of_version_1(mut image: Vec<u8>) -> Vec<u8> {
    let hash = image.len() - 32;
    image[hash - 1] ^= image[36] ^ 1;
    image[36] = 1;
    let digest = Sha256::digest(&image[..hash]);
    image[hash..].copy_from_slice(&digest);
    image
}

fn board(name: &str) -> Board {
    let path = vectors().join(format!("efuse/{name}.json"));
    let efuses = EfuseState::read(&path).expect("a summary");
    Board::Open {
        mac: mac_of(&efuses).expect("a MAC"),
        efuses,
        block_error: None,
    }
}

fn decide(batch: &Path, board: &Board) -> Next {
    station(batch).decide(board, None).expect("a decision")
}

fn scanned(batch: &Path) -> Result<Next, airseal_pack::Error> {
    station(batch).decide(&Board::Locked, Some(&serial(1)))
}

fn station(batch: &Path) -> Station<'static> {
    let who = Who {
        station: "a".to_owned(),
        operator: "o".to_owned(),
    };
    let shift = Shift {
        who,
        clock: &clock,
        stop: None,
        watch: &nothing,
    };
    Station::open(batch, None, shift).expect("a station")
}

/// What is decided for the board with these lines in the journal of a new batch.
fn decided(name: &str, steps: &[(Step, Outcome)]) -> Next {
    let folder = batch();
    let mut journal = Journal::open(&folder.path("batch/journal.jsonl")).expect("a journal");
    for (step, outcome) in steps {
        let entry = Entry {
            time: clock(),
            station: "a".to_owned(),
            operator: "o".to_owned(),
            serial: serial(1),
            mac: "00:00:00:00:00:00".to_owned(),
            step: *step,
            outcome: *outcome,
            note: String::new(),
            sha256: None,
        };
        journal.append(entry).expect("a line");
    }
    decide(&folder.path("batch"), &board(name))
}

/// Steps, and the words of each call that burns.
fn work(next: &Next) -> (Vec<Step>, Vec<String>) {
    let Next::Work { tasks, .. } = next else {
        panic!("no work: {next:?}")
    };
    let calls = tasks
        .iter()
        .flat_map(Station::burn_words)
        .map(|call| call.join(" "));
    (
        tasks.iter().map(|task| task.step()).collect(),
        calls.collect(),
    )
}

const LOCK: &str = "burn-efuse ENABLE_SECURITY_DOWNLOAD 1";

/// R12: with its journal a board gets exactly what it lacks.
#[test]
fn a_board_gets_exactly_the_steps_it_lacks() {
    let from_burn = vec![
        Step::Verify,
        Step::Burn,
        Step::Audit,
        Step::Boot,
        Step::Lock,
        Step::Record,
    ];
    let (steps, calls) = work(&decided("esp32c3-fe-sb.step1", &[BOUND, BURNING]));
    assert_eq!(steps, from_burn);
    assert_eq!(
        calls,
        [
            "burn-key BLOCK_KEY2 seed.bin HMAC_UP BLOCK_KEY1 digest0.bin SECURE_BOOT_DIGEST0 \
             burn-efuse SPI_BOOT_CRYPT_CNT 7 DIS_DOWNLOAD_ICACHE 1 DIS_DIRECT_BOOT 1 DIS_USB_JTAG 1 DIS_PAD_JTAG 1 \
             DIS_DOWNLOAD_MANUAL_ENCRYPT 1 SECURE_BOOT_KEY_REVOKE1 1 SECURE_BOOT_KEY_REVOKE2 1 SECURE_BOOT_EN 1 \
             SECURE_VERSION 1 write-protect-efuse DIS_ICACHE RD_DIS",
            LOCK
        ]
    );
    let (steps, calls) = work(&decided("esp32c3-fe-sb.step4", &[BOUND, BURNING]));
    assert_eq!(steps, from_burn);
    assert_eq!(
        calls,
        [
            "burn-key BLOCK_KEY2 seed.bin HMAC_UP BLOCK_KEY1 digest0.bin SECURE_BOOT_DIGEST0 \
             burn-efuse SECURE_BOOT_KEY_REVOKE1 1 SECURE_BOOT_KEY_REVOKE2 1 SECURE_BOOT_EN 1 SECURE_VERSION 1",
            "write-protect-efuse RD_DIS",
            LOCK
        ]
    );
    let (steps, calls) = work(&decided("esp32c3-fe-sb.step10", &[BOUND, BURNING]));
    assert_eq!(steps, [Step::Audit, Step::Boot, Step::Lock, Step::Record]);
    assert_eq!(calls, [LOCK]);
}

/// R12, R18: without its journal nothing is done to it.
#[test]
fn without_its_journal_a_burned_board_is_refused() {
    for step in [
        "esp32c3-fe-sb.step1",
        "esp32c3-fe-sb.step4",
        "esp32c3-fe-sb.step10",
        "esp32c3-fe-sb.step11",
    ] {
        match decided(step, &[]) {
            Next::Refuse { why, .. } => assert!(
                why.contains("no journal line knows its MAC"),
                "{step}: {why}"
            ),
            other => panic!("{step}: {other:?}"),
        }
    }
}

/// R18: a finished board is found by its record.
#[test]
fn a_finished_board_is_named_and_left_alone() {
    let next = decided("esp32c3-fe-sb.step11", &[BOUND, BURNING, LOCKING, RECORDED]);
    assert_eq!(next, Next::Finished { serial: serial(1) });
}

/// R01: secure boot first; the flash key can never be burned any more.
#[test]
fn a_board_with_the_wrong_order_is_scrap_before_anything_is_written() {
    match decided("esp32c3-wrong-order.step2", &[BOUND, BURNING]) {
        Next::Scrap { why, .. } => {
            assert!(why.contains("RD_DIS") || why.contains("BLOCK_KEY"), "{why}")
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        decided("esp32c3-wrong-order.step2", &[]),
        Next::Refuse { .. }
    ));
}

/// Two boards that can't name themselves, both locked and neither recorded: a label on the wrong one would be believed.
#[test]
fn a_locked_board_without_a_seed_is_known_by_its_label_only_if_no_other_can_be_meant() {
    let folder = ProductFolder::esp32c3();
    folder.edit("source = \"efuse-hmac\"", "source = \"none\"");
    folder.edit("encrypt = \"hmac\"", "encrypt = \"keys\"");
    let product = Product::read(&folder.config()).expect("a product");
    let batch = folder.path("batch");
    prepare(&product, &batch, None, &SystemEntropy, &Control::default()).expect("a batch");
    let mut journal = Journal::open(&batch.join("journal.jsonl")).expect("a journal");
    let mut lock = |number: u8| {
        for (step, outcome) in [BOUND, BURNING, LOCKING] {
            let entry = Entry {
                time: clock(),
                station: "a".to_owned(),
                operator: "o".to_owned(),
                serial: serial(number),
                mac: format!("02:00:00:00:00:0{number}"),
                step,
                outcome,
                note: String::new(),
                sha256: None,
            };
            journal.append(entry).expect("a line");
        }
    };
    lock(1);
    assert!(matches!(scanned(&batch), Ok(Next::Work { .. })));
    lock(2);
    let error = scanned(&batch).expect_err("two").to_string();
    assert!(error.contains(&serial(2)), "{error}");
}
