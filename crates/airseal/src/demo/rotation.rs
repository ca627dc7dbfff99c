//! The signing keys change, and the fleet follows without a recall.

use airseal_pack::keyset::KeysetFile;

use super::event::Story;
use super::vendor::Plan;
use super::world::{World, ask};
use crate::failure::Failure;
use crate::ui::Ui;

/// Keyset 2, and 1.1.0 under it.
pub(super) fn new_keys(world: &mut World, ui: &Ui, story: &mut Story<'_>) -> Result<(), Failure> {
    story.chapter("1.1.0: the signing keys are rotated")?;
    let old_keyset = world.folder().join("keys/keyset-1");
    std::fs::copy(&world.vendor.keyset, &old_keyset)
        .map_err(|error| Failure::io("can't copy the keyset", &error))?;
    let old_key = world.vendor.release_key;
    world.vendor.rotate()?;
    let keyset = KeysetFile::read(&world.vendor.keyset)?;
    let seen = if keyset.trust(None).is_ok() {
        "holds"
    } else {
        "does not hold"
    };
    story.event_with(
        "vendor",
        "keyset 2 by 2 of 3 roots, old and new",
        "holds",
        seen,
        "a new release key and one new root; the old ones are out".to_owned(),
    );
    let recipients = world.fleet.recipients_without(&["gate"]);
    let bundle = world
        .vendor
        .seal("1.1.0", &world.plan("1.1.0", 4, &recipients))?;
    world.publish_and_tell(&bundle, "1.1.0", &recipients, story)?;
    for name in world.fleet.names_without(&["gate"]) {
        let member = world.member(&name)?;
        let round = ask(member, ui)?;
        let keyset = member
            .agent
            .device
            .keyset_version()
            .map(|version| version.0)
            .unwrap_or_default();
        story.event(
            &name,
            "follows",
            "1.1.0 confirmed, keyset 2",
            format!("{}, keyset {keyset}", round.seen),
        );
    }
    let stolen = Plan {
        signed_by: old_key,
        keyset: Some(&old_keyset),
        ..world.plan("1.2.0", 9, &recipients)
    };
    let stolen = world.vendor.seal("signed-by-the-old-key", &stolen)?;
    let bytes =
        std::fs::read(stolen).map_err(|error| Failure::io("can't read a sealed file", &error))?;
    let (seen, operations) = world.member("hall")?.hand(&bytes);
    story.attack(
        "hall",
        "a release by the stolen old key",
        "refused: 34 too-few-signatures",
        seen,
        operations,
    );
    Ok(())
}
