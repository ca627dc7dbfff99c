//! Rotation of trust, and every way to break the chain.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_format::keyset::{self, Followed, KeyRow, Keyset, Roles, SignedKeyset, TrustedKeyset};
use airseal_format::signature::SignatureBlock;
use airseal_format::trust::check_carried_keysets;
use airseal_format::*;
use common::*;

fn trusted(bytes: &[u8]) -> TrustedKeyset<'_> {
    SignedKeyset::parse(bytes)
        .unwrap()
        .verify_by_itself()
        .unwrap()
}

fn second(change: impl FnOnce(&mut keyset::Header), signers: &[u8]) -> Vec<u8> {
    let first = first_keyset();
    let mut header = keyset_header(2, trusted(&first).digest());
    change(&mut header);
    signed_keyset(&keyset(&header, [21, 22, 23], 11), signers)
}

fn follow(next: &[u8]) -> Result<bool, Error> {
    let first = first_keyset();
    let next = SignedKeyset::parse(next)?;
    Ok(matches!(trusted(&first).follow(next)?, Followed::Newer(_)))
}

fn reason(next: &[u8]) -> Reason {
    follow(next).unwrap_err().reason
}

#[test]
fn two_of_three_old_and_new_roots_rotate_the_release_key() {
    let second = second(|_| (), &[21, 22]);
    assert!(follow(&second).unwrap());
    let release = seal(header(ContentSuite::ChaCha20), b"hello", &[]);
    let manifest = UnverifiedManifest::parse(&release.signed).unwrap();
    let old_key = SignatureBlock::parse(&release.signatures).unwrap();
    let new_key = sign(manifest::SIGNING_CONTEXT, &release.signed, &[11]);
    let new_key = SignatureBlock::parse(&new_key).unwrap();
    let first = first_keyset();
    let before = trusted(&first);
    let next = SignedKeyset::parse(&second)
        .unwrap()
        .verify_after(&before)
        .unwrap();
    before.verify_manifest(manifest, &old_key).unwrap();
    next.verify_manifest(manifest, &new_key).unwrap();
    let error = next.verify_manifest(manifest, &old_key).unwrap_err();
    assert_eq!(error.reason, Reason::TooFewSignatures);
}

#[test]
fn a_broken_chain_is_refused() {
    assert_eq!(
        reason(&second(|h| h.prev_digest = Digest([9; 32]), &[21, 22])),
        Reason::ChainBroken
    );
}

#[test]
fn a_skipped_version_is_refused() {
    assert_eq!(
        reason(&second(|h| h.version = KeysetVersion(3), &[21, 22])),
        Reason::ChainGap
    );
}

#[test]
fn a_changed_vendor_or_class_is_refused() {
    let vendor = second(|h| h.vendor_id = VendorId([9; 16]), &[21, 22]);
    let class = second(|h| h.class_id = ClassId([9; 16]), &[21, 22]);
    assert_eq!(reason(&vendor), Reason::OwnerChanged);
    assert_eq!(reason(&class), Reason::OwnerChanged);
}

#[test]
fn a_fallen_security_version_is_refused() {
    let lower = second(|h| h.max_security_version = SecurityVersion(8), &[21, 22]);
    assert_eq!(reason(&lower), Reason::SecurityVersionFell);
}

#[test]
fn too_few_signatures_of_old_or_new_roots_are_refused() {
    for signers in [&[21][..], &[20, 21], &[22, 23], &[10, 11]] {
        assert_eq!(
            reason(&second(|_| (), signers)),
            Reason::TooFewSignatures,
            "{signers:?}"
        );
    }
}

#[test]
fn an_equal_version_with_other_bytes_is_refused_and_the_same_is_skipped() {
    let other = keyset(&keyset_header(1, Digest([0; 32])), [20, 21, 22], 12);
    assert_eq!(
        reason(&signed_keyset(&other, &[20, 21])),
        Reason::KeysetConflict
    );
    assert!(!follow(&first_keyset()).unwrap());
}

#[test]
fn every_flipped_bit_of_a_rotation_is_refused() {
    let mut second = second(|_| (), &[21, 22]);
    for bit in 0..second.len() * 8 {
        second[bit / 8] ^= 1 << (bit % 8);
        assert!(follow(&second).is_err(), "bit {bit}");
        second[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_bad_signature_by_a_known_key_is_refused_even_when_others_suffice() {
    let mut second = second(|_| (), &[21, 22, 23]);
    let last = second.len() - 1;
    second[last - 40] ^= 1;
    assert_eq!(reason(&second), Reason::BadSignature);
}

#[test]
fn carried_keysets_must_hold_by_themselves() {
    let chain = [first_keyset(), second(|_| (), &[21, 22])].concat();
    check_carried_keysets(SignedKeyset::parse_file(&chain)).unwrap();
    let swapped = [second(|_| (), &[21, 22]), first_keyset()].concat();
    let error = check_carried_keysets(SignedKeyset::parse_file(&swapped)).unwrap_err();
    assert_eq!(error.reason, Reason::ChainGap);
}

#[test]
fn thresholds_above_the_eligible_keys_or_out_of_bounds_are_refused() {
    let mut signed = keyset(&keyset_header(1, Digest([0; 32])), [20, 21, 22], 10);
    for (offset, value) in [(85, 0), (85, 4), (86, 1), (87, 0), (87, 2), (88, 1)] {
        let before = signed[offset];
        signed[offset] = value;
        let error = Keyset::parse(&signed).unwrap_err();
        assert_eq!(error.reason, Reason::Threshold, "{value} at {offset}");
        signed[offset] = before;
    }
}

#[test]
fn the_same_key_twice_is_refused() {
    let row = KeyRow::new(&public(1), Roles::ROOT.and(Roles::RELEASE));
    let mut header = keyset_header(1, Digest([0; 32]));
    header.k_root = 1;
    let error = keyset::encode(&header, &[row, row], &mut [0; 1024]).unwrap_err();
    assert_eq!(error.reason, Reason::NotAscending);
}

#[test]
fn an_offer_key_with_another_role_is_refused() {
    let row = KeyRow::new(&public(1), Roles::OFFER.and(Roles::RELEASE));
    let error = keyset::encode(&keyset_header(1, Digest([0; 32])), &[row], &mut [0; 1024]);
    assert_eq!(error.unwrap_err().reason, Reason::WrongRole);
}

#[test]
fn a_release_above_the_keysets_security_version_is_refused() {
    let mut high = header(ContentSuite::ChaCha20);
    high.security_version = SecurityVersion(10);
    let release = seal(high, b"hello", &[]);
    let first = first_keyset();
    let error = trusted(&first)
        .verify_manifest(
            UnverifiedManifest::parse(&release.signed).unwrap(),
            &SignatureBlock::parse(&release.signatures).unwrap(),
        )
        .unwrap_err();
    assert_eq!(error.reason, Reason::SecurityVersionTooHigh);
}
