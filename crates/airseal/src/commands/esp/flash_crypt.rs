use std::path::PathBuf;

use airseal_esp::Chip;
use airseal_pack::esp::flash_files::{Direction, convert};
use airseal_pack::esp::flash_key;
use airseal_pack::output::is_stdout;

use super::shared::{address, chip, crypt_config};
use crate::commands::shared::{ForceArgs, distinct};
use crate::failure::Failure;
use crate::ui::Ui;
use crate::work;

/// Encrypt a file as the chip stores it in flash
#[derive(Debug, clap::Args)]
pub(crate) struct EncryptArgs {
    #[command(flatten)]
    region: RegionArgs,
}

/// Decrypt what was read from a flash
#[derive(Debug, clap::Args)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    region: RegionArgs,
}

#[derive(Debug, clap::Args)]
struct RegionArgs {
    /// The file to read; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Write the result here; - is standard output
    #[arg(value_name = "OUT")]
    output: PathBuf,

    /// The chip, which decides the scheme
    #[arg(long, value_name = "CHIP", value_parser = chip())]
    chip: Chip,

    /// The flash encryption key, as bare bytes
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Where in flash the data lies, a multiple of 16: the same bytes elsewhere are encrypted otherwise
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    address: u32,

    /// The original ESP32's FLASH_CRYPT_CONFIG
    #[arg(long, value_name = "N", value_parser = crypt_config, default_value = "0xF")]
    flash_crypt_conf: u8,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn encrypt(args: &EncryptArgs, ui: &Ui) -> Result<(), Failure> {
    run(&args.region, Direction::Encrypt, ui)
}

pub(super) fn decrypt(args: &DecryptArgs, ui: &Ui) -> Result<(), Failure> {
    run(&args.region, Direction::Decrypt, ui)
}

fn run(args: &RegionArgs, direction: Direction, ui: &Ui) -> Result<(), Failure> {
    distinct([&args.input, &args.key], &args.output)?;
    let key = flash_key::read(&args.key, args.chip, args.flash_crypt_conf)?;
    let converted = work::run(ui, |control| {
        convert(
            (&args.input, &args.output),
            (args.chip, &key),
            args.address,
            direction,
            args.force.existing(),
            control,
        )
    })?;
    converted
        .warnings
        .iter()
        .for_each(|warning| ui.warn(warning));
    if is_stdout(&args.output) {
        return Ok(());
    }
    ui.result(&converted, |converted| {
        format!(
            "{}: {} bytes for address {:#x}",
            args.output.display(),
            converted.len,
            converted.address
        )
    })
}
