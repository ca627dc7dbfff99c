//! The components of a release before their content is known: one for any slot, or alternatives, one per slot.

use airseal_format::component::{Component, Destination, FlashEncryption, Kind};
use airseal_format::payload::{Geometry, Profile};
use airseal_format::{ComponentId, Digest};

use super::SealRequest;
use super::content::Content;
use crate::Error;
use crate::firmware::Firmware;

/// One component, and where it lies.
pub(super) struct PlannedPart {
    pub(super) component: Component,
    pub(super) geometry: Geometry,
}

/// What each component holds: the firmware once, or once for each slot.
pub(super) fn contents<'f>(
    request: &SealRequest<'f>,
    firmware: &'f Firmware,
) -> Vec<(ComponentId, Content<'f>)> {
    let source = &firmware.source;
    let contents = match request.raw_flash {
        None => vec![Content::plain(source)],
        Some(raw) => raw
            .slots
            .iter()
            .map(|slot| Content::raw(source, &raw.key, slot.address))
            .collect(),
    };
    (1..).map(ComponentId).zip(contents).collect()
}

/// The components as far as they are known before the work: alternatives of one place.
pub(super) fn plan(
    request: &SealRequest<'_>,
    firmware: &Firmware,
) -> Result<(Profile, Vec<PlannedPart>), Error> {
    let contents = contents(request, firmware);
    let profile = choose_profile(firmware, &contents, request.small_ram)?;
    let mut file_off = 0;
    let mut parts = Vec::with_capacity(contents.len());
    for (index, (id, content)) in contents.iter().enumerate() {
        let slot = request.raw_flash.and_then(|raw| raw.slots.get(index));
        let geometry = Geometry::new(profile, *id, file_off, content.len())
            .ok_or_else(|| too_large(firmware))?;
        let component = Component {
            id: *id,
            kind: Kind::App,
            target_chip: firmware.target_chip(),
            place: 0,
            file_off,
            enc_len: content.len(),
            install_len: content.len(),
            destination: slot.map_or(Destination::AnySlot, |slot| {
                Destination::Address(slot.address.into())
            }),
            flash_encryption: request
                .raw_flash
                .map_or(FlashEncryption::None, |raw| raw.encryption),
            tree_root: Digest([0; 32]),
            image_digest: Digest([0; 32]),
        };
        file_off += geometry.stored_len();
        parts.push(PlannedPart {
            component,
            geometry,
        });
    }
    Ok((profile, parts))
}

fn choose_profile(
    firmware: &Firmware,
    contents: &[(ComponentId, Content<'_>)],
    small_ram: bool,
) -> Result<Profile, Error> {
    let holds = |profile: &Profile| {
        contents
            .iter()
            .all(|(id, content)| Geometry::new(*profile, *id, 0, content.len()).is_some())
    };
    if small_ram {
        return Some(Profile::P1).filter(holds).ok_or_else(|| {
            Error::refused(
                firmware.source.name(),
                format!(
                    "has {} bytes, --small-ram holds at most 2 MiB",
                    firmware.len()
                ),
                "leave --small-ram away",
            )
        });
    }
    Profile::ALL
        .into_iter()
        .skip(1)
        .find(holds)
        .ok_or_else(|| too_large(firmware))
}

fn too_large(firmware: &Firmware) -> Error {
    Error::refused(
        firmware.source.name(),
        "is larger than a payload can be",
        "",
    )
}
