use crate::cli;
use crate::failure::Failure;
use crate::ui::Ui;

/// Print shell completions, to be sourced or saved where the shell looks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::shown(), "airseal", &mut script);
    ui.bytes(&script)
}
