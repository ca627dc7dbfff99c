use std::path::PathBuf;

use crate::failure::Failure;
use crate::ui::Ui;

/// Add a signature that was made on another machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed file, replaced once the new one is complete
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// The signature: 64 raw bytes, or DER for P-256
    #[arg(value_name = "SIG")]
    signature: PathBuf,

    /// The public key of who signed
    #[arg(long, value_name = "PUB")]
    key: PathBuf,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let _ = (args, ui);
    Err(Failure::environment("not built in yet"))
}
