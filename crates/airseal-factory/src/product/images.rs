//! Code that is flashed: the bootloader and the applications, signed, and what they need of chip and flash.

use airseal_esp::Chip;
use airseal_esp::image::{Image, ImageError};
use airseal_esp::partition::{Partition, PartitionTable};
use airseal_format::component::RECORD_AREA_LEN;
use airseal_pack::Error;
use airseal_pack::esp::boot_key::BootPublicKey;
use airseal_pack::esp::flash_size;
use airseal_pack::firmware::{ChipChoice, Firmware, FirmwareChecks};
use airseal_pack::source::Source;

use super::Checker;
use super::layout::{Content, Region};
use crate::batch::BOOTLOADER;

impl Checker {
    pub(super) fn bootloader(
        &self,
        chip: Chip,
        table: &PartitionTable,
        boot_keys: &[BootPublicKey],
        warnings: &mut Vec<String>,
    ) -> Result<Region, Error> {
        let Some(path) = &self.config.flash.bootloader else {
            return Err(self.refuse(
                "flash.bootloader",
                "is missing",
                "name the second-stage bootloader",
            ));
        };
        let source = Source::open(&self.folder.join(path))?;
        let name = source.name().to_owned();
        self.starts_on(chip, &source)?;
        let signed = self.is_already_signed();
        let signed = signed
            .then(|| self.signed(&source, boot_keys))
            .transpose()?;
        let source = self.with_flash_size(source, table, warnings)?;
        let bytes = match signed {
            Some(bytes) => bytes,
            None => self.signed(&source, boot_keys)?,
        };
        let address = chip.bootloader_offset();
        let room = u64::from(self.table_offset()).saturating_sub(u64::from(address));
        if bytes.len() as u64 > room {
            return Err(Error::refused(
                name,
                format!(
                    "has {} bytes with its signature and begins at {address:#x}: it reaches the partition table at {:#x}",
                    bytes.len(),
                    self.table_offset()
                ),
                "move the table (flash.partition_table_offset and the build's CONFIG_PARTITION_TABLE_OFFSET), or make the bootloader smaller",
            ));
        }
        Ok(Region {
            name: BOOTLOADER.to_owned(),
            address,
            room,
            encrypted: self.is_encrypted(),
            content: Content::Common(bytes),
        })
    }

    /// The bootloader takes the size of the flash from its header and refuses a table that goes beyond it. What is not
    /// signed yet gets the size of the configuration.
    fn with_flash_size(
        &self,
        source: Source,
        table: &PartitionTable,
        warnings: &mut Vec<String>,
    ) -> Result<Source, Error> {
        const SETTING: &str = "CONFIG_ESPTOOLPY_FLASHSIZE";
        let Some((changed, before)) = flash_size::with_flash_size(&source, self.flash_size()?)?
        else {
            return Ok(source);
        };
        let name = source.name();
        let before_mb = before >> 20;
        let wanted = self.config.chip.flash_size.as_deref().unwrap_or_default();
        if !self.is_already_signed() {
            warnings.push(format!(
                "{name}: its header (spi_size at offset 3) says {before_mb}MB of flash; it gets {wanted}, as chip.flash_size says. Build it so ({SETTING}) to be rid of this"
            ));
            return Ok(changed);
        }
        table.check_flash_size(before.into()).map_err(|fault| {
            Error::refused(
                name,
                format!("its header (spi_size at offset 3) says {before_mb}MB of flash, so that it refuses the partition table: {fault}"),
                "build and sign it for the flash that is there (CONFIG_ESPTOOLPY_FLASHSIZE)",
            )
        })?;
        warnings.push(format!(
            "{name}: its header (spi_size at offset 3) says {before_mb}MB of flash, chip.flash_size {wanted}"
        ));
        Ok(source)
    }

    /// Whether the image starts on every chip that the station takes; found out at the bench it would cost the chip.
    fn starts_on(&self, chip: Chip, source: &Source) -> Result<(), Error> {
        let name = source.name();
        let image = match Image::parse(&mut &*source) {
            Ok(image) => image,
            Err(ImageError::Fault(fault)) => {
                return Err(Error::refused(
                    name,
                    format!("is no sound image: {fault}"),
                    "name the file of the build",
                ));
            }
            Err(ImageError::Read(error)) => return Err(error),
        };
        if image.chip != chip {
            return Err(Error::refused(
                name,
                format!("is built for {}, and chip.family is {chip}", image.chip),
                "take the image of this chip: a bootloader also lies at another offset",
            ));
        }
        let (needed, taken) = (
            image.header.min_chip_rev_full,
            self.config.chip.min_revision,
        );
        if needed > taken {
            return Err(self.refuse(
                "chip.min_revision",
                &format!("is {taken}, and {name} starts only on chips from {needed} on (major * 100 + minor)"),
                &format!("write {needed}, so that no older chip is burned, or build for the older ones"),
            ));
        }
        Ok(())
    }

    pub(super) fn app(
        &self,
        chip: Chip,
        row: &Partition,
        path: &str,
        boot_keys: &[BootPublicKey],
    ) -> Result<Content, Error> {
        let path = self.folder.join(path);
        let checks = FirmwareChecks {
            chip: ChipChoice::Chip(chip),
            ..FirmwareChecks::default()
        };
        Firmware::open(&path, &checks)?;
        let source = Source::open(&path)?;
        self.starts_on(chip, &source)?;
        let name = source.name().to_owned();
        let bytes = self.signed(&source, boot_keys)?;
        // Only a slot that updates are written to has a record behind its image.
        let record = if row.is_ota_slot() {
            u64::from(RECORD_AREA_LEN)
        } else {
            0
        };
        let room = u64::from(row.size).saturating_sub(record);
        if bytes.len() as u64 > room {
            let area = if record > 0 {
                " beside the record area"
            } else {
                ""
            };
            return Err(Error::refused(
                name,
                format!(
                    "has {} bytes with its signature, {} holds {room}{area}",
                    bytes.len(),
                    row.label
                ),
                "make the image smaller or the slot larger",
            ));
        }
        Ok(Content::Common(bytes))
    }
}
