//! The developer's commands: `cargo xtask NAME`.

mod bench;
mod demo_picture;
mod fuzz;
mod interop;
mod power_cuts;
mod setup;
mod size;
mod test;
mod vendor_tools;
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
    /// Time a command against the vendor's scheme and against hashing alone
    Bench(bench::Options),
    /// Compare our commands with the vendors' tools, in both directions, on random inputs
    Interop(interop::Options),
    /// Draw the demo's output for the README
    DemoPicture(demo_picture::Options),
    /// Fuzz one target or all, on the stable compiler
    Fuzz(fuzz::Options),
    /// Code and memory of the device library on riscv32imc
    Size(size::Options),
    /// Cut the power at every flash operation of every flow and boot
    PowerCuts(power_cuts::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Workshop::open().and_then(|workshop| match arguments.command {
        Task::Setup => setup::everything(&workshop).map(|()| true),
        Task::Test(options) => test::run(&workshop, &options),
        Task::Bench(options) => bench::run(&workshop, &options),
        Task::Interop(options) => interop::run(&workshop, &options),
        Task::DemoPicture(options) => demo_picture::run(&workshop, &options),
        Task::Fuzz(options) => fuzz::run(&workshop, &options),
        Task::Size(options) => size::run(&workshop, &options),
        Task::PowerCuts(options) => power_cuts::run(&workshop, &options),
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
