//! Devices without the server: one reads a sealed file, one fetches from a folder under a path nobody can guess.

use std::fs;
use std::path::{Path, PathBuf};

use airseal_pack::bundle::BundleFile;
use airseal_pack::content_key::ContentKeyFile;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::export::{ExportRecipient, ExportRequest, export_static};
use airseal_pack::output::Existing;
use airseal_pack::recipient::Recipients;
use airseal_pack::release::add_envelopes;
use airseal_sim::fleet::{Member, in_words, refused};
use airseal_sim::static_files::Folder;
use airseal_update::boot::ResetReason;

use super::event::Story;
use super::world::World;
use crate::failure::Failure;

/// Shed and barn: from the factory image to 1.1.0 in one step, over both keysets.
pub(super) fn without_a_server(world: &mut World, story: &mut Story<'_>) -> Result<(), Failure> {
    story.chapter("Two devices without the server")?;
    let mut shed = world.make("shed")?;
    let mut barn = world.make("barn")?;
    let file = with_envelopes(world, &[&shed, &barn], story)?;
    for member in [&mut shed, &mut barn] {
        let booted = member.agent.device.boot(ResetReason::Power);
        let seen = match booted {
            Ok(selection) if selection.slot.is_none() => "factory image".to_owned(),
            Ok(_) => "an update".to_owned(),
            Err(refusal) => refused(&refusal),
        };
        story.event(
            &member.name,
            "starts for the first time",
            "factory image",
            seen,
        );
    }

    let bytes = fs::read(&file).map_err(|error| Failure::io("can't read a sealed file", &error))?;
    let (seen, _) = shed.hand(&bytes);
    story.event("shed", "reads the sealed file", "installed", seen);
    story.event(
        "shed",
        "boots on trial",
        "1.1.0 confirmed",
        try_new_image(&mut shed),
    );

    let folder = world.folder().join("www");
    let path = export(&barn, &file, &folder)?;
    let fetched = barn
        .agent
        .device
        .update_from_static(&mut Folder(folder), &path, &mut |_, _| {});
    let seen = match fetched {
        Ok(()) => "installed".to_owned(),
        Err(error) => in_words(&error),
    };
    story.event_with(
        "barn",
        "fetches from an exported folder",
        "installed",
        seen,
        format!(
            "under a path of {} random digits, which stand in no log",
            path.len()
        ),
    );
    story.event(
        "barn",
        "boots on trial",
        "1.1.0 confirmed",
        try_new_image(&mut barn),
    );
    Ok(())
}

fn with_envelopes(
    world: &World,
    members: &[&Member],
    story: &mut Story<'_>,
) -> Result<PathBuf, Failure> {
    let bundle = BundleFile::open(&world.folder().join("releases/1.1.0.seal"))?;
    let content_key = ContentKeyFile::read(&world.vendor.content_key("1.1.0"))?.key;
    let mut recipients = Recipients::new();
    members
        .iter()
        .for_each(|member| recipients.add(member.recipient()));
    let folder = world.folder().join("stick");
    fs::create_dir_all(&folder).map_err(|error| Failure::io("can't make a folder", &error))?;
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
        "adds envelopes for shed and barn",
        "2 envelopes",
        format!("{} envelopes", added.added.len()),
    );
    Ok(file)
}

/// Exports the release for one device; its secret path.
fn export(member: &Member, file: &Path, folder: &Path) -> Result<String, Failure> {
    let capabilities = folder.with_file_name("capabilities.csv");
    let recipients = [ExportRecipient {
        id: member.recipient_id(),
        name: member.name.clone(),
    }];
    let request = ExportRequest {
        dir: folder,
        capabilities: &capabilities,
        recipients: &recipients,
        prune: false,
    };
    export_static(
        &BundleFile::open(file)?,
        &request,
        &SystemEntropy,
        &Control::default(),
    )?;
    let list = fs::read_to_string(&capabilities)
        .map_err(|error| Failure::io("can't read the list of paths", &error))?;
    let row = list.lines().nth(1).and_then(|row| row.rsplit(',').next());
    row.and_then(|path| path.strip_prefix('/')?.strip_suffix("/index"))
        .map(str::to_owned)
        .ok_or_else(|| Failure::environment("the list of paths is empty"))
}

fn try_new_image(member: &mut Member) -> String {
    let device = &mut member.agent.device;
    match device
        .boot(ResetReason::Restart)
        .and_then(|_| device.confirm())
    {
        Ok(()) => format!("{} confirmed", member.version()),
        Err(refusal) => refused(&refusal),
    }
}
