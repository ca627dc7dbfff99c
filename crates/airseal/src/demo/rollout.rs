//! Two releases: one for everybody, one that a revoked device does not get and another gets through power cuts.

use airseal_pack::bundle::BundleFile;
use airseal_pack::control::Control;
use airseal_pack::keyset::KeysetFile;
use airseal_pack::open::{NamedTrust, OpenKey, open};
use airseal_pack::output::Existing;
use airseal_protocol::path::Path as RequestPath;
use airseal_server::api::types::{Revocation, RevokeDevice};
use airseal_sim::agent::Cuts;
use airseal_sim::fleet::in_words;

use super::event::Story;
use super::vendor::Plan;
use super::world::{Build, World, ask};
use crate::commands::shared::count;
use crate::failure::Failure;
use crate::ui::Ui;

/// 1.0.0 for the whole fleet.
pub(super) fn first_release(
    world: &mut World,
    ui: &Ui,
    story: &mut Story<'_>,
) -> Result<(), Failure> {
    story.chapter("1.0.0 for everybody")?;
    let recipients = world.fleet.recipients_without(&[]);
    let bundle = world.vendor.seal(
        "1.0.0",
        &Plan {
            image: world.image(Build::First),
            ..world.plan("1.0.0", 1, &recipients)
        },
    )?;
    world.publish_and_tell(&bundle, "1.0.0", &recipients, story)?;
    for name in world.fleet.names_without(&[]) {
        let round = ask(world.member(&name)?, ui)?;
        story.event_with(
            &name,
            "downloads, verifies, boots on trial",
            "1.0.0 confirmed",
            round.seen,
            format!("{} bytes over HTTPS", round.payload),
        );
    }
    Ok(())
}

/// 1.0.1 without the gate, and with a bad supply in the attic.
pub(super) fn revocation_and_power_cuts(
    world: &mut World,
    ui: &Ui,
    story: &mut Story<'_>,
) -> Result<(), Failure> {
    story.chapter("1.0.1: one device is revoked, one loses power")?;
    let request = RevokeDevice {
        reason: "stolen from its post".to_owned(),
        dry_run: false,
    };
    let revocation: Revocation = world.admin.post("devices/gate/revoke", &request)?;
    story.event_with(
        "gate",
        "is revoked",
        "revoked",
        revocation.device.state,
        format!(
            "could read {} before, and still can",
            count(revocation.readable_releases.len(), "release", "releases")
        ),
    );
    let recipients = world.fleet.recipients_without(&["gate"]);
    let bundle = world.vendor.seal(
        "1.0.1",
        &Plan {
            image: world.image(Build::Second),
            ..world.plan("1.0.1", 2, &recipients)
        },
    )?;
    let digest = world.publish_and_tell(&bundle, "1.0.1", &recipients, story)?;
    revoked(world, &bundle, &digest, ui, story)?;
    power_cuts(world, ui, story)?;
    for name in world.fleet.names_without(&["gate", "attic"]) {
        let round = ask(world.member(&name)?, ui)?;
        story.event(&name, "updates", "1.0.1 confirmed", round.seen);
    }
    Ok(())
}

fn revoked(
    world: &mut World,
    bundle: &std::path::Path,
    digest: &str,
    ui: &Ui,
    story: &mut Story<'_>,
) -> Result<(), Failure> {
    let digest = airseal_protocol::path::digest_from_hex(digest).ok_or_else(|| {
        Failure::environment("the server named a release by something that is no digest")
    })?;
    let keyset = KeysetFile::read(&world.vendor.keyset)?;
    let gate = world.member("gate")?;
    let round = ask(gate, ui)?;
    story.event(
        "gate",
        "asks for an update",
        "refused: 1103 revoked",
        round.seen,
    );
    let parts = [
        ("manifest", RequestPath::manifest(&digest, 1)),
        ("envelope", RequestPath::envelope(&digest)),
        ("payload", RequestPath::payload(&digest)),
    ];
    for (part, path) in parts {
        let seen = match gate.agent.source.fetch(path.as_str()) {
            Ok(bytes) => format!("got {} bytes", bytes.len()),
            Err(error) => in_words(&error),
        };
        story.event(
            "gate",
            format!("asks for the {part} by its path"),
            "refused: 1103 revoked",
            seen,
        );
    }
    let file = BundleFile::open(bundle)?;
    let key = OpenKey::new("gate", &gate.stolen_key())?;
    let output = bundle.with_file_name("opened-by-gate.bin");
    let opened = open(
        &file,
        &NamedTrust::Keyset(keyset),
        Some(&key),
        None,
        (&output, Existing::Refuse),
        &Control::default(),
    );
    let (seen, detail) = match opened {
        Ok(_) => ("opened", String::new()),
        Err(error) if error.kind() == airseal_pack::ErrorKind::Refused => {
            ("no envelope for it", error.to_string())
        }
        Err(error) => ("failed", error.to_string()),
    };
    let detail = match detail
        .split(';')
        .next()
        .and_then(|first| first.split_once("has no"))
    {
        Some((_, what)) => format!("the file has no{what}"),
        None => detail,
    };
    story.event_with(
        "attacker",
        "tries the gate's key on 1.0.1",
        "no envelope for it",
        seen,
        detail,
    );
    let bytes =
        std::fs::read(bundle).map_err(|error| Failure::io("can't read a sealed file", &error))?;
    let (seen, operations) = gate.hand(&bytes);
    story.attack(
        "gate",
        "is handed 1.0.1 as a file",
        "refused: 63 not-a-recipient",
        seen,
        operations,
    );
    Ok(())
}

fn power_cuts(world: &mut World, ui: &Ui, story: &mut Story<'_>) -> Result<(), Failure> {
    let image = std::fs::metadata(world.image(Build::Second))
        .map(|metadata| metadata.len())
        .unwrap_or_default();
    let chunks = image.div_ceil(4096);
    let attic = world.member("attic")?;
    attic.agent.cuts = Cuts::Every((chunks * 3 / 4).clamp(SHORTEST_SUPPLY, LONGEST_SUPPLY));
    let round = ask(attic, ui)?;
    attic.agent.cuts = Cuts::Never;
    story.event_with(
        "attic",
        "loses power, again and again",
        "1.0.1 confirmed",
        round.seen,
        format!(
            "{} cuts; resumed at the chunk: {} of {} bytes came twice",
            round.power_cuts, round.twice, round.payload
        ),
    );
    if chunks > CHUNKS_TO_CUT_TWICE {
        let verdict = if round.power_cuts > 1 {
            "more than once"
        } else {
            "not more than once"
        };
        story.event("attic", "how often power failed", "more than once", verdict);
    }
    Ok(())
}

/// Flash operations between two power cuts: a 4 KiB chunk is erased, written and entered in the journal.
const LONGEST_SUPPLY: u64 = 40 * 3;
const SHORTEST_SUPPLY: u64 = 10;
/// A smaller image is there before power fails a second time.
const CHUNKS_TO_CUT_TWICE: u64 = 12;
