//! One file per command: its arguments, and how its result is shown.

use crate::cli::Command;
use crate::failure::Failure;
use crate::ui::Ui;

pub(crate) mod attach;
pub(crate) mod bridge;
pub(crate) mod completions;
pub(crate) mod cosign;
#[cfg(feature = "serve")]
pub(crate) mod demo;
#[cfg(feature = "serve")]
pub(crate) mod device;
pub(crate) mod envelope;
pub(crate) mod esp;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod keymap;
pub(crate) mod keyset;
pub(crate) mod man;
pub(crate) mod open;
#[cfg(feature = "serve")]
pub(crate) mod release;
pub(crate) mod seal;
#[cfg(feature = "serve")]
pub(crate) mod serve;
#[cfg(feature = "serve")]
pub(crate) mod server;
pub(crate) mod shared;
pub(crate) mod sign_request;
pub(crate) mod simulate;
pub(crate) mod verify;

/// Runs one command.
///
/// # Errors
/// Whatever ends it without success.
pub(crate) fn run(command: Command, ui: &Ui) -> Result<(), Failure> {
    match command {
        #[cfg(feature = "serve")]
        Command::Demo(args) => demo::run(&args, ui),
        Command::Key(args) => key::run(&args, ui),
        Command::Seal(args) => seal::run(&args, ui),
        Command::Inspect(args) => inspect::run(&args, ui),
        Command::Verify(args) => verify::run(&args, ui),
        Command::Open(args) => open::run(&args, ui),
        Command::Cosign(args) => cosign::run(&args, ui),
        Command::SignRequest(args) => sign_request::run(&args, ui),
        Command::Attach(args) => attach::run(&args, ui),
        Command::Envelope(args) => envelope::run(&args, ui),
        Command::Keyset(args) => keyset::run(&args, ui),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args, ui),
        #[cfg(feature = "serve")]
        Command::Server(args) => server::run(&args, ui),
        #[cfg(feature = "serve")]
        Command::Device(args) => device::run(&args, ui),
        #[cfg(feature = "serve")]
        Command::Release(args) => release::run(&args, ui),
        Command::Export(args) => export::run(&args, ui),
        Command::Simulate(args) => simulate::run(&args, ui),
        Command::Esp(args) => esp::run(&args, ui),
        Command::Bridge(args) => bridge::run(&args, ui),
        Command::Keymap(args) => keymap::run(&args, ui),
        Command::Explain(args) => explain::run(&args, ui),
        Command::Completions(args) => completions::run(&args, ui),
        Command::Man(args) => man::run(&args, ui),
    }
}
