//! Every command, argument and help text; completions and man pages come from here too.

use clap::{Parser, Subcommand};

use crate::commands::{
    attach, bridge, completions, cosign, envelope, esp, explain, export, inspect, key, keymap,
    keyset, man, open, seal, sign_request, simulate, verify,
};
#[cfg(feature = "serve")]
use crate::commands::{demo, device, release, serve, server};

/// Firmware updates that only your devices can open, and only you can make
#[derive(Debug, Parser)]
#[command(name = "airseal", version, max_term_width = 100, help_template = HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Print results, events and errors as JSON, one object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print results and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[cfg(feature = "serve")]
    Demo(demo::Args),
    Key(key::Args),
    Seal(Box<seal::Args>),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Open(open::Args),
    Cosign(cosign::Args),
    SignRequest(sign_request::Args),
    Attach(attach::Args),
    Envelope(envelope::Args),
    Keyset(keyset::Args),
    #[cfg(feature = "serve")]
    Serve(serve::Args),
    #[cfg(feature = "serve")]
    Server(server::Args),
    #[cfg(feature = "serve")]
    Device(device::Args),
    #[cfg(feature = "serve")]
    Release(release::Args),
    Export(export::Args),
    Simulate(simulate::Args),
    Esp(esp::Args),
    Bridge(bridge::Args),
    Keymap(keymap::Args),
    Explain(explain::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The first screen: 24 lines of 80 characters at most.
#[cfg(feature = "serve")]
const HELP: &str = "\
{about}

Usage: airseal [--json] [--quiet] COMMAND ...

Start here:
  demo       The whole story on this machine in a minute, nothing to set up
  key        Make signing keys and device keys
  seal       Encrypt a firmware build for its devices and sign it

Sealed files:
  inspect, verify, open          Look at one, check it, open it
  cosign, sign-request, attach   More signatures, also made offline
  envelope, keyset               More recipients; who may sign

Server and devices:
  serve, server                  Run the update server; its trust
  device, release                Enrol and revoke; publish and yank
  export, simulate               A folder for web servers; a test device

  esp, bridge, keymap            Espressif's formats; others'; keys of a batch

explain NUMBER tells what a refusal means; completions and man come along too.
`airseal COMMAND --help` has all options.
Exit codes: 0 done, 1 refused, 2 usage, 3 files, network or system.
";

/// A build without the server lists what it has.
#[cfg(not(feature = "serve"))]
const HELP: &str = "\
{about}

Usage: airseal [--json] [--quiet] COMMAND ...

{subcommands}

This build has no server and no demo.
Exit codes: 0 done, 1 refused, 2 usage, 3 files, network or system.
";

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may unwrap, and documents itself by its name"
    )]
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[cfg(feature = "serve")]
    #[test]
    fn the_first_screen_fits_and_names_every_command() {
        let text = Cli::command().render_long_help().to_string();
        assert!(text.lines().count() <= 24, "{} lines", text.lines().count());
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for command in Cli::command().get_subcommands() {
            assert!(
                text.contains(command.get_name()),
                "{} is not on the first screen",
                command.get_name()
            );
        }
        assert_eq!(text, Cli::command().render_help().to_string());
    }

    /// Set AIRSEAL_UPDATE_SNAPSHOTS=1 to write the file anew, and read the difference before it is committed.
    #[cfg(feature = "serve")]
    #[test]
    fn no_help_text_changes_unseen() {
        fn walk(command: &mut clap::Command, path: &str, text: &mut String) {
            let help = command.render_long_help();
            text.push_str(&format!(
                "$ {path} --help\n{}\n\n",
                help.to_string().trim_end()
            ));
            for sub in command.get_subcommands_mut() {
                let path = format!("{path} {}", sub.get_name());
                walk(sub, &path, text);
            }
        }
        let mut text = String::new();
        let mut root = Cli::command().term_width(100);
        root.build();
        walk(&mut root, "airseal", &mut text);
        assert!(
            !text.contains("\\n"),
            "a line break is written as two characters"
        );
        let file =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/help.txt");
        if std::env::var_os("AIRSEAL_UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap();
        let first = text
            .lines()
            .zip(expected.lines())
            .find(|(now, before)| now != before);
        assert!(
            first.is_none() && text == expected,
            "help changed, first at: {first:?}"
        );
    }

    #[test]
    fn every_option_has_a_help_text() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no help");
            for arg in command.get_arguments() {
                assert!(
                    arg.get_help().is_some(),
                    "{path}: {} has no help",
                    arg.get_id()
                );
            }
            command.get_subcommands().for_each(|sub| walk(sub, &path));
        }
        walk(&Cli::command(), "");
    }
}
