use std::path::PathBuf;

use airseal_pack::bundle::BundleFile;
use airseal_pack::output::Access;
use airseal_pack::release::sign_request;

use crate::commands::shared::{ForceArgs, Target, request_written};
use crate::failure::Failure;
use crate::ui::Ui;

/// Write what a signature of a sealed file covers, to be signed on another machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed file
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,

    /// Write the bytes to sign here; - is standard output
    #[arg(long, short, value_name = "REQ")]
    output: PathBuf,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let target = Target::new(&args.output, args.force, [&args.bundle])?;
    let request = sign_request(&BundleFile::open(&args.bundle)?);
    target.write(&request, Access::Public)?;
    let next = format!(
        "airseal attach {} SIGNATURE --key PUB",
        args.bundle.display()
    );
    request_written(&target, request.len(), next, ui)
}
