//! The order of sections in a bundle, and the fields of an offer.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_format::bundle::{SECTION_HEADER_LEN, Section, SectionKind, Walk, encode_header};
use airseal_format::keyset::SignedKeyset;
use airseal_format::offer::{Offer, Purpose, Question, SIGNING_CONTEXT};
use airseal_format::*;
use common::*;
use ed25519_dalek::Signer;

use SectionKind::{EnvelopePack, Keyset, Manifest, Payload};

fn walk(count: u16, kinds: &[SectionKind]) -> Result<bool, Error> {
    let mut walk = Walk::start(&encode_header(count))?;
    for &kind in kinds {
        walk.section(&Section { kind, len: 100 }.encode())?;
    }
    Ok(walk.is_complete())
}

#[test]
fn sections_stand_in_one_order() {
    assert!(walk(2, &[Manifest, Payload]).unwrap());
    assert!(walk(5, &[Keyset, Keyset, Manifest, EnvelopePack, Payload]).unwrap());
    assert!(!walk(3, &[Manifest, EnvelopePack]).unwrap());
    let reason = |count, kinds: &[SectionKind]| walk(count, kinds).unwrap_err().reason;
    assert_eq!(reason(3, &[Manifest, Keyset]), Reason::Order);
    assert_eq!(reason(3, &[Manifest, Manifest]), Reason::Order);
    assert_eq!(reason(2, &[Payload]), Reason::Order);
    assert_eq!(reason(3, &[EnvelopePack]), Reason::Order);
    assert_eq!(
        reason(4, &[Manifest, EnvelopePack, EnvelopePack]),
        Reason::Order
    );
    assert_eq!(reason(2, &[Manifest, EnvelopePack]), Reason::Sum);
    assert_eq!(reason(3, &[Manifest, Payload]), Reason::Sum);
    assert_eq!(reason(2, &[Keyset, Manifest]), Reason::Sum);
    assert_eq!(reason(1, &[]), Reason::OutOfRange);
    assert_eq!(reason(36, &[]), Reason::OutOfRange);
    assert_eq!(reason(35, &[Keyset; 33]), Reason::Limit);
}

#[test]
fn section_headers_name_the_offset_in_the_bundle() {
    let mut walk = Walk::start(&encode_header(3)).unwrap();
    walk.section(
        &Section {
            kind: Keyset,
            len: 200,
        }
        .encode(),
    )
    .unwrap();
    let mut header = Section {
        kind: Manifest,
        len: 500,
    }
    .encode();
    header[4] = 1;
    let error = walk.section(&header).unwrap_err();
    assert_eq!(
        (error.field, error.offset),
        ("section_reserved", 8 + 16 + 200 + 4)
    );
}

#[test]
fn lengths_of_sections_are_bounded() {
    for (kind, len) in [(Keyset, 4897), (Manifest, 6145)] {
        let header: [u8; SECTION_HEADER_LEN] = Section { kind, len }.encode();
        assert_eq!(
            Section::parse(&header).unwrap_err().reason,
            Reason::OutOfRange
        );
    }
}

fn offer() -> (Offer, Question) {
    let question = Question {
        device_nonce: [1; 16],
        recipient_id: RecipientId([2; 16]),
    };
    let offer = Offer {
        purpose: Purpose::Install,
        device_nonce: question.device_nonce,
        recipient_id: question.recipient_id,
        manifest_digest: Digest([3; 32]),
        keyset_version: KeysetVersion(1),
        valid_for: 60,
        key_id: public(40).key_id(),
    };
    (offer, question)
}

fn sign_offer(offer: &Offer, signer_number: u8) -> Vec<u8> {
    let signed = offer.encode_signed();
    let signature = signer(signer_number).sign(&[SIGNING_CONTEXT, &signed].concat());
    [&signed[..], &signature.to_bytes()].concat()
}

fn verify_offer(bytes: &[u8], question: &Question) -> Result<Offer, Error> {
    let keyset = first_keyset();
    let keyset = SignedKeyset::parse(&keyset)?.verify_by_itself()?;
    Offer::verify(bytes, &keyset, question)
}

#[test]
fn an_offer_answers_one_question_only() {
    let (offer, question) = offer();
    let bytes = sign_offer(&offer, 40);
    assert_eq!(verify_offer(&bytes, &question).unwrap(), offer);
    let other_nonce = Question {
        device_nonce: [9; 16],
        ..question
    };
    let other_device = Question {
        recipient_id: RecipientId([9; 16]),
        ..question
    };
    for question in [other_nonce, other_device] {
        assert_eq!(
            verify_offer(&bytes, &question).unwrap_err().reason,
            Reason::OfferMismatch
        );
    }
}

#[test]
fn every_flipped_bit_of_an_offer_is_refused() {
    let (offer, question) = offer();
    let mut bytes = sign_offer(&offer, 40);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_offer(&bytes, &question).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn only_an_offer_key_signs_offers() {
    let (mut offer, question) = offer();
    offer.key_id = public(10).key_id();
    let error = verify_offer(&sign_offer(&offer, 10), &question).unwrap_err();
    assert_eq!(error.reason, Reason::WrongRole);
}

#[test]
fn an_offer_that_holds_for_no_time_is_refused() {
    let (mut offer, question) = offer();
    offer.valid_for = 0;
    let error = verify_offer(&sign_offer(&offer, 40), &question).unwrap_err();
    assert_eq!(error.field, "valid_for");
}
