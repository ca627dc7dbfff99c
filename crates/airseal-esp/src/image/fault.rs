//! Why an image is not accepted.

use core::fmt;

use super::{IMAGE_MAGIC, MAX_SEGMENTS};

/// Why an image was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError<E> {
    /// The bytes are wrong.
    Fault(ImageFault),
    /// The source could not be read.
    Read(E),
}

impl<E> From<ImageFault> for ImageError<E> {
    fn from(fault: ImageFault) -> Self {
        ImageError::Fault(fault)
    }
}

/// What is wrong with an image; offsets count bytes from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFault {
    /// The first byte is not 0xE9.
    Magic {
        /// The byte found.
        found: u8,
    },
    /// `segment_count` is 0 or above 16.
    SegmentCount {
        /// The count found.
        found: u8,
    },
    /// `chip_id` is no chip's.
    Chip {
        /// The id found.
        found: u16,
    },
    /// `hash_appended` is neither 0 nor 1.
    HashFlag {
        /// The value found.
        found: u8,
    },
    /// A segment's length is no multiple of four.
    SegmentAlignment {
        /// Number of the segment, from 0.
        index: u8,
        /// Offset of the length field.
        offset: u64,
        /// The length found.
        len: u32,
    },
    /// A segment is longer than the chip can map.
    SegmentTooLong {
        /// Number of the segment, from 0.
        index: u8,
        /// Offset of the length field.
        offset: u64,
        /// The length found.
        len: u32,
    },
    /// The file ends inside a part.
    Truncated {
        /// What is cut off.
        part: Part,
        /// Where that part begins.
        offset: u64,
        /// Where it would have to end.
        end: u64,
        /// Length of the file.
        file_len: u64,
    },
    /// The XOR over the segments is not the stored byte.
    Checksum {
        /// Offset of the checksum byte.
        offset: u64,
        /// The byte in the file.
        stored: u8,
        /// The byte that the segments give.
        computed: u8,
    },
    /// The appended SHA-256 is not that of the image.
    Hash {
        /// Offset of the hash.
        offset: u64,
    },
}

impl fmt::Display for ImageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ImageFault::Magic { found } => {
                write!(
                    f,
                    "magic at offset 0 is {found:#04x}, an ESP image starts with {IMAGE_MAGIC:#04x}"
                )
            }
            ImageFault::SegmentCount { found } => {
                write!(
                    f,
                    "segment_count at offset 1 is {found}, allowed are 1 to {MAX_SEGMENTS}"
                )
            }
            ImageFault::Chip { found } => write!(
                f,
                "chip_id at offset 12 is {found}, which no known chip has"
            ),
            ImageFault::HashFlag { found } => write!(
                f,
                "hash_appended at offset 23 is {found}, allowed are 0 and 1"
            ),
            ImageFault::SegmentAlignment { index, offset, len } => {
                write!(
                    f,
                    "length of segment {index} at offset {offset:#x} is {len}, not a multiple of 4"
                )
            }
            ImageFault::SegmentTooLong { index, offset, len } => {
                write!(
                    f,
                    "length of segment {index} at offset {offset:#x} is {len} bytes, more than the chip maps (16 MiB)"
                )
            }
            ImageFault::Truncated {
                part,
                offset,
                end,
                file_len,
            } => write!(
                f,
                "truncated: {part} at offset {offset:#x} reaches to byte {end}, the file has {file_len}"
            ),
            ImageFault::Checksum {
                offset,
                stored,
                computed,
            } => write!(
                f,
                "checksum at offset {offset:#x} is {stored:#04x}, the segments give {computed:#04x}: the image is damaged"
            ),
            ImageFault::Hash { offset } => {
                write!(
                    f,
                    "appended SHA-256 at offset {offset:#x} does not match the image: the image is damaged"
                )
            }
        }
    }
}

impl core::error::Error for ImageFault {}

/// A part of an image that a file can end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The 24-byte header.
    Header,
    /// The header of a segment.
    SegmentHeader(u8),
    /// The data of a segment.
    SegmentData(u8),
    /// Padding and checksum byte.
    Checksum,
    /// The appended SHA-256.
    Hash,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Header => f.write_str("image header"),
            Part::SegmentHeader(index) => write!(f, "header of segment {index}"),
            Part::SegmentData(index) => write!(f, "data of segment {index}"),
            Part::Checksum => f.write_str("checksum"),
            Part::Hash => f.write_str("appended SHA-256"),
        }
    }
}
