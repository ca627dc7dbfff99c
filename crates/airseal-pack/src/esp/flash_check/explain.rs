//! What lies in flash where something else was looked for.

use airseal_esp::ImageFault;
use airseal_esp::image::Descriptor;
use airseal_esp::otadata::SECTOR_LEN;

use super::play::{Play, examine};
use crate::Error;
use crate::esp::dump::{View, begins_image, begins_otadata};
use crate::recognise::{FileKind, HEAD_LEN, recognise};

/// What is said of one application in place of a dump.
pub(super) const AN_APPLICATION: &str = "the file is an application, not the dump of a flash from address 0; airseal esp info looks at it";
/// Where the chips look for a bootloader.
const BOOTLOADER_PLACES: [u64; 3] = [0, 0x1000, 0x2000];
const SECTOR: usize = 0x1000;
/// Addresses that are tried as the one that something was encrypted for.
const MAX_FLASH: u64 = 16 << 20;
/// Bytes from which the start of an image or a table is told.
const PROBE_LEN: usize = 48;

impl Play<'_> {
    /// Why there is no bootloader: another file than a dump, or the dump of another chip.
    pub(super) fn explain_bootloader(
        &self,
        view: View<'_>,
        fault: &ImageFault,
    ) -> Result<String, Error> {
        for offset in BOOTLOADER_PLACES {
            let raw = View::new(self.source, None, offset, u64::MAX);
            let Ok((image, _)) = examine(raw)? else {
                continue;
            };
            if offset == 0 && matches!(image.descriptor, Descriptor::App(_)) {
                return Ok(AN_APPLICATION.to_owned());
            }
            let other = image.chip;
            if other != self.check.chip && u64::from(other.bootloader_offset()) == offset {
                return Ok(format!(
                    "there is none for {}, and one for {other} at {offset:#x}: is it a dump of --chip {other}?",
                    self.check.chip
                ));
            }
        }
        self.explain_image(view, fault)
    }

    /// Why the chip reads noise where a record of otadata should be; `None` for records and erased sectors.
    pub(super) fn explain_otadata(&self, offset: u64) -> Result<Option<String>, Error> {
        for sector in 0..2 {
            let view = self.view(offset + sector * u64::from(SECTOR_LEN), SECTOR_LEN.into());
            let is_noise = recognise(&view.head(SECTOR)?) == Some(FileKind::Encrypted);
            let raw = view.raw().head(SECTOR)?;
            if !is_noise || raw.iter().all(|byte| *byte == 0xFF) {
                continue;
            }
            if self.cipher.is_some() && begins_otadata(&raw) {
                return Ok(Some(format!(
                    "is not encrypted, and the chip decrypts what it reads: encrypt it for address {offset:#x}"
                )));
            }
            return self.explain(view, "otadata", &begins_otadata);
        }
        Ok(None)
    }

    /// Why there is no image where one should be.
    pub(super) fn explain_image(
        &self,
        view: View<'_>,
        fault: &ImageFault,
    ) -> Result<String, Error> {
        let chip = self.check.chip;
        let begins = |head: &[u8]| begins_image(head, chip);
        if begins(&view.head(PROBE_LEN)?) {
            return Ok(fault.to_string());
        }
        let what = self.explain(view, "an image", &begins)?;
        Ok(what.unwrap_or_else(|| fault.to_string()))
    }

    /// What there is in place of what was looked for, as far as it can be told.
    pub(super) fn explain(
        &self,
        view: View<'_>,
        what: &str,
        begins: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<String>, Error> {
        let raw = view.raw().head(HEAD_LEN)?;
        if raw.is_empty() {
            return Ok(Some("the dump ends before it".to_owned()));
        }
        if raw.iter().all(|byte| *byte == 0xFF) {
            return Ok(Some("is erased".to_owned()));
        }
        if self.cipher.is_none() {
            return self.explain_unencrypted(view, &raw, begins);
        }
        if begins(&raw) {
            return Ok(Some(format!(
                "is {what} that is not encrypted, and the chip decrypts what it reads: encrypt it for address {:#x}",
                view.offset()
            )));
        }
        for address in (0..MAX_FLASH).step_by(SECTOR) {
            if begins(&view.encrypted_for(address).head(PROBE_LEN)?) {
                return Ok(Some(format!(
                    "was encrypted for address {address:#x} and lies at {:#x}: encrypt it again for where it lies, or write it there",
                    view.offset()
                )));
            }
        }
        Ok(Some(format!(
            "decrypts to nothing known at any sector's address: it was encrypted under another key, or is no {}",
            what.trim_start_matches("an ").trim_start_matches("a ")
        )))
    }

    /// On a chip that reads the flash as it is.
    fn explain_unencrypted(
        &self,
        view: View<'_>,
        raw: &[u8],
        begins: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<String>, Error> {
        if let (Some(efuses), Some(cipher)) = (self.check.efuses, self.check.cipher)
            && begins(&view.under(cipher).head(PROBE_LEN)?)
        {
            return Ok(Some(format!(
                "is encrypted, and the chip does not decrypt: flash encryption is off ({})",
                efuses.counter
            )));
        }
        Ok(match recognise(raw) {
            Some(FileKind::Encrypted) if self.check.efuses.is_some() => Some(
                "looks encrypted, and flash encryption is off in the eFuses: write it plain"
                    .to_owned(),
            ),
            Some(FileKind::Encrypted) => {
                Some("looks encrypted: give the flash encryption key with --key".to_owned())
            }
            Some(kind @ (FileKind::EncryptedImg | FileKind::McuBoot | FileKind::Bundle)) => {
                Some(format!("is {kind}, which the bootloader does not read"))
            }
            _ => None,
        })
    }
}
