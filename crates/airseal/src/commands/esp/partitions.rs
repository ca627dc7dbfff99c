use std::path::PathBuf;

use airseal_esp::Chip;
use airseal_pack::esp::partitions::{TablePlace, read, rows};
use airseal_pack::output::{Access, is_stdout, write_file};

use super::shared::{address, chip, flash_size};
use crate::commands::shared::{ForceArgs, distinct};
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
struct ToBinArgs {
    #[command(flatten)]
    table: TableArgs,

    /// Leave out the checksum, for bootloaders older than ESP-IDF 3.1
    #[arg(long)]
    no_md5: bool,
}

/// Make the CSV that people edit
#[derive(Debug, clap::Args)]
struct ToCsvArgs {
    #[command(flatten)]
    table: TableArgs,
}

#[derive(Debug, clap::Args)]
struct TableArgs {
    /// The table to read, as CSV or binary; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Write the other form here; - is standard output
    #[arg(value_name = "OUT")]
    output: PathBuf,

    /// Where the table will lie in flash
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "0x8000")]
    offset: u32,

    /// Refuse a table that reaches beyond a flash of this size, such as 4MB
    #[arg(long, value_name = "SIZE", value_parser = flash_size)]
    flash_size: Option<u64>,

    /// The chip, where the table has a row for the bootloader
    #[arg(long, value_name = "CHIP", value_parser = chip())]
    chip: Option<Chip>,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let (table_args, md5) = match &args.command {
        Command::ToBin(args) => (&args.table, Some(!args.no_md5)),
        Command::ToCsv(args) => (&args.table, None),
    };
    distinct([&table_args.input], &table_args.output)?;
    let place = TablePlace {
        offset: table_args.offset,
        flash_size: table_args.flash_size,
        chip: table_args.chip,
    };
    let (table, warnings) = read(&table_args.input, place)?;
    warnings.iter().for_each(|warning| ui.warn(warning));
    let bytes = match md5 {
        Some(md5) => table
            .to_binary(md5)
            .map_err(|fault| {
                Failure::refused(format_args!("{}: {fault}", table_args.input.display()))
                    .hint("merge partitions, or leave out the checksum with --no-md5")
            })?
            .to_vec(),
        None => table
            .csv()
            .map_err(|fault| {
                Failure::refused(format_args!("{}: {fault}", table_args.input.display()))
                    .hint("airseal esp info shows the table as it is")
            })?
            .to_string()
            .into_bytes(),
    };
    let existing = table_args.force.existing();
    write_file(&table_args.output, &bytes, existing, Access::Public)?;
    if is_stdout(&table_args.output) {
        return Ok(());
    }
    let written = serde_json::json!({"output": table_args.output, "partitions": rows(&table)});
    ui.result(&written, |_| {
        let count = table.as_slice().len();
        format!("{}: {count} partitions", table_args.output.display())
    })
}
