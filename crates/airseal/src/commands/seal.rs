use std::path::{Path, PathBuf};

use airseal_format::{ContentSuite, RecipientId};
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::firmware::{ChipChoice, Firmware, FirmwareChecks};
use airseal_pack::key::KeyRole;
use airseal_pack::keyset::KeysetFile;
use airseal_pack::output::is_stdout;
use airseal_pack::seal::{SealOutput, SealRequest, Sealed, seal};

use crate::commands::shared::{ForceArgs, RecipientArgs, distinct, group_key, signers};
use crate::dates;
use crate::failure::Failure;
use crate::keys;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;
use crate::work;

mod raw;
mod stock;

use raw::RawFlashArgs;
use stock::StockArgs;

/// Encrypt a firmware build for its devices and sign it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The .seal file holds the signed manifest, one small envelope per recipient, and the encrypted image, the same bytes for every device. It can be stored anywhere: whoever has no key learns no firmware and can't change any."
)]
pub(crate) struct Args {
    /// The firmware image; - is standard input
    #[arg(value_name = "FIRMWARE")]
    firmware: PathBuf,

    /// The sealed file to write; - is standard output
    #[arg(long, short, value_name = "OUT.seal")]
    output: PathBuf,

    #[command(flatten)]
    raw: RawFlashArgs,

    #[command(flatten)]
    stock: StockArgs,

    /// Sign with this key: a key file, or command:PROGRAM that prints the public key as PEM with AIRSEAL_SIGN=public, and with AIRSEAL_SIGN=sign signs the bytes on stdin (repeatable)
    #[arg(long, value_name = "KEY")]
    sign: Vec<String>,

    /// Make a draft without a signature, to be signed with sign-request and attach
    #[arg(long, conflicts_with = "sign")]
    unsigned: bool,

    #[command(flatten)]
    recipients: RecipientArgs,

    /// The vendor's name; becomes the vendor id
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "stock_container",
        help_heading = "What it is"
    )]
    vendor: Option<String>,

    /// The class of device, as the vendor names it; becomes the class id
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "stock_container",
        help_heading = "What it is"
    )]
    class: Option<String>,

    /// Number of the release: one rising sequence per class
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "N",
        required_unless_present = "stock_container",
        help_heading = "What it is"
    )]
    seq: Option<u64>,

    /// Version text, at most 31 printable ASCII characters [default: the application descriptor's]
    #[arg(long, value_name = "TEXT", help_heading = "What it is")]
    version: Option<String>,

    /// Hardware revisions it runs on, both ends included, or one number [default: all]
    #[arg(long, value_name = "MIN..MAX", value_parser = hardware, help_heading = "Who may install it")]
    hw_rev: Option<(u16, u16)>,

    /// Rises when older releases must never run again [default: the application descriptor's, or 0]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Who may install it"
    )]
    security_version: Option<u32>,

    /// The running release must have at least this security version
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 0,
        help_heading = "Who may install it"
    )]
    min_security_version: u32,

    /// The running release must have at least this number: a stepping stone
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 0,
        help_heading = "Who may install it"
    )]
    min_seq: u64,

    /// No longer offered after this date (UTC), as 2027-01-31
    #[arg(long, value_name = "DATE", value_parser = dates::parse, help_heading = "Who may install it")]
    expires: Option<u64>,

    /// No other device may install it: recipient id, or public or group key file (repeatable)
    #[arg(long, value_name = "ID_OR_PUB", help_heading = "Who may install it")]
    only: Vec<String>,

    /// Set the keyset version and carry the chain of keysets inside
    #[arg(long, value_name = "FILE", help_heading = "Keys inside")]
    keyset: Option<PathBuf>,

    /// Carry this new generation of a group key inside, for those who hold the one before, which is among --to
    #[arg(long, value_name = "NEW.key", help_heading = "Keys inside")]
    carry_group: Option<PathBuf>,

    /// Keep the content key in this file, to add recipients later
    #[arg(long, value_name = "FILE", help_heading = "Keys inside")]
    content_key_out: Option<PathBuf>,

    /// Chip the image is for: auto reads the image's header and checks the image, none takes any bytes
    #[arg(
        long,
        value_name = "CHIP",
        default_value = "auto",
        help_heading = "Image"
    )]
    chip: String,

    /// Refuse an image that doesn't fit the smallest slot of this partition table, CSV or binary
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "partitions",
        help_heading = "Image"
    )]
    fits: Option<PathBuf>,

    /// Leave room for a secure boot signature sector
    #[arg(
        long,
        requires = "fits",
        conflicts_with = "raw_flash_key",
        help_heading = "Image"
    )]
    secure_boot_sector: bool,

    /// Accept an Espressif image without an application descriptor
    #[arg(long, help_heading = "Image")]
    no_app_descriptor: bool,

    /// How the image is encrypted
    #[arg(long, value_enum, default_value_t = Suite::Aes256Ctr, help_heading = "Image")]
    suite: Suite,

    /// Small chunks (1 KiB), for devices with little memory
    #[arg(long, help_heading = "Image")]
    small_ram: bool,

    /// Also write manifest, payload and envelopes as files into this folder
    #[arg(long, value_name = "DIR")]
    detached: Option<PathBuf>,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.passphrase.check()?;
    if let Some(key) = &args.stock.stock_container {
        return stock::run(args, key, ui);
    }
    check(args)?;
    if args.expires.is_some_and(|at| at <= dates::now()) {
        ui.warn("--expires lies in the past: no device that knows the date will take this release");
    }
    let keyset = args.keyset.as_deref().map(KeysetFile::read).transpose()?;
    if let Some(keyset) = &keyset {
        keyset.trust(None)?;
    }
    let recipients = args.recipients.read(&args.passphrase, ui)?;
    let only = args
        .only
        .iter()
        .map(|text| recipient_id(text, &args.passphrase, ui))
        .collect::<Result<Vec<_>, _>>()?;
    let carry_group = args
        .carry_group
        .as_deref()
        .map(|path| group_key(path, &args.passphrase, ui))
        .transpose()?;
    let signers = signers(&args.sign, &args.passphrase, ui)?;
    let firmware = firmware(args)?;
    let raw_flash = args.raw.read(&firmware)?;
    let (Some(vendor), Some(class), Some(sequence)) = (&args.vendor, &args.class, args.seq) else {
        return Err(Failure::usage(
            "--vendor, --class and --seq say what the release is",
        ));
    };
    let request = SealRequest {
        vendor,
        class,
        hardware: args.hw_rev.unwrap_or((0, u16::MAX)),
        sequence,
        version: args.version.as_deref(),
        security_version: args.security_version,
        min_security_version: args.min_security_version,
        min_sequence: args.min_seq,
        built_at: Some(dates::now()),
        expires_at: args.expires.unwrap_or(0),
        suite: args.suite.into(),
        raw_flash: raw_flash.as_ref(),
        small_ram: args.small_ram,
        keyset: keyset.as_ref(),
        only: &only,
        carry_group: carry_group.as_ref(),
        recipients: &recipients,
        signers: &signers,
        allow_unsigned: args.unsigned,
    };
    let output = SealOutput {
        bundle: &args.output,
        content_key: args.content_key_out.as_deref(),
        detached: args.detached.as_deref(),
        existing: args.force.existing(),
    };
    let sealed = work::run(ui, |control| {
        seal(&request, &firmware, &output, &SystemEntropy, control)
    })?;
    sealed.warnings.iter().for_each(|warning| ui.warn(warning));
    if is_stdout(&args.output) {
        return Ok(());
    }
    ui.result(&sealed, |sealed| text(sealed, args))
}

/// The firmware after its checks.
fn firmware(args: &Args) -> Result<Firmware, Failure> {
    let checks = FirmwareChecks {
        chip: ChipChoice::parse(&args.chip)?,
        allow_no_descriptor: args.no_app_descriptor,
        fits: args.fits.as_deref(),
        secure_boot_sector: args.secure_boot_sector,
    };
    Ok(Firmware::open(&args.firmware, &checks)?)
}

/// What would make a release that nobody trusts, nobody opens, or that replaces what it is made from.
fn check(args: &Args) -> Result<(), Failure> {
    if args.sign.is_empty() && !args.unsigned {
        return Err(Failure::usage("nobody signs this release").hint(
            "give --sign KEY, or --unsigned for a draft that is signed with sign-request and attach",
        ));
    }
    let to_nobody = args.recipients.to.is_empty() && args.recipients.to_list.is_none();
    if to_nobody && args.content_key_out.is_none() && args.suite != Suite::None {
        return Err(Failure::usage("nobody could ever open this release").hint(
            "give --to PUB or --to-list FILE, or keep the content key with --content-key-out FILE to add recipients later",
        ));
    }
    let signers = args.sign.iter().map(PathBuf::from).collect::<Vec<_>>();
    let inputs = || {
        [&args.firmware]
            .into_iter()
            .chain(&signers)
            .chain(&args.keyset)
            .chain(&args.recipients.to)
            .chain(&args.recipients.to_list)
            .chain(&args.carry_group)
            .chain(args.raw.files())
    };
    let outputs = [&args.output].into_iter().chain(&args.content_key_out);
    for output in outputs {
        distinct(inputs(), output)?;
    }
    Ok(())
}

fn text(sealed: &Sealed, args: &Args) -> String {
    let recipients = match sealed.recipients.len() {
        0 => "nobody yet".to_owned(),
        1 => "1 recipient can open it".to_owned(),
        count => format!("{count} recipients can open it"),
    };
    let only = match sealed.only.len() {
        0 => String::new(),
        1 => "\nonly         1 device or group may install it".to_owned(),
        count => format!("\nonly         {count} devices or groups may install it"),
    };
    let carried = sealed
        .carried_groups
        .iter()
        .map(|group| {
            format!(
                "\ncarries      group key generation {}, for holders of generation {}",
                group.generation, group.old_generation
            )
        })
        .collect::<String>();
    let raw = raw::text(sealed);
    format!(
        "{}\nrelease      {} {} {} (number {})\ndigest       {}\nsize         {} bytes, the image has {}{raw}\nsigned by    {}\nsealed to    {}{}{}",
        args.output.display(),
        sealed.vendor,
        sealed.class,
        sealed.version,
        sealed.sequence,
        sealed.manifest_digest,
        sealed.bundle_len,
        sealed.image_len,
        if sealed.signers.is_empty() {
            "nobody yet".to_owned()
        } else {
            sealed.signers.join(", ")
        },
        recipients,
        only,
        carried,
    )
}

/// An id in hexadecimal, or the key file that has it.
fn recipient_id(text: &str, passphrase: &PassphraseArgs, ui: &Ui) -> Result<RecipientId, Failure> {
    let mut id = [0; 16];
    if hex::decode_to_slice(text, &mut id).is_ok() {
        return Ok(RecipientId(id));
    }
    let key = keys::read(Path::new(text), Some(KeyRole::Recipient), passphrase, ui)?;
    key.recipient_id()
        .ok_or_else(|| Failure::refused(format_args!("{text}: this key has no recipient id")))
}

fn hardware(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| {
        text.trim()
            .parse::<u16>()
            .map_err(|_| format!("{text:?} is no number from 0 to 65535"))
    };
    match text.split_once("..") {
        Some((low, high)) => Ok((
            number(low)?,
            number(high.strip_prefix('=').unwrap_or(high))?,
        )),
        None => number(text).map(|revision| (revision, revision)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Suite {
    Aes256Ctr,
    Chacha20,
    None,
}

impl From<Suite> for ContentSuite {
    fn from(suite: Suite) -> ContentSuite {
        match suite {
            Suite::Aes256Ctr => ContentSuite::Aes256Ctr,
            Suite::Chacha20 => ContentSuite::ChaCha20,
            Suite::None => ContentSuite::None,
        }
    }
}
