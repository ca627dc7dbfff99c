//! Wrap suite 1: HPKE with X25519.

use x25519_dalek::{PublicKey, StaticSecret};

use super::hpke::{self, Kem};
use super::{Identity, check_addressee, recipient_id, unwrap_failed};
use crate::cipher::ContentKey;
use crate::envelope::Envelope;
use crate::{Error, RecipientId, WrapSuite};

/// An X25519 key that opens envelopes.
pub struct X25519Identity {
    secret: StaticSecret,
    public: [u8; 32],
}

impl X25519Identity {
    /// From the 32 bytes of an RFC 7748 secret; computes the public key.
    pub fn new(secret: [u8; 32]) -> Self {
        let secret = StaticSecret::from(secret);
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    /// With the public key stored beside the secret, which saves one multiplication.
    pub fn with_public(secret: [u8; 32], public: [u8; 32]) -> Self {
        Self {
            secret: StaticSecret::from(secret),
            public,
        }
    }

    /// The public key, to seal to.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }
}

impl Identity for X25519Identity {
    fn recipient_id(&self) -> RecipientId {
        recipient_id(self.suite(), &self.public)
    }

    fn suite(&self) -> WrapSuite {
        WrapSuite::HpkeX25519
    }

    fn unwrap(&self, envelope: &Envelope<'_>) -> Result<ContentKey, Error> {
        check_addressee(self, envelope)?;
        let wrapped = envelope.wrapped();
        let enc: &[u8; 32] = wrapped.first_chunk().ok_or_else(unwrap_failed)?;
        let ciphertext: &[u8; 48] = wrapped.last_chunk().ok_or_else(unwrap_failed)?;
        let dh = self.secret.diffie_hellman(&PublicKey::from(*enc));
        if !dh.was_contributory() {
            return Err(unwrap_failed());
        }
        hpke::open(
            Kem(0x0020),
            dh.as_bytes(),
            enc,
            &self.public,
            envelope.header_bytes(),
            ciphertext,
        )
    }
}
