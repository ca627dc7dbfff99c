//! Flash encryption keys from files.

use std::path::Path;

use airseal_esp::flash_encryption::FlashKey;
use airseal_esp::{Chip, chip};
use airseal_format::FlashKeyCheck;
use airseal_format::component::FlashEncryption;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::dump::FlashCipher;
use crate::Error;
use crate::recognise::{FileKind, recognise};
use crate::source::Source;

/// Reads a key file: the bare bytes, as `espsecure generate-flash-encryption-key` writes them.
///
/// # Errors
/// `Io`; refused if the chip takes no key of this length, naming what the file is if that can be told.
pub fn read(path: &Path, chip: Chip, crypt_config: u8) -> Result<FlashKey, Error> {
    read_checked(path, chip, crypt_config).map(|(key, _)| key)
}

/// The same, with the scheme and check value by which a release names the key (`docs/FORMAT.md`, section 4.2).
///
/// # Errors
/// As [`read`].
pub fn read_checked(
    path: &Path,
    chip: Chip,
    crypt_config: u8,
) -> Result<(FlashKey, FlashEncryption), Error> {
    let source = Source::open(path)?;
    let bytes = Zeroizing::new(source.head(0, KEY_FILE_MAX)?);
    // The length decides: a key is random, and one in 256 begins like an image.
    let key =
        FlashKey::new(chip, &bytes, crypt_config).map_err(|fault| match recognise(&bytes) {
            Some(kind @ (FileKind::Pem | FileKind::EspImage | FileKind::Elf)) => Error::refused(
                source.name(),
                format!("is {kind}, not a flash encryption key"),
                "name the key as bare bytes",
            ),
            _ => Error::refused(
                source.name(),
                fault.to_string(),
                "name the key as bare bytes, and the chip it was made for",
            ),
        })?;
    Ok((key, encryption(chip, &bytes)))
}

/// Scheme and check value of a key file's bytes, which `chip` takes.
fn encryption(chip: Chip, key: &[u8]) -> FlashEncryption {
    let digest = Sha256::new_with_prefix(b"airseal1 fe")
        .chain_update(key)
        .finalize();
    let mut check = FlashKeyCheck([0; 16]);
    check.0.copy_from_slice(&digest[..16]);
    match (chip.flash_encryption(), key.len()) {
        (chip::FlashEncryption::Legacy, _) => FlashEncryption::Esp32Legacy(check),
        (_, 64) => FlashEncryption::Xts256(check),
        _ => FlashEncryption::Xts128(check),
    }
}

/// The name of a scheme in listings.
pub fn scheme_name(encryption: FlashEncryption) -> &'static str {
    match encryption {
        FlashEncryption::None => "none",
        FlashEncryption::Esp32Legacy(_) => "esp32-legacy",
        FlashEncryption::Xts128(_) => "xts-128",
        FlashEncryption::Xts256(_) => "xts-256",
    }
}

/// The check value of the key that data is encrypted under, if it is.
pub fn check_value(encryption: FlashEncryption) -> Option<FlashKeyCheck> {
    match encryption {
        FlashEncryption::None => None,
        FlashEncryption::Esp32Legacy(check)
        | FlashEncryption::Xts128(check)
        | FlashEncryption::Xts256(check) => Some(check),
    }
}

impl FlashCipher for FlashKey {
    fn decrypt(&self, address: u32, bytes: &mut [u8]) {
        // Beyond what the chip can read there is nothing; above all not what lies there unencrypted.
        if FlashKey::decrypt(self, address, bytes).is_err() {
            bytes.fill(0);
        }
    }
}

/// A key file of any chip is shorter; a longer one is told by its length.
const KEY_FILE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_what_the_chip_maps_nothing_is_read_as_plain() {
        let chip = Chip::from_name("esp32").expect("a chip");
        let key = FlashKey::new(chip, &[7; 32], 0xF).expect("a key");
        let mut bytes = [0xE9; 128];
        FlashCipher::decrypt(&key, 16 << 20, &mut bytes);
        assert_eq!(bytes, [0; 128]);
    }

    #[test]
    fn a_key_that_begins_like_an_image_is_a_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("flash.key");
        let chip = Chip::from_name("esp32c3").expect("a chip");
        let key: Vec<u8> = (0xE9..=0xFF).chain(0..9).collect();
        std::fs::write(&path, &key).expect("a key file");
        assert!(read(&path, chip, 0xF).is_ok());
        std::fs::write(&path, [key, vec![0; 100]].concat()).expect("a file");
        let error = read(&path, chip, 0xF).err().expect("no key");
        assert!(error.to_string().contains("an Espressif image"), "{error}");
    }
}
