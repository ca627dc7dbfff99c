//! Offers: fresh, signed online, bound to one device's nonce.

use crate::keyset::TrustedKeyset;
use crate::wire::Reader;
use crate::{Digest, Error, KeyId, KeysetVersion, Part, Reason, RecipientId};

/// Length of an offer, bytes.
pub const LEN: usize = 152;
/// Length of the part that is signed, bytes.
pub const SIGNED_LEN: usize = 88;
/// What stands before the signed part in the message that is signed.
pub const SIGNING_CONTEXT: &[u8] = b"airseal1 offer\0";

/// What an offer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Install the named release.
    Install,
    /// Nothing is newer than the installed release.
    NothingNewer,
}

/// A well-formed offer. Nobody vouches for it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What it says.
    pub purpose: Purpose,
    /// The nonce it answers.
    pub device_nonce: [u8; 16],
    /// The id the device polled with.
    pub recipient_id: RecipientId,
    /// The release to install, or the installed one.
    pub manifest_digest: Digest,
    /// Installing waits while the keyset in force is older.
    pub keyset_version: KeysetVersion,
    /// Seconds from the nonce for which it holds.
    pub valid_for: u32,
    /// The offer key that signed it.
    pub key_id: KeyId,
}

/// What the device asked, to compare an offer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The nonce drawn for this poll.
    pub device_nonce: [u8; 16],
    /// The id polled with.
    pub recipient_id: RecipientId,
}

impl Offer {
    /// Reads an offer without its signature's verification.
    ///
    /// # Errors
    /// Names the field and its offset.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(Part::Offer, bytes);
        r.expect(b"ASO1", "magic", Reason::Magic)?;
        r.expect(&[1], "major", Reason::Version)?;
        let purpose = match r.u8("purpose")? {
            0 => Purpose::Install,
            1 => Purpose::NothingNewer,
            _ => return Err(r.refuse("purpose", Reason::UnknownValue)),
        };
        r.expect_u16(152, "len", Reason::OutOfRange)?;
        let device_nonce = r.array("device_nonce")?;
        let recipient_id = RecipientId(r.array("recipient_id")?);
        let manifest_digest = Digest(r.array("manifest_digest")?);
        let keyset_version = KeysetVersion(r.u32("keyset_version")?);
        let valid_for = r.u32("valid_for")?;
        if valid_for == 0 {
            return Err(r.refuse("valid_for", Reason::OutOfRange));
        }
        let key_id = KeyId(r.array("key_id")?);
        r.take(64, "signature")?;
        r.finish()?;
        Ok(Self {
            purpose,
            device_nonce,
            recipient_id,
            manifest_digest,
            keyset_version,
            valid_for,
            key_id,
        })
    }

    /// Reads an offer and checks its signature under an offer key of `keyset` and that it
    /// answers `question`.
    ///
    /// # Errors
    /// The field that is wrong; `OfferMismatch` for an answer to another question.
    pub fn verify(
        bytes: &[u8],
        keyset: &TrustedKeyset<'_>,
        question: &Question,
    ) -> Result<Self, Error> {
        let offer = Self::parse(bytes)?;
        let refuse = |field, offset, reason| Error::new(Part::Offer, field, offset, reason);
        let key = keyset
            .offer_key(offer.key_id)
            .ok_or(refuse("key_id", 80, Reason::WrongRole))?;
        let (signed, signature) = bytes.split_at(SIGNED_LEN);
        let signature =
            signature
                .first_chunk()
                .ok_or(refuse("signature", 88, Reason::Truncated))?;
        key.verify(&[SIGNING_CONTEXT, signed], signature)
            .map_err(|reason| refuse("signature", 88, reason))?;
        if offer.device_nonce != question.device_nonce {
            return Err(refuse("device_nonce", 8, Reason::OfferMismatch));
        }
        if offer.recipient_id != question.recipient_id {
            return Err(refuse("recipient_id", 24, Reason::OfferMismatch));
        }
        Ok(offer)
    }

    /// The part that is signed; the signature follows it.
    pub fn encode_signed(&self) -> [u8; SIGNED_LEN] {
        let mut out = [0; SIGNED_LEN];
        out[..4].copy_from_slice(b"ASO1");
        out[4] = 1;
        out[5] = match self.purpose {
            Purpose::Install => 0,
            Purpose::NothingNewer => 1,
        };
        out[6..8].copy_from_slice(&152u16.to_le_bytes());
        out[8..24].copy_from_slice(&self.device_nonce);
        out[24..40].copy_from_slice(&self.recipient_id.0);
        out[40..72].copy_from_slice(&self.manifest_digest.0);
        out[72..76].copy_from_slice(&self.keyset_version.0.to_le_bytes());
        out[76..80].copy_from_slice(&self.valid_for.to_le_bytes());
        out[80..88].copy_from_slice(&self.key_id.0);
        out
    }
}
