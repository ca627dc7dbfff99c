use std::path::PathBuf;

use airseal_pack::bundle::BundleFile;
use airseal_pack::open::verify;

use crate::commands::shared::{TrustArgs, subject};
use crate::dates;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::work;

/// Check signatures, policy and every chunk of a sealed file; needs no decryption key
#[derive(Clone, Debug, clap::Args)]
#[command(
    override_usage = "airseal verify [OPTIONS] <BUNDLE> --trust <PUB>... | --keyset <FILE>",
    after_help = "Example: airseal verify 1.2.0.seal --trust vendor.pub"
)]
pub(crate) struct Args {
    /// The sealed file; - is standard input
    #[arg(value_name = "BUNDLE")]
    bundle: Option<PathBuf>,

    #[command(flatten)]
    trust: TrustArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let mut trust = args.trust.clone();
    let path = subject(args.bundle.as_ref(), &mut trust.trust, "the sealed file")?;
    let trust = trust.read(ui)?;
    let bundle = BundleFile::open(&path)?;
    let verified = work::run(ui, |control| verify(&bundle, &trust, control))?;
    ui.result(&verified, |verified| {
        let under = match verified.accepted_under {
            0 => "a key given with --trust".to_owned(),
            version => format!("keyset version {version}"),
        };
        let components = match verified.components {
            1 => String::new(),
            count => format!(" of {count} components"),
        };
        let expires = match verified.expires_at {
            0 => String::new(),
            at => format!("\nexpires      {} (shown, not tested)", dates::show(at)),
        };
        format!(
            "{}: genuine and whole\nrelease      {} (number {})\ndigest       {}\nsigned by    {}, accepted under {under}\nchecked      {} chunks in {} bytes{components}; envelopes: {}{expires}",
            path.display(),
            verified.version,
            verified.sequence,
            verified.manifest_digest,
            verified.signers.join(", "),
            verified.chunks,
            verified.payload_len,
            verified.envelopes,
        )
    })
}
