//! The parts of an update that are cut.

use airseal_update::Refusal;
use airseal_update::boot::ResetReason;

use super::{Bench, Made, Snapshot};

/// One flow: where it starts and where it ends.
pub struct Flow {
    /// Its name in the report.
    pub name: &'static str,
    pub(crate) start: Snapshot,
    /// Releases that may run at any time: the old one and the new one.
    pub(crate) old: Made,
    pub(crate) new: Made,
    /// The self-test of the new release fails.
    pub(crate) fails: bool,
    /// How far the part goes whose operations are cut.
    pub(crate) until: Until,
}

/// How far a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The new image is staged.
    Staged,
    /// It was booted once.
    OnTrial,
    /// It was confirmed, or given up.
    Settled,
}

/// Every flow.
///
/// # Panics
/// When a flow can't be prepared, which is a failure of its own.
#[must_use]
pub fn flows() -> Vec<Flow> {
    let mut bench = Bench::new();
    let old = bench.release(1, 1, 1);
    let new = bench.release(2, 2, 1);
    let rotated = bench.release(3, 2, 3);
    bench
        .device
        .provision(&old.bundle)
        .expect("release 1 installs");
    let fresh = bench.snapshot();
    let flow = |name, start: &Snapshot, new: &Made, fails, until| Flow {
        name,
        start: start.clone(),
        old: old.clone(),
        new: new.clone(),
        fails,
        until,
    };

    let half = interrupted(&mut bench, &fresh, &new, 12);
    let written = interrupted(&mut bench, &fresh, &new, 27);
    bench.restore(&fresh);
    bench
        .device
        .update_from_bytes(&new.bundle)
        .expect("release 2 installs");
    let staged = bench.snapshot();
    bench.boot(ResetReason::Restart).expect("release 2 boots");
    let trial = bench.snapshot();
    let mut flows = vec![
        flow("download", &fresh, &new, false, Until::Staged),
        flow("resume", &half, &new, false, Until::Staged),
        flow("stage", &written, &new, false, Until::Staged),
        flow("trial", &staged, &new, false, Until::OnTrial),
        flow("confirm", &trial, &new, false, Until::Settled),
        flow("revert", &trial, &new, true, Until::Settled),
        flow("keyset rotation", &fresh, &rotated, false, Until::Settled),
        flow("whole update", &fresh, &new, false, Until::Settled),
        flow(
            "whole update that fails",
            &fresh,
            &rotated,
            true,
            Until::Settled,
        ),
    ];
    flows.push(repair(&mut bench));
    flows
}

/// Release 2 confirmed in slot B, which then loses a bit: slot A runs, B is repaired.
fn repair(bench: &mut Bench) -> Flow {
    let (old, new) = (bench.release(1, 1, 1), bench.release(2, 1, 1));
    *bench = Bench::new();
    bench
        .device
        .provision(&old.bundle)
        .expect("release 1 installs");
    bench
        .device
        .update_from_bytes(&new.bundle)
        .expect("release 2 installs");
    bench.boot(ResetReason::Restart).expect("release 2 boots");
    bench.device.confirm().expect("release 2 stays");
    let slot_b = bench.device.model().layout().slots[1].offset as usize;
    bench.device.flash_mut().bytes_mut()[slot_b + 4097] ^= 0x10;
    let selection = bench.boot(ResetReason::Power).expect("slot A is as good");
    assert!(selection.is_fallback, "slot B must not verify");
    Flow {
        name: "repair",
        start: bench.snapshot(),
        old,
        new,
        fails: false,
        until: Until::Settled,
    }
}

/// The state after the power went at operation `at` of an update.
fn interrupted(bench: &mut Bench, start: &Snapshot, release: &Made, at: u64) -> Snapshot {
    use crate::flash::{Cut, PowerCut};
    bench.restore(start);
    let at = bench.device.flash().operations() + at;
    let cut = PowerCut {
        at,
        how: Cut::After,
    };
    bench.device.flash_mut().set_cut(Some(cut));
    let result = bench.device.update_from_bytes(&release.bundle);
    assert!(result.is_err(), "the cut comes before the end");
    bench.device.flash_mut().power_on();
    bench.boot(ResetReason::Power).expect("the old image boots");
    bench.snapshot()
}

/// Goes on from wherever the device stands, as its firmware does, up to `until`.
pub(crate) fn advance(bench: &mut Bench, flow: &Flow, until: Until) -> Result<(), Refusal> {
    let device = &mut bench.device;
    device.heal()?;
    if !device.boot_state()?.is_on_trial() {
        let has_new = device.release()? == Some(flow.new.sealed.digest);
        if has_new {
            return Ok(());
        }
        match device.update_from_bytes(&flow.new.bundle) {
            Ok(()) | Err(Refusal::AlreadyStaged) => {}
            // Reverting is the end of a failing flow: what failed is not tried again.
            Err(Refusal::FailedBefore) => return Ok(()),
            Err(refusal) => return Err(refusal),
        }
        if until == Until::Staged {
            return Ok(());
        }
        device.boot(ResetReason::Restart)?;
    }
    if until == Until::OnTrial {
        return Ok(());
    }
    if !flow.fails {
        return bench.device.confirm();
    }
    bench.device.revert()?;
    bench.boot(ResetReason::Restart)?;
    Ok(())
}
