//! Wrapping the key of one image: RSA-OAEP, AES key wrap, ECIES on P-256 and X25519.

use aes::cipher::{KeyIvInit as _, StreamCipher, StreamCipherSeek};
use aes::{Aes128, Aes256};
use aws_lc_rs::hmac;
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use ctr::Ctr128BE;
use hkdf::Hkdf;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::layout::{
    TLV_WRAP_AES, TLV_WRAP_P256, TLV_WRAP_RSA, TLV_WRAP_X25519, TLV_WRAP_X25519_SHA512,
};
use crate::Error;
use crate::bridge::keys::{BridgeKey, rsa_bits};
use crate::entropy::{Entropy, SystemEntropy};

/// Whom the image's key is wrapped for.
pub enum Wrap {
    /// The holder of a private key; the key decides the scheme.
    Public {
        /// RSA-2048, P-256 or X25519.
        key: BridgeKey,
        /// For X25519: HKDF and HMAC with SHA-512.
        sha512: bool,
    },
    /// A key of 16 or 32 bytes that both sides hold.
    Shared(Zeroizing<Vec<u8>>),
}

/// What the image's key is unwrapped with.
pub enum Unwrap {
    /// RSA-2048, P-256 or X25519.
    Private(BridgeKey),
    /// A key of 16 or 32 bytes that both sides hold.
    Shared(Zeroizing<Vec<u8>>),
}

impl Wrap {
    /// Refuses what no bootloader can be built for.
    pub(super) fn check_pair(&self, signer: &BridgeKey) -> Result<(), Error> {
        let fits = match (signer.public()?, self) {
            (_, Wrap::Shared(_)) => true,
            (signer, Wrap::Public { key, .. }) => matches!(
                (signer, key.public()?),
                (BridgeKey::RsaPublic(_), BridgeKey::RsaPublic(_))
                    | (BridgeKey::P256Public(_), BridgeKey::P256Public(_))
                    | (BridgeKey::Ed25519Public(_), BridgeKey::X25519Public(_))
            ),
        };
        if fits {
            return Ok(());
        }
        let wrap = match self {
            Wrap::Public { key, .. } => key.kind(),
            Wrap::Shared(_) => "a shared key",
        };
        Err(Error::refused(
            "keys",
            format!(
                "a signature with {} and a key wrapped for {wrap} do not go together in MCUboot",
                signer.kind()
            ),
            "pairs that work (signature with wrap): RSA-2048 with RSA-2048, P-256 with P-256, Ed25519 with X25519, any with an AES key",
        ))
    }

    /// TLV type and value.
    pub(super) fn wrap(&self, key: &[u8]) -> Result<(u16, Vec<u8>), Error> {
        match self {
            Wrap::Shared(kek) => Ok((TLV_WRAP_AES, wrap_shared(kek, key)?)),
            Wrap::Public { key: to, sha512 } => match to.public()? {
                BridgeKey::RsaPublic(der) => Ok((TLV_WRAP_RSA, wrap_rsa(&der, key)?)),
                BridgeKey::P256Public(public) => {
                    let secret = one_time_p256()?;
                    let shared =
                        p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine());
                    let point = secret.public_key().to_sec1_bytes();
                    let secrets =
                        Secrets::derive(shared.raw_secret_bytes().as_slice(), key.len(), false)?;
                    Ok((TLV_WRAP_P256, secrets.seal(&point, key)?))
                }
                BridgeKey::X25519Public(public) => {
                    let mut seed = Zeroizing::new([0; 32]);
                    SystemEntropy.fill(seed.as_mut())?;
                    let secret = x25519_dalek::StaticSecret::from(*seed);
                    let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(public));
                    if !shared.was_contributory() {
                        return Err(Error::refused("key", "is a point of small order", ""));
                    }
                    let point = x25519_dalek::PublicKey::from(&secret);
                    let secrets = Secrets::derive(shared.as_bytes(), key.len(), *sha512)?;
                    let kind = if *sha512 {
                        TLV_WRAP_X25519_SHA512
                    } else {
                        TLV_WRAP_X25519
                    };
                    Ok((kind, secrets.seal(point.as_bytes(), key)?))
                }
                other => Err(Error::refused(
                    "key",
                    format!("nothing can be wrapped for {}", other.kind()),
                    "name an RSA-2048, P-256 or X25519 public key",
                )),
            },
        }
    }
}

impl Unwrap {
    /// The key of the image, `len` bytes.
    pub(super) fn unwrap(
        &self,
        name: &str,
        tlvs: &[(u16, Vec<u8>)],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let wanted: &[u16] = match self {
            Unwrap::Shared(_) => &[TLV_WRAP_AES],
            Unwrap::Private(BridgeKey::RsaPrivate(_)) => &[TLV_WRAP_RSA],
            Unwrap::Private(BridgeKey::P256Private(_)) => &[TLV_WRAP_P256],
            Unwrap::Private(BridgeKey::X25519Private(_)) => {
                &[TLV_WRAP_X25519, TLV_WRAP_X25519_SHA512]
            }
            Unwrap::Private(other) => {
                return Err(Error::refused(
                    name,
                    format!("{} opens no MCUboot image", other.kind()),
                    "name the private key it is encrypted for",
                ));
            }
        };
        let Some((kind, value)) = tlvs.iter().find(|(kind, _)| wanted.contains(kind)) else {
            return Err(Error::refused(
                name,
                "has no key wrapped for a key of this kind",
                "name the private key it is encrypted for",
            ));
        };
        let key = match self {
            Unwrap::Shared(kek) => unwrap_shared(kek, value),
            Unwrap::Private(BridgeKey::RsaPrivate(der)) => unwrap_rsa(der, value),
            Unwrap::Private(BridgeKey::P256Private(secret)) => open_p256(secret, value, len),
            Unwrap::Private(BridgeKey::X25519Private(secret)) => {
                open_x25519(secret, value, len, *kind == TLV_WRAP_X25519_SHA512)
            }
            Unwrap::Private(_) => None,
        };
        key.filter(|key| key.len() == len).ok_or_else(|| {
            Error::refused(
                name,
                format!("TLV {kind:#04x} does not open with this key"),
                "name the private key it is encrypted for, or copy the image again",
            )
        })
    }
}

/// AES-CTR in place, on bytes at `offset` of what begins with counter 0.
pub(super) fn counter_mode(key: &[u8], offset: u64, bytes: &mut [u8]) -> Result<(), Error> {
    fn apply(mut cipher: impl StreamCipher + StreamCipherSeek, offset: u64, bytes: &mut [u8]) {
        cipher.seek(offset);
        cipher.apply_keystream(bytes);
    }
    let wrong = |_| Error::refused("key", "has no length of AES", "");
    let nonce = [0; 16];
    if key.len() == 16 {
        let cipher = Ctr128BE::<Aes128>::new_from_slices(key, &nonce).map_err(wrong)?;
        apply(cipher, offset, bytes);
    } else {
        let cipher = Ctr128BE::<Aes256>::new_from_slices(key, &nonce).map_err(wrong)?;
        apply(cipher, offset, bytes);
    }
    Ok(())
}

/// What ECIES derives: a key for AES-CTR and one for HMAC.
struct Secrets {
    cipher: Zeroizing<Vec<u8>>,
    mac: hmac::Key,
}

impl Secrets {
    fn derive(shared: &[u8], key_len: usize, sha512: bool) -> Result<Secrets, Error> {
        let hash_len = if sha512 { 64 } else { 32 };
        let mut okm = Zeroizing::new(vec![0; key_len + hash_len]);
        if sha512 {
            Hkdf::<Sha512>::new(None, shared).expand(INFO, &mut okm)
        } else {
            Hkdf::<Sha256>::new(None, shared).expand(INFO, &mut okm)
        }
        .map_err(|_| Error::refused("key", "can't be derived", ""))?;
        let (cipher, mac) = okm.split_at(key_len);
        let algorithm = if sha512 {
            hmac::HMAC_SHA512
        } else {
            hmac::HMAC_SHA256
        };
        Ok(Secrets {
            cipher: Zeroizing::new(cipher.to_vec()),
            mac: hmac::Key::new(algorithm, mac),
        })
    }

    fn seal(&self, point: &[u8], key: &[u8]) -> Result<Vec<u8>, Error> {
        let mut sealed = key.to_vec();
        counter_mode(&self.cipher, 0, &mut sealed)?;
        let tag = hmac::sign(&self.mac, &sealed);
        Ok([point, tag.as_ref(), &sealed].concat())
    }

    fn open(&self, tag: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        hmac::verify(&self.mac, sealed, tag).ok()?;
        let mut key = Zeroizing::new(sealed.to_vec());
        counter_mode(&self.cipher, 0, &mut key).ok()?;
        Some(key)
    }
}

fn open_p256(secret: &p256::SecretKey, value: &[u8], len: usize) -> Option<Zeroizing<Vec<u8>>> {
    let (point, rest) = value.split_at_checked(65)?;
    let (tag, sealed) = rest.split_at_checked(32)?;
    let public = p256::PublicKey::from_sec1_bytes(point).ok()?;
    let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine());
    Secrets::derive(shared.raw_secret_bytes().as_slice(), len, false)
        .ok()?
        .open(tag, sealed)
}

fn open_x25519(
    secret: &[u8; 32],
    value: &[u8],
    len: usize,
    sha512: bool,
) -> Option<Zeroizing<Vec<u8>>> {
    let (point, rest) = value.split_first_chunk::<32>()?;
    let (tag, sealed) = rest.split_at_checked(if sha512 { 64 } else { 32 })?;
    let shared = x25519_dalek::StaticSecret::from(*secret)
        .diffie_hellman(&x25519_dalek::PublicKey::from(*point));
    if !shared.was_contributory() {
        return None;
    }
    Secrets::derive(shared.as_bytes(), len, sha512)
        .ok()?
        .open(tag, sealed)
}

fn one_time_p256() -> Result<p256::SecretKey, Error> {
    loop {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemEntropy.fill(bytes.as_mut())?;
        if let Ok(secret) = p256::SecretKey::from_slice(bytes.as_ref()) {
            return Ok(secret);
        }
    }
}

fn wrap_rsa(spki: &[u8], key: &[u8]) -> Result<Vec<u8>, Error> {
    let wrong = || Error::refused("RSA key", "is not of 2048 bits", "MCUboot knows no other");
    if rsa_bits(spki) != Some(2048) {
        return Err(wrong());
    }
    let public = PublicEncryptingKey::from_der(spki).map_err(|_| wrong())?;
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| wrong())?;
    let mut out = vec![0; public.ciphertext_size()];
    let len = public
        .encrypt(&OAEP_SHA256_MGF1SHA256, key, &mut out, None)
        .map_err(|_| wrong())?
        .len();
    out.truncate(len);
    Ok(out)
}

fn unwrap_rsa(pkcs8: &[u8], value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let private = PrivateDecryptingKey::from_pkcs8(pkcs8).ok()?;
    let private = OaepPrivateDecryptingKey::new(private).ok()?;
    let mut out = Zeroizing::new(vec![0; private.min_output_size()]);
    let key = private
        .decrypt(&OAEP_SHA256_MGF1SHA256, value, &mut out, None)
        .ok()?;
    Some(Zeroizing::new(key.to_vec()))
}

fn kek(kek: &[u8]) -> Option<AesKek> {
    let algorithm = if kek.len() == 16 { &AES_128 } else { &AES_256 };
    AesKek::new(algorithm, kek).ok()
}

fn wrap_shared(shared: &[u8], key: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0; key.len() + 8];
    let wrapped = kek(shared).and_then(|kek| Some(kek.wrap(key, &mut out).ok()?.len()));
    if wrapped != Some(out.len()) {
        return Err(Error::refused(
            "shared key",
            format!("has {} bytes", shared.len()),
            "needed are 16 or 32",
        ));
    }
    Ok(out)
}

fn unwrap_shared(shared: &[u8], value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(vec![0; value.len()]);
    let key = kek(shared)?.unwrap(value, &mut out).ok()?.to_vec();
    Some(Zeroizing::new(key))
}

const INFO: &[u8] = b"MCUBoot_ECIES_v1";

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may unwrap, and documents itself by its name"
    )]
    use super::*;

    #[test]
    fn counter_mode_in_pieces_is_counter_mode_of_the_whole() {
        for key in [&[1; 16][..], &[2; 32]] {
            let mut whole = [0; 100];
            counter_mode(key, 0, &mut whole).unwrap();
            let mut pieces = [0; 100];
            for (offset, piece) in (0..).step_by(37).zip(pieces.chunks_mut(37)) {
                counter_mode(key, offset, piece).unwrap();
            }
            assert_eq!(pieces, whole);
        }
        assert!(counter_mode(&[3; 24], 0, &mut [0; 16]).is_err());
    }
}
