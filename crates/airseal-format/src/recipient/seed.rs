//! Device keys derived from one seed, which may be an eFuse HMAC key that never leaves the chip.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What a derived key is for. Different purposes never share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Opening X25519 envelopes.
    HpkeX25519,
    /// Opening P-256 envelopes.
    HpkeP256,
    /// The static key of Noise connections.
    NoiseX25519,
    /// Signing requests and TLS handshakes, Ed25519 seed.
    Request,
    /// Signing requests, P-256.
    RequestP256,
}

impl Purpose {
    /// The label that is authenticated with the seed.
    pub fn label(self) -> &'static [u8] {
        match self {
            Purpose::HpkeX25519 => b"airseal1 hpke x25519",
            Purpose::HpkeP256 => b"airseal1 hpke p256",
            Purpose::NoiseX25519 => b"airseal1 noise x25519",
            Purpose::Request => b"airseal1 request",
            Purpose::RequestP256 => b"airseal1 request p256",
        }
    }
}

/// HMAC-SHA256(seed, label): the secret of a 32-byte purpose.
pub fn derive(seed: &[u8; 32], purpose: Purpose) -> Zeroizing<[u8; 32]> {
    hmac(seed, &[purpose.label()])
}

/// The P-256 secret of `purpose`: the first HMAC-SHA256(seed, label || counter) in range.
#[cfg(feature = "p256")]
pub fn derive_p256(seed: &[u8; 32], purpose: Purpose) -> ::p256::SecretKey {
    (0..=u8::MAX)
        .find_map(|counter| {
            let candidate = hmac(seed, &[purpose.label(), &[counter]]);
            ::p256::SecretKey::from_slice(candidate.as_ref()).ok()
        })
        .expect("256 candidates outside the range have probability 2^-8192")
}

fn hmac(seed: &[u8; 32], message: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(seed).expect("HMAC takes any key");
    for part in message {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}
