//! Devices come in as the factory made them: all or none, each key once, and nobody is let in again by a list.

mod common;

use std::time::Instant;

use airseal_protocol::{PollResponse, ProblemCode};
use airseal_server::api::types::{
    DeviceDetail, DevicesImported, ImportDevice, ImportDevices, ProblemBody, ServerInfo, TrustKey,
};
use common::vendor::{Vendor, Wish, class_id, vendor_id};
use common::{Bench, Device, refused};

/// A device as the factory made it, with the key it connects with.
struct Made {
    key: rcgen::KeyPair,
    device: Device,
}

impl Made {
    fn new(bench: &Bench, serial: &str) -> Made {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let ca = std::fs::read_to_string(&bench.server.ready().ca).expect("ca.pem");
        let device = Device::with_key(bench.https(), &ca, serial, &key, serial);
        Made { key, device }
    }

    fn line(&self, line: u64) -> ImportDevice {
        let public = self.device.recipient.public();
        record(line, &self.device.name, self.key.public_key_raw(), &public)
    }
}

fn record(line: u64, serial: &str, request: &[u8], unseal: &[u8]) -> ImportDevice {
    ImportDevice {
        line,
        serial: serial.to_owned(),
        vendor_id: hex::encode(vendor_id()),
        class_id: hex::encode(class_id()),
        hw_rev: 3,
        request_key: TrustKey {
            algorithm: "ed25519".to_owned(),
            public_key: hex::encode(request),
        },
        wrap_suite: 1,
        recipient_key: hex::encode(unseal),
        release_seq: 1,
        security_version: 2,
        record: Some(serde_json::json!({"mac": "02:00:00:00:00:01", "batch": "b"})),
    }
}

fn import(
    bench: &Bench,
    devices: Vec<ImportDevice>,
    replace: bool,
    dry_run: bool,
) -> common::http::Answer {
    let request = ImportDevices {
        devices,
        replace,
        dry_run,
    };
    bench
        .admin()
        .call("POST", "/api/v1/device-imports", &request)
}

fn bench() -> (tempfile::TempDir, Bench) {
    let data = tempfile::tempdir().expect("a folder");
    let bench = Bench::start(data.path());
    (data, bench)
}

fn devices(bench: &Bench) -> u64 {
    let info: ServerInfo = bench.admin().get("/api/v1/server");
    info.devices.values().sum()
}

#[test]
fn an_imported_device_needs_no_claim_and_starts_at_its_factory_image() {
    let (_data, bench) = bench();
    let made = Made::new(&bench, "AL-1");
    let done: DevicesImported = import(&bench, vec![made.line(1)], false, false).json(200);
    assert_eq!((done.added, done.unchanged), (1, 0));
    let shown: DeviceDetail = bench.admin().get("/api/v1/devices/AL-1");
    assert_eq!(shown.device.state, "active");
    assert_eq!(
        (
            shown.device.hw_rev,
            shown.device.release_seq,
            shown.device.security_version
        ),
        (3, 1, 2)
    );
    assert_eq!(
        shown.device.recipient_key,
        Some(hex::encode(made.device.recipient.public()))
    );
    assert_eq!(shown.record.expect("a record")["mac"], "02:00:00:00:00:01");

    let vendor = Vendor::new();
    let wish = Wish {
        seq: 2,
        ..Wish::default()
    };
    let (bundle, digest) = vendor.seal(&wish, &[&made.device.recipient]);
    assert_eq!(bench.admin().set_trust(&vendor.trust()).status, 200);
    assert_eq!(bench.admin().publish(&bundle).status, 201);
    match made.device.poll_from(1) {
        PollResponse::Install {
            manifest_digest, ..
        } => assert_eq!(hex::encode(manifest_digest), digest),
        other => panic!("{other:?}"),
    }
    let again: DevicesImported = import(&bench, vec![made.line(1)], false, false).json(200);
    assert_eq!((again.added, again.unchanged), (0, 1));
}

#[test]
fn an_import_is_all_or_nothing_and_names_every_bad_line() {
    let (_data, bench) = bench();
    let made: Vec<Made> = (1..=3)
        .map(|n| Made::new(&bench, &format!("AL-{n}")))
        .collect();
    let mut lines: Vec<ImportDevice> = (1..).zip(&made).map(|(n, made)| made.line(n)).collect();
    lines[1].recipient_key.truncate(10);
    lines[2].serial = "with blank".to_owned();
    let problem: ProblemBody = import(&bench, lines.clone(), false, false).json(422);
    assert!(
        problem.detail.contains("line 2: AL-2: recipient_key"),
        "{}",
        problem.detail
    );
    assert!(
        problem.detail.contains("line 3: serial"),
        "{}",
        problem.detail
    );
    assert_eq!(devices(&bench), 0);

    for what in ["serial", "request key", "unseal key"] {
        let mut lines: Vec<ImportDevice> = (1..).zip(&made).map(|(n, made)| made.line(n)).collect();
        let first = lines[0].clone();
        match what {
            "serial" => lines[2].serial = first.serial,
            "request key" => lines[2].request_key = first.request_key,
            _ => lines[2].recipient_key = first.recipient_key,
        }
        let problem: ProblemBody = import(&bench, lines, false, false).json(422);
        let words = format!("its {what} stands in line 1 too");
        assert!(
            problem.detail.contains("line 3") && problem.detail.contains(&words),
            "{}",
            problem.detail
        );
    }
    assert_eq!(devices(&bench), 0);
}

#[test]
fn a_record_that_does_not_fit_its_unseal_key_is_refused() {
    let (_data, bench) = bench();
    let made = Made::new(&bench, "AL-1");
    let with = |edit: &dyn Fn(&mut ImportDevice)| {
        let mut line = made.line(1);
        edit(&mut line);
        let problem: ProblemBody = import(&bench, vec![line], false, false).json(422);
        problem.detail
    };
    let other = with(&|line| line.record = Some(serde_json::json!({"device_id": "00".repeat(16)})));
    assert!(other.contains("device_id"), "{other}");
    let mut one = [0; 32];
    one[0] = 1;
    let mut top = [0; 32];
    top[31] = 0x80;
    for low in [[0; 32], one, top] {
        let detail = with(&|line| line.recipient_key = hex::encode(low));
        assert!(detail.contains("low order"), "{detail}");
    }
    assert_eq!(devices(&bench), 0);
}

#[test]
fn a_revoked_device_with_a_new_key_is_counted_apart() {
    let (_data, bench) = bench();
    let (old, new) = (Made::new(&bench, "AL-1"), Made::new(&bench, "AL-1"));
    import(&bench, vec![old.line(1)], false, false).json::<DevicesImported>(200);
    bench.admin().revoke("AL-1");
    let done: DevicesImported = import(&bench, vec![new.line(1)], true, false).json(200);
    assert_eq!((done.replaced, done.revived), (1, 1));
}

#[test]
fn a_dry_run_says_what_would_be_and_does_nothing() {
    let (_data, bench) = bench();
    let made = Made::new(&bench, "AL-1");
    let done: DevicesImported = import(&bench, vec![made.line(1)], false, true).json(200);
    assert!(done.dry_run && done.added == 1);
    assert_eq!(devices(&bench), 0);
    assert_ne!(made.device.get("/d/v1/time", &[]).status, 200);
}

#[test]
fn another_key_for_a_serial_needs_replace_and_revokes_the_old_one() {
    let (_data, bench) = bench();
    let (old, new) = (Made::new(&bench, "AL-1"), Made::new(&bench, "AL-1"));
    import(&bench, vec![old.line(1)], false, false).json::<DevicesImported>(200);
    old.device.poll();
    let problem: ProblemBody = import(&bench, vec![new.line(4)], false, false).json(422);
    assert!(
        problem.detail.contains("line 4") && problem.detail.contains("--replace"),
        "{}",
        problem.detail
    );
    old.device.poll();
    let done: DevicesImported = import(&bench, vec![new.line(4)], true, false).json(200);
    assert_eq!(done.replaced, 1);
    new.device.poll();
    let request = old.device.poll_request();
    refused(
        &old.device.post(airseal_protocol::path::POLL, &request),
        ProblemCode::Revoked,
    );
    let problem: ProblemBody = import(&bench, vec![old.line(5)], true, false).json(422);
    assert!(
        problem.detail.contains("its request key is that of dev-"),
        "{}",
        problem.detail
    );
}

#[test]
fn a_serial_of_another_product_is_named_and_never_replaced() {
    let (_data, bench) = bench();
    let (lock, door) = (Made::new(&bench, "AL-1"), Made::new(&bench, "AL-1"));
    import(&bench, vec![lock.line(1)], false, false).json::<DevicesImported>(200);
    let other = ImportDevice {
        class_id: hex::encode([7_u8; 16]),
        ..door.line(3)
    };
    for replace in [false, true] {
        let problem: ProblemBody = import(&bench, vec![other.clone()], replace, false).json(422);
        assert!(
            problem.detail.contains("line 3")
                && problem.detail.contains("another vendor or class")
                && !problem.detail.contains("--replace"),
            "{}",
            problem.detail
        );
    }
    lock.device.poll();
}

#[test]
fn an_import_does_not_revive_a_revoked_device() {
    let (_data, bench) = bench();
    let made = Made::new(&bench, "AL-1");
    import(&bench, vec![made.line(1)], false, false).json::<DevicesImported>(200);
    bench.admin().revoke("AL-1");
    for replace in [false, true] {
        let problem: ProblemBody = import(&bench, vec![made.line(1)], replace, false).json(422);
        assert!(problem.detail.contains("is revoked"), "{}", problem.detail);
    }
    let request = made.device.poll_request();
    refused(
        &made.device.post(airseal_protocol::path::POLL, &request),
        ProblemCode::Revoked,
    );
}

#[test]
fn an_import_ends_the_token_of_an_announced_device() {
    let (_data, bench) = bench();
    let claim = bench.admin().claim("AL-1");
    let made = Made::new(&bench, "AL-1");
    let done: DevicesImported = import(&bench, vec![made.line(1)], false, false).json(200);
    assert_eq!((done.added, done.activated), (0, 1));
    made.device.poll();
    let stranger = bench.stranger("thief");
    refused(
        &stranger.enroll(&claim.claim_token),
        ProblemCode::ClaimRefused,
    );
}

#[test]
fn ten_thousand_devices_are_imported_in_seconds() {
    let (_data, bench) = bench();
    let key = |kind: u8, n: u64| {
        let mut key = [kind; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    };
    let lines = (1..=10_000).map(|n| record(n, &format!("AL-{n:05}"), &key(1, n), &key(2, n)));
    let lines: Vec<ImportDevice> = lines.collect();
    let started = Instant::now();
    let done: DevicesImported = import(&bench, lines, false, false).json(200);
    let took = started.elapsed();
    println!("10,000 devices in {took:?}");
    assert_eq!(done.added, 10_000);
    assert!(
        took.as_secs() < 60,
        "{took:?} even without optimisation and beside other work"
    );
    assert_eq!(devices(&bench), 10_000);
}
