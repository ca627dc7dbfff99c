//! What can happen to a device, one event at a time, and what must hold after it.

use airseal_update::Refusal;
use airseal_update::boot::ResetReason;
use airseal_update::lifecycle::Own;
use airseal_update::port::{PendingSlot, PendingStage, Slot};

use super::readout::{Readout, releases, running};
use super::world::{BORN_WITH, Bench, LAST_KEYSET, Made, Recipe, Size};
use crate::flash::{Cut, PowerCut};
use crate::random::Noise;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A newer release arrives and is written whole.
    Update(Newer),
    /// A newer release arrives by half.
    HalfOf(Newer),
    /// The next keyset arrives without a release.
    Keyset,
    /// The release whose manifest stands in the slot that does not run arrives again.
    Again,
    /// The newest release that was ever confirmed arrives again.
    Repair,
    /// An older release arrives under the keyset in force.
    Downgrade,
    /// A restart by software; on trial a watchdog or a panic.
    Restart,
    /// Power off and on.
    PowerCycle,
    /// Power off and on nine times.
    BrownOut,
    /// The self-test passed.
    Confirm,
    /// The self-test failed; the device restarts.
    Revert,
    /// A bit of the running image flips.
    RotRunning,
    /// A bit of the other slot's image flips.
    RotOther,
}

/// How a newer release differs from the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newer {
    /// A higher sequence.
    Plain,
    /// A higher security version too.
    Floor,
    /// It carries the next keyset and is sealed under it.
    Rotated,
    /// It carries the next two keysets, one of which changes all keys.
    RotatedTwice,
    /// The next keyset is compiled into its firmware.
    Compiled,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 20] = [
        Event::Update(Newer::Plain),
        Event::Update(Newer::Floor),
        Event::Update(Newer::Rotated),
        Event::Update(Newer::RotatedTwice),
        Event::Update(Newer::Compiled),
        Event::HalfOf(Newer::Plain),
        Event::HalfOf(Newer::Floor),
        Event::HalfOf(Newer::Rotated),
        Event::HalfOf(Newer::Compiled),
        Event::Keyset,
        Event::Again,
        Event::Repair,
        Event::Downgrade,
        Event::Restart,
        Event::PowerCycle,
        Event::BrownOut,
        Event::Confirm,
        Event::Revert,
        Event::RotRunning,
        Event::RotOther,
    ];
}

/// What the search knows about a device without asking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// The slot of the confirmed image.
    pub(crate) confirmed: Slot,
    /// The keyset the confirmed image was accepted under.
    pub(crate) vouched_by: u32,
    /// The floor.
    pub(crate) floor: u32,
    /// The image in slot A, in slot B has lost a bit since it was written.
    pub(crate) is_rotten: [bool; 2],
}

/// Applies `event`, with the power lost in it when `cut` says so: an operation, counted
/// from 0 and taken modulo their number, and a way.
///
/// Returns whether the device still runs.
///
/// # Errors
/// A sentence for what must not happen.
pub(crate) fn apply(
    bench: &mut Bench<'_>,
    ledger: &mut Ledger,
    event: Event,
    cut: Option<(u64, Cut)>,
) -> Result<bool, String> {
    let read = |error: Refusal| format!("unreadable: {error}");
    let before = Readout::of(bench).map_err(read)?;
    let held = releases(bench).map_err(read)?;
    let now = bench.device.flash().operations();
    let planned = cut.map(|(at, how)| PowerCut { at: now + at, how });
    bench.device.flash_mut().clear_log();
    bench.device.flash_mut().set_cut(planned);
    let was_running = bench.device.running();
    let rots = match (event, was_running) {
        (Event::RotRunning, Some(slot)) => Some(slot),
        (Event::RotOther, Some(slot)) => Some(slot.other()),
        _ => None,
    };
    if rots.is_some_and(|slot| ledger.is_rotten[slot.index()]) {
        return Ok(true);
    }
    let result = happen(bench, &before, &held, event);
    let is_cut = bench.device.flash().is_off();
    bench.device.flash_mut().power_on();
    if !is_cut {
        judge(bench, ledger, &before, event, result)?;
    }
    note_rot(bench, ledger, event, was_running);
    if is_cut {
        let torn = Readout::of(bench).map_err(read)?;
        follow(bench, ledger, was_running, &before, &torn)?;
        keyset_rules(&before, &torn, event)?;
        if let Err(error) = boot(bench, ResetReason::Power) {
            check_broken(bench, ledger, &error)?;
            return Ok(false);
        }
    }
    let after = Readout::of(bench).map_err(read)?;
    follow(bench, ledger, was_running, &before, &after)?;
    if !is_cut {
        keyset_rules(&before, &after, event)?;
    }
    Ok(bench.device.running().is_some())
}

/// Checks that a slot boots when the design promises one: the confirmed image unless it has
/// lost a bit, else the other one if it is whole, not below the floor and vouched for by a
/// keyset that is still there.
pub(crate) fn check_promise(bench: &mut Bench<'_>, ledger: &Ledger) -> Result<(), String> {
    let flash = bench.device.flash().clone();
    let slot = bench.device.running();
    for reset in [ResetReason::Power, ResetReason::Restart] {
        let booted = boot(bench, reset);
        bench.restore(&flash, slot);
        if let Err(error) = booted {
            check_broken(bench, ledger, &error)?;
        }
    }
    act_as_what_runs(bench)
}

/// The sentence for a failed boot, unless none was promised.
fn check_broken(bench: &mut Bench<'_>, ledger: &Ledger, error: &str) -> Result<(), String> {
    let confirmed = ledger.confirmed;
    if !ledger.is_rotten[confirmed.index()] {
        return Err(format!(
            "the confirmed image in slot {confirmed} does not boot: {error}"
        ));
    }
    let read = |error: Refusal| error.to_string();
    let other = confirmed.other();
    let in_force = Readout::of(bench).map_err(read)?.keyset_version();
    let is_promised = releases(bench).map_err(read)?[other.index()].is_some_and(|own| {
        !ledger.is_rotten[other.index()]
            && own.security_version.0 >= ledger.floor
            && [ledger.vouched_by, in_force].contains(&own.accepted_under.0)
    });
    if is_promised {
        return Err(format!(
            "the image in slot {other} does not boot either: {error}"
        ));
    }
    Ok(())
}

fn boot(bench: &mut Bench<'_>, reset: ResetReason) -> Result<(), String> {
    bench.act_as_boot_loader();
    let booted = bench.device.boot(reset);
    booted.map_err(|error| error.to_string())?;
    running(bench)?;
    act_as_what_runs(bench)?;
    let boot = bench
        .device
        .boot_state()
        .map_err(|error| error.to_string())?;
    if !boot.is_on_trial() {
        bench.device.heal().map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn act_as_what_runs(bench: &mut Bench<'_>) -> Result<(), String> {
    let digest = bench.device.release().map_err(|error| error.to_string())?;
    if let Some(made) = digest.and_then(|digest| bench.world.find(digest)) {
        bench.act_as_firmware(&made);
    }
    Ok(())
}

fn happen(
    bench: &mut Bench<'_>,
    before: &Readout,
    held: &[Option<Own>; 2],
    event: Event,
) -> Result<(), Refusal> {
    let running = bench.device.running().unwrap_or(Slot::A);
    let other = held[running.other().index()];
    match event {
        Event::Update(newer) => {
            let made = newer_release(bench, before, held, newer);
            bench.device.update_from_bytes(&made.bundle)
        }
        Event::HalfOf(newer) => {
            let made = newer_release(bench, before, held, newer);
            deliver_part(bench, &made, made.bundle.len() - 512)
        }
        Event::Keyset => {
            let made = newer_release(bench, before, held, Newer::Rotated);
            deliver_part(bench, &made, made.keysets_len)
        }
        Event::Again => install_again(bench, other.and_then(|own| own.digest)),
        Event::Repair => install_again(bench, before.state.newest.map(|(_, digest)| digest)),
        Event::Downgrade => {
            let newest = before.state.newest.map(|(order, _)| order);
            let made = bench.world.release(Recipe {
                seq: 1,
                security_version: 1,
                keyset: newest.map_or(BORN_WITH, |order| order.keyset_version.0),
                compiled: BORN_WITH,
                size: Size::Tiny,
                raw: false,
            });
            bench.device.update_from_bytes(&made.bundle)
        }
        Event::Restart => restart(bench, ResetReason::Restart),
        Event::PowerCycle => restart(bench, ResetReason::Power),
        Event::BrownOut => (0..9).try_for_each(|_| restart(bench, ResetReason::Power)),
        Event::Confirm => bench.device.confirm(),
        Event::Revert => {
            bench.device.revert()?;
            restart(bench, ResetReason::Restart)
        }
        Event::RotRunning => rot(bench, running),
        Event::RotOther => rot(bench, running.other()),
    }
}

/// As [`boot`], with the refusal as it is.
fn restart(bench: &mut Bench<'_>, reset: ResetReason) -> Result<(), Refusal> {
    bench.act_as_boot_loader();
    bench.device.boot(reset)?;
    let digest = bench.device.release()?;
    if let Some(made) = digest.and_then(|digest| bench.world.find(digest)) {
        bench.act_as_firmware(&made);
    }
    if !bench.device.boot_state()?.is_on_trial() {
        bench.device.heal()?;
    }
    Ok(())
}

fn newer_release(
    bench: &Bench<'_>,
    before: &Readout,
    held: &[Option<Own>; 2],
    newer: Newer,
) -> std::sync::Arc<Made> {
    let seqs = held
        .iter()
        .flatten()
        .map(|own| own.order)
        .chain(before.state.newest.map(|(order, _)| order))
        .chain(before.state.failure.map(|failure| failure.order))
        .map(|order| order.release_seq.0);
    let floors = held.iter().flatten().map(|own| own.security_version.0);
    let floor = floors.fold(before.state.floor.0, u32::max);
    let keyset = before.keyset_version().max(BORN_WITH);
    let (rise, rotations, ahead) = match newer {
        Newer::Plain => (0, 0, 0),
        Newer::Floor => (1, 0, 0),
        Newer::Rotated => (0, 1, 0),
        Newer::RotatedTwice => (0, 2, 0),
        Newer::Compiled => (0, 0, 1),
    };
    let keyset = (keyset + rotations).min(LAST_KEYSET - 2);
    bench.world.release(Recipe {
        seq: seqs.max().unwrap_or(0) + 1,
        security_version: floor + rise,
        keyset,
        compiled: (keyset + ahead).min(LAST_KEYSET - 2),
        size: Size::Tiny,
        raw: false,
    })
}

fn deliver_part(bench: &mut Bench<'_>, made: &Made, len: usize) -> Result<(), Refusal> {
    let mut part = &made.bundle[..len];
    match bench.device.update_from(&mut part, None, &mut |_, _| {}) {
        Err(Refusal::Ended) => Ok(()),
        other => other,
    }
}

fn install_again(
    bench: &mut Bench<'_>,
    digest: Option<airseal_format::Digest>,
) -> Result<(), Refusal> {
    match digest.and_then(|digest| bench.world.find(digest)) {
        Some(made) => bench.device.update_from_bytes(&made.bundle),
        None => Ok(()),
    }
}

fn rot(bench: &mut Bench<'_>, slot: Slot) -> Result<(), Refusal> {
    let at = bench.device.model().layout().slots[slot.index()].offset as usize;
    bench.device.flash_mut().bytes_mut()[at + 1030] ^= 0x10;
    Ok(())
}

/// Which refusals an event may meet.
fn judge(
    bench: &mut Bench<'_>,
    ledger: &Ledger,
    before: &Readout,
    event: Event,
    result: Result<(), Refusal>,
) -> Result<(), String> {
    let running = bench.device.running();
    let pending = before.pending;
    let is_trial = |slot| pending.is_some_and(|pending| Some(pending.slot) == slot);
    let waits = |newer| {
        let rotates = matches!(newer, Newer::Rotated | Newer::RotatedTwice);
        is_trial(running) || (pending.is_some() && rotates)
    };
    let expected = match (event, &result) {
        (Event::Update(newer) | Event::HalfOf(newer), Err(Refusal::Unconfirmed)) => waits(newer),
        (Event::Update(_) | Event::HalfOf(_), Err(Refusal::ResumeMismatch)) => true,
        (Event::Update(newer) | Event::HalfOf(newer), Ok(())) => !waits(newer),
        (Event::Keyset, Err(Refusal::Unconfirmed)) => pending.is_some(),
        (Event::Keyset, Ok(())) => pending.is_none(),
        (Event::Repair, Err(refusal)) if must_repair(bench, before) => {
            *refusal == Refusal::ResumeMismatch
        }
        (
            Event::Again | Event::Repair,
            Ok(())
            | Err(
                Refusal::AlreadyInstalled
                | Refusal::AlreadyStaged
                | Refusal::Unconfirmed
                | Refusal::Older
                | Refusal::FailedBefore
                | Refusal::BelowFloor
                | Refusal::ResumeMismatch
                | Refusal::Format(_),
            ),
        ) => true,
        (Event::Downgrade, Err(refusal)) => {
            let slots = bench.device.slots();
            let is_ours = matches!(
                refusal,
                Refusal::Unconfirmed
                    | Refusal::Older
                    | Refusal::BelowFloor
                    | Refusal::AlreadyInstalled
                    | Refusal::Format(_)
            );
            is_ours && bench.device.flash().touched(&slots) == 0
        }
        (Event::Restart | Event::PowerCycle, Ok(())) => match pending {
            Some(PendingSlot {
                slot,
                stage: PendingStage::Staged,
            }) => (running == Some(slot)) != ledger.is_rotten[slot.index()],
            _ => true,
        },
        (Event::Confirm, Ok(())) => is_settled(bench),
        (Event::Confirm | Event::Revert, Err(Refusal::WrongCall)) => !is_trial(running),
        (_, Err(Refusal::NothingBootable)) => true,
        (_, Ok(())) => true,
        _ => false,
    };
    if expected {
        Ok(())
    } else {
        Err(format!("{event:?} ends with {result:?}"))
    }
}

/// Order, floor and boot keyset are those of the image that runs.
fn is_settled(bench: &mut Bench<'_>) -> bool {
    let (Ok(own), Ok(readout)) = (bench.device.own(), Readout::of(bench)) else {
        return false;
    };
    readout.state.newest.map(|(_, digest)| digest) == own.digest
        && readout.state.floor >= own.security_version
        && readout.state.boot_keyset == own.accepted_under
        && readout.boot_keyset_version() == own.accepted_under.0
}

/// The newest release is not the one that runs, and nothing speaks against installing it.
fn must_repair(bench: &mut Bench<'_>, before: &Readout) -> bool {
    let Ok(own) = bench.device.own() else {
        return false;
    };
    before.state.newest.is_some_and(|(order, digest)| {
        let failed = before.state.failure;
        // An image that took the place of a lost one may be newer: nothing is repaired then.
        own.order <= order
            && own.digest != Some(digest)
            && before.pending.is_none()
            && order.keyset_version.0 == before.keyset_version()
            && failed.is_none_or(|failure| failure.count < 3 || failure.order < order)
    })
}

fn note_rot(bench: &Bench<'_>, ledger: &mut Ledger, event: Event, was_running: Option<Slot>) {
    let running = was_running.unwrap_or(Slot::A);
    match event {
        Event::RotRunning => ledger.is_rotten[running.index()] = true,
        Event::RotOther => ledger.is_rotten[running.other().index()] = true,
        // What is written anew is whole, or its record is incomplete.
        _ => {
            for slot in Slot::ALL {
                let region = bench.device.model().layout().slots[slot.index()];
                let sector = region.offset as usize..region.offset as usize + 4096;
                if bench.device.flash().touched(&sector) > 0 {
                    ledger.is_rotten[slot.index()] = false;
                }
            }
        }
    }
}

/// Brings the ledger to what the device says, if it may say that.
fn follow(
    bench: &mut Bench<'_>,
    ledger: &mut Ledger,
    was_running: Option<Slot>,
    before: &Readout,
    after: &Readout,
) -> Result<(), String> {
    let confirmed = after.confirmed.ok_or("nothing is confirmed any more")?;
    if confirmed != ledger.confirmed {
        let was_candidate = before
            .pending
            .is_some_and(|pending| pending.slot == confirmed);
        // An image that ran because the confirmed one was lost takes its place.
        if !was_candidate && was_running != Some(confirmed) {
            return Err(format!("slot {confirmed} became confirmed without a trial"));
        }
        ledger.confirmed = confirmed;
    }
    let held = releases(bench).map_err(|error| error.to_string())?;
    let own = held[confirmed.index()];
    let own_floor = own.map_or(0, |own| own.security_version.0);
    let floor = after.state.floor.0;
    if floor < ledger.floor {
        return Err(format!("the floor fell from {} to {floor}", ledger.floor));
    }
    if floor > ledger.floor.max(own_floor) {
        return Err(format!("the floor {floor} is ahead of the confirmed image"));
    }
    ledger.floor = floor;
    if let Some(own) = own {
        ledger.vouched_by = own.accepted_under.0;
    }
    let order = |readout: &Readout| readout.state.newest.map(|(order, _)| order);
    if order(after) < order(before) {
        return Err("the newest order fell".to_owned());
    }
    Ok(())
}

/// The keyset in force never falls, and does not move while a slot is staged or on trial.
fn keyset_rules(before: &Readout, after: &Readout, event: Event) -> Result<(), String> {
    let (old, new) = (before.keyset_version(), after.keyset_version());
    if new < old {
        return Err(format!("the keyset in force fell from {old} to {new}"));
    }
    let arrives = matches!(
        event,
        Event::Update(_) | Event::HalfOf(_) | Event::Keyset | Event::Again | Event::Repair
    );
    if new > old && before.pending.is_some() && arrives {
        return Err("a keyset was accepted beside a staged image".to_owned());
    }
    Ok(())
}

/// A cut for the search: some operation, some way.
pub(crate) fn some_cut(noise: &mut Noise, operations: u64) -> (u64, Cut) {
    let way = noise.below(5) as usize;
    (noise.below(operations), Cut::all(noise.bits())[way])
}
