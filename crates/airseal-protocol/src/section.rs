//! The layout of a manifest answer.
//!
//! `GET manifest/DIGEST` answers with sections as they stand in a bundle file: each 16-byte header
//! `{kind u16, flags u16 = 0, reserved u32 = 0, len u64}`, little-endian, followed by `len` bytes. First the keysets
//! above the version the device named, ascending, then exactly one manifest; signature blocks are part of their
//! section. A device that reads bundles reads this answer with the same code.

/// Bytes of a section header.
pub const HEADER_LEN: usize = 16;

/// Section kind of a keyset.
pub const KIND_KEYSET: u16 = 1;

/// Section kind of a manifest.
pub const KIND_MANIFEST: u16 = 2;

/// The header of a section of `len` bytes.
#[must_use]
pub const fn header(kind: u16, len: u64) -> [u8; HEADER_LEN] {
    let [k0, k1] = kind.to_le_bytes();
    let [l0, l1, l2, l3, l4, l5, l6, l7] = len.to_le_bytes();
    [k0, k1, 0, 0, 0, 0, 0, 0, l0, l1, l2, l3, l4, l5, l6, l7]
}
