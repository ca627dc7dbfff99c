//! The plan burned by the real `espefuse` into virtual eFuses, and its summary against the plan's promise, field by field.
//!
//! Runs where `AIRSEAL_ESPEFUSE` names the program; `cargo xtask interop` sets it.

use std::path::PathBuf;
use std::process::Command;

use airseal_esp::Chip;
use airseal_factory::config::{BootScheme, Download, EncryptionMode, Jtag, SeedSource};
use airseal_factory::efuse::{BurnedKey, EfusePlan, EfuseWish, arguments};
use airseal_pack::esp::efuse_audit::{EfuseState, Policy, audit};

fn release(chip: &str) -> EfuseWish {
    let chip = Chip::from_name(chip).expect("a chip");
    let (esp32, c2) = (chip.name() == "esp32", chip.name() == "esp32c2");
    EfuseWish {
        chip,
        encryption: EncryptionMode::Release,
        flash_key_len: if c2 { 16 } else { 32 },
        flash_key_block: None,
        seed: if chip.has_hmac() {
            SeedSource::EfuseHmac
        } else {
            SeedSource::Nvs
        },
        seed_block: None,
        secure_boot: if c2 {
            BootScheme::V2Ecdsa256
        } else {
            BootScheme::V2Rsa
        },
        digests: if esp32 || c2 { 1 } else { 2 },
        revoke_unused: true,
        aggressive_revoke: false,
        download: if esp32 {
            Download::Off
        } else {
            Download::Secure
        },
        jtag: Jtag::Off,
        secure_version: 0,
        custom: Vec::new(),
    }
}

struct Chipside {
    espefuse: PathBuf,
    folder: tempfile::TempDir,
    chip: Chip,
}

impl Chipside {
    fn new(chip: Chip) -> Option<Chipside> {
        Some(Chipside {
            espefuse: std::env::var_os("AIRSEAL_ESPEFUSE")?.into(),
            folder: tempfile::tempdir().expect("a folder"),
            chip,
        })
    }

    fn call(&self, words: &[std::ffi::OsString]) -> Vec<u8> {
        let output = Command::new(&self.espefuse)
            .args([
                "--chip",
                self.chip.name(),
                "--virt",
                "--do-not-confirm",
                "--path-efuse-file",
            ])
            .arg(self.folder.path().join("efuse.virt"))
            .args(words)
            .output()
            .expect("espefuse runs");
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    fn key_file(&self, key: BurnedKey, len: usize) -> PathBuf {
        let path = self.folder.path().join(format!("{key:?}.bin"));
        let len = if key == BurnedKey::Flash { len } else { 32 };
        std::fs::write(&path, (1..=len).map(|n| n as u8).collect::<Vec<_>>()).expect("a key file");
        path
    }

    fn state(&self) -> EfuseState {
        let text = self.call(&["summary".into(), "--format".into(), "json".into()]);
        EfuseState::parse("summary", &text).expect("a summary")
    }
}

fn burn_and_compare(wish: &EfuseWish) {
    let Some(chip) = Chipside::new(wish.chip) else {
        return;
    };
    let plan = EfusePlan::new(wish).expect("a plan");
    let file = |key| chip.key_file(key, wish.flash_key_len);
    chip.call(&arguments(&plan.burn, file));
    if !plan.lock.is_empty() {
        chip.call(&arguments(&plan.lock, file));
    }
    let state = chip.state();
    let wrong = plan.differences(&state, true);
    assert!(wrong.is_empty(), "{}: {wrong:#?}", wish.chip);
    let audited = audit(wish.chip, &state, &Policy::release()).expect("an audit");
    let bad: Vec<_> = audited.rules.iter().filter(|rule| !rule.ok).collect();
    assert!(bad.is_empty(), "{}: {bad:#?}", wish.chip);
}

#[test]
fn release_chips_show_what_the_plan_promised() {
    for chip in [
        "esp32", "esp32s2", "esp32s3", "esp32c2", "esp32c3", "esp32c6", "esp32h2",
    ] {
        burn_and_compare(&release(chip));
    }
}

#[test]
fn xts_256_takes_two_blocks() {
    for chip in ["esp32s2", "esp32s3"] {
        burn_and_compare(&EfuseWish {
            flash_key_len: 64,
            ..release(chip)
        });
    }
}
