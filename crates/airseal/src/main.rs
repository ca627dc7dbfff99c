//! The `airseal` command: parsing, progress and printing. The work is done by the libraries.

// Parts of what is printed belong to the commands that a build without the server leaves out.
#![cfg_attr(not(feature = "serve"), allow(dead_code))]

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::Cli;
use crate::failure::FailureKind;
use crate::ui::Ui;

mod cli;
#[cfg(feature = "serve")]
mod client;
mod commands;
mod dates;
#[cfg(feature = "serve")]
mod demo;
mod failure;
mod interrupt;
mod keys;
mod passphrase;
mod ui;
mod work;

fn main() -> ExitCode {
    let args = arguments();
    let json = args.iter().any(|argument| argument == "--json");
    let cli = match Cli::read(&args) {
        Ok(cli) => cli,
        Err(error) => return exit(Ui::new(json, false).clap(&error)),
    };
    let ui = Ui::new(cli.json, cli.quiet);
    match interrupt::install().and_then(|()| commands::run(cli.command, &ui)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            ui.failure(&failure);
            exit(failure.kind)
        }
    }
}

/// The arguments; `airseal help COMMAND` stands for `airseal COMMAND --help`.
fn arguments() -> Vec<OsString> {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|first| first == "help") {
        args.remove(1);
        args.push("--help".into());
    }
    args
}

fn exit(kind: FailureKind) -> ExitCode {
    ExitCode::from(kind.exit_code())
}
