//! Ed25519 (RFC 8032), cofactorless, canonical and of full order.

use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::{Signature, VerifyingKey};

use crate::Reason;

/// The library decodes 24 non-canonical encodings, so the key is encoded again and compared.
pub(super) fn check_key(bytes: &[u8; 32]) -> Result<(), Reason> {
    full_order_key(bytes).map(|_| ())
}

pub(super) fn verify(
    key: &[u8; 32],
    message: &[&[u8]],
    signature: &[u8; 64],
) -> Result<(), Reason> {
    let key = full_order_key(key)?;
    let signature = Signature::from_bytes(signature);
    // The recomputed R is compared as bytes, so only a canonical R passes; its order
    // is the one thing the equation leaves open.
    let r = CompressedEdwardsY(*signature.r_bytes())
        .decompress()
        .ok_or(Reason::BadSignature)?;
    if r.is_small_order() {
        return Err(Reason::BadSignature);
    }
    let mut verifier = key
        .verify_stream(&signature)
        .map_err(|_| Reason::BadSignature)?;
    for part in message {
        verifier.update(part);
    }
    verifier
        .finalize_and_verify()
        .map_err(|_| Reason::BadSignature)
}

fn full_order_key(bytes: &[u8; 32]) -> Result<VerifyingKey, Reason> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| Reason::BadKey)?;
    if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
        return Err(Reason::BadKey);
    }
    Ok(key)
}
