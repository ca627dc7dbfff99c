use std::path::PathBuf;

use crate::commands::shared::{ForceArgs, TrustArgs};
use crate::failure::Failure;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

/// Decrypt a sealed file with a device or group key; verifies before it writes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed file; - is standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    #[command(flatten)]
    trust: TrustArgs,

    /// The private device key or group key that opens it
    #[arg(long, value_name = "KEY")]
    key: PathBuf,

    /// The firmware to write; - is standard output
    #[arg(long, short, value_name = "OUT")]
    output: PathBuf,

    /// Which component, when the release has more than one
    #[arg(long, value_name = "ID")]
    component: Option<u16>,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let _ = (args, ui);
    Err(Failure::environment("not built in yet"))
}
