//! Signatures that other verifiers accept, and this format does not.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_format::signature::{Entry, SignatureBlock, SigningPublicKey, encode, key_id};
use airseal_format::*;
use common::*;
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signer, Verifier};
use sha2::{Digest as _, Sha512};

const MESSAGE: &[u8] = b"message";

/// The group order L = 2^252 + 27742317777372353535851937790883648493, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn non_canonical_s_is_refused() {
    let mut signature = signer(1).sign(MESSAGE).to_bytes();
    public(1).verify(&[MESSAGE], &signature).unwrap();
    let mut carry = 0;
    for (byte, l) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(l) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(
        public(1).verify(&[MESSAGE], &signature),
        Err(Reason::BadSignature)
    );
}

#[test]
fn small_order_keys_are_refused() {
    for point in EIGHT_TORSION {
        let key = SigningPublicKey::Ed25519(point.compress().to_bytes());
        assert_eq!(key.check(), Err(Reason::BadKey));
        assert_eq!(key.verify(&[MESSAGE], &[0; 64]), Err(Reason::BadKey));
    }
}

#[test]
fn small_order_r_is_refused() {
    // R = identity and s = k * a satisfy the equation: only the order of R gives it away.
    let secret = signer(1);
    let r = EIGHT_TORSION[0].compress();
    let k = Scalar::from_bytes_mod_order_wide(
        &Sha512::new_with_prefix(r.as_bytes())
            .chain_update(secret.verifying_key().as_bytes())
            .chain_update(MESSAGE)
            .finalize()
            .into(),
    );
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(r.as_bytes());
    signature[32..].copy_from_slice((k * secret.to_scalar()).as_bytes());
    let lenient = ed25519_dalek::Signature::from_bytes(&signature);
    secret.verifying_key().verify(MESSAGE, &lenient).unwrap();
    assert_eq!(
        public(1).verify(&[MESSAGE], &signature),
        Err(Reason::BadSignature)
    );
}

#[test]
fn non_canonical_keys_are_refused() {
    // y = p + n for small n where y decodes to a point: p = 2^255 - 19.
    let mut refused = 0;
    for n in 0..19u8 {
        for sign in [0x7F, 0xFF] {
            let mut bytes = [0xFF; 32];
            bytes[0] = 0xED + n;
            bytes[31] = sign;
            assert_eq!(
                SigningPublicKey::Ed25519(bytes).check(),
                Err(Reason::BadKey)
            );
            let decodes = ed25519_dalek::VerifyingKey::from_bytes(&bytes);
            refused += usize::from(decodes.is_ok_and(|key| !key.is_weak()));
        }
    }
    assert_eq!(
        refused, 20,
        "encodings that the library takes and this format refuses"
    );
}

#[test]
fn a_mixed_order_key_still_verifies_without_the_cofactor() {
    // A + torsion verifies only when k times the torsion vanishes: a cofactored verifier
    // takes every one of these signatures, ours takes about one in eight.
    let secret = signer(1);
    let torsion = EIGHT_TORSION[1];
    let mixed = (secret.verifying_key().to_edwards() + torsion)
        .compress()
        .to_bytes();
    let key = SigningPublicKey::Ed25519(mixed);
    key.check().unwrap();
    let accepted = (0..64u8)
        .filter(|n| key.verify(&[&[*n]], &secret.sign(&[*n]).to_bytes()).is_ok())
        .count();
    assert!(accepted < 32, "{accepted} of 64");
}

#[test]
fn high_s_is_refused() {
    let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let mut point = [0; 65];
    point.copy_from_slice(secret.verifying_key().to_sec1_point(false).as_bytes());
    let key = SigningPublicKey::EcdsaP256(point);
    let signature: p256::ecdsa::Signature = secret.sign(MESSAGE);
    let low = signature.normalize_s();
    let (r, s) = low.split_scalars();
    let high = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-s).to_bytes()).unwrap();
    key.verify(&[MESSAGE], &low.to_bytes().into()).unwrap();
    let error = key.verify(&[MESSAGE], &high.to_bytes().into());
    assert_eq!(error, Err(Reason::HighS));
}

#[test]
fn a_duplicate_signer_is_refused() {
    let signature = [0; 64];
    let entry = Entry::new(Algorithm::Ed25519, public(1).key_id(), &signature);
    let error = encode(&[entry, entry], &mut [0; 4096]).unwrap_err();
    assert_eq!(
        (error.field, error.reason),
        ("key_id", Reason::NotAscending)
    );
}

#[test]
fn undefined_algorithm_numbers_are_refused() {
    let signatures = sign(b"x", b"y", &[1]);
    for number in [-7i16, -8, 0, -20, 99] {
        let mut changed = signatures.clone();
        changed[4..6].copy_from_slice(&number.to_le_bytes());
        let error = SignatureBlock::parse(&changed).unwrap_err();
        assert_eq!(
            (error.field, error.reason),
            ("algorithm", Reason::UnknownValue)
        );
    }
}

#[test]
fn a_p256_entry_with_another_key_is_refused() {
    let trusted = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let other = p256::ecdsa::SigningKey::from_slice(&[8; 32]).unwrap();
    let point =
        |k: &p256::ecdsa::SigningKey| k.verifying_key().to_sec1_point(false).as_bytes().to_vec();
    let id = key_id(Algorithm::EcdsaP256, &point(&trusted));
    let release = seal(header(ContentSuite::ChaCha20), b"hello", &[]);
    let message = [manifest::SIGNING_CONTEXT, &release.signed].concat();
    let signature: p256::ecdsa::Signature = other.sign(&message);
    let value = [point(&other), signature.normalize_s().to_bytes().to_vec()].concat();
    let signatures = block(&[(Algorithm::EcdsaP256, id, &value)]);
    let keys = [SigningPublicKey::EcdsaP256(
        point(&trusted).try_into().unwrap(),
    )];
    let error = trust::TrustAnchor::new(&keys)
        .unwrap()
        .verify_manifest(
            UnverifiedManifest::parse(&release.signed).unwrap(),
            &SignatureBlock::parse(&signatures).unwrap(),
        )
        .unwrap_err();
    assert_eq!(error.reason, Reason::KeyMismatch);
}
