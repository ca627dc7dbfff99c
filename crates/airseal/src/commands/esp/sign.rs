use std::path::{Path, PathBuf};

use airseal_pack::esp::boot_key::{BootPublicKey, BootSigner, parse_signature};
use airseal_pack::esp::sign::{
    SignOptions, Signed, Unsigned, random_iv, read_iv, sign_bootloader_v1, sign_v1, verify_v1,
    verify_v2,
};
use airseal_pack::esp::signatures_v1::{DigestKey, read_p256};
use airseal_pack::output::Access;
use airseal_pack::source::Source;

use super::shared::SchemeChoice;
use crate::commands::shared::{
    FileArgs, ForceArgs, Target, as_files, read_signature, request_written, warn_of_readable,
};
use crate::failure::Failure;
use crate::ui::Ui;

/// Sign an image for secure boot
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("The image; - is standard input")),
    mut_arg("output", |arg| arg.help("Write the signed image here; - is standard output")),
    after_help = "Example: airseal esp sign --scheme v2 --key boot.pem app.bin app-signed.bin"
)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    files: FileArgs,

    /// v2, or v1 for the original ESP32 before revision 3
    #[arg(long, value_enum)]
    scheme: SchemeChoice,

    /// A private key in PEM form, or command:PROGRAM; up to three with v2. With --bootloader the chip's own key, 32 bare bytes
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<String>,

    /// With v1: put the digest before a bootloader, for flashing at address 0
    #[arg(long, conflicts_with_all = ["append", "any_data"])]
    bootloader: bool,

    /// With --bootloader: these 128 bytes in place of random ones, to make the same file again
    #[arg(long, value_name = "FILE", requires = "bootloader")]
    iv: Option<PathBuf>,

    #[command(flatten)]
    options: OptionArgs,
}

/// Check the signature of secure boot
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: airseal esp verify-signature --scheme v2 --key boot-pub.pem app-signed.bin"
)]
pub(crate) struct VerifyArgs {
    /// The signed image; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// v2, or v1 for the original ESP32 before revision 3
    #[arg(long, value_enum)]
    scheme: SchemeChoice,

    /// The key in PEM form, either half
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
}

/// Show or write the digest of a key that is burned into the eFuses; with v1 write the key of a bootloader's digest
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airseal esp key-digest --key boot-pub.pem digest.bin")]
pub(crate) struct DigestArgs {
    /// Write its 32 bytes here; - is standard output [default: with v2 it is shown as hexadecimal]
    #[arg(value_name = "OUT")]
    output: Option<PathBuf>,

    /// v2, or v1: the secret key for BLOCK2 that follows from a signing key
    #[arg(long, value_enum, default_value = "v2")]
    scheme: SchemeChoice,

    /// The key in PEM form; with v2 either half
    #[arg(long, value_name = "PEM")]
    key: PathBuf,

    #[command(flatten)]
    force: ForceArgs,
}

/// Write the bytes that a key elsewhere has to sign
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airseal esp sign-request --scheme v2 app.bin -o app.req")]
pub(crate) struct RequestArgs {
    /// The image; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Write the padded bytes here, and what to do with them to OUT.json; - is standard output, without the second file
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Requests are for v2
    #[arg(long, value_enum)]
    scheme: SchemeChoice,

    #[command(flatten)]
    options: OptionArgs,

    #[command(flatten)]
    force: ForceArgs,
}

/// Put a signature that was made elsewhere behind the image
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("The image of which the request was made; - is standard input")),
    mut_arg("output", |arg| arg.help("Write the signed image here; - is standard output")),
    after_help = "Example: airseal esp attach-signature --scheme v2 --key boot-pub.pem --signature app.sig app.bin app-signed.bin"
)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    files: FileArgs,

    /// Requests are for v2
    #[arg(long, value_enum)]
    scheme: SchemeChoice,

    /// The public key in PEM form
    #[arg(long, value_name = "PUB")]
    key: PathBuf,

    /// The signature: 384 bytes of RSA, or ECDSA as DER or r and s
    #[arg(long, value_name = "SIG")]
    signature: PathBuf,

    #[command(flatten)]
    options: OptionArgs,
}

/// What is signed, and beside which signatures.
#[derive(Clone, Copy, Debug, clap::Args)]
struct OptionArgs {
    /// Add to the signatures that are there
    #[arg(long)]
    append: bool,

    /// Sign bytes that are no image of a chip, as they are
    #[arg(long)]
    any_data: bool,
}

impl From<OptionArgs> for SignOptions {
    fn from(args: OptionArgs) -> SignOptions {
        SignOptions {
            append: args.append,
            any_data: args.any_data,
        }
    }
}

pub(super) fn sign(args: &SignArgs, ui: &Ui) -> Result<(), Failure> {
    let keys = as_files(&args.key);
    let target = args.files.target(keys.iter().chain(&args.iv))?;
    warn_of_readable(&keys, ui);
    let source = Source::open(&args.files.input)?;
    if args.bootloader {
        return write(
            &digest_bootloader(args, &source)?,
            "digest (v1)",
            &target,
            ui,
        );
    }
    let options = args.options.into();
    let signers = args
        .key
        .iter()
        .map(|key| BootSigner::open(key))
        .collect::<Result<Vec<_>, _>>()?;
    let signed = match (args.scheme, signers.as_slice()) {
        (SchemeChoice::V1, [signer]) if !args.options.append => sign_v1(&source, signer, options)?,
        (SchemeChoice::V1, _) => {
            return Err(Failure::usage("version 1 has one signature by one key")
                .hint("give one --key and no --append"));
        }
        (SchemeChoice::V2, signers) => {
            let mut unsigned = Unsigned::read(&source, options)?;
            for signer in signers {
                unsigned.sign(signer)?;
            }
            unsigned.finish()?
        }
    };
    write(&signed, signed_as(&signed), &target, ui)
}

fn digest_bootloader(args: &SignArgs, source: &Source) -> Result<Signed, Failure> {
    let (SchemeChoice::V1, [key]) = (args.scheme, args.key.as_slice()) else {
        return Err(Failure::usage("a bootloader's digest belongs to version 1")
            .hint("give --scheme v1 and one --key; with version 2 sign it as any image"));
    };
    let key = DigestKey::read(Path::new(key))?;
    let iv = match &args.iv {
        Some(path) => read_iv(path)?,
        None => random_iv()?,
    };
    Ok(sign_bootloader_v1(source, &key, &iv)?)
}

pub(super) fn verify(args: &VerifyArgs, ui: &Ui) -> Result<(), Failure> {
    let source = Source::open(&args.input)?;
    let verdict = match args.scheme {
        SchemeChoice::V1 => verify_v1(&source, &read_p256(&args.key)?)?,
        SchemeChoice::V2 => verify_v2(&source, &BootPublicKey::read(&args.key)?)?,
    };
    let report = serde_json::json!({"file": source.name(), "verified": true, "found": verdict});
    ui.result(&report, |_| format!("{}: {verdict}", source.name()))
}

pub(super) fn key_digest(args: &DigestArgs, ui: &Ui) -> Result<(), Failure> {
    if args.scheme == SchemeChoice::V1 {
        return key_digest_v1(args, ui);
    }
    let target = args.target()?;
    let key = BootPublicKey::read(&args.key)?;
    let digest = key.key_digest()?;
    let shown = hex::encode(digest);
    let report = serde_json::json!({"scheme": key.scheme().name(), "key_digest": shown});
    match target {
        Some(target) => {
            target.write(&digest, Access::Public)?;
            target.report(&report, ui, |_| shown)
        }
        None => ui.result(&report, |_| shown),
    }
}

/// The result is a secret: it goes into a file of its owner's, and is not shown.
fn key_digest_v1(args: &DigestArgs, ui: &Ui) -> Result<(), Failure> {
    let Some(target) = args.target()? else {
        return Err(
            Failure::usage("with v1 the digest is a secret key, and is not shown")
                .hint("name OUT, the file to write it to"),
        );
    };
    warn_of_readable([&args.key], ui);
    let key = DigestKey::of_signer(&args.key)?;
    target.write(key.as_bytes(), Access::Owner)?;
    target.report(&serde_json::json!({"scheme": "v1"}), ui, |_| {
        "key for BLOCK2 (espefuse burn-key secure_boot_v1)".to_owned()
    })
}

impl DigestArgs {
    fn target(&self) -> Result<Option<Target<'_>>, Failure> {
        let output = self.output.as_deref();
        output
            .map(|output| Target::new(output, self.force, [&self.key]))
            .transpose()
    }
}

pub(super) fn request(args: &RequestArgs, ui: &Ui) -> Result<(), Failure> {
    only_v2(args.scheme)?;
    let target = Target::new(&args.output, args.force, [&args.input])?;
    let about_name = about_name(&args.output);
    let about_target = match target.is_stdout() {
        false => Some(Target::new(&about_name, args.force, [&args.input])?),
        true => None,
    };
    let unsigned = Unsigned::read(&Source::open(&args.input)?, args.options.into())?;
    let message = target.fill(unsigned.message(), Access::Public)?;
    if let Some(target) = about_target {
        let mut about =
            serde_json::to_vec_pretty(&unsigned.request()).map_err(Failure::environment)?;
        about.push(b'\n');
        target.write(&about, Access::Public)?;
    }
    message.commit()?;
    let next = format!(
        "airseal esp attach-signature --scheme v2 --key PUB --signature SIG {} OUT",
        args.input.display()
    );
    request_written(&target, unsigned.message().len(), next, ui)
}

/// `OUT.json`.
fn about_name(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}

pub(super) fn attach(args: &AttachArgs, ui: &Ui) -> Result<(), Failure> {
    only_v2(args.scheme)?;
    let target = args.files.target([&args.signature, &args.key])?;
    let source = Source::open(&args.files.input)?;
    let key = BootPublicKey::read(&args.key)?;
    let name = args.signature.display().to_string();
    let signature = parse_signature(&name, key.scheme(), &read_signature(&args.signature)?)?;
    let mut unsigned = Unsigned::read(&source, args.options.into())?;
    unsigned.attach(&name, &key, &signature)?;
    let signed = unsigned.finish()?;
    write(&signed, signed_as(&signed), &target, ui)
}

fn only_v2(scheme: SchemeChoice) -> Result<(), Failure> {
    match scheme {
        SchemeChoice::V2 => Ok(()),
        SchemeChoice::V1 => Err(Failure::usage("requests are for version 2")
            .hint("with version 1 sign with `esp sign --key command:PROGRAM`")),
    }
}

/// What was done, for people.
fn signed_as(signed: &Signed) -> &'static str {
    match signed.report.scheme {
        "v1" => "signed (v1), signature",
        _ => "signed (v2), signature",
    }
}

fn write(signed: &Signed, what: &str, target: &Target<'_>, ui: &Ui) -> Result<(), Failure> {
    ui.warn_all(&signed.report.warnings);
    target.write(&signed.bytes, Access::Public)?;
    target.report(&signed.report, ui, |report| {
        let mut text = format!("{what} at {:#x}", report.signature_offset);
        for digest in &report.key_digests {
            text.push_str("\nkey digest   ");
            text.push_str(digest);
        }
        text
    })
}
