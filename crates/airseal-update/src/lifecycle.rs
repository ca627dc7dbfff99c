//! What happens around an update: the first step after every boot, confirm and revert.

use airseal_format::signature::SignatureBlock;
use airseal_format::{Digest, KeysetVersion, ReleaseOrder, SecurityVersion, UnverifiedManifest};

use crate::config::{Buffers, Config};
use crate::install_record::{Completion, read_completion, read_section};
use crate::port::{Device, DeviceState, Failure, Slot, StateStore};
use crate::{Refusal, keysets};

/// What a slot's record says about its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its order.
    pub order: ReleaseOrder,
    /// Its security version.
    pub security_version: SecurityVersion,
    /// Its manifest digest; `None` for a factory image without a record.
    pub digest: Option<Digest>,
    /// The keyset it was accepted under; 0 for a factory image without a record.
    pub accepted_under: KeysetVersion,
}

/// The release that is running.
///
/// # Errors
/// `ManifestTooLarge` when a record does not fit the buffers, or the flash's fault.
pub async fn running_release(
    device: &mut impl Device,
    config: &Config<'_>,
    buffers: &mut Buffers<'_>,
) -> Result<Own, Refusal> {
    let running = device.boot_state().await?.running;
    let own = match running {
        Some(slot) => release_in(device, slot, buffers).await?,
        None => None,
    };
    let factory = config.factory.unwrap_or_default();
    Ok(own.unwrap_or(Own {
        order: factory.order,
        security_version: factory.security_version,
        digest: None,
        accepted_under: KeysetVersion(0),
    }))
}

/// Version of the keyset in force; `scratch` has at least 800 bytes.
///
/// # Errors
/// The flash's fault.
pub async fn keyset_version(
    device: &mut impl Device,
    config: &Config<'_>,
    scratch: &mut [u8],
) -> Result<KeysetVersion, Refusal> {
    let keyset = keysets::in_force(device, config, scratch).await?;
    Ok(keyset.header().version)
}

/// The release whose complete record lies in `slot`.
///
/// # Errors
/// `ManifestTooLarge` when a record does not fit the buffers, or the flash's fault.
pub async fn release_in(
    device: &mut impl Device,
    slot: Slot,
    buffers: &mut Buffers<'_>,
) -> Result<Option<Own>, Refusal> {
    let recorded = recorded_in(device, slot, buffers.head.scratch()).await?;
    Ok(recorded.map(|(manifest, completion)| Own {
        order: manifest.order(),
        security_version: manifest.header().security_version,
        digest: Some(completion.manifest_digest),
        accepted_under: completion.keyset_version,
    }))
}

/// The manifest of `slot` and what completes its record, where both are whole.
pub(crate) async fn recorded_in<'b>(
    device: &mut impl Device,
    slot: Slot,
    scratch: &'b mut [u8],
) -> Result<Option<(UnverifiedManifest<'b>, Completion)>, Refusal> {
    let Some(completion) = read_completion(device, slot).await? else {
        return Ok(None);
    };
    let Some(section) = read_section(device, slot, scratch).await? else {
        return Ok(None);
    };
    let manifest = UnverifiedManifest::parse_prefix(section).ok();
    Ok(manifest
        .map(|(manifest, _)| (manifest, completion))
        .filter(|(manifest, completion)| manifest.digest() == completion.manifest_digest))
}

/// The first step after every boot, before any network: brings order, floor and boot
/// keyset up to the confirmed image, in case power was lost between confirm and that.
///
/// Does nothing while the running image is on trial. Returns what is running.
///
/// # Errors
/// `ManifestTooLarge` when a record does not fit the buffers, or the flash's fault.
pub async fn heal(
    device: &mut impl Device,
    config: &Config<'_>,
    buffers: &mut Buffers<'_>,
) -> Result<Own, Refusal> {
    let own = running_release(device, config, buffers).await?;
    let boot = device.boot_state().await?;
    if boot.is_on_trial() {
        return Ok(own);
    }
    let state = device.device_state().await?;
    let raised = raise(&state, &own);
    if boot.running == boot.confirmed && raised != state {
        if !is_vouched_for(device, config, &own, boot.running, buffers).await? {
            return Ok(own);
        }
        device.set_device_state(&raised).await?;
    }
    // Only now, with the boot keyset settled, may another keyset come into force.
    if boot.pending.is_none() {
        let scratch = buffers.chunk.scratch();
        keysets::store_compiled_in(device, config, own.accepted_under, scratch).await?;
    }
    Ok(own)
}

/// Confirms the running image: it stays, and order, floor and boot keyset follow it.
///
/// # Errors
/// `WrongCall` when nothing is on trial, `ManifestTooLarge` when this firmware's buffers are
/// too small for its own record, or the flash's fault. Nothing is confirmed before the
/// record could be read.
pub async fn confirm(
    device: &mut impl Device,
    config: &Config<'_>,
    buffers: &mut Buffers<'_>,
) -> Result<(), Refusal> {
    if !device.boot_state().await?.is_on_trial() {
        return Err(Refusal::WrongCall);
    }
    running_release(device, config, buffers).await?;
    device.confirm().await?;
    heal(device, config, buffers).await?;
    Ok(())
}

/// Gives the running image up because its self-test failed. Restart afterwards: the image
/// before boots, and after three failures the release is refused.
///
/// # Errors
/// `WrongCall` when nothing is on trial, or the flash's fault.
pub async fn revert(device: &mut impl Device, buffers: &mut Buffers<'_>) -> Result<(), Refusal> {
    if !device.boot_state().await?.is_on_trial() {
        return Err(Refusal::WrongCall);
    }
    end_trial(device, &Refusal::SelfTestFailed, buffers).await
}

/// Counts the pending slot's failure and drops it.
pub(crate) async fn end_trial(
    device: &mut impl Device,
    why: &Refusal,
    buffers: &mut Buffers<'_>,
) -> Result<(), Refusal> {
    let pending = device.boot_state().await?.pending;
    // A record that can't be read must not keep the failed image on trial.
    if let Some(pending) = pending
        && let Ok(Some(failed)) = release_in(device, pending.slot, buffers).await
        && let Some(digest) = failed.digest
    {
        count_failure(device, failed.order, digest, why).await?;
    }
    device.revert().await?;
    Ok(())
}

/// Counts a failure of a release; another release's record gives way.
pub(crate) async fn count_failure(
    device: &mut impl StateStore,
    order: ReleaseOrder,
    digest: Digest,
    why: &Refusal,
) -> Result<(), Refusal> {
    let mut state = device.device_state().await?;
    let before = state.failure.filter(|failure| failure.digest == digest);
    state.failure = Some(Failure {
        order,
        digest,
        count: before.map_or(1, |failure| failure.count.saturating_add(1)),
        code: why.code(),
    });
    device.set_device_state(&state).await?;
    Ok(())
}

/// `state` with nothing below what `own` stands for, and its failures forgiven.
fn raise(state: &DeviceState, own: &Own) -> DeviceState {
    let mut raised = *state;
    let Some(digest) = own.digest else {
        return raised;
    };
    raised.floor = raised.floor.max(own.security_version);
    raised.boot_keyset = raised.boot_keyset.max(own.accepted_under);
    if raised.newest.is_none_or(|(order, _)| own.order > order) {
        raised.newest = Some((own.order, digest));
    }
    raised.failure = raised.failure.filter(|failure| failure.digest != digest);
    raised
}

async fn is_vouched_for(
    device: &mut impl Device,
    config: &Config<'_>,
    own: &Own,
    running: Option<Slot>,
    buffers: &mut Buffers<'_>,
) -> Result<bool, Refusal> {
    let Some(slot) = running else {
        return Ok(false);
    };
    let Some(section) = read_section(device, slot, buffers.head.scratch()).await? else {
        return Ok(false);
    };
    let (manifest, signatures) = UnverifiedManifest::parse_prefix(section)?;
    let signatures = SignatureBlock::parse(signatures)?;
    let scratch = buffers.chunk.scratch();
    let keyset = keysets::of_version(device, config, own.accepted_under, scratch).await?;
    let Some(keyset) = keyset else {
        return Ok(false);
    };
    Ok(keyset.verify_manifest(manifest, &signatures).is_ok())
}
