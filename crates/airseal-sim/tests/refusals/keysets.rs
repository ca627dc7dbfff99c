//! Keysets that do not follow the one in force.

use airseal_format::{ClassId, Digest, Part, Reason, VendorId};
use airseal_sim::fixture::{KeysetPlan, Sealed};
use airseal_update::Refusal;

use crate::bench::{Bench, RUNNING, too_few, wrong};

fn keyset(field: &'static str, offset: usize, reason: Reason) -> Refusal {
    wrong(Part::Keyset, field, offset, reason)
}

/// A good release that brings these keysets.
fn bringing(bench: &Bench, keysets: &[&KeysetPlan]) -> Sealed {
    let mut plan = bench.next();
    plan.keysets = keysets.iter().map(|keyset| keyset.section()).collect();
    plan.seal()
}

/// Refused before anything is stored.
fn refuses(keysets: &[&KeysetPlan]) -> Refusal {
    let mut bench = Bench::new();
    let sealed = bringing(&bench, keysets);
    let refusal = bench.refuses(&sealed);
    assert_eq!(bench.device.keyset_version().unwrap().0, 1);
    refusal
}

fn too_few_roots(plan: &KeysetPlan) -> Refusal {
    keyset("count", plan.signed().len(), Reason::TooFewSignatures)
}

#[test]
fn broken_chain() {
    let mut plan = KeysetPlan::first().next();
    plan.prev = Digest([9; 32]);
    assert_eq!(
        refuses(&[&plan]),
        keyset("prev_digest", 48, Reason::ChainBroken)
    );
}

#[test]
fn too_few_old_roots() {
    let mut plan = KeysetPlan::first().next();
    plan.roots = vec![1, 4, 5];
    plan.signed_by = vec![1, 4, 5];
    assert_eq!(refuses(&[&plan]), too_few_roots(&plan));
}

#[test]
fn too_few_new_roots() {
    let mut plan = KeysetPlan::first().next();
    plan.roots = vec![1, 4, 5];
    plan.signed_by = vec![1, 2];
    assert_eq!(refuses(&[&plan]), too_few_roots(&plan));
}

#[test]
fn one_root_twice() {
    let mut bench = Bench::new();
    let mut plan = KeysetPlan::first().next();
    plan.signed_by = vec![1];
    let mut section = plan.section();
    let signed = plan.signed().len();
    section[signed] = 2;
    let entry = section[signed + 4..].to_vec();
    section.extend(entry);
    let mut release = bench.next();
    release.keysets = vec![section];
    let expected = keyset("key_id", signed + 80, Reason::NotAscending);
    assert_eq!(bench.refuses(&release.seal()), expected);
}

#[test]
fn signed_by_release_keys_only() {
    let mut plan = KeysetPlan::first().next();
    plan.signed_by = vec![10, 20];
    assert_eq!(refuses(&[&plan]), too_few_roots(&plan));
}

#[test]
fn skipped_version() {
    let third = KeysetPlan::first().next().next();
    assert_eq!(refuses(&[&third]), keyset("version", 12, Reason::ChainGap));
    let first = KeysetPlan::first();
    assert_eq!(
        refuses(&[&first, &third]),
        keyset("version", 12, Reason::ChainGap)
    );
}

#[test]
fn changed_vendor_or_class() {
    let mut plan = KeysetPlan::first().next();
    plan.vendor_id = VendorId([0xEE; 16]);
    assert_eq!(
        refuses(&[&plan]),
        keyset("vendor_id", 16, Reason::OwnerChanged)
    );
    for class_id in [ClassId([0xEE; 16]), ClassId([0; 16])] {
        let mut plan = KeysetPlan::first().next();
        plan.class_id = class_id;
        assert_eq!(
            refuses(&[&plan]),
            keyset("class_id", 32, Reason::OwnerChanged)
        );
    }
}

#[test]
fn lower_maximum_of_the_security_version() {
    let mut plan = KeysetPlan::first().next();
    plan.max_security_version = 999;
    let expected = keyset("max_security_version", 80, Reason::SecurityVersionFell);
    assert_eq!(refuses(&[&plan]), expected);
}

#[test]
fn equal_version_with_other_bytes() {
    let mut plan = KeysetPlan::first();
    plan.release = vec![66];
    let expected = keyset("version", 12, Reason::KeysetConflict);
    assert_eq!(refuses(&[&plan]), expected);
}

/// A gap or a fault is refused even though the release would not need the keyset.
#[test]
fn failing_keyset_beside_a_good_release() {
    let second = KeysetPlan::first().next();
    let mut third = second.next();
    third.signed_by = vec![1];
    let mut bench = Bench::new();
    let sealed = bringing(&bench, &[&second, &third]);
    let refusal = bench.slots_untouched(|device| device.update_from_bytes(&sealed.bundle()));
    assert_eq!(refusal, too_few_roots(&third));
    bench.still_boots();
}

#[test]
fn keysets_out_of_order() {
    let first = KeysetPlan::first();
    let second = first.next();
    let mut bench = Bench::new();
    let sealed = bringing(&bench, &[&second, &first]);
    let refusal = bench.slots_untouched(|device| device.update_from_bytes(&sealed.bundle()));
    assert_eq!(refusal, keyset("version", 12, Reason::ChainGap));
    bench.still_boots();
}

#[test]
fn more_keysets_than_the_format_allows() {
    let mut bench = Bench::new();
    let mut chain = vec![KeysetPlan::first()];
    for _ in 0..32 {
        chain.push(chain[chain.len() - 1].next());
    }
    let mut sealed = bringing(&bench, &Vec::from_iter(&chain));
    let expected = wrong(Part::Bundle, "n_sections", 6, Reason::OutOfRange);
    assert_eq!(bench.refuses_bytes(&sealed.bundle()), expected);
    // Without envelopes the number of sections is right, and the last keyset is one too many.
    sealed.envelopes.clear();
    let refusal = bench.slots_untouched(|device| device.update_from_bytes(&sealed.bundle()));
    let at = 8 + 32 * (16 + sealed.keysets[0].len());
    assert_eq!(
        refusal,
        wrong(Part::Bundle, "section_kind", at, Reason::Limit)
    );
    bench.still_boots();
}

/// Keyset 2 withdraws release key 10 for key 11, and root 3 for root 4.
fn rotated() -> KeysetPlan {
    let mut plan = KeysetPlan::first().next();
    plan.roots = vec![1, 2, 4];
    plan.release = vec![11];
    plan
}

#[test]
fn withdrawn_key_after_a_rotation() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.keysets = vec![rotated().section()];
    plan.signed_by = vec![11];
    plan.header.keyset_version.0 = 2;
    bench.accepts(&plan.seal());
    // The stolen key signs what it likes, under both keysets.
    for keyset_version in [1, 2] {
        let mut stolen = bench.release(RUNNING + 2);
        stolen.header.keyset_version.0 = keyset_version;
        stolen.signed_by = vec![10];
        assert_eq!(bench.refuses(&stolen.seal()), too_few());
    }
    // And a keyset that would bring it back needs roots of the keyset in force.
    let mut back = rotated().next();
    back.release = vec![10];
    back.signed_by = vec![3, 10];
    let mut stolen = bench.release(RUNNING + 2);
    stolen.keysets = vec![back.section()];
    stolen.signed_by = vec![10];
    assert_eq!(bench.refuses(&stolen.seal()), too_few_roots(&back));
}

/// The rotation takes effect with the keyset, before any release of the new key.
#[test]
fn withdrawn_key_signs_the_release_that_brings_the_rotation() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.keysets = vec![rotated().section()];
    let sealed = plan.seal();
    let refusal = bench.slots_untouched(|device| device.update_from_bytes(&sealed.bundle()));
    assert_eq!(refusal, too_few());
    assert_eq!(bench.device.keyset_version().unwrap().0, 2);
    bench.still_boots();
    // From then on the device skips the keyset it has and stays where it is.
    assert_eq!(bench.refuses(&sealed), too_few());
}
