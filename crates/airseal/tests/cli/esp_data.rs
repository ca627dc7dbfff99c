//! What several tests of Espressif's formats start from.

use crate::harness::Room;

/// A file of `vectors/esp`.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../vectors/esp/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// 4 MiB of flash of an ESP32-C3: bootloader, table, otadata, an application in both slots.
pub(crate) fn flash() -> Vec<u8> {
    let mut flash = vec![0xFF; 4 << 20];
    let mut put = |offset: usize, bytes: &[u8]| {
        flash[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &vector("images/esp32c3-bootloader.bin"));
    put(0x8000, &vector("partitions/two_ota_factory.bin"));
    put(0x11_0000, &vector("images/app.bin"));
    put(0x21_0000, &vector("images/app.bin"));
    flash
}

/// The same flash as [`flash`], encrypted part by part as a factory does.
pub(crate) fn encrypted_flash(room: &Room) -> Vec<u8> {
    let mut dump = flash();
    room.write("key", &[0x5A; 32]);
    for (offset, len) in [
        (0, 0x8000),
        (0x8000, 0x1000),
        (0xD000, 0x2000),
        (0x11_0000, 0x2_0000),
        (0x21_0000, 0x2_0000),
    ] {
        room.write("part", &dump[offset..offset + len]);
        room.ok(&format!(
            "esp flash-encrypt part part.enc --chip esp32c3 --key key --address {offset} --force"
        ));
        dump[offset..offset + len].copy_from_slice(&room.read("part.enc"));
    }
    dump
}

/// [`flash`] with a signed bootloader and a signed application in slot 0.
pub(crate) fn signed_flash() -> Vec<u8> {
    let mut dump = flash();
    for (offset, name) in [(0, "v2-rsa0-bootloader"), (0x11_0000, "v2-rsa0-app")] {
        let bytes = vector(&format!("secureboot/{name}.signed"));
        dump[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }
    dump
}

/// Makes checksum and hash of a changed image anew.
pub(crate) fn repair(image: &mut [u8]) {
    let mut at = 24;
    let mut sum = 0xEF;
    for _ in 0..image[1] {
        let len = u32::from_le_bytes(image[at + 4..at + 8].try_into().unwrap()) as usize;
        sum = image[at + 8..at + 8 + len]
            .iter()
            .fold(sum, |sum, byte| sum ^ byte);
        at += 8 + len;
    }
    let end = (at + 16) & !15;
    image[end - 1] = sum;
    let hash = <sha2::Sha256 as sha2::Digest>::digest(&image[..end]);
    image[end..end + 32].copy_from_slice(&hash);
}
