//! What is shown of a file, for people and scripts.

use serde::Serialize;

use crate::esp::nvs::NvsInfo;
use crate::esp::otadata::OtaInfo;
use crate::esp::partitions::RowInfo;
use crate::esp::signatures::BlockInfo;

/// What a file is.
#[derive(Debug, Serialize)]
pub struct Info {
    /// The file's name.
    pub file: String,
    /// Length of the file in bytes.
    pub file_len: u64,
    /// What is in it.
    #[serde(flatten)]
    pub content: Content,
    /// What is damaged, and where.
    pub damage: Option<String>,
    /// What works, but is seldom meant.
    pub warnings: Vec<String>,
}

/// The content, by its kind.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// An application.
    App(Box<ImageInfo>),
    /// A second-stage bootloader.
    Bootloader(Box<ImageInfo>),
    /// An image without a descriptor: a bare program, or an old bootloader.
    Image(Box<ImageInfo>),
    /// A partition table.
    PartitionTable(TableInfo),
    /// An OTA data partition.
    Otadata(OtaInfo),
    /// An NVS partition.
    Nvs(NvsInfo),
    /// A whole flash.
    Flash(Box<FlashInfo>),
}

/// An image. The names are those of the fields in Espressif's documents.
#[derive(Clone, Debug, Serialize)]
pub struct ImageInfo {
    /// Name of the chip.
    pub chip: &'static str,
    /// Its number in the header.
    pub chip_id: u16,
    /// Address the bootloader jumps to.
    pub entry: u32,
    /// Flash mode, by number.
    pub spi_mode: u8,
    /// Flash mode, by name.
    pub spi_mode_name: Option<&'static str>,
    /// Flash clock, by number.
    pub spi_speed: u8,
    /// Flash size, by number.
    pub spi_size: u8,
    /// Flash size in bytes.
    pub flash_size: Option<u32>,
    /// Pin of write protection.
    pub wp_pin: u8,
    /// Drive strengths.
    pub spi_pin_drv: [u8; 3],
    /// Lowest chip revision, as old bootloaders read it.
    pub min_chip_rev: u8,
    /// Lowest chip revision, major times 100 plus minor.
    pub min_rev_full: u16,
    /// Highest chip revision; 0 and 65535 mean any.
    pub max_rev_full: u16,
    /// Number of segments.
    pub segment_count: usize,
    /// The segments.
    pub segments: Vec<SegmentInfo>,
    /// The stored checksum.
    pub checksum: u8,
    /// Where it lies.
    pub checksum_off: u64,
    /// True if it holds.
    pub checksum_ok: bool,
    /// 1 if a hash follows.
    pub hash_appended: u8,
    /// The stored hash.
    pub sha256: Option<String>,
    /// True if it holds.
    pub sha256_ok: Option<bool>,
    /// Length of the image, hash included.
    pub image_len: u64,
    /// What lies behind the image.
    pub trailing: Trailing,
    /// The signature blocks of secure boot v2 behind it.
    pub signature_blocks: Vec<BlockInfo>,
    /// What an application says about itself.
    pub app_desc: Option<AppDescInfo>,
    /// What a bootloader says about itself.
    pub bootloader_desc: Option<BootloaderDescInfo>,
}

/// What lies behind an image in its file or partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trailing {
    /// Nothing.
    Nothing,
    /// Erased flash.
    Erased,
    /// Padding and the signature sector of secure boot v2, behind it nothing but erased flash.
    Signature,
    /// Something else: padding, or the rest of an older image.
    Data,
}

/// A segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentInfo {
    /// Where it is loaded or mapped; 0 is padding.
    pub load_addr: u32,
    /// Length in bytes.
    pub len: u32,
    /// Offset of the data in the image.
    pub data_off: u64,
}

/// An application descriptor.
#[derive(Clone, Debug, Serialize)]
pub struct AppDescInfo {
    /// Anti-rollback version.
    pub secure_version: u32,
    /// Version text.
    pub version: String,
    /// Project name.
    pub project_name: String,
    /// Time of the build.
    pub time: String,
    /// Date of the build.
    pub date: String,
    /// Version of ESP-IDF.
    pub idf_ver: String,
    /// SHA-256 of the ELF file.
    pub app_elf_sha256: String,
    /// Lowest eFuse block revision.
    pub min_efuse_blk_rev_full: u16,
    /// Highest eFuse block revision.
    pub max_efuse_blk_rev_full: u16,
    /// Page size of the flash cache as a power of two, 0 for the default.
    pub mmu_page_size: u8,
    /// Flash mode it is built for, 0 if unknown.
    pub spi_flash_mode: u8,
}

/// A bootloader descriptor.
#[derive(Clone, Debug, Serialize)]
pub struct BootloaderDescInfo {
    /// Anti-rollback version.
    pub secure_version: u8,
    /// The project's number for it.
    pub version: u32,
    /// Version of ESP-IDF.
    pub idf_ver: String,
    /// Date and time of the build.
    pub date_time: String,
}

/// A partition table.
#[derive(Clone, Debug, Serialize)]
pub struct TableInfo {
    /// `binary` or `csv`.
    pub form: &'static str,
    /// True if a checksum covers the rows.
    pub md5: bool,
    /// The rows.
    pub partitions: Vec<RowInfo>,
}

/// A whole flash.
#[derive(Clone, Debug, Serialize)]
pub struct FlashInfo {
    /// Where the bootloader lies.
    pub bootloader_offset: Option<u64>,
    /// The bootloader.
    pub bootloader: Option<ImageInfo>,
    /// Where the partition table lies.
    pub table_offset: u32,
    /// True if a checksum covers the rows.
    pub md5: bool,
    /// The partitions and what is in them.
    pub partitions: Vec<PartitionInfo>,
    /// The records of the OTA data partition.
    pub otadata: Option<OtaInfo>,
}

/// A partition and what is in it.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionInfo {
    /// The row.
    #[serde(flatten)]
    pub row: RowInfo,
    /// `erased`, `image`, `damaged`, `encrypted`, `outside` or `data`.
    pub holds: &'static str,
    /// The image in it.
    pub image: Option<ImageInfo>,
    /// What is damaged, and where, from the start of the partition.
    pub damage: Option<String>,
}
