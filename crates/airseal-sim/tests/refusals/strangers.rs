//! What comes is no release at all; the refusal says what it is.

use airseal_format::{Part, Reason};
use airseal_update::{Refusal, Seen};

use crate::bench::{Bench, wrong};

fn seen(bytes: &[u8; 8]) -> Refusal {
    Refusal::NotARelease(Seen(*bytes))
}

#[test]
fn login_page() {
    let mut bench = Bench::new();
    let page = b"<!DOCTYPE html><html><body>Please sign in</body></html>";
    let refusal = bench.refuses_bytes(page);
    assert_eq!(refusal, seen(b"<!DOCTYP"));
    let text = refusal.to_string();
    assert!(text.contains("\"<!DOCTYP\""), "{text}");
}

#[test]
fn login_page_in_place_of_the_manifest() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    bad.manifest = b"<!DOCTYPE html><html><body>Please sign in</body></html>".to_vec();
    bad.signatures.clear();
    assert_eq!(bench.refuses(&bad), seen(b"<!DOCTYP"));
}

#[test]
fn firmware_without_a_seal() {
    let mut bench = Bench::new();
    let mut elf = b"\x7FELF\x01\x01\x01\x00".to_vec();
    elf.extend([0; 5000]);
    assert_eq!(bench.refuses_bytes(&elf), seen(b"\x7FELF\x01\x01\x01\x00"));
    let mut esp = b"\xE9\x06\x02\x20\x00\x00\x00\x40".to_vec();
    esp.extend([0; 5000]);
    assert_eq!(
        bench.refuses_bytes(&esp),
        seen(b"\xE9\x06\x02\x20\x00\x00\x00\x40")
    );
}

#[test]
fn other_part_in_place_of_the_manifest() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let mut bad = good.clone();
    bad.manifest = good.envelopes[0].clone();
    bad.signatures.clear();
    let refusal = bench.refuses(&bad);
    assert!(matches!(refusal, Refusal::NotARelease(_)), "{refusal:?}");
}

#[test]
fn bundle_of_a_later_major_version() {
    let mut bench = Bench::new();
    let mut bundle = bench.next().seal().bundle();
    bundle[4] = 2;
    let expected = wrong(Part::Bundle, "major", 4, Reason::Version);
    assert_eq!(bench.refuses_bytes(&bundle), expected);
}

#[test]
fn nothing_at_all() {
    let mut bench = Bench::new();
    assert_eq!(bench.refuses_bytes(b""), Refusal::Ended);
}
