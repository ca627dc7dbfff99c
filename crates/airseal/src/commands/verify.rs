use std::path::PathBuf;

use crate::commands::shared::TrustArgs;
use crate::failure::Failure;
use crate::ui::Ui;

/// Check signatures, policy and every chunk of a sealed file; needs no decryption key
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed file; - is standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    #[command(flatten)]
    trust: TrustArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let _ = (args, ui);
    Err(Failure::environment("not built in yet"))
}
