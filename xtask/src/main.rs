//! The developer's commands: `cargo xtask NAME`.

mod setup;
mod test;
mod workshop;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workshop::Workshop;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "The developer's commands: set-up, test, figures"
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the other commands need and say what was installed
    Setup,
    /// Everything CI runs; installs what is missing on Debian/Ubuntu and says so
    Test(test::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Workshop::open().and_then(|workshop| match arguments.command {
        Task::Setup => setup::everything(&workshop).map(|()| true),
        Task::Test(options) => test::run(&workshop, &options),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
