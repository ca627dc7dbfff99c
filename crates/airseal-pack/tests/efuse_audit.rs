//! eFuse summaries of Espressif's espefuse against the policies.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::path::Path;

use airseal_esp::Chip;
use airseal_pack::esp::chip_state::{ChipState, FusedSecureBoot};
use airseal_pack::esp::efuse_audit::{Audit, EfuseState, Policy, Repair, audit};

fn state(name: &str) -> EfuseState {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/esp/efuse");
    EfuseState::read(&dir.join(format!("{name}.json"))).unwrap()
}

fn run(chip: &str, name: &str, policy: &Policy) -> Audit {
    audit(Chip::from_name(chip).unwrap(), &state(name), policy).unwrap()
}

fn repair_of(audit: &Audit, field: &str) -> Option<Repair> {
    let verdict = audit.rules.iter().find(|verdict| verdict.field == field);
    verdict.unwrap().repair
}

#[test]
fn finished_chips_pass_the_release_policy() {
    for (chip, name) in [
        ("esp32", "esp32-fe-sb.step9"),
        ("esp32c3", "esp32c3-fe-sb.step11"),
    ] {
        let audit = run(chip, name, &Policy::release());
        let bad: Vec<_> = audit.rules.iter().filter(|rule| !rule.ok).collect();
        assert!(audit.ok, "{name}: {bad:?}");
    }
}

/// R01.
#[test]
fn secure_boot_before_the_flash_key_is_never_repaired_and_names_rd_dis() {
    for step in ["esp32c3-wrong-order.step2", "esp32c3-wrong-order.step3"] {
        for policy in [Policy::release(), Policy::development()] {
            let audit = run("esp32c3", step, &policy);
            assert!(!audit.ok);
            assert_eq!(repair_of(&audit, "RD_DIS"), Some(Repair::Never), "{step}");
        }
    }
}

#[test]
fn a_blank_chip_can_be_put_right_and_the_last_locks_come_later() {
    for (chip, name) in [
        ("esp32", "esp32-fe-sb.step0"),
        ("esp32c2", "esp32c2.step0"),
        ("esp32c3", "esp32c3-fe-sb.step0"),
    ] {
        let audit = run(chip, name, &Policy::release());
        assert!(!audit.ok);
        assert!(
            audit
                .rules
                .iter()
                .all(|rule| rule.repair != Some(Repair::Never)),
            "{name}: {audit:?}"
        );
        assert_eq!(repair_of(&audit, "RD_DIS"), Some(Repair::Later), "{name}");
    }
    let audit = run("esp32c3", "esp32c3-fe-sb.step0", &Policy::release());
    assert_eq!(repair_of(&audit, "BLOCK_KEY0"), Some(Repair::Now));
    assert_eq!(
        repair_of(&audit, "ENABLE_SECURITY_DOWNLOAD"),
        Some(Repair::Later)
    );
}

#[test]
fn a_slot_is_kept_for_the_digest_and_what_needs_it_comes_later() {
    let blank = run("esp32c3", "esp32c3-fe-sb.step0", &Policy::release());
    assert_eq!(repair_of(&blank, "SECURE_BOOT_DIGEST0"), Some(Repair::Now));
    let kept = "SECURE_BOOT_KEY_REVOKE0";
    assert!(blank.rules.iter().all(|rule| rule.field != kept));
    for field in [
        "SECURE_BOOT_KEY_REVOKE1",
        "SECURE_BOOT_KEY_REVOKE2",
        "SECURE_BOOT_EN",
        "SPI_BOOT_CRYPT_CNT",
    ] {
        assert_eq!(repair_of(&blank, field), Some(Repair::Later), "{field}");
    }
    let mut fields = summary("esp32c3-fe-sb.step0");
    for slot in 0..3 {
        fields[&format!("SECURE_BOOT_KEY_REVOKE{slot}")]["raw_value"] = "0x1".into();
        fields[&format!("SECURE_BOOT_KEY_REVOKE{slot}")]["value"] = true.into();
    }
    let chip = Chip::from_name("esp32c3").unwrap();
    let shut = audit(chip, &parse(&fields), &Policy::release()).unwrap();
    let repair = repair_of(&shut, "SECURE_BOOT_DIGEST0");
    assert_eq!(repair, Some(Repair::Never));
}

#[test]
fn one_missing_step_is_one_missing_field() {
    let audit = run("esp32c3", "esp32c3-fe-sb.step10", &Policy::release());
    let bad: Vec<&str> = audit
        .rules
        .iter()
        .filter(|rule| !rule.ok)
        .map(|rule| rule.field.as_str())
        .collect();
    assert_eq!(bad, ["ENABLE_SECURITY_DOWNLOAD"]);
    let text = br#"{"name": "bench", "base": "release", "except": ["ENABLE_SECURITY_DOWNLOAD"]}"#;
    let bench = Policy::parse("bench.json", text).unwrap();
    assert!(run("esp32c3", "esp32c3-fe-sb.step10", &bench).ok);
}

#[test]
fn a_256_bit_key_is_both_halves() {
    let audit = run("esp32s3", "esp32s3-xts256.step2", &Policy::development());
    assert!(audit.ok, "{audit:?}");
    let fields: Vec<&str> = audit.rules.iter().map(|rule| rule.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "BLOCK_KEY0",
            "KEY_PURPOSE_0",
            "BLOCK_KEY1",
            "KEY_PURPOSE_1",
            "SPI_BOOT_CRYPT_CNT"
        ]
    );
}

#[test]
fn an_own_policy_says_now_or_never() {
    let text = br#"{"name": "own", "rules": [
        {"field": "SECURE_VERSION", "value": 3},
        {"field": "SPI_BOOT_CRYPT_CNT", "value": 1},
        {"field": "BLOCK_KEY0", "readable": true}]}"#;
    let audit = run(
        "esp32c3",
        "esp32c3-fe-sb.step11",
        &Policy::parse("own.json", text).unwrap(),
    );
    let repairs: Vec<_> = audit.rules.iter().map(|rule| rule.repair).collect();
    assert_eq!(
        repairs,
        [Some(Repair::Now), Some(Repair::Never), Some(Repair::Never)]
    );
}

#[test]
fn another_chips_summary_and_policies_that_are_none_are_refused() {
    let esp32 = Chip::from_name("esp32").unwrap();
    let error = audit(esp32, &state("esp32c3-fe-sb.step0"), &Policy::release()).unwrap_err();
    assert!(error.to_string().contains("FLASH_CRYPT_CNT"), "{error}");
    for text in [
        "{}",
        "[]",
        r#"{"name": "x"}"#,
        r#"{"name": "x", "rule": []}"#,
    ] {
        assert!(Policy::parse("p.json", text.as_bytes()).is_err(), "{text}");
    }
    for text in ["", "{\"A\": 1}", "{\"A\": {\"value\": 1}}"] {
        assert!(
            EfuseState::parse("s.json", text.as_bytes()).is_err(),
            "{text}"
        );
    }
    let rule = br#"{"name": "x", "rules": [{"field": "NO_SUCH", "value": 1}]}"#;
    let policy = Policy::parse("p.json", rule).unwrap();
    assert!(audit(esp32, &state("esp32-fe-sb.step0"), &policy).is_err());
}

#[test]
fn no_byte_of_a_key_is_in_the_result() {
    let audit = run("esp32c3", "esp32c3-wrong-order.step2", &Policy::release());
    let text = serde_json::to_string(&audit).unwrap();
    assert!(!text.contains("cb 56") && !text.contains("cb565a50"));
}

/// A summary of the vectors as it is in JSON.
fn summary(name: &str) -> serde_json::Map<String, serde_json::Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/esp/efuse");
    let text = std::fs::read(dir.join(format!("{name}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn parse(summary: &serde_json::Map<String, serde_json::Value>) -> EfuseState {
    EfuseState::parse("s.json", &serde_json::to_vec(summary).unwrap()).unwrap()
}

const FINISHED: [(&str, &str); 2] = [
    ("esp32", "esp32-fe-sb.step9"),
    ("esp32c3", "esp32c3-fe-sb.step11"),
];

#[test]
fn no_field_that_a_rule_needs_can_be_missing_renamed_or_unreadable() {
    for (chip, name) in FINISHED {
        let whole = summary(name);
        let chip = Chip::from_name(chip).unwrap();
        let rules = audit(chip, &parse(&whole), &Policy::release())
            .unwrap()
            .rules;
        for rule in &rules {
            let mut without = whole.clone();
            let field = without.remove(&rule.field).unwrap();
            let mut renamed = without.clone();
            renamed.insert(format!("{}_X", rule.field), field.clone());
            for changed in [without, renamed] {
                let passes = audit(chip, &parse(&changed), &Policy::release());
                assert!(
                    passes.is_err() || !passes.unwrap().ok,
                    "{name} without {}",
                    rule.field
                );
            }
            let mut hidden = whole.clone();
            hidden[&rule.field]["readable"] = false.into();
            let passes = audit(chip, &parse(&hidden), &Policy::release()).unwrap();
            let key = rule.field.starts_with("BLOCK") || rule.want == "write-protected";
            assert!(key || !passes.ok, "{name}: {} unreadable", rule.field);
        }
    }
}

#[test]
fn a_key_of_the_hmac_module_that_can_be_read_is_found() {
    let mut open = summary("esp32c3-fe-sb.step11");
    let chip = Chip::from_name("esp32c3").unwrap();
    assert!(audit(chip, &parse(&open), &Policy::release()).unwrap().ok);
    open["KEY_PURPOSE_5"]["value"] = "HMAC_UP".into();
    open["BLOCK_KEY5"]["value"] = "5a".repeat(32).into();
    let found = audit(chip, &parse(&open), &Policy::release()).unwrap();
    assert!(!found.ok);
    assert_eq!(repair_of(&found, "RD_DIS"), Some(Repair::Never));
}

/// What closes a way in is told by the chip, not by what the summary happens to have.
#[test]
fn ways_in_that_a_summary_does_not_name_are_open() {
    for (chip, name, fields) in [
        (
            "esp32s3",
            "esp32s3-xts256.step2",
            ["DIS_USB_JTAG", "DIS_DOWNLOAD_DCACHE", "DIS_ICACHE"],
        ),
        (
            "esp32c2",
            "esp32c2.step0",
            ["DIS_PAD_JTAG", "DIS_DIRECT_BOOT", "DIS_DOWNLOAD_ICACHE"],
        ),
    ] {
        let mut changed = summary(name);
        for field in fields {
            changed.remove(field).unwrap();
        }
        let chip = Chip::from_name(chip).unwrap();
        let audit = audit(chip, &parse(&changed), &Policy::release()).unwrap();
        for field in fields {
            assert_eq!(repair_of(&audit, field), Some(Repair::Later), "{field}");
        }
    }
}

/// espefuse's own words for a switch, without the bits beside it.
#[test]
fn a_switch_that_is_off_is_off_in_every_form() {
    let mut changed = summary("esp32c3-fe-sb.step10");
    let mode = changed["DIS_DOWNLOAD_MODE"].as_object_mut().unwrap();
    mode.remove("raw_value").unwrap();
    assert_eq!(mode["value"], false);
    let chip = Chip::from_name("esp32c3").unwrap();
    let audit = audit(chip, &parse(&changed), &Policy::release()).unwrap();
    assert!(!audit.ok);
    for raw in [serde_json::json!(1), serde_json::json!(null)] {
        changed["SECURE_BOOT_EN"]["raw_value"] = raw;
        let text = serde_json::to_vec(&changed).unwrap();
        assert!(EfuseState::parse("s.json", &text).is_err());
    }
    for raw in ["0x+1", "1", "0b1", ""] {
        changed["SECURE_BOOT_EN"]["raw_value"] = raw.into();
        assert_eq!(parse(&changed).field("SECURE_BOOT_EN").unwrap().bits, None);
    }
}

#[test]
fn a_second_key_block_that_lies_open_is_found() {
    let mut changed = summary("esp32c3-fe-sb.step11");
    changed["KEY_PURPOSE_4"]["value"] = "XTS_AES_128_KEY".into();
    let chip = Chip::from_name("esp32c3").unwrap();
    let audit = audit(chip, &parse(&changed), &Policy::release()).unwrap();
    let bad: Vec<_> = audit.rules.iter().filter(|rule| !rule.ok).collect();
    assert!(!bad.is_empty() && !audit.ok, "{bad:?}");
}

#[test]
fn a_policy_that_asks_for_nothing_is_refused() {
    let rule = br#"{"name": "x", "rules": [{"field": "SECURE_BOOT_EN"}]}"#;
    let error = Policy::parse("p.json", rule).unwrap_err().to_string();
    assert!(error.contains("SECURE_BOOT_EN asks for nothing"), "{error}");
    let chip = Chip::from_name("esp32c3").unwrap();
    let blank = state("esp32c3-fe-sb.step0");
    let rules = audit(chip, &blank, &Policy::development()).unwrap().rules;
    let except: Vec<String> = rules.into_iter().map(|rule| rule.field).collect();
    let policy = serde_json::json!({"name": "x", "base": "development", "except": except});
    let policy = Policy::parse("p.json", policy.to_string().as_bytes()).unwrap();
    assert!(audit(chip, &blank, &policy).is_err());
}

/// flash-check takes the chip as its eFuses say: what they do not say must not read as off.
#[test]
fn a_chip_is_not_played_without_the_fields_that_decide_its_boot() {
    for (chip, name) in FINISHED {
        let whole = summary(name);
        let chip = Chip::from_name(chip).unwrap();
        assert!(ChipState::of(chip, &parse(&whole)).is_ok());
        let fields: &[&str] = match chip.name() {
            "esp32" => &[
                "FLASH_CRYPT_CNT",
                "FLASH_CRYPT_CONFIG",
                "ABS_DONE_1",
                "SECURE_VERSION",
                "WAFER_VERSION_MAJOR",
            ],
            _ => &[
                "SPI_BOOT_CRYPT_CNT",
                "SECURE_BOOT_EN",
                "SECURE_BOOT_KEY_REVOKE0",
                "SECURE_VERSION",
                "WAFER_VERSION_MINOR",
                "BLK_VERSION_MAJOR",
                "DISABLE_WAFER_VERSION_MAJOR",
            ],
        };
        for field in fields {
            let mut without = whole.clone();
            without.remove(*field).unwrap();
            let mut hidden = whole.clone();
            hidden[*field]["readable"] = false.into();
            let mut odd = whole.clone();
            odd[*field]["raw_value"] = "?".into();
            for changed in [without, hidden, odd] {
                let error = ChipState::of(chip, &parse(&changed)).unwrap_err();
                assert!(error.to_string().contains(field), "{field}: {error}");
            }
        }
    }
}

#[test]
fn a_digest_that_is_cut_off_is_no_digest() {
    let chip = Chip::from_name("esp32c3").unwrap();
    let mut changed = summary("esp32c3-fe-sb.step11");
    for shown in ["cb", "", "+b 56", "cb 56 5a 50 22 01 92 fb"] {
        changed["BLOCK_KEY1"]["value"] = shown.into();
        let state = ChipState::of(chip, &parse(&changed)).unwrap();
        let FusedSecureBoot::V2 { trusted, .. } = state.secure_boot else {
            panic!("secure boot is on");
        };
        assert!(trusted.is_empty(), "{shown:?}: {trusted:?}");
    }
}
