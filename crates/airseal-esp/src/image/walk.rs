//! Reading a file once, front to back.

use sha2::{Digest, Sha256};

use super::{ImageError, ImageFault, ImageSource, Part, SEGMENT_HEADER_LEN, Segment};
use crate::chip::Chip;

/// The single pass over the file: everything read goes through the running hash.
pub(super) struct Walk<'s, S> {
    pub(super) source: &'s mut S,
    pub(super) position: u64,
    pub(super) sha256: Sha256,
}

impl<S: ImageSource> Walk<'_, S> {
    pub(super) fn take<const N: usize>(
        &mut self,
        part: Part,
    ) -> Result<[u8; N], ImageError<S::Error>> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, part)?;
        Ok(bytes)
    }

    pub(super) fn fill(
        &mut self,
        buffer: &mut [u8],
        part: Part,
    ) -> Result<(), ImageError<S::Error>> {
        self.require(buffer.len() as u64, part)?;
        self.source
            .read_at(self.position, buffer)
            .map_err(ImageError::Read)?;
        self.sha256.update(&*buffer);
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn require(&self, len: u64, part: Part) -> Result<(), ImageFault> {
        let end = self.position.saturating_add(len);
        let file_len = self.source.len();
        if end > file_len {
            return Err(ImageFault::Truncated {
                part,
                offset: self.position,
                end,
                file_len,
            });
        }
        Ok(())
    }

    pub(super) fn segment(
        &mut self,
        index: u8,
        chip: Chip,
    ) -> Result<Segment, ImageError<S::Error>> {
        let header: [u8; SEGMENT_HEADER_LEN as usize] = self.take(Part::SegmentHeader(index))?;
        let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let offset = self.position - 4;
        if !len.is_multiple_of(4) {
            return Err(ImageFault::SegmentAlignment { index, offset, len }.into());
        }
        if chip.segment_limit().is_some_and(|limit| len >= limit) {
            return Err(ImageFault::SegmentTooLong { index, offset, len }.into());
        }
        self.require(u64::from(len), Part::SegmentData(index))?;
        let load_address = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        Ok(Segment {
            load_address,
            offset: self.position,
            len,
        })
    }

    /// Reads a segment's data, copies its start into `head`, and returns the checksum so far.
    pub(super) fn segment_data(
        &mut self,
        segment: Segment,
        seed: u8,
        head: &mut [u8],
    ) -> Result<u8, ImageError<S::Error>> {
        let mut checksum = seed;
        let mut left = u64::from(segment.len);
        let mut head = head;
        let mut window = [0; 1024];
        while left > 0 {
            let step = left.min(window.len() as u64);
            let chunk = window.get_mut(..step as usize).unwrap_or_default();
            self.fill(chunk, Part::Header)?;
            checksum = chunk.iter().fold(checksum, |sum, byte| sum ^ byte);
            let copied = head.len().min(chunk.len());
            let (now, later) = head.split_at_mut(copied);
            now.copy_from_slice(chunk.get(..copied).unwrap_or_default());
            head = later;
            left -= step;
        }
        Ok(checksum)
    }
}
