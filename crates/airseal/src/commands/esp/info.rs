use std::path::PathBuf;

use crate::failure::Failure;
use crate::ui::Ui;

/// Tell what a file is and whether it is whole: image, partition table, otadata or a whole flash
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(args: &Args, _ui: &Ui) -> Result<(), Failure> {
    Err(Failure::refused(format_args!(
        "{}: can't be read yet",
        args.file.display()
    )))
}
