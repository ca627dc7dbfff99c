//! Boot loader and firmware of a device, from any flash content to the end of a flow.

use airseal_update::Refusal;
use airseal_update::boot::ResetReason;

use super::flows::{Flow, Verdict};
use super::readout::running;
use super::world::Bench;

/// Where the device stands when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Its firmware runs, from the slot the bench says.
    Running,
    /// It starts.
    Boot(ResetReason),
}

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The next image is staged.
    Staged,
    /// It was booted once.
    OnTrial,
    /// The flow ended.
    End,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trip {
    /// The rung of the flow's ladder that the first boot ran.
    pub(crate) first: Option<usize>,
    /// Boots in all.
    pub(crate) boots: u64,
    /// The power went before the end.
    pub(crate) is_cut: bool,
}

/// Something that must never happen.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// Neither the old nor the new image runs.
    pub(crate) is_brick: bool,
    pub(crate) why: String,
}

impl Trouble {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self {
            is_brick: false,
            why: why.into(),
        }
    }

    fn brick(why: impl Into<String>) -> Self {
        Self {
            is_brick: true,
            why: why.into(),
        }
    }
}

/// Lets the device do what its boot loader and its firmware do, until the end, a power cut
/// or trouble.
pub(crate) fn drive(
    bench: &mut Bench<'_>,
    flow: &Flow,
    mut entry: Entry,
    until: Until,
) -> Result<Trip, Trouble> {
    let mut trip = Trip {
        first: None,
        boots: 0,
        is_cut: false,
    };
    let mut rung = None;
    for _ in 0..MAX_ROUNDS {
        if let Entry::Boot(reset) = entry {
            bench.act_as_boot_loader();
            trip.boots += 1;
            match bench.device.boot(reset) {
                Ok(_) => {}
                Err(_) if bench.device.flash().is_off() => return Ok(cut(trip)),
                Err(refusal) => return Err(Trouble::brick(format!("does not boot: {refusal}"))),
            }
        }
        let now = rung_of(bench, flow)?;
        if rung.is_some_and(|before| now < before) && flow.only_climbs() {
            let why = format!("rung {now} runs after rung {rung:?}");
            return Err(Trouble::brick(why));
        }
        rung = Some(now);
        if let Entry::Boot(_) = entry {
            trip.first.get_or_insert(now);
        }
        bench.act_as_firmware(&flow.ladder[now].made);
        let went = match turn(bench, flow, now, until) {
            Ok(went) => went,
            Err(_) if bench.device.flash().is_off() => return Ok(cut(trip)),
            Err(refusal) => return Err(Trouble::new(format!("does not go on: {refusal}"))),
        };
        match went {
            Some(next) => entry = next,
            None => return Ok(trip),
        }
    }
    Err(Trouble::new("never comes to an end"))
}

/// What the firmware does between two boots; `None` at the end.
fn turn(
    bench: &mut Bench<'_>,
    flow: &Flow,
    rung: usize,
    until: Until,
) -> Result<Option<Entry>, Refusal> {
    let device = &mut bench.device;
    if device.boot_state()?.is_on_trial() {
        if until == Until::OnTrial {
            return Ok(None);
        }
        match flow.ladder[rung].verdict {
            Verdict::Passes => device.confirm()?,
            Verdict::Fails => {
                device.revert()?;
                return Ok(Some(Entry::Boot(ResetReason::Restart)));
            }
            Verdict::Crashes => return Ok(Some(Entry::Boot(ResetReason::Restart))),
            Verdict::BrownsOut => return Ok(Some(Entry::Boot(ResetReason::Power))),
        }
    }
    device.heal()?;
    let Some(next) = flow.next(rung, &device.state()?) else {
        return Ok(None);
    };
    match device.update_from_bytes(&next.bundle) {
        Ok(()) if until == Until::Staged => Ok(None),
        Ok(()) | Err(Refusal::AlreadyStaged) => Ok(Some(Entry::Boot(ResetReason::Restart))),
        Err(Refusal::ResumeMismatch) => Ok(Some(Entry::Running)),
        // A keyset waits until the staged image was tried.
        Err(Refusal::Unconfirmed) => Ok(Some(Entry::Boot(ResetReason::Restart))),
        Err(refusal) => Err(refusal),
    }
}

fn rung_of(bench: &mut Bench<'_>, flow: &Flow) -> Result<usize, Trouble> {
    let own = running(bench).map_err(Trouble::brick)?;
    let digest = own.and_then(|own| own.digest);
    let rung = flow
        .ladder
        .iter()
        .position(|rung| rung.made.digest == digest);
    rung.ok_or_else(|| Trouble::brick("neither the old nor the new release runs"))
}

fn cut(trip: Trip) -> Trip {
    Trip {
        is_cut: true,
        ..trip
    }
}

/// A device that has not ended after so many boots never will.
const MAX_ROUNDS: usize = 64;
