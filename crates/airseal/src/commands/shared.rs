//! Arguments that several commands have.

use std::path::PathBuf;

use airseal_pack::output::Existing;

/// What to do when the output is there already.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ForceArgs {
    /// Replace an existing output
    #[arg(long)]
    pub(crate) force: bool,
}

impl ForceArgs {
    /// The same for the library.
    pub(crate) fn existing(self) -> Existing {
        if self.force { Existing::Replace } else { Existing::Refuse }
    }
}

/// Whose signatures count.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false, id = "whose")]
pub(crate) struct TrustArgs {
    /// Trust releases signed by any one of these public keys
    #[arg(long, value_name = "PUB", num_args = 1..)]
    pub(crate) trust: Vec<PathBuf>,

    /// Trust releases as this keyset says, thresholds included
    #[arg(long, value_name = "FILE")]
    pub(crate) keyset: Option<PathBuf>,
}

/// Recipients of a sealed release.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RecipientArgs {
    /// Seal to this device or group: its public key, or a group key (repeatable)
    #[arg(long, value_name = "KEY_OR_PUB", num_args = 1..)]
    pub(crate) to: Vec<PathBuf>,

    /// Seal to every device of a list, JSON lines or CSV; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) to_list: Option<PathBuf>,

    /// Of the list, only devices with this tag
    #[arg(long, value_name = "TAG", requires = "to_list")]
    pub(crate) tag: Option<String>,
}
