//! Envelopes: our own opening against the general HPKE crate's sealing, and the pack's rules.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_format::cipher::ContentKey;
use airseal_format::envelope::{Envelope, Header, Pack, PackEntry};
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::recipient::p256::P256Identity;
use airseal_format::recipient::seed::{self, Purpose};
use airseal_format::recipient::x25519::X25519Identity;
use airseal_format::recipient::{HPKE_INFO, Identity};
use airseal_format::*;
use common::*;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::{DhP256HkdfSha256, Kem, X25519HkdfSha256};
use hpke::{Deserializable, OpModeS, Serializable};

const DIGEST: Digest = Digest([0xD1; 32]);

struct Counter(u8);

impl hpke::rand_core::TryRng for Counter {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_le_bytes([self.0; 4]))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_le_bytes([self.0; 8]))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.fill(self.0);
        Ok(())
    }
}

impl hpke::rand_core::TryCryptoRng for Counter {}

fn hpke_seal<K: Kem>(suite: WrapSuite, public: &[u8], id: RecipientId) -> Vec<u8> {
    let header = Header::encode(suite, id, DIGEST);
    let info = [HPKE_INFO, &header].concat();
    let public = K::PublicKey::from_bytes(public).unwrap();
    let (enc, mut context) = hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, K>(
        &OpModeS::Base,
        &public,
        &info,
        &mut Counter(9),
    )
    .unwrap();
    let mut sealed = *content_key().expose();
    let tag = context
        .seal_inout_detached(sealed.as_mut_slice().into(), b"")
        .unwrap();
    [&header[..], &enc.to_bytes(), &sealed, &tag.to_bytes()].concat()
}

fn x25519() -> X25519Identity {
    X25519Identity::new(*seed::derive(&[3; 32], Purpose::HpkeX25519))
}

fn all() -> Vec<(Box<dyn Identity>, Vec<u8>)> {
    let x = x25519();
    let p = P256Identity::new(seed::derive_p256(&[3; 32], Purpose::HpkeP256));
    let g = GroupIdentity::new([6; 32], 2);
    let x_envelope = hpke_seal::<X25519HkdfSha256>(x.suite(), x.public(), x.recipient_id());
    let p_envelope = hpke_seal::<DhP256HkdfSha256>(p.suite(), p.public(), p.recipient_id());
    let g_envelope = g.seal(DIGEST, &content_key()).to_vec();
    vec![
        (Box::new(x), x_envelope),
        (Box::new(p), p_envelope),
        (Box::new(g), g_envelope),
    ]
}

fn open(identity: &dyn Identity, bytes: &[u8]) -> Result<ContentKey, Error> {
    identity.unwrap(&Envelope::parse(bytes)?)
}

#[test]
fn each_suite_opens_what_was_sealed_to_it() {
    for (identity, envelope) in all() {
        assert_eq!(envelope.len(), identity.suite().envelope_len());
        let key = open(&*identity, &envelope).unwrap();
        assert_eq!(key.expose(), content_key().expose());
    }
}

#[test]
fn every_flipped_bit_of_an_envelope_is_refused() {
    for (identity, mut envelope) in all() {
        for bit in 0..envelope.len() * 8 {
            envelope[bit / 8] ^= 1 << (bit % 8);
            // RFC 7748 ignores the top bit of a public value, so the same key comes out of
            // the Diffie-Hellman; HPKE binds the bytes of enc, which is what refuses it.
            assert!(
                open(&*identity, &envelope).is_err(),
                "{:?} bit {bit}",
                identity.suite()
            );
            envelope[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn an_envelope_for_another_device_is_refused() {
    let other = X25519Identity::new([8; 32]);
    let (_, envelope) = &all()[0];
    assert_eq!(
        open(&other, envelope).err().unwrap().reason,
        Reason::NotARecipient
    );
}

#[test]
fn a_forged_envelope_with_the_right_id_is_refused() {
    let x = x25519();
    let stranger = X25519Identity::new([8; 32]);
    let forged = hpke_seal::<X25519HkdfSha256>(x.suite(), stranger.public(), x.recipient_id());
    assert_eq!(
        open(&x, &forged).err().unwrap().reason,
        Reason::UnwrapFailed
    );
}

#[test]
fn an_all_zero_shared_secret_is_refused() {
    let x = x25519();
    let mut envelope = all()[0].1.clone();
    for point in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        envelope[56..88].copy_from_slice(&point);
        assert_eq!(
            open(&x, &envelope).err().unwrap().reason,
            Reason::UnwrapFailed
        );
    }
}

#[test]
fn a_p256_point_off_the_curve_is_refused() {
    let (identity, mut envelope) = all().remove(1);
    envelope[57..121].fill(1);
    assert_eq!(
        open(&*identity, &envelope).err().unwrap().reason,
        Reason::UnwrapFailed
    );
}

#[test]
fn another_generation_of_the_group_is_not_a_recipient() {
    let older = GroupIdentity::new([6; 32], 1);
    let (_, envelope) = &all()[2];
    assert_eq!(
        open(&older, envelope).err().unwrap().reason,
        Reason::NotARecipient
    );
}

fn pack(mut envelopes: Vec<Vec<u8>>) -> Vec<u8> {
    envelopes.sort_by_key(|e| e[8..24].to_vec());
    envelopes.concat()
}

fn read(bytes: &[u8]) -> Result<usize, Error> {
    let mut known = 0;
    for entry in Pack::new(DIGEST, bytes)? {
        known += usize::from(matches!(entry?, PackEntry::Envelope(_)));
    }
    Ok(known)
}

#[test]
fn a_pack_skips_unknown_suites_and_keeps_its_rules() {
    let envelopes: Vec<_> = all().into_iter().map(|(_, e)| e).collect();
    assert_eq!(read(&pack(envelopes.clone())).unwrap(), 3);

    let mut unknown = Header::encode(WrapSuite::AesKeyWrap, RecipientId([0; 16]), DIGEST).to_vec();
    unknown[5] = 4;
    unknown[6..8].copy_from_slice(&60u16.to_le_bytes());
    unknown.extend([1; 4]);
    assert_eq!(
        read(&pack([envelopes.clone(), vec![unknown.clone()]].concat())).unwrap(),
        3
    );

    let reason = |bytes: &[u8]| read(bytes).unwrap_err().reason;
    let twice = [&envelopes[0][..], &envelopes[0]].concat();
    assert_eq!(reason(&twice), Reason::NotAscending);
    let mut other = envelopes[0].clone();
    other[24] ^= 1;
    assert_eq!(reason(&other), Reason::OtherRelease);
    assert_eq!(reason(&envelopes[0][..100]), Reason::Truncated);
    assert_eq!(reason(&[]), Reason::Missing);
    unknown[6..8].copy_from_slice(&55u16.to_le_bytes());
    assert_eq!(reason(&unknown), Reason::OutOfRange);
    unknown[6..8].copy_from_slice(&61u16.to_le_bytes());
    assert_eq!(reason(&unknown), Reason::Truncated);
}
