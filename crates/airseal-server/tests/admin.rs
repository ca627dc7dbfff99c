//! Administrators against a real server: tokens, uploads, listings.

mod common;

use airseal_format::ContentSuite;
use airseal_format::bundle::{SECTION_HEADER_LEN, Walk};
use airseal_server::Config;
use airseal_server::api::types;
use common::vendor::{DeviceKey, Vendor, Wish};
use common::{Admin, Bench};

fn bench() -> (tempfile::TempDir, Bench, Vendor) {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let vendor = Vendor::new();
    bench
        .admin()
        .set_trust(&vendor.trust())
        .json::<types::ProductTrust>(200);
    (data, bench, vendor)
}

fn releases(admin: &Admin) -> Vec<types::ReleaseInfo> {
    admin.get::<types::ReleaseList>("/api/v1/releases").releases
}

#[test]
fn a_wrong_token_is_refused_everywhere() {
    let (_data, bench, _) = bench();
    for token in ["", "wrong", &bench.token[1..], &format!("{}x", bench.token)] {
        let admin = Admin {
            token: token.to_owned(),
            ..bench.admin()
        };
        for (method, path) in [
            ("GET", "/api/v1/server"),
            ("GET", "/api/v1/devices"),
            ("POST", "/api/v1/devices"),
            ("POST", "/api/v1/releases"),
            ("GET", "/nothing"),
        ] {
            let answer = admin.send(method, path, "application/json", b"");
            assert_eq!(answer.status, 401, "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            let problem: types::ProblemBody = answer.json(401);
            assert_eq!(problem.status, 401);
        }
    }
}

#[test]
fn devices_have_no_way_to_the_administrators_interface() {
    let (_data, bench, _) = bench();
    let device = bench.device("curious");
    let authorization = format!("Bearer {}", bench.token);
    let answer = device.get(
        "/api/v1/devices",
        &[("Authorization", authorization.as_str())],
    );
    assert_eq!(answer.status, 404);
}

#[test]
fn the_server_is_blind_and_says_so() {
    let (_data, bench, _) = bench();
    let info: types::ServerInfo = bench.admin().get("/api/v1/server");
    assert_eq!(info.custody, "blind");
    assert_eq!((info.content_keys_held, info.signing_keys_held), (0, 0));
    assert_eq!(info.https, bench.https().to_string());
    let trust: types::TrustInfo = bench.admin().get("/api/v1/trust");
    assert_eq!(trust.ca_sha256, info.ca_sha256);
    let file = std::fs::read_to_string(&bench.server.ready().ca).expect("ca.pem");
    assert_eq!(trust.ca_pem, file);
    assert!(trust.c_header.contains("AIRSEAL_CA_PEM"));
}

#[test]
fn publishing_twice_is_one_release() {
    let (_data, bench, vendor) = bench();
    let key = DeviceKey::new();
    let (bundle, digest) = vendor.seal(&Wish::default(), &[&key]);
    let first: types::Published = bench.admin().publish(&bundle).json(201);
    assert!(first.is_new && first.new_envelopes == 1);
    let again: types::Published = bench.admin().publish(&bundle).json(200);
    assert!(!again.is_new && again.new_envelopes == 0);
    assert_eq!(releases(&bench.admin()).len(), 1);
    let path = format!("/api/v1/releases/{digest}");
    let detail: types::ReleaseDetail = bench.admin().get(&path);
    assert_eq!(detail.content_keys_held, 0);
    assert_eq!(detail.recipients.len(), 1);
    assert_eq!(detail.recipients[0].devices, Vec::<String>::new());
}

#[test]
fn who_can_decrypt_is_shown_by_device() {
    let (_data, bench, vendor) = bench();
    let device = bench.device("reader");
    let (bundle, digest) = vendor.seal(&Wish::default(), &[&device.recipient]);
    bench.admin().publish(&bundle).json::<types::Published>(201);
    let path = format!("/api/v1/releases/{digest}");
    let release: types::ReleaseDetail = bench.admin().get(&path);
    let detail: types::DeviceDetail = bench.admin().get("/api/v1/devices/reader");
    assert_eq!(release.recipients[0].devices, [detail.device.id]);
    assert_eq!(detail.readable_releases[0].manifest_digest, digest);
}

#[test]
fn the_same_sequence_with_another_digest_is_refused() {
    let (data, bench, vendor) = bench();
    let key = DeviceKey::new();
    let (first, _) = vendor.seal(&Wish::default(), &[&key]);
    let (second, _) = vendor.seal(&Wish::default(), &[&key]);
    bench.admin().publish(&first).json::<types::Published>(201);
    let problem: types::ProblemBody = bench.admin().publish(&second).json(409);
    assert!(problem.detail.contains("release_seq 1"), "{problem:?}");
    assert_eq!(releases(&bench.admin()).len(), 1);
    let blobs = std::fs::read_dir(data.path().join("blobs")).expect("folder");
    assert_eq!(blobs.count(), 1, "the payload of the refused one is gone");
}

#[test]
fn of_two_releases_with_one_sequence_at_a_time_one_is_stored() {
    let (data, bench, vendor) = bench();
    let key = DeviceKey::new();
    let bundles: Vec<_> = (0..6)
        .map(|_| vendor.seal(&Wish::default(), &[&key]).0)
        .collect();
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let uploads: Vec<_> = bundles
            .iter()
            .map(|bundle| scope.spawn(|| bench.admin().publish(bundle).status))
            .collect();
        let statuses = uploads.into_iter().map(|upload| upload.join());
        statuses.map(|status| status.expect("answered")).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
    let blobs = std::fs::read_dir(data.path().join("blobs")).expect("folder");
    assert_eq!(blobs.count(), 1);
}

#[test]
fn a_product_without_trust_is_refused() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let (bundle, _) = Vendor::new().seal(&Wish::default(), &[&DeviceKey::new()]);
    let problem: types::ProblemBody = bench.admin().publish(&bundle).json(409);
    assert!(problem.detail.contains("--trust"), "{problem:?}");
}

#[test]
fn trust_is_not_replaced_once_there_are_releases() {
    let (_data, bench, vendor) = bench();
    let corrected = Vendor::new();
    let answer = bench.admin().set_trust(&corrected.trust());
    assert_eq!(answer.status, 200, "before the first release it may be");
    bench
        .admin()
        .set_trust(&vendor.trust())
        .json::<types::ProductTrust>(200);
    let (bundle, _) = vendor.seal(&Wish::default(), &[&DeviceKey::new()]);
    bench.admin().publish(&bundle).json::<types::Published>(201);
    assert_eq!(bench.admin().set_trust(&corrected.trust()).status, 409);
    assert_eq!(bench.admin().set_trust(&vendor.trust()).status, 200);
}

#[test]
fn a_bundle_signed_by_a_stranger_is_refused() {
    let (data, bench, _) = bench();
    let (bundle, _) = Vendor::new().seal(&Wish::default(), &[&DeviceKey::new()]);
    let problem: types::ProblemBody = bench.admin().publish(&bundle).json(422);
    assert_eq!(problem.kind, "about:blank#too-few-signatures");
    nothing_is_kept(&bench, data.path());
}

#[test]
fn a_changed_signature_is_refused() {
    let (data, bench, vendor) = bench();
    let (mut bundle, _) = vendor.seal(&Wish::default(), &[&DeviceKey::new()]);
    let (manifest, _) = sections(&bundle);
    bundle[manifest.end - 1] ^= 1;
    let problem: types::ProblemBody = bench.admin().publish(&bundle).json(422);
    assert_eq!(problem.kind, "about:blank#bad-signature");
    nothing_is_kept(&bench, data.path());
}

#[test]
fn a_flipped_payload_byte_is_refused_wherever_it_is() {
    let (data, bench, vendor) = bench();
    let (bundle, _) = vendor.seal(&Wish::default(), &[&DeviceKey::new()]);
    let (_, payload) = sections(&bundle);
    let places = [
        payload.start,
        payload.start + 40,
        payload.start + 3000,
        payload.end - 1,
    ];
    for at in places {
        let mut damaged = bundle.clone();
        damaged[at] ^= 0x10;
        let problem: types::ProblemBody = bench.admin().publish(&damaged).json(422);
        assert!(problem.kind.ends_with("-mismatch"), "{at}: {problem:?}");
        assert!(problem.code.is_some());
    }
    nothing_is_kept(&bench, data.path());
}

#[test]
fn a_truncated_or_extended_bundle_is_refused() {
    let (data, bench, vendor) = bench();
    let (bundle, _) = vendor.seal(&Wish::default(), &[&DeviceKey::new()]);
    for len in [0, 7, 8, 23, 300, bundle.len() / 2, bundle.len() - 1] {
        let problem: types::ProblemBody = bench.admin().publish(&bundle[..len]).json(422);
        assert_eq!(problem.kind, "about:blank#truncated", "{len}");
    }
    let longer = [&bundle[..], b"x"].concat();
    let problem: types::ProblemBody = bench.admin().publish(&longer).json(422);
    assert_eq!(problem.kind, "about:blank#trailing-bytes");
    nothing_is_kept(&bench, data.path());
}

#[test]
fn an_upload_over_the_limit_is_refused() {
    let data = tempfile::tempdir().expect("tempdir");
    let mut config = Config::local(data.path());
    config.limits.upload_max = 10_000;
    let bench = Bench::start_with(config);
    let (bundle, _) = Vendor::new().seal(&Wish::default(), &[&DeviceKey::new()]);
    assert_eq!(bench.admin().publish(&bundle).status, 413);
    nothing_is_kept(&bench, data.path());
}

#[test]
fn envelopes_are_added_to_a_stored_release() {
    let (_data, bench, vendor) = bench();
    let (one, two) = (bench.device("one"), bench.device("two"));
    let (bundle, digest) = vendor.seal(&Wish::default(), &[&one.recipient]);
    bench.admin().publish(&bundle).json::<types::Published>(201);
    let (other_bundle, _) = vendor.seal(
        &Wish {
            seq: 2,
            ..Default::default()
        },
        &[&two.recipient],
    );
    let path = format!("/api/v1/releases/{digest}/envelopes");
    let send = |pack: &[u8]| {
        bench
            .admin()
            .send("POST", &path, "application/octet-stream", pack)
    };
    let foreign = pack_of(&other_bundle);
    let problem: types::ProblemBody = send(&foreign).json(422);
    assert_eq!(problem.kind, "about:blank#other-release");
    let mut ours = foreign;
    ours[24..56].copy_from_slice(&hex::decode(&digest).expect("hex"));
    let added: types::EnvelopesAdded = send(&ours).json(200);
    assert_eq!(added.new_envelopes, 1);
    let twice = [&ours[..], &ours].concat();
    let problem: types::ProblemBody = send(&twice).json(422);
    assert_eq!(problem.kind, "about:blank#not-ascending");
    assert_eq!(hex::encode(two.offered()), digest);
}

#[test]
fn a_plain_release_is_offered_without_envelopes() {
    let (_data, bench, vendor) = bench();
    let device = bench.device("plain");
    let wish = Wish {
        suite: ContentSuite::None,
        ..Default::default()
    };
    let (bundle, digest) = vendor.seal(&wish, &[]);
    bench.admin().publish(&bundle).json::<types::Published>(201);
    assert_eq!(hex::encode(device.offered()), digest);
}

#[test]
fn devices_are_listed_page_by_page() {
    let (_data, bench, _) = bench();
    for name in ["a", "b", "c"] {
        bench.admin().claim(name);
    }
    let first: types::DeviceList = bench.admin().get("/api/v1/devices?limit=2");
    assert_eq!(first.devices.len(), 2);
    let next = first.next.expect("another page");
    let path = format!("/api/v1/devices?limit=2&after={next}");
    let second: types::DeviceList = bench.admin().get(&path);
    assert_eq!((second.devices.len(), second.next), (1, None));
    let claimed: types::DeviceList = bench.admin().get("/api/v1/devices?state=claimed");
    assert_eq!(claimed.devices.len(), 3);
    let active: types::DeviceList = bench.admin().get("/api/v1/devices?state=active");
    assert_eq!(active.devices.len(), 0);
}

#[test]
fn a_device_name_is_taken_once_the_device_has_enrolled() {
    let (_data, bench, _) = bench();
    let first = bench.admin().claim("lamp");
    let request = types::CreateDevice {
        name: Some("lamp".into()),
        ..Default::default()
    };
    let again = bench.admin().call("POST", "/api/v1/devices", &request);
    let again: types::Claim = again.json(200);
    assert_eq!(again.device.id, first.device.id);
    let device = bench.stranger("lamp");
    let answer = device.enroll(&first.claim_token);
    common::refused(&answer, airseal_protocol::ProblemCode::ClaimRefused);
    assert_eq!(device.enroll(&again.claim_token).status, 200);
    let answer = bench.admin().call("POST", "/api/v1/devices", &request);
    assert_eq!(answer.status, 409);
}

#[test]
fn a_wrong_method_is_named() {
    let (_data, bench, _) = bench();
    let answer = bench
        .admin()
        .send("DELETE", "/api/v1/devices", "application/json", b"");
    let problem: types::ProblemBody = answer.json(405);
    assert!(problem.title.contains("method"), "{problem:?}");
}

#[test]
fn trust_given_with_a_release_is_stored_with_it_or_not_at_all() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let (vendor, stranger) = (Vendor::new(), Vendor::new());
    let (bundle, _) = vendor.seal(&Wish::default(), &[&DeviceKey::new()]);
    let path = "/api/v1/products/".to_owned()
        + &hex::encode(common::vendor::vendor_id())
        + "/"
        + &hex::encode(common::vendor::class_id())
        + "/trust";
    let trust_status = || {
        bench
            .admin()
            .send("GET", &path, "application/json", b"")
            .status
    };
    let refused = bench.admin().publish_with(&stranger.trust(), &bundle);
    let problem: types::ProblemBody = refused.json(422);
    assert!(problem.remedy.is_some(), "{problem:?}");
    assert_eq!(trust_status(), 404);
    let taken = bench.admin().publish_with(&vendor.trust(), &bundle);
    taken.json::<types::Published>(201);
    assert_eq!(trust_status(), 200);
    let again = bench.admin().publish_with(&vendor.trust(), &bundle);
    again.json::<types::Published>(200);
    let wish = Wish {
        seq: 2,
        ..Default::default()
    };
    let (other, _) = stranger.seal(&wish, &[&DeviceKey::new()]);
    let refused = bench.admin().publish_with(&stranger.trust(), &other);
    assert_eq!(refused.status, 409);
}

#[test]
fn a_claim_can_be_bound_to_a_product() {
    let (_data, bench, _) = bench();
    let request = types::CreateDevice {
        vendor_id: Some("aa".repeat(16)),
        class_id: Some("bb".repeat(16)),
        ..Default::default()
    };
    let claim: types::Claim = bench
        .admin()
        .call("POST", "/api/v1/devices", &request)
        .json(201);
    let answer = bench.stranger("wrong").enroll(&claim.claim_token);
    common::refused(&answer, airseal_protocol::ProblemCode::WrongClass);
}

#[test]
fn wrong_fields_are_named() {
    let (_data, bench, _) = bench();
    let cases = [
        (r#"{"name":"a b"}"#, "name"),
        (r#"{"vendor_id":"00"}"#, "class_id"),
        (r#"{"vendor_id":"00","class_id":"00"}"#, "vendor_id"),
        (r#"{"expires_in_s":0}"#, "expires_in_s"),
        (r#"{"nmae":"x"}"#, "nmae"),
        ("{", "ends too early"),
    ];
    for (body, field) in cases {
        let answer = bench.admin().send(
            "POST",
            "/api/v1/devices",
            "application/json",
            body.as_bytes(),
        );
        let problem: types::ProblemBody = answer.json(400);
        assert!(problem.detail.contains(field), "{body}: {problem:?}");
    }
}

#[test]
fn wrong_paths_and_queries_are_named_like_everything_else() {
    let (_data, bench, _) = bench();
    let cases = [
        ("/api/v1/devices?limit=x", 400, "limit"),
        ("/api/v1/devices?stat=revoked", 400, "stat"),
        ("/api/v1/devices?limit=1&limit=2", 400, "limit"),
        ("/api/v1/releases?offset=-1", 400, "offset"),
        ("/api/v1/audit?limit=-1", 400, "limit"),
        ("/api/v1/devices/%FF", 400, "id"),
        ("/api/v1/releases/%FF", 400, "digest"),
        ("/api/v1/products/%FF/00/trust", 400, "vendor"),
        ("/api/v1/devices/..%2F..%2Fadmin-token", 404, "admin-token"),
        ("/api/v1/../../admin-token", 404, "PROTOCOL"),
    ];
    for (path, status, word) in cases {
        let answer = bench.admin().send("GET", path, "application/json", b"");
        let kind = answer.header("content-type").map(str::to_owned);
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{path}");
        let problem: types::ProblemBody = answer.json(status);
        assert!(problem.detail.contains(word), "{path}: {problem:?}");
    }
}

#[test]
fn every_action_is_in_the_audit_log() {
    let (_data, bench, vendor) = bench();
    let device = bench.device("lamp");
    let (bundle, digest) = vendor.seal(&Wish::default(), &[&device.recipient]);
    bench.admin().publish(&bundle).json::<types::Published>(201);
    bench.admin().revoke("lamp");
    bench.admin().yank(&digest);
    let log: types::AuditList = bench.admin().get("/api/v1/audit");
    let actions: Vec<&str> = log.rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "release.yank",
            "device.revoke",
            "release.publish",
            "device.enrol",
            "device.claim",
            "product.trust",
            "token.replace"
        ]
    );
}

type Span = std::ops::Range<usize>;

/// Where manifest and payload lie in a bundle.
fn sections(bundle: &[u8]) -> (Span, Span) {
    let mut walk = Walk::start(bundle.first_chunk().expect("header")).expect("bundle");
    let mut at = 8;
    let mut spans = Vec::new();
    while !walk.is_complete() {
        let header = bundle[at..].first_chunk().expect("header");
        let section = walk.section(header).expect("section");
        let start = at + SECTION_HEADER_LEN;
        at = usize::try_from(walk.end()).expect("small");
        spans.push((section.kind.number(), start..at));
    }
    let span = |kind| {
        let (_, span) = spans.iter().find(|(k, _)| *k == kind).expect("section");
        span.clone()
    };
    (span(2), span(4))
}

fn pack_of(bundle: &[u8]) -> Vec<u8> {
    let (manifest, payload) = sections(bundle);
    bundle[manifest.end + SECTION_HEADER_LEN..payload.start - SECTION_HEADER_LEN].to_vec()
}

fn nothing_is_kept(bench: &Bench, data: &std::path::Path) {
    assert_eq!(releases(&bench.admin()).len(), 0);
    for folder in ["tmp", "blobs"] {
        let left = std::fs::read_dir(data.join(folder))
            .expect("folder")
            .count();
        assert_eq!(left, 0, "{folder}");
    }
}
