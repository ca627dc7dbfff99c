use std::path::{Path, PathBuf};

use airseal_pack::key::{
    EmbedFormat, KeyFile, KeyInfo, KeyKind, PrivateKey, embed, private_to_pem, public_to_pem,
};
use airseal_pack::output::{Access, check_target, is_stdout, write_file};
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;

use crate::commands::shared::{ForceArgs, Target};
use crate::failure::Failure;
use crate::keys;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

/// Make keys, look at them, renew a group key
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    New(NewArgs),
    Show(ShowArgs),
    Rotate(RotateArgs),
}

/// Make a key: NAME.key, readable by you alone, and NAME.pub
#[derive(Debug, clap::Args)]
struct NewArgs {
    /// What the key is for: signing releases, or opening them
    #[arg(long, value_parser = kinds())]
    kind: KeyKind,

    /// Write NAME.key and NAME.pub (a group key has no public half)
    #[arg(long, short, value_name = "NAME")]
    output: PathBuf,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    #[command(flatten)]
    force: ForceArgs,
}

/// Show a key's kind, id, fingerprint and public part; never the secret
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// A private or public key file, also from openssl
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Take a P-256 key from elsewhere as this kind
    #[arg(long, value_parser = kinds())]
    kind: Option<KeyKind>,

    /// Print only the public part: PEM, the raw bytes, or source code to build into firmware
    #[arg(long, value_enum)]
    format: Option<Format>,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Make the next generation of a group key
#[derive(Debug, clap::Args)]
struct RotateArgs {
    /// The group key in use
    #[arg(value_name = "GROUP.key")]
    file: PathBuf,

    /// Write the new generation here
    #[arg(long, short, value_name = "NEW.key")]
    output: PathBuf,

    #[command(flatten)]
    force: ForceArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Pem,
    Raw,
    C,
    Rust,
}

impl From<Format> for EmbedFormat {
    fn from(format: Format) -> EmbedFormat {
        match format {
            Format::Pem => EmbedFormat::Pem,
            Format::Raw => EmbedFormat::Raw,
            Format::C => EmbedFormat::C,
            Format::Rust => EmbedFormat::Rust,
        }
    }
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::New(args) => new(args, ui),
        Command::Show(args) => show(args, ui),
        Command::Rotate(args) => rotate(args, ui),
    }
}

fn new(args: &NewArgs, ui: &Ui) -> Result<(), Failure> {
    if is_stdout(&args.output) {
        return Err(Failure::usage("a key is not written to standard output")
            .hint("name the files with --output NAME: NAME.key and NAME.pub"));
    }
    let private_path = with_extension(&args.output, "key");
    let public_path = with_extension(&args.output, "pub");
    let existing = args.force.existing();
    check_target(&private_path, existing)?;
    if args.kind != KeyKind::Group {
        check_target(&public_path, existing)?;
    }
    let passphrase = args.passphrase.choose()?;
    let key = PrivateKey::generate(args.kind)?;
    let pem = private_to_pem(&key, passphrase.as_ref().map(|text| text.as_str()))?;
    write_file(&private_path, pem.as_bytes(), existing, Access::Owner)?;
    if let Some(public) = key.public() {
        write_file(
            &public_path,
            public_to_pem(&public).as_bytes(),
            existing,
            Access::Public,
        )?;
    }
    let has_public = key.public().is_some();
    made(
        &KeyFile::Private(key).info(),
        &private_path,
        has_public.then_some(public_path.as_path()),
        ui,
    )
}

fn show(args: &ShowArgs, ui: &Ui) -> Result<(), Failure> {
    if is_stdout(&args.file) {
        return Err(Failure::usage("a key is not read from standard input")
            .hint("name its file, which can be kept from other users"));
    }
    if args.format.is_some() && ui.json() {
        return Err(Failure::usage("--format and --json contradict each other")
            .hint("--json alone has the public key too"));
    }
    let key = keys::read(
        &args.file,
        args.kind.map(KeyKind::role),
        &args.passphrase,
        ui,
    )?;
    let Some(format) = args.format else {
        return ui.result(&key.info(), text);
    };
    ui.bytes(&embed(&key, format.into())?)
}

fn rotate(args: &RotateArgs, ui: &Ui) -> Result<(), Failure> {
    let target = Target::new(&args.output, args.force, [&args.file])?;
    let next = match keys::read(&args.file, None, &PassphraseArgs::default(), ui)? {
        KeyFile::Private(PrivateKey::Group(group)) => PrivateKey::Group(group.rotate()?),
        other => {
            return Err(Failure::refused(format_args!(
                "{}: this is a key of kind {}, needed is a group key",
                args.file.display(),
                other.kind()
            ))
            .hint("signing keys are renewed by `airseal keyset rotate`, a device key by a new enrolment"));
        }
    };
    let pem = private_to_pem(&next, None)?;
    target.write(pem.as_bytes(), Access::Owner)?;
    made(&KeyFile::Private(next).info(), &args.output, None, ui)
}

fn made(info: &KeyInfo, private: &Path, public: Option<&Path>, ui: &Ui) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    struct Made<'a> {
        #[serde(flatten)]
        info: &'a KeyInfo,
        key_file: &'a Path,
        public_file: Option<&'a Path>,
    }
    ui.result(
        &Made {
            info,
            key_file: private,
            public_file: public,
        },
        |made| {
            let files = match made.public_file {
                Some(public) => format!(
                    "{} (keep it secret) and {}",
                    private.display(),
                    public.display()
                ),
                None => format!("{} (keep it secret)", private.display()),
            };
            format!("{files}\n{}", text(made.info))
        },
    )
}

fn text(info: &KeyInfo) -> String {
    let half = if info.private { "private" } else { "public" };
    let mut text = format!(
        "kind         {} ({half})\nid           {}\n",
        info.kind, info.id
    );
    let optional = [
        ("fingerprint", &info.fingerprint),
        ("public key", &info.public_key),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            text.push_str(&format!("{name:12} {value}\n"));
        }
    }
    if let Some(generation) = info.generation {
        text.push_str(&format!("generation   {generation}\n"));
    }
    text
}

/// NAME.key also when NAME has a dot or ends in `.key` already.
fn with_extension(name: &Path, extension: &str) -> PathBuf {
    let text = name.as_os_str().to_string_lossy();
    let stem = text
        .strip_suffix(".key")
        .or_else(|| text.strip_suffix(".pub"));
    let mut path = stem.map_or_else(
        || name.as_os_str().to_owned(),
        |stem| stem.to_owned().into(),
    );
    path.push(".");
    path.push(extension);
    PathBuf::from(path)
}

fn kinds() -> impl clap::builder::TypedValueParser<Value = KeyKind> {
    PossibleValuesParser::new(KeyKind::ALL.map(KeyKind::name)).try_map(|name| {
        KeyKind::from_name(&name).ok_or_else(|| format!("no such kind of key: {name}"))
    })
}
