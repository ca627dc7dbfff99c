//! Flash encryption of whole files: on all cores, with flat memory.

use std::path::Path;

use airseal_esp::Chip;
use airseal_esp::flash_encryption::{FlashKey, RegionFault};
use airseal_esp::image::Descriptor;
use airseal_esp::partition::{DEFAULT_TABLE_OFFSET, PartitionTable};
use serde::Serialize;

use super::area::Area;
use super::dump::{begins_image, begins_table};
use super::info::{self, find_table};
use super::nvs::looks_like_nvs;
use crate::Error;
use crate::control::{Activity, Control};
use crate::output::{Access, Existing, OutputFile};
use crate::recognise::{FileKind, HEAD_LEN, Purpose, recognise};
use crate::source::Source;
use crate::stream::{Stream, Watch};

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What a chip writes.
    Encrypt,
    /// What a chip reads.
    Decrypt,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Converted {
    /// First address.
    pub address: u32,
    /// Bytes.
    pub len: u64,
    /// What is seldom meant.
    pub warnings: Vec<String>,
}

/// Encrypts or decrypts `input`, which lies or will lie at `address` in the flash of `chip`.
///
/// # Errors
/// `Io`, cancelled; refused if address or length are not aligned or leave the flash, if the input is an image for another
/// chip or another place, or is encrypted already.
pub fn convert(
    (input, output): (&Path, &Path),
    (chip, key): (Chip, &FlashKey),
    address: u32,
    direction: Direction,
    existing: Existing,
    control: &Control<'_>,
) -> Result<Converted, Error> {
    let source = Source::open(input)?;
    let len = source.len();
    let warnings = match direction {
        Direction::Encrypt => check_plain(&source, (chip, key), address)?,
        Direction::Decrypt => check_encrypted(&source, (chip, key), address)?,
    };
    key.check(address, len)
        .map_err(|fault| refuse_region(source.name(), fault))?;
    let file = OutputFile::create(output, existing, Access::Public)?;
    Stream {
        source: &source,
        from: 0,
        len,
        output: Some((&file, 0)),
    }
    .run(
        Watch::After,
        |offset, block| {
            let place = u32::try_from(u64::from(address) + offset).unwrap_or(u32::MAX);
            match direction {
                Direction::Encrypt => key.encrypt(place, block),
                Direction::Decrypt => key.decrypt(place, block),
            }
            .map_err(|fault| refuse_region(source.name(), fault))
        },
        |_| {},
        (Activity::Copying, control),
    )?;
    file.commit()?;
    Ok(Converted {
        address,
        len,
        warnings,
    })
}

fn refuse_region(name: &str, fault: RegionFault) -> Error {
    let remedy = match fault {
        RegionFault::Address { .. } => "give the address of a partition",
        RegionFault::Length { .. } => {
            "pad the file with 0xFF to a multiple of 16, as it will lie in flash"
        }
        RegionFault::Beyond { .. } => "give the address in flash, not one in memory",
    };
    Error::refused(name, fault.to_string(), remedy)
}

fn check_plain(
    source: &Source,
    (chip, key): (Chip, &FlashKey),
    address: u32,
) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    let head = source.head(0, HEAD_LEN)?;
    match recognise(&head) {
        Some(kind @ (FileKind::EncryptedImg | FileKind::McuBoot | FileKind::Bundle)) => {
            return Err(Error::refused(
                source.name(),
                format!("is {kind}, which no bootloader reads from flash"),
                "take the image out of it first, then encrypt that",
            ));
        }
        Some(kind @ (FileKind::Elf | FileKind::IntelHex | FileKind::SRecord | FileKind::Uf2)) => {
            return Err(Error::refused(
                source.name(),
                format!("is {kind}, which no bootloader reads from flash"),
                kind.remedy(Purpose::Seal),
            ));
        }
        Some(FileKind::Encrypted) if encrypted_already(&head, (chip, key), address) => {
            return Err(Error::refused(
                source.name(),
                format!("is encrypted already, with this key and for address {address:#x}"),
                "name the plain file; what is encrypted twice boots nowhere",
            ));
        }
        Some(FileKind::Encrypted) => warnings.push(
            "the input has no structure: if it is encrypted already, the result is of no use"
                .to_owned(),
        ),
        Some(FileKind::EspImage) => check_image(source, chip, address, &mut warnings)?,
        None if is_csv_table(&head) => {
            return Err(Error::refused(
                source.name(),
                "is a partition table as CSV; in flash lies the binary one",
                "make it with airseal esp partitions to-bin",
            ));
        }
        _ if looks_like_nvs(&head) => warnings.push(
            "the input is an NVS partition, which chips read past flash encryption: esp nvs to-bin --keys encrypts it"
                .to_owned(),
        ),
        _ => {}
    }
    if find_table(source, None)?.is_some() {
        warnings.push(
            "the input is a whole flash: what the table does not mark as encrypted, such as NVS, must stay plain; encrypt bootloader, table and applications each by itself"
                .to_owned(),
        );
    }
    Ok(warnings)
}

/// True if this key makes an image or a table of it.
fn encrypted_already(head: &[u8], (chip, key): (Chip, &FlashKey), address: u32) -> bool {
    let mut units = head.to_vec();
    units.truncate((head.len() / 16 * 16).min(FIRST_UNITS));
    key.decrypt(address, &mut units).is_ok() && (begins_image(&units, chip) || begins_table(&units))
}

fn check_image(
    source: &Source,
    chip: Chip,
    address: u32,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let image = match info::image(Area::whole(source))? {
        Ok((image, None)) => image,
        Ok((_, Some(fault))) | Err(fault) => {
            warnings.push(format!("the image is damaged: {fault}"));
            return Ok(());
        }
    };
    if image.chip != chip {
        return Err(Error::refused(
            source.name(),
            format!("chip_id at offset 12 says {}, not {chip}", image.chip),
            "name the image built for this chip, or the chip it was built for",
        ));
    }
    match image.descriptor {
        Descriptor::App(_) if !address.is_multiple_of(APP_ALIGNMENT) => Err(Error::refused(
            source.name(),
            format!("is an application, and address {address:#x} is not a multiple of 0x10000"),
            "give the offset of its partition",
        )),
        Descriptor::Bootloader(_) if address != chip.bootloader_offset() => {
            warnings.push(format!(
                "the input is a bootloader, and {chip} looks for one at {:#x}",
                chip.bootloader_offset()
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_encrypted(
    source: &Source,
    (chip, key): (Chip, &FlashKey),
    address: u32,
) -> Result<Vec<String>, Error> {
    let mut head = source.head(0, HEAD_LEN)?;
    match recognise(&head) {
        Some(kind @ (FileKind::EspImage | FileKind::Elf | FileKind::EncryptedImg)) => {
            return Err(Error::refused(
                source.name(),
                format!("is {kind}, not flash-encrypted data"),
                "it needs no flash decryption; airseal esp info tells what a file is",
            ));
        }
        Some(FileKind::ErasedFlash) => return Ok(Vec::new()),
        _ => {}
    }
    head.truncate(head.len() / 16 * 16);
    let mut plain = head.clone();
    let is_noise =
        key.decrypt(address, &mut plain).is_ok() && recognise(&plain) == Some(FileKind::Encrypted);
    if !is_noise {
        return Ok(Vec::new());
    }
    if let Some(found) = (0..LARGEST_FLASH)
        .step_by(SECTOR)
        .find(|place| encrypted_already(&head, (chip, key), *place))
    {
        return Err(Error::refused(
            source.name(),
            format!("has no structure at address {address:#x}, but was encrypted for {found:#x}"),
            "give --address as it was when it was encrypted",
        ));
    }
    Ok(vec![
        "the result has no structure: it is another key or address, or was not encrypted"
            .to_owned(),
    ])
}

/// True for the text of a partition table, of which the first line may be cut off.
fn is_csv_table(head: &[u8]) -> bool {
    head.is_ascii()
        && !head.is_empty()
        && PartitionTable::parse(head, DEFAULT_TABLE_OFFSET)
            .is_ok_and(|table| !table.as_slice().is_empty())
}

/// Bytes that hold the head of an image or the first rows of a table.
const FIRST_UNITS: usize = 256;
const SECTOR: usize = 4 * 1024;
/// Where addresses are looked for.
const LARGEST_FLASH: u32 = 32 << 20;
const APP_ALIGNMENT: u32 = 0x1_0000;
