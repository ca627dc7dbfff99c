//! What an interrupted download may not lead to.

use airseal_format::component::Destination;
use airseal_sim::fixture::{KeysetPlan, Sealed};
use airseal_update::Refusal;
use airseal_update::boot::ResetReason;

use crate::bench::{Bench, RUNNING, bad_signature, serve_counting, too_few};

/// The stream ends in the middle of the second page.
fn interrupt(bench: &mut Bench, release: &Sealed) -> u32 {
    let bundle = release.bundle();
    let mut stream = &bundle[..bundle.len() - 2000];
    let refusal = bench.device.update_from(&mut stream, None, &mut |_, _| {});
    assert_eq!(refusal, Err(Refusal::Ended));
    bench.device.checkpoint().unwrap().unwrap().position
}

/// Bytes that come until `release` is staged.
fn fetched(bench: &mut Bench, release: &Sealed) -> u64 {
    let mut fetched = 0;
    serve_counting(&mut bench.device, release, &mut fetched).unwrap();
    fetched
}

#[test]
fn download_goes_on_where_it_stopped() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    let position = interrupt(&mut bench, &next);
    assert_eq!(position, 32 * 1024);
    bench.still_boots();
    let rest = fetched(&mut bench, &next);
    assert!(rest < next.payload.len() as u64 / 3, "{rest} bytes");
    bench.confirms(&next);
}

#[test]
fn slot_that_changed_in_between() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    interrupt(&mut bench, &next);
    let slot = bench.device.model().layout().slots[1].offset as usize;
    bench.device.flash_mut().bytes_mut()[slot + 5000] ^= 0x20;
    let refusal = bench.device.update_from_bytes(&next.bundle()).unwrap_err();
    assert_eq!(refusal, Refusal::ResumeMismatch);
    bench.still_boots();
    // Not the release's fault; the next attempt starts from zero.
    assert_eq!(bench.device.state().unwrap().failure, None);
    assert_eq!(bench.device.checkpoint().unwrap(), None);
    let all = fetched(&mut bench, &next);
    assert!(all >= next.payload.len() as u64);
    bench.confirms(&next);
}

#[test]
fn checkpoint_of_another_release() {
    let mut bench = Bench::new();
    let (next, newer) = (bench.next().seal(), bench.release(RUNNING + 2).seal());
    interrupt(&mut bench, &next);
    let all = fetched(&mut bench, &newer);
    assert!(all >= newer.payload.len() as u64);
    bench.confirms(&newer);
}

#[test]
fn record_area_that_changed_in_between() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    interrupt(&mut bench, &next);
    let slot = bench.device.model().layout().slots[1];
    let record = (slot.offset + slot.len) as usize - 8192;
    bench.device.flash_mut().bytes_mut()[record + 64 + 100] ^= 0x20;
    let all = fetched(&mut bench, &next);
    assert!(all >= next.payload.len() as u64);
    bench.confirms(&next);
}

#[test]
fn release_that_is_refused_when_the_download_goes_on() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    interrupt(&mut bench, &next);
    // Everything is checked again: another manifest, and a rotation in between.
    let mut bad = next.clone();
    bad.manifest[200] = 0;
    bad.manifest[64] ^= 1;
    assert_eq!(bench.refuses(&bad), bad_signature());
    let mut rotation = KeysetPlan::first().next();
    rotation.release = vec![11];
    let mut rotated = next.clone();
    rotated.keysets = vec![rotation.section()];
    let refusal = bench.slots_untouched(|device| device.update_from_bytes(&rotated.bundle()));
    assert_eq!(refusal, too_few());
    assert_eq!(bench.refuses(&next), too_few());
    let mut renewed = bench.next();
    renewed.signed_by = vec![11];
    bench.accepts(&renewed.seal());
}

/// The image for slot B is of no use once B runs.
#[test]
fn slot_is_never_read_from_the_journal() {
    let mut bench = Bench::new();
    let mut plan = bench.release(RUNNING + 2);
    let address = u64::from(bench.device.model().layout().slots[1].offset);
    plan.components[0].0.destination = Destination::Address(address);
    let for_b = plan.seal();
    interrupt(&mut bench, &for_b);
    let next = bench.next().seal();
    bench.accepts(&next);
    assert_eq!(bench.refuses(&for_b), Refusal::WrongSlotAddress);
    assert!(!bench.device.boot(ResetReason::Power).unwrap().on_trial);
}
