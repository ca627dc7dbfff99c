use crate::failure::Failure;
use crate::ui::Ui;

/// Run the update server
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let _ = (args, ui);
    Err(Failure::environment("not built in yet"))
}
