//! CRC-32 (ISO-HDLC) of what this crate keeps in flash: it finds torn writes, not attackers.

use crc::{CRC_32_ISO_HDLC, Crc, Digest, NoTable};

/// A running checksum. Without a table, which would cost 1 KiB of code.
pub(crate) struct Crc32(Digest<'static, u32, NoTable>);

impl Crc32 {
    pub(crate) fn new() -> Self {
        Self(ALGORITHM.digest())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// The checksum over `parts` in order.
pub(crate) fn crc32(parts: &[&[u8]]) -> u32 {
    let mut sum = Crc32::new();
    for part in parts {
        sum.update(part);
    }
    sum.finish()
}

static ALGORITHM: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
