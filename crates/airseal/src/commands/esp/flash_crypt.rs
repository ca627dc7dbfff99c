use std::path::PathBuf;

use airseal_esp::Chip;
use airseal_pack::esp::flash_files::{Direction, convert};
use airseal_pack::esp::flash_key;

use super::shared::{CryptConfigArgs, address, chip};
use crate::commands::shared::{FileArgs, warn_of_readable};
use crate::failure::Failure;
use crate::ui::Ui;
use crate::work;

/// Encrypt a file as the chip stores it in flash
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("What is to lie in flash: an image, a table; - is standard input")),
    mut_arg("output", |arg| arg.help("Write what the flash will hold here; - is standard output")),
    after_help = "Example: airseal esp flash-encrypt --chip esp32c3 --key flash.key --address 0x10000 app.bin app.enc"
)]
pub(crate) struct EncryptArgs {
    #[command(flatten)]
    region: RegionArgs,
}

/// Decrypt what was read from a flash
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("What was read from the flash; - is standard input")),
    mut_arg("output", |arg| arg.help("Write the plain bytes here; - is standard output")),
    after_help = "Example: airseal esp flash-decrypt --chip esp32c3 --key flash.key --address 0x10000 app.enc app.bin"
)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    region: RegionArgs,
}

#[derive(Debug, clap::Args)]
struct RegionArgs {
    #[command(flatten)]
    files: FileArgs,

    /// The chip, which decides the scheme
    #[arg(long, value_name = "CHIP", value_parser = chip())]
    chip: Chip,

    /// The flash encryption key, as bare bytes: 32; also 64 for XTS-256, 16 on the ESP32-C2, 24 on an ESP32 with 3/4 coding
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Where in flash the data lies, a multiple of 16: the same bytes elsewhere are encrypted otherwise
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    address: u32,

    #[command(flatten)]
    crypt_config: CryptConfigArgs,
}

pub(super) fn encrypt(args: &EncryptArgs, ui: &Ui) -> Result<(), Failure> {
    run(&args.region, Direction::Encrypt, ui)
}

pub(super) fn decrypt(args: &DecryptArgs, ui: &Ui) -> Result<(), Failure> {
    run(&args.region, Direction::Decrypt, ui)
}

fn run(args: &RegionArgs, direction: Direction, ui: &Ui) -> Result<(), Failure> {
    let target = args.files.target([&args.key])?;
    warn_of_readable([&args.key], ui);
    let crypt_config = args.crypt_config.flash_crypt_conf;
    let key = flash_key::read(&args.key, args.chip, crypt_config)?;
    let converted = work::run(ui, |control| {
        convert(
            (&args.files.input, target.path()),
            (args.chip, &key),
            args.address,
            direction,
            target.existing(),
            control,
        )
    })?;
    ui.warn_all(&converted.warnings);
    target.report(&converted, ui, |converted| {
        format!(
            "{} bytes for address {:#x}",
            converted.len, converted.address
        )
    })
}
