//! Where a chip shows its flash and where it has RAM, and whether a bootloader loads an image there.
//!
//! Sources: ESP-IDF `soc/<chip>/include/soc/soc.h` and `esp_image_format.c`, esptool `targets/`. Where the two give
//! different ends, the wider one stands here: what is refused fits neither.

use core::fmt;
use core::ops::Range;

use crate::chip::Chip;
use crate::image::{Image, Segment};

/// Page of the flash cache where an image does not name another, bytes.
pub const DEFAULT_PAGE: u32 = 1 << 16;

/// Segments for lower addresses are padding.
const FIRST_LOADED: u32 = 0x1000_0000;

/// Addresses from the first to the one behind the last.
#[derive(Clone, Copy)]
struct Area {
    start: u32,
    end: u32,
}

impl Area {
    fn contains(self, address: u32) -> bool {
        self.start <= address && address < self.end
    }
}

const fn area(start: u32, end: u32) -> Area {
    Area { start, end }
}

struct Map {
    chip: &'static str,
    /// Addresses at which flash is mapped.
    flash: &'static [Area],
    /// Addresses of RAM that a bootloader fills.
    ram: &'static [Area],
    /// What is taken off an address for code to get the one for data of the same RAM, and from where on.
    alias: Option<(Area, u32)>,
}

const MAPS: &[Map] = &[
    Map {
        chip: "esp32",
        flash: &[
            area(0x3F40_0000, 0x3F80_0000),
            area(0x400D_0000, 0x4040_0000),
        ],
        ram: &[
            area(0x3FF8_0000, 0x3FF8_2000),
            area(0x3FFA_E000, 0x4000_0000),
            area(0x4007_0000, 0x400C_2000),
            area(0x5000_0000, 0x5000_2000),
        ],
        alias: None,
    },
    Map {
        chip: "esp32s2",
        flash: &[
            area(0x3F00_0000, 0x3FF8_0000),
            area(0x4008_0000, 0x4080_0000),
        ],
        ram: &[
            area(0x3FF9_E000, 0x4000_0000),
            area(0x4002_0000, 0x4007_2000),
            area(0x5000_0000, 0x5000_2000),
        ],
        alias: Some((area(0x4002_0000, 0x4007_0000), 0x7_0000)),
    },
    Map {
        chip: "esp32s3",
        flash: &[
            area(0x3C00_0000, 0x3E00_0000),
            area(0x4200_0000, 0x4400_0000),
        ],
        ram: &[
            area(0x3FC8_8000, 0x3FD0_0000),
            area(0x4037_0000, 0x403E_2000),
            area(0x5000_0000, 0x5000_2000),
            area(0x600F_E000, 0x6010_0000),
        ],
        alias: Some((area(0x4037_8000, 0x403E_0000), 0x6F_0000)),
    },
    Map {
        chip: "esp32c2",
        flash: &[
            area(0x3C00_0000, 0x3C40_0000),
            area(0x4200_0000, 0x4240_0000),
        ],
        ram: &[
            area(0x3FCA_0000, 0x3FCE_0000),
            area(0x4037_C000, 0x403C_0000),
        ],
        alias: Some((area(0x4038_0000, 0x403C_0000), 0x6E_0000)),
    },
    Map {
        chip: "esp32c3",
        flash: &[
            area(0x3C00_0000, 0x3C80_0000),
            area(0x4200_0000, 0x4280_0000),
        ],
        ram: &[
            area(0x3FC8_0000, 0x3FCE_0000),
            area(0x4037_C000, 0x403E_0000),
            area(0x5000_0000, 0x5000_2000),
        ],
        alias: Some((area(0x4038_0000, 0x403E_0000), 0x70_0000)),
    },
    Map {
        chip: "esp32p4",
        flash: &[area(0x4000_0000, 0x4C00_0000)],
        ram: &[
            area(0x3010_0000, 0x3010_2000),
            area(0x4FF0_0000, 0x4FFC_0000),
            area(0x5010_8000, 0x5011_0000),
        ],
        alias: None,
    },
    Map {
        chip: "esp32s31",
        flash: &[area(0x4000_0000, 0x5400_0000)],
        ram: &[
            area(0x2E00_0000, 0x2E00_8000),
            area(0x2F00_0000, 0x2F08_0000),
        ],
        alias: None,
    },
];

/// C5, C6, C61, H2, H21 and H4: one bus for both, and the same places.
const REST: Map = Map {
    chip: "",
    flash: &[area(0x4200_0000, 0x4400_0000)],
    ram: &[
        area(0x4080_0000, 0x4088_0000),
        area(0x5000_0000, 0x5000_4000),
    ],
    alias: None,
};

impl Chip {
    /// True if flash is mapped at `address`: a segment for it stays where it is.
    pub fn maps_flash_at(self, address: u32) -> bool {
        self.map().flash.iter().any(|area| area.contains(address))
    }

    /// True if `len` bytes from `address` lie in one RAM.
    pub fn has_ram(self, address: u32, len: u32) -> bool {
        let Some(end) = address.checked_add(len) else {
            return false;
        };
        let mut areas = self.map().ram.iter();
        areas.any(|area| area.contains(address) && end <= area.end)
    }

    /// Addresses of a segment, those for data where the same RAM has two.
    fn place(self, segment: &Segment) -> Range<u32> {
        let start = match &self.map().alias {
            Some((code, offset)) if code.contains(segment.load_address) => {
                segment.load_address - offset
            }
            _ => segment.load_address,
        };
        start..start.saturating_add(segment.len)
    }

    fn map(self) -> &'static Map {
        MAPS.iter()
            .find(|map| map.chip == self.name())
            .unwrap_or(&REST)
    }
}

/// Checks what a bootloader checks of the segments of an application that lies in flash at `flash_offset`.
///
/// The page is the one in the application's descriptor. `bootloader` is the image that would load it: the parts of it
/// that run then may not be written over, which is all but the segment with its entry.
///
/// # Errors
/// [`LoadFault`] for the first segment that would be refused.
pub fn check_load(
    image: &Image,
    flash_offset: u64,
    bootloader: Option<&Image>,
) -> Result<(), LoadFault> {
    let page = match image.app() {
        Some(app) if app.mmu_page_log2 != 0 => 1_u32.checked_shl(app.mmu_page_log2.into()),
        _ => None,
    }
    .unwrap_or(DEFAULT_PAGE);
    for (index, segment) in (0..).zip(image.segments.as_slice()) {
        let address = segment.load_address;
        if segment.len == 0 || address < FIRST_LOADED {
            continue;
        }
        let flash_address = flash_offset.saturating_add(segment.offset);
        if image.chip.maps_flash_at(address) {
            if flash_address % u64::from(page) != u64::from(address % page) {
                return Err(LoadFault::Page {
                    index,
                    address,
                    flash_address,
                    page,
                });
            }
            continue;
        }
        if !image.chip.has_ram(address, segment.len) {
            return Err(LoadFault::NoMemory {
                index,
                address,
                len: segment.len,
            });
        }
        let place = image.chip.place(segment);
        let running = bootloader.and_then(|bootloader| over(bootloader, &place));
        if let Some(running) = running {
            return Err(LoadFault::OverBootloader {
                index,
                address,
                running: running.load_address,
            });
        }
    }
    Ok(())
}

/// The segment of a bootloader that runs while it loads, and lies in `place`.
fn over<'b>(bootloader: &'b Image, place: &Range<u32>) -> Option<&'b Segment> {
    let chip = bootloader.chip;
    bootloader.segments.as_slice().iter().find(|segment| {
        let own = segment.load_address..segment.load_address.saturating_add(segment.len);
        let there = chip.place(segment);
        !own.contains(&bootloader.entry)
            && segment.load_address >= FIRST_LOADED
            && there.start < place.end
            && place.start < there.end
    })
}

/// Why a bootloader would not load a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFault {
    /// It is mapped, and lies elsewhere in its page than its address says.
    Page {
        /// Number of the segment, from 0.
        index: u8,
        /// Its address.
        address: u32,
        /// Where its data lies in flash.
        flash_address: u64,
        /// The page, bytes.
        page: u32,
    },
    /// There is no memory at its address.
    NoMemory {
        /// Number of the segment, from 0.
        index: u8,
        /// Its address.
        address: u32,
        /// Its length, bytes.
        len: u32,
    },
    /// It would be written over the bootloader that loads it.
    OverBootloader {
        /// Number of the segment, from 0.
        index: u8,
        /// Its address.
        address: u32,
        /// Address of the bootloader's segment.
        running: u32,
    },
}

impl fmt::Display for LoadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LoadFault::Page {
                index,
                address,
                flash_address,
                page,
            } => write!(
                f,
                "segment {index} is for address {address:#x} and lies in flash at {flash_address:#x}, which are not at the same place of a page of {page:#x} bytes: the application was built for another offset or page"
            ),
            LoadFault::NoMemory {
                index,
                address,
                len,
            } => write!(
                f,
                "segment {index} is for {len} bytes from {address:#x}, where the chip has no memory"
            ),
            LoadFault::OverBootloader {
                index,
                address,
                running,
            } => write!(
                f,
                "segment {index} for address {address:#x} would be loaded over the bootloader, which runs at {running:#x}"
            ),
        }
    }
}

impl core::error::Error for LoadFault {}
