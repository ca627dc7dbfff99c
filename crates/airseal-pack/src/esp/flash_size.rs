//! The size of the flash in a bootloader's header. The bootloader refuses a partition table that goes beyond it
//! (ESP-IDF: `bootloader_utility.c`, `flash_partitions.c`).

use airseal_esp::{Image, ImageError};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::source::Source;

/// Where the header has the size, in the upper four bits.
const SIZE_OFFSET: usize = 3;

/// The bootloader with `size` bytes of flash in its header and its hash made anew, as `esptool write-flash --flash-size`
/// writes it, and the size that was there. `None` if the header says so already. Behind the image nothing is kept: a
/// signature would not hold any more.
///
/// # Errors
/// `Io`; refused if the file is no image, or a header has no number for the size.
pub fn with_flash_size(source: &Source, size: u64) -> Result<Option<(Source, u32)>, Error> {
    let refuse = |message: String, remedy| Error::refused(source.name(), message, remedy);
    let image = Image::parse(&mut &*source).map_err(|error| match error {
        ImageError::Read(error) => error,
        ImageError::Fault(fault) => refuse(fault.to_string(), "name the bootloader of the build"),
    })?;
    let before = image.header.flash_size().unwrap_or(0);
    if u64::from(before) == size {
        return Ok(None);
    }
    let number = size.checked_ilog2().and_then(|log| log.checked_sub(20));
    let number = number
        .filter(|number| size.is_power_of_two() && *number <= 7)
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| {
            refuse(
                format!("spi_size at offset {SIZE_OFFSET} has no number for {size:#x} bytes"),
                "headers know 1 MiB, 2 MiB, 4 MiB and so on up to 128 MiB",
            )
        })?;
    let len = usize::try_from(image.len).unwrap_or(usize::MAX);
    let mut bytes = source.head(0, len)?;
    if let Some(byte) = bytes.get_mut(SIZE_OFFSET) {
        *byte = number << 4 | *byte & 0x0F;
    }
    if image.hash.is_some()
        && let Some((body, hash)) = bytes.split_last_chunk_mut::<32>()
    {
        hash.copy_from_slice(&Sha256::digest(body));
    }
    Ok(Some((
        Source::spool(source.name(), &mut &bytes[..])?,
        before,
    )))
}
