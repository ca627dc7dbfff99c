use std::path::PathBuf;

use airseal_factory::check::check as check_batch;
use airseal_factory::prepare::{Prepared, prepare_files};
use airseal_factory::product::Product;
use airseal_pack::entropy::SystemEntropy;
use serde::Serialize;

use crate::failure::Failure;
use crate::ui::Ui;
use crate::work;

/// Prepare a batch of devices: keys for each, signed once, everything checked first
///
/// Run again on the same folder it makes what is missing; a serial never gets new keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airseal esp provision --config acme.toml --out 2648-A")]
pub(crate) struct Args {
    /// The batch's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// The batch's folder
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    out: Option<PathBuf>,

    /// Only check: nothing is made; with --out, also that the batch there has the same settings
    #[arg(long)]
    check: bool,

    /// Prepare only the first N serials
    #[arg(long, value_name = "N")]
    count: Option<usize>,

    /// What is made for each device: a sealed box for `esp line`, or also files and scripts for a line without Airseal
    #[arg(long, value_name = "boxes|files", default_value = "boxes", value_parser = ["boxes", "files"], hide_possible_values = true)]
    emit: String,
}

#[derive(Serialize)]
struct Checked {
    batch: String,
    chip: &'static str,
    serials: usize,
    regions: Vec<CheckedRegion>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct CheckedRegion {
    name: String,
    address: u32,
    room: u64,
    encrypted: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let product = Product::read(&args.config)?;
    product.warnings.iter().for_each(|warning| ui.warn(warning));
    let (Some(out), false) = (&args.out, args.check) else {
        check_batch(&product, args.out.as_deref())?;
        return check(&product, ui);
    };
    let files = args.emit == "files";
    if files {
        ui.warn("--emit files writes every device's keys in the clear: whoever reads the folder devices/ can clone them");
    }
    let prepared = work::run(ui, |control| {
        prepare_files(&product, out, args.count, files, &SystemEntropy, control)
    })?;
    ui.result(&prepared, |prepared: &Prepared| {
        format!(
            "batch {}: {} made, {} there already, in {}\nfingerprint {}\n",
            prepared.batch,
            prepared.made,
            prepared.kept,
            out.display(),
            prepared.fingerprint
        )
    })
}

fn check(product: &Product, ui: &Ui) -> Result<(), Failure> {
    let regions = product.regions.iter().map(|region| CheckedRegion {
        name: region.name.clone(),
        address: region.address,
        room: region.room,
        encrypted: region.encrypted,
    });
    let checked = Checked {
        batch: product.config.batch.id.clone(),
        chip: product.chip.name(),
        serials: product.serials.len(),
        regions: regions.collect(),
        warnings: product.warnings.clone(),
    };
    ui.result(&checked, text)
}

fn text(checked: &Checked) -> String {
    let mut text = format!(
        "batch {}: {}, {} serials\n",
        checked.batch, checked.chip, checked.serials
    );
    for region in &checked.regions {
        let how = if region.encrypted {
            "encrypted"
        } else {
            "plain"
        };
        text.push_str(&format!(
            "{:#010x} {:16} room {:#x}, {how}\n",
            region.address, region.name, region.room
        ));
    }
    text
}
