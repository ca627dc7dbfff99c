//! Sequences of events: a search, and by name the ones that once left a device without a
//! bootable slot.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_sim::proof::Event::{Confirm, Keyset, Restart, Revert, RotRunning, Update};
use airseal_sim::proof::Newer::{Compiled, Rotated};
use airseal_sim::proof::{World, replay, search};

/// Depth and cuts per event that a debug build manages in some seconds.
const DEPTH: u32 = 3;
const CUTS: u64 = 1;

#[test]
fn no_sequence_of_events_breaks_a_promise() {
    let report = search(&World::new(), DEPTH, CUTS, 1);
    assert_eq!(report.broken, Vec::<String>::new());
    assert!(report.states > 200, "{report:?}");
}

#[test]
fn a_keyset_in_the_firmware_does_not_push_out_the_one_that_vouches_for_it() {
    let twice = [Update(Compiled), Restart, Confirm].repeat(2);
    assert_eq!(replay(&World::new(), &twice), Ok(()));
}

#[test]
fn a_keyset_does_not_push_out_the_one_of_the_image_that_runs_for_a_lost_one() {
    let events = [
        Update(Rotated),
        Restart,
        Revert,
        RotRunning,
        Restart,
        Keyset,
        Restart,
    ];
    assert_eq!(replay(&World::new(), &events), Ok(()));
}

#[test]
fn firmware_that_runs_for_a_lost_one_can_be_updated_under_its_own_keyset() {
    let events = [
        Update(Compiled),
        Restart,
        Revert,
        RotRunning,
        Restart,
        Update(Compiled),
        Restart,
    ];
    assert_eq!(replay(&World::new(), &events), Ok(()));
}

#[test]
fn a_newer_keyset_in_the_firmware_does_not_keep_it_from_settling() {
    let events = [
        Update(Compiled),
        Restart,
        Confirm,
        Update(Compiled),
        Restart,
        Confirm,
        Update(Rotated),
        Restart,
        Confirm,
    ];
    assert_eq!(replay(&World::new(), &events), Ok(()));
}
