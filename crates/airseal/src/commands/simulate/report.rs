use std::fmt;
use std::path::Path;

use airseal_pack::key::DevicePublicKey;
use airseal_sim::SimDevice;
use airseal_sim::agent::{Event, Outcome};
use airseal_sim::https::ClientError;
use airseal_sim::traffic::Traffic;
use airseal_update::Refusal;

use crate::failure::Failure;

/// What happened, for people and as JSON.
#[derive(Default, serde::Serialize)]
pub(super) struct Report {
    /// Its recipient id.
    pub(super) device: String,
    /// Its name on the server, after enrolling.
    pub(super) enrolled_as: Option<String>,
    /// How it ended, in a few words.
    pub(super) outcome: String,
    /// Number of the refusal, 0 for none.
    pub(super) code: u16,
    /// Version text of the release that runs; none for the factory image.
    pub(super) version: Option<String>,
    /// Digest of its manifest.
    pub(super) digest: Option<String>,
    /// Its number.
    pub(super) sequence: u64,
    /// Its security version.
    pub(super) security_version: u32,
    /// The keyset in force.
    pub(super) keyset_version: u32,
    /// How often power failed.
    pub(super) power_cuts: u32,
    /// Erase and program operations in this run.
    pub(super) flash_operations: u64,
    /// What came over the network.
    pub(super) traffic: Option<Traffic>,
    /// Bytes received for each byte of payload that was needed.
    pub(super) bytes_per_byte: Option<f64>,
    /// Everything that happened, in order.
    pub(super) events: Vec<Event>,
}

/// What can be asked of the device itself.
///
/// # Errors
/// A fault of the flash.
pub(super) fn finish(
    report: &mut Report,
    device: &mut SimDevice,
    before: u64,
) -> Result<(), Refusal> {
    let own = device.own()?;
    report.device = DevicePublicKey::X25519(device.public())
        .recipient_id()
        .to_string();
    report.version = match device.running() {
        Some(slot) => device.version_in(slot)?,
        None => None,
    };
    report.digest = own.digest.map(|digest| digest.to_string());
    report.sequence = own.order.release_seq.0;
    report.security_version = own.security_version.0;
    report.keyset_version = device.keyset_version()?.0;
    report.flash_operations = device.flash().operations() - before;
    Ok(())
}

/// How often power failed.
pub(super) fn count_cuts(events: &[Event]) -> u32 {
    let cuts = events
        .iter()
        .filter(|event| matches!(event, Event::PowerLost { .. }))
        .count();
    u32::try_from(cuts).unwrap_or(u32::MAX)
}

/// The exit code and the reason of a round, from what happened last; `ca` is the file of the server's authority.
pub(super) fn verdict(outcome: Outcome, events: &[Event], ca: &Path) -> Result<(), Failure> {
    let last = events.iter().rev().find_map(|event| match event {
        Event::NoEnvelope { release } => Some(
            Failure::refused(format_args!(
                "release {release} is newer, but nobody has sealed it to this device"
            ))
            .hint("airseal envelope add, with device.pub of the state folder, then publish again"),
        ),
        Event::Held { release } => Some(
            Failure::refused(format_args!(
                "release {release} is held back from this device: it failed here three times"
            ))
            .hint("publish a repaired release"),
        ),
        Event::Refused { code, why, .. } => {
            Some(split(format_args!("the device says: {why}")).code(*code))
        }
        Event::ServerRefused { code: 0, why, .. } => {
            Some(split(format_args!("the server says: {why}")))
        }
        Event::ServerRefused { code, why, .. } => {
            Some(split(format_args!("the server says: {why}")).code(*code))
        }
        Event::Reverted { code, why, .. } => Some(
            split(format_args!(
                "the device went back to the release before: {why}"
            ))
            .code(*code),
        ),
        Event::Interrupted { why } => Some(Failure::connection(
            why,
            Some(ca),
            "run it again: the device goes on where it stopped",
        )),
        _ => None,
    });
    match (outcome, last) {
        (Outcome::Updated, _) | (Outcome::Idle, None) => Ok(()),
        (_, Some(failure)) => Err(failure),
        (outcome, None) => Err(Failure::refused(format_args!(
            "the update ended with {outcome:?}"
        ))),
    }
}

fn split(text: fmt::Arguments<'_>) -> Failure {
    let text = text.to_string();
    match text.split_once("; ") {
        Some((what, hint)) => Failure::refused(what).hint(hint),
        None => Failure::refused(text),
    }
}

/// A failed request; `ca` is the file of the server's authority.
pub(super) fn client_failure(error: ClientError, ca: &Path) -> Failure {
    match error {
        ClientError::Refusal(refusal) => refused(&refusal),
        ClientError::Problem {
            code: 0,
            status,
            title,
            ..
        } => Failure::refused(format_args!("the server says: {title} (HTTP {status})"))
            .hint("is the address right, and does this server have the release?"),
        ClientError::Problem { code, title, .. } => {
            split(format_args!("the server says: {title}")).code(code)
        }
        ClientError::Address(why) => Failure::usage(why),
        ClientError::Spent => Failure::environment(
            "the update was interrupted, and standard input can't be read again",
        )
        .hint("send the sealed file once more; the device goes on where it was"),
        other => Failure::connection(
            other,
            Some(ca),
            "is the server running (airseal serve), and is this its address for devices?",
        ),
    }
}

/// A refusal of the device.
pub(super) fn refused(refusal: &Refusal) -> Failure {
    split(format_args!("the device says: {refusal}")).code(refusal.code())
}

/// The report for people.
pub(super) fn text(report: &Report) -> String {
    let running = match (&report.version, report.sequence) {
        (Some(version), number) => format!("{version} (number {number})"),
        (None, _) => "the factory image".to_owned(),
    };
    let mut text = format!(
        "device       {}\noutcome      {}\nrunning      {running}\n",
        report.device, report.outcome
    );
    if let Some(name) = &report.enrolled_as {
        text.push_str(&format!("enrolled as  {name}\n"));
    }
    if report.power_cuts > 0 {
        let times = if report.power_cuts == 1 {
            "time"
        } else {
            "times"
        };
        text.push_str(&format!("power failed {} {times}\n", report.power_cuts));
    }
    if let (Some(traffic), Some(ratio)) = (&report.traffic, report.bytes_per_byte) {
        text.push_str(&format!(
            "network      {} bytes of payload, {} of them twice ({ratio:.3} per byte)\n",
            traffic.payload, traffic.twice
        ));
    }
    text.push_str(&format!(
        "flash        {} operations\n",
        report.flash_operations
    ));
    text
}
