//! Wrong bytes in the middle of a download: what was verified before may lie in the slot,
//! nothing of the bad piece does.

use std::ops::Range;

use airseal_format::{Part, Reason};
use airseal_sim::fixture::Sealed;
use airseal_update::Refusal;
use airseal_update::port::Slot;

use crate::bench::{Bench, IMAGE_LEN, wrong};

const CHUNK: usize = 1024;
const FAN_OUT: usize = 32;
const SECTOR: usize = 4096;
const TOP: usize = 64;

/// Where chunk `i` lies in the payload.
fn chunk(i: usize) -> Range<usize> {
    let pages = 32
        * if i < FAN_OUT {
            FAN_OUT
        } else {
            IMAGE_LEN.div_ceil(CHUNK)
        };
    let start = TOP + pages + i * CHUNK;
    start..(start + CHUNK).min(start + IMAGE_LEN - i * CHUNK)
}

/// Offers `bad`, whose chunk or page at image position `from` is wrong, and sees that
/// nothing of it reached the flash.
fn refuses_from(bench: &mut Bench, bad: &Sealed, from: usize) -> Refusal {
    let layout = bench.device.model().layout();
    let slot = layout.slots[Slot::B.index()];
    let start = slot.offset as usize;
    let record_area = start + slot.len as usize - 2 * SECTOR;
    bench.device.flash_mut().clear_log();
    let refusal = bench.device.update_from_bytes(&bad.bundle()).unwrap_err();
    let mut written = 0;
    for operation in bench.device.flash().log() {
        let range = &operation.range;
        if range.start < start || range.start >= record_area {
            continue;
        }
        let limit = if operation.is_erase {
            start + from.next_multiple_of(SECTOR)
        } else {
            written += range.len();
            start + from
        };
        assert!(range.end <= limit, "{operation:?} reaches past {limit:#x}");
    }
    assert_eq!(written, from, "good chunks before it are kept");
    let checkpoint = bench.device.checkpoint().unwrap();
    let position = checkpoint.map_or(0, |checkpoint| checkpoint.position as usize);
    assert!(position <= from);
    bench.still_boots();
    refusal
}

#[test]
fn flipped_bits_in_chunks() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let last = IMAGE_LEN / CHUNK;
    for (i, bit) in [
        (0, 0),
        (0, 8191),
        (1, 77),
        (5, 4000),
        (31, 8191),
        (32, 0),
        (last, 39),
    ] {
        // A fresh device each time: what was verified before would be passed over.
        let mut bench = Bench::new();
        let mut bad = good.clone();
        let place = chunk(i);
        bad.payload[place.start + bit / 8] ^= 1 << (bit % 8);
        let expected = wrong(Part::Payload, "chunk", place.start, Reason::ChunkMismatch);
        assert_eq!(
            refuses_from(&mut bench, &bad, i * CHUNK),
            expected,
            "chunk {i}"
        );
        bench.accepts(&good);
    }
    bench.still_boots();
}

#[test]
fn every_flipped_bit_of_a_later_page() {
    let good = Bench::new().next().seal();
    let page = chunk(FAN_OUT).start - 32 * 5..chunk(FAN_OUT).start;
    for at in page.clone().step_by(7) {
        let mut bench = Bench::new();
        let mut bad = good.clone();
        bad.payload[at] ^= 0x10;
        let expected = wrong(Part::Payload, "page", page.start, Reason::PageMismatch);
        assert_eq!(refuses_from(&mut bench, &bad, FAN_OUT * CHUNK), expected);
    }
}

#[test]
fn chunk_of_another_place() {
    let good = Bench::new().next().seal();
    for (i, j) in [(0, 1), (3, 9), (2, 33)] {
        let mut bad = good.clone();
        let from = good.payload[chunk(j)].to_vec();
        bad.payload[chunk(i)].copy_from_slice(&from);
        let expected = wrong(
            Part::Payload,
            "chunk",
            chunk(i).start,
            Reason::ChunkMismatch,
        );
        assert_eq!(refuses_from(&mut Bench::new(), &bad, i * CHUNK), expected);
    }
}

#[test]
fn chunk_of_another_release() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    bad.payload[chunk(4)].copy_from_slice(&bench.running.payload[chunk(4)]);
    let expected = wrong(
        Part::Payload,
        "chunk",
        chunk(4).start,
        Reason::ChunkMismatch,
    );
    assert_eq!(refuses_from(&mut bench, &bad, 4 * CHUNK), expected);
}

#[test]
fn pages_swapped() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.components[0].1 = vec![0x5A; 48 * 1024];
    let good = plan.seal();
    let first = TOP..TOP + FAN_OUT * (32 + CHUNK);
    let mut bad = good.clone();
    let (page_0, page_1) = (
        good.payload[first.clone()].to_vec(),
        &good.payload[first.end..],
    );
    bad.payload.truncate(TOP);
    bad.payload.extend_from_slice(page_1);
    bad.payload.extend(page_0);
    let refusal = bench.refuses(&bad);
    let expected = wrong(Part::Payload, "page", TOP, Reason::PageMismatch);
    assert_eq!(refusal, expected);
    bench.accepts(&good);
}

#[test]
fn top_entries_swapped() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    bad.payload[..TOP].rotate_left(32);
    let expected = wrong(Part::Payload, "top", 0, Reason::TopMismatch);
    assert_eq!(bench.refuses(&bad), expected);
}
