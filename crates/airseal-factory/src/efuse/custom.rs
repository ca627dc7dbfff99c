//! The names that `efuse.custom` takes: features of a chip that no other setting and no step of the line decides.
//!
//! Not among them, on purpose: keys, counters, locks and what protects them; caches (a chip without one does not start);
//! calibration and versions; and what takes away a USB port, since the audit still has to come through it.
//! (`espefuse`: `efuse_defs/CHIP.yaml`, block 0.)

use airseal_esp::Chip;
use airseal_pack::Error;

use super::{EfuseWish, refuse};

/// A name, its bits, and the chips that have it, as in `esp32c3` without `esp32`; the original is `-`.
const NAMES: [(&str, u32, &str); 35] = [
    ("CRYPT_DPA_ENABLE", 1, "c6 h2"),
    ("DISABLE_APP_CPU", 1, "-"),
    ("DISABLE_BT", 1, "-"),
    ("DIS_APP_CPU", 1, "s3"),
    ("DIS_FORCE_DOWNLOAD", 1, "s2 s3 c3 c6 h2"),
    ("DIS_TWAI", 1, "s2 s3 c3 c6 h2"),
    ("ERR_RST_ENABLE", 1, "c3"),
    ("FLASH_TPUW", 4, "s2 s3 c2 c3 c6 h2"),
    ("FORCE_SEND_RESUME", 1, "s2 s3 c2 c3 c6 h2"),
    ("HYS_EN_PAD0", 6, "h2"),
    ("HYS_EN_PAD1", 22, "h2"),
    ("JTAG_SEL_ENABLE", 1, "c6 h2"),
    ("PIN_POWER_SELECTION", 1, "s2 s3"),
    ("SEC_DPA_LEVEL", 2, "c6 h2"),
    ("SPI_PAD_CONFIG_CLK", 5, "-"),
    ("SPI_PAD_CONFIG_CS0", 5, "-"),
    ("SPI_PAD_CONFIG_D", 5, "-"),
    ("SPI_PAD_CONFIG_HD", 5, "-"),
    ("SPI_PAD_CONFIG_Q", 5, "-"),
    ("STRAP_JTAG_SEL", 1, "s3"),
    ("SWAP_UART_SDIO_EN", 1, "c6"),
    ("UART_PRINT_CHANNEL", 1, "s2"),
    ("UART_PRINT_CONTROL", 2, "s2 s3 c2 c3 c6 h2"),
    ("USB_EXCHG_PINS", 1, "s2 s3 c3 c6 h2"),
    ("USB_EXT_PHY_ENABLE", 1, "s2 s3"),
    ("USB_FORCE_NOPERSIST", 1, "s2"),
    ("USB_PHY_SEL", 1, "s3"),
    ("VDD_SPI_AS_GPIO", 1, "c3 c6 h2"),
    ("VDD_SPI_FORCE", 1, "s2 s3"),
    ("VDD_SPI_TIEH", 1, "s2 s3"),
    ("VDD_SPI_XPD", 1, "s2 s3"),
    ("WDT_DELAY_SEL", 2, "s2 s3 c2 c3 c6 h2"),
    ("XPD_SDIO_FORCE", 1, "-"),
    ("XPD_SDIO_REG", 1, "-"),
    ("XPD_SDIO_TIEH", 1, "-"),
];

/// The names that the chip has, with their bits.
pub fn custom_names(chip: Chip) -> impl Iterator<Item = (&'static str, u32)> {
    let suffix = match chip.name().strip_prefix("esp32") {
        Some("") | None => "-",
        Some(suffix) => suffix,
    };
    NAMES
        .iter()
        .filter(move |(_, _, chips)| chips.split(' ').any(|has| has == suffix))
        .map(|(name, bits, _)| (*name, *bits))
}

/// `custom` sets what nothing else sets, and never what protects.
pub(super) fn check(wish: &EfuseWish) -> Result<(), Error> {
    for (name, value) in &wish.custom {
        let bits = custom_names(wish.chip)
            .find(|(known, _)| known == name)
            .map(|(_, bits)| bits);
        let (why, remedy) = match bits {
            None if has_form(name) => (
                format!(
                    "is not a free setting of an {}: keys, purposes, counters, locks and protection are planned from the other settings",
                    wish.chip
                ),
                "leave it out, or take one of the names in docs/FACTORY.md",
            ),
            None => (
                "is no name of an eFuse: capital letters, digits and _".to_owned(),
                "leave it out",
            ),
            Some(_) if *value == 0 => (
                "burns nothing with 0".to_owned(),
                "leave it out: eFuses are 0 as they come",
            ),
            Some(bits) if value >> bits != 0 => (
                format!("has {bits} bits, and {value} needs more"),
                "take a smaller value",
            ),
            Some(_) => continue,
        };
        return Err(refuse(&format!("efuse.custom.{name:.40}"), &why, remedy));
    }
    Ok(())
}

fn has_form(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}
