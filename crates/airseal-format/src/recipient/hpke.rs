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
    let (key, nonce) = key_schedule(kem, &shared_secret, &[HPKE_INFO, envelope_header]);
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
    info: &[&[u8]],
) -> (Zeroizing<[u8; 32]>, [u8; 12]) {
    const MODE_BASE: u8 = 0;
    let [hi, lo] = kem.0.to_be_bytes();
    let suite_id = [b'H', b'P', b'K', b'E', hi, lo, 0, 1, 0, 3];
    let psk_id_hash = extracted(&labeled_extract(&suite_id, b"", b"psk_id_hash", &[]));
    let info_hash = extracted(&labeled_extract(&suite_id, b"", b"info_hash", info));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Both appendices use this info.
    const INFO: &[u8] = b"Ode on a Grecian Urn";

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let mut out = [0; N];
        hex::decode_to_slice(hex, &mut out).expect("hex of the right length");
        out
    }

    fn check(kem: Kem, dh: &[u8], enc: &[u8], public: &[u8], secret: &str, key: &str, nonce: &str) {
        let shared_secret = extract_and_expand(kem, dh, enc, public);
        assert_eq!(*shared_secret, bytes(secret));
        let (got_key, got_nonce) = key_schedule(kem, &shared_secret, &[&INFO[..4], &INFO[4..]]);
        assert_eq!(*got_key, bytes(key));
        assert_eq!(got_nonce, bytes::<12>(nonce));
    }

    #[test]
    fn rfc_9180_a_2_1_x25519() {
        let secret =
            bytes::<32>("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        let public =
            bytes::<32>("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
        let enc = bytes::<32>("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
        let dh = x25519_dalek::StaticSecret::from(secret).diffie_hellman(&enc.into());
        check(
            Kem(0x0020),
            dh.as_bytes(),
            &enc,
            &public,
            "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7",
            "ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91",
            "5c4d98150661b848853b547f",
        );
    }

    #[cfg(feature = "p256")]
    #[test]
    fn rfc_9180_a_5_1_p256() {
        let secret =
            bytes::<32>("a4d1c55836aa30f9b3fbb6ac98d338c877c2867dd3a77396d13f68d3ab150d3b");
        let public = bytes::<65>(
            "04a697bffde9405c992883c5c439d6cc358170b51af72812333b015621dc0f40ba\
             d9bb726f68a5c013806a790ec716ab8669f84f6b694596c2987cf35baba2a006",
        );
        let enc = bytes::<65>(
            "04c07836a0206e04e31d8ae99bfd549380b072a1b1b82e563c935c095827824fc1\
             559eac6fb9e3c70cd3193968994e7fe9781aa103f5b50e934b5b2f387e381291",
        );
        let secret = ::p256::SecretKey::from_slice(&secret).expect("a valid scalar");
        let sender = ::p256::PublicKey::from_sec1_bytes(&enc).expect("a valid point");
        let dh = ::p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), sender.as_affine());
        check(
            Kem(0x0010),
            dh.raw_secret_bytes(),
            &enc,
            &public,
            "806520f82ef0b03c823b7fc524b6b55a088f566b9751b89551c170f4113bd850",
            "a8f45490a92a3b04d1dbf6cf2c3939ad8bfc9bfcb97c04bffe116730c9dfe3fc",
            "726b4390ed2209809f58c693",
        );
    }
}
