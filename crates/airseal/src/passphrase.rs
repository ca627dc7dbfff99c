//! Passphrases: from a file, or asked for on a terminal; never from the command line.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use airseal_pack::Error;
use airseal_pack::key::PassphraseSource;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Options of every command that reads private keys.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PassphraseArgs {
    /// Ask for the passphrase of encrypted private keys; needs a terminal, or a file
    #[arg(long, help_heading = "Passphrase")]
    pub(crate) passphrase: bool,

    /// Take the passphrase from the first line of FILE [env: AIRSEAL_PASSPHRASE_FILE]
    #[arg(long, value_name = "FILE", help_heading = "Passphrase")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// Refuses `--passphrase` where nobody can be asked.
    ///
    /// # Errors
    /// Usage.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.passphrase && self.file().is_none() && !can_ask() {
            return Err(Failure::usage(
                "--passphrase has nobody to ask: standard input is not a terminal",
            )
            .hint("give --passphrase-file FILE, or set AIRSEAL_PASSPHRASE_FILE"));
        }
        Ok(())
    }

    /// A passphrase for a new key: `None` if none is wanted; asked for twice on a terminal.
    ///
    /// # Errors
    /// Usage, refused (empty, or the two differ) or environment.
    pub(crate) fn choose(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        self.check()?;
        if !self.passphrase && self.passphrase_file.is_none() {
            return Ok(None);
        }
        let chosen = match self.file() {
            Some(file) => read_file(&file)?,
            None => {
                let first = ask("New passphrase: ")?;
                if *first != *ask("The same again: ")? {
                    return Err(Failure::refused("the two passphrases differ").hint("start again"));
                }
                first
            }
        };
        if chosen.is_empty() {
            return Err(Failure::refused("the passphrase is empty")
                .hint("choose one, or leave --passphrase out for a key that is not encrypted"));
        }
        Ok(Some(chosen))
    }

    fn file(&self) -> Option<PathBuf> {
        let from_environment =
            || std::env::var_os("AIRSEAL_PASSPHRASE_FILE").filter(|value| !value.is_empty());
        self.passphrase_file
            .clone()
            .or_else(|| from_environment().map(PathBuf::from))
    }
}

impl PassphraseSource for PassphraseArgs {
    fn passphrase(&self, file: &str) -> Result<Option<Zeroizing<String>>, Error> {
        match self.file() {
            Some(source) => read_file(&source).map(Some),
            None if can_ask() => ask(&format!("Passphrase of {file}: ")).map(Some),
            None => Ok(None),
        }
    }
}

fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Error> {
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|source| Error::Io {
            action: "can't ask for the passphrase".to_owned(),
            source,
        })
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, Error> {
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| Error::Io {
            action: format!("can't read the passphrase file {}", path.display()),
            source,
        })?;
    Ok(Zeroizing::new(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}
