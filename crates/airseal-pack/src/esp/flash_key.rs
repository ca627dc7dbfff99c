//! Flash encryption keys from files.

use std::path::Path;

use airseal_esp::Chip;
use airseal_esp::flash_encryption::FlashKey;
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
    let source = Source::open(path)?;
    let bytes = Zeroizing::new(source.head(0, KEY_FILE_MAX)?);
    if let Some(kind @ (FileKind::Pem | FileKind::EspImage | FileKind::Elf)) = recognise(&bytes) {
        return Err(Error::refused(
            source.name(),
            format!("is {kind}, not a flash encryption key"),
            "name the key as bare bytes",
        ));
    }
    FlashKey::new(chip, &bytes, crypt_config).map_err(|fault| {
        Error::refused(
            source.name(),
            fault.to_string(),
            "name the key as bare bytes, and the chip it was made for",
        )
    })
}

impl FlashCipher for FlashKey {
    fn decrypt(&self, address: u32, bytes: &mut [u8]) {
        // What can't be decrypted is beyond what the chip can read; it stays noise.
        let _ = FlashKey::decrypt(self, address, bytes);
    }
}

/// A key file of any chip is shorter; a longer one is told by its length.
const KEY_FILE_MAX: usize = 256;
