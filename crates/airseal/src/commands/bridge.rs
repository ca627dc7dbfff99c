use crate::failure::Failure;
use crate::ui::Ui;

/// Containers of others: a fleet's own AES-CBC layer, MCUboot images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {}

pub(super) fn run(args: &Args, _ui: &Ui) -> Result<(), Failure> {
    match args.command {}
}
