//! A firmware that fails its self-test: the device goes back by itself, three times, and not a fourth.

use airseal_server::api::types::{DeviceDetail, ReleaseInfo, YankRelease};

use super::attacks::NEXT;
use super::event::Story;
use super::world::{World, ask};
use crate::failure::Failure;
use crate::ui::Ui;

/// 1.0.2 does not work on the cellar's board.
pub(super) fn bad_firmware(
    world: &mut World,
    ui: &Ui,
    story: &mut Story<'_>,
) -> Result<(), Failure> {
    story.chapter("1.0.2 fails its self-test")?;
    let bundle = world.folder().join(format!("releases/{NEXT}.seal"));
    let recipients = world.fleet.recipients_without(&["gate"]);
    let digest = world.publish_and_tell(&bundle, NEXT, &recipients, story)?;
    let cellar = world.member("cellar")?;
    cellar.agent.set_self_test(|_| false);
    for attempt in ["first", "second", "third"] {
        let round = ask(cellar, ui)?;
        story.event(
            "cellar",
            format!("{attempt} try, the self-test fails"),
            "went back to 1.0.1",
            round.seen,
        );
    }
    let round = ask(cellar, ui)?;
    story.event("cellar", "asks a fourth time", "held back", round.seen);
    let bytes =
        std::fs::read(&bundle).map_err(|error| Failure::io("can't read a sealed file", &error))?;
    let (seen, operations) = cellar.hand(&bytes);
    story.attack(
        "cellar",
        "is handed 1.0.2 as a file",
        "refused: 215 failed-before",
        seen,
        operations,
    );
    cellar.agent.set_self_test(|_| true);
    let detail: DeviceDetail = world.admin.get("devices/cellar")?;
    let told = detail
        .reports
        .iter()
        .filter(|report| report.code == 360)
        .count();
    story.event(
        "server",
        "what the cellar reported",
        "3 self-tests failed",
        format!("{told} self-tests failed"),
    );
    let request = YankRelease {
        reason: "fails its self-test on some boards".to_owned(),
    };
    let yanked: ReleaseInfo = world
        .admin
        .post(&format!("releases/{digest}/yank"), &request)?;
    let seen = if yanked.yanked_at.is_some() {
        "yanked"
    } else {
        "still offered"
    };
    story.event("vendor", "withdraws 1.0.2", "yanked", seen);
    let round = ask(world.member("hall")?, ui)?;
    story.event("hall", "asks for an update", "nothing newer", round.seen);
    Ok(())
}
