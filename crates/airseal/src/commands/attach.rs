use std::path::PathBuf;

use airseal_pack::bundle::BundleFile;
use airseal_pack::release::attach;

use crate::commands::shared::{ChangedArgs, changed_text, read_signature, signing_public_key};
use crate::failure::Failure;
use crate::ui::Ui;
use crate::work;

/// Add a signature that was made on another machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed file
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// The signature: 64 raw bytes, or DER for P-256
    #[arg(value_name = "SIG")]
    signature: PathBuf,

    /// The public key of who signed [default: the Ed25519 key of the carried keyset that fits]
    #[arg(long, value_name = "PUB")]
    key: Option<PathBuf>,

    #[command(flatten)]
    changed: ChangedArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let place = args
        .changed
        .place(&args.bundle, args.key.iter().chain([&args.signature]))?;
    let key = args
        .key
        .as_deref()
        .map(|path| signing_public_key(path, ui))
        .transpose()?;
    let signature = read_signature(&args.signature)?;
    let name = args.signature.display().to_string();
    let bundle = BundleFile::open(&args.bundle)?;
    let changed = work::run(ui, |control| {
        attach(&bundle, (&name, &signature), key.as_ref(), place, control)
    })?;
    ui.warn_all(&changed.warnings);
    ui.result(&changed, |changed| changed_text(place.0, changed))
}
