//! Arguments that several commands for Espressif's formats have.

use airseal_esp::Chip;
use clap::builder::TypedValueParser as _;

/// How a bootloader was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RollbackChoice {
    None,
    On,
    Anti,
}

/// What decides whether the bootloader goes back to an older application.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct RollbackArgs {
    /// How the bootloader was built: no rollback, rollback, or rollback with anti-rollback
    #[arg(long, value_enum, value_name = "HOW", default_value = "none")]
    pub(crate) rollback: RollbackChoice,

    /// With anti-rollback: the secure version in the chip's eFuses
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) efuse_version: u32,
}

/// A setting of the original ESP32 that belongs to the flash encryption key.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct CryptConfigArgs {
    /// The original ESP32's FLASH_CRYPT_CONFIG, 0 to 0xF
    #[arg(long, value_name = "N", value_parser = crypt_config, default_value = "0xF", requires = "key")]
    pub(crate) flash_crypt_conf: u8,
}

/// A version of secure boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SchemeChoice {
    V1,
    V2,
}

/// A chip's name, in any usual spelling.
pub(crate) fn chip() -> impl clap::builder::TypedValueParser<Value = Chip> {
    clap::builder::NonEmptyStringValueParser::new().try_map(|name| {
        Chip::from_name(&name).ok_or_else(|| {
            let names: Vec<&str> = Chip::ALL.iter().map(|chip| chip.name()).collect();
            format!("no chip is called that; known are {}", names.join(", "))
        })
    })
}

/// A number as people write addresses: decimal or with `0x`.
pub(crate) fn address(text: &str) -> Result<u32, String> {
    let text = text.replace('_', "");
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "needed is a number below 4 GiB, such as 0x10000 or 65536".to_owned())
}

/// The original ESP32's `FLASH_CRYPT_CONFIG`: four bits.
pub(crate) fn crypt_config(text: &str) -> Result<u8, String> {
    address(text)
        .ok()
        .and_then(|number| u8::try_from(number).ok())
        .filter(|number| *number <= 0xF)
        .ok_or_else(|| "needed is a number from 0 to 0xF".to_owned())
}

/// The size of a flash: bytes, or with K, KB, M, MB.
pub(crate) fn flash_size(text: &str) -> Result<u64, String> {
    let upper = text.to_ascii_uppercase();
    let digits = upper.trim_end_matches('B');
    let (digits, shift) = match (digits.strip_suffix('M'), digits.strip_suffix('K')) {
        (Some(digits), _) => (digits, 20),
        (None, Some(digits)) => (digits, 10),
        (None, None) => (upper.as_str(), 0),
    };
    let number = match digits.strip_prefix("0X") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    number
        .map(|number| u64::from(number) << shift)
        .map_err(|_| "needed is a size such as 4MB".to_owned())
}
