//! What the configuration says about the image that devices are born with, beside what the image says itself.

use airseal_esp::Chip;
use airseal_esp::otadata::BootSlot;
use airseal_esp::partition::{Partition, PartitionTable};
use airseal_pack::Error;
use airseal_pack::firmware::{ChipChoice, Firmware, FirmwareChecks};

use super::{Checker, Region};

/// Longest version text of a descriptor, bytes.
const MAX_VERSION: usize = 32;

impl Checker {
    /// The firmware prints its version as one word, and the line waits for it.
    pub(super) fn version(&self) -> Result<(), Error> {
        let version = &self.config.release.version;
        let visible = version.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (1..=MAX_VERSION).contains(&version.len()) {
            return Ok(());
        }
        Err(self.refuse(
            "release.version",
            &format!("is {version:?}, which the firmware can't print as one word: every board would be burned and none finished"),
            "write 1 to 32 visible ASCII characters, as the firmware prints them",
        ))
    }

    /// The slot that a new device starts, where the table leaves no doubt.
    pub(super) fn first_slot(&self, table: &PartitionTable) -> Option<BootSlot> {
        let rows = table.as_slice();
        let content = rows
            .iter()
            .find(|row| row.is_otadata())
            .and_then(|row| self.content_of(&row.label.to_string()));
        let selected = content
            .and_then(|content| content.strip_prefix("ota_"))
            .and_then(|number| number.parse().ok());
        match selected {
            Some(number) => Some(BootSlot::Ota(number)),
            None => rows
                .iter()
                .any(|row| row.is_factory())
                .then_some(BootSlot::Factory),
        }
    }

    fn content_of(&self, row: &str) -> Option<&str> {
        let partitions = &self.config.flash.partitions;
        partitions.get(row).map(String::as_str)
    }

    /// The applications against the versions that are set.
    pub(super) fn versions(
        &self,
        chip: Chip,
        table: &PartitionTable,
        regions: &[Region],
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let first = self.first_slot(table).and_then(|slot| table.row_of(slot));
        let checks = FirmwareChecks {
            chip: ChipChoice::Chip(chip),
            ..FirmwareChecks::default()
        };
        let is_app = |row: &&Partition| row.is_factory() || row.is_ota_slot();
        for row in table.as_slice().iter().filter(is_app) {
            let name = row.label.to_string();
            let flashed = regions.iter().any(|region| region.name == name);
            let Some(path) = self.content_of(&name).filter(|_| flashed) else {
                continue;
            };
            let firmware = Firmware::open(&self.folder.join(path), &checks)?;
            let Some(descriptor) = firmware.descriptor() else {
                continue;
            };
            self.reaches_efuses(path, descriptor.secure_version)?;
            if first == Some(row) {
                self.starts_without_burning(path, descriptor.secure_version)?;
                self.is_the_release(
                    path,
                    &descriptor.version.to_string(),
                    descriptor.secure_version,
                    warnings,
                )?;
            }
        }
        Ok(())
    }

    /// A bootloader with anti-rollback starts nothing below the eFuses.
    fn reaches_efuses(&self, path: &str, secure_version: u32) -> Result<(), Error> {
        let burned = self.config.efuse.secure_version;
        if u32::from(burned) <= secure_version {
            return Ok(());
        }
        Err(self.refuse(
            "efuse.secure_version",
            &format!("is {burned}, and {path} has secure version {secure_version} (descriptor, offset 36): the burned chip would start it never"),
            "burn no more than the image has, or build it with a higher CONFIG_BOOTLOADER_APP_SECURE_VERSION",
        ))
    }

    /// A bootloader with anti-rollback raises the eFuses to the image it starts. At the line that would be in the middle of
    /// the work, and the chip would not be as it was planned.
    fn starts_without_burning(&self, path: &str, secure_version: u32) -> Result<(), Error> {
        let burned = self.config.efuse.secure_version;
        if burned == 0 || u32::from(burned) >= secure_version {
            return Ok(());
        }
        Err(self.refuse(
            "efuse.secure_version",
            &format!("is {burned}, and {path} has secure version {secure_version} (descriptor, offset 36): the bootloader would burn the rest when the board first starts, and the line would not know its chip again"),
            &format!("write {secure_version}, or 0 and leave it to the bootloader"),
        ))
    }

    /// `seal` takes the image's secure version for the release's security version, and a device refuses what is below its
    /// floor, which is `release.security_version`.
    fn is_the_release(
        &self,
        path: &str,
        version: &str,
        secure_version: u32,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let release = &self.config.release;
        let floor = release.security_version;
        if floor > secure_version {
            return Err(self.refuse(
                "release.security_version",
                &format!("is {floor}, and {path} has secure version {secure_version} (descriptor, offset 36): devices would refuse every release that is built as this one, since sealing takes the image's"),
                &format!("write {secure_version}, or build the image with {floor}"),
            ));
        }
        if floor < secure_version {
            warnings.push(format!(
                "release.security_version is {floor}, and {path} has secure version {secure_version}, which sealing takes: devices would also take releases older than the one they are born with"
            ));
        }
        if version != release.version {
            warnings.push(format!(
                "release.version is {}, and the descriptor of {path} says {version}: the line waits for the line \"airseal: ID {}\" from the firmware",
                release.version, release.version
            ));
        }
        Ok(())
    }
}
