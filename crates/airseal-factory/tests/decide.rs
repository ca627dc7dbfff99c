//! Every row of the resume table: what a chip shows and the journal knows, and what is done then.

use airseal_esp::Chip;
use airseal_factory::config::{BootScheme, Download, EncryptionMode, Jtag, Order, SeedSource};
use airseal_factory::efuse::{Burn, BurnedKey, EfusePlan, EfuseWish};
use airseal_factory::journal::{Entry, Outcome, Step};
use airseal_factory::line::decide::{Board, History, Next, Task, next};
use airseal_pack::esp::efuse_audit::EfuseState;
use serde_json::{Value, json};

const MAC: &str = "02:00:00:00:00:01";
const SERIAL: &str = "S1";

fn plan() -> EfusePlan {
    plan_with(Download::Secure)
}

fn plan_with(download: Download) -> EfusePlan {
    EfusePlan::new(&EfuseWish {
        chip: Chip::from_name("esp32c3").expect("a chip"),
        encryption: EncryptionMode::Release,
        flash_key_len: 32,
        flash_key_block: None,
        seed: SeedSource::EfuseHmac,
        seed_block: None,
        secure_boot: BootScheme::V2Rsa,
        digests: 2,
        revoke_unused: true,
        aggressive_revoke: false,
        download,
        jtag: Jtag::Off,
        secure_version: 0,
        custom: Vec::new(),
    })
    .expect("a plan")
}

fn vector(name: &str) -> Value {
    let path = format!(
        "{}/../../vectors/esp/efuse/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).expect("a summary");
    serde_json::from_str(
        text.get(text.find('{').expect("an object")..)
            .expect("an object"),
    )
    .expect("a summary")
}

/// A blank chip on which the fields that `burned` takes are as the plan promises them.
fn chip(plan: &EfusePlan, burned: &dyn Fn(&str) -> bool) -> Value {
    let mut summary = vector("esp32c3-fe-sb.step0");
    for want in plan.expect.iter().filter(|want| burned(&want.field)) {
        let field = summary[&want.field].as_object_mut().expect("a field");
        if let Some(value) = want.value {
            field.insert("value".to_owned(), json!(value));
            field.insert("raw_value".to_owned(), json!(format!("{value:#x}")));
        }
        if let Some(shown) = &want.shown {
            field.insert("value".to_owned(), json!(shown));
            field.insert("raw_value".to_owned(), json!("0x4"));
        }
        if want.field.starts_with("BLOCK_KEY") {
            field.insert("raw_value".to_owned(), json!("0x77"));
        }
        for (name, wanted) in [("readable", want.readable), ("writeable", want.writeable)] {
            if let Some(wanted) = wanted {
                field.insert(name.to_owned(), json!(wanted));
            }
        }
    }
    summary
}

fn is_key(field: &str) -> bool {
    field.starts_with("BLOCK_KEY") || field.starts_with("KEY_PURPOSE_")
}

fn is_lock(field: &str) -> bool {
    field == "ENABLE_SECURITY_DOWNLOAD"
}

fn open(summary: &Value) -> Board {
    Board::Open {
        mac: MAC.to_owned(),
        efuses: EfuseState::parse("x", summary.to_string().as_bytes()).expect("a summary"),
        block_error: None,
    }
}

/// The first keys of the plan as they lie in their blocks before block 0 is burned, and their bytes.
fn filled(count: usize) -> (Value, impl Fn(BurnedKey) -> Vec<u8>) {
    let bytes = |key: BurnedKey| -> Vec<u8> {
        let first = match key {
            BurnedKey::Flash => 1,
            BurnedKey::Seed => 2,
            BurnedKey::Digest(number) => 3 + number,
            BurnedKey::BootloaderDigestKey => 9,
        };
        (0..32).map(|at| first * 7 + at).collect()
    };
    let mut summary = vector("esp32c3-fe-sb.step0");
    for key in plan().keys().take(count) {
        let mut shown = bytes(key.key);
        if key.key == BurnedKey::Flash {
            shown.reverse();
        }
        let shown: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        summary[&key.block]["value"] = json!(shown.join(" "));
        summary[&key.block]["raw_value"] = json!("0x77");
    }
    (summary, bytes)
}

fn silent() -> Board {
    Board::Silent {
        why: "failed: no serial data".to_owned(),
    }
}

fn journal(steps: &[(Step, Outcome)]) -> Vec<Entry> {
    let entry = |(step, outcome): &(Step, Outcome)| Entry {
        time: String::new(),
        station: String::new(),
        operator: String::new(),
        serial: SERIAL.to_owned(),
        mac: MAC.to_owned(),
        step: *step,
        outcome: *outcome,
        note: String::new(),
        sha256: None,
    };
    steps.iter().map(entry).collect()
}

const BOUND: (Step, Outcome) = (Step::Bind, Outcome::Done);
const BURNING: (Step, Outcome) = (Step::Burn, Outcome::Begun);
const LOCKING: (Step, Outcome) = (Step::Lock, Outcome::Begun);
const LOCKED: (Step, Outcome) = (Step::Lock, Outcome::Done);
const RECORDED: (Step, Outcome) = (Step::Record, Outcome::Done);
const SCRAPPED: (Step, Outcome) = (Step::Scrap, Outcome::Done);

fn decide(board: &Board, steps: &[(Step, Outcome)]) -> Next {
    let history = History::of_mac(&journal(steps), MAC);
    next(&plan(), Order::FlashFirst, board, &history, Some(SERIAL))
}

fn steps_of(next: &Next) -> Vec<Step> {
    match next {
        Next::Work { tasks, .. } => tasks.iter().map(Task::step).collect(),
        other => panic!("no work: {other:?}"),
    }
}

fn burned_by(next: &Next) -> Vec<Vec<Burn>> {
    match next {
        Next::Work { tasks, .. } => tasks
            .iter()
            .find_map(|task| match task {
                Task::Burn(calls) => Some(calls.clone()),
                _ => None,
            })
            .unwrap_or_default(),
        other => panic!("no work: {other:?}"),
    }
}

fn assert_refused(next: &Next, words: &str) {
    match next {
        Next::Refuse { why, remedy } => assert!(why.contains(words), "{why}; {remedy}"),
        other => panic!("not refused: {other:?}"),
    }
}

fn assert_scrap(next: &Next, words: &str) {
    match next {
        Next::Scrap { serial, why } => {
            assert!(why.contains(words), "{why}");
            assert_eq!(serial.as_deref(), Some(SERIAL));
        }
        other => panic!("not scrap: {other:?}"),
    }
}

const FROM_BURN: [Step; 5] = [
    Step::Burn,
    Step::Audit,
    Step::Boot,
    Step::Lock,
    Step::Record,
];

#[test]
fn a_blank_chip_that_nobody_knows_gets_everything() {
    let next = decide(&open(&chip(&plan(), &|_| false)), &[]);
    let all = [&[Step::Bind, Step::Flash, Step::Verify][..], &FROM_BURN].concat();
    assert_eq!(steps_of(&next), all);
    assert_eq!(burned_by(&next), [plan().burn]);
}

#[test]
fn a_blank_chip_that_is_bound_keeps_its_serial() {
    for steps in [
        &[(Step::Bind, Outcome::Begun)][..],
        &[BOUND],
        &[BOUND, (Step::Flash, Outcome::Failed)],
        // The chip says what was burned, not the journal.
        &[BOUND, BURNING],
        &[BOUND, BURNING, (Step::Burn, Outcome::Failed)],
    ] {
        let next = decide(&open(&chip(&plan(), &|_| false)), steps);
        assert_eq!(
            steps_of(&next),
            [&[Step::Flash, Step::Verify][..], &FROM_BURN].concat()
        );
        assert!(matches!(&next, Next::Work { serial: Some(serial), .. } if serial == SERIAL));
    }
}

#[test]
fn keys_that_are_burned_are_not_burned_again() {
    let plan = plan();
    let next = decide(&open(&chip(&plan, &is_key)), &[BOUND, BURNING]);
    assert_eq!(
        steps_of(&next),
        [&[Step::Verify][..], &FROM_BURN].concat(),
        "read back before more is burned"
    );
    let calls = burned_by(&next);
    assert!(
        calls
            .iter()
            .flatten()
            .all(|burn| !matches!(burn, Burn::Keys(_))),
        "{calls:?}"
    );
    let Burn::Fields(fields) = &plan.burn[1] else {
        panic!("fields come second")
    };
    assert!(
        calls[0].contains(&Burn::Fields(fields.clone())),
        "{calls:?}"
    );
}

#[test]
fn of_some_keys_only_the_missing_ones_are_burned() {
    let plan = plan();
    let first_two = |field: &str| is_key(field) && (field.ends_with('0') || field.ends_with('1'));
    let calls = burned_by(&decide(&open(&chip(&plan, &first_two)), &[BOUND, BURNING]));
    let Burn::Keys(keys) = &calls[0][0] else {
        panic!("keys come first: {calls:?}")
    };
    let blocks: Vec<&str> = keys.iter().map(|key| key.block.as_str()).collect();
    assert_eq!(blocks, ["BLOCK_KEY2", "BLOCK_KEY3"]);
}

#[test]
fn of_some_names_only_the_missing_ones_are_burned() {
    let plan = plan();
    let missing = ["DIS_DIRECT_BOOT", "SECURE_BOOT_KEY_REVOKE2"];
    let burned = |field: &str| !missing.contains(&field) && !is_lock(field);
    let calls = burned_by(&decide(&open(&chip(&plan, &burned)), &[BOUND, BURNING]));
    let Burn::Fields(fields) = &calls[0][0] else {
        panic!("names come first: {calls:?}")
    };
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, missing);
}

/// Power went between the key blocks and block 0: the keys are burned again, and only if they are the board's own.
#[test]
fn keys_that_lie_in_their_blocks_without_a_purpose_are_burned_again() {
    let plan = plan();
    let decide = |summary: &Value, bytes: &dyn Fn(BurnedKey) -> Vec<u8>| {
        let board = open(summary);
        let Board::Open { efuses, .. } = &board else {
            panic!("open")
        };
        let mut history = History::of_mac(&journal(&[BOUND, BURNING]), MAC);
        let key = |key| Ok(zeroize::Zeroizing::new(bytes(key)));
        history.unfinished = plan.unfinished(efuses, key).expect("bytes");
        next(&plan, Order::FlashFirst, &board, &history, Some(SERIAL))
    };
    let keys = plan.keys().count();
    let whole = vec![plan.burn.clone()];
    for count in 1..=keys {
        let (summary, bytes) = filled(count);
        let next = decide(&summary, &bytes);
        let all = [&[Step::Flash, Step::Verify][..], &FROM_BURN].concat();
        assert_eq!(steps_of(&next), all, "{count} keys");
        assert_eq!(burned_by(&next), whole, "{count} keys");
        // Purposes come next, still without protection.
        let mut named = summary.clone();
        for number in 0..count {
            let field = format!("KEY_PURPOSE_{number}");
            let want = plan.expect.iter().find(|want| want.field == field);
            named[&field]["value"] = json!(want.and_then(|want| want.shown.clone()));
            named[&field]["raw_value"] = json!("0x4");
        }
        assert_eq!(burned_by(&decide(&named, &bytes)), whole);
        let others = |key: BurnedKey| bytes(key).iter().map(|byte| byte ^ 1).collect();
        assert_scrap(&decide(&summary, &others), "BLOCK_KEY0");
    }
    let (summary, bytes) = filled(keys);
    let mut foreign = summary.clone();
    foreign["KEY_PURPOSE_0"]["value"] = json!("HMAC_UP");
    foreign["KEY_PURPOSE_0"]["raw_value"] = json!("0x8");
    assert_scrap(&decide(&foreign, &bytes), "BLOCK_KEY0");
    let mut closed = summary;
    closed["BLOCK_KEY1"]["writeable"] = json!(false);
    assert_scrap(&decide(&closed, &bytes), "BLOCK_KEY1");
}

/// Makers close some doors themselves: that is no board of somebody else, and what is burned is not burned again.
#[test]
fn doors_that_the_maker_closed_do_not_make_a_chip_begun() {
    let plan = plan();
    let doors = ["DIS_DIRECT_BOOT", "DIS_USB_JTAG"];
    let next = decide(&open(&chip(&plan, &|field| doors.contains(&field))), &[]);
    let all = [&[Step::Bind, Step::Flash, Step::Verify][..], &FROM_BURN].concat();
    assert_eq!(steps_of(&next), all);
    let calls = burned_by(&next);
    let Burn::Fields(fields) = &calls[0][1] else {
        panic!("names come second: {calls:?}")
    };
    assert!(
        fields
            .iter()
            .all(|(name, _)| !doors.contains(&name.as_str())),
        "{fields:?}"
    );
}

#[test]
fn with_all_but_the_lock_it_goes_on_with_the_audit() {
    let board = open(&chip(&plan(), &|field| !is_lock(field)));
    let next = decide(&board, &[BOUND, BURNING]);
    assert_eq!(
        steps_of(&next),
        [Step::Audit, Step::Boot, Step::Lock, Step::Record]
    );
}

#[test]
fn a_locked_board_is_known_by_its_label_and_proves_itself_by_booting() {
    let steps = [BOUND, BURNING, LOCKING];
    let off = plan_with(Download::Off);
    let burned = [&steps[..], &[LOCKED]].concat();
    for (plan, board, steps) in [
        (plan(), Board::Locked, &steps[..]),
        (off, silent(), &burned),
    ] {
        let decide = |steps: &[(Step, Outcome)]| {
            let history = History::of_serial(&journal(steps), SERIAL);
            next(&plan, Order::FlashFirst, &board, &history, Some(SERIAL))
        };
        assert_eq!(steps_of(&decide(steps)), [Step::Boot, Step::Record]);
        let recorded = [steps, &[RECORDED]].concat();
        let finished = Next::Finished {
            serial: SERIAL.to_owned(),
        };
        assert_eq!(decide(&recorded), finished);
        assert_refused(&decide(&[BOUND, BURNING]), "never began to lock S1");
        assert_refused(&decide(&[]), "knows the serial S1");
        let unscanned = next(&plan, Order::FlashFirst, &board, &History::default(), None);
        assert_refused(&unscanned, "can't tell who it is");
    }
}

/// A port that is busy or a wire that is loose is silent too: only a call that ended well says that the lock is burned.
#[test]
fn silence_proves_no_lock_that_was_never_seen_to_be_burned() {
    let off = plan_with(Download::Off);
    let decide = |board: &Board, steps: &[(Step, Outcome)]| {
        let history = History::of_serial(&journal(steps), SERIAL);
        next(&off, Order::FlashFirst, board, &history, Some(SERIAL))
    };
    let failed = (Step::Lock, Outcome::Failed);
    for steps in [
        &[BOUND, BURNING, LOCKING][..],
        &[BOUND, BURNING, LOCKING, failed],
        &[BOUND, BURNING, LOCKING, failed, LOCKING],
        // A loader was seen after the call: the lock did not hold, or is burned once more.
        &[BOUND, BURNING, LOCKING, LOCKED, failed],
        &[BOUND, BURNING, LOCKING, LOCKED, LOCKING],
    ] {
        assert_refused(&decide(&silent(), steps), "its lock may not be burned");
        assert_refused(&decide(&Board::Locked, steps), "closes the loader for good");
        // Once it answers, the chip itself says what is missing.
        let open = open(&chip(&off, &|field| field != "DIS_DOWNLOAD_MODE"));
        let todo = [Step::Audit, Step::Boot, Step::Lock, Step::Record];
        assert_eq!(steps_of(&decide(&open, steps)), todo);
    }
}

/// A cable that is out is no finished board: in Secure Download Mode the loader still answers.
#[test]
fn silence_is_no_answer_where_the_loader_is_not_closed_for_good() {
    let steps = [BOUND, BURNING, LOCKING, RECORDED];
    for count in 0..=steps.len() {
        assert_refused(&decide(&silent(), &steps[..count]), "no loader answers");
    }
}

#[test]
fn burned_chips_that_the_journal_does_not_know_are_refused() {
    let plan = plan();
    for burned in [
        &is_key as &dyn Fn(&str) -> bool,
        &|field| !is_lock(field),
        &|_| true,
    ] {
        assert_refused(
            &decide(&open(&chip(&plan, burned)), &[]),
            "no journal line knows its MAC",
        );
    }
    // Another tool was at work on a board of ours.
    assert_refused(
        &decide(&open(&chip(&plan, &is_key)), &[BOUND]),
        "never began to burn",
    );
    assert_refused(
        &decide(&open(&chip(&plan, &|field| !is_lock(field))), &[BOUND]),
        "never began to burn",
    );
}

#[test]
fn a_key_block_outside_the_plan_is_foreign() {
    let mut summary = chip(&plan(), &|_| false);
    summary["BLOCK_KEY5"]["readable"] = json!(false);
    assert_refused(&decide(&open(&summary), &[]), "BLOCK_KEY5");
    assert_scrap(&decide(&open(&summary), &[BOUND]), "BLOCK_KEY5");
}

/// What shows only after a chip was burned costs the chip: it is seen before a serial is bound.
#[test]
fn what_a_supplier_burned_is_seen_before_a_serial_is_bound() {
    for (name, key, value) in [
        ("KEY_PURPOSE_5", "raw_value", json!("0x9")),
        ("SECURE_VERSION", "raw_value", json!("0x7")),
        ("SECURE_BOOT_AGGRESSIVE_REVOKE", "raw_value", json!("0x1")),
        ("ENABLE_SECURITY_DOWNLOAD", "writeable", json!(false)),
    ] {
        let mut summary = chip(&plan(), &|_| false);
        summary[name][key] = value;
        assert_refused(&decide(&open(&summary), &[]), name);
    }
}

#[test]
fn a_damaged_block_or_a_wrong_purpose_is_scrap_for_good() {
    let plan = plan();
    let Board::Open { mac, efuses, .. } = open(&chip(&plan, &is_key)) else {
        panic!("open")
    };
    let damaged = Board::Open {
        mac,
        efuses,
        block_error: Some("BLOCK4: 1 error".to_owned()),
    };
    assert_scrap(&decide(&damaged, &[BOUND, BURNING]), "BLOCK4");
    assert_refused(&decide(&damaged, &[]), "BLOCK4");
    let mut wrong = chip(&plan, &is_key);
    wrong["KEY_PURPOSE_1"]["value"] = json!("USER");
    assert_scrap(&decide(&open(&wrong), &[BOUND, BURNING]), "BLOCK_KEY1");
    for board in [
        damaged,
        open(&wrong),
        Board::Locked,
        open(&chip(&plan, &|_| false)),
    ] {
        assert_refused(&decide(&board, &[BOUND, BURNING, SCRAPPED]), "was scrapped");
    }
}

/// A finished board can be burned further by its own firmware, and one that was taken in was burned to another plan.
#[test]
fn a_finished_or_imported_board_is_never_scrap() {
    let plan = plan();
    let Board::Open { mac, efuses, .. } = open(&chip(&plan, &|_| true)) else {
        panic!("open")
    };
    let damaged = Board::Open {
        mac,
        efuses,
        block_error: Some("BLOCK4: 1 error".to_owned()),
    };
    let mut further = chip(&plan, &|_| true);
    further["SECURE_BOOT_KEY_REVOKE0"]["value"] = json!(true);
    further["SECURE_BOOT_KEY_REVOKE0"]["raw_value"] = json!("0x1");
    let imported = [(Step::Import, Outcome::Done)];
    for steps in [&[BOUND, BURNING, LOCKING, RECORDED][..], &imported] {
        assert_refused(&decide(&damaged, steps), "recorded as finished");
        assert_refused(&decide(&open(&further), steps), "SECURE_BOOT_KEY_REVOKE0");
    }
    // A finding that was journalled is no verdict.
    let looked_at = [BOUND, BURNING, (Step::Scrap, Outcome::Begun)];
    let board = open(&chip(&plan, &|field| !is_lock(field)));
    assert!(matches!(decide(&board, &looked_at), Next::Work { .. }));
}

/// R01: read protection was closed before the flash key was there.
#[test]
fn a_chip_that_can_never_hide_a_key_is_seen_before_anything_is_written() {
    let next = decide(&open(&vector("esp32c3-wrong-order.step2")), &[]);
    match &next {
        Next::Refuse { why, .. } => assert!(why.contains("no journal line"), "{why}"),
        other => panic!("{other:?}"),
    }
    let mut closed = chip(&plan(), &|_| false);
    closed["RD_DIS"]["writeable"] = json!(false);
    assert_refused(&decide(&open(&closed), &[]), "RD_DIS");
    assert_refused(&decide(&open(&closed), &[]), "never");
    assert_scrap(&decide(&open(&closed), &[BOUND]), "RD_DIS");
}

/// R18: a finished board is not written again.
#[test]
fn a_finished_board_is_left_alone() {
    let finished = open(&chip(&plan(), &|_| true));
    let steps = [BOUND, BURNING, LOCKING, RECORDED];
    assert_eq!(
        decide(&finished, &steps),
        Next::Finished {
            serial: SERIAL.to_owned()
        }
    );
    let unlocked = open(&chip(&plan(), &|field| !is_lock(field)));
    assert_refused(&decide(&unlocked, &steps), "another chip answers");
    let blank = open(&chip(&plan(), &|_| false));
    assert_refused(&decide(&blank, &steps), "another chip answers");
}

#[test]
fn burn_first_writes_after_every_burn() {
    let history = History::of_mac(&journal(&[BOUND, BURNING]), MAC);
    let board = open(&chip(&plan(), &|field| !is_lock(field)));
    let next = next(&plan(), Order::BurnFirst, &board, &history, None);
    assert_eq!(
        steps_of(&next),
        [
            Step::Flash,
            Step::Verify,
            Step::Audit,
            Step::Boot,
            Step::Lock,
            Step::Record
        ]
    );
}

/// Whatever was burned before the stop, what remains burns each name once, and together it is the plan.
#[test]
fn any_part_of_the_plan_is_completed_and_nothing_is_burned_twice() {
    let plan = plan();
    let mut fields: Vec<String> = Vec::new();
    for burn in &plan.burn {
        match burn {
            Burn::Keys(keys) => fields.extend(keys.iter().map(|key| key.block.clone())),
            Burn::Fields(names) => fields.extend(names.iter().map(|(name, _)| name.clone())),
            Burn::WriteProtect(_) => {}
        }
    }
    // Every subset of a sample of the names; keys are burned with their purpose.
    for mask in 0_u32..1 << fields.len().min(12) {
        let burned: Vec<&String> = (0..fields.len())
            .filter(|bit| mask >> bit & 1 == 1)
            .map(|bit| &fields[bit])
            .collect();
        let shows = |field: &str| {
            let block = field.replace("KEY_PURPOSE_", "BLOCK_KEY");
            burned.iter().any(|name| **name == block || *name == field)
        };
        let next = decide(&open(&chip(&plan, &shows)), &[BOUND, BURNING]);
        let mut remaining = Vec::new();
        for burn in burned_by(&next).iter().flatten() {
            match burn {
                Burn::Keys(keys) => remaining.extend(keys.iter().map(|key| key.block.clone())),
                Burn::Fields(names) => remaining.extend(names.iter().map(|(name, _)| name.clone())),
                Burn::WriteProtect(_) => {}
            }
        }
        let mut both: Vec<&String> = burned.iter().copied().chain(&remaining).collect();
        both.sort();
        let mut all: Vec<&String> = fields.iter().collect();
        all.sort();
        assert_eq!(both, all, "mask {mask:b}");
    }
}
