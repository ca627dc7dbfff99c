//! The whole story on one machine: a vendor, a server, a fleet and an attacker, all of them real but the chips.
//!
//! The server is the one that `airseal serve` runs, with TLS and SQLite; the sealed files are those of `airseal seal`; the
//! devices run the device library on flash with real rules. Each thing that happens becomes an [`Event`] with what was
//! expected and what was seen.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::ui::Ui;

mod attacks;
mod event;
mod folder;
mod rollout;
mod rotation;
mod self_test;
mod vendor;
mod world;

pub(crate) use event::{Event, Story, Told};

use world::World;

/// What the demo is run with.
pub(crate) struct Options<'a> {
    /// Firmware to use in place of the images that are built in.
    pub(crate) firmware: Option<&'a Path>,
    /// Leave everything there at the end, and the server running.
    pub(crate) keep: bool,
}

/// What is left after the story.
pub(crate) struct Ending {
    /// Everything that happened.
    pub(crate) events: Vec<Event>,
    /// The server and its folder, if they were to be kept.
    pub(crate) kept: Option<Kept>,
}

/// A running server and everything around it.
pub(crate) struct Kept {
    /// Keys, sealed files, the server's data.
    pub(crate) folder: PathBuf,
    /// Where administrators connect.
    pub(crate) admin: String,
    /// Where devices connect.
    pub(crate) https: String,
    /// The administration token's file.
    pub(crate) token_file: PathBuf,
    world: World,
}

impl Kept {
    /// Stops the server and removes the folder.
    pub(crate) fn end(self) {
        self.world.end();
    }
}

/// Tells the story.
///
/// # Errors
/// When something else fails than what the story is about: the disk, the network, an interrupt.
pub(crate) fn run(
    options: &Options<'_>,
    ui: &Ui,
    story: &mut Story<'_>,
) -> Result<Ending, Failure> {
    let mut world = World::start(options.firmware, story)?;
    rollout::first_release(&mut world, ui, story)?;
    rollout::revocation_and_power_cuts(&mut world, ui, story)?;
    attacks::with_everything_but_a_signing_key(&mut world, story)?;
    self_test::bad_firmware(&mut world, ui, story)?;
    rotation::new_keys(&mut world, ui, story)?;
    folder::without_a_server(&mut world, story)?;
    world::proofs(&mut world, story)?;
    let kept = options.keep.then(|| {
        let ready = world.ready().clone();
        Kept {
            folder: world.folder().to_owned(),
            admin: ready.admin_url(),
            https: ready.https_url(),
            token_file: ready.admin_token_file,
            world,
        }
    });
    Ok(Ending {
        events: story.take(),
        kept,
    })
}
