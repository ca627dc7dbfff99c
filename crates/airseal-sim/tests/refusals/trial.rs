//! Nothing starts while an image is on trial (field report R24).

use airseal_sim::fixture::KeysetPlan;
use airseal_update::Refusal;
use airseal_update::boot::ResetReason;
use airseal_update::port::Slot;

use crate::bench::{Bench, RUNNING, serve};

fn on_trial() -> (Bench, airseal_sim::fixture::Sealed) {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    bench.device.update_from_bytes(&next.bundle()).unwrap();
    assert!(bench.device.boot(ResetReason::Restart).unwrap().on_trial);
    (bench, next)
}

#[test]
fn update_while_on_trial() {
    let (mut bench, next) = on_trial();
    let newer = bench.release(RUNNING + 2).seal();
    for release in [&next, &newer, &bench.running.clone()] {
        let refusal = bench.untouched(|device| device.update_from_bytes(&release.bundle()));
        assert_eq!(refusal, Refusal::Unconfirmed);
        let refusal = bench.untouched(|device| serve(device, release));
        assert_eq!(refusal, Refusal::Unconfirmed);
    }
    // A second boot is not a confirmation.
    let booted = bench.device.boot(ResetReason::Power).unwrap();
    assert!(booted.on_trial);
    let refusal = bench.untouched(|device| device.update_from_bytes(&newer.bundle()));
    assert_eq!(refusal, Refusal::Unconfirmed);
    bench.device.confirm().unwrap();
    bench.running = next;
    bench.accepts(&newer);
}

#[test]
fn keyset_while_on_trial() {
    let (mut bench, next) = on_trial();
    let mut plan = bench.release(RUNNING + 2);
    plan.keysets = vec![KeysetPlan::first().next().section()];
    let newer = plan.seal();
    let refusal = bench.untouched(|device| device.update_from_bytes(&newer.bundle()));
    assert_eq!(refusal, Refusal::Unconfirmed);
    assert_eq!(bench.device.keyset_version().unwrap().0, 1);
    bench.device.confirm().unwrap();
    bench.running = next;
    bench.accepts(&newer);
    assert_eq!(bench.device.keyset_version().unwrap().0, 2);
}

#[test]
fn keyset_while_a_release_is_staged() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    bench.device.update_from_bytes(&next.bundle()).unwrap();
    let mut plan = bench.release(RUNNING + 2);
    plan.keysets = vec![KeysetPlan::first().next().section()];
    let newer = plan.seal();
    let refusal = bench.untouched(|device| device.update_from_bytes(&newer.bundle()));
    assert_eq!(refusal, Refusal::Unconfirmed);
    assert_eq!(bench.device.keyset_version().unwrap().0, 1);
    bench.confirms(&next);
}

#[test]
fn newer_release_takes_the_place_of_a_staged_one() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    bench.device.update_from_bytes(&next.bundle()).unwrap();
    let newer = bench.release(RUNNING + 2).seal();
    bench.accepts(&newer);
    assert_eq!(bench.device.running(), Some(Slot::B));
}

#[test]
fn confirm_and_revert_without_a_trial() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.untouched(|device| device.confirm()),
        Refusal::WrongCall
    );
    assert_eq!(
        bench.untouched(|device| device.revert()),
        Refusal::WrongCall
    );
    bench.still_boots();
}
