//! Group keys that the running release carries, for devices that hold the generation before.
//!
//! Nothing is stored. The signed manifest of the running image lies in its slot; from there,
//! and only once the image is confirmed, the next generation is derived when it is needed.
//! It comes and goes with the release.

use airseal_format::cipher::ContentKey;
use airseal_format::envelope::Envelope;
use airseal_format::recipient::carried::{CarriedGroup, ENTRY_LEN};
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::recipient::{Identity, group_generation};
use airseal_format::{Error, RecipientId, WrapSuite};

use crate::Refusal;
use crate::config::{Buffer, Buffers, Config};
use crate::lifecycle::recorded_in;
use crate::port::Device;

/// Hands every group key that the running, confirmed release carries for this device to
/// `found`. A session asks by itself; the caller asks to name their ids in a poll.
///
/// # Errors
/// The flash's fault.
pub async fn carried_groups(
    device: &mut impl Device,
    config: &Config<'_>,
    buffers: &mut Buffers<'_>,
    mut found: impl FnMut(GroupIdentity),
) -> Result<(), Refusal> {
    let each = |_: &CarriedGroup, group| found(group);
    for_each(device, config, &mut buffers.head, each).await
}

/// Leaves the entries that concern this device in `kept`, which is idle until the payload
/// begins; one that does not fit is left out. They are public: the keys are derived anew.
pub(crate) async fn keep(
    device: &mut impl Device,
    config: &Config<'_>,
    head: &mut Buffer<'_>,
    kept: &mut Buffer<'_>,
) -> Result<(), Refusal> {
    kept.clear();
    for_each(device, config, head, |carried, _| {
        if kept.capacity() - kept.len() >= ENTRY_LEN {
            kept.fill_to(kept.len() + ENTRY_LEN, &carried.encode());
        }
    })
    .await
}

async fn for_each(
    device: &mut impl Device,
    config: &Config<'_>,
    head: &mut Buffer<'_>,
    mut found: impl FnMut(&CarriedGroup, GroupIdentity),
) -> Result<(), Refusal> {
    let is_group = |own: &&dyn Identity| own.suite() == WrapSuite::AesKeyWrap;
    if !config.identities.iter().any(is_group) {
        return Ok(());
    }
    let boot = device.boot_state().await?;
    let Some(slot) = boot.running.filter(|_| boot.running == boot.confirmed) else {
        return Ok(());
    };
    let recorded = recorded_in(device, slot, head.scratch()).await?;
    let entries = recorded
        .into_iter()
        .flat_map(|(manifest, _)| manifest.carried_groups());
    for carried in entries {
        if let Some(group) = successor(config, &carried) {
            found(&carried, group);
        }
    }
    Ok(())
}

fn successor(config: &Config<'_>, carried: &CarriedGroup) -> Option<GroupIdentity> {
    let mut given = config.identities.iter();
    given.find_map(|own| own.successor(carried, config.vendor_id, config.class_id))
}

/// Every key of a device that opens envelopes: those it was given, and those its running
/// release carries.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a> {
    config: &'a Config<'a>,
    /// What [`keep`] left.
    kept: &'a [u8],
}

impl<'a> Keys<'a> {
    pub(crate) fn new(config: &'a Config<'a>, kept: &'a Buffer<'_>) -> Self {
        Self {
            config,
            kept: kept.as_ref(),
        }
    }

    /// True when one of the keys has this id.
    pub(crate) fn have(self, id: RecipientId) -> bool {
        self.with_id(id, |_| ()).is_some()
    }

    /// The suite that the key with this id opens.
    pub(crate) fn suite(self, id: RecipientId) -> Option<WrapSuite> {
        self.with_id(id, |own| own.suite())
    }

    /// What the key that `envelope` is for makes of it.
    pub(crate) fn unwrap(self, envelope: &Envelope<'_>) -> Option<Result<ContentKey, Error>> {
        self.with_id(envelope.header().recipient_id, |own| own.unwrap(envelope))
    }

    fn with_id<R>(self, id: RecipientId, then: impl FnOnce(&dyn Identity) -> R) -> Option<R> {
        let mut given = self.config.identities.iter();
        if let Some(own) = given.find(|own| own.recipient_id() == id) {
            return Some(then(*own));
        }
        let entries = self.kept.as_chunks().0.iter().map(CarriedGroup::parse);
        entries
            .filter(|carried| carried.generation == group_generation(id))
            .filter_map(|carried| successor(self.config, &carried))
            .find(|own| own.recipient_id() == id)
            .map(|own| then(&own))
    }
}
