use std::path::PathBuf;

use airseal_pack::bridge::aes_cbc::{Layout, decrypt, encrypt, read_key};
use airseal_pack::bridge::keys::BridgeKey;
use airseal_pack::bridge::read;
use airseal_pack::output::Access;

use crate::commands::shared::{FileArgs, Target, warn_of_readable};
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
struct LayerArgs {
    #[command(flatten)]
    files: FileArgs,

    /// The key that the whole fleet has: 32 bare bytes
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The key file holds 64 hexadecimal digits
    #[arg(long)]
    key_hex: bool,

    /// The fields in the order of the file: iv, ct, sig, hex:BYTES; or a file with that line [default: iv,ct,sig with a signature, else iv,ct]
    #[arg(long, value_name = "FIELDS|FILE")]
    layout: Option<String>,
}

/// Encrypt firmware for a fleet in the field
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("The firmware; - is standard input")),
    mut_arg("output", |arg| arg.help("Write the container here; - is standard output")),
    after_help = "Example: airseal bridge aes-cbc encrypt --key fleet.key --sign vendor.pem app.bin app.enc"
)]
struct EncryptArgs {
    #[command(flatten)]
    layer: LayerArgs,

    /// Sign with this P-256 private key
    #[arg(long, value_name = "PEM")]
    sign: Option<PathBuf>,
}

/// Take the firmware out again
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("The container; - is standard input")),
    mut_arg("output", |arg| arg.help("Write the firmware here; - is standard output")),
    after_help = "Example: airseal bridge aes-cbc decrypt --key fleet.key --verify vendor-pub.pem app.enc app.bin"
)]
struct DecryptArgs {
    #[command(flatten)]
    layer: LayerArgs,

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
    let layer = &args.layer;
    let target = layer.target(&args.sign)?;
    warn_of_readable(args.sign.iter().chain([&layer.key]), ui);
    let signer = args.sign.as_deref().map(BridgeKey::read).transpose()?;
    let layout = layer.layout(signer.is_some())?;
    let key = read_key(&layer.key, layer.key_hex)?;
    let (name, firmware) = read(&layer.files.input)?;
    if firmware.is_empty() {
        ui.warn(format_args!("{name}: is empty"));
    }
    let container = encrypt(&layout, &key, signer.as_ref(), &firmware)?;
    target.write(&container, Access::Public)?;
    if signer.is_none() {
        ui.warn("nothing proves who made this: --sign does that");
    }
    let made = serde_json::json!({"size": container.len(), "signed": signer.is_some()});
    target.report(&made, ui, |_| format!("{} bytes", container.len()))
}

fn take_out(args: &DecryptArgs, ui: &Ui) -> Result<(), Failure> {
    let layer = &args.layer;
    let target = layer.target(&args.verify)?;
    warn_of_readable([&layer.key], ui);
    let signer = args.verify.as_deref().map(BridgeKey::read).transpose()?;
    let layout = layer.layout(signer.is_some())?;
    let key = read_key(&layer.key, layer.key_hex)?;
    let (name, container) = read(&layer.files.input)?;
    let (firmware, opened) = decrypt(&layout, &key, signer.as_ref(), &name, &container)?;
    target.write(&firmware, Access::Public)?;
    if !opened.signed {
        ui.warn("no signature was checked: --verify does that");
    }
    target.report(&opened, ui, |opened| format!("{} bytes", opened.size))
}

impl LayerArgs {
    fn layout(&self, signed: bool) -> Result<Layout, Failure> {
        let default = if signed { "iv,ct,sig" } else { "iv,ct" };
        Ok(Layout::read(self.layout.as_deref().unwrap_or(default))?)
    }

    fn target<'a>(&'a self, signer: &'a Option<PathBuf>) -> Result<Target<'a>, Failure> {
        self.files.target(signer.iter().chain([&self.key]))
    }
}
