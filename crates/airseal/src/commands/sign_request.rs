use std::path::PathBuf;

use crate::commands::shared::ForceArgs;
use crate::failure::Failure;
use crate::ui::Ui;

/// Write what a signature of a sealed file covers, to be signed on another machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed file
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// Write the bytes to sign here; - is standard output
    #[arg(long, short, value_name = "REQ")]
    output: PathBuf,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let _ = (args, ui);
    Err(Failure::environment("not built in yet"))
}
