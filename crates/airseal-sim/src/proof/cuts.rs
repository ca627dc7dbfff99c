//! Every cut of a flow, and pairs of cuts.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use airseal_update::Refusal;
use airseal_update::boot::ResetReason;

use super::drive::{Entry, Trip, Trouble, Until, drive};
use super::flows::{Flow, Verdict};
use super::in_parallel;
use super::readout::{Readout, releases};
use super::world::{Bench, World};
use crate::flash::{Cut, Recorded, SimFlash};
use crate::random::Noise;

/// What was tried on one flow and what went wrong.
#[derive(Clone, Debug, Default)]
pub struct FlowReport {
    /// The flow.
    pub name: String,
    /// Flash operations of the part that is cut.
    pub operations: u64,
    /// Runs with one power cut.
    pub cuts: u64,
    /// Runs with two.
    pub pairs: u64,
    /// First boots after one cut that ran the image the flow began with.
    pub boots_old: u64,
    /// First boots after one cut that ran a newer one.
    pub boots_new: u64,
    /// Boots that ran neither the old nor the new image, or none.
    pub bricks: u64,
    /// How many things were not as promised, bricks included.
    pub violations: u64,
    /// The first of them, one sentence each.
    pub first_violations: Vec<String>,
}

/// Which pairs of cuts are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// About so many of all flows together, by chance.
    Sample(u64),
    /// All: every way to cut every operation of every recovery from every single cut.
    All,
}

/// Cuts every operation of every flow in every way, and pairs of operations.
///
/// # Panics
/// When a flow does not reach its end without any cut.
#[must_use]
pub fn prove(world: &World, flows: &[Flow], pairs: Pairs, seed: u64) -> Vec<FlowReport> {
    let tapes: Vec<Tape<'_>> = in_parallel(flows, |flow| Tape::record(world, flow));
    let jobs = jobs_of(&tapes, pairs, seed);
    let parts = in_parallel(&jobs, |job| {
        let mut cutter = Cutter::new(world, &tapes[job.flow]);
        match job.work {
            Work::Singles { .. } | Work::AllPairs { .. } => cutter.cut_all(job),
            Work::Sample { .. } => cutter.sample_pairs(job),
        }
        cutter.report
    });
    let mut reports: Vec<FlowReport> = tapes.iter().map(Tape::empty_report).collect();
    for (job, part) in jobs.iter().zip(parts) {
        reports[job.flow].add(part);
    }
    reports
}

impl FlowReport {
    fn add(&mut self, other: FlowReport) {
        self.cuts += other.cuts;
        self.pairs += other.pairs;
        self.boots_old += other.boots_old;
        self.boots_new += other.boots_new;
        self.bricks += other.bricks;
        self.violations += other.violations;
        self.first_violations.extend(other.first_violations);
        self.first_violations.truncate(SHOWN);
    }
}

/// A flow without any cut: what it does to the flash, and where it ends.
struct Tape<'f> {
    flow: &'f Flow,
    operations: Vec<Recorded>,
    end: Readout,
    /// The floor at the start.
    floor: u32,
}

impl<'f> Tape<'f> {
    fn record(world: &World, flow: &'f Flow) -> Self {
        let mut bench = flow.bench(world);
        bench.restore(&flow.start, flow.running);
        bench.device.flash_mut().start_recording();
        let trip = drive(&mut bench, flow, flow.entry, flow.until);
        let operations = bench.device.flash_mut().take_recording();
        check_uncut(flow, trip);
        bench.restore(&flow.start, flow.running);
        let trip = drive(&mut bench, flow, flow.entry, Until::End);
        check_uncut(flow, trip);
        let end = Readout::of(&mut bench).expect("the flash reads");
        check_settled(flow, &end);
        check_given_up(flow, &mut bench);
        bench.restore(&flow.start, flow.running);
        let start = Readout::of(&mut bench).expect("the flash reads");
        Self {
            flow,
            operations,
            end,
            floor: start.state.floor.0,
        }
    }

    /// The end without any cut, but for what a cut may change: `end` as it came out.
    fn expected(&self, end: &Readout) -> Readout {
        let flow = self.flow;
        let mut expected = self.end.clone();
        expected.confirmed = end.confirmed;
        // A trial that failed and lost power before it was given up fails again.
        if let (Some(failure), Some(wanted)) = (end.state.failure, &mut expected.state.failure)
            && (wanted.count..=wanted.count + 2).contains(&failure.count)
        {
            wanted.count = failure.count;
        }
        // A failed release that took a lost one's place and started again is forgiven.
        let may_stay = |digest| {
            let mut rungs = flow.ladder.iter();
            rungs.any(|rung| rung.verdict == Verdict::Passes && rung.made.digest == Some(digest))
        };
        if end.state.failure.is_none() {
            let failure = &mut expected.state.failure;
            *failure = failure.filter(|failure| !may_stay(failure.digest));
        }
        let is_complete = end.checkpoint.is_some_and(|checkpoint| {
            flow.ladder.iter().any(|rung| {
                rung.made.digest == Some(checkpoint.manifest_digest)
                    && rung.made.image.len() == checkpoint.position as usize
            })
        });
        // Power lost between staging and the journal's last record.
        if is_complete {
            expected.checkpoint = end.checkpoint;
        }
        expected
    }

    fn empty_report(&self) -> FlowReport {
        FlowReport {
            name: self.flow.name.clone(),
            operations: self.operations.len() as u64,
            ..FlowReport::default()
        }
    }
}

fn check_uncut(flow: &Flow, trip: Result<Trip, Trouble>) -> Trip {
    match trip {
        Ok(trip) if !trip.is_cut => trip,
        other => panic!("{} fails without any cut: {other:?}", flow.name),
    }
}

/// Order, floor and keysets at the end are those of the release the flow ends on.
fn check_settled(flow: &Flow, end: &Readout) {
    let made = &flow.ladder[flow.goal()].made;
    let recipe = made.recipe;
    let newest = end.state.newest.map(|(_, digest)| digest);
    assert_eq!(newest, made.digest, "{}", flow.name);
    assert_eq!(end.state.floor.0, recipe.security_version, "{}", flow.name);
    assert_eq!(end.boot_keyset_version(), recipe.keyset, "{}", flow.name);
    let in_force = end.keyset_version();
    assert!(
        in_force >= recipe.keyset.max(recipe.compiled),
        "{}",
        flow.name
    );
}

/// What failed three times is refused, and nothing is erased for it.
fn check_given_up(flow: &Flow, bench: &mut Bench<'_>) {
    if flow.failures < 3 {
        return;
    }
    bench.device.flash_mut().clear_log();
    let refused = bench
        .device
        .update_from_bytes(&flow.ladder[flow.goal() + 1].made.bundle);
    assert_eq!(refused, Err(Refusal::FailedBefore));
    let slots = bench.device.slots();
    assert_eq!(bench.device.flash().touched(&slots), 0);
}

struct Job {
    flow: usize,
    seed: u64,
    work: Work,
}

enum Work {
    Singles(Range<usize>),
    AllPairs(Range<usize>),
    Sample(u64),
}

fn jobs_of(tapes: &[Tape<'_>], pairs: Pairs, seed: u64) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (flow, tape) in tapes.iter().enumerate() {
        let count = tape.operations.len();
        let mut add = |work| {
            let seed = seed ^ ((flow as u64) << 40) ^ ((jobs.len() as u64) << 20);
            jobs.push(Job { flow, seed, work });
        };
        let step = if pairs == Pairs::All { 1 } else { 16 };
        for start in (0..count).step_by(step) {
            let range = start..(start + step).min(count);
            match pairs {
                Pairs::All => add(Work::AllPairs(range)),
                Pairs::Sample(_) => add(Work::Singles(range)),
            }
        }
        if let Pairs::Sample(wanted) = pairs {
            let share = wanted.div_ceil(tapes.len() as u64);
            for start in (0..share).step_by(SAMPLE_STEP) {
                add(Work::Sample((SAMPLE_STEP as u64).min(share - start)));
            }
        }
    }
    jobs
}

/// Cuts one flow.
struct Cutter<'a, 'w> {
    bench: Bench<'w>,
    tape: &'a Tape<'a>,
    report: FlowReport,
    /// Flash contents from which the recovery was seen to end well, and what booted first.
    recovered: HashMap<u64, Option<usize>>,
    hashing: BuildHasherDefault<DefaultHasher>,
}

impl<'a, 'w> Cutter<'a, 'w> {
    fn new(world: &'w World, tape: &'a Tape<'a>) -> Self {
        Self {
            bench: tape.flow.bench(world),
            tape,
            report: FlowReport::default(),
            recovered: HashMap::new(),
            hashing: BuildHasherDefault::default(),
        }
    }

    fn cut_all(&mut self, job: &Job) {
        let (range, then_again) = match &job.work {
            Work::Singles(range) => (range.clone(), false),
            Work::AllPairs(range) => (range.clone(), true),
            Work::Sample(_) => return,
        };
        let tape = self.tape;
        let mut seen = Vec::new();
        self.cut_each(
            &tape.flow.start,
            &tape.operations,
            range,
            job.seed,
            "",
            |this, flash, first, told| {
                this.report.cuts += 1;
                match first {
                    Some(rung) if rung > 0 => this.report.boots_new += 1,
                    Some(_) => this.report.boots_old += 1,
                    None => {}
                }
                if then_again {
                    let print = this.hashing.hash_one(flash);
                    if !seen.contains(&print) {
                        seen.push(print);
                        this.cut_recovery(flash, job.seed, told);
                    }
                }
            },
        );
    }

    /// Cuts every operation of the recovery from `flash`.
    fn cut_recovery(&mut self, flash: &SimFlash, seed: u64, told: &str) {
        let operations = self.record_recovery(flash);
        let range = 0..operations.len();
        self.cut_each(
            flash,
            &operations,
            range,
            seed ^ 0xAB,
            told,
            |this, _, _, _| {
                this.report.pairs += 1;
            },
        );
    }

    /// Cuts the operations of `range` in every way, recovers from each, and hands every
    /// flash content and what booted first on it to `each`.
    fn cut_each(
        &mut self,
        start: &SimFlash,
        operations: &[Recorded],
        range: Range<usize>,
        seed: u64,
        told: &str,
        mut each: impl FnMut(&mut Self, &SimFlash, Option<usize>, &str),
    ) {
        let mut flash = start.clone();
        for recorded in &operations[..range.start] {
            redo(&mut flash, recorded, None);
        }
        let mut before = self.read(&flash, told);
        for at in range {
            let recorded = &operations[at];
            let mut done = flash.clone();
            redo(&mut done, recorded, None);
            let after = self.read(&done, told);
            let [cut_before, half, words, bits, cut_after] = Cut::all(seed ^ at as u64);
            let mut whole = Vec::new();
            // Before and after come first: a torn operation must boot as one of them.
            for how in [cut_before, cut_after, half, words, bits] {
                let told = format!("{told}cut {at} {how:?}; ");
                let mut torn = flash.clone();
                redo(&mut torn, recorded, Some(how));
                let readout = self.read(&torn, &told);
                if readout != before && readout != after {
                    let why = format!("reads as neither before nor after: {readout:?}");
                    self.violation(&told, &Trouble::new(why));
                }
                let first = self.recover(&torn, &told);
                if !matches!(how, Cut::Torn(_)) {
                    whole.push(first);
                } else if !whole.contains(&first) {
                    let why = format!("boots rung {first:?}, before and after {whole:?}");
                    self.violation(&told, &Trouble::new(why));
                }
                each(self, &torn, first, &told);
            }
            flash = done;
            before = after;
        }
    }

    fn sample_pairs(&mut self, job: &Job) {
        let Work::Sample(wanted) = job.work else {
            return;
        };
        let tape = self.tape;
        let mut noise = Noise::new(job.seed);
        let mut tries = 0;
        while self.report.pairs < wanted && tries < 4 * wanted {
            tries += 1;
            let mut flash = tape.flow.start.clone();
            let Some(first) = cut_by_chance(&mut flash, &tape.operations, &mut noise) else {
                return;
            };
            let recovery = self.record_recovery(&flash);
            for _ in 0..SECOND_CUTS {
                let mut again = flash.clone();
                let Some(second) = cut_by_chance(&mut again, &recovery, &mut noise) else {
                    break;
                };
                let told = format!("cut {first}; cut {second}; ");
                self.report.pairs += 1;
                self.read(&again, &told);
                self.recover(&again, &told);
            }
        }
    }

    /// What the recovery from `flash` does to it.
    fn record_recovery(&mut self, flash: &SimFlash) -> Vec<Recorded> {
        self.bench.restore(flash, None);
        self.bench.device.flash_mut().start_recording();
        // Trouble is reported where this state was reached.
        let _ = drive(&mut self.bench, self.tape.flow, RECOVERY, Until::End);
        self.bench.device.flash_mut().take_recording()
    }

    /// Starts a device with this flash and lets it go to the flow's end. Returns the rung
    /// that booted first.
    fn recover(&mut self, flash: &SimFlash, told: &str) -> Option<usize> {
        let print = self.hashing.hash_one(flash);
        if let Some(first) = self.recovered.get(&print) {
            return *first;
        }
        self.bench.restore(flash, None);
        let trip = drive(&mut self.bench, self.tape.flow, RECOVERY, Until::End);
        let first = match trip.and_then(|trip| self.check_end().map(|()| trip.first)) {
            Ok(first) => first,
            Err(trouble) => {
                self.violation(told, &trouble);
                None
            }
        };
        self.recovered.insert(print, first);
        first
    }

    /// The flow's end is the one without any cut.
    fn check_end(&mut self) -> Result<(), Trouble> {
        let flow = self.tape.flow;
        let end = Readout::of(&mut self.bench).map_err(|error| Trouble::new(error.to_string()))?;
        let own = self.bench.device.release();
        let own = own.map_err(|error| Trouble::new(error.to_string()))?;
        if own != flow.ladder[flow.goal()].made.digest {
            return Err(Trouble::new("the flow ended on the wrong release"));
        }
        if end.pending.is_some() || end.confirmed != self.bench.device.running() {
            return Err(Trouble::new(format!("the flow ended unsettled: {end:?}")));
        }
        let expected = self.tape.expected(&end);
        if end != expected {
            let why = format!("the flow ended with {end:?} instead of {expected:?}");
            return Err(Trouble::new(why));
        }
        Ok(())
    }

    /// Reads what a device with this flash would read. The floor follows the confirmed
    /// image and never goes ahead of it.
    fn read(&mut self, flash: &SimFlash, told: &str) -> Option<Readout> {
        self.bench.restore(flash, None);
        let read = Readout::of(&mut self.bench).and_then(|readout| {
            let releases = releases(&mut self.bench)?;
            Ok((readout, releases))
        });
        let (readout, releases) = match read {
            Ok(read) => read,
            Err(error) => {
                let trouble = Trouble::new(format!("unreadable: {error}"));
                self.violation(told, &trouble);
                return None;
            }
        };
        let confirmed = readout.confirmed.and_then(|slot| releases[slot.index()]);
        let most = confirmed.map_or(0, |own| own.security_version.0);
        let floor = readout.state.floor.0;
        if floor > most.max(self.tape.floor) {
            let why = format!("the floor {floor} is ahead of the confirmed image's {most}");
            self.violation(told, &Trouble::new(why));
        }
        Some(readout)
    }

    fn violation(&mut self, told: &str, trouble: &Trouble) {
        self.report.bricks += u64::from(trouble.is_brick);
        self.report.violations += 1;
        if self.report.first_violations.len() < SHOWN {
            let line = format!("{}: {told}{}", self.tape.flow.name, trouble.why);
            self.report.first_violations.push(line);
        }
    }
}

/// Does some of `operations` and cuts the power in the next one; `None` without any.
fn cut_by_chance(
    flash: &mut SimFlash,
    operations: &[Recorded],
    noise: &mut Noise,
) -> Option<String> {
    if operations.is_empty() {
        return None;
    }
    let at = noise.below(operations.len() as u64) as usize;
    let how = Cut::all(noise.bits())[noise.below(5) as usize];
    for recorded in &operations[..at] {
        redo(flash, recorded, None);
    }
    redo(flash, &operations[at], Some(how));
    Some(format!("{at} {how:?}"))
}

fn redo(flash: &mut SimFlash, recorded: &Recorded, how: Option<Cut>) {
    let done = flash.redo(recorded, how);
    done.expect("the operation was done on such a flash before");
}

const RECOVERY: Entry = Entry::Boot(ResetReason::Power);
/// Violations that are told in full.
const SHOWN: usize = 5;
/// Pairs per job.
const SAMPLE_STEP: usize = 128;
/// Second cuts tried in one recovery.
const SECOND_CUTS: usize = 4;
