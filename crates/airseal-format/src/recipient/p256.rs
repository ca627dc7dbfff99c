//! Wrap suite 2: HPKE with P-256.

use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};

use super::hpke::{self, Kem};
use super::{Identity, check_addressee, recipient_id, unwrap_failed};
use crate::cipher::ContentKey;
use crate::envelope::Envelope;
use crate::{Error, RecipientId, WrapSuite};

/// A P-256 key that opens envelopes.
pub struct P256Identity {
    secret: SecretKey,
    public: [u8; 65],
}

impl P256Identity {
    /// From the secret key; computes the public key.
    pub fn new(secret: SecretKey) -> Self {
        let mut public = [0; 65];
        public.copy_from_slice(secret.public_key().to_sec1_point(false).as_bytes());
        Self { secret, public }
    }

    /// The public key, uncompressed, to seal to.
    pub fn public(&self) -> &[u8; 65] {
        &self.public
    }
}

impl Identity for P256Identity {
    fn recipient_id(&self) -> RecipientId {
        recipient_id(self.suite(), &self.public)
    }

    fn suite(&self) -> WrapSuite {
        WrapSuite::HpkeP256
    }

    fn unwrap(&self, envelope: &Envelope<'_>) -> Result<ContentKey, Error> {
        check_addressee(self, envelope)?;
        let wrapped = envelope.wrapped();
        let enc: &[u8; 65] = wrapped.first_chunk().ok_or_else(unwrap_failed)?;
        let ciphertext: &[u8; 48] = wrapped.last_chunk().ok_or_else(unwrap_failed)?;
        if enc[0] != 4 {
            return Err(unwrap_failed());
        }
        let sender = PublicKey::from_sec1_bytes(enc).map_err(|_| unwrap_failed())?;
        let dh = p256::ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), sender.as_affine());
        hpke::open(
            Kem(0x0010),
            dh.raw_secret_bytes(),
            enc,
            &self.public,
            envelope.header_bytes(),
            ciphertext,
        )
    }
}
