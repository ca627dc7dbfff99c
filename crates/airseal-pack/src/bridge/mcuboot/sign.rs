//! The signature TLVs: RSA-2048 PSS, ECDSA P-256, Ed25519 over the hash.

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{
    RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};

use super::key_hash;
use super::layout::{Parsed, TLV_ECDSA, TLV_ED25519, TLV_KEY_HASH, TLV_RSA2048};
use crate::Error;
use crate::bridge::keys::{BridgeKey, rsa_pkcs1};

/// Type and value of the signature over the image whose SHA-256 is `digest`.
pub(super) fn sign(key: &BridgeKey, digest: &[u8; 32]) -> Result<(u16, Vec<u8>), Error> {
    let failed = || Error::refused("signing key", "can't sign", "make a new one");
    match key {
        BridgeKey::RsaPrivate(der) => {
            let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| failed())?;
            let mut signature = vec![0; pair.public_modulus_len()];
            Digest::import_less_safe(digest, &SHA256)
                .and_then(|digest| pair.sign_digest(&RSA_PSS_SHA256, &digest, &mut signature))
                .map_err(|_| failed())?;
            Ok((TLV_RSA2048, signature))
        }
        BridgeKey::P256Private(secret) => {
            let signature: p256::ecdsa::Signature = p256::ecdsa::SigningKey::from(secret)
                .sign_prehash(digest)
                .map_err(|_| failed())?;
            Ok((TLV_ECDSA, signature.to_der().as_bytes().to_vec()))
        }
        BridgeKey::Ed25519Private(seed) => {
            let signature = ed25519_dalek::SigningKey::from_bytes(seed).sign(digest);
            Ok((TLV_ED25519, signature.to_bytes().to_vec()))
        }
        other => Err(Error::refused(
            "signing key",
            format!("{} can't sign an MCUboot image", other.kind()),
            "name an RSA-2048, P-256 or Ed25519 private key",
        )),
    }
}

/// Checks the signature of `signer`.
pub(super) fn verify(
    name: &str,
    signer: &BridgeKey,
    digest: &[u8; 32],
    parsed: &Parsed,
) -> Result<(), Error> {
    let public = signer.public()?;
    let kind = match &public {
        BridgeKey::RsaPublic(_) => TLV_RSA2048,
        BridgeKey::P256Public(_) => TLV_ECDSA,
        BridgeKey::Ed25519Public(_) => TLV_ED25519,
        other => {
            return Err(Error::refused(
                name,
                format!("{} does not verify signatures", other.kind()),
                "name the signer's public key",
            ));
        }
    };
    if parsed.value(TLV_KEY_HASH) != Some(key_hash(&public)?.as_slice()) {
        return Err(Error::refused(
            name,
            "TLV 0x01 names another signing key",
            "name the public key of who signed it",
        ));
    }
    let bad = || {
        Error::refused(
            name,
            format!("the signature in TLV {kind:#04x} is wrong"),
            "do not install it: it was changed after signing",
        )
    };
    let signature = parsed.value(kind).ok_or_else(|| {
        Error::refused(
            name,
            format!("has no signature in TLV {kind:#04x}"),
            "have it signed with this key",
        )
    })?;
    match &public {
        BridgeKey::RsaPublic(der) => {
            let key = rsa_pkcs1(der).unwrap_or_default();
            Digest::import_less_safe(digest, &SHA256)
                .and_then(|digest| {
                    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key)
                        .verify_digest(&digest, signature)
                })
                .map_err(|_| bad())
        }
        BridgeKey::P256Public(key) => {
            let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| bad())?;
            p256::ecdsa::VerifyingKey::from(key)
                .verify_prehash(digest, &signature)
                .map_err(|_| bad())
        }
        BridgeKey::Ed25519Public(key) => {
            let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| bad())?;
            ed25519_dalek::VerifyingKey::from_bytes(key)
                .and_then(|key| key.verify_strict(digest, &signature))
                .map_err(|_| bad())
        }
        _ => Err(bad()),
    }
}
