//! What an application or a bootloader says about itself (ESP-IDF `esp_app_desc.h`, `esp_bootloader_desc.h`).

use core::fmt;

const APP_DESCRIPTOR_MAGIC: u32 = 0xABCD_5432;
pub(super) const APP_DESCRIPTOR_LEN: usize = 256;
const BOOTLOADER_DESCRIPTOR_MAGIC: u8 = 0x50;
const BOOTLOADER_DESCRIPTOR_LEN: u32 = 80;

/// What the start of the first segment says about the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// An application (`esp_app_desc_t`).
    App(AppDescriptor),
    /// A second-stage bootloader (`esp_bootloader_desc_t`).
    Bootloader(BootloaderDescriptor),
    /// Neither magic was found.
    None,
}

impl Descriptor {
    pub(super) fn parse(bytes: &[u8; APP_DESCRIPTOR_LEN], available: u32) -> Descriptor {
        let word = |at: usize| u32::from_le_bytes(array(bytes, at));
        if available >= APP_DESCRIPTOR_LEN as u32 && word(0) == APP_DESCRIPTOR_MAGIC {
            Descriptor::App(AppDescriptor {
                secure_version: word(4),
                version: Text(array(bytes, 16)),
                project_name: Text(array(bytes, 48)),
                time: Text(array(bytes, 80)),
                date: Text(array(bytes, 96)),
                idf_version: Text(array(bytes, 112)),
                elf_sha256: array(bytes, 144),
                min_efuse_block_rev: u16::from_le_bytes(array(bytes, 176)),
                max_efuse_block_rev: u16::from_le_bytes(array(bytes, 178)),
                mmu_page_log2: bytes[180],
                spi_flash_mode: bytes[181],
            })
        } else if available >= BOOTLOADER_DESCRIPTOR_LEN && bytes[0] == BOOTLOADER_DESCRIPTOR_MAGIC
        {
            Descriptor::Bootloader(BootloaderDescriptor {
                secure_version: bytes[3],
                version: word(4),
                idf_version: Text(array(bytes, 8)),
                date_time: Text(array(bytes, 40)),
            })
        } else {
            Descriptor::None
        }
    }
}

/// The application descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppDescriptor {
    /// Anti-rollback version that the chip compares with its eFuses.
    pub secure_version: u32,
    /// The application's version text.
    pub version: Text<32>,
    /// The project's name.
    pub project_name: Text<32>,
    /// Time of the build, as the compiler wrote it.
    pub time: Text<16>,
    /// Date of the build, as the compiler wrote it.
    pub date: Text<16>,
    /// The version of ESP-IDF it was built with.
    pub idf_version: Text<32>,
    /// SHA-256 of the ELF file the image was made from; all zero if never filled in.
    pub elf_sha256: [u8; 32],
    /// Lowest revision of the eFuse blocks: major times 100 plus minor.
    pub min_efuse_block_rev: u16,
    /// Highest revision of the eFuse blocks; 65535 means any.
    pub max_efuse_block_rev: u16,
    /// Page size of the flash cache as a power of two; 0 means the chip's default, 64 KiB.
    pub mmu_page_log2: u8,
    /// Flash mode the image is built for, 0 if it does not say.
    pub spi_flash_mode: u8,
}

/// The bootloader's descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootloaderDescriptor {
    /// The bootloader's own anti-rollback version.
    pub secure_version: u8,
    /// The project's number for it.
    pub version: u32,
    /// The version of ESP-IDF it was built with.
    pub idf_version: Text<32>,
    /// Date and time of the build.
    pub date_time: Text<24>,
}

/// A text field of `N` bytes, ended by a NUL unless it is full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// The bytes before the first NUL; not necessarily UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{FFFD}")?;
            }
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .unwrap_or([0; N])
}
