use std::path::{Path, PathBuf};

use airseal_pack::esp::boot_key::{BootPublicKey, BootSigner, parse_signature};
use airseal_pack::esp::sign::{
    SignOptions, Signed, Unsigned, random_iv, read_iv, sign_bootloader_v1, sign_v1, verify_v1,
    verify_v2,
};
use airseal_pack::esp::signatures_v1::DigestKey;
use airseal_pack::output::{Access, is_stdout, write_file};
use airseal_pack::source::Source;

use super::shared::SchemeChoice;
use crate::commands::shared::{ForceArgs, distinct, read_signature, request_written};
use crate::failure::Failure;
use crate::ui::Ui;

/// Sign an image for secure boot
#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// The image; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Write the signed image here; - is standard output
    #[arg(value_name = "OUT")]
    output: PathBuf,

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

    /// Add to the signatures that are there
    #[arg(long)]
    append: bool,

    /// Sign bytes that are no image of a chip, as they are
    #[arg(long)]
    any_data: bool,

    #[command(flatten)]
    force: ForceArgs,
}

/// Check the signature of secure boot
#[derive(Debug, clap::Args)]
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
pub(crate) struct DigestArgs {
    /// Write its 32 bytes here
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
pub(crate) struct RequestArgs {
    /// The image; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Write the padded bytes here, and what to do with them to OUT.json
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Requests are for v2
    #[arg(long, value_enum)]
    scheme: SchemeChoice,

    /// Add to the signatures that are there
    #[arg(long)]
    append: bool,

    /// Sign bytes that are no image of a chip, as they are
    #[arg(long)]
    any_data: bool,

    #[command(flatten)]
    force: ForceArgs,
}

/// Put a signature that was made elsewhere behind the image
#[derive(Debug, clap::Args)]
pub(crate) struct AttachArgs {
    /// The image of which the request was made; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Write the signed image here; - is standard output
    #[arg(value_name = "OUT")]
    output: PathBuf,

    /// Requests are for v2
    #[arg(long, value_enum)]
    scheme: SchemeChoice,

    /// The public key in PEM form
    #[arg(long, value_name = "PUB")]
    key: PathBuf,

    /// The signature: 384 bytes of RSA, or ECDSA as DER or r and s
    #[arg(long, value_name = "SIG")]
    signature: PathBuf,

    /// Add to the signatures that are there
    #[arg(long)]
    append: bool,

    /// Sign bytes that are no image of a chip, as they are
    #[arg(long)]
    any_data: bool,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn sign(args: &SignArgs, ui: &Ui) -> Result<(), Failure> {
    let keys: Vec<PathBuf> = args.key.iter().map(PathBuf::from).collect();
    let inputs = keys.iter().chain(&args.iv).chain([&args.input]);
    distinct(inputs, &args.output)?;
    let source = Source::open(&args.input)?;
    let options = SignOptions {
        append: args.append,
        any_data: args.any_data,
    };
    if args.bootloader {
        let signed = digest_bootloader(args, &source)?;
        return write(&signed, &args.output, args.force, ui);
    }
    let signers = args
        .key
        .iter()
        .map(|key| BootSigner::open(key))
        .collect::<Result<Vec<_>, _>>()?;
    let signed = match (args.scheme, signers.as_slice()) {
        (SchemeChoice::V1, [signer]) if !args.append => sign_v1(&source, signer, options)?,
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
    write(&signed, &args.output, args.force, ui)
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
    let key = BootPublicKey::read(&args.key)?;
    let verdict = match args.scheme {
        SchemeChoice::V1 => verify_v1(&source, &key)?,
        SchemeChoice::V2 => verify_v2(&source, &key)?,
    };
    let report = serde_json::json!({"file": source.name(), "verified": true, "found": verdict});
    ui.result(&report, |_| format!("{}: {verdict}", source.name()))
}

pub(super) fn key_digest(args: &DigestArgs, ui: &Ui) -> Result<(), Failure> {
    if args.scheme == SchemeChoice::V1 {
        return key_digest_v1(args, ui);
    }
    let key = BootPublicKey::read(&args.key)?;
    let digest = key.key_digest()?;
    if let Some(output) = &args.output {
        distinct([&args.key], output)?;
        write_file(output, &digest, args.force.existing(), Access::Public)?;
        if is_stdout(output) {
            return Ok(());
        }
    }
    let digest = hex::encode(digest);
    let report = serde_json::json!({"scheme": key.scheme().name(), "key_digest": digest});
    ui.result(&report, |_| digest.clone())
}

/// The result is a secret: it goes into a file of its owner's, and is not shown.
fn key_digest_v1(args: &DigestArgs, ui: &Ui) -> Result<(), Failure> {
    let Some(output) = &args.output else {
        return Err(
            Failure::usage("with v1 the digest is a secret key, and is not shown")
                .hint("name OUT, the file to write it to"),
        );
    };
    distinct([&args.key], output)?;
    let key = DigestKey::of_signer(&args.key)?;
    write_file(output, key.as_bytes(), args.force.existing(), Access::Owner)?;
    if is_stdout(output) {
        return Ok(());
    }
    let file = output.display().to_string();
    ui.result(&serde_json::json!({"file": file, "scheme": "v1"}), |_| {
        format!("{file}: key for BLOCK2 (espefuse burn-key secure_boot_v1)")
    })
}

pub(super) fn request(args: &RequestArgs, ui: &Ui) -> Result<(), Failure> {
    only_v2(args.scheme)?;
    distinct([&args.input], &args.output)?;
    let source = Source::open(&args.input)?;
    let options = SignOptions {
        append: args.append,
        any_data: args.any_data,
    };
    let unsigned = Unsigned::read(&source, options)?;
    let existing = args.force.existing();
    if !is_stdout(&args.output) {
        let mut name = args.output.clone().into_os_string();
        name.push(".json");
        let about = serde_json::to_vec_pretty(&unsigned.request())
            .map_err(|error| Failure::environment(format_args!("{error}")))?;
        airseal_pack::output::check_target(&args.output, existing)?;
        write_file(Path::new(&name), &about, existing, Access::Public)?;
    }
    let message = unsigned.message();
    write_file(&args.output, message, existing, Access::Public)?;
    let next = format!(
        "airseal esp attach-signature --scheme v2 --key PUB --signature SIG {} OUT",
        args.input.display()
    );
    request_written(&args.output, message.len(), next, ui)
}

pub(super) fn attach(args: &AttachArgs, ui: &Ui) -> Result<(), Failure> {
    only_v2(args.scheme)?;
    distinct([&args.input, &args.signature, &args.key], &args.output)?;
    let source = Source::open(&args.input)?;
    let key = BootPublicKey::read(&args.key)?;
    let name = args.signature.display().to_string();
    let signature = parse_signature(&name, key.scheme(), &read_signature(&args.signature)?)?;
    let options = SignOptions {
        append: args.append,
        any_data: args.any_data,
    };
    let mut unsigned = Unsigned::read(&source, options)?;
    unsigned.attach(&name, &key, &signature)?;
    write(&unsigned.finish()?, &args.output, args.force, ui)
}

fn only_v2(scheme: SchemeChoice) -> Result<(), Failure> {
    match scheme {
        SchemeChoice::V2 => Ok(()),
        SchemeChoice::V1 => Err(Failure::usage("requests are for version 2")
            .hint("with version 1 sign with `esp sign --key command:PROGRAM`")),
    }
}

fn write(signed: &Signed, output: &Path, force: ForceArgs, ui: &Ui) -> Result<(), Failure> {
    let report = &signed.report;
    report.warnings.iter().for_each(|warning| ui.warn(warning));
    write_file(output, &signed.bytes, force.existing(), Access::Public)?;
    if is_stdout(output) {
        return Ok(());
    }
    ui.result(report, |report| {
        let mut text = format!(
            "{}: signed ({}), signature at {:#x}",
            output.display(),
            report.scheme,
            report.signature_offset
        );
        for digest in &report.key_digests {
            text.push_str("\nkey digest   ");
            text.push_str(digest);
        }
        text
    })
}
