//! A device without a network, updated from a folder.

use airseal_pack::bundle::BundleFile;
use airseal_pack::content_key::ContentKeyFile;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::output::Existing;
use airseal_pack::recipient::Recipients;
use airseal_pack::release::add_envelopes;
use airseal_update::boot::ResetReason;

use super::event::Story;
use super::world::World;
use crate::failure::Failure;
use crate::ui::Ui;

/// The shed: from the factory image to 1.1.0 in one step, over both keysets.
pub(super) fn without_a_server(
    world: &mut World,
    _: &Ui,
    story: &mut Story<'_>,
) -> Result<(), Failure> {
    story.chapter("A device without a network takes a file");
    let mut shed = world.fleet.make("shed")?;
    let bundle = BundleFile::open(&world.folder().join("releases/1.1.0.seal"))?;
    let content_key = ContentKeyFile::read(&world.vendor.content_key("1.1.0"))?.key;
    let mut recipients = Recipients::new();
    recipients.add(shed.recipient());
    let folder = world.folder().join("stick");
    std::fs::create_dir_all(&folder).map_err(|error| Failure::io("can't make a folder", &error))?;
    let file = folder.join("1.1.0.seal");
    let added = add_envelopes(
        &bundle,
        &content_key,
        &recipients,
        (&file, Existing::Refuse),
        &SystemEntropy,
        &Control::default(),
    )?;
    story.event(
        "vendor",
        "adds an envelope for the shed",
        "1 envelope",
        format!("{} envelope", added.added.len()),
    );
    let device = &mut shed.agent.device;
    let booted = device
        .boot(ResetReason::Power)
        .map_err(Failure::environment)?;
    let seen = if booted.slot.is_none() {
        "factory image"
    } else {
        "an update"
    };
    story.event("shed", "starts for the first time", "factory image", seen);
    let bytes =
        std::fs::read(&file).map_err(|error| Failure::io("can't read a sealed file", &error))?;
    let (seen, _) = shed.hand(&bytes);
    story.event("shed", "reads the file from the folder", "installed", seen);
    let device = &mut shed.agent.device;
    let started = device
        .boot(ResetReason::Restart)
        .and_then(|_| device.confirm());
    let seen = match started {
        Ok(()) => format!("{} confirmed", shed.version()),
        Err(refusal) => super::fleet::refused(&refusal),
    };
    story.event("shed", "boots on trial", "1.1.0 confirmed", seen);
    Ok(())
}
