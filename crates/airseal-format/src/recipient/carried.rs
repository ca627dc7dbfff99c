//! A group key's next generation, carried inside a release for those who hold the one before.

use aes_kw::KwAes256;
use aes_kw::cipher::KeyInit;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::group::GroupIdentity;
use super::{Identity, group_generation};
use crate::{ClassId, Error, Part, Reason, RecipientId, VendorId};

/// Length of one entry of the extension, bytes.
pub const ENTRY_LEN: usize = 60;

/// One entry of the *carried group keys* extension: the successor of one group key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarriedGroup {
    /// The key it is wrapped under.
    pub old: RecipientId,
    /// Generation of the key inside, higher than that of `old`.
    pub generation: u32,
    /// The key, wrapped.
    pub wrapped: [u8; 40],
}

impl CarriedGroup {
    /// Wraps `new` under `old`, for releases of this vendor and class.
    pub fn wrap(
        old: &GroupIdentity,
        new: &GroupIdentity,
        vendor_id: VendorId,
        class_id: ClassId,
    ) -> Self {
        let mut carried = Self {
            old: old.recipient_id(),
            generation: new.generation(),
            wrapped: [0; 40],
        };
        let kek = carried.kek(old, vendor_id, class_id);
        kek.wrap_key(new.expose(), &mut carried.wrapped)
            .expect("32 bytes wrap into 40");
        carried
    }

    /// The next generation, where `old` is the key it was wrapped under; `None` for anything
    /// that does not open.
    pub fn unwrap(
        &self,
        old: &GroupIdentity,
        vendor_id: VendorId,
        class_id: ClassId,
    ) -> Option<GroupIdentity> {
        if self.old != old.recipient_id() {
            return None;
        }
        let mut key = Zeroizing::new([0; 32]);
        self.kek(old, vendor_id, class_id)
            .unwrap_key(&self.wrapped, key.as_mut())
            .ok()?;
        Some(GroupIdentity::new(*key, self.generation))
    }

    /// The entry's bytes.
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut out = [0; ENTRY_LEN];
        out[..16].copy_from_slice(&self.old.0);
        out[16..20].copy_from_slice(&self.generation.to_le_bytes());
        out[20..].copy_from_slice(&self.wrapped);
        out
    }

    /// Reads an entry. Its rules are those of the whole extension, which a manifest's reader
    /// checked.
    pub fn parse(entry: &[u8; ENTRY_LEN]) -> Self {
        let mut carried = Self {
            old: RecipientId([0; 16]),
            generation: 0,
            wrapped: [0; 40],
        };
        let mut generation = [0; 4];
        carried.old.0.copy_from_slice(&entry[..16]);
        generation.copy_from_slice(&entry[16..20]);
        carried.generation = u32::from_le_bytes(generation);
        carried.wrapped.copy_from_slice(&entry[20..]);
        carried
    }

    fn kek(&self, old: &GroupIdentity, vendor_id: VendorId, class_id: ClassId) -> KwAes256 {
        let info: [&[u8]; 5] = [
            b"airseal1 next group",
            &vendor_id.0,
            &class_id.0,
            &self.old.0,
            &self.generation.to_le_bytes(),
        ];
        let mut kek = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, old.expose())
            .expand_multi_info(&info, kek.as_mut())
            .expect("32 bytes fit HKDF-SHA256");
        KwAes256::new((&*kek).into())
    }
}

/// Checks the extension's value, which lies `at` bytes into the manifest: whole entries, at
/// least one, ascending by old key, each of a higher generation than its old key.
pub(crate) fn check(value: &[u8], at: usize) -> Result<(), Error> {
    let refuse = |reason| Err(Error::new(Part::Manifest, "carried_groups", at, reason));
    let (entries, rest) = value.as_chunks::<ENTRY_LEN>();
    if entries.is_empty() || !rest.is_empty() {
        return refuse(Reason::OutOfRange);
    }
    let mut last: Option<RecipientId> = None;
    for carried in entries.iter().map(CarriedGroup::parse) {
        if last.is_some_and(|last| carried.old <= last) {
            return refuse(Reason::NotAscending);
        }
        if carried.generation <= group_generation(carried.old) {
            return refuse(Reason::OutOfRange);
        }
        last = Some(carried.old);
    }
    Ok(())
}
