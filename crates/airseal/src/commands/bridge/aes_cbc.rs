use std::path::PathBuf;

use airseal_pack::bridge::aes_cbc::{Layout, decrypt, encrypt, read_key};
use airseal_pack::bridge::keys::BridgeKey;
use airseal_pack::bridge::read;
use airseal_pack::output::{Access, check_target, is_stdout, write_file};

use crate::commands::shared::{ForceArgs, distinct};
use crate::failure::Failure;
use crate::ui::Ui;

/// A layer of one's own: a random IV, AES-256-CBC, ECDSA P-256
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Encrypt(EncryptArgs),
    Decrypt(DecryptArgs),
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// Read this file
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Write here; - is standard output
    #[arg(value_name = "OUT")]
    output: PathBuf,

    /// The key that the whole fleet has: 32 bare bytes
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The key file holds 64 hexadecimal digits
    #[arg(long)]
    key_hex: bool,

    /// The fields in the order of the file: iv, ct, sig, hex:BYTES; or a file with that line [default: iv,ct,sig with a signature, else iv,ct]
    #[arg(long, value_name = "FIELDS|FILE")]
    layout: Option<String>,

    #[command(flatten)]
    force: ForceArgs,
}

/// Encrypt firmware for a fleet in the field
#[derive(Debug, clap::Args)]
struct EncryptArgs {
    #[command(flatten)]
    file: FileArgs,

    /// Sign with this P-256 private key
    #[arg(long, value_name = "PEM")]
    sign: Option<PathBuf>,
}

/// Take the firmware out again
#[derive(Debug, clap::Args)]
struct DecryptArgs {
    #[command(flatten)]
    file: FileArgs,

    /// Refuse it without a signature by this P-256 public key
    #[arg(long, value_name = "PEM")]
    verify: Option<PathBuf>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::Encrypt(args) => make(args, ui),
        Command::Decrypt(args) => take_out(args, ui),
    }
}

fn make(args: &EncryptArgs, ui: &Ui) -> Result<(), Failure> {
    let file = &args.file;
    let signer = args.sign.as_deref().map(BridgeKey::read).transpose()?;
    let layout = file.layout(signer.is_some())?;
    file.check()?;
    let key = read_key(&file.key, file.key_hex)?;
    let (_, firmware) = read(&file.input)?;
    let container = encrypt(&layout, &key, signer.as_ref(), &firmware)?;
    file.write(&container)?;
    if signer.is_none() {
        ui.warn("nothing proves who made this: --sign does that");
    }
    Ok(())
}

fn take_out(args: &DecryptArgs, ui: &Ui) -> Result<(), Failure> {
    let file = &args.file;
    let signer = args.verify.as_deref().map(BridgeKey::read).transpose()?;
    let layout = file.layout(signer.is_some())?;
    file.check()?;
    let key = read_key(&file.key, file.key_hex)?;
    let (name, container) = read(&file.input)?;
    let (firmware, opened) = decrypt(&layout, &key, signer.as_ref(), &name, &container)?;
    file.write(&firmware)?;
    if !opened.signed {
        ui.warn("no signature was checked: --verify does that");
    }
    if is_stdout(&file.output) {
        return Ok(());
    }
    ui.result(&opened, |opened| {
        format!("{}: {} bytes", file.output.display(), opened.size)
    })
}

impl FileArgs {
    fn layout(&self, signed: bool) -> Result<Layout, Failure> {
        let default = if signed { "iv,ct,sig" } else { "iv,ct" };
        Ok(Layout::read(self.layout.as_deref().unwrap_or(default))?)
    }

    fn check(&self) -> Result<(), Failure> {
        distinct([&self.input, &self.key], &self.output)?;
        Ok(check_target(&self.output, self.force.existing())?)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let existing = self.force.existing();
        Ok(write_file(&self.output, bytes, existing, Access::Public)?)
    }
}
