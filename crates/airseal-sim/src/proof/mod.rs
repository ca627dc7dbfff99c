//! Proof by exhaustion: power goes at every flash operation of every flow, once and twice,
//! and after it the device runs the old or the new image. Beside it a search over sequences
//! of events for a state without a bootable slot.
//!
//! | part | what it does |
//! |---|---|
//! | `world` | keysets of one vendor, releases under them, a bench with one device |
//! | `readout` | what a device reads from its flash, to be compared |
//! | `drive` | boot loader and firmware, from any flash content to the end of a flow |
//! | `flows` | where each flow starts and where it has to end |
//! | `cuts` | every cut of a flow, and pairs of cuts |
//! | `events`, `sequences` | what can happen to a device, and the search |
//!
//! A flow runs once without a cut while its operations are recorded. A run with a cut
//! starts from the flash as the recording left it right before the cut: up to there the
//! device does the same every time, because nothing but the flash decides what it does.

mod cuts;
mod drive;
mod events;
mod flows;
mod readout;
mod sequences;
mod world;

pub use cuts::{FlowReport, Pairs, prove};
pub use events::{Event, Newer};
pub use flows::{Flow, flows, short_flows};
pub use sequences::{SearchReport, replay, replay_cut, search};
pub use world::World;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does `jobs` on every core; the results come in the order of the jobs.
fn in_parallel<'j, J: Sync, R: Send>(jobs: &'j [J], work: impl Fn(&'j J) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let mut done: Vec<(usize, R)> = Vec::with_capacity(jobs.len());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(jobs.len()))
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(job) = jobs.get(index) else {
                            return done;
                        };
                        done.push((index, work(job)));
                    }
                })
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
