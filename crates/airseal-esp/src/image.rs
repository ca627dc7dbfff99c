//! Application and second-stage bootloader images (ESP-IDF `esp_app_format.h`, `esp_app_desc.h`, `esp_bootloader_desc.h`).
//!
//! An image is a 24-byte header, up to sixteen segments, zero padding whose last byte is a checksum, and, if the header
//! says so, a SHA-256 over everything before it. Its true length follows from the segments alone: files are often padded
//! or carry a signature behind the image. [`Image::parse`] walks the file once, front to back, and holds a few hundred
//! bytes whatever the size.

use core::convert::Infallible;

use sha2::{Digest, Sha256};

use crate::chip::Chip;
use descriptor::APP_DESCRIPTOR_LEN;
use walk::Walk;

mod descriptor;
mod fault;
mod walk;

pub use descriptor::{AppDescriptor, BootloaderDescriptor, Descriptor, Text};
pub use fault::{ImageError, ImageFault, Part};

/// First byte of every image.
pub const IMAGE_MAGIC: u8 = 0xE9;
/// Length of the image header in bytes.
pub const HEADER_LEN: u64 = 24;
/// Length of a segment header in bytes.
pub(crate) const SEGMENT_HEADER_LEN: u64 = 8;
/// Largest number of segments the bootloaders accept.
pub(crate) const MAX_SEGMENTS: u8 = 16;

const CHECKSUM_SEED: u8 = 0xEF;
const HASH_LEN: u64 = 32;

/// Random access to the bytes of a file, so that an image of any size is read through a small window.
pub trait ImageSource {
    /// What can go wrong while reading; [`Infallible`] for a slice.
    type Error;

    /// Total number of bytes.
    fn len(&self) -> u64;

    /// True if there is not one byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` from `offset`; called only for ranges inside [`ImageSource::len`].
    ///
    /// # Errors
    /// Whatever the medium reports.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Self::Error>;
}

impl ImageSource for &[u8] {
    type Error = Infallible;

    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Infallible> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(bytes) = start
            .checked_add(buffer.len())
            .and_then(|end| self.get(start..end))
        {
            buffer.copy_from_slice(bytes);
        }
        Ok(())
    }
}

/// An image whose header, segments, checksum and appended hash all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The chip the image is built for.
    pub chip: Chip,
    /// Address the bootloader jumps to.
    pub entry: u32,
    /// The other fields of the header.
    pub header: Header,
    /// The segments in file order.
    pub segments: Segments,
    /// The checksum byte.
    pub checksum: u8,
    /// The appended SHA-256; `None` if the header says that none follows.
    pub hash: Option<[u8; 32]>,
    /// Length of the image in bytes, hash included; the file may be longer.
    pub len: u64,
    /// What the image says about itself.
    pub descriptor: Descriptor,
}

impl Image {
    /// Reads and checks an image.
    ///
    /// # Errors
    /// [`ImageError::Fault`] names the first thing that is wrong and where; [`ImageError::Read`] passes on an error of the
    /// source.
    pub fn parse<S: ImageSource>(source: &mut S) -> Result<Image, ImageError<S::Error>> {
        match Self::examine(source)? {
            (image, None) => Ok(image),
            (_, Some(damage)) => Err(damage.into()),
        }
    }

    /// Reads an image that may be damaged in its contents: a wrong checksum or hash comes beside the image.
    ///
    /// # Errors
    /// As [`Image::parse`], for everything that keeps the image from being read at all.
    pub fn examine<S: ImageSource>(
        source: &mut S,
    ) -> Result<(Image, Option<ImageFault>), ImageError<S::Error>> {
        let mut walk = Walk {
            source,
            position: 0,
            sha256: Sha256::new(),
        };
        let header: [u8; HEADER_LEN as usize] = walk.take(Part::Header)?;
        if header[0] != IMAGE_MAGIC {
            return Err(ImageFault::Magic { found: header[0] }.into());
        }
        let count = header[1];
        if count == 0 || count > MAX_SEGMENTS {
            return Err(ImageFault::SegmentCount { found: count }.into());
        }
        let chip_id = u16::from_le_bytes([header[12], header[13]]);
        let chip = Chip::from_id(chip_id).ok_or(ImageFault::Chip { found: chip_id })?;
        if header[23] > 1 {
            return Err(ImageFault::HashFlag { found: header[23] }.into());
        }

        let mut segments = Segments {
            rows: [Segment::default(); MAX_SEGMENTS as usize],
            count,
        };
        let mut checksum = CHECKSUM_SEED;
        let mut descriptor = [0; APP_DESCRIPTOR_LEN];
        for index in 0..count {
            let segment = walk.segment(index, chip)?;
            if let Some(row) = segments.rows.get_mut(usize::from(index)) {
                *row = segment;
            }
            let head = if index == 0 {
                &mut descriptor[..]
            } else {
                &mut []
            };
            checksum = walk.segment_data(segment, checksum, head)?;
        }

        let mut last = [0; 16];
        let used = usize::try_from(walk.position % 16).unwrap_or_default();
        let window = last.get_mut(used..).unwrap_or_default();
        walk.fill(window, Part::Checksum)?;
        let stored = window.last().copied().unwrap_or_default();
        let mut damage = (stored != checksum).then(|| ImageFault::Checksum {
            offset: walk.position - 1,
            stored,
            computed: checksum,
        });

        let computed: [u8; 32] = walk.sha256.clone().finalize().into();
        let hash = if header[23] == 1 {
            let offset = walk.position;
            let stored: [u8; HASH_LEN as usize] = walk.take(Part::Hash)?;
            if stored != computed {
                damage = damage.or(Some(ImageFault::Hash { offset }));
            }
            Some(stored)
        } else {
            None
        };
        let first_len = segments.as_slice().first().map_or(0, |segment| segment.len);
        let image = Image {
            chip,
            entry: u32::from_le_bytes([header[4], header[5], header[6], header[7]]),
            header: Header::parse(&header),
            segments,
            checksum: stored,
            hash,
            len: walk.position,
            descriptor: Descriptor::parse(&descriptor, first_len),
        };
        Ok((image, damage))
    }

    /// The application descriptor, `None` for a bootloader or a bare image.
    pub fn app(&self) -> Option<&AppDescriptor> {
        match &self.descriptor {
            Descriptor::App(app) => Some(app),
            _ => None,
        }
    }
}

/// What the header says beside chip, entry and segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How the flash is wired: 0 QIO, 1 QOUT, 2 DIO, 3 DOUT, 4 fast read, 5 slow read.
    pub spi_mode: u8,
    /// Divider of the flash clock: 0 half, 1 a third, 2 a quarter, 15 full; the clock differs per chip.
    pub spi_speed: u8,
    /// Size of the flash: 1 MiB shifted left by this number.
    pub spi_size: u8,
    /// Pin of write protection, 0xEE if unused.
    pub wp_pin: u8,
    /// Drive strengths of the flash pins.
    pub spi_pin_drv: [u8; 3],
    /// Lowest chip revision, as old bootloaders read it.
    pub min_chip_rev: u8,
    /// Lowest chip revision: major times 100 plus minor.
    pub min_chip_rev_full: u16,
    /// Highest chip revision likewise; 0 and 65535 mean any. Not looked at in a bootloader.
    pub max_chip_rev_full: u16,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_LEN as usize]) -> Header {
        Header {
            spi_mode: bytes[2],
            spi_speed: bytes[3] & 0x0F,
            spi_size: bytes[3] >> 4,
            wp_pin: bytes[8],
            spi_pin_drv: [bytes[9], bytes[10], bytes[11]],
            min_chip_rev: bytes[14],
            min_chip_rev_full: u16::from_le_bytes([bytes[15], bytes[16]]),
            max_chip_rev_full: u16::from_le_bytes([bytes[17], bytes[18]]),
        }
    }

    /// Size of the flash in bytes, `None` for a number without meaning.
    pub fn flash_size(&self) -> Option<u32> {
        (self.spi_size <= 7).then(|| 1 << (20 + self.spi_size))
    }

    /// The name of the flash mode in Espressif's tools.
    pub fn spi_mode_name(&self) -> Option<&'static str> {
        const NAMES: [&str; 6] = ["qio", "qout", "dio", "dout", "fast-read", "slow-read"];
        NAMES.get(usize::from(self.spi_mode)).copied()
    }
}

/// One segment of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Where the bootloader puts or maps it; 0 marks padding.
    pub load_address: u32,
    /// Offset of the data in the file, in bytes (the 8-byte segment header lies before it).
    pub offset: u64,
    /// Length of the data in bytes.
    pub len: u32,
}

/// The segments of an image in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    rows: [Segment; MAX_SEGMENTS as usize],
    count: u8,
}

impl Segments {
    /// All segments, first to last.
    pub fn as_slice(&self) -> &[Segment] {
        self.rows.get(..usize::from(self.count)).unwrap_or_default()
    }
}
