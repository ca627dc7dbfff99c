//! A release is verified and opened through the typed path, in every suite.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_format::cipher::PayloadKeys;
use airseal_format::keyset::SignedKeyset;
use airseal_format::payload::{ImageHasher, PayloadTree};
use airseal_format::signature::SignatureBlock;
use airseal_format::trust::TrustAnchor;
use airseal_format::*;
use common::*;

fn verify<'a>(release: &'a Release, keyset: &[u8]) -> Result<VerifiedManifest<'a>, Error> {
    let keyset = SignedKeyset::parse(keyset)?.verify_by_itself()?;
    let manifest = UnverifiedManifest::parse(&release.signed)?;
    keyset.verify_manifest(manifest, &SignatureBlock::parse(&release.signatures)?)
}

fn open(manifest: &VerifiedManifest<'_>, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let keys = match manifest.header().content_suite {
        ContentSuite::None => PayloadKeys::plain(),
        _ => PayloadKeys::open(manifest, &content_key())?,
    };
    let component = manifest.components().next().unwrap();
    let tree = PayloadTree::new(manifest, component.id)?;
    let g = *tree.geometry();
    let part = |at: u64, len: u32| payload[at as usize..][..len as usize].to_vec();
    let top = tree.verify_top(part(g.top_off(), g.top_len()))?;
    let cipher = keys.cipher(component.id);
    let mut image = Vec::new();
    for page in 0..g.pages() {
        let leaves = top.verify_page(page, part(g.page_off(page), g.page_len(page)))?;
        let first = page * g.profile().fan_out();
        for i in first..first + g.entries(page) {
            let chunk = leaves.verify_chunk(i, part(g.chunk_off(i), g.chunk_len(i)))?;
            image.extend(cipher.decrypt(chunk)?.bytes());
        }
    }
    let mut hasher = ImageHasher::new(
        component.place,
        component.install_len,
        &keys.digest_salt(component.place),
    );
    hasher.update(&image);
    assert_eq!(hasher.finish(), component.image_digest);
    Ok(image)
}

#[test]
fn every_suite_and_length_opens_to_what_was_sealed() {
    for suite in [
        ContentSuite::None,
        ContentSuite::Aes256Ctr,
        ContentSuite::ChaCha20,
    ] {
        for len in [
            1,
            15,
            16,
            1023,
            1024,
            1025,
            32 * 1024,
            32 * 1024 + 1,
            100_000,
        ] {
            let plaintext: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            let release = seal(header(suite), &plaintext, &[]);
            let manifest = verify(&release, &first_keyset()).unwrap();
            assert_eq!(open(&manifest, &release.payload).unwrap(), plaintext);
        }
    }
}

#[test]
fn trust_anchors_accept_any_one_signer() {
    let release = seal(header(ContentSuite::ChaCha20), b"hello", &[]);
    let manifest = UnverifiedManifest::parse(&release.signed).unwrap();
    let signatures = SignatureBlock::parse(&release.signatures).unwrap();
    let keys = [public(99), public(10)];
    let anchors = TrustAnchor::new(&keys).unwrap();
    anchors.verify_manifest(manifest, &signatures).unwrap();
    let strangers = [public(98), public(99)];
    let anchors = TrustAnchor::new(&strangers).unwrap();
    let error = anchors.verify_manifest(manifest, &signatures).unwrap_err();
    assert_eq!(error.reason, Reason::TooFewSignatures);
}

#[test]
fn every_flipped_bit_of_manifest_and_signatures_is_refused() {
    let mut release = seal(header(ContentSuite::ChaCha20), &[7; 3000], &[]);
    let keyset = first_keyset();
    verify(&release, &keyset).unwrap();
    for bit in 0..release.signed.len() * 8 {
        release.signed[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&release, &keyset).is_err(), "manifest bit {bit}");
        release.signed[bit / 8] ^= 1 << (bit % 8);
    }
    for bit in 0..release.signatures.len() * 8 {
        release.signatures[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&release, &keyset).is_err(), "signature bit {bit}");
        release.signatures[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_flipped_bit_of_top_page_and_chunk_is_refused() {
    let mut release = seal(header(ContentSuite::ChaCha20), &[7; 2500], &[]);
    let signed = release.signed.clone();
    let keyset = SignedKeyset::parse(&first_keyset())
        .map(|k| k.keyset.digest())
        .unwrap();
    assert!(!keyset.is_zero());
    let (keyset, signatures) = (first_keyset(), release.signatures.clone());
    let trusted = SignedKeyset::parse(&keyset)
        .unwrap()
        .verify_by_itself()
        .unwrap();
    let manifest = trusted
        .verify_manifest(
            UnverifiedManifest::parse(&signed).unwrap(),
            &SignatureBlock::parse(&signatures).unwrap(),
        )
        .unwrap();
    for bit in 0..release.payload.len() * 8 {
        release.payload[bit / 8] ^= 1 << (bit % 8);
        let error = open(&manifest, &release.payload).unwrap_err();
        assert_eq!(error.part, Part::Payload, "payload bit {bit}");
        release.payload[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_truncation_is_refused() {
    let release = seal(header(ContentSuite::ChaCha20), &[7; 3000], &[]);
    for len in 0..release.signed.len() {
        let error = UnverifiedManifest::parse(&release.signed[..len]).unwrap_err();
        assert_eq!(error.reason, Reason::Truncated, "manifest cut at {len}");
    }
    for len in 0..release.signatures.len() {
        let error = SignatureBlock::parse(&release.signatures[..len]).unwrap_err();
        assert_eq!(error.reason, Reason::Truncated, "signatures cut at {len}");
    }
    let keyset = first_keyset();
    for len in 0..keyset.len() {
        let error = SignedKeyset::parse(&keyset[..len]).unwrap_err();
        assert_eq!(error.reason, Reason::Truncated, "keyset cut at {len}");
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let release = seal(header(ContentSuite::ChaCha20), &[7; 3000], &[]);
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    let errors = [
        UnverifiedManifest::parse(&longer(&release.signed)).unwrap_err(),
        SignatureBlock::parse(&longer(&release.signatures)).unwrap_err(),
        SignedKeyset::parse(&longer(&first_keyset())).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.reason, Reason::TrailingBytes);
    }
}

#[test]
fn a_wrong_content_key_is_refused_by_the_commitment() {
    let release = seal(header(ContentSuite::Aes256Ctr), &[7; 10], &[]);
    let keyset = first_keyset();
    let manifest = verify(&release, &keyset).unwrap();
    let error = PayloadKeys::open(&manifest, &cipher::ContentKey::new([1; 32]))
        .err()
        .unwrap();
    assert_eq!(error.reason, Reason::CommitmentMismatch);
}
