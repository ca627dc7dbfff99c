//! What `flash-check` and `efuse audit` say of a board from the line when one thing about it is wrong.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::fs;

use airseal_esp::Chip;
use airseal_esp::flash_encryption::{DEFAULT_CRYPT_CONFIG, FlashKey};
use airseal_esp::nvs::NvsKey;
use airseal_factory::batch::{Description, RegionSource};
use airseal_pack::esp::chip_state::ChipState;
use airseal_pack::esp::dump::FlashCipher;
use airseal_pack::esp::efuse_audit::{EfuseState, Policy, audit};
use airseal_pack::esp::flash_check::{FlashCheck, RollbackKind, Verdict};
use airseal_pack::esp::nvs::derive_keys;
use airseal_pack::source::Source;
use common::bench::{Line, summary};
use common::vectors;
use sha2::{Digest, Sha256};

/// A finished C3: its flash, and all that its chip knows.
struct Finished {
    line: Line,
    flash: Vec<u8>,
    summary: serde_json::Value,
    flash_key: Vec<u8>,
    nvs_key: NvsKey,
    regions: Vec<Region>,
}

/// What was written, as the plan has it.
struct Region {
    name: String,
    address: usize,
    /// Bytes from the start that mean something.
    used: usize,
    encrypted: bool,
}

impl Finished {
    fn new() -> Option<Finished> {
        let line = Line::new()?;
        let (board, station) = line.finished();
        drop(station);
        let folder = line.product.path("board1");
        let seed = fs::read(folder.join("seed")).expect("a seed");
        let seed = <[u8; 32]>::try_from(seed).expect("32 bytes");
        let regions = Description::read(&line.batch())
            .expect("a description")
            .regions
            .into_iter()
            .map(|region| Region {
                used: match region.source {
                    // Eight rows and their MD5.
                    RegionSource::Common { .. } if region.name == "partition-table" => 9 * 32,
                    RegionSource::Common { .. } if region.name == "otadata" => 32,
                    RegionSource::Common { len, .. } => usize::try_from(len).expect("a length"),
                    // Keys with their CRC; the header and the first entry of NVS.
                    _ => 68,
                },
                name: region.name,
                address: usize::try_from(region.address).expect("an address"),
                encrypted: region.encrypted,
            })
            .collect();
        Some(Finished {
            flash: fs::read(board.flash()).expect("the flash"),
            summary: summary(&board),
            flash_key: fs::read(folder.join("flash-key")).expect("a key"),
            nvs_key: NvsKey::new(&derive_keys(&seed)).expect("keys"),
            regions,
            line,
        })
    }

    fn chip(&self) -> Chip {
        Chip::from_name("esp32c3").expect("a chip")
    }

    fn cipher(&self, key: &[u8]) -> FlashKey {
        FlashKey::new(self.chip(), key, DEFAULT_CRYPT_CONFIG).expect("a key")
    }

    fn state(&self, summary: &serde_json::Value) -> EfuseState {
        EfuseState::parse("the board", summary.to_string().as_bytes()).expect("a summary")
    }

    fn check(&self, flash: &[u8], key: &[u8]) -> Verdict {
        let path = self.line.product.path("dump.bin");
        fs::write(&path, flash).expect("a dump");
        let efuses = ChipState::of(self.chip(), &self.state(&self.summary)).expect("a state");
        let cipher = self.cipher(key);
        FlashCheck {
            chip: self.chip(),
            efuses: Some(&efuses),
            cipher: Some(&cipher as &dyn FlashCipher),
            table_offset: 0x8000,
            rollback: RollbackKind::Off,
            signatures: None,
            nvs_key: Some(&self.nvs_key),
        }
        .run(&Source::open(&path).expect("a dump"))
        .expect("a verdict")
    }

    fn region(&self, name: &str) -> &Region {
        let found = self.regions.iter().find(|region| region.name == name);
        found.expect("a region")
    }

    /// The flash with a plain image put into a region, encrypted for it.
    fn with_image(&self, region: &Region, image: &[u8]) -> Vec<u8> {
        let mut image = image.to_vec();
        image.resize(region.used.next_multiple_of(4096), 0xFF);
        let address = u32::try_from(region.address).expect("an address");
        self.cipher(&self.flash_key)
            .encrypt(address, &mut image)
            .expect("whole blocks");
        let mut flash = self.flash.clone();
        flash[region.address..region.address + image.len()].copy_from_slice(&image);
        flash
    }

    fn finds(&self, flash: &[u8], word: &str) {
        let verdict = self.check(flash, &self.flash_key);
        assert_eq!(verdict.boots, None, "{word}");
        let reason = verdict.steps.iter().map(|step| step.found.as_str());
        assert!(
            reason.clone().any(|found| found.contains(word)),
            "{word}: {:?}",
            reason.collect::<Vec<_>>()
        );
    }

    /// Whether the release audit is content with the summary after one change.
    fn passes(&self, change: impl FnOnce(&mut serde_json::Value)) -> bool {
        let mut summary = self.summary.clone();
        change(&mut summary);
        audit(self.chip(), &self.state(&summary), &Policy::release())
            .expect("an audit")
            .ok
    }
}

#[test]
fn a_flipped_byte_in_any_region_is_found() {
    let Some(board) = Finished::new() else {
        return;
    };
    let whole = board.check(&board.flash, &board.flash_key);
    assert_eq!(
        (whole.boots.as_deref(), whole.warnings.as_slice()),
        (Some("factory"), [].as_slice())
    );
    let said = |verdict: &Verdict| {
        let found = verdict
            .steps
            .iter()
            .map(|step| (step.ok, step.found.clone()));
        (verdict.boots.clone(), found.collect::<Vec<_>>())
    };
    let names: Vec<&str> = board
        .regions
        .iter()
        .map(|region| region.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "bootloader",
            "partition-table",
            "otadata",
            "nvs_keys",
            "factory",
            "fctry"
        ]
    );
    for region in &board.regions {
        for part in 0..8 {
            let place = region.address + region.used * part / 8;
            let mut flash = board.flash.clone();
            flash[place] ^= 0x04;
            let verdict = board.check(&flash, &board.flash_key);
            assert_ne!(
                said(&verdict),
                said(&whole),
                "{} at {place:#x}: nothing is said of a changed byte",
                region.name
            );
            assert!(
                verdict.steps.iter().any(|step| !step.ok),
                "{} at {place:#x}: {:?}",
                region.name,
                verdict.steps
            );
        }
    }
}

#[test]
fn a_wrong_key_a_plain_region_and_another_image_are_found() {
    let Some(board) = Finished::new() else {
        return;
    };
    let verdict = board.check(&board.flash, &[0x5B; 32]);
    assert_eq!(verdict.boots, None);
    assert!(verdict.reason.expect("a reason").contains("another key"));

    let encrypted = board.regions.iter().filter(|region| region.encrypted);
    // Blank records are no more than that when they are read as noise.
    for region in encrypted.filter(|region| region.name != "otadata") {
        let end = region.address + region.used.next_multiple_of(4096);
        let address = u32::try_from(region.address).expect("an address");
        let mut flash = board.flash.clone();
        board
            .cipher(&board.flash_key)
            .decrypt(address, &mut flash[region.address..end])
            .expect("whole units");
        let verdict = board.check(&flash, &board.flash_key);
        let found = verdict.steps.iter().filter(|step| !step.ok);
        let found: Vec<&str> = found.map(|step| step.found.as_str()).collect();
        assert!(
            found.iter().any(|found| found.contains("not encrypted")),
            "{}: {found:?}",
            region.name
        );
    }

    let factory = board.region("factory");
    let app = fs::read(vectors().join("images/app.bin")).expect("an application");
    board.finds(&board.with_image(factory, &app), "is not signed");
    let mut other = fs::read(vectors().join("images/app.bin")).expect("an application");
    other[12] = 9;
    let body = other.len() - 32;
    let hash = Sha256::digest(&other[..body]);
    other[body..].copy_from_slice(&hash);
    board.finds(&board.with_image(factory, &other), "chip_id");
    let other = fs::read(vectors().join("images/esp32s3-bootloader.bin")).expect("a bootloader");
    let bootloader = board.region("bootloader");
    board.finds(&board.with_image(bootloader, &other), "chip_id");
}

#[test]
fn an_open_digest_slot_and_a_key_that_can_be_read_are_found() {
    let Some(board) = Finished::new() else {
        return;
    };
    assert!(board.passes(|_| {}));
    let burned = |field: &'static str, bits: &'static str| {
        move |summary: &mut serde_json::Value| {
            assert!(summary[field].is_object(), "{field}");
            summary[field]["raw_value"] = bits.into();
            summary[field]["value"] = 0.into();
        }
    };
    assert!(!board.passes(burned("SECURE_BOOT_KEY_REVOKE2", "0x0")));
    assert!(!board.passes(burned("SECURE_BOOT_EN", "0x0")));
    assert!(!board.passes(burned("SPI_BOOT_CRYPT_CNT", "0x1")));
    for block in ["BLOCK_KEY0", "BLOCK_KEY1"] {
        assert!(
            !board.passes(|summary| summary[block]["readable"] = true.into()),
            "{block} can be read"
        );
    }
}
