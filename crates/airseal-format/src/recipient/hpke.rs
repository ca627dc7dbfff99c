//! HPKE base mode, receiver side, for one message (RFC 9180).
//!
//! Written over the workspace's primitives because on a device it costs half the
//! instructions and stack of the general crate, whose sender seals our envelopes, so
//! that each tests the other. KDF HKDF-SHA256, AEAD ChaCha20-Poly1305, aad empty.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{HPKE_INFO, unwrap_failed};
use crate::Error;
use crate::cipher::ContentKey;

/// The key encapsulation mechanism's number in RFC 9180, section 7.1.
#[derive(Clone, Copy)]
pub(super) struct Kem(pub(super) u16);

/// Opens `ciphertext` (32 bytes and a 16-byte tag) given the Diffie-Hellman result.
pub(super) fn open(
    kem: Kem,
    dh: &[u8],
    enc: &[u8],
    recipient_public: &[u8],
    envelope_header: &[u8],
    ciphertext: &[u8; 48],
) -> Result<ContentKey, Error> {
    let shared_secret = extract_and_expand(kem, dh, enc, recipient_public);
    let (key, nonce) = key_schedule(kem, &shared_secret, envelope_header);
    let mut plaintext = Zeroizing::new([0; 32]);
    let (body, tag) = ciphertext.split_at(32);
    plaintext.copy_from_slice(body);
    let tag = Tag::try_from(tag).map_err(|_| unwrap_failed())?;
    ChaCha20Poly1305::new((&*key).into())
        .decrypt_inout_detached((&nonce).into(), b"", plaintext.as_mut_slice().into(), &tag)
        .map_err(|_| unwrap_failed())?;
    Ok(ContentKey::new(*plaintext))
}

/// RFC 9180, section 4.1: ExtractAndExpand.
fn extract_and_expand(
    kem: Kem,
    dh: &[u8],
    enc: &[u8],
    recipient_public: &[u8],
) -> Zeroizing<[u8; 32]> {
    let [hi, lo] = kem.0.to_be_bytes();
    let suite_id = [b'K', b'E', b'M', hi, lo];
    let prk = labeled_extract(&suite_id, b"", b"eae_prk", &[dh]);
    labeled_expand(&suite_id, &prk, b"shared_secret", &[enc, recipient_public])
}

/// RFC 9180, section 5.1: KeySchedule in base mode; psk and psk_id are empty.
fn key_schedule(
    kem: Kem,
    shared_secret: &[u8; 32],
    envelope_header: &[u8],
) -> (Zeroizing<[u8; 32]>, [u8; 12]) {
    const MODE_BASE: u8 = 0;
    let [hi, lo] = kem.0.to_be_bytes();
    let suite_id = [b'H', b'P', b'K', b'E', hi, lo, 0, 1, 0, 3];
    let psk_id_hash = extracted(&labeled_extract(&suite_id, b"", b"psk_id_hash", &[]));
    let info_hash = extracted(&labeled_extract(
        &suite_id,
        b"",
        b"info_hash",
        &[HPKE_INFO, envelope_header],
    ));
    let context: [&[u8]; 3] = [&[MODE_BASE], &psk_id_hash, &info_hash];
    let secret = labeled_extract(&suite_id, shared_secret, b"secret", &[]);
    let key = labeled_expand(&suite_id, &secret, b"key", &context);
    let nonce = labeled_expand::<12>(&suite_id, &secret, b"base_nonce", &context);
    (key, *nonce)
}

/// A pseudo-random key, kept as bytes so that it is wiped.
struct Prk(Zeroizing<[u8; 32]>);

fn extracted(prk: &Prk) -> [u8; 32] {
    *prk.0
}

fn labeled_extract(suite_id: &[u8], salt: &[u8], label: &[u8], ikm: &[&[u8]]) -> Prk {
    let mut extract = hkdf::HkdfExtract::<Sha256>::new(Some(salt));
    extract.input_ikm(b"HPKE-v1");
    extract.input_ikm(suite_id);
    extract.input_ikm(label);
    for part in ikm {
        extract.input_ikm(part);
    }
    let (prk, _) = extract.finalize();
    Prk(Zeroizing::new(prk.into()))
}

fn labeled_expand<const N: usize>(
    suite_id: &[u8],
    prk: &Prk,
    label: &[u8],
    info: &[&[u8]],
) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    let len = u16::try_from(N).unwrap_or(u16::MAX).to_be_bytes();
    let mut parts: [&[u8]; 8] = [&[]; 8];
    let head: [&[u8]; 4] = [&len, b"HPKE-v1", suite_id, label];
    for (slot, part) in parts.iter_mut().zip(head.iter().chain(info)) {
        *slot = part;
    }
    let kdf = Hkdf::<Sha256>::from_prk(prk.0.as_ref()).expect("32 bytes are a SHA-256 key");
    kdf.expand_multi_info(&parts, out.as_mut())
        .expect("at most 32 bytes fit HKDF-SHA256");
    out
}
