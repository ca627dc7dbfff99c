//! Power cuts at every operation, one and two of them.

use std::thread;

use airseal_format::SecurityVersion;
use airseal_update::boot::ResetReason;

use super::flows::{Flow, Until, advance};
use super::{Bench, Readout, check_running, shares};
use crate::flash::{Cut, PowerCut};
use crate::random::Noise;

/// What was tried and what went wrong.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Runs with a power cut.
    pub cuts: u64,
    /// Runs with two.
    pub pairs: u64,
    /// Boots after a cut.
    pub boots: u64,
    /// Boots that ran neither the old nor the new image.
    pub bricks: u64,
    /// Everything that is not as promised, bricks included, one line each.
    pub violations: Vec<String>,
}

impl Report {
    fn add(&mut self, other: Report) {
        self.cuts += other.cuts;
        self.pairs += other.pairs;
        self.boots += other.boots;
        self.bricks += other.bricks;
        self.violations.extend(other.violations);
    }
}

/// Cuts every operation of `flow` in every way: before it, torn three ways, after it.
#[must_use]
pub fn prove_singles(flow: &Flow, threads: u64) -> Report {
    let operations = count(flow, None, flow.until);
    in_parallel(shares(operations, threads), |share| {
        let mut bench = Bench::new();
        let mut report = Report::default();
        for at in share {
            let mut readouts: Vec<Readout> = Vec::new();
            // Before and after come first: a torn operation must read as one of them.
            let [before, half, words, bits, after] = Cut::all(at);
            for how in [before, after, half, words, bits] {
                let run = Run::start(&mut bench, flow, Some((at, how)));
                report.cuts += 1;
                run.finish(&[], &mut report, |readout| {
                    if matches!(how, Cut::Torn(_)) {
                        readouts.contains(readout)
                    } else {
                        readouts.push(readout.clone());
                        true
                    }
                });
            }
        }
        report
    })
}

/// Two cuts, the second while the device recovers from the first: `sample` random pairs, or
/// all of them.
#[must_use]
pub fn prove_pairs(flow: &Flow, sample: Option<u64>, seed: u64, threads: u64) -> Report {
    let operations = count(flow, None, flow.until);
    if let Some(sample) = sample {
        return in_parallel(shares(sample, threads), |share| {
            let mut bench = Bench::new();
            let mut report = Report::default();
            for index in share {
                let mut noise = Noise::new(seed ^ index << 16);
                let first = (noise.below(operations), any_cut(&mut noise));
                let second = (noise.below(operations), any_cut(&mut noise));
                let run = Run::start(&mut bench, flow, Some(first));
                report.pairs += 1;
                run.finish(&[second], &mut report, |_| true);
            }
            report
        });
    }
    in_parallel(shares(operations, threads), |share| {
        let mut bench = Bench::new();
        let mut report = Report::default();
        for at in share {
            for how in Cut::all(at) {
                let recovery = count(flow, Some((at, how)), Until::Settled);
                for then in 0..recovery {
                    for how_then in Cut::all(then ^ 0xFF) {
                        let run = Run::start(&mut bench, flow, Some((at, how)));
                        report.pairs += 1;
                        run.finish(&[(then, how_then)], &mut report, |_| true);
                    }
                }
            }
        }
        report
    })
}

/// Operations of the flow, or of the recovery after a cut.
fn count(flow: &Flow, cut: Option<(u64, Cut)>, until: Until) -> u64 {
    let mut bench = Bench::new();
    let run = Run::start(&mut bench, flow, cut);
    let bench = run.bench;
    if cut.is_some() {
        bench.device.flash_mut().power_on();
        let start = bench.device.flash().operations();
        let _ = bench.boot(ResetReason::Power);
        let _ = advance(bench, flow, until);
        return bench.device.flash().operations() - start;
    }
    bench.device.flash().operations() - flow.start.flash.operations()
}

/// One run of a flow, up to its first cut or its end.
struct Run<'b> {
    bench: &'b mut Bench,
    flow: &'b Flow,
    cut: Option<(u64, Cut)>,
}

impl<'b> Run<'b> {
    fn start(bench: &'b mut Bench, flow: &'b Flow, cut: Option<(u64, Cut)>) -> Self {
        bench.restore(&flow.start);
        plan(bench, cut);
        let until = flow.until;
        let _ = advance(bench, flow, until);
        Self { bench, flow, cut }
    }

    /// Gives power back, cuts again as `more` says, and lets the device go on to the end.
    fn finish(
        self,
        more: &[(u64, Cut)],
        report: &mut Report,
        mut accept: impl FnMut(&Readout) -> bool,
    ) {
        let Self { bench, flow, cut } = self;
        let told = format!("{}: cut {cut:?} then {more:?}", flow.name);
        let mut more = more.iter();
        for _ in 0..MAX_BOOTS {
            bench.device.flash_mut().power_on();
            let floor_before = flow.start_floor(bench);
            match Readout::of(&mut bench.device) {
                Ok(readout) if accept(&readout) => {}
                Ok(readout) => report.violations.push(format!(
                    "{told}: reads as neither before nor after: {readout:?}"
                )),
                Err(error) => report
                    .violations
                    .push(format!("{told}: unreadable: {error}")),
            }
            plan(bench, more.next().copied());
            report.boots += 1;
            match bench.boot(ResetReason::Power) {
                Ok(_) => {
                    if let Err(why) = check_running(&mut bench.device, &[&flow.old, &flow.new]) {
                        report.bricks += 1;
                        report.violations.push(format!("{told}: {why}"));
                        return;
                    }
                }
                Err(_) if bench.device.flash().is_off() => continue,
                Err(error) => {
                    report.bricks += 1;
                    report
                        .violations
                        .push(format!("{told}: does not boot: {error}"));
                    return;
                }
            }
            if let Err(why) = floor_before {
                report.violations.push(format!("{told}: {why}"));
            }
            match advance(bench, flow, Until::Settled) {
                Ok(()) if !bench.device.flash().is_off() => {
                    bench.device.flash_mut().set_cut(None);
                    if let Err(why) = self_check(bench, flow) {
                        report.violations.push(format!("{told}: {why}"));
                    }
                    return;
                }
                _ if bench.device.flash().is_off() => {}
                Ok(()) => {}
                Err(error) => {
                    report
                        .violations
                        .push(format!("{told}: does not go on: {error}"));
                    return;
                }
            }
        }
        report.violations.push(format!("{told}: never settles"));
    }
}

impl Flow {
    /// The floor moves only with confirm: it is the old image's until the boot record says
    /// that the new one is confirmed.
    fn start_floor(&self, bench: &mut Bench) -> Result<(), String> {
        let read = |error: airseal_update::Refusal| error.to_string();
        let confirmed = bench.device.boot_state().map_err(read)?.confirmed;
        let floor = bench.device.state().map_err(read)?.floor;
        let start = self.start.running;
        let most = if confirmed == start {
            self.old.security_version
        } else {
            self.new.security_version
        };
        if floor > SecurityVersion(most) {
            return Err(format!(
                "the floor {floor} rose before the new image was confirmed"
            ));
        }
        Ok(())
    }
}

/// At the end the new release runs and is confirmed, or the old one does.
fn self_check(bench: &mut Bench, flow: &Flow) -> Result<(), String> {
    let wanted = if flow.fails { &flow.old } else { &flow.new };
    let digest = check_running(&mut bench.device, &[&flow.old, &flow.new])?;
    if digest != wanted.sealed.digest {
        return Err("the flow ended on the wrong release".to_owned());
    }
    let boot = bench
        .device
        .boot_state()
        .map_err(|error| error.to_string())?;
    if boot.candidate.is_some() || boot.confirmed != boot.running {
        return Err(format!("the flow ended unsettled: {boot:?}"));
    }
    let state = bench.device.state().map_err(|error| error.to_string())?;
    if state.floor != SecurityVersion(wanted.security_version) {
        return Err(format!("the floor ended at {}", state.floor));
    }
    Ok(())
}

fn plan(bench: &mut Bench, cut: Option<(u64, Cut)>) {
    let now = bench.device.flash().operations();
    let cut = cut.map(|(at, how)| PowerCut { at: now + at, how });
    bench.device.flash_mut().set_cut(cut);
}

fn any_cut(noise: &mut Noise) -> Cut {
    let [a, b, c, d, e] = Cut::all(noise.bits());
    match noise.below(5) {
        0 => a,
        1 => b,
        2 => c,
        3 => d,
        _ => e,
    }
}

fn in_parallel(
    shares: Vec<std::ops::Range<u64>>,
    work: impl Fn(std::ops::Range<u64>) -> Report + Sync,
) -> Report {
    let mut report = Report::default();
    thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(|| work(share)))
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(part) => report.add(part),
                Err(_) => report.violations.push("a run panicked".to_owned()),
            }
        }
    });
    report
}

/// A device that is not settled after so many boots never will be.
const MAX_BOOTS: usize = 16;
