//! An attacker who holds the server, the content key and one device's keys, and lacks a signing key.
//!
//! Every attempt is handed to a device as the server would send it, and is refused by a named check before the flash is
//! touched.

use std::path::Path;

use airseal_format::RecipientId;
use airseal_format::bundle::SectionKind;
use airseal_pack::bundle::BundleFile;
use airseal_pack::content_key::ContentKeyFile;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::keyset::{KeysetFile, RotateKeyset};
use airseal_pack::output::Existing;
use airseal_pack::recipient::Recipients;
use airseal_pack::release::add_envelopes;
use airseal_sim::forge::Forgery;

use super::event::Story;
use super::vendor::Plan;
use super::world::World;
use crate::failure::Failure;

/// The release the attacker meddles with before it is published.
pub(super) const NEXT: &str = "1.0.2";
/// A class of devices the target does not belong to.
pub(super) const OTHER_CLASS: &str = "thermostat";

/// Everything that can be tried.
pub(super) fn with_everything_but_a_signing_key(
    world: &mut World,
    story: &mut Story<'_>,
) -> Result<(), Failure> {
    story.chapter("An attacker holds the server, the content key and one device's keys")?;
    let recipients = world.fleet.recipients_without(&["gate"]);
    let next = world.vendor.seal(NEXT, &world.plan(NEXT, 3, &recipients))?;
    changed_bytes(world, &read(&next)?, story)?;
    old_and_renamed(world, story)?;
    for_somebody_else(world, story)?;
    signed_by_the_attacker(world, &recipients, story)
}

fn changed_bytes(world: &mut World, next: &[u8], story: &mut Story<'_>) -> Result<(), Failure> {
    let old = read(&world.folder().join("releases/1.0.1.seal"))?;
    let hall = world.member("hall")?;
    let attempts = forgeries(next, &old, hall.recipient_id()).map_err(Failure::environment)?;
    for (what, expected, forgery) in attempts {
        let (seen, operations) = hall.hand(forgery.bytes());
        story.attack(
            "hall",
            what,
            &format!("refused: {expected}"),
            seen,
            operations,
        );
    }
    Ok(())
}

/// What is tried, the refusal it should meet, and the bytes.
fn forgeries(
    next: &[u8],
    old: &[u8],
    recipient: RecipientId,
) -> Result<[(&'static str, &'static str, Forgery); 9], airseal_format::Error> {
    let genuine = Forgery::of(next.to_vec())?;
    let (page, chunk) = genuine.first_page_and_chunk()?;
    let old = Forgery::of(old.to_vec())?;
    Ok([
        (
            "a changed byte in the manifest",
            "30 bad-signature",
            genuine.clone().flip(SectionKind::Manifest, VERSION_AT)?,
        ),
        (
            "a changed byte in the signature",
            "30 bad-signature",
            genuine.clone().flip_last(SectionKind::Manifest)?,
        ),
        (
            "a changed byte in the keyset",
            "45 keyset-conflict",
            genuine.clone().flip(SectionKind::Keyset, MAX_SECURITY_AT)?,
        ),
        (
            "a changed byte in the envelope",
            "61 unwrap-failed",
            genuine.clone().flip_envelope(recipient)?,
        ),
        (
            "a changed byte in the hash tree's top",
            "50 top-mismatch",
            genuine.clone().flip(SectionKind::Payload, 0)?,
        ),
        (
            "a changed byte in a page of hashes",
            "51 page-mismatch",
            genuine.clone().flip(SectionKind::Payload, page)?,
        ),
        (
            "a changed byte in a chunk",
            "52 chunk-mismatch",
            genuine.clone().flip(SectionKind::Payload, chunk)?,
        ),
        (
            "a chunk and its hashes made anew",
            "50 top-mismatch",
            genuine.clone().rehash_first_chunk()?,
        ),
        (
            "the envelopes of another release",
            "60 other-release",
            genuine.envelopes_of(&old)?,
        ),
    ])
}

fn old_and_renamed(world: &mut World, story: &mut Story<'_>) -> Result<(), Failure> {
    let first = read(&world.folder().join("releases/1.0.0.seal"))?;
    let renamed = Forgery::of(first.clone())
        .and_then(|file| file.write_manifest(VERSION_AT, b"9.9.9"))
        .and_then(|file| file.write_manifest(SEQUENCE_AT, &99_u64.to_le_bytes()))
        .map_err(Failure::environment)?;
    let hall = world.member("hall")?;
    let (seen, operations) = hall.hand(&first);
    story.attack(
        "hall",
        "a downgrade to 1.0.0, genuine",
        "refused: 212 older",
        seen,
        operations,
    );
    let (seen, operations) = hall.hand(renamed.bytes());
    story.attack(
        "hall",
        "1.0.0 under the name 9.9.9",
        "refused: 30 bad-signature",
        seen,
        operations,
    );
    Ok(())
}

fn for_somebody_else(world: &mut World, story: &mut Story<'_>) -> Result<(), Failure> {
    let recipients = world.fleet.recipients_without(&["gate"]);
    let other_class = Plan {
        class: OTHER_CLASS,
        ..world.plan("5.0.0", 50, &recipients)
    };
    let other_class = world.vendor.seal("other-class", &other_class)?;
    let cellar = world.member("cellar")?;
    let only = [cellar.recipient_id()];
    let mut cellar_alone = Recipients::new();
    cellar_alone.add(cellar.recipient());
    let test_build = Plan {
        only: &only,
        ..world.plan("1.0.2-test", 60, &cellar_alone)
    };
    let test_build = world.vendor.seal("test-build", &test_build)?;
    // The content key lets the attacker address the test build to the hall; installing it is another matter.
    let readdressed = world.folder().join("releases/test-build-for-hall.seal");
    let mut hall_too = Recipients::new();
    hall_too.add(world.member("hall")?.recipient());
    add_envelopes(
        &BundleFile::open(&test_build)?,
        &ContentKeyFile::read(&world.vendor.content_key("test-build"))?.key,
        &hall_too,
        (&readdressed, Existing::Refuse),
        &SystemEntropy,
        &Control::default(),
    )?;
    let attempts = [
        (
            "a genuine release of another class",
            "203 wrong-class",
            other_class,
        ),
        (
            "the cellar's test build, for the hall",
            "205 not-targeted",
            readdressed,
        ),
    ];
    for (what, expected, file) in attempts {
        let bytes = read(&file)?;
        let (seen, operations) = world.member("hall")?.hand(&bytes);
        story.attack(
            "hall",
            what,
            &format!("refused: {expected}"),
            seen,
            operations,
        );
    }
    Ok(())
}

fn signed_by_the_attacker(
    world: &mut World,
    recipients: &Recipients,
    story: &mut Story<'_>,
) -> Result<(), Failure> {
    let attacker = [world.vendor.new_key("attacker")?];
    let resigned = Plan {
        signed_by: "attacker",
        keyset: None,
        ..world.plan("6.6.6", 66, recipients)
    };
    let resigned = world.vendor.seal("re-signed", &resigned)?;
    // A keyset of the attacker's own, made out as the successor of the vendor's.
    let forged_keyset = world.folder().join("keys/forged-keyset");
    let change = RotateKeyset {
        roots: Some(&attacker),
        releases: Some(&attacker),
        root_threshold: Some(1),
        ..RotateKeyset::default()
    };
    KeysetFile::read(&world.vendor.keyset)?
        .rotate("forged keyset", &change)?
        .sign(&world.vendor.signers(&["attacker"])?)?
        .write(&forged_keyset, Existing::Refuse)?;
    let usurped = Plan {
        signed_by: "attacker",
        keyset: Some(&forged_keyset),
        ..world.plan("6.6.7", 67, recipients)
    };
    let usurped = world.vendor.seal("usurped", &usurped)?;
    for (what, file) in [
        ("a release signed by the attacker", &resigned),
        ("the same with a forged keyset", &usurped),
    ] {
        let bytes = read(file)?;
        let (seen, operations) = world.member("hall")?.hand(&bytes);
        story.attack(
            "hall",
            what,
            "refused: 34 too-few-signatures",
            seen,
            operations,
        );
    }
    let seen = match world.publish(&resigned) {
        Ok(_) => "published".to_owned(),
        Err(failure) => format!("refused: {}", failure.code.unwrap_or(0)),
    };
    story.event(
        "server",
        "is given the attacker's release",
        "refused: 34",
        seen,
    );
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::io("can't read a sealed file", &error))
}

/// Offsets of fields, from the tables of the format.
const SEQUENCE_AT: usize = 64;
const VERSION_AT: usize = 176;
const MAX_SECURITY_AT: usize = 80;
