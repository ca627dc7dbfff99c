//! A search over sequences of events for a state that breaks a promise.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use airseal_update::install_record::read_section;
use airseal_update::port::{PendingStage, Slot};

use super::events::{Event, Ledger, apply, check_promise, some_cut};
use super::in_parallel;
use super::readout::{Readout, releases};
use super::world::{BORN_WITH, Bench, Recipe, Size, World};
use crate::flash::{Cut, SimFlash};
use crate::random::Noise;

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct SearchReport {
    /// Longest sequence tried.
    pub depth: u32,
    /// Sequences tried: every event in every state that was reached.
    pub sequences: u64,
    /// Different states seen.
    pub states: u64,
    /// Shortest sequences that broke a promise, with the promise.
    pub broken: Vec<String>,
}

/// Tries every sequence of up to `depth` events, each event also with `cuts` random power
/// cuts in it; from states seen before it does not go on.
///
/// States are the same when every comparison the device makes comes out the same: orders,
/// keyset versions and security versions count relative to each other.
///
/// # Panics
/// When the first release does not install.
#[must_use]
pub fn search(world: &World, depth: u32, cuts: u64, seed: u64) -> SearchReport {
    let start = start(world);
    let first = start.found();
    let mut seen = HashSet::from([first.print]);
    let mut frontier = vec![first];
    let mut report = SearchReport {
        depth,
        states: 1,
        ..SearchReport::default()
    };
    for _ in 0..depth {
        let tried = AtomicU64::new(0);
        let expanded = in_parallel(&frontier, |origin| {
            let mut bench = Bench::new(world, Size::Tiny);
            let node = start.go_to(&mut bench, origin);
            let mut found = Vec::new();
            for event in Event::ALL {
                let salt = seed ^ origin.print ^ found.len() as u64;
                let mut branches = Branches::new(&mut bench, &node, event);
                found.push(branches.follow(None));
                for cut in branches.some_cuts(cuts, salt) {
                    found.push(branches.follow(Some(cut)));
                }
                tried.fetch_add(branches.tried, Ordering::Relaxed);
            }
            found
        });
        report.sequences += tried.load(Ordering::Relaxed);
        let mut next = Vec::new();
        for branch in expanded.into_iter().flatten() {
            match branch {
                Branch::Broken(sentence) => report.broken.push(sentence),
                Branch::Dead => {}
                Branch::Lives(found) => {
                    if seen.insert(found.print) {
                        next.push(found);
                    }
                }
            }
        }
        report.states += next.len() as u64;
        frontier = next;
        if !report.broken.is_empty() {
            break;
        }
    }
    report
}

/// Applies one sequence to a device that runs its first release, and checks every promise
/// after every event.
///
/// # Errors
/// The promise that was broken.
///
/// # Panics
/// When the first release does not install.
pub fn replay(world: &World, events: &[Event]) -> Result<(), String> {
    let events: Vec<_> = events.iter().map(|event| (*event, None)).collect();
    replay_cut(world, &events)
}

/// As [`replay`], with power cuts: an operation of the event and a way.
///
/// # Errors
/// The promise that was broken.
///
/// # Panics
/// As [`replay`].
pub fn replay_cut(world: &World, events: &[(Event, Option<(u64, Cut)>)]) -> Result<(), String> {
    let mut bench = Bench::new(world, Size::Tiny);
    let mut node = start(world);
    for &(event, cut) in events {
        match Branches::new(&mut bench, &node, event).follow(cut) {
            Branch::Lives(_) => node = node.after(&mut bench, event, cut),
            Branch::Dead => return Err("nothing boots, and nothing was promised".to_owned()),
            Branch::Broken(sentence) => return Err(sentence),
        }
    }
    Ok(())
}

/// One state and a way to it.
struct Node {
    flash: SimFlash,
    running: Option<Slot>,
    ledger: Ledger,
    path: Option<Arc<Step>>,
    print: u64,
}

/// A way to a state. The state itself is too large to be kept by the ten thousands, and
/// soon reached again.
struct Found {
    path: Option<Arc<Step>>,
    print: u64,
}

/// One step of a way, and the way before it.
struct Step {
    event: Event,
    cut: Option<(u64, Cut)>,
    before: Option<Arc<Step>>,
}

enum Branch {
    Lives(Found),
    /// No slot boots any more, and none was promised.
    Dead,
    Broken(String),
}

/// One event in one state, with and without a cut.
struct Branches<'a, 'w> {
    bench: &'a mut Bench<'w>,
    node: &'a Node,
    event: Event,
    tried: u64,
    operations: u64,
}

impl<'a, 'w> Branches<'a, 'w> {
    fn new(bench: &'a mut Bench<'w>, node: &'a Node, event: Event) -> Self {
        Self {
            bench,
            node,
            event,
            tried: 0,
            operations: 0,
        }
    }

    fn follow(&mut self, cut: Option<(u64, Cut)>) -> Branch {
        let Self {
            bench, node, event, ..
        } = self;
        self.tried += 1;
        node.put_on(bench);
        let before = bench.device.flash().operations();
        let mut ledger = node.ledger;
        let path = node.path_with(*event, cut);
        let lives = apply(bench, &mut ledger, *event, cut);
        if cut.is_none() {
            self.operations = bench.device.flash().operations() - before;
        }
        let lives = lives.and_then(|lives| {
            check_promise(bench, &ledger)?;
            Ok(lives)
        });
        match lives {
            Ok(true) => Branch::Lives(Found {
                path,
                print: fingerprint(bench, &ledger),
            }),
            Ok(false) => Branch::Dead,
            Err(why) => Branch::Broken(format!("{}: {why}", told(path.as_deref()))),
        }
    }

    fn some_cuts(&self, wanted: u64, salt: u64) -> Vec<(u64, Cut)> {
        if self.operations == 0 {
            return Vec::new();
        }
        let mut noise = Noise::new(salt);
        (0..wanted)
            .map(|_| some_cut(&mut noise, self.operations))
            .collect()
    }
}

impl Node {
    fn new(bench: &mut Bench<'_>, ledger: Ledger, path: Option<Arc<Step>>) -> Self {
        let mut flash = bench.device.flash().clone();
        flash.clear_log();
        Self {
            flash,
            running: bench.device.running(),
            print: fingerprint(bench, &ledger),
            ledger,
            path,
        }
    }

    fn found(&self) -> Found {
        Found {
            path: self.path.clone(),
            print: self.print,
        }
    }

    /// Puts this state's flash on the bench, with its firmware.
    fn put_on(&self, bench: &mut Bench<'_>) {
        bench.restore(&self.flash, self.running);
        let own = bench.device.release().ok().flatten();
        if let Some(made) = own.and_then(|digest| bench.world.find(digest)) {
            bench.act_as_firmware(&made);
        }
    }

    fn path_with(&self, event: Event, cut: Option<(u64, Cut)>) -> Option<Arc<Step>> {
        Some(Arc::new(Step {
            event,
            cut,
            before: self.path.clone(),
        }))
    }

    /// The state after an event that breaks no promise.
    fn after(&self, bench: &mut Bench<'_>, event: Event, cut: Option<(u64, Cut)>) -> Self {
        self.put_on(bench);
        let mut ledger = self.ledger;
        let applied = apply(bench, &mut ledger, event, cut);
        applied.expect("the same event broke no promise before");
        Self::new(bench, ledger, self.path_with(event, cut))
    }

    /// The state that was found from this one.
    fn go_to(&self, bench: &mut Bench<'_>, found: &Found) -> Self {
        let mut steps = Vec::new();
        let mut step = found.path.as_deref();
        while let Some(this) = step {
            steps.push((this.event, this.cut));
            step = this.before.as_deref();
        }
        let mut node = Self {
            flash: self.flash.clone(),
            path: None,
            ..*self
        };
        for (event, cut) in steps.into_iter().rev() {
            node = node.after(bench, event, cut);
        }
        node
    }
}

fn start(world: &World) -> Node {
    let mut bench = Bench::new(world, Size::Tiny);
    let first = world.release(Recipe {
        seq: 1,
        security_version: 1,
        keyset: BORN_WITH,
        compiled: BORN_WITH,
        size: Size::Tiny,
        raw: false,
    });
    let provisioned = bench.device.provision(&first.bundle);
    provisioned.expect("the first release installs");
    let ledger = Ledger {
        confirmed: Slot::A,
        vouched_by: BORN_WITH,
        floor: 1,
        is_rotten: [false; 2],
    };
    Node::new(&mut bench, ledger, None)
}

/// What distinguishes states.
fn fingerprint(bench: &mut Bench<'_>, ledger: &Ledger) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (Ok(readout), Ok(held)) = (Readout::of(bench), releases(bench)) else {
        return 0;
    };
    let in_force = i64::from(readout.keyset_version());
    let newest = readout.state.newest;
    let floor = i64::from(readout.state.floor.0);
    bench.device.running().map(Slot::index).hash(&mut hasher);
    readout.confirmed.map(Slot::index).hash(&mut hasher);
    let pending = readout.pending.map(|pending| {
        let losses = match pending.stage {
            PendingStage::Staged => -1,
            PendingStage::Trial { power_losses } => i64::from(power_losses.min(2)),
        };
        (pending.slot.index(), losses)
    });
    pending.hash(&mut hasher);
    (in_force - i64::from(readout.boot_keyset_version())).hash(&mut hasher);
    (in_force - i64::from(readout.state.boot_keyset.0)).hash(&mut hasher);
    (in_force % 2).hash(&mut hasher);
    for slot in Slot::ALL {
        let own = held[slot.index()].map(|own| {
            let digest = own.digest;
            let made = digest.and_then(|digest| bench.world.find(digest));
            let compiled = made.map_or(0, |made| i64::from(made.recipe.compiled));
            let order = newest.map(|(newest, _)| own.order.cmp(&newest) as i8);
            let failure = readout.state.failure.map(|failure| {
                let is_same = Some(failure.digest) == digest;
                (failure.order.cmp(&own.order) as i8, is_same)
            });
            (
                order,
                digest == newest.map(|(_, digest)| digest),
                failure,
                i64::from(own.security_version.0) - floor,
                in_force - i64::from(own.accepted_under.0),
                in_force - i64::from(own.order.keyset_version.0),
                in_force - compiled,
            )
        });
        own.hash(&mut hasher);
        let section = bench.device.with(|mut ports, _, _| {
            let mut room = vec![0; 4096];
            let section = read_section(&mut ports, slot, &mut room);
            let section = airseal_update::blocking::block_on(section).ok().flatten();
            section.map(|section| {
                let manifest = airseal_format::UnverifiedManifest::parse_prefix(section);
                manifest.ok().map(|(manifest, _)| manifest.digest())
            })
        });
        section.is_some().hash(&mut hasher);
        let checkpoint = readout.checkpoint.map(|checkpoint| {
            (
                section.flatten() == Some(checkpoint.manifest_digest),
                checkpoint.position,
            )
        });
        checkpoint.hash(&mut hasher);
    }
    let failures = readout.state.failure.map(|failure| failure.count.min(3));
    failures.hash(&mut hasher);
    let kept = (
        ledger.confirmed.index(),
        in_force - i64::from(ledger.vouched_by),
        ledger.is_rotten,
    );
    kept.hash(&mut hasher);
    hasher.finish()
}

fn told(step: Option<&Step>) -> String {
    let mut names = Vec::new();
    let mut step = step;
    while let Some(this) = step {
        names.push(match this.cut {
            Some((at, how)) => format!("{:?} cut at {at} {how:?}", this.event),
            None => format!("{:?}", this.event),
        });
        step = this.before.as_deref();
    }
    names.reverse();
    names.join(", ")
}
