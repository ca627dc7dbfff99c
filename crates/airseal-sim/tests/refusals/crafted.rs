//! Releases that are signed as they should be and still break a rule of the format.

use airseal_format::{Part, Reason};

use crate::bench::{Bench, tampered, wrong};

fn manifest(field: &'static str, offset: usize, reason: Reason) -> airseal_update::Refusal {
    wrong(Part::Manifest, field, offset, reason)
}

#[test]
fn unknown_critical_flag() {
    let mut bench = Bench::new();
    for bit in 0..32 {
        let bad = tampered(&bench.next(), |signed| {
            signed[12 + bit / 8] |= 1 << (bit % 8)
        });
        let expected = manifest("critical_flags", 12, Reason::UnknownCritical);
        assert_eq!(bench.refuses(&bad), expected, "bit {bit}");
    }
    let good = bench.next().seal();
    bench.accepts(&good);
}

#[test]
fn unknown_critical_extension() {
    let mut bench = Bench::new();
    for number in [0x8000u16, 0x8003, 0x80FF, 0xF000, 0xFFFF] {
        let mut plan = bench.next();
        plan.extensions = vec![(0x0003, vec![1, 2, 3])];
        let at = 256 + 160;
        let bad = tampered(&plan, |signed| {
            signed[at..at + 2].copy_from_slice(&number.to_le_bytes());
        });
        let expected = manifest("extension_type", at, Reason::UnknownCritical);
        assert_eq!(bench.refuses(&bad), expected, "{number:#06x}");
    }
}

#[test]
fn reserved_extension_is_refused_by_name() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.extensions = vec![(0x0003, vec![0; 12])];
    let bad = tampered(&plan, |signed| {
        signed[416..418].copy_from_slice(&0x8002u16.to_le_bytes());
    });
    let expected = manifest("extension_type", 416, Reason::Unsupported);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn unknown_extension_without_the_critical_bit_is_passed_over() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.extensions = vec![(0x0003, vec![1]), (0x7001, b"a vendor's own".to_vec())];
    bench.accepts(&plan.seal());
}

#[test]
fn two_encodings_of_one_version_text() {
    let mut bench = Bench::new();
    let bad = tampered(&bench.next(), |signed| signed[207] = b'x');
    assert_eq!(bench.refuses(&bad), manifest("version", 176, Reason::Text));
}

#[test]
fn two_encodings_of_one_header() {
    let mut bench = Bench::new();
    for (at, field, offset) in [
        (17, "reserved", 17),
        (21, "reserved", 21),
        (208, "reserved", 208),
        (255, "reserved", 208),
        (256 + 6, "flags", 256 + 6),
        (256 + 41, "transform_parameters", 256 + 41),
    ] {
        let bad = tampered(&bench.next(), |signed| signed[at] = 1);
        let expected = manifest(field, offset, Reason::Reserved);
        assert_eq!(bench.refuses(&bad), expected, "byte {at}");
    }
}

#[test]
fn two_encodings_of_one_extension() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.extensions = vec![(0x0003, vec![1])];
    let bad = tampered(&plan, |signed| signed[416 + 5] = 1);
    let expected = manifest("extension_padding", 421, Reason::Reserved);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn transform_of_a_later_version() {
    let mut bench = Bench::new();
    for (number, reason) in [(1, Reason::Unsupported), (9, Reason::UnknownValue)] {
        let bad = tampered(&bench.next(), |signed| signed[256 + 3] = number);
        assert_eq!(bench.refuses(&bad), manifest("transform", 259, reason));
    }
}

#[test]
fn security_version_above_the_keysets_maximum() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.header.security_version.0 = 1001;
    let expected = manifest("security_version", 72, Reason::SecurityVersionTooHigh);
    assert_eq!(bench.refuses(&plan.seal()), expected);
}

#[test]
fn release_under_a_keyset_the_device_does_not_have() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.header.keyset_version.0 = 2;
    let expected = manifest("keyset_version", 60, Reason::NeedKeyset);
    assert_eq!(bench.refuses(&plan.seal()), expected);
    assert_eq!(bench.device.keyset_version().unwrap().0, 1);
}
