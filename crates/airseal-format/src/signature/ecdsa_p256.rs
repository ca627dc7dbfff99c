//! ECDSA on P-256 with SHA-256, low-S only.

use crate::Reason;

#[cfg(feature = "p256")]
pub(super) use verifier::{check_key, verify};

#[cfg(feature = "p256")]
mod verifier {
    use p256::ecdsa::signature::hazmat::PrehashVerifier;
    use p256::ecdsa::{Signature, VerifyingKey};
    use sha2::{Digest, Sha256};

    use super::Reason;

    pub(crate) fn check_key(bytes: &[u8; 65]) -> Result<(), Reason> {
        key(bytes).map(|_| ())
    }

    /// The library accepts both values of s; the format accepts only the low one.
    pub(crate) fn verify(
        key_bytes: &[u8; 65],
        message: &[&[u8]],
        signature: &[u8; 64],
    ) -> Result<(), Reason> {
        let key = key(key_bytes)?;
        let signature = Signature::from_slice(signature).map_err(|_| Reason::BadSignature)?;
        if signature.normalize_s() != signature {
            return Err(Reason::HighS);
        }
        let mut hash = Sha256::new();
        for part in message {
            hash.update(part);
        }
        key.verify_prehash(&hash.finalize(), &signature)
            .map_err(|_| Reason::BadSignature)
    }

    fn key(bytes: &[u8; 65]) -> Result<VerifyingKey, Reason> {
        if bytes[0] != 4 {
            return Err(Reason::BadKey);
        }
        VerifyingKey::from_sec1_bytes(bytes).map_err(|_| Reason::BadKey)
    }
}

#[cfg(not(feature = "p256"))]
pub(super) fn check_key(_: &[u8; 65]) -> Result<(), Reason> {
    Err(Reason::Unsupported)
}

#[cfg(not(feature = "p256"))]
pub(super) fn verify(_: &[u8; 65], _: &[&[u8]], _: &[u8; 64]) -> Result<(), Reason> {
    Err(Reason::Unsupported)
}
