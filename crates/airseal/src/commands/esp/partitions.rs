use airseal_esp::Chip;
use airseal_pack::esp::partitions::{TablePlace, read, rows};
use airseal_pack::output::Access;

use super::shared::{address, chip, flash_size};
use crate::commands::shared::{FileArgs, count};
use crate::failure::Failure;
use crate::ui::Ui;

/// Turn a partition table from CSV into the form for the flash, and back
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    ToBin(ToBinArgs),
    ToCsv(ToCsvArgs),
}

/// Make the binary table, as gen_esp32part.py does
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("output", |arg| arg.help("Write the table for the flash here; - is standard output")),
    after_help = "Example: airseal esp partitions to-bin partitions.csv partitions.bin --flash-size 4MB"
)]
struct ToBinArgs {
    #[command(flatten)]
    table: TableArgs,

    /// Leave out the checksum, for bootloaders older than ESP-IDF 3.1
    #[arg(long)]
    no_md5: bool,
}

/// Make the CSV that people edit
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("output", |arg| arg.help("Write the CSV here; - is standard output")),
    after_help = "Example: airseal esp partitions to-csv partitions.bin partitions.csv"
)]
struct ToCsvArgs {
    #[command(flatten)]
    table: TableArgs,
}

#[derive(Debug, clap::Args)]
#[command(mut_arg("input", |arg| arg.help("The table, as CSV or binary; - is standard input")))]
struct TableArgs {
    #[command(flatten)]
    files: FileArgs,

    /// Where the table will lie in flash
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "0x8000")]
    offset: u32,

    /// Refuse a table that reaches beyond a flash of this size, such as 4MB
    #[arg(long, value_name = "SIZE", value_parser = flash_size)]
    flash_size: Option<u64>,

    /// The chip, where the table has a row for the bootloader
    #[arg(long, value_name = "CHIP", value_parser = chip())]
    chip: Option<Chip>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let (args, md5) = match &args.command {
        Command::ToBin(args) => (&args.table, Some(!args.no_md5)),
        Command::ToCsv(args) => (&args.table, None),
    };
    let target = args.files.target([])?;
    let place = TablePlace {
        offset: args.offset,
        flash_size: args.flash_size,
        chip: args.chip,
    };
    let (table, warnings) = read(&args.files.input, place)?;
    ui.warn_all(&warnings);
    let bytes = match md5 {
        Some(md5) => table
            .to_binary(md5)
            .map_err(|fault| {
                Failure::refused(format_args!("{}: {fault}", args.files.input.display()))
                    .hint("merge partitions, or leave out the checksum with --no-md5")
            })?
            .to_vec(),
        None => table
            .csv()
            .map_err(|fault| {
                Failure::refused(format_args!("{}: {fault}", args.files.input.display()))
                    .hint("airseal esp info shows the table as it is")
            })?
            .to_string()
            .into_bytes(),
    };
    target.write(&bytes, Access::Public)?;
    let written = serde_json::json!({"partitions": rows(&table)});
    target.report(&written, ui, |_| {
        count(table.as_slice().len(), "partition", "partitions")
    })
}
