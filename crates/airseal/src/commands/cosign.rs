use std::path::PathBuf;

use crate::failure::Failure;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

/// Add one more signature to a sealed file; its digest does not change
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed file, replaced once the new one is complete
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// Sign with this key: a key file, or command:PROGRAM that gets the bytes on stdin
    #[arg(long, value_name = "KEY")]
    sign: String,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let _ = (args, ui);
    Err(Failure::environment("not built in yet"))
}
