//! More than this device has room for: refused by name before a key is unwrapped.

use airseal_format::payload::Profile;
use airseal_format::{ContentSuite, Part, Reason};
use airseal_sim::SimDevice;
use airseal_sim::fixture::{KeysetPlan, app};
use airseal_update::blocking::block_on;
use airseal_update::boot::ResetReason;
use airseal_update::{Memory, Policy, Refusal, SmallMemory, lifecycle};

use crate::bench::{Bench, deliver, wrong};

#[test]
fn more_components_than_the_limit() {
    let mut bench = Bench::with(|model| model.policy.max_components = 2);
    let mut plan = bench.next();
    for id in 2..=3 {
        plan.components.push((app(id, 0), vec![id as u8; 100]));
    }
    assert_eq!(bench.refuses(&plan.seal()), Refusal::TooManyComponents);
    plan.components.pop();
    bench.accepts(&plan.seal());
}

#[test]
fn more_components_than_the_format_has() {
    let mut bench = Bench::new();
    let bad = crate::bench::tampered(&bench.next(), |signed| signed[16] = 9);
    let expected = wrong(Part::Manifest, "n_components", 16, Reason::OutOfRange);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn profile_larger_than_the_buffers() {
    let mut bench = Bench::new();
    for profile in [Profile::P3, Profile::P4] {
        let mut plan = bench.next();
        plan.header.profile = profile;
        assert_eq!(bench.refuses(&plan.seal()), Refusal::ProfileTooLarge);
    }
}

#[test]
fn profile_larger_than_the_small_buffers() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.header.profile = Profile::P2;
    let sealed = plan.seal();
    let refusal = bench.untouched(|device| {
        device.with(|device, config, _| {
            let mut memory = SmallMemory::new();
            block_on(deliver(device, config, memory.lend(), &sealed, &mut 0))
        })
    });
    assert_eq!(refusal, Refusal::ProfileTooLarge);
}

#[test]
fn more_pages_than_the_buffer() {
    let mut bench = Bench::new();
    let sealed = bench.next().seal();
    let refusal = bench.untouched(|device| {
        device.with(|device, config, _| {
            // Room for one page; the image has two.
            let mut memory = Memory::<1536, 32, 1024, 1024>::new();
            block_on(deliver(device, config, memory.lend(), &sealed, &mut 0))
        })
    });
    assert_eq!(refusal, Refusal::TooManyPages);
}

#[test]
fn image_larger_than_the_slot() {
    let mut bench = Bench::new();
    let room = bench.device.model().slot_len as usize - 8192;
    let mut plan = bench.next();
    plan.components[0].1 = vec![0x11; room + 1];
    assert_eq!(bench.refuses(&plan.seal()), Refusal::ImageTooLarge);
    plan.components[0].1.truncate(room);
    bench.accepts(&plan.seal());
}

/// Head of a device that has just room for the record of the release that runs.
const RUNNING_HEAD: usize = 496;

#[test]
fn manifest_larger_than_the_buffer() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.signed_by.push(11);
    let sealed = plan.seal();
    let refusal = bench.untouched(|device| {
        device.with(|device, config, _| {
            let mut memory = Memory::<RUNNING_HEAD, 2048, 1024, 1024>::new();
            block_on(deliver(device, config, memory.lend(), &sealed, &mut 0))
        })
    });
    assert_eq!(refusal, Refusal::ManifestTooLarge);
}

/// The firmware before had larger buffers than the one on trial.
#[test]
fn record_larger_than_the_buffer_is_not_confirmed() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    bench.device.update_from_bytes(&next.bundle()).unwrap();
    assert!(bench.device.boot(ResetReason::Restart).unwrap().on_trial);
    let with_small_head = |device: &mut SimDevice, revert: bool| {
        device.with(|mut device, config, _| {
            let mut memory = Memory::<400, 2048, 1024, 1024>::new();
            let mut buffers = memory.lend();
            if revert {
                block_on(lifecycle::revert(&mut device, &mut buffers))
            } else {
                block_on(lifecycle::confirm(&mut device, config, &mut buffers))
            }
        })
    };
    let refusal = bench.untouched(|device| with_small_head(device, false));
    assert_eq!(refusal, Refusal::ManifestTooLarge);
    assert!(bench.device.boot_state().unwrap().is_on_trial());
    with_small_head(&mut bench.device, true).unwrap();
    bench.device.boot(ResetReason::Restart).unwrap();
    bench.still_boots();
}

#[test]
fn stored_keyset_larger_than_the_buffer() {
    let mut bench = Bench::new();
    let refusal = bench.untouched(|device| {
        device.with(|mut device, config, _| {
            block_on(lifecycle::keyset_version(&mut device, config, &mut [0; 64]))
        })
    });
    let truncated = wrong(Part::Keyset, "signed_len", 64, Reason::Truncated);
    assert_eq!(refusal, truncated);
}

#[test]
fn keyset_larger_than_the_buffer() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    let mut keyset = KeysetPlan::first().next();
    keyset.signed_by = vec![1, 2, 3];
    plan.keysets = vec![keyset.section()];
    let sealed = plan.seal();
    let refusal = bench.untouched(|device| {
        device.with(|device, config, _| {
            let mut memory = Memory::<RUNNING_HEAD, 2048, 1024, 1024>::new();
            block_on(deliver(device, config, memory.lend(), &sealed, &mut 0))
        })
    });
    assert_eq!(refusal, Refusal::KeysetTooLarge);
}

#[test]
fn sections_larger_than_the_format_allows() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    bad.signatures.resize(2048 + 4096, 0);
    let refusal = bench.refuses_bytes(&bad.bundle());
    let expected = wrong(Part::Bundle, "section_len", 8 + 8, Reason::OutOfRange);
    assert_eq!(refusal, expected);
}

/// Limits come before unwrapping: without any envelope the limit is what is named.
#[test]
fn limits_are_checked_before_a_key_is_unwrapped() {
    let mut bench = Bench::with(|model| {
        model.policy = Policy {
            max_components: 1,
            ..Policy::default()
        }
    });
    let mut plan = bench.next();
    plan.components.push((app(2, 0), vec![2; 100]));
    let mut sealed = plan.seal();
    sealed.envelopes.clear();
    assert_eq!(bench.refuses(&sealed), Refusal::TooManyComponents);
    assert_ne!(plan.header.content_suite, ContentSuite::None);
}
