use std::path::PathBuf;

use airseal_pack::bundle::BundleFile;
use airseal_pack::output::Existing;
use airseal_pack::release::cosign;

use crate::commands::shared::{ForceArgs, changed_text, signers};
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

    /// Write the new file here [default: replace the old one, once the new one is complete]
    #[arg(long, short, value_name = "OUT.seal")]
    output: Option<PathBuf>,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let signing = signers(&args.sign, &args.passphrase, ui)?;
    let bundle = BundleFile::open(&args.bundle)?;
    let output = args.output.as_ref().unwrap_or(&args.bundle);
    let existing = if args.output.is_some() {
        args.force.existing()
    } else {
        Existing::Replace
    };
    let changed = work::run(ui, |control| {
        cosign(&bundle, &signing, (output, existing), control)
    })?;
    ui.warn_all(&changed.warnings);
    ui.result(&changed, |changed| changed_text(output, changed))
}
