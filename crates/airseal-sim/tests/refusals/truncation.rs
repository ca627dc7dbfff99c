//! Releases that end too early, and releases with something behind them.

use std::io::{self, Read};

use airseal_format::{Part, Reason};
use airseal_sim::fixture::{KeysetPlan, Sealed};
use airseal_update::Refusal;

use crate::bench::{Bench, wrong};

fn with_keyset(bench: &Bench) -> Sealed {
    let mut plan = bench.next();
    plan.keysets = vec![KeysetPlan::first().section()];
    plan.seal()
}

/// Starts of all sections, and of the bytes in them.
fn borders(sealed: &Sealed) -> Vec<usize> {
    let mut borders = vec![0, 8];
    let parts = [
        sealed.keysets[0].len(),
        sealed.manifest_section().len(),
        sealed.envelopes[0].len(),
        sealed.payload.len(),
    ];
    for len in parts {
        let start = borders[borders.len() - 1];
        borders.extend([start + 16, start + 16 + len]);
    }
    borders
}

#[test]
fn truncated_anywhere_when_the_length_is_known() {
    let mut bench = Bench::new();
    let good = with_keyset(&bench);
    let bundle = good.bundle();
    let borders = borders(&good);
    let payload_at = borders[borders.len() - 2];
    let inside = (payload_at..bundle.len()).step_by(997);
    let lengths = (0..payload_at).chain(inside).chain([bundle.len() - 1]);
    for len in lengths.filter(|len| *len != bundle.len()) {
        let refusal = bench.untouched(|device| device.update_from_bytes(&bundle[..len]));
        let expected = if len < payload_at {
            Refusal::Ended
        } else {
            wrong(Part::Bundle, "end", bundle.len(), Reason::Truncated)
        };
        assert_eq!(refusal, expected, "after {len} bytes");
    }
    assert_eq!(borders.last(), Some(&bundle.len()));
    bench.still_boots();
    bench.accepts(&good);
}

#[test]
fn truncated_anywhere_in_a_stream_of_unknown_length() {
    let mut bench = Bench::new();
    let good = with_keyset(&bench);
    let bundle = good.bundle();
    let borders = borders(&good);
    // Top, first page and first chunk have to come before anything is erased.
    let first_chunk_end = borders[borders.len() - 2] + 64 + 1024 + 1024;
    for len in (0..first_chunk_end).step_by(3).chain(borders) {
        if len >= first_chunk_end {
            continue;
        }
        let mut stream = &bundle[..len];
        let refusal =
            bench.untouched(|device| device.update_from(&mut stream, None, &mut |_, _| {}));
        assert_eq!(refusal, Refusal::Ended, "after {len} bytes");
        // Unwraps count until a restart.
        bench.still_boots();
    }
    let mut stream = &bundle[..bundle.len() - 1];
    let refusal = bench.device.update_from(&mut stream, None, &mut |_, _| {});
    assert_eq!(refusal, Err(Refusal::Ended));
    bench.still_boots();
    bench.accepts(&good);
}

#[test]
fn bytes_after_the_bundle() {
    let mut bench = Bench::new();
    let good = with_keyset(&bench);
    let mut bundle = good.bundle();
    let end = bundle.len();
    for tail in [1, 16, 5000] {
        bundle.truncate(end);
        bundle.extend(vec![0; tail]);
        let expected = wrong(Part::Bundle, "end", end, Reason::TrailingBytes);
        assert_eq!(bench.refuses_bytes(&bundle), expected);
    }
    bench.accepts(&good);
}

#[test]
fn bytes_after_the_manifest_section() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    bad.signatures.extend([0; 4]);
    let expected = wrong(Part::Signatures, "end", 80, Reason::TrailingBytes);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn bytes_after_a_keyset() {
    let mut bench = Bench::new();
    let mut bad = with_keyset(&bench);
    let end = bad.keysets[0].len();
    bad.keysets[0].extend([0; 4]);
    let expected = wrong(Part::Keyset, "end", end, Reason::TrailingBytes);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn bytes_after_the_envelopes() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    bad.envelopes.push(vec![0; 20]);
    let expected = wrong(Part::Envelope, "len", 6, Reason::Truncated);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn empty_sections() {
    let mut bench = Bench::new();
    let good = with_keyset(&bench);
    let mut bad = good.clone();
    bad.manifest.clear();
    bad.signatures.clear();
    let expected = wrong(Part::Manifest, "magic", 0, Reason::Truncated);
    assert_eq!(bench.refuses(&bad), expected);
    let mut bad = good.clone();
    bad.keysets[0].clear();
    let expected = wrong(Part::Keyset, "magic", 0, Reason::Truncated);
    assert_eq!(bench.refuses(&bad), expected);
    let mut bad = good.clone();
    bad.payload.clear();
    let expected = wrong(Part::Payload, "section_len", 8, Reason::Sum);
    assert_eq!(bench.refuses(&bad), expected);
    bench.accepts(&good);
}

/// Never ends.
struct Endless<'a> {
    start: &'a [u8],
    read: u64,
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from_start = self.start.read(buffer)?;
        let count = match from_start {
            0 => {
                buffer.fill(0);
                buffer.len()
            }
            some => some,
        };
        self.read += count as u64;
        Ok(count)
    }
}

#[test]
fn endless_stream_of_zeroes() {
    let mut bench = Bench::new();
    let mut stream = Endless {
        start: &[],
        read: 0,
    };
    let refusal = bench.untouched(|device| device.update_from(&mut stream, None, &mut |_, _| {}));
    assert!(matches!(refusal, Refusal::NotARelease(_)), "{refusal:?}");
    assert!(stream.read <= 8);
    bench.still_boots();
}

#[test]
fn endless_payload() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let bundle = good.bundle();
    let payload_at = bundle.len() - good.payload.len();
    let mut lying = bundle[..payload_at].to_vec();
    lying[payload_at - 8..].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut stream = Endless {
        start: &lying,
        read: 0,
    };
    let refusal = bench.untouched(|device| device.update_from(&mut stream, None, &mut |_, _| {}));
    // The section would end past 2^64.
    let expected = wrong(
        Part::Bundle,
        "section_len",
        payload_at - 16,
        Reason::OutOfRange,
    );
    assert_eq!(refusal, expected);
    assert_eq!(stream.read, payload_at as u64);
    lying[payload_at - 8..].copy_from_slice(&(u64::MAX >> 1).to_le_bytes());
    let mut stream = Endless {
        start: &lying,
        read: 0,
    };
    let refusal = bench.untouched(|device| device.update_from(&mut stream, None, &mut |_, _| {}));
    assert_eq!(refusal, wrong(Part::Payload, "section_len", 8, Reason::Sum));
    assert_eq!(stream.read, payload_at as u64);
    bench.still_boots();
}

#[test]
fn endless_envelope_pack() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let at = 8 + 16 + good.manifest_section().len();
    let mut lying = good.bundle()[..at + 16 + good.envelopes[0].len()].to_vec();
    lying[at + 8..at + 16].copy_from_slice(&(1u64 << 40).to_le_bytes());
    let mut stream = Endless {
        start: &lying,
        read: 0,
    };
    let refusal = bench.untouched(|device| device.update_from(&mut stream, None, &mut |_, _| {}));
    assert_eq!(refusal, wrong(Part::Envelope, "magic", 0, Reason::Magic));
    assert!(stream.read <= lying.len() as u64 + 4096);
    bench.still_boots();
}

#[test]
fn stream_that_goes_on_is_left_alone_after_the_bundle() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let bundle = good.bundle();
    let mut stream = Endless {
        start: &bundle,
        read: 0,
    };
    bench
        .device
        .update_from(&mut stream, None, &mut |_, _| {})
        .unwrap();
    assert_eq!(stream.read, bundle.len() as u64);
    bench.confirms(&good);
}
