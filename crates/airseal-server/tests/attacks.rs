//! What an enrolled device, or anybody on the network, may try, one test per attack.

mod common;

use std::io::{Read, Write};

use airseal_format::{ContentSuite, RecipientId};
use airseal_protocol::path::{self, Path};
use airseal_protocol::{Message, PollRequest, PollResponse, ProblemCode, RecipientIds};
use common::vendor::{Vendor, Wish};
use common::{Bench, Device, post, refused};

fn bench() -> (tempfile::TempDir, Bench) {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    (data, bench)
}

/// Polls as a device that says it holds the key of `other` beside its own.
fn poll_naming(device: &Device, other: RecipientId) -> PollResponse {
    let mut ids = [device.recipient.recipient().id().0, other.0];
    ids.sort_unstable();
    let ids = ids.concat();
    let request = PollRequest {
        recipients: RecipientIds::new(&ids).expect("ids"),
        ..device.poll_request()
    };
    let answer = device.post(path::POLL, &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    PollResponse::parse(&answer.body).expect("a poll response")
}

#[test]
fn a_neighbour_that_names_the_targets_id_does_not_get_its_test_build() {
    let (_data, bench) = bench();
    let (target, neighbour) = (bench.device("target"), bench.device("neighbour"));
    let id = target.recipient.recipient().id();
    let vendor = Vendor::new();
    let wish = Wish {
        only: &[id],
        suite: ContentSuite::None,
        ..Default::default()
    };
    let (bundle, _) = vendor.seal(&wish, &[]);
    let answer = bench.admin().publish_with(&vendor.trust(), &bundle);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let digest = target.offered();
    for _ in 0..2 {
        let offer = poll_naming(&neighbour, id);
        assert!(matches!(offer, PollResponse::Nothing { .. }), "{offer:?}");
    }
    for path in [Path::manifest(&digest, 0), Path::payload(&digest)] {
        refused(
            &neighbour.get(path.as_str(), &[]),
            ProblemCode::NoSuchRelease,
        );
    }
}

#[test]
fn a_revoked_device_keeps_nobody_out_by_naming_a_recipient_that_is_not_its_own() {
    let (_data, bench) = bench();
    let squatter = bench.device("squatter");
    let newcomer = bench.stranger("newcomer");
    let id = newcomer.recipient.recipient().id();
    poll_naming(&squatter, id);
    let claim = bench.admin().claim("newcomer");
    refused(
        &newcomer.enroll(&claim.claim_token),
        ProblemCode::RecipientInUse,
    );
    bench.admin().revoke("squatter");
    let answer = newcomer.enroll(&claim.claim_token);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let detail: airseal_server::api::types::DeviceDetail =
        bench.admin().get("/api/v1/devices/squatter");
    assert!(!detail.recipient_ids.contains(&id.to_string()));
}

#[test]
fn a_request_that_hides_in_another_ones_body_is_not_answered() {
    let (_data, bench) = bench();
    let device = bench.device("smuggler");
    let hidden = "GET /d/v1/poll HTTP/1.1\r\nHost: x\r\n\r\n";
    let long = hidden.len();
    let open = format!("Content-Length: 0\r\n\r\n{hidden}");
    let bodies = [
        (open, true),
        (
            format!("Content-Length: 1\r\nContent-Length: {long}\r\n\r\n{hidden}"),
            false,
        ),
        (format!("Content-Length: {long}, 1\r\n\r\n{hidden}"), false),
        (format!("Content-Length: +{long}\r\n\r\n{hidden}"), false),
        (
            format!(
                "Content-Length: {long}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
            false,
        ),
        (
            format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
            false,
        ),
        (
            format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
            false,
        ),
        (format!("Content-Length: {long}\r\n\r\n{hidden}"), false),
    ];
    for (body, is_open) in bodies {
        let mut stream = device.connect();
        post(&mut stream, path::POLL, &device.poll_request()).expect("let in");
        let head = format!("POST {} HTTP/1.1\r\nHost: x\r\n", path::POLL);
        let end = "GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream
            .write_all(format!("{head}{body}{end}").as_bytes())
            .expect("sent");
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers);
        let answers = String::from_utf8_lossy(&answers);
        assert_eq!(answers.contains(" 405 "), is_open, "{body:?}: {answers}");
    }
}

#[test]
fn a_client_certificate_with_a_chain_or_too_long_is_refused() {
    let (_data, bench) = bench();
    let ca = std::fs::read_to_string(&bench.server.ready().ca).expect("ca");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
    let of_names = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("name-{n:03}")).collect();
        let params = rcgen::CertificateParams::new(names).expect("params");
        params.self_signed(&key).expect("certificate").der().clone()
    };
    let cases = [
        (vec![of_names(1)], true),
        (vec![of_names(1), of_names(1)], false),
        (vec![of_names(400)], false),
    ];
    for (chain, is_heard) in cases {
        let stranger = Device::with_chain(bench.https(), &ca, "stranger", chain, &key);
        let request = stranger.poll_request();
        let answer = post(&mut stranger.connect(), path::POLL, &request);
        match answer {
            Ok(answer) if is_heard => refused(&answer, ProblemCode::UnknownDevice),
            Ok(answer) => panic!("answered {}", answer.text()),
            Err(error) => assert!(!is_heard, "{error}"),
        }
    }
}
