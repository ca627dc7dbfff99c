use std::path::PathBuf;

use airseal_format::ComponentId;
use airseal_pack::bundle::BundleFile;
use airseal_pack::open::{OpenKey, open};
use airseal_pack::output::is_stdout;

use crate::commands::shared::{ForceArgs, TrustArgs, distinct, subject};
use crate::dates;
use crate::failure::Failure;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;
use crate::work;

/// Decrypt a sealed file with a device or group key; verifies before it writes
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "airseal open [OPTIONS] <BUNDLE> --trust <PUB>... | --keyset <FILE> --key <KEY> -o <OUT>",
    after_help = "Example: airseal open 1.2.0.seal --trust vendor.pub --key device.key -o firmware.bin"
)]
pub(crate) struct Args {
    /// The sealed file; - is standard input
    #[arg(value_name = "BUNDLE")]
    bundle: Option<PathBuf>,

    #[command(flatten)]
    trust: TrustArgs,

    /// The private device key or group key that opens it; not needed for a release that is not encrypted
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,

    /// The firmware to write; - is standard output
    #[arg(long, short, value_name = "OUT")]
    output: PathBuf,

    /// Which component, when the release has more than one
    #[arg(long, value_name = "ID")]
    component: Option<u16>,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    args.passphrase.check()?;
    let mut trust = args.trust.clone();
    let path = subject(args.bundle.as_ref(), &mut trust.trust, "the sealed file")?;
    let trust = trust.read(ui)?;
    let key = match &args.key {
        Some(path) => {
            let loaded = OpenKey::read(path, &args.passphrase)?;
            ui.warn_all(&loaded.warnings);
            Some(loaded.key)
        }
        None => None,
    };
    distinct(
        [&path]
            .into_iter()
            .chain(&args.trust.trust)
            .chain(&args.trust.keyset)
            .chain(&args.key),
        &args.output,
    )?;
    let bundle = BundleFile::open(&path)?;
    let component = args.component.map(ComponentId);
    let opened = work::run(ui, |control| {
        open(
            &bundle,
            &trust,
            key.as_ref(),
            component,
            (&args.output, args.force.existing()),
            control,
        )
    })?;
    if is_stdout(&args.output) {
        return Ok(());
    }
    ui.result(&opened, |opened| {
        let expires = match opened.expires_at {
            0 => String::new(),
            at => format!("\nexpires      {} (shown, not tested)", dates::show(at)),
        };
        let raw = match (opened.flash_encryption, opened.address) {
            ("none", _) | (_, None) => String::new(),
            (scheme, Some(address)) => {
                format!("\nraw flash    {scheme}, as it lies at {address:#x}")
            }
        };
        format!(
            "{}\nrelease      {} (number {})\nimage        {} bytes, every chunk and the whole image verified{raw}{expires}",
            args.output.display(),
            opened.version,
            opened.sequence,
            opened.image_len,
        )
    })
}
