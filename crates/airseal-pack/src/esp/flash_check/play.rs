//! The boot, part by part, up to the application.

use airseal_esp::image::Descriptor;
use airseal_esp::otadata::{
    BootSlot, ENTRY_LEN, OTADATA_LEN, OtaData, Rollback, SECTOR_LEN, SecureVersions,
};
use airseal_esp::partition::{MAX_TABLE_LEN, PartitionTable};
use airseal_esp::{Image, ImageError, ImageFault};

use super::{FlashCheck, RollbackKind, Step, Verdict};
use crate::Error;
use crate::esp::chip_state::FusedSecureBoot;
use crate::esp::dump::{FlashCipher, View, begins_table};
use crate::esp::otadata::{self, OtaInfo};
use crate::esp::partitions::{self, NO_MD5};
use crate::esp::signatures::FusedDigests;
use crate::source::Source;

pub(super) struct Play<'a> {
    pub(super) check: &'a FlashCheck<'a>,
    pub(super) source: &'a Source,
    /// What decrypts, if the chip does.
    pub(super) cipher: Option<&'a dyn FlashCipher>,
    /// The digests that count, if they were burned.
    pub(super) fused: Option<FusedDigests>,
    /// The bootloader that loads the applications.
    pub(super) bootloader: Option<Image>,
    pub(super) verdict: Verdict,
}

impl<'a> Play<'a> {
    pub(super) fn boot(&mut self) -> Result<(), Error> {
        if self.source.is_empty() {
            self.verdict.reason = Some("the dump is empty".to_owned());
            return Ok(());
        }
        if !self.efuses() || !self.bootloader()? {
            return Ok(());
        }
        let Some(table) = self.table()? else {
            return Ok(());
        };
        let mut order = self.order(&table)?.into_iter();
        for slot in order.by_ref() {
            if let Some(row) = table.row_of(slot)
                && let Some(app) = self.app(row, slot)?
            {
                self.verdict.boots = Some(slot.to_string());
                self.verdict.app = app;
                break;
            }
        }
        if self.verdict.boots.is_none() {
            self.fail("no application in the flash can be started".to_owned());
        }
        self.beside(&table, order)
    }

    /// What the eFuses alone decide; false if the boot ends with them.
    fn efuses(&mut self) -> bool {
        let Some(efuses) = self.check.efuses else {
            return true;
        };
        let counter = &efuses.counter;
        match (efuses.flash_encryption, self.check.cipher) {
            (true, None) => {
                self.fail(format!(
                    "flash encryption is on ({counter}): give the key with --key"
                ));
                return false;
            }
            (false, Some(_)) => self.verdict.warnings.push(format!(
                "flash encryption is off ({counter}): the chip reads the flash as it is, and the key is not used"
            )),
            _ => {}
        }
        let warning = match (&efuses.secure_boot, self.check.signatures) {
            (FusedSecureBoot::Off, Some(_)) => {
                "secure boot is off in the eFuses: the chip looks at no signature, and the keys given are not used"
            }
            (FusedSecureBoot::V1, None) => {
                "secure boot version 1 is on in the eFuses, and no signature is checked here: give --sb-key and --sb-v1-key"
            }
            (FusedSecureBoot::V2 { trusted, .. }, _) if trusted.is_empty() => {
                self.fail("secure boot is on, and the eFuses hold no digest of a key that is not revoked: nothing boots".to_owned());
                return false;
            }
            _ => "",
        };
        if !warning.is_empty() {
            self.verdict.warnings.push(warning.to_owned());
        }
        if efuses.secure_version > 0 && !matches!(self.check.rollback, RollbackKind::Anti(_)) {
            self.verdict.warnings.push(format!(
                "SECURE_VERSION is {} in the eFuses: for a bootloader with anti-rollback give --rollback anti",
                efuses.secure_version
            ));
        }
        true
    }

    fn bootloader(&mut self) -> Result<bool, Error> {
        let chip = self.check.chip;
        let offset = u64::from(chip.bootloader_offset());
        let room = u64::from(self.check.table_offset).saturating_sub(offset);
        let view = self.view(offset, room);
        let found = match examine(view)? {
            Err(fault) => Err(self.explain_bootloader(view, &fault)?),
            Ok((image, _)) if matches!(image.descriptor, Descriptor::App(_)) => {
                Err(super::explain::AN_APPLICATION.to_owned())
            }
            Ok((image, _)) if image.chip != chip => Err(format!(
                "chip_id at offset 12 says {}, not {chip}",
                image.chip
            )),
            Ok((image, damage)) => {
                if let Some(fault @ ImageFault::Hash { .. }) = damage {
                    self.verdict.warnings.push(format!(
                        "bootloader: {fault}; the chip does not look at this hash, a flashing tool may have rewritten the header"
                    ));
                }
                let revision = image.header.min_chip_rev_full;
                let fits = match self.check.efuses {
                    Some(efuses) => efuses.check_chip_revision(revision, None),
                    None => Ok(()),
                };
                match (damage, fits) {
                    (Some(fault @ ImageFault::Checksum { .. }), _) => Err(fault.to_string()),
                    (_, Err(why)) => Err(why),
                    _ => self
                        .signature(view, &image, true)?
                        .map(|signed| (format!("{} bytes{signed}", image.len), image)),
                }
            }
        };
        Ok(match found {
            Ok((found, image)) => {
                self.bootloader = Some(image);
                self.step("bootloader", offset, found)
            }
            Err(why) => self.stop("bootloader", offset, why),
        })
    }

    fn table(&mut self) -> Result<Option<PartitionTable>, Error> {
        let offset = u64::from(self.check.table_offset);
        let view = self.view(offset, MAX_TABLE_LEN as u64);
        let bytes = view.head(MAX_TABLE_LEN)?;
        let table = match PartitionTable::from_binary(&bytes) {
            Ok(table) => table,
            Err(fault) => {
                let why = if bytes.starts_with(&[0xAA, 0x50]) {
                    fault.to_string()
                } else {
                    let why = self.explain(view, "a partition table", &begins_table)?;
                    why.unwrap_or_else(|| fault.to_string())
                };
                self.stop("partition table", offset, why);
                return Ok(None);
            }
        };
        if !table.has_md5() {
            self.verdict.warnings.push(NO_MD5.to_owned());
        }
        self.verdict.warnings.extend(partitions::warnings(&table));
        if let Err(fault) = table.check_flash_size(self.source.len()) {
            self.stop(
                "partition table",
                offset,
                format!("{fault}: the chip refuses the table, or the dump is not whole"),
            );
            return Ok(None);
        }
        self.warn_of_header_size(&table);
        let found = match table.as_slice().len() {
            1 => "1 partition".to_owned(),
            count => format!("{count} partitions"),
        };
        self.step("partition table", offset, found);
        Ok(Some(table))
    }

    /// The bootloader takes the size of the flash from its own header, which flashing tools set as a rule.
    fn warn_of_header_size(&mut self, table: &PartitionTable) {
        let bootloader = self.bootloader.as_ref();
        let size = bootloader.and_then(|image| image.header.flash_size());
        if let Some(size) = size
            && let Err(fault) = table.check_flash_size(size.into())
        {
            self.verdict.warnings.push(format!(
                "the bootloader's header (spi_size at offset 3) says that the flash has {size:#x} bytes, and {fault}: if it was flashed as it is, it refuses the table"
            ));
        }
    }

    fn order(&mut self, table: &PartitionTable) -> Result<Vec<BootSlot>, Error> {
        let layout = table.layout();
        let Some(row) = table.as_slice().iter().find(|row| row.is_otadata()) else {
            self.verdict.warnings.push(
                "there is no otadata partition: the factory application comes first, and no update can be chosen"
                    .to_owned(),
            );
            return Ok(layout.tried(None).collect());
        };
        let offset = u64::from(row.offset);
        let bytes = self.view(offset, OTADATA_LEN as u64).head(OTADATA_LEN)?;
        let data = OtaData::from_partition(&bytes).unwrap_or(OtaData::ERASED);
        let versions = self.secure_versions(table)?;
        let rollback = match self.check.rollback {
            RollbackKind::Off => Rollback::Off,
            RollbackKind::On => Rollback::On,
            RollbackKind::Anti(efuse) => Rollback::Anti(SecureVersions {
                efuse,
                slots: &versions,
            }),
        };
        let selection = data.selection(layout, rollback);
        let info = otadata::describe(&data, Some(layout), rollback);
        let found = match (selection.active, selection.start) {
            (Some(active), Some(slot)) => format!("record {active} selects {slot}"),
            (_, Some(slot)) => format!("no record counts: {slot} comes first"),
            _ => "no record counts: the factory application comes first".to_owned(),
        };
        match self.explain_otadata(offset)? {
            Some(why) => {
                self.stop("otadata", offset, format!("{why}; {found}"));
            }
            None => {
                let damaged = self.damaged_record(offset, &info)?;
                if let Some(number) = damaged {
                    self.verdict.warnings.push(format!(
                        "otadata at {offset:#x}: record {number} is damaged, and does not count"
                    ));
                }
                self.verdict.steps.push(Step {
                    part: "otadata".to_owned(),
                    offset,
                    ok: damaged.is_none(),
                    found,
                });
                self.verdict.otadata = Some(info);
            }
        }
        Ok(layout.tried(selection.start).collect())
    }

    /// A record that is neither sound nor blank.
    fn damaged_record(&self, offset: u64, info: &OtaInfo) -> Result<Option<usize>, Error> {
        for (number, entry) in info.entries.iter().enumerate() {
            let sector = offset + number as u64 * u64::from(SECTOR_LEN);
            let raw = self.view(sector, ENTRY_LEN as u64).raw().head(ENTRY_LEN)?;
            let is_blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0xFF);
            let record = hex::decode(&entry.raw).unwrap_or_default();
            let is_sound = entry.seq.is_some() && entry.crc_ok;
            if !is_sound && !is_blank(&record) && !is_blank(&raw) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The secure version of the application in each slot, for anti-rollback.
    fn secure_versions(&self, table: &PartitionTable) -> Result<Vec<Option<u32>>, Error> {
        if !matches!(self.check.rollback, RollbackKind::Anti(_)) {
            return Ok(Vec::new());
        }
        let mut versions = Vec::new();
        for slot in 0..table.layout().slots {
            let image = match table.row_of(BootSlot::Ota(slot)) {
                Some(row) => examine(self.view(row.offset.into(), row.size.into()))?.ok(),
                None => None,
            };
            versions.push(image.and_then(|(image, _)| image.app().map(|app| app.secure_version)));
        }
        Ok(versions)
    }

    pub(super) fn view(&self, offset: u64, len: u64) -> View<'a> {
        View::new(self.source, self.cipher, offset, len)
    }

    pub(super) fn step(&mut self, part: &str, offset: u64, found: String) -> bool {
        self.verdict.steps.push(Step {
            part: part.to_owned(),
            offset,
            ok: true,
            found,
        });
        true
    }

    pub(super) fn stop(&mut self, part: &str, offset: u64, why: String) -> bool {
        self.fail(format!("{part} at {offset:#x}: {why}"));
        self.verdict.steps.push(Step {
            part: part.to_owned(),
            offset,
            ok: false,
            found: why,
        });
        false
    }

    /// The first reason is the one that counts.
    pub(super) fn fail(&mut self, reason: String) {
        self.verdict.reason.get_or_insert(reason);
    }
}

pub(super) fn examine(
    mut view: View<'_>,
) -> Result<Result<(Image, Option<ImageFault>), ImageFault>, Error> {
    match Image::examine(&mut view) {
        Ok(found) => Ok(Ok(found)),
        Err(ImageError::Fault(fault)) => Ok(Err(fault)),
        Err(ImageError::Read(error)) => Err(error),
    }
}
