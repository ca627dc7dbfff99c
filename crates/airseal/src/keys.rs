//! Reading key files for commands: warnings go to the user, failures name the file.

use std::path::Path;

use airseal_pack::key::{KeyFile, KeyRole};

use crate::failure::Failure;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

/// Reads a key file of any kind, or of the kinds that `role` takes.
///
/// # Errors
/// Refused or environment.
pub(crate) fn read(
    path: &Path,
    role: Option<KeyRole>,
    passphrase: &PassphraseArgs,
    ui: &Ui,
) -> Result<KeyFile, Failure> {
    passphrase.check()?;
    let loaded = KeyFile::read(path, role, passphrase)?;
    ui.warn_all(&loaded.warnings);
    Ok(loaded.key)
}
