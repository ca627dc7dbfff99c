//! Would a chip boot from this flash, and what: the boot is played from a dump, part by part, as ROM and bootloader do it.

use std::fmt;

use airseal_esp::image::Descriptor;
use airseal_esp::otadata::{BootSlot, OTADATA_LEN, OtaData, Rollback, SecureVersions};
use airseal_esp::partition::{MAX_TABLE_LEN, Partition, PartitionTable};
use airseal_esp::{Chip, Image, ImageError, ImageFault, memory};
use serde::Serialize;

use super::chip_state::{ChipState, FusedSecureBoot};
use super::dump::{FlashCipher, View, begins_table};
use super::otadata::{self, OtaInfo};
use super::partitions::{self, NO_MD5};
use super::signatures::FusedDigests;
use super::signatures_v1::BootKeysV1;
use crate::Error;
use crate::source::Source;

mod explain;

/// How the boot is played.
pub struct FlashCheck<'a> {
    /// The chip.
    pub chip: Chip,
    /// The chip's eFuses; `None` takes the chip as `cipher` and `signatures` say.
    pub efuses: Option<&'a ChipState>,
    /// What decrypts the flash; `None` for a chip without flash encryption.
    pub cipher: Option<&'a dyn FlashCipher>,
    /// Where the partition table lies.
    pub table_offset: u32,
    /// How the bootloader was built.
    pub rollback: RollbackKind,
    /// What tells whether an image is signed as secure boot wants it; `None` without secure boot, and where the eFuses
    /// tell.
    pub signatures: Option<&'a dyn SignatureCheck>,
}

/// How the bootloader was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackKind {
    /// Without rollback.
    Off,
    /// With rollback.
    On,
    /// With anti-rollback, and this secure version in the eFuses.
    Anti(u32),
}

/// Secure boot.
pub trait SignatureCheck {
    /// Checks the signature of an image of `image_len` bytes at the start of `view`.
    ///
    /// # Errors
    /// `Io` if the dump can't be read. The inner result says why the signature does not count.
    fn check(&self, view: View<'_>, image_len: u64) -> Result<Result<String, String>, Error>;

    /// Checks the bootloader at the start of `view`; `before` is what lies before it, from address 0.
    ///
    /// # Errors
    /// As [`SignatureCheck::check`].
    fn check_bootloader(
        &self,
        view: View<'_>,
        image: &Image,
        before: View<'_>,
    ) -> Result<Result<String, String>, Error> {
        let _ = before;
        self.check(view, image.len)
    }
}

/// What would happen.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// The dump.
    pub file: String,
    /// The chip.
    pub chip: &'static str,
    /// The application that starts.
    pub boots: Option<String>,
    /// Its project and version.
    pub app: Option<String>,
    /// The first reason why nothing starts, or why something else starts than was selected.
    pub reason: Option<String>,
    /// What was looked at, in the order of the boot.
    pub steps: Vec<Step>,
    /// The records of the OTA data partition.
    pub otadata: Option<OtaInfo>,
    /// What the eFuses say, if they were given.
    pub efuses: Option<ChipState>,
    /// What works, but is seldom meant.
    pub warnings: Vec<String>,
}

/// One part of the boot.
#[derive(Debug, Serialize)]
pub struct Step {
    /// The part: `bootloader`, `partition table`, `otadata` or an application.
    pub part: String,
    /// Where it lies in flash.
    pub offset: u64,
    /// True if the boot goes on with it.
    pub ok: bool,
    /// What was found.
    pub found: String,
}

impl FlashCheck<'_> {
    /// Plays the boot.
    ///
    /// # Errors
    /// `Io` if the dump can't be read. A flash that does not boot is a verdict.
    pub fn run(&self, source: &Source) -> Result<Verdict, Error> {
        let mut play = Play {
            check: self,
            source,
            cipher: self
                .cipher
                .filter(|_| self.efuses.is_none_or(|efuses| efuses.flash_encryption)),
            fused: self.fused_digests(),
            bootloader: None,
            verdict: Verdict {
                file: source.name().to_owned(),
                chip: self.chip.name(),
                boots: None,
                app: None,
                reason: None,
                steps: Vec::new(),
                otadata: None,
                efuses: self.efuses.cloned(),
                warnings: Vec::new(),
            },
        };
        play.boot()?;
        Ok(play.verdict)
    }

    /// The digests in the eFuses, where secure boot version 2 is on.
    fn fused_digests(&self) -> Option<FusedDigests> {
        match &self.efuses?.secure_boot {
            FusedSecureBoot::V2 {
                trusted,
                revoked,
                sha384,
            } => Some(FusedDigests {
                trusted: trusted.clone(),
                revoked: revoked.clone(),
                sha384: *sha384,
            }),
            _ => None,
        }
    }
}

struct Play<'a> {
    check: &'a FlashCheck<'a>,
    source: &'a Source,
    /// What decrypts, if the chip does.
    cipher: Option<&'a dyn FlashCipher>,
    /// The digests that count, if they were burned.
    fused: Option<FusedDigests>,
    /// The bootloader that loads the applications.
    bootloader: Option<Image>,
    verdict: Verdict,
}

impl<'a> Play<'a> {
    fn boot(&mut self) -> Result<(), Error> {
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
        let order = self.order(&table)?;
        for slot in order {
            if let Some(row) = table.row_of(slot)
                && let Some(app) = self.app(row, slot)?
            {
                self.verdict.boots = Some(slot.to_string());
                self.verdict.app = app;
                return Ok(());
            }
        }
        self.fail("no application in the flash can be started".to_owned());
        Ok(())
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
            Err(fault) => Err(self.explain_image(view, &fault)?),
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
        let found = format!("{} partitions", table.as_slice().len());
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
        self.step("otadata", offset, found);
        self.verdict.otadata = Some(info);
        Ok(layout.tried(selection.start).collect())
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

    /// The project and version of the application, if it can be started.
    fn app(&mut self, row: &Partition, slot: BootSlot) -> Result<Option<Option<String>>, Error> {
        let chip = self.check.chip;
        let offset = u64::from(row.offset);
        let view = self.view(offset, u64::from(row.size));
        let part = format!("{slot} ({})", row.label);
        let image = match examine(view)? {
            Err(fault) => Err(self.explain_image(view, &fault)?),
            Ok((_, Some(fault))) => Err(fault.to_string()),
            Ok((image, None)) if image.chip != chip => Err(format!(
                "chip_id at offset 12 says {}, not {chip}",
                image.chip
            )),
            Ok((image, None)) => self.startable(&image, offset).map(|()| image),
        };
        let image = match image {
            Ok(image) => image,
            Err(why) => {
                self.stop(&part, offset, why);
                return Ok(None);
            }
        };
        let name = image
            .app()
            .map(|app| format!("{} {}", app.project_name, app.version));
        if name.is_none() {
            self.verdict
                .warnings
                .push(format!("{slot}: the image has no application descriptor"));
        }
        if image.hash.is_none() {
            self.verdict.warnings.push(format!(
                "{slot}: the image has no hash, damage may go unnoticed"
            ));
        }
        match self.signature(view, &image, false)? {
            Err(why) => {
                self.stop(&part, offset, why);
                Ok(None)
            }
            Ok(signed) => {
                let shown = name.as_deref().unwrap_or("an image without a descriptor");
                self.step(
                    &part,
                    offset,
                    format!("{shown}, {} bytes{signed}", image.len),
                );
                Ok(Some(name))
            }
        }
    }

    /// What the bootloader asks of an application beside that it is whole and signed.
    fn startable(&self, image: &Image, offset: u64) -> Result<(), String> {
        if matches!(image.descriptor, Descriptor::Bootloader(_)) {
            return Err("is a second-stage bootloader, not an application".to_owned());
        }
        if let Some(efuses) = self.check.efuses {
            let header = &image.header;
            let max = Some(header.max_chip_rev_full);
            efuses.check_chip_revision(header.min_chip_rev_full, max)?;
        }
        if let Some(app) = image.app() {
            if app.mmu_page_log2 != 0 && !self.check.chip.maps_page(app.mmu_page_log2) {
                return Err(format!(
                    "mmu_page_size in the descriptor is 2^{}, which {} can't map",
                    app.mmu_page_log2, self.check.chip
                ));
            }
            if let Some(efuses) = self.check.efuses {
                efuses.check_block_revision(app.min_efuse_block_rev, app.max_efuse_block_rev)?;
            }
        }
        if let RollbackKind::Anti(efuse) = self.check.rollback {
            let version = image.app().map(|app| app.secure_version);
            let version = version.ok_or(
                "has no application descriptor, and anti-rollback looks for the secure version there",
            )?;
            if version < efuse {
                return Err(format!(
                    "its secure version is {version}, the eFuses ask for {efuse}"
                ));
            }
        }
        memory::check_load(image, offset, self.bootloader.as_ref())
            .map_err(|fault| fault.to_string())
    }

    fn signature(
        &self,
        view: View<'_>,
        image: &Image,
        bootloader: bool,
    ) -> Result<Result<String, String>, Error> {
        let fused = self
            .fused
            .as_ref()
            .map(|fused| fused as &dyn SignatureCheck);
        let off = self
            .check
            .efuses
            .is_some_and(|efuses| efuses.secure_boot == FusedSecureBoot::Off);
        let v1 = BootKeysV1::default();
        let given = self.check.signatures.filter(|_| !off);
        let unchecked = self
            .check
            .efuses
            .filter(|efuses| efuses.secure_boot == FusedSecureBoot::V1)
            .map(|_| &v1 as &dyn SignatureCheck);
        let Some(signatures) = fused.or(given).or(unchecked) else {
            return Ok(Ok(String::new()));
        };
        let found = if bootloader {
            let before = self.view(0, view.offset());
            signatures.check_bootloader(view, image, before)?
        } else {
            signatures.check(view, image.len)?
        };
        Ok(found.map(|signed| format!(", {signed}")))
    }

    fn view(&self, offset: u64, len: u64) -> View<'a> {
        View::new(self.source, self.cipher, offset, len)
    }

    fn step(&mut self, part: &str, offset: u64, found: String) -> bool {
        self.verdict.steps.push(Step {
            part: part.to_owned(),
            offset,
            ok: true,
            found,
        });
        true
    }

    fn stop(&mut self, part: &str, offset: u64, why: String) -> bool {
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
    fn fail(&mut self, reason: String) {
        self.verdict.reason.get_or_insert(reason);
    }
}

impl fmt::Debug for FlashCheck<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlashCheck")
            .field("chip", &self.chip)
            .field("table_offset", &self.table_offset)
            .field("rollback", &self.rollback)
            .finish_non_exhaustive()
    }
}

fn examine(mut view: View<'_>) -> Result<Result<(Image, Option<ImageFault>), ImageFault>, Error> {
    match Image::examine(&mut view) {
        Ok(found) => Ok(Ok(found)),
        Err(ImageError::Fault(fault)) => Ok(Err(fault)),
        Err(ImageError::Read(error)) => Err(error),
    }
}
