//! What an Espressif file is, recognised by its content, and whether it is whole.

use std::path::Path;

use airseal_esp::image::{Descriptor, IMAGE_MAGIC};
use airseal_esp::nvs::{KEYS_LEN, KeysFault, keys_from_partition};
use airseal_esp::otadata::{OTADATA_LEN, OtaData, Rollback};
use airseal_esp::partition::{DEFAULT_TABLE_OFFSET, MAX_TABLE_LEN, Partition, PartitionTable};
use airseal_esp::secure_boot::{SECTOR_LEN, sector_offset};
use airseal_esp::{Image, ImageError, ImageFault};

use super::area::Area;
use super::nvs;
use super::otadata;
use super::partitions::{self, NO_MD5, RowInfo};
use super::signatures::{self, BlockInfo};
use crate::Error;
use crate::recognise::{FileKind, HEAD_LEN, recognise};
use crate::source::Source;

mod shown;

pub use shown::{
    AppDescInfo, BootloaderDescInfo, Content, FlashInfo, ImageInfo, Info, PartitionInfo,
    SegmentInfo, TableInfo, Trailing,
};

/// Reads a file; `-` is standard input.
///
/// # Errors
/// `Io`; refused if it is nothing of Espressif's (named by what it is), or damaged so that it can't be shown.
pub fn read(path: &Path, table_offset: Option<u32>) -> Result<Info, Error> {
    let source = Source::open(path)?;
    let info = |content, damage, warnings| Info {
        file: source.name().to_owned(),
        file_len: source.len(),
        content,
        damage,
        warnings,
    };
    if let Some((offset, table)) = find_table(&source, table_offset)? {
        let (flash, damage) = flash(&source, offset, &table)?;
        let mut warnings = partitions::warnings(&table);
        if !table.has_md5() {
            warnings.insert(0, NO_MD5.to_owned());
        }
        return Ok(info(Content::Flash(Box::new(flash)), damage, warnings));
    }
    let head = source.head(0, HEAD_LEN)?;
    if let Some(secret) = secret(&source, &head) {
        return Err(secret);
    }
    if source.len() == OTADATA_LEN as u64
        && let Some(data) = as_otadata(&source.head(0, OTADATA_LEN)?)
    {
        let shown = otadata::describe(&data, None, Rollback::Off);
        return Ok(info(Content::Otadata(shown), None, Vec::new()));
    }
    if let Some((shown, damage)) = nvs::describe_file(&source)? {
        return Ok(info(Content::Nvs(shown), damage, Vec::new()));
    }
    match recognise(&head) {
        Some(FileKind::EspImage) => {
            let (content, damage) = image_content(&source)?;
            Ok(info(content, damage, Vec::new()))
        }
        Some(FileKind::PartitionTable) | None if looks_like_table(&source, &head) => {
            let place = partitions::TablePlace {
                offset: table_offset.unwrap_or(DEFAULT_TABLE_OFFSET),
                flash_size: None,
                chip: None,
            };
            let (table, warnings) = partitions::read_from(&source, place)?;
            let form = if head.starts_with(&[0xAA, 0x50]) {
                "binary"
            } else {
                "csv"
            };
            let shown = TableInfo {
                form,
                md5: table.has_md5(),
                partitions: partitions::rows(&table),
            };
            Ok(info(Content::PartitionTable(shown), None, warnings))
        }
        Some(kind) => Err(Error::refused(
            source.name(),
            format!("is {kind}"),
            foreign_remedy(kind),
        )),
        None if head.is_empty() => Err(Error::refused(
            source.name(),
            "is empty",
            "name an image, a partition table, otadata or a flash dump",
        )),
        None => Err(Error::refused(
            source.name(),
            format!(
                "is nothing of Espressif's: it begins with {}, an image begins with e9 and a table with aa50",
                hex::encode(head.get(..4).unwrap_or(&head))
            ),
            "name an image, a partition table, otadata or a flash dump",
        )),
    }
}

/// A file that is a key by its length and content: not one byte of it is shown.
fn secret(source: &Source, head: &[u8]) -> Option<Error> {
    let is_key = |head: &[u8]| recognise(head).is_none() || head.first() == Some(&IMAGE_MAGIC);
    let (found, remedy) = match (source.len(), keys_from_partition(head)) {
        (68 | 4096, Ok(_)) => (
            "holds NVS keys, whose CRC holds".to_owned(),
            "airseal esp nvs takes it with --keys",
        ),
        (4096, Err(KeysFault::Crc)) if is_erased_behind_keys(head) => (
            "looks like an NVS keys partition, whose CRC does not hold".to_owned(),
            "read it from the device again, or make new keys with airseal esp nvs keys",
        ),
        (len @ (16 | 24 | 32 | 64 | 68), _) if is_key(head) && !head.is_ascii() => (
            format!("has {len} bytes, perhaps a key for flash encryption, NVS or HMAC"),
            "the commands that use it take it with --key, --keys or --hmac-key",
        ),
        _ => return None,
    };
    Some(Error::refused(source.name(), found, remedy))
}

/// True if something lies where the CRC belongs, and nothing behind it.
fn is_erased_behind_keys(head: &[u8]) -> bool {
    let behind = head
        .get(KEYS_LEN..)
        .and_then(|rest| rest.split_first_chunk::<4>());
    behind.is_some_and(|(crc, rest)| *crc != [0xFF; 4] && rest.iter().all(|byte| *byte == 0xFF))
}

/// An image in an area, with its damage; `None` if there is no image.
///
/// # Errors
/// `Io` if the file can't be read.
pub(crate) fn image(
    area: Area<'_>,
) -> Result<Result<(Image, Option<ImageFault>), ImageFault>, Error> {
    match Image::examine(&mut { area }) {
        Ok(found) => Ok(Ok(found)),
        Err(ImageError::Fault(fault)) => Ok(Err(fault)),
        Err(ImageError::Read(error)) => Err(error),
    }
}

/// The table of a flash dump: at the given place, or at a sector where tables usually are.
pub(crate) fn find_table(
    source: &Source,
    table_offset: Option<u32>,
) -> Result<Option<(u32, PartitionTable)>, Error> {
    let usual = [DEFAULT_TABLE_OFFSET]
        .into_iter()
        .chain((0x1000..=0x2_0000).step_by(0x1000));
    let places: Vec<u32> = match table_offset {
        Some(offset) => vec![offset],
        None => usual.collect(),
    };
    for offset in places {
        if u64::from(offset) + MAX_TABLE_LEN as u64 > source.len() {
            continue;
        }
        let bytes = source.head(u64::from(offset), MAX_TABLE_LEN)?;
        if bytes.starts_with(&[0xAA, 0x50])
            && let Ok(table) = PartitionTable::from_binary(&bytes)
        {
            return Ok(Some((offset, table)));
        }
    }
    Ok(None)
}

/// What is shown of an image that lies in `area`.
pub(crate) fn image_info(
    area: Area<'_>,
    image: &Image,
    damage: Option<ImageFault>,
) -> Result<ImageInfo, Error> {
    let hash_len = if image.hash.is_some() { 32 } else { 0 };
    let signature_blocks = signature_blocks(area, image.len)?;
    let is_erased_from = |end: u64| {
        let rest = area.len().saturating_sub(end);
        Ok::<_, Error>(rest == 0 || area.part(end, rest).is_erased()?)
    };
    let sector_end = sector_offset(image.len) + SECTOR_LEN as u64;
    let trailing = if area.len() <= image.len {
        Trailing::Nothing
    } else if is_erased_from(image.len)? {
        Trailing::Erased
    } else if !signature_blocks.is_empty() && is_erased_from(sector_end)? {
        Trailing::Signature
    } else {
        Trailing::Data
    };
    let header = image.header;
    Ok(ImageInfo {
        chip: image.chip.name(),
        chip_id: image.chip.id(),
        entry: image.entry,
        spi_mode: header.spi_mode,
        spi_mode_name: header.spi_mode_name(),
        spi_speed: header.spi_speed,
        spi_size: header.spi_size,
        flash_size: header.flash_size(),
        wp_pin: header.wp_pin,
        spi_pin_drv: header.spi_pin_drv,
        min_chip_rev: header.min_chip_rev,
        min_rev_full: header.min_chip_rev_full,
        max_rev_full: header.max_chip_rev_full,
        segment_count: image.segments.as_slice().len(),
        segments: image
            .segments
            .as_slice()
            .iter()
            .map(|segment| SegmentInfo {
                load_addr: segment.load_address,
                len: segment.len,
                data_off: segment.offset,
            })
            .collect(),
        checksum: image.checksum,
        checksum_off: image.len.saturating_sub(hash_len + 1),
        checksum_ok: !matches!(damage, Some(ImageFault::Checksum { .. })),
        hash_appended: u8::from(image.hash.is_some()),
        sha256: image.hash.map(hex::encode),
        sha256_ok: image.hash.map(|_| damage.is_none()),
        image_len: image.len,
        trailing,
        signature_blocks,
        app_desc: app_desc(&image.descriptor),
        bootloader_desc: bootloader_desc(&image.descriptor),
    })
}

/// The blocks of the sector behind an image, if one begins there.
fn signature_blocks(area: Area<'_>, image_len: u64) -> Result<Vec<BlockInfo>, Error> {
    let place = sector_offset(image_len);
    let sector = area.bytes(place, SECTOR_LEN)?;
    if sector.len() < SECTOR_LEN || sector.first() != Some(&BLOCK_MAGIC) {
        return Ok(Vec::new());
    }
    let image = area.bytes(0, usize::try_from(place).unwrap_or(0))?;
    Ok(signatures::blocks(&image, &sector))
}

const BLOCK_MAGIC: u8 = 0xE7;

fn app_desc(descriptor: &Descriptor) -> Option<AppDescInfo> {
    let Descriptor::App(app) = descriptor else {
        return None;
    };
    Some(AppDescInfo {
        secure_version: app.secure_version,
        version: app.version.to_string(),
        project_name: app.project_name.to_string(),
        time: app.time.to_string(),
        date: app.date.to_string(),
        idf_ver: app.idf_version.to_string(),
        app_elf_sha256: hex::encode(app.elf_sha256),
        min_efuse_blk_rev_full: app.min_efuse_block_rev,
        max_efuse_blk_rev_full: app.max_efuse_block_rev,
        mmu_page_size: app.mmu_page_log2,
        spi_flash_mode: app.spi_flash_mode,
    })
}

fn bootloader_desc(descriptor: &Descriptor) -> Option<BootloaderDescInfo> {
    let Descriptor::Bootloader(boot) = descriptor else {
        return None;
    };
    Some(BootloaderDescInfo {
        secure_version: boot.secure_version,
        version: boot.version,
        idf_ver: boot.idf_version.to_string(),
        date_time: boot.date_time.to_string(),
    })
}

fn image_content(source: &Source) -> Result<(Content, Option<String>), Error> {
    let area = Area::whole(source);
    let (found, damage) = image(area)?.map_err(|fault| {
        Error::refused(
            source.name(),
            fault.to_string(),
            "build or copy the file again",
        )
    })?;
    let shown = Box::new(image_info(area, &found, damage)?);
    let content = match found.descriptor {
        Descriptor::App(_) => Content::App(shown),
        Descriptor::Bootloader(_) => Content::Bootloader(shown),
        Descriptor::None => Content::Image(shown),
    };
    Ok((content, damage.map(|fault| fault.to_string())))
}

fn flash(
    source: &Source,
    table_offset: u32,
    table: &PartitionTable,
) -> Result<(FlashInfo, Option<String>), Error> {
    let mut damage = None;
    let mut found = None;
    for offset in [0, 0x1000, 0x2000] {
        let area = Area::of(
            source,
            offset,
            u64::from(table_offset).saturating_sub(offset),
        );
        if let Ok((image, fault)) = image(area)?
            && u64::from(image.chip.bootloader_offset()) == offset
        {
            damage = fault.map(|fault| format!("bootloader at {offset:#x}: {fault}"));
            found = Some((offset, image_info(area, &image, fault)?));
            break;
        }
    }
    let mut partitions = Vec::new();
    for (row, shown) in table.as_slice().iter().zip(partitions::rows(table)) {
        let info = partition(source, row, shown)?;
        if let Some(fault) = &info.damage {
            damage.get_or_insert_with(|| format!("partition {}: {fault}", info.row.label));
        }
        partitions.push(info);
    }
    let row = table.as_slice().iter().find(|row| row.is_otadata());
    let otadata = match row {
        Some(row) => {
            let bytes = source.head(u64::from(row.offset), OTADATA_LEN)?;
            let data = OtaData::from_partition(&bytes).ok();
            data.map(|data| otadata::describe(&data, Some(table.layout()), Rollback::Off))
        }
        None => None,
    };
    let (bootloader_offset, bootloader) = found.unzip();
    let info = FlashInfo {
        bootloader_offset,
        bootloader,
        table_offset,
        md5: table.has_md5(),
        partitions,
        otadata,
    };
    Ok((info, damage))
}

fn partition(source: &Source, row: &Partition, shown: RowInfo) -> Result<PartitionInfo, Error> {
    let area = Area::of(source, u64::from(row.offset), u64::from(row.size));
    let mut info = PartitionInfo {
        row: shown,
        holds: "data",
        image: None,
        damage: None,
    };
    if area.is_empty() {
        info.holds = "outside";
    } else if area.is_erased()? {
        info.holds = "erased";
    } else if row.is_ota_slot() || row.is_factory() {
        match image(area)? {
            Ok((image, fault)) => {
                info.holds = if fault.is_some() { "damaged" } else { "image" };
                info.damage = fault.map(|fault| fault.to_string());
                info.image = Some(image_info(area, &image, fault)?);
            }
            Err(fault) => {
                let encrypted = recognise(&area.bytes(0, HEAD_LEN)?) == Some(FileKind::Encrypted);
                info.holds = if encrypted { "encrypted" } else { "damaged" };
                info.damage = (!encrypted).then(|| fault.to_string());
            }
        }
    }
    Ok(info)
}

/// A partition of this length is otadata if a record holds, or if nothing is in it.
fn as_otadata(bytes: &[u8]) -> Option<OtaData> {
    let data = OtaData::from_partition(bytes).ok()?;
    let erased = bytes.iter().all(|byte| *byte == 0xFF);
    let holds = data
        .entries
        .iter()
        .any(|entry| entry.sequence != u32::MAX && entry.crc_holds());
    (erased || holds).then_some(data)
}

fn looks_like_table(source: &Source, head: &[u8]) -> bool {
    if head.starts_with(&[0xAA, 0x50]) {
        return true;
    }
    let text = std::str::from_utf8(head).unwrap_or_default();
    source.len() <= partitions::MAX_TABLE_FILE && text.contains(',')
}

fn foreign_remedy(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Bundle | FileKind::Artifact(_) => "airseal inspect takes it",
        FileKind::EncryptedImg => "airseal esp encrypted-img decrypt takes it",
        FileKind::McuBoot => "airseal bridge mcuboot takes it",
        FileKind::Encrypted => {
            "decrypt it first: airseal esp flash-decrypt; airseal esp flash-check takes a dump with --key"
        }
        FileKind::Pem => {
            "airseal esp key-digest --key takes keys of secure boot, airseal key show those of Airseal"
        }
        FileKind::Elf => "make an image of it first (esptool elf2image, espflash save-image)",
        FileKind::Gzip | FileKind::Zip => "unpack it first",
        FileKind::Html => "the download failed: fetch the file again",
        FileKind::ErasedFlash => {
            "there is nothing in it: read the flash again, or from another place"
        }
        _ => "name an image, a partition table, otadata or a flash dump",
    }
}
