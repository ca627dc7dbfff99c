//! Offers that are missing, stale, or meant for somebody else.

use airseal_format::offer::{Offer, Purpose, Question, SIGNING_CONTEXT};
use airseal_format::{Digest, KeysetVersion, Part, Reason, RecipientId};
use airseal_sim::SimDevice;
use airseal_sim::fixture::{Sealed, public, signer};
use airseal_update::blocking::block_on;
use airseal_update::{Refusal, UpdateSession};
use ed25519_dalek::Signer;

use crate::bench::{Bench, wrong};

const QUESTION: Question = Question {
    device_nonce: [0x4E; 16],
    recipient_id: RecipientId([0x52; 16]),
};

fn bench() -> Bench {
    Bench::with(|model| model.policy.offer = Some(QUESTION))
}

fn offer(release: &Sealed) -> Offer {
    Offer {
        purpose: Purpose::Install,
        device_nonce: QUESTION.device_nonce,
        recipient_id: QUESTION.recipient_id,
        manifest_digest: release.digest,
        keyset_version: KeysetVersion(1),
        valid_for: 60,
        key_id: public(20).key_id(),
    }
}

fn signed(offer: &Offer, by: u8) -> Vec<u8> {
    let signed = offer.encode_signed();
    let message = [SIGNING_CONTEXT, &signed].concat();
    [&signed[..], &signer(by).sign(&message).to_bytes()].concat()
}

/// Takes the offer `elapsed` seconds after the nonce, then the release.
fn follow(
    device: &mut SimDevice,
    offer: &[u8],
    elapsed: u32,
    release: &Sealed,
) -> Result<Purpose, Refusal> {
    device.with(|device, config, buffers| {
        block_on(async {
            let mut session = UpdateSession::begin(device, config, buffers).await?;
            let purpose = session.accept_offer(offer, elapsed).await?;
            session.accept_manifest(&release.manifest_section()).await?;
            session.accept_envelope(&release.envelopes.concat()).await?;
            Ok(purpose)
        })
    })
}

fn refuses(change: impl FnOnce(&mut Offer), by: u8, elapsed: u32) -> Refusal {
    let mut bench = bench();
    let release = bench.next().seal();
    let mut offer = offer(&release);
    change(&mut offer);
    let offer = signed(&offer, by);
    let refusal = bench.untouched(|device| follow(device, &offer, elapsed, &release));
    bench.still_boots();
    refusal
}

#[test]
fn missing_offer() {
    let mut bench = bench();
    let release = bench.next().seal();
    assert_eq!(bench.refuses(&release), Refusal::OfferMissing);
}

#[test]
fn fresh_offer_is_followed() {
    let mut bench = bench();
    let release = bench.next().seal();
    let offer = signed(&offer(&release), 20);
    let followed = follow(&mut bench.device, &offer, 59, &release);
    assert_eq!(followed, Ok(Purpose::Install));
}

#[test]
fn stale_offer() {
    assert_eq!(refuses(|_| {}, 20, 60), Refusal::OfferStale);
    assert_eq!(refuses(|_| {}, 20, u32::MAX), Refusal::OfferStale);
}

#[test]
fn offer_that_never_holds() {
    let expected = wrong(Part::Offer, "valid_for", 76, Reason::OutOfRange);
    assert_eq!(refuses(|offer| offer.valid_for = 0, 20, 0), expected);
}

#[test]
fn offer_for_another_nonce() {
    let expected = wrong(Part::Offer, "device_nonce", 8, Reason::OfferMismatch);
    assert_eq!(refuses(|offer| offer.device_nonce[0] ^= 1, 20, 0), expected);
}

#[test]
fn offer_for_another_device() {
    let expected = wrong(Part::Offer, "recipient_id", 24, Reason::OfferMismatch);
    assert_eq!(
        refuses(|offer| offer.recipient_id.0[0] ^= 1, 20, 0),
        expected
    );
}

#[test]
fn offer_of_another_release() {
    let expected = Refusal::OfferMissing;
    let change = |offer: &mut Offer| offer.manifest_digest = Digest([3; 32]);
    assert_eq!(refuses(change, 20, 0), expected);
}

#[test]
fn offer_of_nothing_newer() {
    let change = |offer: &mut Offer| offer.purpose = Purpose::NothingNewer;
    assert_eq!(refuses(change, 20, 0), Refusal::OfferMissing);
}

#[test]
fn offer_that_needs_a_newer_keyset() {
    let change = |offer: &mut Offer| offer.keyset_version = KeysetVersion(2);
    assert_eq!(refuses(change, 20, 0), Refusal::OfferStale);
}

#[test]
fn offer_signed_by_a_release_key() {
    let expected = wrong(Part::Offer, "key_id", 80, Reason::WrongRole);
    let change = |offer: &mut Offer| offer.key_id = public(10).key_id();
    assert_eq!(refuses(change, 10, 0), expected);
}

#[test]
fn offer_signed_by_a_stranger() {
    let expected = wrong(Part::Offer, "signature", 88, Reason::BadSignature);
    assert_eq!(refuses(|_| {}, 66, 0), expected);
}

#[test]
fn every_flipped_bit_of_an_offer() {
    let mut bench = bench();
    let release = bench.next().seal();
    let good = signed(&offer(&release), 20);
    for (at, bit) in crate::bench::bits(good.len()) {
        let mut bad = good.clone();
        bad[at] ^= bit;
        let refusal = bench.untouched(|device| follow(device, &bad, 0, &release));
        let Refusal::Format(error) = refusal else {
            panic!("bit {bit} of byte {at}: {refusal:?}");
        };
        let reason = match at {
            0..4 => Reason::Magic,
            4 => Reason::Version,
            // "Install" becomes "nothing newer", which the signature does not say.
            5 if bit == 1 => Reason::BadSignature,
            5 => Reason::UnknownValue,
            6..8 => Reason::OutOfRange,
            80..88 => Reason::WrongRole,
            _ => Reason::BadSignature,
        };
        assert_eq!(
            (error.part, error.reason),
            (Part::Offer, reason),
            "byte {at}"
        );
    }
    bench.still_boots();
}
