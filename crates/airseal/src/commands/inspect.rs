use std::path::PathBuf;

use crate::failure::Failure;
use crate::ui::Ui;

/// Show everything public about a sealed file, and who can open it; needs no key
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed file; - is standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let _ = (args, ui);
    Err(Failure::environment("not built in yet"))
}
