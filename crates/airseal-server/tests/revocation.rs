//! A decision of an administrator reaches devices at once, whatever they are in the middle of.

mod common;

use std::io::Read;
use std::time::Duration;

use airseal_protocol::path::{self, Path};
use airseal_protocol::{PollResponse, ProblemCode};
use airseal_server::api::types;
use common::http::{read_head, send};
use common::vendor::{Vendor, Wish};
use common::{Bench, Device, Tls, post, refused};

/// Large enough that socket buffers can't swallow it.
const LARGE: usize = 16 << 20;

struct Scene {
    _data: tempfile::TempDir,
    vendor: Vendor,
    bench: Bench,
    device: Device,
    digest: [u8; 32],
}

fn scene(size: usize) -> Scene {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let device = bench.device("lamp");
    let vendor = Vendor::new();
    let wish = Wish {
        size,
        ..Default::default()
    };
    let (bundle, digest) = vendor.seal(&wish, &[&device.recipient]);
    bench
        .admin()
        .set_trust(&vendor.trust())
        .json::<types::ProductTrust>(200);
    bench.admin().publish(&bundle).json::<types::Published>(201);
    Scene {
        digest: path::digest_from_hex(&digest).expect("digest"),
        _data: data,
        vendor,
        bench,
        device,
    }
}

/// Starts a download and takes its first bytes only.
fn begin_download(scene: &Scene) -> (Tls, u64) {
    let mut stream = scene.device.connect();
    let url = Path::payload(&scene.digest);
    send(&mut stream, "GET", url.as_str(), &[], b"").expect("sent");
    let head = read_head(&mut stream).expect("head");
    assert_eq!(head.status, 200);
    let len = head.header("content-length").expect("length").parse();
    let mut first = vec![0; 4096];
    stream.read_exact(&mut first).expect("first bytes");
    (stream, len.expect("number"))
}

/// Takes what is left of a download and says how many bytes came.
fn drain(mut stream: Tls, len: u64) -> u64 {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 4096;
    while total < len {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => total += n as u64,
        }
    }
    total
}

#[test]
fn a_revoked_device_is_refused_manifest_envelope_payload_and_poll() {
    let scene = scene(20_000);
    assert_eq!(scene.device.offered(), scene.digest);
    let revocation = scene.bench.admin().revoke("lamp");
    assert_eq!(revocation.device.state, "revoked");
    assert_eq!(revocation.readable_releases.len(), 1);
    for path in [
        Path::manifest(&scene.digest, 0),
        Path::envelope(&scene.digest),
        Path::payload(&scene.digest),
    ] {
        let answer = scene.device.get(path.as_str(), &[]);
        refused(&answer, ProblemCode::Revoked);
    }
    let answer = scene.device.post(path::POLL, &scene.device.poll_request());
    refused(&answer, ProblemCode::Revoked);
}

#[test]
fn revoking_closes_an_open_connection() {
    let scene = scene(20_000);
    let mut stream = scene.device.connect();
    let request = scene.device.poll_request();
    let answer = post(&mut stream, path::POLL, &request).expect("answer");
    assert_eq!(answer.status, 200);
    scene.bench.admin().revoke("lamp");
    stream
        .sock
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("timeout");
    let mut rest = Vec::new();
    let closed = stream.sock.read_to_end(&mut rest);
    let waited = closed.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!waited, "still open");
}

#[test]
fn revoking_cuts_an_open_download() {
    let scene = scene(LARGE);
    let (stream, len) = begin_download(&scene);
    scene.bench.admin().revoke("lamp");
    let received = drain(stream, len);
    assert!(received < len / 2, "{received} of {len} bytes came");
}

#[test]
fn yanking_cuts_an_open_download_and_is_named_afterwards() {
    let scene = scene(LARGE);
    let (stream, len) = begin_download(&scene);
    scene.bench.admin().yank(&hex::encode(scene.digest));
    let received = drain(stream, len);
    assert!(received < len / 2, "{received} of {len} bytes came");
    let answer = scene.device.get(Path::payload(&scene.digest).as_str(), &[]);
    refused(&answer, ProblemCode::Yanked);
    assert!(matches!(scene.device.poll(), PollResponse::Nothing { .. }));
}

#[test]
fn revoking_one_device_leaves_another_alone() {
    let scene = scene(LARGE);
    let other = scene.bench.device("other");
    let (stream, len) = begin_download(&scene);
    scene.bench.admin().revoke("other");
    assert_eq!(drain(stream, len), len);
    let answer = other.post(path::POLL, &other.poll_request());
    refused(&answer, ProblemCode::Revoked);
}

#[test]
fn a_reinstated_device_is_served_again() {
    let scene = scene(20_000);
    scene.bench.admin().revoke("lamp");
    let answer = scene.device.post(path::POLL, &scene.device.poll_request());
    refused(&answer, ProblemCode::Revoked);
    let admin = scene.bench.admin();
    let device: types::DeviceInfo = admin
        .call("POST", "/api/v1/devices/lamp/reinstate", &())
        .json(200);
    assert_eq!(device.state, "active");
    assert_eq!(scene.device.offered(), scene.digest);
}

#[test]
fn a_dry_run_shows_the_consequences_and_changes_nothing() {
    let scene = scene(20_000);
    let request = types::RevokeDevice {
        reason: "rehearsal".into(),
        dry_run: true,
    };
    let admin = scene.bench.admin();
    let revocation: types::Revocation = admin
        .call("POST", "/api/v1/devices/lamp/revoke", &request)
        .json(200);
    assert!(revocation.dry_run);
    assert_eq!(revocation.device.state, "active");
    assert_eq!(revocation.readable_releases.len(), 1);
    assert_eq!(scene.device.offered(), scene.digest);
}

#[test]
fn a_revoked_key_cannot_enrol_again() {
    let scene = scene(20_000);
    scene.bench.admin().revoke("lamp");
    let claim = scene.bench.admin().claim("lamp-again");
    let answer = scene.device.enroll(&claim.claim_token);
    refused(&answer, ProblemCode::KeyInUse);
}

#[test]
fn a_release_sealed_to_a_revoked_device_is_warned_about() {
    let scene = scene(20_000);
    scene.bench.admin().revoke("lamp");
    let wish = Wish {
        seq: 2,
        ..Default::default()
    };
    let (bundle, _) = scene.vendor.seal(&wish, &[&scene.device.recipient]);
    let published: types::Published = scene.bench.admin().publish(&bundle).json(201);
    assert_eq!(published.warnings.len(), 1, "{:?}", published.warnings);
    assert!(published.warnings[0].contains("revoked"));
}
