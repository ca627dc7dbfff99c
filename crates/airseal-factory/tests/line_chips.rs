//! Every chip that can be provisioned, from configuration to locked board: the virtual eFuses against the plan's promise,
//! field by field; the boot played from the flash file; and each region as the real espsecure decrypts it.
//!
//! Runs where `AIRSEAL_ESPTOOLS` names the folder of the programs; `cargo xtask interop` sets it.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use airseal_esp::Chip;
use airseal_factory::batch::{Description, RegionSource};
use airseal_factory::efuse::EfusePlan;
use airseal_factory::line::simulated::SimulatedBoard;
use airseal_pack::esp::efuse_audit::{EfuseState, Policy, audit};
use common::bench::{Line, bench, no_work_left, serial, state, summary};
use common::{ProductFolder, vectors};
use sha2::{Digest, Sha256};

/// The image for another chip: its id, any revision, its segments where that chip has memory, its hash.
fn retarget(image: &str, chip_id: u8, moves: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = fs::read(vectors().join(image)).expect(image);
    bytes[12] = chip_id;
    bytes[14..17].fill(0);
    bytes[17..19].fill(0xFF);
    let mut at = 24;
    for _ in 0..bytes[1] {
        let (address, len) = (word(&bytes, at), word(&bytes, at + 4));
        if let Some((_, to)) = moves.iter().find(|(from, _)| *from == address) {
            bytes[at..at + 4].copy_from_slice(&to.to_le_bytes());
            let entry = word(&bytes, 4);
            if (address..address + len).contains(&entry) {
                bytes[4..8].copy_from_slice(&(entry - address + to).to_le_bytes());
            }
        }
        at += 8 + len as usize;
    }
    let body = bytes.len() - 32;
    let hash = Sha256::digest(&bytes[..body]);
    bytes[body..].copy_from_slice(&hash);
    bytes
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a word"))
}

struct Kind {
    chip: &'static str,
    id: u8,
    bootloader: &'static str,
    app: &'static str,
    edits: &'static [(&'static str, &'static str)],
    /// Load addresses of the application's segments that this chip has elsewhere.
    moves: &'static [(u32, u32)],
    /// The bootloader begins at 0x1000 here, so that the table lies higher.
    high: bool,
}

/// Chips whose flash and memory have one place each.
const ONE_BUS: [(u32, u32); 3] = [
    (0x3C00_0020, 0x4200_0020),
    (0x3FC8_0000, 0x4080_0000),
    (0x4038_0000, 0x4081_0000),
];

const NO_HMAC: [(&str, &str); 2] = [
    ("source = \"efuse-hmac\"", "source = \"nvs\""),
    ("encrypt = \"hmac\"", "encrypt = \"keys\""),
];

impl Kind {
    fn folder(&self) -> ProductFolder {
        let folder = ProductFolder::esp32c3();
        fs::write(
            folder.path("bootloader.bin"),
            retarget(self.bootloader, self.id, &[]),
        )
        .expect("a bootloader");
        fs::write(
            folder.path("app.bin"),
            retarget(self.app, self.id, self.moves),
        )
        .expect("an application");
        for (from, to) in [
            ("v2-ec256.pem", "ec.pem"),
            ("v2-ec256-pub.pem", "ec.pub.pem"),
        ] {
            fs::copy(vectors().join("secureboot").join(from), folder.path(to)).expect("a key");
        }
        folder.edit(
            "family = \"esp32c3\"",
            &format!("family = \"{}\"", self.chip),
        );
        if self.high {
            folder.edit(
                "partition_table_offset = 0x8000",
                "partition_table_offset = 0x9000",
            );
            let table = fs::read_to_string(folder.path("partitions.csv")).expect("a table");
            let table = table.replace("0x9000,0x4000", "0xa000,0x3000");
            fs::write(folder.path("partitions.csv"), table).expect("a table");
        }
        for (from, to) in self.edits {
            folder.edit(from, to);
        }
        if self.edits.starts_with(&NO_HMAC) {
            let fields = fs::read_to_string(folder.path("fctry.csv")).expect("fields");
            fs::write(
                folder.path("fctry.csv"),
                format!("{fields}seed,data,hex2bin,{{seed}}\n"),
            )
            .expect("fields");
        }
        folder
    }
}

fn one_digest_by(key: &'static str) -> (&'static str, &'static str) {
    match key {
        "rsa" => ("\"sb0.pub.pem\", \"sb1.pub.pem\"", "\"sb0.pub.pem\""),
        _ => (
            "scheme = \"v2-rsa\"\nsign = [\"sb0.pem\"]\ndigests = [\"sb0.pub.pem\", \"sb1.pub.pem\"]",
            "scheme = \"v2-ecdsa256\"\nsign = [\"ec.pem\"]\ndigests = [\"ec.pub.pem\"]",
        ),
    }
}

fn decrypts_with_espsecure(line: &Line, chip: &str, board: &Path) {
    let description = Description::read(&line.batch()).expect("a description");
    let flash = fs::read(board.join("flash.bin")).expect("the flash");
    let folder = tempfile::tempdir().expect("a folder");
    let (cipher, plain) = (folder.path().join("cipher"), folder.path().join("plain"));
    for region in description.regions.iter().filter(|region| region.encrypted) {
        let RegionSource::Common { file, len, .. } = &region.source else {
            continue;
        };
        let want = fs::read(line.batch().join("common").join(file)).expect("a part");
        let start = region.address as usize;
        let end = start
            + usize::try_from(*len)
                .expect("a length")
                .next_multiple_of(32);
        fs::write(&cipher, &flash[start..end]).expect("a region");
        let mut espsecure = Command::new(line.tools.join("espsecure"));
        espsecure.arg("decrypt-flash-data");
        if chip != "esp32" {
            espsecure.arg("--aes-xts");
        }
        let output = espsecure
            .arg("--keyfile")
            .arg(board.join("flash-key"))
            .args(["--address", &format!("{start:#x}"), "--output"])
            .args([&plain, &cipher])
            .output()
            .expect("espsecure");
        assert!(
            output.status.success(),
            "{chip} {}: {}",
            region.name,
            String::from_utf8_lossy(&output.stdout)
        );
        let found = fs::read(&plain).expect("a region");
        assert!(
            found.starts_with(&want),
            "{chip}: {} decrypts to something else",
            region.name
        );
    }
}

/// As if one step of the plan had been left out: the release audit passes no such board.
fn each_missing_step_is_found(chip: &str, plan: &EfusePlan, board: &SimulatedBoard) {
    let whole = summary(board);
    for want in &plan.expect {
        let mut left_out = Vec::new();
        // A level against probes is no lock: the audit asks for none.
        if want.value.is_some_and(|value| value != 0) && want.field != "XTS_DPA_PSEUDO_LEVEL" {
            left_out.push(("raw_value", "0x0".into()));
        }
        if want.readable == Some(false) {
            left_out.push(("readable", true.into()));
        }
        // A switch that is on stays on; keys and the caches' group must not get another bit.
        let is_switch = want.value.is_some() && want.field != "RD_DIS";
        if want.writeable == Some(false) && !is_switch {
            left_out.push(("writeable", true.into()));
        }
        for (key, value) in left_out {
            let mut summary = whole.clone();
            summary[&want.field][key] = value;
            let state = EfuseState::parse("x", summary.to_string().as_bytes()).expect("a summary");
            let chip_of = Chip::from_name(chip).expect("a chip");
            let ok = audit(chip_of, &state, &Policy::release()).is_ok_and(|audit| audit.ok);
            assert!(
                !ok,
                "{chip}: {} with another {key} passes the audit",
                want.field
            );
        }
    }
}

fn made(kind: &Kind) {
    let Some(line) = Line::of(|| kind.folder()) else {
        return;
    };
    let mut board = line.board(1);
    let mut station = line.station();
    let done = station
        .run(&mut bench(&station, &mut board), Some(&serial(1)))
        .unwrap_or_else(|error| panic!("{}: {error}", kind.chip));
    assert!(!done.was_finished);
    let plan = fs::read(line.batch().join("common/plan.json")).expect("a plan");
    let plan: EfusePlan = serde_json::from_slice(&plan).expect("a plan");
    let state = state(&board);
    let wrong = plan.differences(&state, true);
    assert!(wrong.is_empty(), "{}: {wrong:#?}", kind.chip);
    let audited = audit(station.expected().chip, &state, &Policy::release()).expect("an audit");
    assert!(
        audited.ok,
        "{}: {:?}",
        kind.chip,
        audited
            .rules
            .iter()
            .filter(|rule| !rule.ok)
            .collect::<Vec<_>>()
    );
    each_missing_step_is_found(kind.chip, &plan, &board);
    decrypts_with_espsecure(&line, kind.chip, &line.product.path("board1"));
    no_work_left(&line.batch());
}

#[test]
fn esp32_is_made() {
    let edits = [
        NO_HMAC[0],
        NO_HMAC[1],
        one_digest_by("rsa"),
        ("min_revision = 3", "min_revision = 300"),
        ("[keys]", "[efuse]\ndownload = \"off\"\n\n[keys]"),
    ];
    made(&Kind {
        chip: "esp32",
        id: 0,
        bootloader: "images/esp32-bootloader.bin",
        app: "images/app-esp32.bin",
        edits: edits.to_vec().leak(),
        moves: &[],
        high: true,
    });
}

#[test]
fn esp32s2_is_made() {
    made(&Kind {
        chip: "esp32s2",
        id: 2,
        bootloader: "images/esp32-bootloader.bin",
        app: "images/app-esp32.bin",
        edits: &[],
        moves: &[(0x4008_0000, 0x4002_8000)],
        high: true,
    });
}

#[test]
fn esp32s3_is_made_with_either_key_length() {
    let mut kind = Kind {
        chip: "esp32s3",
        id: 9,
        bootloader: "images/esp32s3-bootloader.bin",
        app: "images/app.bin",
        edits: &[],
        moves: &[(0x3FC8_0000, 0x3FC8_8000)],
        high: false,
    };
    made(&kind);
    // R02: every region is encrypted, with both halves of the key burned.
    kind.edits = &[("mode = \"release\"", "mode = \"release\"\nbits = 256")];
    made(&kind);
}

#[test]
fn esp32c2_is_made() {
    let edits = [NO_HMAC[0], NO_HMAC[1], one_digest_by("ec")];
    made(&Kind {
        chip: "esp32c2",
        id: 12,
        bootloader: "images/esp32c3-bootloader.bin",
        app: "images/app.bin",
        edits: edits.to_vec().leak(),
        moves: &[(0x3FC8_0000, 0x3FCA_8000)],
        high: false,
    });
}

#[test]
fn esp32c3_is_made() {
    made(&Kind {
        chip: "esp32c3",
        id: 5,
        bootloader: "images/esp32c3-bootloader.bin",
        app: "images/app.bin",
        edits: &[],
        moves: &[],
        high: false,
    });
}

#[test]
fn esp32c6_is_made() {
    made(&Kind {
        chip: "esp32c6",
        id: 13,
        bootloader: "images/esp32c6-bootloader.bin",
        app: "images/app.bin",
        edits: &[],
        moves: &ONE_BUS,
        high: false,
    });
}

#[test]
fn esp32h2_is_made() {
    made(&Kind {
        chip: "esp32h2",
        id: 16,
        bootloader: "images/esp32h2-bootloader.bin",
        app: "images/app.bin",
        edits: &[],
        moves: &ONE_BUS,
        high: false,
    });
}
