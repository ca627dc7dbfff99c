//! R14: two calls of espefuse, names only, end where a sequence of eleven ends.
//!
//! Runs where `AIRSEAL_ESPEFUSE` names the program; `cargo xtask interop` sets it.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use airseal_esp::Chip;
use airseal_factory::config::{BootScheme, Download, EncryptionMode, Jtag, SeedSource};
use airseal_factory::efuse::{Burn, BurnedKey, EfusePlan, EfuseWish, arguments};
use airseal_pack::esp::efuse_audit::EfuseState;
use serde_json::Value;

/// What the sequence of the vectors burns: flash key, one digest, seed, secure version 1, one digest slot in use.
fn wish() -> EfuseWish {
    EfuseWish {
        chip: Chip::from_name("esp32c3").expect("a chip"),
        encryption: EncryptionMode::Release,
        flash_key_len: 32,
        flash_key_block: Some("BLOCK_KEY0".to_owned()),
        seed: SeedSource::EfuseHmac,
        seed_block: Some("BLOCK_KEY2".to_owned()),
        secure_boot: BootScheme::V2Rsa,
        digests: 1,
        revoke_unused: true,
        aggressive_revoke: false,
        download: Download::Secure,
        jtag: Jtag::Off,
        secure_version: 1,
        custom: Vec::new(),
    }
}

fn step_by_step() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../vectors/esp/efuse/esp32c3-fe-sb.step11.json");
    serde_json::from_slice(&std::fs::read(path).expect("a vector")).expect("a summary")
}

/// The plan promises what the sequence ends in, and no field of it is promised otherwise.
#[test]
fn r14_the_summary_of_the_sequence_is_what_the_plan_promises() {
    let plan = EfusePlan::new(&wish()).expect("a plan");
    let state =
        EfuseState::parse("step11", step_by_step().to_string().as_bytes()).expect("a summary");
    let wrong = plan.differences(&state, true);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Compared is every field of both summaries, those that the plan promises and all others: its value (secret keys as they are
/// shown), whether it can be read and whether it can be burned. None may differ.
#[test]
fn r14_two_calls_with_names_only_end_where_eleven_steps_end() {
    let Some(espefuse) = common::vendor_tools("AIRSEAL_ESPEFUSE") else {
        return;
    };
    let plan = EfusePlan::new(&wish()).expect("a plan");
    let folder = tempfile::tempdir().expect("a folder");
    let wanted = step_by_step();
    let digest = wanted["BLOCK_KEY1"]["value"].as_str().expect("a digest");
    let digest = hex::decode(digest.replace(' ', "")).expect("a digest");
    let file_of = |key| {
        let path = folder.path().join(format!("{key:?}"));
        let bytes = match key {
            BurnedKey::Digest(_) => digest.clone(),
            _ => vec![0x5a; 32],
        };
        std::fs::write(&path, bytes).expect("a key");
        path
    };
    let calls = [
        arguments(&plan.burn, file_of),
        arguments(&plan.lock, file_of),
        ["summary", "--format", "json"].map(OsString::from).to_vec(),
    ];
    let mut text = String::new();
    for call in &calls {
        let output = Command::new(&espefuse)
            .args([
                "--chip",
                "esp32c3",
                "--virt",
                "--do-not-confirm",
                "--path-efuse-file",
            ])
            .arg(folder.path().join("efuse.virt"))
            .args(call)
            .output()
            .expect("espefuse runs");
        text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{call:?}: {text}");
    }
    let found: Value =
        serde_json::from_str(&text[text.find('{').expect("an object")..]).expect("JSON");
    let fields: BTreeSet<&String> = [&found, &wanted]
        .into_iter()
        .flat_map(|summary| summary.as_object().expect("an object").keys())
        .collect();
    assert!(fields.len() >= 70, "{}", fields.len());
    let differs: Vec<&str> = fields
        .into_iter()
        .filter(|field| {
            ["value", "readable", "writeable"]
                .iter()
                .any(|part| found[field.as_str()][part] != wanted[field.as_str()][part])
        })
        .map(String::as_str)
        .collect();
    assert_eq!(differs, Vec::<&str>::new());

    let burned = plan.burn.iter().chain(&plan.lock);
    let named = burned.flat_map(|burn| match burn {
        Burn::Fields(fields) => fields.iter().map(|(name, _)| name.as_str()).collect(),
        Burn::Keys(_) | Burn::WriteProtect(_) => Vec::new(),
    });
    for name in named {
        assert!(!["RD_DIS", "WR_DIS"].contains(&name), "{name} as a number");
    }
}
