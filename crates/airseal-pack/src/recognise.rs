//! Telling what a file is, so that input of the wrong kind is named by what it is, with the command that takes it.

use std::fmt;

use airseal_esp::image::IMAGE_MAGIC;

/// How many bytes from the start of a file are enough to recognise it.
pub const HEAD_LEN: usize = 4096;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A sealed release of ours.
    Bundle,
    /// A bare manifest, envelope, keyset or offer of ours.
    Artifact(&'static str),
    /// An Espressif application or bootloader image.
    EspImage,
    /// An Espressif partition table in binary form.
    PartitionTable,
    /// Espressif's pre-encrypted image container.
    EncryptedImg,
    /// An MCUboot image.
    McuBoot,
    /// An ELF program.
    Elf,
    /// Intel HEX text.
    IntelHex,
    /// Motorola S-records.
    SRecord,
    /// A UF2 file.
    Uf2,
    /// gzip-compressed data.
    Gzip,
    /// A zip archive.
    Zip,
    /// An HTML page, as a server sends it in place of a file.
    Html,
    /// PEM text: a key or a certificate.
    Pem,
    /// Nothing but 0xFF.
    ErasedFlash,
    /// Nothing but 0x00.
    Zeros,
    /// Bytes without any structure: flash-encrypted, or encrypted some other way.
    Encrypted,
}

/// What the command that reads a file is about to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Seal it as firmware.
    Seal,
    /// Read it as a sealed release.
    ReadBundle,
    /// Read it as a keyset file.
    ReadKeyset,
    /// Read it as a device list.
    ReadDeviceList,
}

impl FileKind {
    /// What to do with such a file when it was given for `purpose`; empty if nothing can be done.
    pub fn remedy(self, purpose: Purpose) -> &'static str {
        match (self, purpose) {
            (FileKind::Bundle, Purpose::Seal) => {
                "it is sealed already: airseal inspect, verify or open takes it"
            }
            (FileKind::Bundle, _) => "airseal inspect, verify or open takes it",
            (FileKind::Artifact(KEYSET), Purpose::Seal) => {
                "name the firmware; a keyset goes to --keyset"
            }
            (FileKind::Artifact(KEYSET), _) => {
                "airseal keyset show takes it; other commands take it as --keyset"
            }
            (FileKind::Artifact(_), Purpose::Seal) => {
                "seal takes firmware, not a part of a release"
            }
            (FileKind::Artifact(_), _) => "airseal inspect takes it",
            (FileKind::EspImage, _) => "airseal seal takes it, airseal esp info shows it",
            (FileKind::PartitionTable, _) => {
                "airseal seal --fits takes it, airseal esp info shows it"
            }
            (FileKind::Pem, _) => {
                "airseal key show takes Airseal's keys, airseal esp key-digest those of secure boot"
            }
            (FileKind::Html, _) => "the download failed: fetch the file again",
            (_, Purpose::Seal) => self.sealing_remedy(),
            (_, purpose) => purpose.wanted(),
        }
    }

    /// How firmware of another form is sealed.
    fn sealing_remedy(self) -> &'static str {
        match self {
            FileKind::EncryptedImg => {
                "seal the image it was made from; airseal esp encrypted-img decrypt opens it"
            }
            FileKind::McuBoot => {
                "--chip none seals it as it is, without checks; airseal bridge mcuboot verify looks at it"
            }
            FileKind::Elf => {
                "make an image of it first (esptool elf2image, espflash save-image, objcopy -O binary)"
            }
            FileKind::IntelHex | FileKind::SRecord => {
                "make a binary of it first (objcopy -O binary)"
            }
            FileKind::Uf2 => "make a binary of it first",
            FileKind::Gzip => "decompress it first (gunzip)",
            FileKind::Zip => "unpack it first and seal the image inside",
            FileKind::ErasedFlash => "the firmware is missing: this is what empty flash reads as",
            FileKind::Zeros => "the firmware is missing",
            FileKind::Encrypted => {
                "seal the image as it was before flash encryption (airseal esp flash-decrypt gives it back); --chip none seals any bytes, without checks"
            }
            _ => "",
        }
    }
}

impl Purpose {
    /// The kind of file that is wanted.
    fn wanted(self) -> &'static str {
        match self {
            Purpose::Seal => "name the firmware",
            Purpose::ReadBundle => "name a sealed file, as airseal seal writes it",
            Purpose::ReadKeyset => "name a keyset file, as airseal keyset new writes it",
            Purpose::ReadDeviceList => "name a device list: JSON lines or CSV",
        }
    }
}

/// The words for a keyset file.
const KEYSET: &str = "an Airseal keyset";

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Bundle => "a sealed Airseal bundle",
            FileKind::Artifact(what) => what,
            FileKind::EspImage => "an Espressif image",
            FileKind::PartitionTable => "an Espressif partition table",
            FileKind::EncryptedImg => "an Espressif pre-encrypted image (esp_encrypted_img)",
            FileKind::McuBoot => "an MCUboot image",
            FileKind::Elf => "an ELF file",
            FileKind::IntelHex => "an Intel HEX file",
            FileKind::SRecord => "a Motorola S-record file",
            FileKind::Uf2 => "a UF2 file",
            FileKind::Gzip => "gzip-compressed data",
            FileKind::Zip => "a zip archive",
            FileKind::Html => "an HTML page",
            FileKind::Pem => "a PEM key or certificate",
            FileKind::ErasedFlash => "erased flash (all 0xFF)",
            FileKind::Zeros => "all zeros",
            FileKind::Encrypted => "data without structure, such as a flash-encrypted image",
        })
    }
}

/// Recognises a file by its first bytes ([`HEAD_LEN`] are enough); `None` if it is nothing known.
pub fn recognise(head: &[u8]) -> Option<FileKind> {
    const MAGICS: &[(&[u8], FileKind)] = &[
        (b"ASB1", FileKind::Bundle),
        (b"ASM1", FileKind::Artifact("an Airseal manifest")),
        (b"ASE1", FileKind::Artifact("an Airseal envelope")),
        (b"ASK1", FileKind::Artifact(KEYSET)),
        (b"ASO1", FileKind::Artifact("an Airseal offer")),
        (&[0xCF, 0xB6, 0x88, 0x07], FileKind::EncryptedImg),
        (&[0x3D, 0xB8, 0xF3, 0x96], FileKind::McuBoot),
        (b"\x7FELF", FileKind::Elf),
        (b"UF2\n", FileKind::Uf2),
        (&[0x1F, 0x8B], FileKind::Gzip),
        (b"PK\x03\x04", FileKind::Zip),
        (b"PK\x05\x06", FileKind::Zip),
        (&[0xAA, 0x50], FileKind::PartitionTable),
    ];
    if let Some((_, kind)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(*kind);
    }
    if head.is_empty() {
        return None;
    }
    if head.iter().all(|byte| *byte == 0xFF) {
        return Some(FileKind::ErasedFlash);
    }
    if head.iter().all(|byte| *byte == 0) {
        return Some(FileKind::Zeros);
    }
    if let Some(kind) = recognise_text(head) {
        return Some(kind);
    }
    if looks_random(head) {
        return Some(FileKind::Encrypted);
    }
    (head.first() == Some(&IMAGE_MAGIC)).then_some(FileKind::EspImage)
}

fn recognise_text(head: &[u8]) -> Option<FileKind> {
    let text = head
        .strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(head)
        .trim_ascii_start();
    let lower: Vec<u8> = text.iter().take(512).map(u8::to_ascii_lowercase).collect();
    if lower.starts_with(b"<!doctype html")
        || lower.starts_with(b"<html")
        || lower.starts_with(b"<head")
    {
        return Some(FileKind::Html);
    }
    if text
        .windows(11)
        .take(2048)
        .any(|window| window == b"-----BEGIN ")
        && text.is_ascii()
    {
        return Some(FileKind::Pem);
    }
    let first_line = text
        .split(|byte| *byte == b'\n' || *byte == b'\r')
        .next()
        .unwrap_or_default();
    let is_hex = |digits: &[u8]| digits.len() >= 8 && digits.iter().all(u8::is_ascii_hexdigit);
    match first_line {
        [b':', digits @ ..] if is_hex(digits) => Some(FileKind::IntelHex),
        [b'S', b'0'..=b'9', digits @ ..] if is_hex(digits) => Some(FileKind::SRecord),
        _ => None,
    }
}

/// True if the byte values of at least 1 KiB are as even as random ones: every firmware has far more zeros or 0xFF.
fn looks_random(head: &[u8]) -> bool {
    if head.len() < 1024 {
        return false;
    }
    let mut counts = [0u32; 256];
    for byte in head {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let expected = head.len() as f64 / 256.0;
    let chi_square: f64 = counts
        .iter()
        .map(|count| (f64::from(*count) - expected).powi(2) / expected)
        .sum();
    // 255 degrees of freedom: mean 255, deviation 22.6; ten deviations leave no room for chance.
    chi_square < 480.0
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may unwrap, and documents itself by its name"
    )]
    use super::*;

    fn shipped(path: &str) -> Vec<u8> {
        let mut bytes =
            std::fs::read(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        bytes.truncate(HEAD_LEN);
        bytes
    }

    #[test]
    fn input_of_the_wrong_kind_is_named() {
        let cases: &[(&[u8], FileKind)] = &[
            (b"ASB1\x01\x00", FileKind::Bundle),
            (b"\xCF\xB6\x88\x07rest", FileKind::EncryptedImg),
            (b"\x3D\xB8\xF3\x96rest", FileKind::McuBoot),
            (b"\x7FELF\x01", FileKind::Elf),
            (
                b":10010000214601360121470136007EFE09D2190140\r\n",
                FileKind::IntelHex,
            ),
            (b"S00F000068656C6C6F202020202000003C\n", FileKind::SRecord),
            (b"\x1F\x8B\x08", FileKind::Gzip),
            (b"PK\x03\x04", FileKind::Zip),
            (b"\n<!DOCTYPE html><html>", FileKind::Html),
            (b"<HTML><body>", FileKind::Html),
            (
                b"airseal-kind: device\n-----BEGIN PUBLIC KEY-----\n",
                FileKind::Pem,
            ),
            (&[0xFF; 64], FileKind::ErasedFlash),
            (&[0; 64], FileKind::Zeros),
        ];
        for (head, kind) in cases {
            assert_eq!(recognise(head), Some(*kind));
            for purpose in [
                Purpose::Seal,
                Purpose::ReadBundle,
                Purpose::ReadKeyset,
                Purpose::ReadDeviceList,
            ] {
                let remedy = kind.remedy(purpose);
                assert!(!remedy.is_empty());
            }
        }
        assert_eq!(recognise(b""), None);
        assert_eq!(recognise(b"hello"), None);
    }

    #[test]
    fn firmware_is_not_taken_for_ciphertext() {
        for name in ["1.0.0", "1.0.1", "1.1.0"] {
            assert_eq!(
                recognise(&shipped(&format!(
                    "firmware/images/esp32c3-wifi-{name}.bin"
                ))),
                Some(FileKind::EspImage)
            );
        }
        let bootloader = shipped("vectors/esp/images/esp32c3-bootloader.bin");
        assert!(!looks_random(&bootloader));
    }

    #[test]
    fn flash_encrypted_data_is_recognised() {
        let mut bytes = vec![0; HEAD_LEN];
        getrandom::fill(&mut bytes).unwrap();
        bytes[0] = 0x11;
        assert_eq!(recognise(&bytes), Some(FileKind::Encrypted));
    }
}
