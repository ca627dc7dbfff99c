//! What is flashed, and where.

use airseal_esp::Chip;
use airseal_esp::otadata::{BootSlot, OtaData, OtaState};
use airseal_esp::partition::{DEFAULT_TABLE_OFFSET, Partition, PartitionTable};
use airseal_format::SecurityVersion;
use airseal_pack::Error;
use airseal_pack::esp::boot_key::BootPublicKey;
use airseal_pack::esp::otadata;
use airseal_pack::esp::partitions::{self, TablePlace};
use airseal_pack::keyset::KeysetFile;
use airseal_pack::seal::vendor_id;
use airseal_pack::source::Source;

use super::Checker;
use crate::batch::{PARTITION_TABLE, is_part_name};
use crate::config::EncryptionMode;
use crate::state;

/// Bytes at one address.
pub struct Region {
    /// `bootloader`, `partition-table`, or the row's name.
    pub name: String,
    /// Where.
    pub address: u32,
    /// Most bytes that fit.
    pub room: u64,
    /// Whether flash encryption covers it.
    pub encrypted: bool,
    /// What goes there.
    pub content: Content,
}

/// Where the bytes of a region come from.
pub enum Content {
    /// The same for every device; plain, signed if it is code.
    Common(Vec<u8>),
    /// The two keys of the NVS key partition and their checksum.
    NvsKeys,
    /// An NVS partition, by its name under `[nvs]`.
    Nvs(String),
}

const APP: u8 = 0;
const DATA: u8 = 1;
const SUBTYPE_NVS: u8 = 2;
const SUBTYPE_NVS_KEYS: u8 = 4;
const TABLE_LEN: u64 = 0x1000;

impl Checker {
    pub(super) fn table(
        &self,
        chip: Chip,
        flash_size: u64,
    ) -> Result<(PartitionTable, Vec<String>), Error> {
        let Some(path) = &self.config.flash.partition_table else {
            return Err(self.refuse(
                "flash.partition_table",
                "is missing",
                "name the table, CSV or binary",
            ));
        };
        let place = TablePlace {
            offset: self.table_offset(),
            flash_size: Some(flash_size),
            chip: Some(chip),
        };
        partitions::read(&self.folder.join(path), place)
            .map_err(|error| self.of_setting("flash.partition_table", error))
    }

    pub(super) fn table_offset(&self) -> u32 {
        self.config
            .flash
            .partition_table_offset
            .unwrap_or(DEFAULT_TABLE_OFFSET)
    }

    pub(super) fn regions(
        &self,
        chip: Chip,
        table: &PartitionTable,
        boot_keys: &[BootPublicKey],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Region>, Error> {
        let encrypted = self.is_encrypted();
        let mut regions = vec![
            self.bootloader(chip, table, boot_keys, warnings)
                .map_err(|error| self.of_setting("flash.bootloader", error))?,
            self.table_region(table, encrypted)?,
        ];
        for (name, content) in &self.config.flash.partitions {
            let row = self.row(table, name)?;
            if !is_part_name(name) {
                return Err(self.refuse(
                    &format!("flash.partitions.{name:?}"),
                    "can't name a file",
                    "call the row by 1 to 16 letters, digits, - _ and ., beginning with a letter or digit, and not bootloader, partition-table or digestN",
                ));
            }
            let content = self
                .content(chip, table, row, name, content, boot_keys)
                .map_err(|error| self.of_setting(&format!("flash.partitions.{name}"), error))?;
            regions.push(Region {
                name: name.clone(),
                address: row.offset,
                room: u64::from(row.size),
                encrypted: encrypted && row.is_encrypted(),
                content,
            });
        }
        for name in self.config.nvs.keys() {
            let used = regions
                .iter()
                .any(|region| matches!(&region.content, Content::Nvs(used) if used == name));
            if !used {
                return Err(self.refuse(
                    &format!("nvs.{name}"),
                    "is used by no row",
                    &format!("name it in [flash.partitions] as \"nvs:{name}\", or leave it out"),
                ));
            }
        }
        regions.sort_by_key(|region| region.address);
        Ok(regions)
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.config.flash_encryption.mode != EncryptionMode::Off
    }

    fn table_region(&self, table: &PartitionTable, encrypted: bool) -> Result<Region, Error> {
        let binary = table
            .to_binary(self.config.flash.partition_table_md5)
            .map_err(|fault| {
                self.refuse("flash.partition_table", &fault.to_string(), "remove rows")
            })?;
        Ok(Region {
            name: PARTITION_TABLE.to_owned(),
            address: self.table_offset(),
            room: TABLE_LEN,
            encrypted,
            content: Content::Common(binary.to_vec()),
        })
    }

    fn row<'t>(&self, table: &'t PartitionTable, name: &str) -> Result<&'t Partition, Error> {
        let rows = table.as_slice();
        let found = rows
            .iter()
            .find(|row| row.label.as_bytes() == name.as_bytes());
        found.ok_or_else(|| {
            let names: Vec<String> = rows.iter().map(|row| row.label.to_string()).collect();
            self.refuse(
                &format!("flash.partitions.{name}"),
                "is not in the partition table",
                &format!("the table has {}", names.join(", ")),
            )
        })
    }

    fn content(
        &self,
        chip: Chip,
        table: &PartitionTable,
        row: &Partition,
        name: &str,
        content: &str,
        boot_keys: &[BootPublicKey],
    ) -> Result<Content, Error> {
        let setting = format!("flash.partitions.{name}");
        if row.is_otadata() {
            return self.otadata(table, &setting, content);
        }
        if row.kind == DATA && row.subtype == SUBTYPE_NVS_KEYS {
            return match content {
                "generate" => Ok(Content::NvsKeys),
                _ => Err(self.refuse(
                    &setting,
                    "holds keys",
                    "write \"generate\": every device gets its own",
                )),
            };
        }
        if let Some(nvs) = content.strip_prefix("nvs:") {
            if row.kind != DATA || row.subtype != SUBTYPE_NVS {
                return Err(self.refuse(
                    &setting,
                    "is no nvs row",
                    "change the row's subtype, or the content",
                ));
            }
            if row.is_encrypted() {
                return Err(self.refuse(
                    &setting,
                    "has the flag encrypted, and the NVS library does not work on encrypted flash",
                    "leave the flag out; nvs.*.encrypt protects it",
                ));
            }
            if !self.config.nvs.contains_key(nvs) {
                return Err(self.refuse(
                    &setting,
                    &format!("names [nvs.{nvs}], which is not there"),
                    "add it",
                ));
            }
            return Ok(Content::Nvs(nvs.to_owned()));
        }
        match content {
            "state" if row.kind == DATA => self.state(table, row, &setting),
            "state" | "generate" | "blank" => Err(self.refuse(
                &setting,
                &format!("can't be {content:?}: the row is of another kind"),
                "name a file",
            )),
            path if row.kind == APP => self.app(chip, row, path, boot_keys),
            path => self.file(row, path),
        }
    }

    /// The state area of a device that is born with its factory row.
    fn state(
        &self,
        table: &PartitionTable,
        row: &Partition,
        setting: &str,
    ) -> Result<Content, Error> {
        if row.size < state::MIN_LEN {
            return Err(self.refuse(
                setting,
                &format!(
                    "has {:#x} bytes, the state area needs {:#x}",
                    row.size,
                    state::MIN_LEN
                ),
                "make the row larger",
            ));
        }
        if row.is_encrypted() {
            return Err(self.refuse(
                setting,
                "has the flag encrypted, and state is written in pieces smaller than what is encrypted at once",
                "leave the flag out; nothing secret is in it",
            ));
        }
        if !table.as_slice().iter().any(Partition::is_factory) {
            return Err(self.refuse(
                setting,
                "describes a device that is born with a factory image, and the table has no factory row",
                "leave the state row out: the firmware makes it when it first starts",
            ));
        }
        let Some(keyset) = &self.config.release.keyset else {
            return Err(self.refuse(
                "release.keyset",
                "is missing, and the state area holds it",
                "name the signed keyset",
            ));
        };
        let keyset = KeysetFile::read(&self.folder.join(keyset))
            .map_err(|error| self.of_setting("release.keyset", error))?;
        keyset.trust(None)?;
        let keyset = keyset.last()?.keyset;
        if keyset.header().vendor_id != vendor_id(&self.config.vendor) {
            return Err(self.refuse(
                "release.keyset",
                "is of another vendor than vendor says: devices would refuse every release",
                "name the keyset that was made for this vendor",
            ));
        }
        let floor = SecurityVersion(self.config.release.security_version);
        state::factory_state(row.size, floor, keyset.signed_bytes())
            .map(Content::Common)
            .map_err(|error| self.within(error))
    }

    fn file(&self, row: &Partition, path: &str) -> Result<Content, Error> {
        let source = Source::open(&self.folder.join(path))?;
        if source.len() > u64::from(row.size) {
            return Err(Error::refused(
                source.name(),
                format!(
                    "has {} bytes, {} holds {}",
                    source.len(),
                    row.label,
                    row.size
                ),
                "make the file smaller or the row larger",
            ));
        }
        let mut bytes = vec![0; usize::try_from(source.len()).unwrap_or(usize::MAX)];
        source.read_at(0, &mut bytes)?;
        Ok(Content::Common(bytes))
    }

    fn otadata(
        &self,
        table: &PartitionTable,
        setting: &str,
        content: &str,
    ) -> Result<Content, Error> {
        let filled = |row: &Partition| {
            let named = |name: &String| row.label.as_bytes() == name.as_bytes();
            self.config.flash.partitions.keys().any(named)
        };
        let factory = table.as_slice().iter().find(|row| row.is_factory());
        if content == "blank" {
            return match factory {
                Some(row) if filled(row) => Ok(Content::Common(otadata::to_partition(&OtaData::ERASED))),
                Some(_) => Err(self.refuse(setting, "is blank, and the factory row gets no image", "name an image for factory")),
                None => Err(self.refuse(
                    setting,
                    "is blank, and the table has no factory row: which slot boots would be left to the bootloader's search",
                    "write the slot, \"ota_0\"",
                )),
            };
        }
        let slot = content
            .strip_prefix("ota_")
            .and_then(|number| number.parse::<u8>().ok());
        let row = slot.and_then(|slot| {
            table
                .as_slice()
                .iter()
                .find(|row| row.ota_slot() == Some(slot))
        });
        let (Some(slot), Some(row)) = (slot, row) else {
            return Err(self.refuse(
                setting,
                &format!("is {content:?}"),
                "write \"blank\" or a slot that the table has, such as \"ota_0\"",
            ));
        };
        if !filled(row) {
            return Err(self.refuse(
                setting,
                &format!("selects {content}, and {} gets no image", row.label),
                "name an image for it, or select another slot",
            ));
        }
        let selected = otadata::select(
            setting,
            &OtaData::ERASED,
            table.layout(),
            BootSlot::Ota(slot),
            BootSlot::Ota(slot),
            OtaState::Valid,
        )?;
        Ok(Content::Common(otadata::to_partition(&selected)))
    }
}
