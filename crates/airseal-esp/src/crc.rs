//! The checksum that the ROM and Espressif's formats use.

/// `esp_rom_crc32_le`: reflected CRC-32, going on from the result `start` over other bytes; 0 for none. Some formats start
/// at `u32::MAX` instead.
pub(crate) fn rom_crc32(start: u32, bytes: impl IntoIterator<Item = u8>) -> u32 {
    let register = bytes.into_iter().fold(!start, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    });
    !register
}
