//! What can be meant, and is seldom meant: settings that leave a door open, and tables that no update fits.

use airseal_esp::partition::{Partition, PartitionTable};
use airseal_format::component::RECORD_AREA_LEN;
use airseal_pack::Error;

use super::{Checker, Content, Region};
use crate::config::{Config, Download, EncryptionMode, Jtag, NvsEncryption};

/// The doors that a finished board of this configuration leaves open, for people.
pub(crate) fn open_doors(config: &Config) -> Vec<String> {
    let mut doors = Vec::new();
    if config.efuse.download == Download::Open {
        doors.push(
            "efuse.download is open: the loader of a finished board answers, and lets whoever has it in hand write the flash and run code of their own"
                .to_owned(),
        );
    }
    if config.efuse.jtag == Jtag::Open {
        doors.push(
            "efuse.jtag is open: a debugger reads memory and the decrypted flash of a finished board"
                .to_owned(),
        );
    }
    let plain = config.flash_encryption.mode == EncryptionMode::Off;
    for (name, nvs) in &config.nvs {
        if plain && nvs.encrypt == NvsEncryption::Keys {
            doors.push(format!(
                "nvs.{name}.encrypt is keys, and flash encryption is off: the keys lie in the clear beside what they protect"
            ));
        }
    }
    doors
}

impl Checker {
    pub(super) fn open_doors(&self, warnings: &mut Vec<String>) {
        warnings.extend(open_doors(&self.config));
        if self.config.flash_encryption.mode == EncryptionMode::Development {
            warnings.push(
                "flash_encryption.mode is development: the loader of a finished board still encrypts, and flash encryption can be switched off again"
                    .to_owned(),
            );
        }
    }

    /// Boards that only updates reach need room for them.
    pub(super) fn room_for_updates(
        &self,
        table: &PartitionTable,
        regions: &[Region],
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let slots: Vec<&Partition> = table
            .as_slice()
            .iter()
            .filter(|row| row.is_ota_slot())
            .collect();
        let with_factory = table.as_slice().iter().any(Partition::is_factory);
        if slots.is_empty() || (slots.len() == 1 && !with_factory) {
            warnings.push(
                "the partition table leaves no slot for an update: potted boards keep what they are born with"
                    .to_owned(),
            );
        }
        let first = self.first_slot(table).and_then(|slot| table.row_of(slot));
        let image = first.and_then(|row| {
            let name = row.label.to_string();
            let region = regions.iter().find(|region| region.name == name)?;
            match &region.content {
                Content::Common(bytes) => Some(bytes.len() as u64),
                Content::NvsKeys | Content::Nvs(_) => None,
            }
        });
        let smallest = slots.iter().min_by_key(|row| row.size);
        if let (Some(image), Some(slot)) = (image, smallest) {
            let room = u64::from(slot.size).saturating_sub(RECORD_AREA_LEN.into());
            if image > room {
                return Err(self.refuse(
                    "flash.partition_table",
                    &format!(
                        "{} holds {room} bytes beside the record area, and the image that devices are born with has {image}: no update of it would ever fit",
                        slot.label
                    ),
                    "make the slots larger",
                ));
            }
        }
        let has_state = self
            .config
            .flash
            .partitions
            .values()
            .any(|content| content == "state");
        if self.config.release.keyset.is_some() && !has_state {
            warnings.push(
                "release.keyset is named, and no row of [flash.partitions] is \"state\": the firmware has to bring the keyset itself"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
