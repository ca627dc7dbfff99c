use std::path::PathBuf;

use airseal_pack::OutputFile;
use airseal_pack::bridge::encrypted_img::{
    OpenKey, SealKey, decrypt, device_key, encrypt, encrypt_each, public_pem, read_hmac_key,
    read_vendor_devices,
};
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::output::{Access, is_stdout, write_file};
use airseal_pack::source::Source;

use crate::commands::shared::{ForceArgs, count, distinct};
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
struct DecryptArgs {
    /// The container; - is standard input
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Write the firmware here; - is standard output
    #[arg(value_name = "OUT")]
    output: PathBuf,

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

    #[command(flatten)]
    force: ForceArgs,
}

/// Make the public key that belongs to a device's HMAC key
#[derive(Debug, clap::Args)]
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
    let existing = args.force.existing();
    ui.note("the container proves no origin: whoever has the public key can make one");
    if let (Some(list), Some(dir)) = (&args.to_list, &args.out_dir) {
        let devices = read_vendor_devices(list)?;
        let source = Source::open(&args.input)?;
        std::fs::create_dir_all(dir)
            .map_err(|error| Failure::io(format_args!("can't create {}", dir.display()), &error))?;
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
    let (Some(key), Some(target)) = (&args.key, &args.output) else {
        return Err(Failure::usage("the key and the output are not named")
            .hint("give --key and OUT, or --to-list and --out-dir"));
    };
    distinct([&args.input, key], target)?;
    let key = SealKey::read(key)?;
    let source = Source::open(&args.input)?;
    let output = OutputFile::create(target, existing, Access::Public)?;
    work::run(ui, |control| {
        encrypt(&source, &key, &SystemEntropy, &output, control)
    })?;
    output.commit()?;
    if is_stdout(target) {
        return Ok(());
    }
    let scheme = key.scheme();
    let file = target.display().to_string();
    ui.result(
        &serde_json::json!({ "file": file, "scheme": scheme }),
        |_| format!("{file}: encrypted, {scheme}"),
    )
}

fn run_decrypt(args: &DecryptArgs, ui: &Ui) -> Result<(), Failure> {
    let inputs = [Some(&args.input), args.key.as_ref(), args.hmac_key.as_ref()];
    distinct(inputs.into_iter().flatten(), &args.output)?;
    let key = match (&args.key, &args.hmac_key) {
        (Some(key), _) => OpenKey::read(key)?,
        (None, Some(hmac)) => {
            let name = hmac.display().to_string();
            OpenKey::Ecies(device_key(&name, &*read_hmac_key(hmac)?)?)
        }
        (None, None) => {
            return Err(Failure::usage("no key is named").hint("give --key or --hmac-key"));
        }
    };
    let source = Source::open(&args.input)?;
    let output = OutputFile::create(&args.output, args.force.existing(), Access::Public)?;
    let odd = work::run(ui, |control| decrypt(&source, &key, &output, control))?;
    output.commit()?;
    odd.iter().for_each(|odd| ui.warn(odd));
    if is_stdout(&args.output) {
        return Ok(());
    }
    let file = args.output.display().to_string();
    ui.result(
        &serde_json::json!({ "file": file, "warnings": odd }),
        |_| format!("{file}: opened, the tag fits"),
    )
}

fn run_device_key(args: &DeviceKeyArgs, ui: &Ui) -> Result<(), Failure> {
    distinct([&args.hmac_key], &args.output)?;
    let name = args.hmac_key.display().to_string();
    let secret = device_key(&name, &*read_hmac_key(&args.hmac_key)?)?;
    let pem = public_pem(&secret)?;
    let existing = args.force.existing();
    write_file(&args.output, pem.as_bytes(), existing, Access::Public)?;
    if is_stdout(&args.output) {
        return Ok(());
    }
    let file = args.output.display().to_string();
    ui.result(&serde_json::json!({ "file": file }), |_| {
        format!("{file}: public key of the device")
    })
}
