//! The arguments of `airseal seal`, in the groups that its help shows.

use std::path::PathBuf;

use airseal_format::ContentSuite;

use super::raw::RawFlashArgs;
use super::stock::StockArgs;
use crate::commands::shared::{ForceArgs, RecipientArgs};
use crate::dates;
use crate::passphrase::PassphraseArgs;

/// Encrypt a firmware build for its devices and sign it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: airseal seal firmware.bin -o 1.2.0.seal --sign vendor.key --to device.pub --vendor example.com --class lamp --seq 7 --fits partitions.csv

The .seal file holds the signed manifest, one small envelope per recipient, and the encrypted image, the same bytes for every device. It can be stored anywhere: whoever has no key learns no firmware and can't change any."
)]
pub(crate) struct Args {
    /// The firmware image; - is standard input
    #[arg(value_name = "FIRMWARE")]
    pub(super) firmware: PathBuf,

    /// The sealed file to write; - is standard output
    #[arg(long, short, value_name = "OUT.seal")]
    pub(super) output: PathBuf,

    /// Sign with this key: a key file, or command:PROGRAM that prints the public key as PEM with AIRSEAL_SIGN=public, and with AIRSEAL_SIGN=sign signs the bytes on stdin (repeatable)
    #[arg(long, value_name = "KEY")]
    pub(super) sign: Vec<String>,

    /// Make a draft without a signature, to be signed with sign-request and attach
    #[arg(long, conflicts_with = "sign")]
    pub(super) unsigned: bool,

    #[command(flatten)]
    pub(super) recipients: RecipientArgs,

    /// Also write manifest, payload and envelopes as files into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) detached: Option<PathBuf>,

    #[command(flatten)]
    pub(super) force: ForceArgs,

    #[command(flatten)]
    pub(super) what: WhatArgs,

    #[command(flatten)]
    pub(super) who: WhoArgs,

    #[command(flatten)]
    pub(super) inside: InsideArgs,

    #[command(flatten)]
    pub(super) image: ImageArgs,

    #[command(flatten)]
    pub(super) raw: RawFlashArgs,

    #[command(flatten)]
    pub(super) stock: StockArgs,

    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
}

/// What the release is.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What it is")]
pub(super) struct WhatArgs {
    /// The vendor's name; becomes the vendor id
    #[arg(long, value_name = "NAME", required_unless_present = "stock_container")]
    pub(super) vendor: Option<String>,

    /// The class of device, as the vendor names it; becomes the class id
    #[arg(long, value_name = "NAME", required_unless_present = "stock_container")]
    pub(super) class: Option<String>,

    /// Number of the release: one rising sequence per class
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "N",
        required_unless_present = "stock_container"
    )]
    pub(super) seq: Option<u64>,

    /// Version text, at most 31 printable ASCII characters [default: the application descriptor's]
    #[arg(long, value_name = "TEXT")]
    pub(super) version: Option<String>,
}

/// Which devices take it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Who may install it")]
pub(super) struct WhoArgs {
    /// Hardware revisions it runs on, both ends included, or one number [default: all]
    #[arg(long, value_name = "MIN..MAX", value_parser = hardware)]
    pub(super) hw_rev: Option<(u16, u16)>,

    /// Rises when older releases must never run again [default: the application descriptor's, or 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) security_version: Option<u32>,

    /// The running release must have at least this security version
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 0
    )]
    pub(super) min_security_version: u32,

    /// The running release must have at least this number: a stepping stone
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 0
    )]
    pub(super) min_seq: u64,

    /// No longer offered after this date (UTC), as 2027-01-31
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    pub(super) expires: Option<u64>,

    /// No other device may install it: recipient id, or public or group key file (repeatable)
    #[arg(long, value_name = "ID_OR_PUB")]
    pub(super) only: Vec<String>,
}

/// What travels with it, and the key that stays here.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Keys inside")]
pub(super) struct InsideArgs {
    /// Set the keyset version and carry the chain of keysets inside
    #[arg(long, value_name = "FILE")]
    pub(super) keyset: Option<PathBuf>,

    /// Carry this new generation of a group key inside, for those who hold the one before, which is among --to
    #[arg(long, value_name = "NEW.key")]
    pub(super) carry_group: Option<PathBuf>,

    /// Keep the content key in this file, to add recipients later
    #[arg(long, value_name = "FILE")]
    pub(super) content_key_out: Option<PathBuf>,
}

/// How the image is checked and encrypted.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Image")]
pub(super) struct ImageArgs {
    /// Chip the image is for: auto reads the image's header and checks the image, none takes any bytes
    #[arg(long, value_name = "CHIP", default_value = "auto")]
    pub(super) chip: String,

    /// Refuse an image that doesn't fit the smallest slot of this partition table, CSV or binary
    #[arg(long, value_name = "FILE", conflicts_with = "partitions")]
    pub(super) fits: Option<PathBuf>,

    /// Leave room for a secure boot signature sector
    #[arg(long, requires = "fits", conflicts_with = "raw_flash_key")]
    pub(super) secure_boot_sector: bool,

    /// Accept an Espressif image without an application descriptor
    #[arg(long)]
    pub(super) no_app_descriptor: bool,

    /// How the image is encrypted
    #[arg(long, value_enum, default_value_t = Suite::Aes256Ctr)]
    pub(super) suite: Suite,

    /// Small chunks (1 KiB), for devices with little memory
    #[arg(long)]
    pub(super) small_ram: bool,
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
pub(super) enum Suite {
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
