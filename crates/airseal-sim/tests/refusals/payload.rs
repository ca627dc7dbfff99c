//! Payloads of another length or order, and payloads that are not encrypted.

use airseal_format::{ContentSuite, Part, Reason};
use airseal_sim::fixture::{To, app};
use airseal_update::{Policy, Refusal};

use crate::bench::{Bench, wrong};

#[test]
fn longer_than_signed() {
    let mut bench = Bench::new();
    for extra in [1, 1024, 70_000] {
        let mut bad = bench.next().seal();
        bad.payload.extend(vec![0; extra]);
        let expected = wrong(Part::Payload, "section_len", 8, Reason::Sum);
        assert_eq!(bench.refuses(&bad), expected);
    }
}

#[test]
fn shorter_than_signed() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    for len in [0, 1, 64, 1088, good.payload.len() - 1] {
        let mut bad = good.clone();
        bad.payload.truncate(len);
        let expected = wrong(Part::Payload, "section_len", 8, Reason::Sum);
        assert_eq!(bench.refuses(&bad), expected);
    }
}

#[test]
fn components_reordered() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    // Two alternatives of one length, so that they could change places.
    let image = plan.components[0].1.clone();
    let mut first = app(1, 0);
    first.target_chip = 5;
    plan.components = vec![(first, image.clone()), (app(2, 0), image)];
    let good = plan.seal();
    let mut bad = good.clone();
    let half = bad.payload.len() / 2;
    bad.payload.rotate_left(half);
    let expected = wrong(Part::Payload, "top", 0, Reason::TopMismatch);
    assert_eq!(bench.refuses(&bad), expected);
    // The manifest's rows the other way round are no manifest any more.
    let mut bad = good.clone();
    bad.manifest[256..256 + 320].rotate_left(160);
    let expected = wrong(Part::Manifest, "file_off", 256 + 8, Reason::Sum);
    assert_eq!(bench.refuses(&bad), expected);
    bench.accepts(&good);
}

#[test]
fn not_encrypted_where_encryption_is_demanded() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.header.content_suite = ContentSuite::None;
    assert_eq!(bench.refuses(&plan.seal()), Refusal::PlainRefused);
}

fn allows_plain() -> Bench {
    Bench::with(|model| {
        model.policy = Policy {
            allow_plain: true,
            ..Policy::default()
        }
    })
}

#[test]
fn not_encrypted_where_that_is_allowed() {
    let mut bench = allows_plain();
    let mut plan = bench.next();
    plan.header.content_suite = ContentSuite::None;
    bench.accepts(&plan.seal());
}

#[test]
fn envelope_of_a_release_that_is_not_encrypted() {
    let mut bench = allows_plain();
    let mut plan = bench.next();
    plan.header.content_suite = ContentSuite::None;
    let mut bad = plan.seal();
    let key = airseal_format::cipher::ContentKey::new([1; 32]);
    let own = To::X25519(bench.device.public());
    bad.envelopes = vec![own.seal(bad.digest, &key)];
    let expected = wrong(Part::Envelope, "content_suite", 0, Reason::MustBeZero);
    assert_eq!(bench.refuses(&bad), expected);
}

/// The image digest is the last gate: an image that decrypts to something else is not
/// staged, and the release counts as failed.
#[test]
fn image_that_is_not_the_signed_one() {
    let mut bench = Bench::new();
    let bad = crate::bench::tampered(&bench.next(), |signed| signed[256 + 96] ^= 1);
    let refusal = bench.device.update_from_bytes(&bad.bundle()).unwrap_err();
    let expected = wrong(Part::Payload, "image_digest", 0, Reason::ImageMismatch);
    assert_eq!(refusal, expected);
    bench.still_boots();
    let failure = bench.device.state().unwrap().failure.unwrap();
    assert_eq!((failure.digest, failure.count), (bad.digest, 1));
}
