use std::path::PathBuf;

use crate::commands::shared::{ForceArgs, RecipientArgs};
use crate::dates;
use crate::failure::Failure;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

/// Encrypt a firmware build for its devices and sign it
#[derive(Debug, clap::Args)]
#[command(after_help = "The .seal file holds the signed manifest, one small envelope per recipient, and the encrypted image, the same\nbytes for every device. It can be stored anywhere: whoever has no key learns no firmware and can't change any.")]
pub(crate) struct Args {
    /// The firmware image; - is standard input
    #[arg(value_name = "FIRMWARE")]
    firmware: PathBuf,

    /// The sealed file to write; - is standard output
    #[arg(long, short, value_name = "OUT.seal")]
    output: PathBuf,

    /// Sign with this key: a key file, or command:PROGRAM that gets the bytes on stdin (repeatable)
    #[arg(long, value_name = "KEY", num_args = 1.., required = true)]
    sign: Vec<String>,

    #[command(flatten)]
    recipients: RecipientArgs,

    /// The vendor's name; becomes the vendor id
    #[arg(long, value_name = "NAME", help_heading = "What it is")]
    vendor: String,

    /// The class of device, as the vendor names it; becomes the class id
    #[arg(long, value_name = "NAME", help_heading = "What it is")]
    class: String,

    /// Number of the release: one rising sequence per class
    #[arg(long, value_name = "N", help_heading = "What it is")]
    seq: u64,

    /// Version text for people, at most 31 printable ASCII characters
    #[arg(long, value_name = "TEXT", default_value = "", help_heading = "What it is")]
    version: String,

    /// Hardware revisions it runs on, MIN..MAX or one number
    #[arg(long, value_name = "MIN..MAX", help_heading = "Who may install it")]
    hw_rev: Option<String>,

    /// Rises when older releases must never run again
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Who may install it")]
    security_version: u32,

    /// The running release must have at least this security version
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Who may install it")]
    min_security_version: u32,

    /// The running release must have at least this number: a stepping stone
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Who may install it")]
    min_seq: u64,

    /// No longer offered after this date (UTC), as 2027-01-31
    #[arg(long, value_name = "DATE", value_parser = dates::parse, help_heading = "Who may install it")]
    expires: Option<u64>,

    /// No other device may install it: recipient id, or public or group key file (repeatable)
    #[arg(long, value_name = "ID_OR_PUB", num_args = 1.., help_heading = "Who may install it")]
    only: Vec<String>,

    /// Set the keyset version and carry the chain of keysets inside
    #[arg(long, value_name = "FILE", help_heading = "Keys inside")]
    keyset: Option<PathBuf>,

    /// Carry a new generation of a group key inside
    #[arg(long, value_name = "NEW.key", help_heading = "Keys inside")]
    carry_group: Option<PathBuf>,

    /// Keep the content key in this file, to add recipients later
    #[arg(long, value_name = "FILE", help_heading = "Keys inside")]
    content_key_out: Option<PathBuf>,

    /// Chip the image is for: auto reads the image's header and checks the image, none takes any bytes
    #[arg(long, value_name = "CHIP", default_value = "auto", help_heading = "Image")]
    chip: String,

    /// Refuse an image that doesn't fit the smallest slot of this partition table, CSV or binary
    #[arg(long, value_name = "FILE", help_heading = "Image")]
    fits: Option<PathBuf>,

    /// Leave room for a secure boot signature sector
    #[arg(long, requires = "fits", help_heading = "Image")]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Suite {
    Aes256Ctr,
    Chacha20,
    None,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let _ = (args, ui);
    Err(Failure::environment("not built in yet"))
}
