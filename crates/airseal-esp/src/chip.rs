//! The chips of the ESP32 family: the id in an image header, the name people type, and what differs per family.

use core::fmt;

/// A chip family, as the `chip_id` field of an image header names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chip {
    id: u16,
    name: &'static str,
    bootloader_offset: u32,
    maps_32_bit: bool,
}

impl Chip {
    /// Every chip known here, ascending by id.
    pub const ALL: &'static [Chip] = &[
        chip(0, "esp32", 0x1000, false),
        chip(2, "esp32s2", 0x1000, false),
        chip(5, "esp32c3", 0x0, false),
        chip(9, "esp32s3", 0x0, true),
        chip(12, "esp32c2", 0x0, false),
        chip(13, "esp32c6", 0x0, false),
        chip(16, "esp32h2", 0x0, false),
        chip(18, "esp32p4", 0x2000, true),
        chip(20, "esp32c61", 0x0, true),
        chip(23, "esp32c5", 0x2000, true),
        chip(25, "esp32h21", 0x0, true),
        chip(28, "esp32h4", 0x2000, true),
        chip(32, "esp32s31", 0x2000, true),
    ];

    /// The chip with this `chip_id`, or `None` for an id that no known chip has.
    pub fn from_id(id: u16) -> Option<Chip> {
        Self::ALL.iter().copied().find(|chip| chip.id == id)
    }

    /// The chip with this name; case and the dashes of marketing names (`ESP32-C3`) do not matter.
    pub fn from_name(name: &str) -> Option<Chip> {
        Self::ALL.iter().copied().find(|chip| {
            let typed = name
                .bytes()
                .filter(|b| *b != b'-')
                .map(|b| b.to_ascii_lowercase());
            typed.eq(chip.name.bytes())
        })
    }

    /// The number in the image header's `chip_id` field.
    pub fn id(self) -> u16 {
        self.id
    }

    /// The name in the spelling of Espressif's tools, for example `esp32c3`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Flash offset in bytes at which the ROM looks for the second-stage bootloader.
    pub fn bootloader_offset(self) -> u32 {
        self.bootloader_offset
    }

    /// The largest segment in bytes that the chip's cache can map, `None` where only the file limits it.
    pub fn segment_limit(self) -> Option<u32> {
        if self.maps_32_bit {
            None
        } else {
            Some(16 << 20)
        }
    }
}

impl fmt::Debug for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn chip(id: u16, name: &'static str, bootloader_offset: u32, maps_32_bit: bool) -> Chip {
    Chip {
        id,
        name,
        bootloader_offset,
        maps_32_bit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_every_usual_spelling() {
        for name in ["esp32c3", "ESP32-C3", "ESP32C3", "esp32-c3"] {
            assert_eq!(Chip::from_name(name).map(Chip::id), Some(5), "{name}");
        }
        assert!(Chip::from_name("esp32c").is_none());
        assert!(Chip::from_name("esp8266").is_none());
    }

    #[test]
    fn ids_and_names_are_unique_and_lead_back_to_the_chip() {
        assert_eq!(Chip::ALL.len(), 13);
        for chip in Chip::ALL {
            assert_eq!(Chip::from_id(chip.id()), Some(*chip));
            assert_eq!(Chip::from_name(chip.name()), Some(*chip));
        }
        assert!(Chip::ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
    }
}
