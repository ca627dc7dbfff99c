//! The names of each chip: what closes its doors, and what locks that.

use airseal_esp::Chip;
use airseal_pack::Error;

use super::{EfuseWish, refuse};
use crate::config::{BootScheme, Download, EncryptionMode, Jtag};

/// A chip as the factory sees it.
pub(super) enum Family {
    /// The original: blocks with fixed meanings.
    Esp32,
    /// One key block.
    Esp32C2,
    /// Six key blocks with purposes.
    SixBlocks(Doors),
}

/// What a chip of six blocks has beside the names that all of them have.
pub(super) struct Doors {
    /// Burned with release encryption.
    encryption: &'static [&'static str],
    /// Other ways to start code than the bootloader; burned with release encryption and with secure boot.
    boot: &'static [&'static str],
    /// Burned when the debug port is closed for good.
    jtag: &'static [&'static str],
    /// The hardware can't use block 5 for flash keys.
    key5_takes_no_xts: bool,
    /// Bits of `SOFT_DIS_JTAG`, all set.
    soft_jtag: u64,
    /// Whether protecting `DIS_ICACHE` protects it too.
    soft_jtag_protected: bool,
}

impl Family {
    pub(super) fn of(chip: Chip) -> Result<Family, Error> {
        let doors = match chip.name() {
            "esp32" => return Ok(Family::Esp32),
            "esp32c2" => return Ok(Family::Esp32C2),
            "esp32s2" => Doors {
                encryption: &["DIS_DOWNLOAD_ICACHE", "DIS_DOWNLOAD_DCACHE"],
                boot: &["DIS_LEGACY_SPI_BOOT", "DIS_BOOT_REMAP"],
                jtag: &["HARD_DIS_JTAG"],
                key5_takes_no_xts: false,
                soft_jtag: 1,
                soft_jtag_protected: true,
            },
            "esp32s3" => Doors {
                encryption: &["DIS_DOWNLOAD_ICACHE", "DIS_DOWNLOAD_DCACHE"],
                boot: &["DIS_DIRECT_BOOT"],
                jtag: &["DIS_USB_JTAG", "DIS_PAD_JTAG"],
                key5_takes_no_xts: true,
                soft_jtag: 7,
                soft_jtag_protected: false,
            },
            "esp32c3" => Doors {
                encryption: &["DIS_DOWNLOAD_ICACHE"],
                boot: &["DIS_DIRECT_BOOT"],
                jtag: &["DIS_USB_JTAG", "DIS_PAD_JTAG"],
                key5_takes_no_xts: true,
                soft_jtag: 7,
                soft_jtag_protected: false,
            },
            "esp32c6" => Doors {
                encryption: &["DIS_DOWNLOAD_ICACHE", "SPI_DOWNLOAD_MSPI_DIS"],
                boot: &["DIS_DIRECT_BOOT"],
                jtag: &["DIS_USB_JTAG", "DIS_PAD_JTAG"],
                key5_takes_no_xts: false,
                soft_jtag: 7,
                soft_jtag_protected: false,
            },
            "esp32h2" => Doors {
                encryption: &["SPI_DOWNLOAD_MSPI_DIS", "XTS_DPA_PSEUDO_LEVEL"],
                boot: &["DIS_DIRECT_BOOT"],
                jtag: &["DIS_USB_JTAG", "DIS_PAD_JTAG"],
                key5_takes_no_xts: false,
                soft_jtag: 7,
                soft_jtag_protected: false,
            },
            other => {
                return Err(refuse(
                    "chip.family",
                    &format!("{other} can't be provisioned yet"),
                    "take esp32, esp32s2, esp32s3, esp32c2, esp32c3, esp32c6 or esp32h2",
                ));
            }
        };
        Ok(Family::SixBlocks(doors))
    }

    pub(super) fn key5_takes_no_xts(&self) -> bool {
        matches!(self, Family::SixBlocks(doors) if doors.key5_takes_no_xts)
    }

    /// Names and values of the first call.
    pub(super) fn fields(&self, wish: &EfuseWish) -> Result<Vec<(String, u64)>, Error> {
        let mut fields = Fields(Vec::new());
        match self {
            Family::Esp32 => esp32(wish, &mut fields)?,
            Family::Esp32C2 => esp32c2(wish, &mut fields)?,
            Family::SixBlocks(doors) => six_blocks(wish, doors, &mut fields)?,
        }
        if wish.secure_version > 0 {
            let bits = wish.chip.anti_rollback_bits();
            if wish.secure_version > bits {
                return Err(refuse(
                    "efuse.secure_version",
                    &format!("{} counts to {bits}", wish.chip),
                    "take a smaller one",
                ));
            }
            fields.set("SECURE_VERSION", (1 << wish.secure_version) - 1);
        }
        Ok(fields.0)
    }

    /// Names that are write-protected in the first call. A development board keeps open what a release burns later:
    /// protecting the C2's counter or `DIS_ICACHE` of the others would freeze `DIS_DOWNLOAD_MANUAL_ENCRYPT` with it.
    pub(super) fn protected(&self, wish: &EfuseWish) -> Vec<String> {
        let release = wish.encryption == EncryptionMode::Release;
        let signed = wish.secure_boot != BootScheme::Off;
        let development = wish.encryption == EncryptionMode::Development;
        if !release && !signed {
            return Vec::new();
        }
        let names: &[&str] = match (self, development) {
            (Family::Esp32, _) => &["DIS_CACHE", "RD_DIS"],
            (Family::Esp32C2, true) => &["RD_DIS"],
            (Family::SixBlocks(_), true) => &["SECURE_BOOT_EN", "RD_DIS"],
            (Family::Esp32C2, false) => &["SPI_BOOT_CRYPT_CNT", "RD_DIS"],
            (Family::SixBlocks(_), false) => &["DIS_ICACHE", "RD_DIS"],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// True if protecting `protected` write-protects `name` as well: names share bits of `WR_DIS`.
    pub(super) fn covers(&self, protected: &str, name: &str) -> bool {
        let group: &[&str] = match (self, protected) {
            (Family::SixBlocks(doors), "DIS_ICACHE") if name == "SOFT_DIS_JTAG" => {
                return doors.soft_jtag_protected;
            }
            (Family::SixBlocks(_), "DIS_ICACHE") => &[
                "DIS_DOWNLOAD_ICACHE",
                "DIS_DOWNLOAD_DCACHE",
                "DIS_DOWNLOAD_MANUAL_ENCRYPT",
                "DIS_USB_JTAG",
                "DIS_PAD_JTAG",
                "HARD_DIS_JTAG",
                "DIS_BOOT_REMAP",
            ],
            _ => &[],
        };
        protected == name || group.contains(&name)
    }

    /// Names and values of the second call.
    pub(super) fn lock(&self, wish: &EfuseWish) -> Result<Vec<(String, u64)>, Error> {
        let name = match (self, wish.download) {
            (_, Download::Open) => return Ok(Vec::new()),
            (Family::Esp32, Download::Off) => "UART_DOWNLOAD_DIS",
            (Family::Esp32, Download::Secure) => {
                return Err(refuse(
                    "efuse.download",
                    "the original esp32 has no Secure Download Mode",
                    "take off or open",
                ));
            }
            (_, Download::Off) => "DIS_DOWNLOAD_MODE",
            (_, Download::Secure) => "ENABLE_SECURITY_DOWNLOAD",
        };
        Ok(vec![(name.to_owned(), 1)])
    }
}

struct Fields(Vec<(String, u64)>);

impl Fields {
    fn set(&mut self, name: &str, value: u64) {
        self.0.push((name.to_owned(), value));
    }

    fn set_all(&mut self, names: &[&str]) {
        for name in names {
            self.set(name, 1);
        }
    }
}

fn esp32(wish: &EfuseWish, fields: &mut Fields) -> Result<(), Error> {
    match wish.encryption {
        EncryptionMode::Off => {}
        EncryptionMode::Development => {
            fields.set("FLASH_CRYPT_CNT", 1);
            fields.set("FLASH_CRYPT_CONFIG", 0xF);
        }
        EncryptionMode::Release => {
            fields.set("FLASH_CRYPT_CNT", 127);
            fields.set("FLASH_CRYPT_CONFIG", 0xF);
            fields.set_all(&[
                "DISABLE_DL_ENCRYPT",
                "DISABLE_DL_DECRYPT",
                "DISABLE_DL_CACHE",
                "CONSOLE_DEBUG_DISABLE",
            ]);
        }
    }
    match wish.secure_boot {
        BootScheme::Off => {}
        BootScheme::V1 => fields.set("ABS_DONE_0", 1),
        BootScheme::V2Rsa => fields.set("ABS_DONE_1", 1),
        BootScheme::V2Ecdsa256 | BootScheme::V2Ecdsa384 => return Err(no_scheme(wish)),
    }
    match wish.jtag {
        Jtag::Off => fields.set("JTAG_DISABLE", 1),
        Jtag::Open => {}
        Jtag::Soft => return Err(no_soft_jtag(wish)),
    }
    Ok(())
}

fn esp32c2(wish: &EfuseWish, fields: &mut Fields) -> Result<(), Error> {
    counter(wish, fields);
    if wish.encryption == EncryptionMode::Release {
        fields.set_all(&["DIS_DOWNLOAD_ICACHE", "DIS_DOWNLOAD_MANUAL_ENCRYPT"]);
    }
    if closes_direct_boot(wish) {
        fields.set("DIS_DIRECT_BOOT", 1);
    }
    match wish.secure_boot {
        BootScheme::Off => {}
        BootScheme::V2Ecdsa256 => fields.set("SECURE_BOOT_EN", 1),
        _ => return Err(no_scheme(wish)),
    }
    match wish.jtag {
        Jtag::Off => fields.set("DIS_PAD_JTAG", 1),
        Jtag::Open => {}
        Jtag::Soft => return Err(no_soft_jtag(wish)),
    }
    Ok(())
}

fn six_blocks(wish: &EfuseWish, doors: &Doors, fields: &mut Fields) -> Result<(), Error> {
    counter(wish, fields);
    if wish.encryption == EncryptionMode::Release {
        fields.set_all(doors.encryption);
    }
    if closes_direct_boot(wish) {
        fields.set_all(doors.boot);
    }
    match wish.jtag {
        Jtag::Off => fields.set_all(doors.jtag),
        Jtag::Soft => fields.set("SOFT_DIS_JTAG", doors.soft_jtag),
        Jtag::Open => {}
    }
    if wish.encryption == EncryptionMode::Release {
        fields.set("DIS_DOWNLOAD_MANUAL_ENCRYPT", 1);
    }
    let takes = wish.chip.secure_boot();
    let known = match wish.secure_boot {
        BootScheme::Off => return Ok(()),
        BootScheme::V1 => false,
        BootScheme::V2Rsa => takes.rsa,
        BootScheme::V2Ecdsa256 => takes.ecdsa,
        BootScheme::V2Ecdsa384 => takes.p384,
    };
    if !known {
        return Err(no_scheme(wish));
    }
    if wish.revoke_unused {
        for slot in wish.digests..3 {
            fields.set(&format!("SECURE_BOOT_KEY_REVOKE{slot}"), 1);
        }
    }
    if wish.aggressive_revoke {
        fields.set("SECURE_BOOT_AGGRESSIVE_REVOKE", 1);
    }
    if wish.secure_boot == BootScheme::V2Ecdsa384 {
        fields.set("SECURE_BOOT_SHA384_EN", 1);
    }
    fields.set("SECURE_BOOT_EN", 1);
    Ok(())
}

/// A strapped board would start code from flash that nobody signed or encrypted. ESP-IDF closes it with either of the two
/// (`secure_boot_secure_features.c`, `flash_encryption_secure_features.c`).
fn closes_direct_boot(wish: &EfuseWish) -> bool {
    wish.encryption == EncryptionMode::Release || wish.secure_boot != BootScheme::Off
}

fn counter(wish: &EfuseWish, fields: &mut Fields) {
    match wish.encryption {
        EncryptionMode::Off => {}
        EncryptionMode::Development => fields.set("SPI_BOOT_CRYPT_CNT", 1),
        EncryptionMode::Release => fields.set("SPI_BOOT_CRYPT_CNT", 7),
    }
}

fn no_scheme(wish: &EfuseWish) -> Error {
    refuse(
        "secure_boot.scheme",
        &format!("an {} does not check signatures of this scheme", wish.chip),
        "see the table of chips in docs/ESPRESSIF.md",
    )
}

fn no_soft_jtag(wish: &EfuseWish) -> Error {
    refuse(
        "efuse.jtag",
        &format!("an {} can't switch JTAG on again with a key", wish.chip),
        "take off or open",
    )
}
