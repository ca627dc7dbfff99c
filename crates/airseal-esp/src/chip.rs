//! The chips of the ESP32 family: the id in an image header, the name people type, and what differs per family.

use core::fmt;

use crate::secure_boot::Scheme;

/// A chip family, as the `chip_id` field of an image header names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chip {
    id: u16,
    name: &'static str,
    bootloader_offset: u32,
    maps_32_bit: bool,
    flash_encryption: FlashEncryption,
    secure_boot: SecureBoot,
    key_digests: u8,
    mmu_page_log2: (u8, u8),
    has_hmac: bool,
    anti_rollback_bits: u8,
}

/// How a chip encrypts its flash (ESP-IDF `soc_caps.h`: `SOC_FLASH_ENCRYPTION_XTS_AES_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlashEncryption {
    /// The original ESP32's own scheme: AES-256 with a key that is tweaked by the address.
    Legacy,
    /// XTS-AES-128 from a key of 32 bytes.
    Xts128,
    /// XTS-AES-128, from a key of 32 bytes or derived from 16.
    Xts128Derived,
    /// XTS-AES-128 or XTS-AES-256, from a key of 32 or 64 bytes.
    Xts256,
}

impl FlashEncryption {
    /// True if a key file of this many bytes fits. 24 bytes belong to the ESP32 with 3/4 coding.
    pub fn takes_key_len(self, len: usize) -> bool {
        match self {
            FlashEncryption::Legacy => len == 32 || len == 24,
            FlashEncryption::Xts128 => len == 32,
            FlashEncryption::Xts128Derived => len == 32 || len == 16,
            FlashEncryption::Xts256 => len == 32 || len == 64,
        }
    }
}

/// The signatures that a chip's secure boot takes (ESP-IDF `soc_caps.h`: `SOC_SECURE_BOOT_*`, `SOC_ECDSA_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecureBoot {
    /// Version 1, on the original ESP32 alone.
    pub v1: bool,
    /// Version 2 with RSA-3072.
    pub rsa: bool,
    /// Version 2 with ECDSA P-192 and P-256.
    pub ecdsa: bool,
    /// Version 2 with ECDSA P-384.
    pub p384: bool,
    /// ESP-IDF marks ECDSA on this chip as insecure: some signatures are not handled properly.
    pub ecdsa_insecure: bool,
}

impl SecureBoot {
    const RSA: SecureBoot = SecureBoot {
        v1: false,
        rsa: true,
        ecdsa: false,
        p384: false,
        ecdsa_insecure: false,
    };

    /// True if signatures of this scheme, of version 2, are among them.
    pub fn takes(self, scheme: Scheme) -> bool {
        match scheme {
            Scheme::Rsa3072 => self.rsa,
            Scheme::EcdsaP192 | Scheme::EcdsaP256 => self.ecdsa,
            Scheme::EcdsaP384 => self.p384,
        }
    }

    const fn with_ecdsa(self, p384: bool, insecure: bool) -> SecureBoot {
        SecureBoot {
            ecdsa: true,
            p384,
            ecdsa_insecure: insecure,
            ..self
        }
    }
}

impl Chip {
    /// Every chip known here, ascending by id.
    pub const ALL: &'static [Chip] = &[
        Chip {
            flash_encryption: FlashEncryption::Legacy,
            secure_boot: SecureBoot {
                v1: true,
                ..SecureBoot::RSA
            },
            key_digests: 1,
            has_hmac: false,
            anti_rollback_bits: 32,
            ..chip(0, "esp32", 0x1000, false)
        },
        Chip {
            flash_encryption: FlashEncryption::Xts256,
            ..chip(2, "esp32s2", 0x1000, false)
        },
        chip(5, "esp32c3", 0x0, false),
        Chip {
            flash_encryption: FlashEncryption::Xts256,
            ..chip(9, "esp32s3", 0x0, true)
        },
        Chip {
            flash_encryption: FlashEncryption::Xts128Derived,
            secure_boot: SecureBoot {
                rsa: false,
                ..SecureBoot::RSA.with_ecdsa(false, false)
            },
            key_digests: 1,
            mmu_page_log2: (14, 16),
            has_hmac: false,
            anti_rollback_bits: 4,
            ..chip(12, "esp32c2", 0x0, false)
        },
        Chip {
            secure_boot: SecureBoot::RSA.with_ecdsa(false, false),
            mmu_page_log2: (13, 16),
            ..chip(13, "esp32c6", 0x0, false)
        },
        Chip {
            secure_boot: SecureBoot::RSA.with_ecdsa(false, true),
            mmu_page_log2: (13, 16),
            ..chip(16, "esp32h2", 0x0, false)
        },
        Chip {
            flash_encryption: FlashEncryption::Xts256,
            secure_boot: SecureBoot::RSA.with_ecdsa(true, true),
            ..chip(18, "esp32p4", 0x2000, true)
        },
        Chip {
            secure_boot: SecureBoot::RSA.with_ecdsa(false, true),
            mmu_page_log2: (13, 16),
            has_hmac: false,
            ..chip(20, "esp32c61", 0x0, true)
        },
        Chip {
            flash_encryption: FlashEncryption::Xts256,
            secure_boot: SecureBoot::RSA.with_ecdsa(true, true),
            anti_rollback_bits: 9,
            ..chip(23, "esp32c5", 0x2000, true)
        },
        Chip {
            secure_boot: SecureBoot::RSA.with_ecdsa(false, false),
            mmu_page_log2: (13, 16),
            ..chip(25, "esp32h21", 0x0, true)
        },
        Chip {
            flash_encryption: FlashEncryption::Xts256,
            secure_boot: SecureBoot::RSA.with_ecdsa(true, false),
            mmu_page_log2: (13, 16),
            ..chip(28, "esp32h4", 0x2000, true)
        },
        Chip {
            flash_encryption: FlashEncryption::Xts256,
            secure_boot: SecureBoot::RSA.with_ecdsa(true, false),
            mmu_page_log2: (15, 18),
            ..chip(32, "esp32s31", 0x2000, true)
        },
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
    pub(crate) fn segment_limit(self) -> Option<u32> {
        if self.maps_32_bit {
            None
        } else {
            Some(16 << 20)
        }
    }

    /// The flash encryption scheme and its key sizes.
    pub fn flash_encryption(self) -> FlashEncryption {
        self.flash_encryption
    }

    /// The secure boot signatures it takes.
    pub fn secure_boot(self) -> SecureBoot {
        self.secure_boot
    }

    /// How many digests of secure boot keys its eFuses hold.
    pub fn key_digests(self) -> u8 {
        self.key_digests
    }

    /// True if the cache can map pages of `1 << log2` bytes. 64 KiB is the default of every chip.
    pub fn maps_page(self, log2: u8) -> bool {
        (self.mmu_page_log2.0..=self.mmu_page_log2.1).contains(&log2)
    }

    /// True if it has the peripheral for HMACs under a key that software can't read.
    pub fn has_hmac(self) -> bool {
        self.has_hmac
    }

    /// Width of the anti-rollback counter in its eFuses, in bits: the highest secure version there can be.
    pub fn anti_rollback_bits(self) -> u8 {
        self.anti_rollback_bits
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

/// What most chips have; the table names the exceptions.
const fn chip(id: u16, name: &'static str, bootloader_offset: u32, maps_32_bit: bool) -> Chip {
    Chip {
        id,
        name,
        bootloader_offset,
        maps_32_bit,
        flash_encryption: FlashEncryption::Xts128,
        secure_boot: SecureBoot::RSA,
        key_digests: 3,
        mmu_page_log2: (16, 16),
        has_hmac: true,
        anti_rollback_bits: 16,
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

    /// Names of the chips for which `holds`.
    fn with(holds: impl Fn(Chip) -> bool) -> std::vec::Vec<&'static str> {
        let chips = Chip::ALL.iter().copied();
        chips.filter(|chip| holds(*chip)).map(Chip::name).collect()
    }

    #[test]
    fn bootloaders_lie_where_the_rom_looks() {
        assert_eq!(
            with(|c| c.bootloader_offset() == 0x1000),
            ["esp32", "esp32s2"]
        );
        assert_eq!(
            with(|c| c.bootloader_offset() == 0x2000),
            ["esp32p4", "esp32c5", "esp32h4", "esp32s31"]
        );
    }

    #[test]
    fn flash_encryption_differs_in_scheme_and_key_size() {
        assert_eq!(with(|c| c.flash_encryption().takes_key_len(24)), ["esp32"]);
        assert_eq!(
            with(|c| c.flash_encryption().takes_key_len(16)),
            ["esp32c2"]
        );
        assert_eq!(with(|c| c.flash_encryption().takes_key_len(32)).len(), 13);
        assert_eq!(
            with(|c| c.flash_encryption().takes_key_len(64)),
            [
                "esp32s2", "esp32s3", "esp32p4", "esp32c5", "esp32h4", "esp32s31"
            ]
        );
    }

    #[test]
    fn secure_boot_differs_in_schemes_and_digests() {
        assert_eq!(with(|c| c.secure_boot().v1), ["esp32"]);
        assert_eq!(with(|c| !c.secure_boot().rsa), ["esp32c2"]);
        assert_eq!(
            with(|c| !c.secure_boot().ecdsa),
            ["esp32", "esp32s2", "esp32c3", "esp32s3"]
        );
        assert_eq!(
            with(|c| c.secure_boot().p384),
            ["esp32p4", "esp32c5", "esp32h4", "esp32s31"]
        );
        assert_eq!(
            with(|c| c.secure_boot().ecdsa_insecure),
            ["esp32h2", "esp32p4", "esp32c61", "esp32c5"]
        );
        assert_eq!(with(|c| c.key_digests() == 1), ["esp32", "esp32c2"]);
    }

    #[test]
    fn the_other_differences_are_those_of_the_vendor() {
        assert_eq!(with(|c| !c.has_hmac()), ["esp32", "esp32c2", "esp32c61"]);
        assert_eq!(with(|c| c.maps_page(16)).len(), 13);
        assert_eq!(with(|c| c.maps_page(14)).len(), 6);
        assert_eq!(with(|c| c.maps_page(18)), ["esp32s31"]);
        let bits = |n| with(|c| c.anti_rollback_bits() == n);
        assert_eq!(
            (bits(32), bits(4), bits(9)),
            (
                std::vec!["esp32"],
                std::vec!["esp32c2"],
                std::vec!["esp32c5"]
            )
        );
    }
}
