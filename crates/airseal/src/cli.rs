//! Every command, argument and help text; completions and man pages come from here too.

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

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
    #[arg(long, global = true, display_order = 501)]
    pub(crate) json: bool,

    /// Print results and errors only
    #[arg(long, short, global = true, display_order = 502)]
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

impl Cli {
    /// Reads the arguments.
    ///
    /// # Errors
    /// What clap found wrong, or the help that was asked for.
    pub(crate) fn read(args: &[OsString]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(args).map_err(|error| match error.kind() {
            clap::error::ErrorKind::DisplayHelp => {
                shown().try_get_matches_from(args).err().unwrap_or(error)
            }
            _ => error,
        })
    }
}

/// The definitions as help, manual pages and completions show them.
///
/// Where an option takes several files, the command's own may stand last among them (`shared::subject`), so clap must not
/// ask for it; but it is needed, and is shown so.
pub(crate) fn shown() -> clap::Command {
    fn need(command: clap::Command, path: &[&str], name: &'static str) -> clap::Command {
        match path {
            [] => command.mut_arg(name, |arg| arg.required(true)),
            [first, rest @ ..] => command.mut_subcommands(|sub| match sub.get_name() == *first {
                true => need(sub, rest, name),
                false => sub,
            }),
        }
    }
    let command = need(Cli::command(), &["verify"], "bundle");
    let command = need(command, &["open"], "bundle");
    let command = need(command, &["envelope", "add"], "bundle");
    need(command, &["esp", "flash-check"], "dump")
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
        let mut root = shown().term_width(100);
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

    /// Every command on files ends its help with an example, and the example is one that the parser takes.
    #[test]
    fn every_command_on_files_has_an_example_that_parses() {
        fn walk(command: &clap::Command, path: &str, examples: &mut usize) {
            if command.has_subcommands() {
                let subs = command.get_subcommands();
                return subs
                    .for_each(|sub| walk(sub, &format!("{path} {}", sub.get_name()), examples));
            }
            let text = command.get_after_help().unwrap_or_default().to_string();
            let lines: Vec<&str> = text
                .lines()
                .filter_map(|line| line.find("airseal ").and_then(|at| line.get(at..)))
                .filter(|line| line.starts_with(path))
                .collect();
            assert!(!lines.is_empty(), "{path} has no example");
            for line in lines {
                let parsed = Cli::try_parse_from(line.split_whitespace());
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                *examples += 1;
            }
        }
        let mut examples = 0;
        for name in ["esp", "bridge", "seal", "open", "verify"] {
            let mut root = Cli::command();
            let command = root.find_subcommand_mut(name).unwrap();
            walk(command, &format!("airseal {name}"), &mut examples);
        }
        assert!(examples >= 28, "{examples}");
    }

    /// Commands that a page shows are commands, with options that they have.
    #[cfg(feature = "serve")]
    #[test]
    fn every_command_in_the_documentation_exists() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = |name: &str| {
            let entries = std::fs::read_dir(root.join(name)).unwrap();
            entries.map(|entry| entry.unwrap().path())
        };
        let pages = folder("docs").chain(folder("docs/ways"));
        let pages = pages.chain([root.join("README.md"), root.join("CHANGELOG.md")]);
        let mut checked = 0;
        for page in pages.filter(|page| page.extension().is_some_and(|end| end == "md")) {
            let text = std::fs::read_to_string(&page).unwrap().replace("\\\n", " ");
            let commands = text.split(['\n', '`']).filter_map(|piece| {
                let piece = piece.trim().strip_prefix("airseal ")?;
                Some(piece.split(" #").next().unwrap_or(piece))
            });
            for line in commands {
                check_words(line, &page);
                checked += 1;
            }
        }
        assert!(checked >= 150, "{checked}");
    }

    /// The words of a command up to a pipe; what is no option is taken as a value.
    #[cfg(feature = "serve")]
    fn check_words(line: &str, page: &std::path::Path) {
        let mut root = Cli::command();
        root.build();
        let mut command = &root;
        let own = line.split([';', '>', '&']).next().unwrap_or(line);
        let own = own.split(" | ").next().unwrap_or(own);
        let words = own.split(|c: char| c.is_whitespace() || "[](){}|,=:".contains(c));
        let mut in_path = true;
        for word in words.filter(|word| !word.is_empty()) {
            let found = in_path.then(|| command.find_subcommand(word)).flatten();
            if let Some(found) = found {
                command = found;
                continue;
            }
            let is_word = word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            assert!(
                !in_path || !command.has_subcommands() || word.starts_with('-') || !is_word,
                "{}: airseal {line}: there is no {word}",
                page.display()
            );
            in_path = false;
            let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) else {
                continue;
            };
            let mut known = command.get_arguments().chain(root.get_arguments());
            assert!(
                name == "help" || known.any(|arg| arg.get_long() == Some(name)),
                "{}: airseal {line}: {} has no --{name}",
                page.display(),
                command.get_name()
            );
        }
    }

    #[test]
    fn what_is_needed_is_shown_as_needed() {
        let help = |line: &str| {
            let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            Cli::read(&args).unwrap_err().to_string()
        };
        for (line, name) in [
            ("verify", "BUNDLE"),
            ("open", "BUNDLE"),
            ("envelope add", "BUNDLE"),
            ("esp flash-check", "DUMP"),
        ] {
            let text = help(&format!("airseal {line} --help"));
            assert!(text.contains(&format!("\n  <{name}>")), "{text}");
            assert!(!text.contains(&format!("[{name}]")), "{text}");
        }
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
