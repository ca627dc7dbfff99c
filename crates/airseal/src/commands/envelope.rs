use std::path::PathBuf;

use crate::commands::shared::RecipientArgs;
use crate::failure::Failure;
use crate::ui::Ui;

/// Let more devices open a sealed file, without a new signature
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(AddArgs),
}

/// Add envelopes for more recipients
#[derive(Debug, clap::Args)]
struct AddArgs {
    /// The sealed file, replaced once the new one is complete
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// The content key that `airseal seal --content-key-out` kept
    #[arg(long, value_name = "FILE")]
    content_key: PathBuf,

    #[command(flatten)]
    recipients: RecipientArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let _ = (args, ui);
    Err(Failure::environment("not built in yet"))
}
