//! The flows that are cut: where each starts, what runs when, where it has to end.

use std::sync::Arc;

use airseal_format::ComponentId;
use airseal_update::blocking::block_on;
use airseal_update::boot::ResetReason;
use airseal_update::journal::Checkpoint;
use airseal_update::port::{DeviceState, JournalStore, Slot};

use super::drive::{Entry, Until};
use super::readout::Readout;
use super::world::{BORN_WITH, Bench, Made, Recipe, Size, World};
use crate::flash::SimFlash;

/// One flow.
pub struct Flow {
    /// Its name in the report.
    pub name: String,
    pub(crate) start: SimFlash,
    pub(crate) running: Option<Slot>,
    pub(crate) entry: Entry,
    /// How far the part goes whose operations are cut. The recovery goes to the end.
    pub(crate) until: Until,
    /// The releases in the order in which they are installed; the first one is the old one.
    pub(crate) ladder: Vec<Rung>,
    /// The newest release is offered at once, not the next one.
    pub(crate) offers_newest: bool,
    /// Failures of a failing release after which it is not offered any more.
    pub(crate) failures: u8,
    pub(crate) size: Size,
    pub(crate) has_factory: bool,
}

/// One release of a flow.
#[derive(Clone)]
pub(crate) struct Rung {
    pub(crate) made: Arc<Made>,
    pub(crate) verdict: Verdict,
}

/// What its firmware does on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passes,
    Fails,
    Crashes,
    BrownsOut,
}

impl Flow {
    /// What is offered to a device that runs `rung`; `None` at the end.
    pub(crate) fn next(&self, rung: usize, state: &DeviceState) -> Option<&Made> {
        let next = match self.offers_newest {
            true => self.ladder.last().filter(|_| rung + 1 < self.ladder.len()),
            false => self.ladder.get(rung + 1),
        }?;
        let failures = state
            .failure
            .filter(|failure| Some(failure.digest) == next.made.digest)
            .map_or(0, |failure| failure.count);
        let is_given_up = next.verdict != Verdict::Passes && failures >= self.failures;
        (!is_given_up).then_some(&*next.made)
    }

    /// True when nothing in the flow leads back to an older release.
    pub(crate) fn only_climbs(&self) -> bool {
        let mut rungs = self.ladder.iter();
        rungs.all(|rung| rung.verdict == Verdict::Passes)
    }

    /// The rung it has to end on.
    pub(crate) fn goal(&self) -> usize {
        let mut rungs = self.ladder.iter();
        let failing = rungs.position(|rung| rung.verdict != Verdict::Passes);
        failing.unwrap_or(self.ladder.len()) - 1
    }

    pub(crate) fn bench<'w>(&self, world: &'w World) -> Bench<'w> {
        let mut bench = Bench::new(world, self.size);
        if self.has_factory {
            bench.add_factory();
        }
        bench
    }
}

/// Every flow, with images of 1 KiB chunks and again with 4 KiB chunks.
///
/// # Panics
/// When a flow can't be prepared, which is a failure of its own.
#[must_use]
pub fn flows(world: &World) -> Vec<Flow> {
    let mut flows = of_size(world, Size::Small, "");
    flows.extend(of_size(world, Size::Coarse, ", 4 KiB chunks"));
    flows.push(second_page(world));
    flows
}

/// Every flow once, with tiny images.
///
/// # Panics
/// As [`flows`].
#[must_use]
pub fn short_flows(world: &World) -> Vec<Flow> {
    of_size(world, Size::Tiny, "")
}

fn of_size(world: &World, size: Size, suffix: &str) -> Vec<Flow> {
    let mut kitchen = Kitchen::new(world, size);
    let mut flows = updates(&mut kitchen);
    flows.extend(trials(&mut kitchen));
    flows.extend(repairs(&mut kitchen));
    flows.extend(keysets(&mut kitchen));
    flows.extend(rows(&mut kitchen));
    flows.extend(raw(&mut kitchen));
    for flow in &mut flows {
        flow.name.push_str(suffix);
    }
    flows
}

fn updates(kitchen: &mut Kitchen<'_>) -> Vec<Flow> {
    let old = kitchen.release(1, 1, BORN_WITH, BORN_WITH);
    let new = kitchen.release(2, 2, BORN_WITH, BORN_WITH);
    let newer = kitchen.release(3, 2, BORN_WITH, BORN_WITH);
    let ladder = passing(&[&old, &new]);
    kitchen.provision(&old);
    let fresh = kitchen.put_away();
    let download = kitchen.flow("download", &ladder, Until::Staged);
    kitchen.fill_journal();
    let turnover = kitchen.flow("download, journal full", &ladder, Until::Staged);
    kitchen.take_out(&fresh);
    kitchen.interrupt(&new, |len| len - 600);
    let resume = kitchen.flow("resume", &ladder, Until::Staged);
    kitchen.take_out(&fresh);
    kitchen.write_all(&new);
    let stage = kitchen.flow("stage", &ladder, Until::Staged);
    kitchen.take_out(&fresh);
    kitchen.install(&new);
    let all = passing(&[&old, &new, &newer]);
    let mut replace = kitchen.flow("replace a staged image", &all, Until::End);
    replace.offers_newest = true;
    vec![download, turnover, resume, stage, replace, factory(kitchen)]
}

/// The first release of a device that runs the image outside both slots.
fn factory(kitchen: &mut Kitchen<'_>) -> Flow {
    let first = kitchen.release(1, 2, BORN_WITH, BORN_WITH);
    kitchen.bench = Bench::new(kitchen.bench.world, kitchen.size);
    kitchen.bench.add_factory();
    let ladder = passing(&[&Made::factory(kitchen.size), &first]);
    let mut flow = kitchen.flow("first install over factory", &ladder, Until::End);
    flow.has_factory = true;
    kitchen.bench = Bench::new(kitchen.bench.world, kitchen.size);
    flow
}

fn trials(kitchen: &mut Kitchen<'_>) -> Vec<Flow> {
    let old = kitchen.release(1, 1, BORN_WITH, BORN_WITH);
    let new = kitchen.release(2, 2, BORN_WITH, BORN_WITH);
    let ladder = |verdict| {
        let mut ladder = passing(&[&old, &new]);
        ladder[1].verdict = verdict;
        ladder
    };
    kitchen.provision(&old);
    let mut thrice = kitchen.flow("fail three times", &ladder(Verdict::Fails), Until::End);
    thrice.failures = 3;
    kitchen.install(&new);
    let mut trial = kitchen.flow("trial", &ladder(Verdict::Passes), Until::OnTrial);
    trial.entry = Entry::Boot(ResetReason::Restart);
    kitchen.boot(ResetReason::Restart);
    let confirm = kitchen.flow("confirm", &ladder(Verdict::Passes), Until::End);
    let revert = kitchen.flow("revert", &ladder(Verdict::Fails), Until::End);
    let crash = kitchen.flow("crash on trial", &ladder(Verdict::Crashes), Until::End);
    for _ in 0..7 {
        kitchen.boot(ResetReason::Power);
    }
    let power = kitchen.flow(
        "power fails on trial",
        &ladder(Verdict::BrownsOut),
        Until::End,
    );
    vec![trial, confirm, revert, thrice, crash, power]
}

fn repairs(kitchen: &mut Kitchen<'_>) -> Vec<Flow> {
    let old = kitchen.release(1, 1, BORN_WITH, BORN_WITH);
    let new = kitchen.release(2, 1, BORN_WITH, BORN_WITH);
    let ladder = passing(&[&old, &new]);
    kitchen.provision(&old);
    kitchen.install(&new);
    let staged = kitchen.put_away();
    kitchen.rot(Slot::B);
    let mut unstaged = kitchen.flow("repair a staged image", &ladder, Until::End);
    unstaged.entry = Entry::Boot(ResetReason::Restart);
    kitchen.take_out(&staged);
    kitchen.boot(ResetReason::Restart);
    kitchen.bench.device.confirm().expect("it is on trial");
    kitchen.rot(Slot::B);
    let mut confirmed = kitchen.flow("repair the confirmed image", &ladder, Until::End);
    confirmed.entry = Entry::Boot(ResetReason::Power);
    vec![unstaged, confirmed]
}

fn keysets(kitchen: &mut Kitchen<'_>) -> Vec<Flow> {
    let old = kitchen.release(1, 1, BORN_WITH, BORN_WITH);
    let rotated = kitchen.release(2, 2, BORN_WITH + 1, BORN_WITH + 1);
    let replaced = kitchen.release(2, 2, BORN_WITH + 2, BORN_WITH + 2);
    let ahead = kitchen.release(2, 2, BORN_WITH, BORN_WITH + 1);
    let further = kitchen.release(3, 2, BORN_WITH + 1, BORN_WITH + 2);
    let failing = kitchen.release(2, 1, BORN_WITH + 2, BORN_WITH + 2);
    let mended = kitchen.release(3, 1, BORN_WITH + 3, BORN_WITH + 3);
    let mut flows = Vec::new();
    for (name, ladder) in [
        ("keyset rotation", passing(&[&old, &rotated])),
        ("rotation of all keys", passing(&[&old, &replaced])),
        ("keysets in firmware", passing(&[&old, &ahead, &further])),
    ] {
        kitchen.provision(&old);
        flows.push(kitchen.flow(name, &ladder, Until::End));
    }
    kitchen.provision(&old);
    kitchen.install(&failing);
    kitchen.boot(ResetReason::Restart);
    kitchen.bench.device.revert().expect("it is on trial");
    kitchen.boot(ResetReason::Restart);
    let ladder = passing(&[&old, &mended]);
    flows.push(kitchen.flow("rotation after a revert", &ladder, Until::End));
    // The failed release runs after all, because the confirmed one is lost.
    kitchen.rot(Slot::A);
    kitchen.boot(ResetReason::Power);
    let ladder = passing(&[&failing, &mended]);
    flows.push(kitchen.flow("rotation beside a lost image", &ladder, Until::End));
    flows
}

/// Several updates, with everything that can change between two releases.
fn rows(kitchen: &mut Kitchen<'_>) -> Vec<Flow> {
    let a = kitchen.release(1, 1, BORN_WITH, BORN_WITH);
    let b = kitchen.release(2, 1, BORN_WITH, BORN_WITH);
    let c = kitchen.release(3, 2, BORN_WITH + 1, BORN_WITH + 1);
    let d = kitchen.release(4, 3, BORN_WITH + 2, BORN_WITH + 3);
    kitchen.provision(&a);
    let ladder = passing(&[&a, &b, &c, &d]);
    vec![kitchen.flow("three updates in a row", &ladder, Until::End)]
}

/// Flash-encrypted images, one for each slot: into B, then into A; and going on after an interruption.
fn raw(kitchen: &mut Kitchen<'_>) -> Vec<Flow> {
    let [a, b, c] = [1, 2, 3].map(|seq| kitchen.raw_release(seq));
    kitchen.provision(&a);
    let ladder = passing(&[&a, &b, &c]);
    let both_slots = kitchen.flow("raw images into both slots", &ladder, Until::End);
    // The image for B is the last of the bundle.
    kitchen.interrupt(&b, |len| len - 600);
    let resume = kitchen.flow("resume a raw image", &ladder[..2], Until::Staged);
    vec![both_slots, resume]
}

/// A download that goes on in its second page of chunk hashes.
fn second_page(world: &World) -> Flow {
    let mut kitchen = Kitchen::new(world, Size::TwoPages);
    let old = kitchen.release(1, 1, BORN_WITH, BORN_WITH);
    let new = kitchen.release(2, 2, BORN_WITH, BORN_WITH);
    kitchen.provision(&old);
    kitchen.interrupt(&new, |len| len - 600);
    kitchen.flow(
        "resume, second page",
        &passing(&[&old, &new]),
        Until::Staged,
    )
}

fn passing(made: &[&Arc<Made>]) -> Vec<Rung> {
    let rung = |made: &&Arc<Made>| Rung {
        made: Arc::clone(made),
        verdict: Verdict::Passes,
    };
    made.iter().map(rung).collect()
}

/// Where the starts of flows are prepared, by doing to a device what leads there.
struct Kitchen<'w> {
    bench: Bench<'w>,
    size: Size,
}

impl<'w> Kitchen<'w> {
    fn new(world: &'w World, size: Size) -> Self {
        let bench = Bench::new(world, size);
        Self { bench, size }
    }

    fn release(&self, seq: u64, security_version: u32, keyset: u32, compiled: u32) -> Arc<Made> {
        self.bench.world.release(Recipe {
            seq,
            security_version,
            keyset,
            compiled,
            size: self.size,
            raw: false,
        })
    }

    /// A release whose images are flash-encrypted for each slot.
    fn raw_release(&self, seq: u64) -> Arc<Made> {
        self.bench.world.release(Recipe {
            seq,
            security_version: 1,
            keyset: BORN_WITH,
            compiled: BORN_WITH,
            size: self.size,
            raw: true,
        })
    }

    /// The flow that starts with the device as it is now.
    fn flow(&self, name: &str, ladder: &[Rung], until: Until) -> Flow {
        let mut start = self.bench.device.flash().clone();
        start.clear_log();
        Flow {
            name: name.to_owned(),
            start,
            running: self.bench.device.running(),
            entry: Entry::Running,
            until,
            ladder: ladder.to_vec(),
            offers_newest: false,
            failures: 1,
            size: self.size,
            has_factory: false,
        }
    }

    fn put_away(&self) -> (SimFlash, Option<Slot>) {
        let device = &self.bench.device;
        (device.flash().clone(), device.running())
    }

    fn take_out(&mut self, (flash, running): &(SimFlash, Option<Slot>)) {
        self.bench.restore(flash, *running);
    }

    fn provision(&mut self, made: &Made) {
        self.bench = Bench::new(self.bench.world, self.size);
        self.bench.act_as_firmware(made);
        let provisioned = self.bench.device.provision(&made.bundle);
        provisioned.expect("the first release installs");
    }

    fn install(&mut self, made: &Made) {
        let installed = self.bench.device.update_from_bytes(&made.bundle);
        installed.expect("a newer release installs");
    }

    fn boot(&mut self, reset: ResetReason) {
        self.bench.act_as_boot_loader();
        self.bench.device.boot(reset).expect("a slot boots");
        let running = self.bench.device.release().expect("the flash reads");
        let made = running.and_then(|digest| self.bench.world.find(digest));
        self.bench.act_as_firmware(&made.expect("a release runs"));
    }

    /// Ends the download after the part of the bundle's bytes that `until` says.
    fn interrupt(&mut self, made: &Made, until: impl Fn(usize) -> usize) {
        let bytes = &made.bundle[..until(made.bundle.len())];
        let ended = self
            .bench
            .device
            .update_from(&mut &*bytes, None, &mut |_, _| {});
        ended.expect_err("the bundle is cut short");
        let checkpoint = self.bench.device.checkpoint().expect("the flash reads");
        assert!(checkpoint.is_some(), "nothing to resume");
    }

    /// Downloads everything and stops right before the image is read back.
    fn write_all(&mut self, made: &Made) {
        let (mut flash, running) = self.put_away();
        self.bench.device.flash_mut().start_recording();
        self.install(made);
        let tape = self.bench.device.flash_mut().take_recording();
        for recorded in &tape {
            flash.redo(recorded, None).expect("it was done before");
            self.bench.restore(&flash, running);
            let readout = Readout::of(&mut self.bench).expect("the flash reads");
            let written = readout.checkpoint.map(|checkpoint| checkpoint.position);
            if written == Some(made.image.len() as u32) {
                return;
            }
        }
        unreachable!("the last checkpoint stands at the end of the image");
    }

    /// Leaves room for one more record in the journal's current unit.
    fn fill_journal(&mut self) {
        let checkpoint = |position| Checkpoint {
            manifest_digest: airseal_format::Digest([1; 32]),
            component: ComponentId(1),
            position,
        };
        self.bench.device.with(|mut ports, _, _| {
            let before = ports.flash().0.operations();
            for position in 0.. {
                let checkpoint = checkpoint(position);
                let written = block_on(ports.set_checkpoint(Some(&checkpoint)));
                written.expect("the flash works");
                let is_turned = ports.flash().0.operations() - before != u64::from(position) + 1;
                if is_turned {
                    break;
                }
            }
            for position in 0..62 {
                let checkpoint = checkpoint(1000 + position);
                let written = block_on(ports.set_checkpoint(Some(&checkpoint)));
                written.expect("the flash works");
            }
        });
    }

    /// Flips one bit of the image in `slot`.
    fn rot(&mut self, slot: Slot) {
        let at = self.bench.device.model().layout().slots[slot.index()].offset as usize;
        self.bench.device.flash_mut().bytes_mut()[at + 1030] ^= 0x10;
    }
}
