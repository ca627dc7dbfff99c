//! Devices against a real server: enrolment, polls, releases, payload ranges.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use airseal_format::bundle::{Section, SectionKind};
use airseal_protocol::path::{self, Path};
use airseal_protocol::{EnrollRequest, PollResponse, ProblemCode, RecipientIds, Stage};
use airseal_server::api::types;
use common::http::exchange;
use common::vendor::{DeviceKey, Vendor, Wish};
use common::{Bench, Device, post, refused};

/// A whole minute in which certificates hold, unix seconds.
fn this_minute() -> u64 {
    airseal_server::Clock::system().now() / 60 * 60
}

fn bench() -> (tempfile::TempDir, Bench) {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    (data, bench)
}

/// A server with one release for the devices given.
fn with_release(bench: &Bench, wish: &Wish<'_>, to: &[&DeviceKey]) -> (Vendor, Vec<u8>, [u8; 32]) {
    let vendor = Vendor::new();
    let (bundle, digest) = vendor.seal(wish, to);
    bench
        .admin()
        .set_trust(&vendor.trust())
        .json::<types::ProductTrust>(200);
    let published: types::Published = bench.admin().publish(&bundle).json(201);
    assert_eq!(published.release.manifest_digest, digest);
    let digest = path::digest_from_hex(&digest).expect("digest");
    (vendor, bundle, digest)
}

#[test]
fn one_device_enrols_polls_and_fetches() {
    let (_data, bench) = bench();
    let device = bench.device("lamp-1");
    assert!(matches!(device.poll(), PollResponse::Nothing { .. }));
    let (_, bundle, digest) = with_release(&bench, &Wish::default(), &[&device.recipient]);
    let PollResponse::Install {
        manifest_digest,
        payload_len,
        next_poll_s,
    } = device.poll()
    else {
        panic!("an offer");
    };
    assert_eq!(manifest_digest, digest);
    assert!((300..=338).contains(&next_poll_s), "{next_poll_s}");

    let manifest = device.get(Path::manifest(&digest, 0).as_str(), &[]);
    assert_eq!(manifest.status, 200);
    let envelope = device.get(Path::envelope(&digest).as_str(), &[]);
    assert_eq!(envelope.status, 200);
    let payload = device.get(Path::payload(&digest).as_str(), &[]);
    assert_eq!(payload.status, 200);
    assert_eq!(payload.body.len() as u64, payload_len);

    let pack_header = section(SectionKind::EnvelopePack, envelope.body.len() as u64);
    let payload_header = section(SectionKind::Payload, payload_len);
    let mut rebuilt = b"ASB1\x01\x00\x03\x00".to_vec();
    for part in [
        &manifest.body[..],
        &pack_header,
        &envelope.body,
        &payload_header,
        &payload.body,
    ] {
        rebuilt.extend(part);
    }
    assert_eq!(
        rebuilt, bundle,
        "the answers are the sections of the bundle"
    );
    assert!(matches!(device.poll_from(1), PollResponse::Nothing { .. }));
}

#[test]
fn a_p256_device_key_is_served_too() {
    let (_data, bench) = bench();
    let ca = std::fs::read_to_string(&bench.server.ready().ca).expect("ca");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("key");
    let device = Device::with_key(bench.https(), &ca, "p256", &key, "p256");
    let claim = bench.admin().claim("p256");
    assert_eq!(device.enroll(&claim.claim_token).status, 200);
    assert!(matches!(device.poll(), PollResponse::Nothing { .. }));
}

#[test]
fn a_p384_device_key_is_refused_in_the_handshake() {
    let (_data, bench) = bench();
    let ca = std::fs::read_to_string(&bench.server.ready().ca).expect("ca");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("key");
    let device = Device::with_key(bench.https(), &ca, "p384", &key, "p384");
    let mut stream = device.connect();
    assert!(post(&mut stream, path::POLL, &device.poll_request()).is_err());
}

#[test]
fn an_unknown_key_is_told_to_enrol() {
    let (_data, bench) = bench();
    let stranger = bench.stranger("stranger");
    for path in [
        Path::manifest(&[1; 32], 0),
        Path::envelope(&[1; 32]),
        Path::payload(&[1; 32]),
    ] {
        refused(
            &stranger.get(path.as_str(), &[]),
            ProblemCode::UnknownDevice,
        );
    }
    let answer = stranger.post(path::POLL, &stranger.poll_request());
    refused(&answer, ProblemCode::UnknownDevice);
}

#[test]
fn a_client_without_a_certificate_is_refused_in_the_handshake() {
    use std::sync::Arc;
    let (_data, bench) = bench();
    let mut device = bench.stranger("bare");
    let mut roots = rustls::RootCertStore::empty();
    let ca = std::fs::read(&bench.server.ready().ca).expect("ca");
    let ca = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&ca);
    roots.add(ca.expect("ca")).expect("root");
    device.tls = Arc::new(
        rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth(),
    );
    let mut stream = device.connect();
    assert!(post(&mut stream, path::POLL, &device.poll_request()).is_err());
}

#[test]
fn identity_comes_from_the_key_never_from_path_name_or_header() {
    let (_data, bench) = bench();
    let victim = bench.device("victim");
    let (_, _, digest) = with_release(&bench, &Wish::default(), &[&victim.recipient]);
    let ca = std::fs::read_to_string(&bench.server.ready().ca).expect("ca");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
    let spoofer = Device::with_key(bench.https(), &ca, "spoofer", &key, "victim");
    let envelope = Path::envelope(&digest);
    let detail: types::DeviceDetail = bench.admin().get("/api/v1/devices/victim");
    for headers in [
        [("X-Device-Id", detail.device.id.as_str())],
        [("X-SSL-Client-Verify", "SUCCESS")],
        [("X-Client-Cert", "victim")],
    ] {
        let answer = spoofer.get(envelope.as_str(), &headers);
        refused(&answer, ProblemCode::UnknownDevice);
    }
    for tail in ["?device=victim", "/../victim", "/victim"] {
        let answer = spoofer.get(&format!("{}{tail}", envelope.as_str()), &[]);
        assert!(answer.status == 401 || answer.status == 404, "{tail}");
    }
}

#[test]
fn a_device_gets_only_the_envelope_addressed_to_it() {
    let (_data, bench) = bench();
    let (one, two) = (bench.device("one"), bench.device("two"));
    let (_, _, digest) = with_release(&bench, &Wish::default(), &[&one.recipient, &two.recipient]);
    let envelope = |device: &Device| device.get(Path::envelope(&digest).as_str(), &[]).body;
    let (first, second) = (envelope(&one), envelope(&two));
    assert_eq!((first.len(), second.len()), (136, 136));
    assert_eq!(first[8..24], one.recipient.recipient().id().0);
    assert_eq!(second[8..24], two.recipient.recipient().id().0);
}

#[test]
fn a_device_enrolled_later_is_told_no_envelope_yet() {
    let (_data, bench) = bench();
    let early = bench.device("early");
    let (_, _, digest) = with_release(&bench, &Wish::default(), &[&early.recipient]);
    let late = bench.device("late");
    match late.poll() {
        PollResponse::NoEnvelope {
            manifest_digest, ..
        } => assert_eq!(manifest_digest, digest),
        other => panic!("{other:?}"),
    }
    let answer = late.get(Path::envelope(&digest).as_str(), &[]);
    refused(&answer, ProblemCode::NoEnvelope);
    assert!(String::from_utf8_lossy(&answer.body).contains("no envelope yet"));
}

#[test]
fn another_class_gets_neither_offer_nor_bytes() {
    let (_data, bench) = bench();
    let device = bench.device("lamp");
    let (_, _, digest) = with_release(&bench, &Wish::default(), &[&device.recipient]);
    let other = bench.stranger("heater");
    let claim = bench.admin().claim("heater");
    let answer = other.post(
        path::ENROLL,
        &EnrollRequest {
            claim_token: &claim.claim_token,
            vendor_id: common::vendor::vendor_id(),
            class_id: [9; 16],
            hw_rev: 1,
            wrap_suite: 1,
            recipient_key: &other.recipient.public(),
            groups: RecipientIds::default(),
        },
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(matches!(other.poll(), PollResponse::Nothing { .. }));
    for path in [
        Path::manifest(&digest, 0),
        Path::envelope(&digest),
        Path::payload(&digest),
    ] {
        refused(&other.get(path.as_str(), &[]), ProblemCode::NoSuchRelease);
    }
}

#[test]
fn a_test_build_is_only_for_its_target() {
    let (_data, bench) = bench();
    let (target, other) = (bench.device("target"), bench.device("other"));
    let only = [target.recipient.recipient().id()];
    let wish = Wish {
        only: &only,
        ..Default::default()
    };
    let (_, _, digest) = with_release(&bench, &wish, &[&target.recipient, &other.recipient]);
    assert_eq!(target.offered(), digest);
    assert!(matches!(other.poll(), PollResponse::Nothing { .. }));
    let answer = other.get(Path::payload(&digest).as_str(), &[]);
    refused(&answer, ProblemCode::NoSuchRelease);
}

#[test]
fn a_claim_token_works_once_and_for_one_key() {
    let (_data, bench) = bench();
    let claim = bench.admin().claim("one");
    let first = bench.stranger("first");
    refused(&first.enroll("asc_wrong"), ProblemCode::ClaimRefused);
    assert_eq!(first.enroll(&claim.claim_token).status, 200);
    let again = first.enroll(&claim.claim_token);
    assert_eq!(again.status, 200, "a lost answer does no harm");
    let second = bench.stranger("second");
    refused(
        &second.enroll(&claim.claim_token),
        ProblemCode::ClaimRefused,
    );
    let other = bench.admin().claim("two");
    refused(&first.enroll(&other.claim_token), ProblemCode::KeyInUse);
}

#[test]
fn an_enrolled_key_enrols_no_second_recipient_key() {
    let (_data, bench) = bench();
    let mut device = bench.stranger("lamp");
    let claim = bench.admin().claim("lamp").claim_token;
    assert_eq!(device.enroll(&claim).status, 200);
    assert_eq!(device.enroll(&claim).status, 200, "a lost answer");
    device.recipient = DeviceKey::new();
    refused(&device.enroll(&claim), ProblemCode::KeyInUse);
}

#[test]
fn the_recipient_key_of_another_device_is_refused() {
    let (_data, bench) = bench();
    let victim = bench.device("victim");
    let mut thief = bench.stranger("thief");
    thief.recipient = victim.recipient;
    let claim = bench.admin().claim("thief");
    refused(
        &thief.enroll(&claim.claim_token),
        ProblemCode::RecipientInUse,
    );
}

#[test]
fn an_expired_claim_is_refused() {
    let data = tempfile::tempdir().expect("tempdir");
    let now = Arc::new(AtomicU64::new(this_minute()));
    let bench = Bench::start_at(data.path(), &now);
    let claim = bench.admin().claim("slow");
    now.fetch_add(7 * 86_400, Ordering::Relaxed);
    let device = bench.stranger("slow");
    refused(
        &device.enroll(&claim.claim_token),
        ProblemCode::ClaimRefused,
    );
}

#[test]
fn r41_a_failing_device_is_held_until_the_next_release() {
    let (_data, bench) = bench();
    let device = bench.device("failing");
    let (vendor, _, digest) = with_release(&bench, &Wish::default(), &[&device.recipient]);
    for attempt in 1..=3 {
        assert_eq!(device.offered(), digest, "attempt {attempt}");
        device.report(digest, Stage::Trial, 300, attempt);
        device.report(digest, Stage::Trial, 300, attempt);
        device.report(digest, Stage::Revert, 300, attempt);
    }
    assert!(matches!(device.poll(), PollResponse::Held { .. }));
    let detail: types::DeviceDetail = bench.admin().get("/api/v1/devices/failing");
    assert_eq!(detail.device.held, Some(hex::encode(digest)));
    assert_eq!(detail.reports.len(), 6);
    let wish = Wish {
        seq: 2,
        ..Default::default()
    };
    let (bundle, next) = vendor.seal(&wish, &[&device.recipient]);
    bench.admin().publish(&bundle).json::<types::Published>(201);
    assert_eq!(hex::encode(device.offered()), next);
    let detail: types::DeviceDetail = bench.admin().get("/api/v1/devices/failing");
    assert_eq!(detail.device.held, None);
}

#[test]
fn a_refusal_before_the_installation_holds_nothing_back() {
    let (_data, bench) = bench();
    let device = bench.device("puzzled");
    let (_, _, digest) = with_release(&bench, &Wish::default(), &[&device.recipient]);
    let stages = [Stage::Check, Stage::Unwrap, Stage::Download, Stage::Stage];
    for (attempt, stage) in (1..).zip(stages) {
        device.report(digest, stage, 151, attempt);
        assert_eq!(device.offered(), digest, "{stage:?}");
    }
    let detail: types::DeviceDetail = bench.admin().get("/api/v1/devices/puzzled");
    assert_eq!((detail.device.held, detail.reports.len()), (None, 4));
}

#[test]
fn a_confirmed_release_is_shown_as_installed() {
    let (_data, bench) = bench();
    let device = bench.device("lamp");
    let (_, _, digest) = with_release(&bench, &Wish::default(), &[&device.recipient]);
    let shown = || -> types::DeviceDetail { bench.admin().get("/api/v1/devices/lamp") };
    device.report(digest, Stage::Trial, 0, 1);
    assert_eq!(shown().device.installed, None);
    device.report(digest, Stage::Confirm, 0, 1);
    let lamp = shown().device;
    assert_eq!(lamp.installed, Some(hex::encode(digest)));
    assert_eq!((lamp.release_seq, lamp.state.as_str()), (1, "active"));
}

#[test]
fn a_device_is_never_last_seen_before_it_enrolled() {
    let data = tempfile::tempdir().expect("tempdir");
    let minute = this_minute();
    let now = Arc::new(AtomicU64::new(minute + 59));
    let bench = Bench::start_at(data.path(), &now);
    let device = bench.device("lamp");
    device.poll();
    let shown = || -> types::DeviceDetail { bench.admin().get("/api/v1/devices/lamp") };
    let lamp = shown().device;
    assert_eq!(lamp.enrolled_at, Some(minute + 59));
    assert_eq!(lamp.last_seen_at, lamp.enrolled_at);
    now.fetch_add(1, Ordering::Relaxed);
    device.poll();
    assert_eq!(shown().device.last_seen_at, Some(minute + 60));
    now.fetch_add(59, Ordering::Relaxed);
    device.poll();
    let known = shown().device.last_seen_at;
    assert_eq!(
        known,
        Some(minute + 60),
        "nothing is written twice a minute"
    );
}

#[test]
fn a_report_about_a_release_that_is_not_for_the_device_is_refused() {
    let (_data, bench) = bench();
    let device = bench.device("lamp");
    let report = airseal_protocol::Report {
        manifest_digest: [9; 32],
        stage: Stage::Confirm,
        code: 0,
        attempt: 1,
        detail: "",
    };
    let answer = device.post(path::REPORT, &report);
    refused(&answer, ProblemCode::NoSuchRelease);
}

#[test]
fn a_stepping_stone_is_offered_first() {
    let (_data, bench) = bench();
    let device = bench.device("old");
    let (vendor, _, first) = with_release(&bench, &Wish::default(), &[&device.recipient]);
    let wish = Wish {
        seq: 2,
        min_sequence: 1,
        ..Default::default()
    };
    let (bundle, second) = vendor.seal(&wish, &[&device.recipient]);
    bench.admin().publish(&bundle).json::<types::Published>(201);
    assert_eq!(device.offered(), first);
    match device.poll_from(1) {
        PollResponse::Install {
            manifest_digest, ..
        } => assert_eq!(hex::encode(manifest_digest), second),
        other => panic!("{other:?}"),
    }
}

#[test]
fn payload_ranges_follow_rfc_9110() {
    let (_data, bench) = bench();
    let device = bench.device("ranger");
    let (_, bundle, digest) = with_release(&bench, &Wish::default(), &[&device.recipient]);
    let url = Path::payload(&digest);
    let whole = device.get(url.as_str(), &[]);
    let len = whole.body.len();
    assert!(bundle.ends_with(&whole.body));
    let etag = whole.header("etag").expect("etag").to_owned();
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let last = len - 1;
    let parts = [
        ("bytes=0-0".to_owned(), 0..1),
        ("bytes=100-".to_owned(), 100..len),
        (format!("bytes=-{}", 7), len - 7..len),
        (format!("bytes={last}-{}", len + 50), last..len),
    ];
    let mut stream = device.connect();
    for (range, expected) in parts {
        let headers = [("Range", range.as_str()), ("If-Range", etag.as_str())];
        let answer = exchange(&mut stream, "GET", url.as_str(), &headers, b"").expect("answer");
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.body, whole.body[expected.clone()], "{range}");
        let content_range = format!("bytes {}-{}/{len}", expected.start, expected.end - 1);
        assert_eq!(
            answer.header("content-range"),
            Some(content_range.as_str()),
            "{range}"
        );
    }
    let other = [("Range", "bytes=1-2"), ("If-Range", "\"other\"")];
    assert_eq!(device.get(url.as_str(), &other).status, 200);
    let outside = format!("bytes={len}-");
    let answer = device.get(url.as_str(), &[("Range", &outside)]);
    refused(&answer, ProblemCode::RangeNotSatisfiable);
    let content_range = format!("bytes */{len}");
    assert_eq!(answer.header("content-range"), Some(content_range.as_str()));
    let answer = device.get(url.as_str(), &[("If-Match", "\"other\"")]);
    refused(&answer, ProblemCode::PreconditionFailed);
    let answer = device.get(url.as_str(), &[("If-None-Match", &etag)]);
    assert_eq!((answer.status, answer.body.len()), (304, 0));
    let head = exchange(&mut stream, "HEAD", url.as_str(), &[], b"").expect("answer");
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-length"),
        Some(len.to_string().as_str())
    );
    let after = exchange(&mut stream, "GET", url.as_str(), &[], b"").expect("still in step");
    assert_eq!(after.body, whole.body);
}

#[test]
fn a_path_that_names_no_release_is_answered_like_a_missing_one() {
    let (_data, bench) = bench();
    let device = bench.device("curious");
    let mut stream = device.connect();
    post(&mut stream, path::POLL, &device.poll_request()).expect("let in");
    let upper = "AB".repeat(32);
    for kind in [path::MANIFEST, path::ENVELOPE, path::PAYLOAD] {
        for name in [
            "%FF",
            "..%2F..%2Fca.key",
            "%00",
            "ab",
            &upper,
            &"ab".repeat(33),
        ] {
            let url = format!("{kind}/{name}");
            let answer = exchange(&mut stream, "GET", &url, &[], b"").expect("answer");
            refused(&answer, ProblemCode::NoSuchRelease);
        }
        let url = format!("{kind}/../../../ca.key");
        let answer = exchange(&mut stream, "GET", &url, &[], b"").expect("answer");
        refused(&answer, ProblemCode::NoSuchPath);
    }
    let digest = "ab".repeat(32);
    for query in ["ks=x", "ks=-1", "ks=4294967296", "ks=1&ks=2"] {
        let url = format!("{}/{digest}?{query}", path::MANIFEST);
        let answer = exchange(&mut stream, "GET", &url, &[], b"").expect("answer");
        refused(&answer, ProblemCode::Malformed);
    }
}

#[test]
fn wrong_requests_are_named() {
    let (_data, bench) = bench();
    let device = bench.device("wrong");
    let send = |method: &str, path: &str, kind: &str, body: &[u8]| {
        let headers = [("Content-Type", kind)];
        exchange(&mut device.connect(), method, path, &headers, body).expect("answer")
    };
    let cbor = airseal_protocol::CONTENT_TYPE;
    refused(&send("GET", "/nothing", cbor, b""), ProblemCode::NoSuchPath);
    refused(
        &send("GET", path::POLL, cbor, b""),
        ProblemCode::WrongMethod,
    );
    refused(
        &send("POST", path::POLL, "text/plain", b"x"),
        ProblemCode::WrongMediaType,
    );
    refused(
        &send("POST", path::POLL, cbor, b"\xFF"),
        ProblemCode::Malformed,
    );
    refused(
        &send("GET", "/d/v1/payload/zz", cbor, b""),
        ProblemCode::NoSuchRelease,
    );
    refused(
        &send("POST", path::POLL, cbor, &[0; 600]),
        ProblemCode::TooLarge,
    );
}

fn section(kind: SectionKind, len: u64) -> [u8; 16] {
    Section { kind, len }.encode()
}
