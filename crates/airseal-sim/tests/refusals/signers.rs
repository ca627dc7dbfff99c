//! Who signed, how often, and in which form.

use airseal_format::manifest::SIGNING_CONTEXT;
use airseal_format::{Part, Reason};
use airseal_sim::fixture::{KeysetPlan, public, sign};

use crate::bench::{Bench, bad_signature, too_few, wrong};

fn two_of_two() -> Bench {
    let mut plan = KeysetPlan::first();
    plan.release = vec![10, 11];
    plan.k_release = 2;
    Bench::running(
        |model| model.keyset = plan.signed(),
        |release| release.signed_by = vec![10, 11],
    )
}

#[test]
fn signed_by_a_stranger() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.signed_by = vec![66];
    assert_eq!(bench.refuses(&plan.seal()), too_few());
}

#[test]
fn signed_by_a_stranger_under_a_trusted_name() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    let forged = sign(SIGNING_CONTEXT, &bad.manifest, &[66]);
    bad.signatures[16..].copy_from_slice(&forged[16..]);
    assert_eq!(bench.refuses(&bad), bad_signature());
}

#[test]
fn signed_by_a_root_or_an_offer_key() {
    for signer in [1, 2, 20] {
        let mut bench = Bench::new();
        let mut plan = bench.next();
        plan.signed_by = vec![signer];
        assert_eq!(bench.refuses(&plan.seal()), too_few(), "key {signer}");
    }
}

#[test]
fn one_signature_where_two_are_needed() {
    let mut bench = two_of_two();
    let mut plan = bench.next();
    plan.signed_by = vec![11];
    assert_eq!(bench.refuses(&plan.seal()), too_few());
    plan.signed_by = vec![10, 66];
    assert_eq!(bench.refuses(&plan.seal()), too_few());
    plan.signed_by = vec![10, 11];
    bench.accepts(&plan.seal());
}

#[test]
fn duplicate_signer() {
    let mut bench = two_of_two();
    let mut plan = bench.next();
    plan.signed_by = vec![10];
    let mut bad = plan.seal();
    bad.signatures[0] = 2;
    let entry = bad.signatures[4..].to_vec();
    bad.signatures.extend(entry);
    let expected = wrong(Part::Signatures, "key_id", 80, Reason::NotAscending);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn bad_signature_beside_enough_good_ones() {
    let mut plan = KeysetPlan::first();
    plan.release = vec![10, 11];
    let mut bench = Bench::with(|model| model.keyset = plan.signed());
    let mut release = bench.next();
    release.signed_by = vec![10, 11];
    let good = release.seal();
    for entry in 0..2 {
        let mut bad = good.clone();
        bad.signatures[4 + 76 * entry + 40] ^= 1;
        let at = 4 + 76 * entry;
        let expected = wrong(Part::Signatures, "signature", at, Reason::BadSignature);
        assert_eq!(bench.refuses(&bad), expected);
    }
    bench.accepts(&good);
}

#[test]
fn scalar_plus_the_group_order() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    // The order of the base point, little-endian (RFC 8032, section 5.1).
    let order =
        hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0;
    for (byte, add) in bad.signatures[48..80].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(bench.refuses(&bad), bad_signature());
}

#[test]
fn signature_of_another_artifact() {
    let mut bench = Bench::new();
    for context in [&b""[..], b"airseal1 keyset\0", b"airseal1 offer\0"] {
        let mut bad = bench.next().seal();
        bad.signatures = sign(context, &bad.manifest, &[10]);
        assert_eq!(bench.refuses(&bad), bad_signature());
    }
}

#[test]
fn signature_of_another_release() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    bad.signatures = bench.running.signatures.clone();
    assert_eq!(bench.refuses(&bad), bad_signature());
}

#[test]
fn algorithm_of_another_key() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    let key = public(10).key_id();
    let entry =
        airseal_format::signature::Entry::new(airseal_format::Algorithm::EcdsaP256, key, &[4; 129]);
    let mut block = vec![0; 200];
    let len = airseal_format::signature::encode(&[entry], &mut block).unwrap();
    block.truncate(len);
    bad.signatures = block;
    let expected = wrong(Part::Signatures, "algorithm", 4, Reason::KeyMismatch);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn surplus_signature_of_an_unknown_key_is_passed_over() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.signed_by = vec![10, 66];
    let mut good = plan.seal();
    // The stranger's signature is wrong, too.
    let at = match public(10).key_id() < public(66).key_id() {
        true => 80,
        false => 4,
    };
    good.signatures[at + 20] ^= 1;
    bench.accepts(&good);
}
