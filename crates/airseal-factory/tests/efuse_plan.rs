//! The plan burned by the real `espefuse` into virtual eFuses, and its summary against the plan's promise, field by field.
//!
//! Runs where `AIRSEAL_ESPEFUSE` names the program; `cargo xtask interop` sets it.

mod common;

use std::path::PathBuf;
use std::process::Command;

use airseal_esp::Chip;
use airseal_factory::config::{BootScheme, Download, EncryptionMode, Jtag, SeedSource};
use airseal_factory::efuse::{BurnedKey, EfusePlan, EfuseWish, arguments, custom_names};
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
            espefuse: common::vendor_tools("AIRSEAL_ESPEFUSE")?,
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
    let Some(state) = compare(wish, "release") else {
        return;
    };
    let audited = audit(wish.chip, &state, &Policy::release()).expect("an audit");
    let bad: Vec<_> = audited.rules.iter().filter(|rule| !rule.ok).collect();
    assert!(bad.is_empty(), "{}: {bad:#?}", wish.chip);
}

fn compare(wish: &EfuseWish, said: &str) -> Option<EfuseState> {
    let chip = Chipside::new(wish.chip)?;
    let plan = EfusePlan::new(wish).expect("a plan");
    let file = |key| chip.key_file(key, wish.flash_key_len);
    chip.call(&arguments(&plan.burn, file));
    if !plan.lock.is_empty() {
        chip.call(&arguments(&plan.lock, file));
    }
    let state = chip.state();
    let wrong = plan.differences(&state, true);
    assert!(wrong.is_empty(), "{}: {said}: {wrong:#?}", wish.chip);
    Some(state)
}

const CHIPS: [&str; 7] = [
    "esp32", "esp32s2", "esp32s3", "esp32c2", "esp32c3", "esp32c6", "esp32h2",
];

#[test]
fn every_custom_name_is_one_of_its_chip() {
    for chip in CHIPS {
        let wish = release(chip);
        burn_and_compare(&EfuseWish {
            custom: custom_names(wish.chip)
                .map(|(name, bits)| (name.to_owned(), largest(name, bits)))
                .collect(),
            ..wish
        });
    }
}

/// The tool knows the pins that a flash can't be at.
fn largest(name: &str, bits: u32) -> u64 {
    if name.starts_with("SPI_PAD") {
        29
    } else {
        (1 << bits) - 1
    }
}

#[test]
fn custom_takes_no_name_that_something_else_decides() {
    let refused = |name: &str, value: u64| {
        for chip in CHIPS {
            // With nothing else burned no other setting names it, and it is refused all the same.
            let wish = EfuseWish {
                encryption: EncryptionMode::Off,
                secure_boot: BootScheme::Off,
                digests: 0,
                download: Download::Open,
                jtag: Jtag::Open,
                custom: vec![(name.to_owned(), value)],
                ..release(chip)
            };
            let error = EfusePlan::new(&wish).err();
            assert!(error.is_some(), "{chip}: {name} = {value} was taken");
            assert!(format!("{error:?}").contains("efuse.custom."), "{error:?}");
        }
    };
    for name in [
        "ENABLE_SECURITY_DOWNLOAD",
        "DIS_DOWNLOAD_MODE",
        "UART_DOWNLOAD_DIS",
        "SPI_BOOT_CRYPT_CNT",
        "FLASH_CRYPT_CNT",
        "FLASH_CRYPT_CONFIG",
        "SECURE_BOOT_EN",
        "ABS_DONE_0",
        "ABS_DONE_1",
        "SECURE_BOOT_KEY_REVOKE0",
        "SECURE_BOOT_AGGRESSIVE_REVOKE",
        "SECURE_VERSION",
        "SECURE_BOOT_SHA384_EN",
        "RD_DIS",
        "WR_DIS",
        "WR_DIS_DIS_ICACHE",
        "KEY_PURPOSE_5",
        "BLOCK_KEY5",
        "BLOCK3",
        "DIS_ICACHE",
        "DIS_CACHE",
        "DIS_DIRECT_BOOT",
        "DIS_LEGACY_SPI_BOOT",
        "DIS_BOOT_REMAP",
        "DIS_PAD_JTAG",
        "SOFT_DIS_JTAG",
        "HARD_DIS_JTAG",
        "JTAG_DISABLE",
        "DIS_USB_SERIAL_JTAG",
        "CODING_SCHEME",
        "MAC",
        "NO_SUCH_NAME",
        "dis_twai",
        "disable_bt",
        "--help;touch x",
        "-x",
        "X;cmd",
        "",
    ] {
        refused(name, 1);
    }
    for (name, value) in [
        ("DIS_TWAI", 0),
        ("DIS_TWAI", 2),
        ("FLASH_TPUW", 16),
        ("DISABLE_BT", u64::MAX),
    ] {
        refused(name, value);
    }
}

#[test]
fn release_chips_show_what_the_plan_promised() {
    for chip in CHIPS {
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

#[test]
fn every_wish_about_jtag_shows_what_the_plan_promised() {
    use EncryptionMode::{Development, Off, Release};
    for chip in CHIPS {
        let base = release(chip);
        for (jtag, encryption, signed) in [
            (Jtag::Soft, Release, true),
            (Jtag::Soft, Off, true),
            (Jtag::Soft, Development, false),
            (Jtag::Off, Off, true),
            (Jtag::Off, Release, false),
            (Jtag::Open, Development, true),
        ] {
            if jtag == Jtag::Soft && ["esp32", "esp32c2"].contains(&chip) {
                continue;
            }
            let wish = EfuseWish {
                jtag,
                encryption,
                secure_boot: if signed {
                    base.secure_boot
                } else {
                    BootScheme::Off
                },
                digests: if signed { base.digests } else { 0 },
                ..base.clone()
            };
            let said = format!("jtag {jtag:?}, {encryption:?}, signed {signed}");
            compare(&wish, &said);
        }
    }
}

#[test]
fn direct_boot_is_closed_with_secure_boot_or_release_encryption() {
    for chip in CHIPS.into_iter().filter(|chip| *chip != "esp32") {
        let closes = if chip == "esp32s2" {
            &["DIS_LEGACY_SPI_BOOT", "DIS_BOOT_REMAP"][..]
        } else {
            &["DIS_DIRECT_BOOT"]
        };
        for (encryption, signed) in [
            (EncryptionMode::Off, true),
            (EncryptionMode::Development, true),
            (EncryptionMode::Release, false),
            (EncryptionMode::Release, true),
            (EncryptionMode::Development, false),
        ] {
            let base = release(chip);
            let wish = EfuseWish {
                encryption,
                secure_boot: if signed {
                    base.secure_boot
                } else {
                    BootScheme::Off
                },
                digests: if signed { base.digests } else { 0 },
                ..base
            };
            let plan = EfusePlan::new(&wish).expect("a plan");
            let due = signed || encryption == EncryptionMode::Release;
            for name in closes {
                let burned = plan
                    .expect
                    .iter()
                    .any(|want| want.field == *name && want.value == Some(1));
                assert_eq!(
                    burned, due,
                    "{chip}: {name}, {encryption:?}, signed {signed}"
                );
            }
        }
    }
}

/// What a release burns later is not protected on a development board.
#[test]
fn a_development_board_can_become_a_release_board() {
    for chip in ["esp32c2", "esp32c3", "esp32s2", "esp32s3"] {
        let wish = EfuseWish {
            encryption: EncryptionMode::Development,
            download: Download::Open,
            ..release(chip)
        };
        let Some(side) = Chipside::new(wish.chip) else {
            return;
        };
        let plan = EfusePlan::new(&wish).expect("a plan");
        let file = |key: BurnedKey| {
            let len = match key {
                BurnedKey::Flash => wish.flash_key_len,
                _ if chip == "esp32c2" => 16,
                _ => 32,
            };
            let path = side.folder.path().join(format!("{key:?}"));
            std::fs::write(&path, vec![7; len]).expect("a key");
            path
        };
        for call in plan.calls() {
            side.call(&arguments(&call, file));
        }
        let release = [
            "burn-efuse",
            "DIS_DOWNLOAD_MANUAL_ENCRYPT",
            "1",
            "SPI_BOOT_CRYPT_CNT",
            "7",
        ];
        side.call(&release.map(Into::into));
        let summary = side.call(&["summary", "--format", "json"].map(Into::into));
        let state = EfuseState::parse("summary", &summary).expect("a summary");
        let bits = |name: &str| state.field(name).and_then(|field| field.bits);
        assert_eq!(bits("DIS_DOWNLOAD_MANUAL_ENCRYPT"), Some(1), "{chip}");
        assert_eq!(bits("SPI_BOOT_CRYPT_CNT"), Some(7), "{chip}");
        assert!(
            state.field("RD_DIS").is_some_and(|field| !field.writeable),
            "{chip}"
        );
    }
}
