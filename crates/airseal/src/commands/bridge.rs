use crate::failure::Failure;
use crate::ui::Ui;

mod aes_cbc;
mod mcuboot;

/// Containers of others: a fleet's own AES-CBC layer, MCUboot images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    AesCbc(aes_cbc::Args),
    Mcuboot(mcuboot::Args),
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::AesCbc(args) => aes_cbc::run(args, ui),
        Command::Mcuboot(args) => mcuboot::run(args, ui),
    }
}
