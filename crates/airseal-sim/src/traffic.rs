//! What an update costs the network.

use std::ops::Range;

use serde::Serialize;

/// Bytes that came over the network.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Traffic {
    /// Everything: heads, manifest, envelope, payload.
    pub received: u64,
    /// Bytes of the payload, counted each time they came.
    pub payload: u64,
    /// Bytes of the payload that had come before.
    pub twice: u64,
    #[serde(skip)]
    seen: Vec<Range<u64>>,
}

impl Traffic {
    /// Another release begins: nothing of it was seen.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Counts `len` bytes of the payload from `offset`.
    pub fn add_payload(&mut self, offset: u64, len: u64) {
        let range = offset..offset + len;
        let overlap: u64 = self
            .seen
            .iter()
            .map(|seen| {
                seen.end
                    .min(range.end)
                    .saturating_sub(seen.start.max(range.start))
            })
            .sum();
        self.payload += len;
        self.twice += overlap;
        self.seen.push(range);
        self.seen.sort_by_key(|seen| seen.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(self.seen.len());
        for range in self.seen.drain(..) {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        self.seen = merged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_come_again_are_counted_once_more() {
        let mut traffic = Traffic::default();
        traffic.add_payload(0, 100);
        traffic.add_payload(200, 50);
        traffic.add_payload(90, 120);
        assert_eq!((traffic.payload, traffic.twice), (270, 20));
        assert_eq!(traffic.seen, vec![0..250]);
    }
}
