//! Envelopes that are missing, wrong, forged or too many.

use airseal_format::cipher::ContentKey;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::{Digest, Part, Reason};
use airseal_sim::SimDevice;
use airseal_sim::fixture::{Sealed, To};
use airseal_update::Refusal;

use crate::bench::{Bench, model, not_a_recipient, unwrap_failed, wrong};

#[test]
fn envelope_of_another_release() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    bad.envelopes = bench.release(12).seal().envelopes;
    let expected = wrong(Part::Envelope, "manifest_digest", 24, Reason::OtherRelease);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn envelope_of_another_release_relabelled() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    bad.envelopes = bench.release(12).seal().envelopes;
    bad.envelopes[0][24..56].copy_from_slice(&bad.digest.0);
    assert_eq!(bench.refuses(&bad), unwrap_failed());
}

#[test]
fn envelope_for_another_device() {
    let mut bench = Bench::new();
    let other = SimDevice::new(model(), &[8; 32]);
    let mut plan = bench.next();
    plan.to = vec![To::X25519(other.public())];
    assert_eq!(bench.refuses(&plan.seal()), not_a_recipient());
}

#[test]
fn envelope_for_another_device_relabelled() {
    let mut bench = Bench::new();
    let other = SimDevice::new(model(), &[8; 32]);
    let own = To::X25519(bench.device.public()).id();
    let mut plan = bench.next();
    plan.to = vec![To::X25519(other.public())];
    let mut bad = plan.seal();
    bad.envelopes[0][8..24].copy_from_slice(&own.0);
    assert_eq!(bench.refuses(&bad), unwrap_failed());
}

#[test]
fn no_envelope_at_all() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    bad.envelopes.clear();
    assert_eq!(bench.refuses(&bad), not_a_recipient());
}

/// Anyone can seal to a device's public key; the commitment says which key is right.
#[test]
fn forged_envelope_with_the_right_id() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    let own = To::X25519(bench.device.public());
    bad.envelopes = vec![own.seal(bad.digest, &ContentKey::new([0x66; 32]))];
    let expected = wrong(Part::Envelope, "cek_commit", 56, Reason::CommitmentMismatch);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn forged_envelope_of_a_group() {
    let mut bench = Bench::new();
    let group = To::Group([0x61; 32], 1);
    bench.device.add_group(GroupIdentity::new([0x61; 32], 1));
    let mut plan = bench.next();
    plan.to = vec![group];
    let good = plan.seal();
    let mut bad = good.clone();
    bad.envelopes = vec![group.seal(bad.digest, &ContentKey::new([0x66; 32]))];
    let expected = wrong(Part::Envelope, "cek_commit", 56, Reason::CommitmentMismatch);
    assert_eq!(bench.refuses(&bad), expected);
    bench.accepts(&good);
}

#[test]
fn envelope_with_the_key_of_small_order() {
    let mut bench = Bench::new();
    for start in [0u8, 1] {
        let mut bad = bench.next().seal();
        bad.envelopes[0][56..88].fill(0);
        bad.envelopes[0][56] = start;
        assert_eq!(bench.refuses(&bad), unwrap_failed());
    }
}

#[test]
fn envelope_in_another_suite() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    // A group envelope under the device's own id.
    let own = To::X25519(bench.device.public()).id();
    bad.envelopes = vec![To::Group([0x61; 32], 1).seal(bad.digest, &ContentKey::new([1; 32]))];
    bad.envelopes[0][8..24].copy_from_slice(&own.0);
    assert_eq!(bench.refuses(&bad), not_a_recipient());
}

#[test]
fn envelope_in_a_suite_of_the_future() {
    let mut bench = Bench::new();
    let own = To::X25519(bench.device.public()).id();
    for suite in [0, 4, 255] {
        let mut bad = bench.next().seal();
        let mut unknown = bad.envelopes[0].clone();
        unknown[5] = suite;
        unknown[8..24].copy_from_slice(&own.0);
        bad.envelopes = vec![unknown];
        assert_eq!(bench.refuses(&bad), not_a_recipient());
    }
}

#[test]
fn more_envelopes_than_the_limit() {
    let mut bench = Bench::with(|model| model.policy.max_envelopes = 4);
    let mut plan = bench.next();
    plan.to
        .extend((1..5).map(|generation| To::Group([0x61; 32], generation)));
    assert_eq!(bench.refuses(&plan.seal()), Refusal::TooManyEnvelopes);
    plan.to.pop();
    bench.accepts(&plan.seal());
}

#[test]
fn too_many_failed_unwraps() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let mut forged = good.clone();
    let own = To::X25519(bench.device.public());
    forged.envelopes = vec![own.seal(good.digest, &ContentKey::new([0x66; 32]))];
    let mut damaged = good.clone();
    damaged.envelopes[0][100] ^= 1;
    let mismatch = wrong(Part::Envelope, "cek_commit", 56, Reason::CommitmentMismatch);
    let mut handed =
        |sealed: &Sealed| bench.untouched(|device| device.update_from_bytes(&sealed.bundle()));
    // The good envelope in between wins nothing: its payload leads to no staged release.
    let mut spoilt = good.clone();
    spoilt.payload[0] ^= 1;
    let top = wrong(Part::Payload, "top", 0, Reason::TopMismatch);
    for _ in 0..16 {
        assert_eq!(handed(&forged), mismatch);
        assert_eq!(handed(&damaged), unwrap_failed());
        assert_eq!(handed(&forged), mismatch);
        assert_eq!(handed(&spoilt), top);
    }
    for sealed in [&forged, &damaged, &good] {
        assert_eq!(handed(sealed), Refusal::TooManyFailedUnwraps);
    }
    bench.still_boots();
    bench.accepts(&good);
}

#[test]
fn a_staged_release_begins_the_count_of_unwraps_anew() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let mut damaged = bench.release(12).seal();
    damaged.envelopes[0][100] ^= 1;
    let handed = |bench: &mut Bench| bench.untouched(|d| d.update_from_bytes(&damaged.bundle()));
    for _ in 0..63 {
        assert_eq!(handed(&mut bench), unwrap_failed());
    }
    bench.device.update_from_bytes(&good.bundle()).unwrap();
    for _ in 0..64 {
        assert_eq!(handed(&mut bench), unwrap_failed());
    }
    assert_eq!(handed(&mut bench), Refusal::TooManyFailedUnwraps);
}

#[test]
fn envelopes_out_of_order_or_twice() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.to.push(To::Group([0x61; 32], 1));
    let expected = wrong(Part::Envelope, "recipient_id", 8, Reason::NotAscending);
    let mut reversed = plan.seal();
    reversed.envelopes.reverse();
    assert_eq!(bench.refuses(&reversed), expected);
    let mut twice = plan.seal();
    twice.envelopes[1] = twice.envelopes[0].clone();
    assert_eq!(bench.refuses(&twice), expected);
    bench.accepts(&plan.seal());
}

#[test]
fn bad_envelope_of_somebody_else() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.to.push(To::Group([0x61; 32], 1));
    let good = plan.seal();
    for at in [0, 4, 24] {
        let mut bad = good.clone();
        let own = To::X25519(bench.device.public()).id();
        let other = bad
            .envelopes
            .iter_mut()
            .find(|e| e[8..24] != own.0)
            .unwrap();
        other[at] ^= 0x40;
        let refusal = bench.refuses(&bad);
        let expected = match at {
            0 => wrong(Part::Envelope, "magic", 0, Reason::Magic),
            4 => wrong(Part::Envelope, "version", 4, Reason::Version),
            _ => wrong(Part::Envelope, "manifest_digest", 24, Reason::OtherRelease),
        };
        assert_eq!(refusal, expected);
    }
    // Its wrapped key is none of our business.
    let mut other_wrapped = good.clone();
    let own = To::X25519(bench.device.public()).id();
    let other = other_wrapped
        .envelopes
        .iter_mut()
        .find(|e| e[8..24] != own.0);
    other.unwrap()[80] ^= 1;
    bench.accepts(&other_wrapped);
}

#[test]
fn second_key_opens_where_the_first_is_spoilt() {
    let mut bench = Bench::new();
    bench.device.add_group(GroupIdentity::new([0x61; 32], 1));
    let mut plan = bench.next();
    plan.to.push(To::Group([0x61; 32], 1));
    let mut half_good = plan.seal();
    let own = To::X25519(bench.device.public());
    let spoilt = half_good
        .envelopes
        .iter_mut()
        .find(|e| e[8..24] == own.id().0);
    *spoilt.unwrap() = own.seal(half_good.digest, &ContentKey::new([0x66; 32]));
    bench.accepts(&half_good);
}

#[test]
fn envelope_that_names_no_release() {
    let mut bench = Bench::new();
    let plan = bench.next();
    let mut bad = plan.seal();
    bad.envelopes = vec![plan.to[0].seal(Digest([0; 32]), &ContentKey::new(plan.content_key))];
    let expected = wrong(Part::Envelope, "manifest_digest", 24, Reason::OtherRelease);
    assert_eq!(bench.refuses(&bad), expected);
}
