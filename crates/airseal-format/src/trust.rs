//! Verification under bare public keys, for hosts: any one of the keys given.

use crate::keyset::{CarriedOrder, SignedKeyset};
use crate::manifest::SIGNING_CONTEXT;
use crate::signature::{SignatureBlock, SigningPublicKey};
use crate::{Error, KeysetVersion, Part, Reason, UnverifiedManifest, VerifiedManifest};

/// Trust without a keyset: public keys of which any one may sign. Thresholds need a keyset.
pub struct TrustAnchor<'k> {
    keys: &'k [SigningPublicKey],
}

impl<'k> TrustAnchor<'k> {
    /// Trusts each of `keys`.
    ///
    /// # Errors
    /// `BadKey` when a key is not canonical or of small order, `Missing` without keys.
    pub fn new(keys: &'k [SigningPublicKey]) -> Result<Self, Error> {
        if keys.is_empty() {
            return Err(refuse("public_key", Reason::Missing));
        }
        for key in keys {
            key.check().map_err(|reason| refuse("public_key", reason))?;
        }
        Ok(Self { keys })
    }

    /// Checks that at least one trusted key signed, and that none of their signatures is bad.
    ///
    /// # Errors
    /// `BadSignature` (and its kin) or `TooFewSignatures`.
    pub fn verify_manifest<'m>(
        &self,
        manifest: UnverifiedManifest<'m>,
        signatures: &SignatureBlock<'_>,
    ) -> Result<VerifiedManifest<'m>, Error> {
        let mut valid = 0;
        for entry in signatures.entries() {
            let known = self.keys.iter().find(|key| key.key_id() == entry.key_id);
            let Some(key) = known else { continue };
            if key.algorithm() != entry.algorithm {
                return Err(entry.refuse("algorithm", Reason::KeyMismatch));
            }
            let ed25519_key = match key {
                SigningPublicKey::Ed25519(bytes) => *bytes,
                SigningPublicKey::EcdsaP256(_) => [0; 32],
            };
            entry.verify(
                &ed25519_key,
                |carried| carried == key.as_bytes(),
                &[SIGNING_CONTEXT, manifest.signed_bytes()],
            )?;
            valid += 1;
        }
        if valid == 0 {
            return Err(refuse("count", Reason::TooFewSignatures));
        }
        Ok(manifest.vouched_for(KeysetVersion(0)))
    }
}

/// Checks the keysets a bundle carries when no keyset is in force: the first by its own
/// roots, each next by the rules against the one before.
///
/// # Errors
/// The rule that fails.
pub fn check_carried_keysets<'k>(
    keysets: impl Iterator<Item = Result<SignedKeyset<'k>, Error>>,
) -> Result<(), Error> {
    let mut last = None;
    let mut order = CarriedOrder::default();
    for keyset in keysets {
        let keyset = keyset?;
        order.check(&keyset.keyset)?;
        last = Some(match last {
            None => keyset.verify_by_itself()?,
            Some(last) => keyset.verify_after(&last)?,
        });
    }
    Ok(())
}

fn refuse(field: &'static str, reason: Reason) -> Error {
    Error::new(Part::Signatures, field, 0, reason)
}
