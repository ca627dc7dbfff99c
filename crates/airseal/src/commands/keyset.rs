use std::path::{Path, PathBuf};

use airseal_format::signature::SigningPublicKey;
use airseal_pack::inspect::KeysetInfo;
use airseal_pack::key::{KeyFile, KeyRole, PublicKey};
use airseal_pack::keyset::{KeysetFile, KeysetFileInfo, KeysetKeys, NewKeyset, RotateKeyset};
use airseal_pack::output::{Access, Existing, check_target};
use airseal_pack::signer::{KeySigner, Signer, open_signer};

use crate::commands::shared::{
    ForceArgs, Target, as_files, distinct, read_signature, request_written, signers,
    signing_public_key,
};
use crate::failure::Failure;
use crate::keys;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

/// Decide who may sign releases: keys, thresholds, rotation
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    New(NewArgs),
    Rotate(RotateArgs),
    Sign(SignArgs),
    Show(ShowArgs),
    SignRequest(SignRequestArgs),
    Attach(AttachArgs),
}

/// Make the first keyset of a product; root keys given as private files sign it at once
#[derive(Debug, clap::Args)]
struct NewArgs {
    /// Keys that may change the keyset: private or public files, or command:PROGRAM
    #[arg(long, value_name = "KEY", num_args = 1.., required = true)]
    root: Vec<String>,

    /// Keys that may sign releases
    #[arg(long, value_name = "KEY", num_args = 1.., required = true)]
    release: Vec<String>,

    /// Keys that may sign fresh offers, online; no other role
    #[arg(long, value_name = "KEY", num_args = 1..)]
    offer: Vec<String>,

    /// How many root keys must agree to a change, and how many release keys to a release
    #[arg(
        long,
        value_name = "K",
        default_value_t = 1,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u8).range(1..=8)
    )]
    threshold: u8,

    /// How many root keys must agree, 1 to 3 [default: --threshold]
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(1..=3))]
    root_threshold: Option<u8>,

    /// The vendor's name
    #[arg(long, value_name = "NAME")]
    vendor: String,

    /// The class of device [default: every class of the vendor]
    #[arg(long, value_name = "NAME")]
    class: Option<String>,

    /// No release above this security version is accepted
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1_000_000,
        allow_negative_numbers = true
    )]
    max_security_version: u32,

    /// Write the keyset file here
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    #[command(flatten)]
    force: ForceArgs,
}

/// Append the next version: other keys, other thresholds
#[derive(Debug, clap::Args)]
struct RotateArgs {
    /// The keyset file so far [default: the output file, which is then replaced]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    /// The new root keys; private files sign at once [default: as before]
    #[arg(long, value_name = "KEY", num_args = 1..)]
    root: Vec<String>,

    /// The new release keys [default: as before]
    #[arg(long, value_name = "KEY", num_args = 1..)]
    release: Vec<String>,

    /// The new offer keys [default: as before]
    #[arg(long, value_name = "KEY", num_args = 1..)]
    offer: Vec<String>,

    /// Keys that sign the change, such as the old roots: key files, or command:PROGRAM as `airseal cosign --help` tells
    #[arg(long, value_name = "KEY", num_args = 1..)]
    sign: Vec<String>,

    /// How many root keys and how many release keys must agree [default: as before]
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(1..=8))]
    threshold: Option<u8>,

    /// How many root keys must agree, 1 to 3 [default: --threshold, or as before]
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(1..=3))]
    root_threshold: Option<u8>,

    /// No release above this security version is accepted [default: as before]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_security_version: Option<u32>,

    /// Write the longer keyset file here
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    #[command(flatten)]
    force: ForceArgs,
}

/// Sign the newest keyset of a file with a root key
#[derive(Debug, clap::Args)]
struct SignArgs {
    /// The keyset file, replaced once the new one is complete
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Sign with this root key: a key file, or command:PROGRAM as `airseal cosign --help` tells (repeatable)
    #[arg(long, value_name = "KEY", required = true)]
    sign: Vec<String>,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Show keys, thresholds and signatures, and whether the chain holds
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The keyset file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Write what a signature of the newest keyset covers, to be signed on another machine
#[derive(Debug, clap::Args)]
struct SignRequestArgs {
    /// The keyset file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Write the bytes to sign here; - is standard output
    #[arg(long, short, value_name = "REQ")]
    output: PathBuf,

    #[command(flatten)]
    force: ForceArgs,
}

/// Add a signature that was made on another machine
#[derive(Debug, clap::Args)]
struct AttachArgs {
    /// The keyset file, replaced once the new one is complete
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The signature: 64 raw bytes, or DER for P-256
    #[arg(value_name = "SIG")]
    signature: PathBuf,

    /// The public key of who signed [default: the Ed25519 root that fits]
    #[arg(long, value_name = "PUB")]
    key: Option<PathBuf>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::New(args) => new(args, ui),
        Command::Rotate(args) => rotate(args, ui),
        Command::Sign(args) => sign(args, ui),
        Command::Show(args) => ui.result(&KeysetFile::read(&args.file)?.info(), text),
        Command::SignRequest(args) => sign_request(args, ui),
        Command::Attach(args) => attach(args, ui),
    }
}

fn new(args: &NewArgs, ui: &Ui) -> Result<(), Failure> {
    let read = [&args.root, &args.release, &args.offer].map(|keys| as_files(keys));
    let target = Target::new(&args.output, args.force, read.iter().flatten())?;
    let roots = Party::read(&args.root, &args.passphrase, ui)?;
    let releases = Party::read(&args.release, &args.passphrase, ui)?;
    let offers = Party::read(&args.offer, &args.passphrase, ui)?;
    let keyset = KeysetFile::create(
        &args.output.display().to_string(),
        &NewKeyset {
            vendor: &args.vendor,
            class: args.class.as_deref(),
            keys: KeysetKeys {
                roots: &roots.public,
                releases: &releases.public,
                offers: &offers.public,
                root_threshold: args.root_threshold.unwrap_or(args.threshold),
                release_threshold: args.threshold,
            },
            max_security_version: args.max_security_version,
        },
    )?;
    finish(keyset, &roots.signers, target.path(), target.existing(), ui)
}

fn rotate(args: &RotateArgs, ui: &Ui) -> Result<(), Failure> {
    let existing = if args.from.is_some() {
        args.force.existing()
    } else {
        Existing::Replace
    };
    let read = [&args.root, &args.release, &args.offer, &args.sign].map(|keys| as_files(keys));
    distinct(read.iter().flatten(), &args.output)?;
    check_target(&args.output, existing)?;
    let before = KeysetFile::read(args.from.as_ref().unwrap_or(&args.output))?;
    let roots = Party::read(&args.root, &args.passphrase, ui)?;
    let releases = Party::read(&args.release, &args.passphrase, ui)?;
    let offers = Party::read(&args.offer, &args.passphrase, ui)?;
    let mut signing = signers(&args.sign, &args.passphrase, ui)?;
    signing.extend(roots.signers);
    let change = RotateKeyset {
        roots: some(&roots.public),
        releases: some(&releases.public),
        offers: some(&offers.public),
        root_threshold: args.root_threshold.or(args.threshold),
        release_threshold: args.threshold,
        max_security_version: args.max_security_version,
    };
    let keyset = before.rotate(&args.output.display().to_string(), &change)?;
    finish(keyset, &signing, &args.output, existing, ui)
}

fn sign(args: &SignArgs, ui: &Ui) -> Result<(), Failure> {
    let signing = signers(&args.sign, &args.passphrase, ui)?;
    finish(
        KeysetFile::read(&args.file)?,
        &signing,
        &args.file,
        Existing::Replace,
        ui,
    )
}

fn sign_request(args: &SignRequestArgs, ui: &Ui) -> Result<(), Failure> {
    let target = Target::new(&args.output, args.force, [&args.file])?;
    let request = KeysetFile::read(&args.file)?.sign_request();
    target.write(&request, Access::Public)?;
    let next = format!(
        "airseal keyset attach {} SIGNATURE --key PUB",
        args.file.display()
    );
    request_written(&target, request.len(), next, ui)
}

fn attach(args: &AttachArgs, ui: &Ui) -> Result<(), Failure> {
    let key = args
        .key
        .as_deref()
        .map(|path| signing_public_key(path, ui))
        .transpose()?;
    let signature = read_signature(&args.signature)?;
    let name = args.signature.display().to_string();
    let keyset = KeysetFile::read(&args.file)?.attach((&name, &signature), key.as_ref())?;
    finish(keyset, &[], &args.file, Existing::Replace, ui)
}

fn finish(
    mut keyset: KeysetFile,
    signing: &[Box<dyn Signer>],
    output: &Path,
    existing: Existing,
    ui: &Ui,
) -> Result<(), Failure> {
    if !signing.is_empty() {
        keyset = keyset.sign(signing)?;
    }
    keyset.write(output, existing)?;
    ui.result(&keyset.info(), |info| {
        let newest = info
            .keysets
            .last()
            .map(|keyset| keyset.version)
            .unwrap_or_default();
        let state = match &info.missing {
            None => "complete".to_owned(),
            Some(missing) => format!("not usable yet: {missing}"),
        };
        format!("{}: version {newest}, {state}", output.display())
    })
}

/// Keys of one role; those that came as private keys can sign.
struct Party {
    public: Vec<SigningPublicKey>,
    signers: Vec<Box<dyn Signer>>,
}

impl Party {
    fn read(specs: &[String], passphrase: &PassphraseArgs, ui: &Ui) -> Result<Party, Failure> {
        let mut party = Party {
            public: Vec::new(),
            signers: Vec::new(),
        };
        for spec in specs {
            if spec.starts_with("command:") {
                let signer = open_signer(spec, passphrase)?.key;
                party.public.push(*signer.public_key());
                party.signers.push(signer);
                continue;
            }
            let key = keys::read(Path::new(spec), Some(KeyRole::Signing), passphrase, ui)?;
            match key.public() {
                Some(PublicKey::Signing(public)) => party.public.push(public),
                _ => {
                    return Err(Failure::refused(format_args!(
                        "{spec}: a key of kind {} signs nothing",
                        key.kind()
                    )));
                }
            }
            if let KeyFile::Private(private) = key {
                party.signers.push(Box::new(KeySigner::new(spec, private)?));
            }
        }
        Ok(party)
    }
}

fn some(keys: &[SigningPublicKey]) -> Option<&[SigningPublicKey]> {
    (!keys.is_empty()).then_some(keys)
}

fn text(info: &KeysetFileInfo) -> String {
    let mut text: String = info.keysets.iter().map(keyset_text).collect();
    match &info.missing {
        None => text.push_str("the chain holds\n"),
        Some(missing) => text.push_str(&format!("not usable yet: {missing}\n")),
    }
    text
}

pub(super) fn keyset_text(keyset: &KeysetInfo) -> String {
    let mut text = format!(
        "keyset version {}\n  digest     {}\n  vendor     {}\n  class      {}\n  security   at most {}\n  change     {} root signatures\n  release    {} release signatures\n",
        keyset.version,
        keyset.digest,
        keyset.vendor_id,
        keyset
            .class_id
            .as_deref()
            .unwrap_or("every class of the vendor"),
        keyset.max_security_version,
        keyset.root_threshold,
        keyset.release_threshold,
    );
    for key in &keyset.keys {
        let signed = if keyset
            .signatures
            .iter()
            .any(|signature| signature.key_id == key.key_id)
        {
            ", signed"
        } else {
            ""
        };
        text.push_str(&format!(
            "  key        {} {} ({}){signed}\n",
            key.key_id,
            key.algorithm,
            key.roles.join(", ")
        ));
    }
    text
}
