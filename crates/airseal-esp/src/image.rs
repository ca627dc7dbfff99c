//! Application and second-stage bootloader images (ESP-IDF `esp_app_format.h`, `esp_app_desc.h`, `esp_bootloader_desc.h`).
//!
//! An image is a 24-byte header, up to sixteen segments, zero padding whose last byte is a checksum, and, if the header
//! says so, a SHA-256 over everything before it. Its true length follows from the segments alone: files are often padded
//! or carry a signature behind the image. [`Image::parse`] walks the file once, front to back, and holds a few hundred
//! bytes whatever the size.

use core::convert::Infallible;
use core::fmt;

use sha2::{Digest, Sha256};

use crate::chip::Chip;

/// First byte of every image.
pub const IMAGE_MAGIC: u8 = 0xE9;
/// Length of the image header in bytes.
pub const HEADER_LEN: u64 = 24;
/// Length of a segment header in bytes.
pub const SEGMENT_HEADER_LEN: u64 = 8;
/// Largest number of segments the bootloaders accept.
pub const MAX_SEGMENTS: u8 = 16;
/// Where a descriptor lies in an image that has one: the first data byte of the first segment.
pub const DESCRIPTOR_OFFSET: u64 = HEADER_LEN + SEGMENT_HEADER_LEN;

const APP_DESCRIPTOR_MAGIC: u32 = 0xABCD_5432;
const APP_DESCRIPTOR_LEN: usize = 256;
const BOOTLOADER_DESCRIPTOR_MAGIC: u8 = 0x50;
const BOOTLOADER_DESCRIPTOR_LEN: u32 = 80;
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
    fn parse(bytes: &[u8; APP_DESCRIPTOR_LEN], available: u32) -> Descriptor {
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

/// Why an image was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError<E> {
    /// The bytes are wrong.
    Fault(ImageFault),
    /// The source could not be read.
    Read(E),
}

impl<E> From<ImageFault> for ImageError<E> {
    fn from(fault: ImageFault) -> Self {
        ImageError::Fault(fault)
    }
}

/// What is wrong with an image; offsets count bytes from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFault {
    /// The first byte is not 0xE9.
    Magic {
        /// The byte found.
        found: u8,
    },
    /// `segment_count` is 0 or above 16.
    SegmentCount {
        /// The count found.
        found: u8,
    },
    /// `chip_id` is no chip's.
    Chip {
        /// The id found.
        found: u16,
    },
    /// `hash_appended` is neither 0 nor 1.
    HashFlag {
        /// The value found.
        found: u8,
    },
    /// A segment's length is no multiple of four.
    SegmentAlignment {
        /// Number of the segment, from 0.
        index: u8,
        /// Offset of the length field.
        offset: u64,
        /// The length found.
        len: u32,
    },
    /// A segment is longer than the chip can map.
    SegmentTooLong {
        /// Number of the segment, from 0.
        index: u8,
        /// Offset of the length field.
        offset: u64,
        /// The length found.
        len: u32,
    },
    /// The file ends inside a part.
    Truncated {
        /// What is cut off.
        part: Part,
        /// Where that part begins.
        offset: u64,
        /// Where it would have to end.
        end: u64,
        /// Length of the file.
        file_len: u64,
    },
    /// The XOR over the segments is not the stored byte.
    Checksum {
        /// Offset of the checksum byte.
        offset: u64,
        /// The byte in the file.
        stored: u8,
        /// The byte that the segments give.
        computed: u8,
    },
    /// The appended SHA-256 is not that of the image.
    Hash {
        /// Offset of the hash.
        offset: u64,
    },
}

impl fmt::Display for ImageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ImageFault::Magic { found } => {
                write!(
                    f,
                    "magic at offset 0 is {found:#04x}, an ESP image starts with {IMAGE_MAGIC:#04x}"
                )
            }
            ImageFault::SegmentCount { found } => {
                write!(
                    f,
                    "segment_count at offset 1 is {found}, allowed are 1 to {MAX_SEGMENTS}"
                )
            }
            ImageFault::Chip { found } => write!(
                f,
                "chip_id at offset 12 is {found}, which no known chip has"
            ),
            ImageFault::HashFlag { found } => write!(
                f,
                "hash_appended at offset 23 is {found}, allowed are 0 and 1"
            ),
            ImageFault::SegmentAlignment { index, offset, len } => {
                write!(
                    f,
                    "length of segment {index} at offset {offset:#x} is {len}, not a multiple of 4"
                )
            }
            ImageFault::SegmentTooLong { index, offset, len } => {
                write!(
                    f,
                    "length of segment {index} at offset {offset:#x} is {len} bytes, more than the chip maps (16 MiB)"
                )
            }
            ImageFault::Truncated {
                part,
                offset,
                end,
                file_len,
            } => write!(
                f,
                "truncated: {part} at offset {offset:#x} reaches to byte {end}, the file has {file_len}"
            ),
            ImageFault::Checksum {
                offset,
                stored,
                computed,
            } => write!(
                f,
                "checksum at offset {offset:#x} is {stored:#04x}, the segments give {computed:#04x}: the image is damaged"
            ),
            ImageFault::Hash { offset } => {
                write!(
                    f,
                    "appended SHA-256 at offset {offset:#x} does not match the image: the image is damaged"
                )
            }
        }
    }
}

impl core::error::Error for ImageFault {}

/// A part of an image that a file can end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The 24-byte header.
    Header,
    /// The header of a segment.
    SegmentHeader(u8),
    /// The data of a segment.
    SegmentData(u8),
    /// Padding and checksum byte.
    Checksum,
    /// The appended SHA-256.
    Hash,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Header => f.write_str("image header"),
            Part::SegmentHeader(index) => write!(f, "header of segment {index}"),
            Part::SegmentData(index) => write!(f, "data of segment {index}"),
            Part::Checksum => f.write_str("checksum"),
            Part::Hash => f.write_str("appended SHA-256"),
        }
    }
}

/// The single pass over the file: everything read goes through the running hash.
struct Walk<'s, S> {
    source: &'s mut S,
    position: u64,
    sha256: Sha256,
}

impl<S: ImageSource> Walk<'_, S> {
    fn take<const N: usize>(&mut self, part: Part) -> Result<[u8; N], ImageError<S::Error>> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, part)?;
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8], part: Part) -> Result<(), ImageError<S::Error>> {
        self.require(buffer.len() as u64, part)?;
        self.source
            .read_at(self.position, buffer)
            .map_err(ImageError::Read)?;
        self.sha256.update(&*buffer);
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn require(&self, len: u64, part: Part) -> Result<(), ImageFault> {
        let end = self.position.saturating_add(len);
        let file_len = self.source.len();
        if end > file_len {
            return Err(ImageFault::Truncated {
                part,
                offset: self.position,
                end,
                file_len,
            });
        }
        Ok(())
    }

    fn segment(&mut self, index: u8, chip: Chip) -> Result<Segment, ImageError<S::Error>> {
        let header: [u8; SEGMENT_HEADER_LEN as usize] = self.take(Part::SegmentHeader(index))?;
        let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let offset = self.position - 4;
        if !len.is_multiple_of(4) {
            return Err(ImageFault::SegmentAlignment { index, offset, len }.into());
        }
        if chip.segment_limit().is_some_and(|limit| len >= limit) {
            return Err(ImageFault::SegmentTooLong { index, offset, len }.into());
        }
        self.require(u64::from(len), Part::SegmentData(index))?;
        let load_address = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        Ok(Segment {
            load_address,
            offset: self.position,
            len,
        })
    }

    /// Reads a segment's data, copies its start into `head`, and returns the checksum so far.
    fn segment_data(
        &mut self,
        segment: Segment,
        seed: u8,
        head: &mut [u8],
    ) -> Result<u8, ImageError<S::Error>> {
        let mut checksum = seed;
        let mut left = u64::from(segment.len);
        let mut head = head;
        let mut window = [0; 1024];
        while left > 0 {
            let step = left.min(window.len() as u64);
            let chunk = window.get_mut(..step as usize).unwrap_or_default();
            self.fill(chunk, Part::Header)?;
            checksum = chunk.iter().fold(checksum, |sum, byte| sum ^ byte);
            let copied = head.len().min(chunk.len());
            let (now, later) = head.split_at_mut(copied);
            now.copy_from_slice(chunk.get(..copied).unwrap_or_default());
            head = later;
            left -= step;
        }
        Ok(checksum)
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .unwrap_or([0; N])
}
