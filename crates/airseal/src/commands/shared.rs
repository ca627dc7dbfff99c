//! Arguments that several commands have.

use std::path::{Path, PathBuf};

use airseal_format::signature::SigningPublicKey;
use airseal_pack::key::{
    GroupKey, KeyFile, KeyRole, NoPassphrase, PrivateKey, PublicKey, readable_by_others,
};
use airseal_pack::keyset::KeysetFile;
use airseal_pack::open::NamedTrust;
use airseal_pack::output::Existing;
use airseal_pack::recipient::{Recipient, Recipients};
use airseal_pack::release::Changed;
use airseal_pack::signer::{Signer, open_signer};
use airseal_pack::source::Source;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::keys;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

mod files;

pub(crate) use files::{ChangedArgs, FileArgs, OutputArgs, Target};

/// What to do when the output is there already.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ForceArgs {
    /// Replace an existing output
    #[arg(long, display_order = 500)]
    pub(crate) force: bool,
}

impl ForceArgs {
    /// The same for the library.
    pub(crate) fn existing(self) -> Existing {
        if self.force {
            Existing::Replace
        } else {
            Existing::Refuse
        }
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

impl TrustArgs {
    /// Reads the keys or the keyset.
    ///
    /// # Errors
    /// Refused or environment.
    pub(crate) fn read(&self, ui: &Ui) -> Result<NamedTrust, Failure> {
        if let Some(keyset) = &self.keyset {
            return Ok(NamedTrust::Keyset(KeysetFile::read(keyset)?));
        }
        let loaded = NamedTrust::read_keys(&self.trust, &NoPassphrase)?;
        ui.warn_all(&loaded.warnings);
        Ok(loaded.key)
    }
}

/// The file that a command works on, which is `what`.
///
/// An option that takes several files, given last, swallows the file behind it: then that last file is the one meant.
///
/// # Errors
/// Usage, if there is none.
pub(crate) fn subject(
    named: Option<&PathBuf>,
    list: &mut Vec<PathBuf>,
    what: &str,
) -> Result<PathBuf, Failure> {
    match named {
        Some(named) => Ok(named.clone()),
        None if list.len() > 1 => Ok(list.pop().unwrap_or_default()),
        None => Err(Failure::usage(format_args!("{what} is not named"))
            .hint("give its name first, then the options")),
    }
}

/// Recipients of a sealed release.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RecipientArgs {
    /// Seal to this device or group: its public key, or a group key (repeatable)
    #[arg(long, value_name = "KEY_OR_PUB")]
    pub(crate) to: Vec<PathBuf>,

    /// Seal to every device of a list, JSON lines or CSV; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) to_list: Option<PathBuf>,

    /// Of the list, only devices with this tag
    #[arg(long, value_name = "TAG", requires = "to_list")]
    pub(crate) tag: Option<String>,
}

impl RecipientArgs {
    /// Reads the keys and the list.
    ///
    /// # Errors
    /// Refused or environment.
    pub(crate) fn read(&self, passphrase: &PassphraseArgs, ui: &Ui) -> Result<Recipients, Failure> {
        let mut recipients = Recipients::new();
        for path in &self.to {
            let loaded = Recipient::read(path, passphrase)?;
            ui.warn_all(&loaded.warnings);
            recipients.add(loaded.key);
        }
        if let Some(list) = &self.to_list {
            let warnings = recipients.add_list(list, self.tag.as_deref())?;
            ui.warn_all(&warnings);
        }
        Ok(recipients)
    }
}

/// Opens what `--sign` names.
///
/// # Errors
/// Refused or environment; usage for one key twice.
pub(crate) fn signers(
    specs: &[String],
    passphrase: &PassphraseArgs,
    ui: &Ui,
) -> Result<Vec<Box<dyn Signer>>, Failure> {
    passphrase.check()?;
    let mut signers: Vec<Box<dyn Signer>> = Vec::new();
    for spec in specs {
        let loaded = open_signer(spec, passphrase)?;
        ui.warn_all(&loaded.warnings);
        let id = loaded.key.public_key().key_id();
        if signers
            .iter()
            .any(|known| known.public_key().key_id() == id)
        {
            return Err(
                Failure::usage(format_args!("--sign {spec}: key {id} signs already"))
                    .hint("two signatures by one key count once; give another key"),
            );
        }
        signers.push(loaded.key);
    }
    Ok(signers)
}

/// Reads a public signing key (a private file does too).
///
/// # Errors
/// Refused or environment.
pub(crate) fn signing_public_key(path: &Path, ui: &Ui) -> Result<SigningPublicKey, Failure> {
    let key = keys::read(path, Some(KeyRole::Signing), &PassphraseArgs::default(), ui)?;
    match key.public() {
        Some(PublicKey::Signing(public)) => Ok(public),
        _ => Err(Failure::refused(format_args!(
            "{}: a key of kind {} signs nothing",
            path.display(),
            key.kind()
        ))),
    }
}

/// Reads a group key.
///
/// # Errors
/// Refused or environment.
pub(crate) fn group_key(
    path: &Path,
    passphrase: &PassphraseArgs,
    ui: &Ui,
) -> Result<GroupKey, Failure> {
    match keys::read(path, Some(KeyRole::Recipient), passphrase, ui)? {
        KeyFile::Private(PrivateKey::Group(group)) => Ok(group),
        key => Err(Failure::refused(format_args!(
            "{}: a key of kind {} is no group key",
            path.display(),
            key.kind()
        ))
        .hint("make one with `airseal key new --kind group`, and its next generation with `airseal key rotate`")),
    }
}

/// Reads a signature file; `-` is standard input.
///
/// # Errors
/// Refused if it is too long for one, environment if it can't be read.
pub(crate) fn read_signature(path: &Path) -> Result<Vec<u8>, Failure> {
    let source = Source::open(path)?;
    if source.len() > SIGNATURE_MAX {
        return Err(Failure::refused(format_args!(
            "{}: is too long for a signature",
            source.name()
        ))
        .hint("give the signature alone: 64 raw bytes, or DER for P-256"));
    }
    let mut bytes = vec![0; usize::try_from(source.len()).unwrap_or(usize::MAX)];
    source.read_at(0, &mut bytes)?;
    Ok(bytes)
}

const SIGNATURE_MAX: u64 = 4096;

/// A token as it may stand in a header.
///
/// # Errors
/// Usage, naming `source`.
pub(crate) fn checked_token(source: &str, text: &str) -> Result<Zeroizing<String>, Failure> {
    let token = text.trim();
    if token.is_empty()
        || token.len() > TOKEN_MAX
        || !token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(
            Failure::usage(format_args!("{source} holds no token")).hint(format!(
                "a token is one word of at most {TOKEN_MAX} visible characters, alone in its file"
            )),
        );
    }
    Ok(Zeroizing::new(token.to_owned()))
}

const TOKEN_MAX: usize = 64;

/// Says what a request to sign is, and what to do with it.
///
/// # Errors
/// Output closed, or environment.
pub(crate) fn request_written(
    target: &Target<'_>,
    bytes: usize,
    next: String,
    ui: &Ui,
) -> Result<(), Failure> {
    let name = target.path().display().to_string();
    let written = serde_json::json!({"request": name, "bytes": bytes, "then": next});
    target.report(&written, ui, |_| {
        format!("a request\nto sign      {bytes} bytes, as they are\nthen         {next}")
    })
}

/// Key arguments as the files that they may name.
pub(crate) fn as_files(keys: &[String]) -> Vec<PathBuf> {
    keys.iter().map(PathBuf::from).collect()
}

/// Warns of files with secrets that others can read. A name that is no file, as `command:PROGRAM`, is passed over.
pub(crate) fn warn_of_readable<'a>(secrets: impl IntoIterator<Item = &'a PathBuf>, ui: &Ui) {
    let readable = secrets
        .into_iter()
        .filter_map(|path| readable_by_others(path));
    ui.warn_all(readable);
}

/// Refuses an output that is one of the inputs, which no `--force` makes right.
///
/// # Errors
/// Usage.
pub(crate) fn distinct<'a>(
    inputs: impl IntoIterator<Item = &'a PathBuf>,
    output: &Path,
) -> Result<(), Failure> {
    let Ok(target) = output.canonicalize() else {
        return Ok(());
    };
    let same = inputs.into_iter().any(|input| {
        input
            .canonicalize()
            .is_ok_and(|input| input == target && input.is_file())
    });
    if same {
        return Err(Failure::usage(format_args!(
            "{}: is read by this command and can't be its output",
            output.display()
        ))
        .hint("name another file"));
    }
    Ok(())
}

/// A count with its word: `1 path`, `2 paths`.
pub(crate) fn count(number: usize, one: &str, several: &str) -> String {
    let word = if number == 1 { one } else { several };
    format!("{number} {word}")
}

/// What became of a sealed file, for people.
pub(crate) fn changed_text(output: &Path, changed: &Changed) -> String {
    format!(
        "{}\ndigest       {}\nsigned by    {}",
        output.display(),
        changed.manifest_digest,
        if changed.signers.is_empty() {
            "nobody yet".to_owned()
        } else {
            changed.signers.join(", ")
        }
    )
}
