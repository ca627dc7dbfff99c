//! A search over sequences of events for a state in which no slot boots.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use airseal_update::Refusal;
use airseal_update::blocking::block_on;
use airseal_update::boot::ResetReason;
use airseal_update::{UpdateSession, lifecycle};

use super::{Bench, Made, Readout, Snapshot, keyset};
use crate::flash::{Cut, PowerCut, Torn};

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct SearchReport {
    /// Longest sequence tried.
    pub depth: u32,
    /// Events applied.
    pub events: u64,
    /// Different states seen.
    pub states: u64,
    /// Sequences that led to a state without a bootable slot, or below the floor.
    pub dead_ends: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The next release.
    Update,
    /// The next release, with a higher security version.
    UpdateFloor,
    /// The next release, under a new keyset in which every key is another.
    UpdateRotated,
    /// The next release, power lost in the middle of the download.
    UpdateCut,
    /// The next release, power lost while it is staged.
    StageCut,
    /// A new keyset without a release.
    Rotate,
    /// A new keyset, power lost while it is stored.
    RotateCut,
    /// A restart by software, watchdog or panic.
    Restart,
    /// Power off and on.
    PowerCycle,
    /// The self-test passed.
    Confirm,
    /// The self-test passed, power lost right after the boot record.
    ConfirmCut,
    /// The self-test failed.
    Revert,
    /// The self-test failed, power lost in between.
    RevertCut,
}

const EVENTS: [Event; 13] = [
    Event::Update,
    Event::UpdateFloor,
    Event::UpdateRotated,
    Event::UpdateCut,
    Event::StageCut,
    Event::Rotate,
    Event::RotateCut,
    Event::Restart,
    Event::PowerCycle,
    Event::Confirm,
    Event::ConfirmCut,
    Event::Revert,
    Event::RevertCut,
];

/// Tries every sequence of up to `depth` events; states seen before are not tried again.
///
/// # Panics
/// When the first release does not install.
#[must_use]
pub fn search(depth: u32) -> SearchReport {
    let mut bench = Bench::new();
    let first = bench.release(1, 1, 1);
    bench
        .device
        .provision(&first.bundle)
        .expect("release 1 installs");
    let mut search = Search {
        start: bench.snapshot(),
        bench,
        releases: Vec::new(),
        seen: HashSet::new(),
        report: SearchReport {
            depth,
            ..SearchReport::default()
        },
    };
    let mut frontier = vec![(search.start.clone(), Vec::new())];
    for _ in 0..depth {
        let mut next = Vec::new();
        for (snapshot, path) in frontier {
            for event in EVENTS {
                let mut path: Vec<Event> = path.clone();
                path.push(event);
                if let Some(after) = search.step(&snapshot, event, &path) {
                    next.push((after, path));
                }
            }
        }
        frontier = next;
    }
    search.report
}

struct Search {
    start: Snapshot,
    bench: Bench,
    releases: Vec<((u64, u32, u32), Made)>,
    seen: HashSet<u64>,
    report: SearchReport,
}

impl Search {
    /// Applies one event; the state after it, when it is a new one.
    fn step(&mut self, before: &Snapshot, event: Event, path: &[Event]) -> Option<Snapshot> {
        self.bench.restore(before);
        self.report.events += 1;
        let result = self.apply(event);
        if self.bench.device.flash().is_off() {
            self.bench.device.flash_mut().power_on();
            if let Err(error) = self.bench.boot(ResetReason::Power) {
                self.dead_end(path, &error.to_string());
                return None;
            }
        } else if let Err(Refusal::NothingBootable | Refusal::Flash(_)) = result {
            self.dead_end(path, "an event met an unusable flash");
            return None;
        }
        self.bench.device.flash_mut().set_cut(None);
        let after = self.bench.snapshot();
        let fingerprint = self.fingerprint();
        if !self.seen.insert(fingerprint) {
            return None;
        }
        self.report.states += 1;
        for reset in [ResetReason::Power, ResetReason::Restart] {
            if let Err(error) = self.bench.boot(reset) {
                self.dead_end(path, &error.to_string());
            }
            self.bench.restore(&after);
        }
        Some(after)
    }

    fn apply(&mut self, event: Event) -> Result<(), Refusal> {
        match event {
            Event::Update => self.update(0, 0, None),
            Event::UpdateFloor => self.update(1, 0, None),
            Event::UpdateRotated => self.update(0, 1, None),
            Event::UpdateCut => self.update(0, 0, Some(14)),
            Event::StageCut => self.update(0, 0, Some(31)),
            Event::Rotate => self.rotate(None),
            Event::RotateCut => self.rotate(Some(3)),
            Event::Restart => self.bench.boot(ResetReason::Restart).map(|_| ()),
            Event::PowerCycle => self.bench.boot(ResetReason::Power).map(|_| ()),
            Event::Confirm => self.bench.device.confirm(),
            Event::ConfirmCut => {
                let cut = self.record_writes();
                self.cut(Some(cut));
                self.bench.device.confirm()
            }
            Event::Revert => {
                self.bench.device.revert()?;
                self.bench.boot(ResetReason::Restart).map(|_| ())
            }
            Event::RevertCut => {
                let cut = self.record_writes();
                self.cut(Some(cut));
                self.bench.device.revert()
            }
        }
    }

    /// Operations of one replacement of the device record.
    fn record_writes(&mut self) -> u64 {
        let before = self.bench.snapshot();
        let mut state = self.bench.device.state().unwrap_or_default();
        state.floor.0 += 1;
        let written = self.bench.device.with(|mut device, _, _| {
            use airseal_update::port::StateStore;
            block_on(device.set_device_state(&state))
        });
        let operations = self.bench.device.flash().operations() - before.flash.operations();
        self.bench.restore(&before);
        written.map_or(1, |()| operations)
    }

    fn cut(&mut self, at: Option<u64>) {
        let now = self.bench.device.flash().operations();
        let cut = at.map(|at| PowerCut {
            at: now + at,
            how: Cut::Torn(Torn::Words(at)),
        });
        self.bench.device.flash_mut().set_cut(cut);
    }

    /// Delivers the release after the newest one this device knows.
    fn update(&mut self, floor: u32, rotation: u32, cut: Option<u64>) -> Result<(), Refusal> {
        let readout = Readout::of(&mut self.bench.device)?;
        let own = self.bench.device.own()?;
        let newest = readout
            .state
            .newest
            .map_or(0, |(order, _)| order.release_seq.0);
        let seq = newest.max(own.order.release_seq.0) + 1;
        let security_version = readout.state.floor.0.max(1) + floor;
        let version = (readout.keyset_version + rotation).min(MAX_KEYSET);
        let bundle = self.release(seq, security_version, version);
        self.cut(cut);
        self.bench.device.update_from_bytes(&bundle)
    }

    /// Delivers the next keyset alone.
    fn rotate(&mut self, cut: Option<u64>) -> Result<(), Refusal> {
        let version = (self.bench.device.keyset_version()?.0 + 1).min(MAX_KEYSET);
        let section = keyset(version).section();
        self.cut(cut);
        self.bench.device.with(|device, config, buffers| {
            block_on(async {
                let mut session = UpdateSession::begin(device, config, buffers).await?;
                session.accept_keyset(&section).await
            })
        })
    }

    fn release(&mut self, seq: u64, security_version: u32, version: u32) -> Vec<u8> {
        let key = (seq, security_version, version);
        if let Some((_, made)) = self.releases.iter().find(|(made, _)| *made == key) {
            return made.bundle.clone();
        }
        let made = self.bench.release(seq, security_version, version);
        let bundle = made.bundle.clone();
        self.releases.push((key, made));
        bundle
    }

    /// What distinguishes states: everything the device reads, and both slots' records.
    fn fingerprint(&mut self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let device = &mut self.bench.device;
        format!("{:?}", Readout::of(device)).hash(&mut hasher);
        let records = device.with(|mut ports, _, mut buffers| {
            airseal_update::port::Slot::ALL
                .map(|slot| block_on(lifecycle::release_in(&mut ports, slot, &mut buffers)))
        });
        format!("{records:?}").hash(&mut hasher);
        hasher.finish()
    }

    fn dead_end(&mut self, path: &[Event], why: &str) {
        self.report.dead_ends.push(format!("{path:?}: {why}"));
    }
}

/// Keysets of the search; after the last one rotation changes nothing.
const MAX_KEYSET: u32 = 4;
