//! Downgrades and everything else about the order of releases.

use airseal_format::SecurityVersion;
use airseal_sim::fixture::KeysetPlan;
use airseal_update::boot::ResetReason;
use airseal_update::port::Slot;
use airseal_update::{Factory, Refusal};

use crate::bench::{Bench, RUNNING, bad_signature, model};

#[test]
fn lower_sequence() {
    let mut bench = Bench::new();
    for seq in [0, 1, RUNNING - 1] {
        assert_eq!(bench.refuses(&bench.release(seq).seal()), Refusal::Older);
    }
}

#[test]
fn lower_sequence_after_updates() {
    let mut bench = Bench::new();
    let (first, second) = (bench.next().seal(), bench.release(RUNNING + 2).seal());
    bench.accepts(&first);
    bench.accepts(&second);
    assert_eq!(bench.refuses(&first), Refusal::Older);
    let original = bench.release(RUNNING).seal();
    assert_eq!(bench.refuses(&original), Refusal::Older);
}

#[test]
fn equal_sequence_with_another_digest() {
    let mut bench = Bench::new();
    let mut plan = bench.release(RUNNING);
    plan.components[0].1[0] ^= 1;
    assert_eq!(bench.refuses(&plan.seal()), Refusal::Equivocation);
}

#[test]
fn running_release_once_more() {
    let mut bench = Bench::new();
    let same = bench.running.clone();
    assert_eq!(bench.refuses(&same), Refusal::AlreadyInstalled);
}

#[test]
fn staged_release_once_more() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    bench.device.update_from_bytes(&next.bundle()).unwrap();
    let refusal = bench.untouched(|device| device.update_from_bytes(&next.bundle()));
    assert_eq!(refusal, Refusal::AlreadyStaged);
    bench.confirms(&next);
}

#[test]
fn older_release_under_a_new_name() {
    let mut bench = Bench::new();
    let mut renamed = bench.release(RUNNING - 1).seal();
    renamed.manifest[176..208].fill(0);
    renamed.manifest[176..181].copy_from_slice(b"9.9.9");
    // The digest changed with it, so a server would wrap the key anew.
    let plan = bench.release(RUNNING - 1);
    let digest = {
        use sha2::{Digest as _, Sha256};
        airseal_format::Digest(Sha256::digest(&renamed.manifest).into())
    };
    let key = airseal_format::cipher::ContentKey::new(plan.content_key);
    renamed.envelopes = vec![plan.to[0].seal(digest, &key)];
    assert_eq!(bench.refuses(&renamed), bad_signature());
    let mut resigned = plan;
    resigned.header.version = airseal_format::manifest::VersionText::new("9.9.9").unwrap();
    assert_eq!(bench.refuses(&resigned.seal()), Refusal::Older);
}

#[test]
fn lower_keyset_version_with_a_higher_sequence() {
    let mut bench = Bench::new();
    let second = KeysetPlan::first().next();
    let mut plan = bench.next();
    plan.keysets = vec![second.section()];
    plan.header.keyset_version.0 = 2;
    bench.accepts(&plan.seal());
    let mut old = bench.release(RUNNING + 50);
    old.header.keyset_version.0 = 1;
    assert_eq!(bench.refuses(&old.seal()), Refusal::Older);
}

#[test]
fn lower_security_version() {
    let mut bench = Bench::running(|_| {}, |plan| plan.header.security_version.0 = 5);
    assert_eq!(bench.device.state().unwrap().floor, SecurityVersion(5));
    let mut plan = bench.next();
    plan.header.security_version.0 = 4;
    assert_eq!(bench.refuses(&plan.seal()), Refusal::BelowFloor);
    plan.header.security_version.0 = 5;
    bench.accepts(&plan.seal());
}

#[test]
fn below_the_stepping_stone() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.header.min_from_seq.0 = RUNNING + 1;
    assert_eq!(bench.refuses(&plan.seal()), Refusal::SteppingStone);
    let mut plan = bench.next();
    plan.header.min_from_security_version.0 = 2;
    plan.header.security_version.0 = 2;
    assert_eq!(bench.refuses(&plan.seal()), Refusal::SteppingStone);
    let mut plan = bench.next();
    plan.header.min_from_seq.0 = RUNNING;
    plan.header.min_from_security_version.0 = 1;
    bench.accepts(&plan.seal());
}

#[test]
fn factory_image_below_the_stepping_stone() {
    let factory = Factory {
        order: Default::default(),
        security_version: SecurityVersion(3),
    };
    let mut model = model();
    model.factory = Some(factory);
    let mut device = airseal_sim::SimDevice::new(model, &crate::bench::SEED);
    assert_eq!(device.boot(ResetReason::Power).unwrap().slot, None);
    let to = vec![airseal_sim::fixture::To::X25519(device.public())];
    let image = crate::bench::image(1);
    let mut plan = airseal_sim::fixture::ReleasePlan::new(1, image, to);
    plan.header.min_from_security_version.0 = 4;
    let refusal = device.update_from_bytes(&plan.seal().bundle()).unwrap_err();
    assert_eq!(refusal, Refusal::SteppingStone);
    let slots = device.slots();
    assert_eq!(device.flash().touched(&slots), 0);
    plan.header.min_from_security_version.0 = 3;
    device.update_from_bytes(&plan.seal().bundle()).unwrap();
    let booted = device.boot(ResetReason::Restart).unwrap();
    assert_eq!((booted.slot, booted.on_trial), (Some(Slot::A), true));
}

#[test]
fn expired_where_the_policy_looks() {
    let mut bench = Bench::with(|model| model.policy.now = Some(2000));
    let mut plan = bench.next();
    for expires_at in [1, 1999, 2000] {
        plan.header.expires_at = expires_at;
        assert_eq!(bench.refuses(&plan.seal()), Refusal::Expired);
    }
    plan.header.expires_at = 2001;
    bench.accepts(&plan.seal());
}

#[test]
fn expired_where_the_policy_does_not_look() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.header.expires_at = 1;
    bench.accepts(&plan.seal());
}

#[test]
fn no_expiry_never_expires() {
    let mut bench = Bench::with(|model| model.policy.now = Some(u64::MAX));
    let next = bench.next().seal();
    bench.accepts(&next);
}

/// Installs `bundle`, boots it on trial, and lets the self-test fail.
fn fail_once(bench: &mut Bench, bundle: &[u8]) {
    bench.device.update_from_bytes(bundle).unwrap();
    assert!(bench.device.boot(ResetReason::Restart).unwrap().on_trial);
    bench.device.revert().unwrap();
    let booted = bench.device.boot(ResetReason::Restart).unwrap();
    assert_eq!((booted.slot, booted.on_trial), (Some(Slot::A), false));
}

#[test]
fn failed_three_times_before() {
    let mut bench = Bench::new();
    let failing = bench.release(RUNNING + 2).seal();
    for _ in 0..3 {
        fail_once(&mut bench, &failing.bundle());
    }
    assert_eq!(bench.refuses(&failing), Refusal::FailedBefore);
    let older = bench.next().seal();
    assert_eq!(bench.refuses(&older), Refusal::FailedBefore);
    let newer = bench.release(RUNNING + 3).seal();
    bench.accepts(&newer);
}

#[test]
fn crashed_three_times_before() {
    let mut bench = Bench::new();
    let failing = bench.next().seal();
    for _ in 0..3 {
        bench.device.update_from_bytes(&failing.bundle()).unwrap();
        assert!(bench.device.boot(ResetReason::Restart).unwrap().on_trial);
        // A watchdog bites.
        let booted = bench.device.boot(ResetReason::Restart).unwrap();
        assert_eq!(booted.ended, Some(Refusal::TrialCrashed));
        assert_eq!((booted.slot, booted.on_trial), (Some(Slot::A), false));
    }
    assert_eq!(bench.refuses(&failing), Refusal::FailedBefore);
}

#[test]
fn network_faults_never_count_as_failures() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    for part in 0..4 {
        let mut bad = good.clone();
        match part {
            0 => bad.manifest[200] ^= 1,
            1 => bad.envelopes[0][100] ^= 1,
            2 => bad.payload[0] ^= 1,
            _ => bad.payload[3000] ^= 1,
        }
        for _ in 0..4 {
            bench.device.update_from_bytes(&bad.bundle()).unwrap_err();
        }
    }
    assert_eq!(bench.device.state().unwrap().failure, None);
    bench.accepts(&good);
}

#[test]
fn repair_of_the_release_that_should_run() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    let before = bench.running.clone();
    bench.accepts(&next);
    // The new image rots, and the one before boots.
    let slot_b = bench.device.model().layout().slots[1].offset as usize;
    bench.device.flash_mut().bytes_mut()[slot_b + 100] ^= 1;
    let booted = bench.device.boot(ResetReason::Power).unwrap();
    assert_eq!((booted.slot, booted.is_fallback), (Some(Slot::A), true));
    // What runs is older than the newest release and is refused; the newest is the repair.
    let refusal = bench.untouched(|device| device.update_from_bytes(&before.bundle()));
    assert_eq!(refusal, Refusal::AlreadyInstalled);
    let mut other = bench.next();
    other.components[0].1[7] ^= 1;
    let refusal = bench.untouched(|device| device.update_from_bytes(&other.seal().bundle()));
    assert_eq!(refusal, Refusal::Equivocation);
    bench.accepts(&next);
}
