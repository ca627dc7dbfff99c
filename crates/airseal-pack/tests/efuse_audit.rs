//! eFuse summaries of Espressif's espefuse against the policies.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::path::Path;

use airseal_esp::Chip;
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
    assert_eq!(fields, ["BLOCK_KEY0", "BLOCK_KEY1", "SPI_BOOT_CRYPT_CNT"]);
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
