use std::path::PathBuf;

use airseal_pack::bundle::BundleFile;
use airseal_pack::release::cosign;

use crate::commands::shared::{ChangedArgs, as_files, changed_text, signers};
use crate::failure::Failure;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;
use crate::work;

/// Add one more signature to a sealed file; its digest does not change
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed file
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// Sign with this key: a key file, or command:PROGRAM that prints the public key as PEM with AIRSEAL_SIGN=public, and with AIRSEAL_SIGN=sign signs the bytes on stdin (repeatable)
    #[arg(long, value_name = "KEY", required = true)]
    sign: Vec<String>,

    #[command(flatten)]
    changed: ChangedArgs,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let place = args.changed.place(&args.bundle, &as_files(&args.sign))?;
    let signing = signers(&args.sign, &args.passphrase, ui)?;
    let bundle = BundleFile::open(&args.bundle)?;
    let changed = work::run(ui, |control| cosign(&bundle, &signing, place, control))?;
    ui.warn_all(&changed.warnings);
    ui.result(&changed, |changed| changed_text(place.0, changed))
}
