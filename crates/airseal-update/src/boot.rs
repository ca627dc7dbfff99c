//! The reference boot logic: which slot runs, decided from the device record and from what
//! the slots really hold.
//!
//! It never boots a slot below the floor, never gives a confirmed slot up for anything but
//! a failed verification, and boots whatever else verifies before it boots nothing.

use airseal_format::component::FlashEncryption;
use airseal_format::payload::ImageHasher;
use airseal_format::signature::SignatureBlock;
use airseal_format::{
    Digest, Error, Part, Reason, ReleaseOrder, SecurityVersion, UnverifiedManifest,
};

use crate::config::{Buffers, Config};
use crate::install::hash_slot;
use crate::install_record::{read_completion, read_section};
use crate::lifecycle::end_trial;
use crate::port::{Device, PendingStage, Slot};
use crate::{Refusal, keysets};

/// Why the processor started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// Power came on, or the supply dropped.
    Power,
    /// A watchdog, a panic, or software asked for it.
    Restart,
}

/// What to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The slot; `None` for the factory image outside both.
    pub slot: Option<Slot>,
    /// Its image is on trial: it has to confirm itself.
    pub on_trial: bool,
    /// A trial that ended with this boot, or a staged image that did not verify.
    pub ended: Option<Refusal>,
    /// The confirmed slot did not verify, and this is the other one.
    pub is_fallback: bool,
}

impl Selection {
    fn settled(slot: Option<Slot>, ended: Option<Refusal>, is_fallback: bool) -> Self {
        Self {
            slot,
            on_trial: false,
            ended,
            is_fallback,
        }
    }
}

/// Chooses the slot to boot and keeps the trial's books. A slot that can't be read is one
/// that does not verify.
///
/// # Errors
/// `NothingBootable`, or the flash's fault.
pub async fn select(
    device: &mut impl Device,
    config: &Config<'_>,
    reset: ResetReason,
    buffers: &mut Buffers<'_>,
) -> Result<Selection, Refusal> {
    let state = device.boot_state().await?;
    let mut ended = None;
    if let Some(pending) = state.pending {
        match next_trial(pending.stage, reset) {
            Ok(power_losses) => match verify_slot(device, config, pending.slot, buffers).await {
                Ok(_) => {
                    device.set_trial(power_losses).await?;
                    return Ok(Selection {
                        slot: Some(pending.slot),
                        on_trial: true,
                        ended: None,
                        is_fallback: false,
                    });
                }
                Err(refusal) => {
                    device.revert().await?;
                    ended = Some(refusal);
                }
            },
            Err(refusal) => {
                end_trial(device, &refusal, buffers).await?;
                ended = Some(refusal);
            }
        }
    }
    let factory = bootable_factory(device, config).await?;
    if state.confirmed.is_none() && factory {
        return Ok(Selection::settled(None, ended, false));
    }
    let first = state.confirmed.unwrap_or(Slot::A);
    let mut failed = Refusal::NothingBootable;
    for (slot, is_fallback) in [(first, false), (first.other(), true)] {
        match verify_slot(device, config, slot, buffers).await {
            Ok(_) => return Ok(Selection::settled(Some(slot), ended, is_fallback)),
            Err(fault @ Refusal::Flash(_)) => failed = fault,
            Err(_) => {}
        }
    }
    if factory {
        return Ok(Selection::settled(None, ended, true));
    }
    Err(failed)
}

/// What a verified slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootable {
    /// Order of its release.
    pub order: ReleaseOrder,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its security version.
    pub security_version: SecurityVersion,
}

/// Verifies a slot through its record: signatures under the keyset it was accepted under,
/// vendor and class, floor, and the digest of every byte of the image.
///
/// # Errors
/// What is wrong with the slot.
pub async fn verify_slot(
    device: &mut impl Device,
    config: &Config<'_>,
    slot: Slot,
    buffers: &mut Buffers<'_>,
) -> Result<Bootable, Refusal> {
    let completion = read_completion(device, slot).await?;
    let completion = completion.ok_or(Refusal::NoRecord)?;
    let section = read_section(device, slot, buffers.head.scratch()).await?;
    let section = section.ok_or(Refusal::NoRecord)?;
    let (manifest, signatures) = UnverifiedManifest::parse_prefix(section)?;
    let signatures = SignatureBlock::parse(signatures)?;
    let version = completion.keyset_version;
    let scratch = buffers.chunk.scratch();
    let keyset = keysets::of_version(device, config, version, scratch).await?;
    let keyset = keyset.ok_or(Refusal::UnknownKeyset)?;
    let manifest = keyset.verify_manifest(manifest, &signatures)?;
    let header = manifest.header();
    if header.vendor_id != config.vendor_id {
        return Err(Refusal::WrongVendor);
    }
    if header.class_id != config.class_id {
        return Err(Refusal::WrongClass);
    }
    if header.security_version < device.device_state().await?.floor {
        return Err(Refusal::BelowFloor);
    }
    let digest = manifest.digest();
    let component = manifest
        .components()
        .find(|component| component.id == completion.component)
        .filter(|_| digest == completion.manifest_digest)
        .ok_or(Refusal::NoRecord)?;
    let (place, len) = (component.place, component.install_len);
    device.set_raw(slot, component.flash_encryption != FlashEncryption::None);
    let mut hasher = ImageHasher::new(place, len, &completion.digest_salt);
    hash_slot(device, slot, len, &mut buffers.page, &mut hasher).await?;
    if hasher.finish() != component.image_digest {
        let mismatch = Error::new(Part::Payload, "image_digest", 0, Reason::ImageMismatch);
        return Err(mismatch.into());
    }
    Ok(Bootable {
        order: manifest.order(),
        digest,
        security_version: header.security_version,
    })
}

/// True when there is a factory image at or above the floor.
async fn bootable_factory(device: &mut impl Device, config: &Config<'_>) -> Result<bool, Refusal> {
    let floor = device.device_state().await?.floor;
    let factory = config.factory;
    Ok(factory.is_some_and(|factory| factory.security_version >= floor))
}

/// Power losses so far when the pending slot may be tried once more, or why it may not.
fn next_trial(stage: PendingStage, reset: ResetReason) -> Result<u8, Refusal> {
    match (stage, reset) {
        (PendingStage::Staged, _) => Ok(0),
        (PendingStage::Trial { .. }, ResetReason::Restart) => Err(Refusal::TrialCrashed),
        (PendingStage::Trial { power_losses }, ResetReason::Power) => {
            if power_losses < MAX_POWER_LOSSES {
                Ok(power_losses + 1)
            } else {
                Err(Refusal::TrialPower)
            }
        }
    }
}

/// A trial that ends by loss of power is repeated so often.
const MAX_POWER_LOSSES: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_survives_eight_power_losses_and_no_crash() {
        let trial = |power_losses| PendingStage::Trial { power_losses };
        assert_eq!(
            next_trial(PendingStage::Staged, ResetReason::Restart),
            Ok(0)
        );
        assert_eq!(next_trial(trial(0), ResetReason::Power), Ok(1));
        assert_eq!(next_trial(trial(7), ResetReason::Power), Ok(8));
        let given_up = Err(Refusal::TrialPower);
        assert_eq!(next_trial(trial(8), ResetReason::Power), given_up);
        let crashed = Err(Refusal::TrialCrashed);
        assert_eq!(next_trial(trial(0), ResetReason::Restart), crashed);
    }
}
