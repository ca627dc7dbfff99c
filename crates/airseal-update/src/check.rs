//! Everything that is decided about a release before a slot is touched.
//!
//! [`check`] turns a verified manifest into a [`Checked`] one, [`Checked::unlock`] adds the
//! keys; the result is a [`Clearance`], which nothing else can make and without which
//! [`crate::install`] erases nothing.

use airseal_format::cipher::{ChunkCipher, PayloadKeys};
use airseal_format::component::{Component, Destination, FlashEncryption, Kind};
use airseal_format::payload::PayloadTree;
use airseal_format::{
    ComponentId, ContentSuite, Digest, KeysetVersion, ReleaseOrder, SecurityVersion,
    VerifiedManifest,
};

use crate::Refusal;
use crate::carried::Keys;
use crate::config::Config;
use crate::lifecycle::Own;
use crate::port::{DeviceState, Slot};

/// What the device brings to the decision.
pub(crate) struct Circumstances<'a> {
    pub(crate) config: &'a Config<'a>,
    /// Every key that opens envelopes.
    pub(crate) keys: Keys<'a>,
    pub(crate) own: &'a Own,
    pub(crate) state: &'a DeviceState,
    /// The slot that would be written.
    pub(crate) target: Slot,
    /// Flash address of that slot.
    pub(crate) target_address: u64,
    /// Bytes an image can have there.
    pub(crate) room: u32,
    /// Digest of the release that is staged, if one is.
    pub(crate) staged: Option<Digest>,
    /// The release that a fresh offer names.
    pub(crate) offered: Option<Digest>,
    /// Capacities of the top, page and chunk buffers, bytes.
    pub(crate) buffers: [usize; 3],
}

/// A release that may be installed once its content key is known.
pub(crate) struct Checked<'a> {
    manifest: VerifiedManifest<'a>,
    section: &'a [u8],
    component: ComponentId,
    target: Slot,
    digest: Digest,
}

/// Every check passed and the keys are there: the permission to erase a slot.
pub(crate) struct Clearance<'a> {
    /// Manifest and signature block as they came.
    pub(crate) section: &'a [u8],
    pub(crate) digest: Digest,
    pub(crate) order: ReleaseOrder,
    pub(crate) security_version: SecurityVersion,
    pub(crate) accepted_under: KeysetVersion,
    pub(crate) target: Slot,
    pub(crate) component: ComponentId,
    pub(crate) place: u8,
    /// The image is flash-encrypted already.
    pub(crate) is_raw: bool,
    pub(crate) install_len: u64,
    pub(crate) image_digest: Digest,
    pub(crate) tree: PayloadTree,
    pub(crate) cipher: ChunkCipher,
    pub(crate) digest_salt: [u8; 32],
    pub(crate) payload_len: u64,
    /// The payload is not encrypted: no envelope is accepted.
    pub(crate) is_plain: bool,
    _only_made_here: (),
}

/// Steps 1 to 4 of the order of work, without the envelope.
pub(crate) fn check<'a>(
    manifest: VerifiedManifest<'a>,
    section: &'a [u8],
    at: &Circumstances<'_>,
) -> Result<Checked<'a>, Refusal> {
    let digest = manifest.digest();
    check_device(&manifest, at)?;
    let component = choose_component(&manifest, at)?;
    check_security_version(&manifest, at)?;
    check_order(&manifest, digest, at)?;
    check_policy(&manifest, digest, at)?;
    check_limits(&manifest, &component, at)?;
    Ok(Checked {
        manifest,
        section,
        component: component.id,
        target: at.target,
        digest,
    })
}

impl<'a> Checked<'a> {
    pub(crate) fn manifest(&self) -> &VerifiedManifest<'a> {
        &self.manifest
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// True when no envelope is needed, and none is accepted.
    pub(crate) fn is_plain(&self) -> bool {
        self.manifest.header().content_suite == ContentSuite::None
    }

    /// The permission, once `keys` are known to be this release's.
    pub(crate) fn unlock(self, keys: &PayloadKeys) -> Result<Clearance<'a>, Refusal> {
        let header = self.manifest.header();
        if !self.is_plain() && keys.commitment() != header.cek_commit {
            return Err(Refusal::WrongCall);
        }
        let component = self.manifest.components().find(|c| c.id == self.component);
        let component = component.ok_or(Refusal::NoMatchingComponent)?;
        Ok(Clearance {
            section: self.section,
            digest: self.digest,
            order: self.manifest.order(),
            security_version: header.security_version,
            accepted_under: self.manifest.accepted_under(),
            target: self.target,
            component: component.id,
            place: component.place,
            is_raw: component.flash_encryption != FlashEncryption::None,
            install_len: component.install_len,
            image_digest: component.image_digest,
            tree: PayloadTree::new(&self.manifest, component.id)?,
            cipher: keys.cipher(component.id),
            digest_salt: keys.digest_salt(component.place),
            payload_len: header.payload_len,
            is_plain: self.is_plain(),
            _only_made_here: (),
        })
    }
}

fn check_device(manifest: &VerifiedManifest<'_>, at: &Circumstances<'_>) -> Result<(), Refusal> {
    let header = manifest.header();
    let config = at.config;
    if header.vendor_id != config.vendor_id {
        return Err(Refusal::WrongVendor);
    }
    if header.class_id != config.class_id {
        return Err(Refusal::WrongClass);
    }
    if let Some(mut targets) = manifest.targets()
        && !targets.any(|id| at.keys.have(id))
    {
        return Err(Refusal::NotTargeted);
    }
    if !(header.hw_rev_min..=header.hw_rev_max).contains(&config.hw_rev) {
        return Err(Refusal::WrongHardwareRevision);
    }
    Ok(())
}

/// The first alternative that fits, of the only place; or what the nearest one lacks: the chip, else the flash key, else
/// the address.
fn choose_component(
    manifest: &VerifiedManifest<'_>,
    at: &Circumstances<'_>,
) -> Result<Component, Refusal> {
    let mut components = manifest.components();
    let first = components.next().ok_or(Refusal::UnsupportedPlaces)?;
    if first.kind != Kind::App || components.any(|other| other.place != first.place) {
        return Err(Refusal::UnsupportedPlaces);
    }
    let mut nearest = Refusal::NoMatchingComponent;
    for component in manifest.components() {
        let chip_fits =
            component.target_chip == Component::ANY_CHIP || component.target_chip == at.config.chip;
        if !chip_fits {
            continue;
        }
        let flash_fits = component.flash_encryption == FlashEncryption::None
            || component.flash_encryption == at.config.flash_encryption;
        if !flash_fits {
            if nearest == Refusal::NoMatchingComponent {
                nearest = Refusal::WrongFlashKey;
            }
            continue;
        }
        match component.destination {
            Destination::Address(address) if address != at.target_address => {
                nearest = Refusal::WrongSlotAddress;
            }
            _ => return Ok(component),
        }
    }
    Err(nearest)
}

/// The keyset's maximum was compared when the manifest was verified.
fn check_security_version(
    manifest: &VerifiedManifest<'_>,
    at: &Circumstances<'_>,
) -> Result<(), Refusal> {
    let header = manifest.header();
    if header.security_version < at.state.floor {
        return Err(Refusal::BelowFloor);
    }
    let is_new_enough = at.own.security_version >= header.min_from_security_version
        && at.own.order.release_seq >= header.min_from_seq;
    if is_new_enough {
        Ok(())
    } else {
        Err(Refusal::SteppingStone)
    }
}

fn check_order(
    manifest: &VerifiedManifest<'_>,
    digest: Digest,
    at: &Circumstances<'_>,
) -> Result<(), Refusal> {
    let order = manifest.order();
    if at.own.digest == Some(digest) {
        return Err(Refusal::AlreadyInstalled);
    }
    let newest = at.state.newest.map(|(order, digest)| (order, Some(digest)));
    let (newest, newest_digest) = newest.unwrap_or((at.own.order, at.own.digest));
    if order < newest {
        return Err(Refusal::Older);
    }
    if order == newest && newest_digest != Some(digest) {
        return Err(match newest_digest {
            Some(_) => Refusal::Equivocation,
            None => Refusal::Older,
        });
    }
    if at.staged == Some(digest) {
        return Err(Refusal::AlreadyStaged);
    }
    let failed = at
        .state
        .failure
        .is_some_and(|failure| failure.count >= MAX_FAILURES && order <= failure.order);
    if failed {
        return Err(Refusal::FailedBefore);
    }
    Ok(())
}

fn check_policy(
    manifest: &VerifiedManifest<'_>,
    digest: Digest,
    at: &Circumstances<'_>,
) -> Result<(), Refusal> {
    let policy = &at.config.policy;
    let expires_at = manifest.header().expires_at;
    if policy
        .now
        .is_some_and(|now| expires_at != 0 && now >= expires_at)
    {
        return Err(Refusal::Expired);
    }
    if policy.offer.is_some() && at.offered != Some(digest) {
        return Err(Refusal::OfferMissing);
    }
    if manifest.header().content_suite == ContentSuite::None && !policy.allow_plain {
        return Err(Refusal::PlainRefused);
    }
    if manifest.component_count() > usize::from(policy.max_components) {
        return Err(Refusal::TooManyComponents);
    }
    Ok(())
}

fn check_limits(
    manifest: &VerifiedManifest<'_>,
    component: &Component,
    at: &Circumstances<'_>,
) -> Result<(), Refusal> {
    let [top, page, chunk] = at.buffers;
    let profile = manifest.header().profile;
    let geometry = component.geometry(profile)?;
    let fits = |len: u32, room: usize| usize::try_from(len).is_ok_and(|len| len <= room);
    if !fits(profile.chunk_len(), chunk) || !fits(geometry.page_len(0), page) {
        return Err(Refusal::ProfileTooLarge);
    }
    if !fits(geometry.top_len(), top) {
        return Err(Refusal::TooManyPages);
    }
    if component.install_len > u64::from(at.room) {
        return Err(Refusal::ImageTooLarge);
    }
    Ok(())
}

/// After so many counted failures a release, and everything before it, is refused.
const MAX_FAILURES: u8 = 3;
