//! Who can open a release: one module per key wrap, and the ids of recipients.

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};

use crate::cipher::ContentKey;
use crate::envelope::Envelope;
use crate::{ClassId, Error, Part, Reason, RecipientId, VendorId, WrapSuite};

use self::carried::CarriedGroup;
use self::group::GroupIdentity;

mod hpke;

pub mod carried;
pub mod group;
#[cfg(feature = "p256")]
pub mod p256;
pub mod seed;
pub mod x25519;

/// A key that opens envelopes: the device side of a recipient.
pub trait Identity {
    /// The one recipient id this key looks for.
    fn recipient_id(&self) -> RecipientId;

    /// The one wrap suite this key opens.
    fn suite(&self) -> WrapSuite;

    /// Unwraps the content key. The result still has to match the release's commitment:
    /// [`crate::cipher::PayloadKeys::open`].
    ///
    /// # Errors
    /// `NotARecipient` for another id or suite, `UnwrapFailed` for anything that does not open.
    fn unwrap(&self, envelope: &Envelope<'_>) -> Result<ContentKey, Error>;

    /// The next generation of this key, where `carried` is wrapped under it in a release of
    /// this vendor and class; `None` for every key that is not a group's.
    fn successor(
        &self,
        carried: &CarriedGroup,
        vendor_id: VendorId,
        class_id: ClassId,
    ) -> Option<GroupIdentity> {
        let _ = (carried, vendor_id, class_id);
        None
    }
}

/// What every HPKE wrap of ours binds as `info`, in two parts.
pub const HPKE_INFO: &[u8] = b"airseal1 wrap";

/// The recipient id of a public key: X25519 32 bytes, P-256 65 bytes uncompressed.
pub fn recipient_id(suite: WrapSuite, public_key: &[u8]) -> RecipientId {
    let hash = Sha256::new_with_prefix(b"airseal1 rcpt")
        .chain_update([suite.number()])
        .chain_update(public_key)
        .finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    RecipientId(id)
}

/// The recipient id of a group key in its `generation`.
pub fn group_recipient_id(key: &[u8; 32], generation: u32) -> RecipientId {
    let mut id = [0; 16];
    Hkdf::<Sha256>::new(None, key)
        .expand(b"airseal1 rcpt id", &mut id[..12])
        .expect("12 bytes fit HKDF-SHA256");
    id[12..].copy_from_slice(&generation.to_le_bytes());
    RecipientId(id)
}

/// The generation in the recipient id of a group key.
pub fn group_generation(id: RecipientId) -> u32 {
    let mut generation = [0; 4];
    generation.copy_from_slice(&id.0[12..]);
    u32::from_le_bytes(generation)
}

fn check_addressee(identity: &impl Identity, envelope: &Envelope<'_>) -> Result<(), Error> {
    let is_ours = envelope.header().recipient_id == identity.recipient_id()
        && envelope.suite() == identity.suite();
    if is_ours {
        Ok(())
    } else {
        Err(Error::new(
            Part::Envelope,
            "recipient_id",
            8,
            Reason::NotARecipient,
        ))
    }
}

fn unwrap_failed() -> Error {
    Error::new(Part::Envelope, "wrapped_key", 56, Reason::UnwrapFailed)
}
