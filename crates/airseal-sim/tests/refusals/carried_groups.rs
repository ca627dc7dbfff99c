//! A group key's next generation that comes inside a release.

use airseal_format::manifest::{EXTENSION_CARRIED_GROUPS, EXTENSION_TARGETS};
use airseal_format::recipient::carried::CarriedGroup;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::{Part, Reason};
use airseal_sim::fixture::{CLASS, ReleasePlan, Sealed, To, VENDOR};
use airseal_update::boot::ResetReason;

use crate::bench::{Bench, RUNNING, bad_signature, not_a_recipient, tampered, wrong};

const OLD: ([u8; 32], u32) = ([0x61; 32], 1);
const NEW: ([u8; 32], u32) = ([0x62; 32], 2);

fn group((key, generation): ([u8; 32], u32)) -> GroupIdentity {
    GroupIdentity::new(key, generation)
}

fn to((key, generation): ([u8; 32], u32)) -> To {
    To::Group(key, generation)
}

/// A device that was given the old key.
fn member() -> Bench {
    let mut bench = Bench::new();
    bench.device.add_group(group(OLD));
    bench
}

fn entry() -> Vec<u8> {
    CarriedGroup::wrap(&group(OLD), &group(NEW), VENDOR, CLASS)
        .encode()
        .to_vec()
}

/// The release that carries the new key, sealed to the old one.
fn renewing(bench: &Bench) -> ReleasePlan {
    let mut plan = bench.next();
    plan.extensions = vec![(EXTENSION_CARRIED_GROUPS, entry())];
    plan.to = vec![to(OLD)];
    plan
}

/// A release that only the new key opens.
fn renewed(bench: &Bench) -> Sealed {
    let mut plan = bench.release(RUNNING + 2);
    plan.to = vec![to(NEW)];
    plan.seal()
}

#[test]
fn the_carried_key_opens_what_follows() {
    let mut bench = member();
    let renewed = renewed(&bench);
    assert_eq!(bench.refuses(&renewed), not_a_recipient());
    bench.accepts(&renewing(&bench).seal());
    let ids = bench.device.recipient_ids().unwrap();
    assert!(ids.contains(&to(NEW).id()) && ids.contains(&to(OLD).id()));
    bench.accepts(&renewed);
}

#[test]
fn the_carried_key_counts_among_targets() {
    let mut bench = member();
    bench.accepts(&renewing(&bench).seal());
    let mut plan = bench.release(RUNNING + 2);
    plan.to = vec![to(NEW)];
    plan.extensions = vec![(EXTENSION_TARGETS, to(NEW).id().0.to_vec())];
    bench.accepts(&plan.seal());
}

#[test]
fn a_release_that_no_longer_carries_the_key_takes_it_away() {
    let mut bench = member();
    bench.accepts(&renewing(&bench).seal());
    bench.accepts(&renewed(&bench));
    let mut plan = bench.release(RUNNING + 3);
    plan.to = vec![to(NEW)];
    assert_eq!(bench.refuses(&plan.seal()), not_a_recipient());
    assert!(
        !bench
            .device
            .recipient_ids()
            .unwrap()
            .contains(&to(NEW).id())
    );
}

#[test]
fn carried_key_without_the_old_one() {
    let mut bench = Bench::new();
    let mut plan = renewing(&bench);
    plan.to.push(To::X25519(bench.device.public()));
    bench.accepts(&plan.seal());
    assert_eq!(bench.refuses(&renewed(&bench)), not_a_recipient());
    assert!(
        !bench
            .device
            .recipient_ids()
            .unwrap()
            .contains(&to(NEW).id())
    );
}

#[test]
fn carried_key_before_the_trial_is_over() {
    let mut bench = member();
    let before = bench.running.clone();
    bench
        .device
        .update_from_bytes(&renewing(&bench).seal().bundle())
        .unwrap();
    assert!(
        !bench
            .device
            .recipient_ids()
            .unwrap()
            .contains(&to(NEW).id())
    );
    // Staged, and still the image before: the key inside does not count yet.
    let refusal = bench.untouched(|device| device.update_from_bytes(&renewed(&member()).bundle()));
    assert_eq!(refusal, not_a_recipient());
    assert!(bench.device.boot(ResetReason::Restart).unwrap().on_trial);
    assert!(
        !bench
            .device
            .recipient_ids()
            .unwrap()
            .contains(&to(NEW).id())
    );
    bench.device.revert().unwrap();
    bench.device.boot(ResetReason::Restart).unwrap();
    bench.running = before;
    assert_eq!(bench.refuses(&renewed(&bench)), not_a_recipient());
}

#[test]
fn carried_key_is_signed() {
    let mut bench = member();
    let good = renewing(&bench).seal();
    let at = good.manifest.len() - 60;
    let mut bad = good.clone();
    for byte in [at, at + 16, at + 20, at + 59] {
        bad.manifest[byte] ^= 0x80;
        let refusal = bench.refuses(&bad);
        // The old id's generation and the new one's are compared before the signature.
        let by_order = wrong(Part::Manifest, "carried_groups", at, Reason::OutOfRange);
        assert!([bad_signature(), by_order].contains(&refusal), "{refusal}");
        bad.manifest[byte] ^= 0x80;
    }
    bench.accepts(&good);
}

#[test]
fn carried_key_that_does_not_open() {
    let mut bench = member();
    let plan = renewing(&bench);
    let damaged = tampered(&plan, |signed| *signed.last_mut().unwrap() ^= 1);
    bench.accepts(&damaged);
    assert_eq!(bench.refuses(&renewed(&bench)), not_a_recipient());
}

#[test]
fn carried_keys_malformed() {
    let mut bench = member();
    let plan = renewing(&bench);
    let at = plan.seal().manifest.len() - 60;
    let refused = |reason| wrong(Part::Manifest, "carried_groups", at, reason);
    let same_generation = tampered(&plan, |signed| signed[at + 16] = 1);
    assert_eq!(bench.refuses(&same_generation), refused(Reason::OutOfRange));
    let short = tampered(&plan, |signed| signed[at - 2] = 56);
    assert_eq!(bench.refuses(&short), refused(Reason::OutOfRange));
    let twice = tampered(&plan, |signed| {
        signed.extend(entry());
        signed[at - 2] = 120;
        let len = u32::try_from(signed.len()).unwrap().to_le_bytes();
        signed[8..12].copy_from_slice(&len);
    });
    assert_eq!(bench.refuses(&twice), refused(Reason::NotAscending));
}

#[test]
fn the_second_step_needs_the_key_that_was_given() {
    let third = ([0x63; 32], 3);
    let mut bench = member();
    bench.accepts(&renewing(&bench).seal());
    let mut plan = bench.release(RUNNING + 2);
    let from_new = CarriedGroup::wrap(&group(NEW), &group(third), VENDOR, CLASS);
    plan.extensions = vec![(EXTENSION_CARRIED_GROUPS, from_new.encode().to_vec())];
    plan.to = vec![to(NEW)];
    bench.accepts(&plan.seal());
    let mut plan = bench.release(RUNNING + 3);
    plan.to = vec![to(third)];
    assert_eq!(bench.refuses(&plan.seal()), not_a_recipient());
}

#[test]
fn each_group_of_a_device_is_renewed() {
    let other_old = ([0x71; 32], 4);
    let other_new = ([0x72; 32], 9);
    let mut bench = member();
    bench.device.add_group(group(other_old));
    let mut pairs = [(OLD, NEW), (other_old, other_new)];
    pairs.sort_by_key(|(old, _)| to(*old).id());
    let entries = pairs
        .map(|(old, new)| CarriedGroup::wrap(&group(old), &group(new), VENDOR, CLASS).encode());
    let mut plan = renewing(&bench);
    plan.extensions = vec![(EXTENSION_CARRIED_GROUPS, entries.concat())];
    bench.accepts(&plan.seal());
    for new in [NEW, other_new] {
        let mut plan = bench.release(RUNNING + 2);
        plan.to = vec![to(new)];
        bench
            .device
            .update_from_bytes(&plan.seal().bundle())
            .unwrap();
        bench.device.boot(ResetReason::Restart).unwrap();
        bench.device.revert().unwrap();
        bench.device.boot(ResetReason::Restart).unwrap();
    }
}
