use std::path::{Path, PathBuf};

use airseal_pack::bridge::encrypted_img::{
    DecryptKey, EncryptKey, check_firmware, decrypt, device_key, encrypt, encrypt_each, public_pem,
    read_hmac_key, read_vendor_devices,
};
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::output::Access;
use airseal_pack::source::Source;

use crate::commands::shared::{FileArgs, ForceArgs, Target, count, warn_of_readable};
use crate::failure::Failure;
use crate::ui::Ui;
use crate::work;

/// Espressif's pre-encrypted image (esp_encrypted_img), in both schemes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Encrypt(EncryptArgs),
    Decrypt(DecryptArgs),
    DeviceKey(DeviceKeyArgs),
}

/// Encrypt a firmware image; proves nothing about who made it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples: airseal esp encrypted-img encrypt --key fleet-pub.pem app.bin app.enc
          airseal esp encrypted-img encrypt app.bin --to-list devices.jsonl --out-dir images"
)]
struct EncryptArgs {
    /// The firmware; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Write the container here; - is standard output
    #[arg(
        value_name = "OUT",
        required_unless_present = "to_list",
        conflicts_with = "to_list"
    )]
    output: Option<PathBuf>,

    /// The key of the devices, RSA-3072 or P-256, as PEM
    #[arg(
        long,
        value_name = "PEM",
        required_unless_present = "to_list",
        conflicts_with = "to_list"
    )]
    key: Option<PathBuf>,

    /// One container for each device of a list: JSON lines with keys.vendor_image, or CSV with serial,vendor_image
    #[arg(long, value_name = "FILE", requires = "out_dir")]
    to_list: Option<PathBuf>,

    /// With --to-list: write SERIAL.enc of every device into this directory
    #[arg(long, value_name = "DIR", requires = "to_list")]
    out_dir: Option<PathBuf>,

    #[command(flatten)]
    force: ForceArgs,
}

/// Open a container
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("input", |arg| arg.help("The container; - is standard input")),
    mut_arg("output", |arg| arg.help("Write the firmware here; - is standard output")),
    after_help = "Example: airseal esp encrypted-img decrypt --key fleet.pem app.enc app.bin"
)]
struct DecryptArgs {
    #[command(flatten)]
    files: FileArgs,

    /// The private key, RSA-3072 or P-256, as PEM
    #[arg(
        long,
        value_name = "PEM",
        required_unless_present = "hmac_key",
        conflicts_with = "hmac_key"
    )]
    key: Option<PathBuf>,

    /// The key in the device's eFuses (purpose HMAC_UP), 32 bare bytes
    #[arg(long, value_name = "FILE")]
    hmac_key: Option<PathBuf>,
}

/// Make the public key that belongs to a device's HMAC key
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: airseal esp encrypted-img device-key --hmac-key hmac.bin -o device-pub.pem"
)]
struct DeviceKeyArgs {
    /// The key in the device's eFuses (purpose HMAC_UP), 32 bare bytes
    #[arg(long, value_name = "FILE")]
    hmac_key: PathBuf,

    /// Write the public key here, as PEM; - is standard output
    #[arg(short, long, value_name = "PUB.pem")]
    output: PathBuf,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::Encrypt(args) => run_encrypt(args, ui),
        Command::Decrypt(args) => run_decrypt(args, ui),
        Command::DeviceKey(args) => run_device_key(args, ui),
    }
}

fn run_encrypt(args: &EncryptArgs, ui: &Ui) -> Result<(), Failure> {
    ui.warn(ORIGIN);
    if let (Some(list), Some(dir)) = (&args.to_list, &args.out_dir) {
        let devices = read_vendor_devices(list)?;
        let source = firmware(&args.input, ui)?;
        std::fs::create_dir_all(dir)
            .map_err(|error| Failure::io(format_args!("can't create {}", dir.display()), &error))?;
        let existing = args.force.existing();
        let files = work::run(ui, |control| {
            encrypt_each(&source, &devices, dir, existing, &SystemEntropy, control)
        })?;
        let names: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        return ui.result(&serde_json::json!({ "files": names }), |_| {
            format!(
                "{} in {}",
                count(files.len(), "container", "containers"),
                dir.display()
            )
        });
    }
    let (Some(key), Some(output)) = (&args.key, &args.output) else {
        return Err(Failure::usage("the key and the output are not named")
            .hint("give --key and OUT, or --to-list and --out-dir"));
    };
    let target = Target::new(output, args.force, [&args.input, key])?;
    let key = EncryptKey::read(key)?;
    make(&target, &firmware(&args.input, ui)?, &key, ORIGIN, ui)
}

fn firmware(path: &Path, ui: &Ui) -> Result<Source, Failure> {
    let source = Source::open(path)?;
    ui.warn_all(&check_firmware(&source)?);
    Ok(source)
}

/// Encrypts `source` into `target`, and says so; `warning` goes to those who read the result as data.
///
/// # Errors
/// Environment, or output closed.
pub(crate) fn make(
    target: &Target<'_>,
    source: &Source,
    key: &EncryptKey,
    warning: &str,
    ui: &Ui,
) -> Result<(), Failure> {
    if source.is_empty() {
        ui.warn(format_args!("{}: is empty", source.name()));
    }
    let output = target.create(Access::Public)?;
    work::run(ui, |control| {
        encrypt(source, key, &SystemEntropy, &output, control)
    })?;
    output.commit()?;
    let scheme = key.scheme();
    let made = serde_json::json!({ "scheme": scheme, "warning": warning });
    target.report(&made, ui, |_| format!("encrypted, {scheme}"))
}

const ORIGIN: &str = "the container proves no origin: whoever has the public key can make one";

fn run_decrypt(args: &DecryptArgs, ui: &Ui) -> Result<(), Failure> {
    let target = args.files.target(args.key.iter().chain(&args.hmac_key))?;
    warn_of_readable(args.key.iter().chain(&args.hmac_key), ui);
    let key = match (&args.key, &args.hmac_key) {
        (Some(key), _) => DecryptKey::read(key)?,
        (None, Some(hmac)) => {
            let name = hmac.display().to_string();
            DecryptKey::Ecies(device_key(&name, &*read_hmac_key(hmac)?)?)
        }
        (None, None) => {
            return Err(Failure::usage("no key is named").hint("give --key or --hmac-key"));
        }
    };
    let source = Source::open(&args.files.input)?;
    let output = target.create(Access::Public)?;
    let warnings = work::run(ui, |control| decrypt(&source, &key, &output, control))?;
    output.commit()?;
    ui.warn_all(&warnings);
    let opened = serde_json::json!({ "warnings": warnings });
    target.report(&opened, ui, |_| "opened, the tag fits".to_owned())
}

fn run_device_key(args: &DeviceKeyArgs, ui: &Ui) -> Result<(), Failure> {
    let target = Target::new(&args.output, args.force, [&args.hmac_key])?;
    warn_of_readable([&args.hmac_key], ui);
    let name = args.hmac_key.display().to_string();
    let secret = device_key(&name, &*read_hmac_key(&args.hmac_key)?)?;
    target.write(public_pem(&secret)?.as_bytes(), Access::Public)?;
    target.report(&serde_json::json!({}), ui, |_| {
        "public key of the device".to_owned()
    })
}
