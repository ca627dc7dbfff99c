//! What an enrolled device, or anybody on the network, may try, one test per attack.

mod common;

use airseal_format::{ContentSuite, RecipientId};
use airseal_protocol::path::{self, Path};
use airseal_protocol::{Message, PollRequest, PollResponse, ProblemCode, RecipientIds};
use common::vendor::{Vendor, Wish};
use common::{Bench, Device, refused};

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
