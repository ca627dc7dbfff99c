//! Wrap suite 3: AES-256 key wrap (RFC 3394) under a group key.

use aes_kw::KwAes256;
use aes_kw::cipher::KeyInit;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::carried::CarriedGroup;
use super::{Identity, check_addressee, group_recipient_id, unwrap_failed};
use crate::cipher::ContentKey;
use crate::envelope::{Envelope, HEADER_LEN, Header};
use crate::{ClassId, Digest, Error, RecipientId, VendorId, WrapSuite};

/// A symmetric key that a group of devices shares, in one of its generations.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct GroupIdentity {
    key: [u8; 32],
    generation: u32,
}

impl GroupIdentity {
    /// Takes key and generation.
    pub fn new(key: [u8; 32], generation: u32) -> Self {
        Self { key, generation }
    }

    /// The generation, which is part of the recipient id.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The key, to wrap its successor under it or to wrap it under its predecessor.
    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.key
    }

    /// Wraps a content key for the group: a whole envelope of 96 bytes.
    pub fn seal(&self, manifest_digest: Digest, content_key: &ContentKey) -> [u8; 96] {
        let header = Header::encode(self.suite(), self.recipient_id(), manifest_digest);
        let mut out = [0; 96];
        let (head, wrapped) = out.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header);
        self.kek(&header)
            .wrap_key(content_key.expose(), wrapped)
            .expect("32 bytes wrap into 40");
        out
    }

    fn kek(&self, envelope_header: &[u8]) -> KwAes256 {
        let mut kek = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &self.key)
            .expand_multi_info(&[b"airseal1 kw", envelope_header], kek.as_mut())
            .expect("32 bytes fit HKDF-SHA256");
        KwAes256::new((&*kek).into())
    }
}

impl Identity for GroupIdentity {
    fn recipient_id(&self) -> RecipientId {
        group_recipient_id(&self.key, self.generation)
    }

    fn suite(&self) -> WrapSuite {
        WrapSuite::AesKeyWrap
    }

    fn unwrap(&self, envelope: &Envelope<'_>) -> Result<ContentKey, Error> {
        check_addressee(self, envelope)?;
        let mut key = Zeroizing::new([0; 32]);
        self.kek(envelope.header_bytes())
            .unwrap_key(envelope.wrapped(), key.as_mut())
            .map_err(|_| unwrap_failed())?;
        Ok(ContentKey::new(*key))
    }

    fn successor(
        &self,
        carried: &CarriedGroup,
        vendor_id: VendorId,
        class_id: ClassId,
    ) -> Option<GroupIdentity> {
        carried.unwrap(self, vendor_id, class_id)
    }
}
