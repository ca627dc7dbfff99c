use std::path::{Path, PathBuf};

use airseal_pack::bridge::keys::{BridgeKey, read_small};
use airseal_pack::bridge::mcuboot::{Encrypt, KeyLen, Unwrap, Version, Wrap, encrypt, open};
use airseal_pack::output::Access;
use airseal_pack::source::Source;

use crate::commands::esp::shared::address;
use crate::commands::shared::{FileArgs, warn_of_readable};
use crate::failure::Failure;
use crate::ui::Ui;
use crate::work;

/// Images of MCUboot, as imgtool makes them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Encrypt(EncryptArgs),
    Decrypt(DecryptArgs),
    Verify(VerifyArgs),
}

/// Sign firmware and encrypt it, in one step
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("The firmware, without a header of MCUboot; - is standard input")),
    mut_arg("output", |arg| arg.help("Write the image here; - is standard output")),
    after_help = "Example: airseal bridge mcuboot encrypt --sign vendor.pem --to device-pub.pem --version 1.2.3 app.bin app.img"
)]
struct EncryptArgs {
    #[command(flatten)]
    files: FileArgs,

    /// The private key that signs: RSA-2048, P-256 or Ed25519
    #[arg(long, value_name = "PEM")]
    sign: PathBuf,

    /// Encrypt for this public key: RSA-2048, P-256 or X25519
    #[arg(
        long,
        value_name = "PEM",
        required_unless_present = "kek",
        conflicts_with = "kek"
    )]
    to: Option<PathBuf>,

    /// Encrypt for whoever has this AES key: 16 or 32 bare bytes
    #[arg(long, value_name = "FILE")]
    kek: Option<PathBuf>,

    /// For X25519: derive with SHA-512
    #[arg(long, requires = "to")]
    sha512: bool,

    /// The version: 1.2.3 or 1.2.3+4
    #[arg(long, value_name = "VERSION", value_parser = version)]
    version: Version,

    /// Length of the image's own AES key, bits
    #[arg(long, value_name = "BITS", value_parser = ["128", "256"], default_value = "128")]
    key_bits: String,

    /// Length of the header, bytes
    #[arg(long, value_name = "N", value_parser = header_size, default_value = "32")]
    header_size: u16,

    /// Security counter, which rises when older images must never run again [default: none]
    #[arg(long, value_name = "N", value_parser = address)]
    security_counter: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct OpenArgs {
    /// The private key that the image is encrypted for
    #[arg(long, value_name = "PEM", conflicts_with = "kek")]
    key: Option<PathBuf>,

    /// The AES key that the image is encrypted for: 16 or 32 bare bytes
    #[arg(long, value_name = "FILE")]
    kek: Option<PathBuf>,
}

/// Take the firmware out of an image, with the padding it was hashed with
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("The image; - is standard input")),
    mut_arg("output", |arg| arg.help("Write the firmware here; - is standard output")),
    after_help = "Example: airseal bridge mcuboot decrypt --key device.pem --verify vendor-pub.pem app.img app.bin"
)]
struct DecryptArgs {
    #[command(flatten)]
    files: FileArgs,

    #[command(flatten)]
    open: OpenArgs,

    /// Refuse it without a signature by this public key
    #[arg(long, value_name = "PEM")]
    verify: Option<PathBuf>,
}

/// Check hash and signature of an image
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: airseal bridge mcuboot verify --verify vendor-pub.pem --key device.pem app.img"
)]
struct VerifyArgs {
    /// The image; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// The public key of who signed it
    #[arg(long, value_name = "PEM")]
    verify: PathBuf,

    #[command(flatten)]
    open: OpenArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::Encrypt(args) => make(args, ui),
        Command::Decrypt(args) => take_out(args, ui),
        Command::Verify(args) => check(args, ui),
    }
}

fn make(args: &EncryptArgs, ui: &Ui) -> Result<(), Failure> {
    let keys = args.to.iter().chain(&args.kek).chain([&args.sign]);
    let target = args.files.target(keys)?;
    warn_of_readable(args.kek.iter().chain([&args.sign]), ui);
    let signer = BridgeKey::read(&args.sign)?;
    let wrap = match (&args.to, &args.kek) {
        (Some(path), _) => Wrap::Public {
            key: BridgeKey::read(path)?,
            sha512: args.sha512,
        },
        (None, Some(path)) => Wrap::Shared(read_small(path)?),
        (None, None) => return Err(Failure::usage("neither --to nor --kek is given")),
    };
    let payload = Source::open(&args.files.input)?;
    if payload.is_empty() {
        ui.warn(format_args!("{}: is empty", payload.name()));
    }
    let how = Encrypt {
        version: args.version,
        header_len: args.header_size,
        security_counter: args.security_counter,
        signer: &signer,
        wrap: &wrap,
        key_len: match args.key_bits.as_str() {
            "256" => KeyLen::Aes256,
            _ => KeyLen::Aes128,
        },
    };
    let output = target.create(Access::Public)?;
    let size = work::run(ui, |control| encrypt(&payload, &how, &output, control))?;
    output.commit()?;
    target.report(&serde_json::json!({"size": size}), ui, |_| {
        format!("{size} bytes")
    })
}

fn take_out(args: &DecryptArgs, ui: &Ui) -> Result<(), Failure> {
    let keys = args.open.key.iter().chain(&args.open.kek);
    let target = args.files.target(keys.chain(&args.verify))?;
    let signer = args.verify.as_deref().map(BridgeKey::read).transpose()?;
    let unwrap = unwrap(&args.open, ui)?;
    let image = Source::open(&args.files.input)?;
    let output = target.create(Access::Public)?;
    let found = work::run(ui, |control| {
        open(
            &image,
            unwrap.as_ref(),
            signer.as_ref(),
            Some(&output),
            control,
        )
    })?;
    output.commit()?;
    if !found.signed {
        ui.warn("the signature was not checked; --verify does that");
    }
    target.report(&found, ui, |found| format!("{} bytes", found.size))
}

fn check(args: &VerifyArgs, ui: &Ui) -> Result<(), Failure> {
    let signer = BridgeKey::read(&args.verify)?;
    let unwrap = unwrap(&args.open, ui)?;
    let image = Source::open(&args.input)?;
    let found = work::run(ui, |control| {
        open(&image, unwrap.as_ref(), Some(&signer), None, control)
    })?;
    let name = image.name();
    ui.result(&found, |found| {
        let version = found.version;
        format!(
            "{name}: hash and signature hold, version {}.{}.{}+{}, {} bytes",
            version.major, version.minor, version.revision, version.build, found.size
        )
    })
}

fn unwrap(args: &OpenArgs, ui: &Ui) -> Result<Option<Unwrap>, Failure> {
    warn_of_readable(args.key.iter().chain(&args.kek), ui);
    let read_key = |path: &Path| BridgeKey::read(path).map(Unwrap::Private);
    let read_kek = |path: &Path| read_small(path).map(Unwrap::Shared);
    Ok(match (&args.key, &args.kek) {
        (Some(path), _) => Some(read_key(path)?),
        (None, Some(path)) => Some(read_kek(path)?),
        (None, None) => None,
    })
}

fn header_size(text: &str) -> Result<u16, String> {
    address(text)?
        .try_into()
        .map_err(|_| "needed is a number below 64 KiB, such as 0x200 or 512".to_owned())
}

fn version(text: &str) -> Result<Version, String> {
    let wrong = || "a version is 1.2.3 or 1.2.3+4".to_owned();
    let (numbers, build) = text.split_once('+').unwrap_or((text, "0"));
    let mut numbers = numbers.split('.');
    let mut next = || numbers.next().ok_or_else(wrong);
    let version = Version {
        major: next()?.parse().map_err(|_| wrong())?,
        minor: next()?.parse().map_err(|_| wrong())?,
        revision: next()?.parse().map_err(|_| wrong())?,
        build: build.parse().map_err(|_| wrong())?,
    };
    match numbers.next() {
        Some(_) => Err(wrong()),
        None => Ok(version),
    }
}
