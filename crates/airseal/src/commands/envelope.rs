use std::path::PathBuf;

use airseal_pack::bundle::BundleFile;
use airseal_pack::content_key::ContentKeyFile;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::key::NoPassphrase;
use airseal_pack::recipient::{Recipient, Recipients};
use airseal_pack::release::add_envelopes;

use crate::commands::shared::{ChangedArgs, changed_text, subject};
use crate::failure::Failure;
use crate::ui::Ui;
use crate::work;

/// Let more devices open a sealed file, without a new signature
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(AddArgs),
}

/// Add envelopes for more recipients
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "airseal envelope add [OPTIONS] <BUNDLE> --content-key <FILE> --to <PUB>... | --to-list <FILE>"
)]
struct AddArgs {
    /// The sealed file
    #[arg(value_name = "BUNDLE")]
    bundle: Option<PathBuf>,

    /// The content key that `airseal seal --content-key-out` kept
    #[arg(long, value_name = "FILE")]
    content_key: PathBuf,

    /// Add these devices or groups: public keys, or group keys
    #[arg(long, value_name = "PUB", num_args = 1.., required_unless_present = "to_list")]
    to: Vec<PathBuf>,

    /// Add every device of a list, JSON lines or CSV; - is standard input
    #[arg(long, value_name = "FILE")]
    to_list: Option<PathBuf>,

    /// Of the list, only devices with this tag
    #[arg(long, value_name = "TAG", requires = "to_list")]
    tag: Option<String>,

    #[command(flatten)]
    changed: ChangedArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let Command::Add(args) = &args.command;
    let mut to = args.to.clone();
    let path = subject(args.bundle.as_ref(), &mut to, "the sealed file")?;
    let place = args.changed.place(
        &path,
        to.iter().chain(&args.to_list).chain([&args.content_key]),
    )?;
    let content_key = ContentKeyFile::read(&args.content_key)?;
    ui.warn_all(&content_key.warnings);
    let recipients = recipients(args, &to, ui)?;
    let bundle = BundleFile::open(&path)?;
    let changed = work::run(ui, |control| {
        add_envelopes(
            &bundle,
            &content_key.key,
            &recipients,
            place,
            &SystemEntropy,
            control,
        )
    })?;
    ui.result(&changed, |changed| {
        let already = match changed.already.len() {
            0 => String::new(),
            count => format!(", {count} were there already"),
        };
        format!(
            "{}\nenvelopes    {} added{already}",
            changed_text(place.0, changed),
            changed.added.len()
        )
    })
}

fn recipients(args: &AddArgs, to: &[PathBuf], ui: &Ui) -> Result<Recipients, Failure> {
    let mut recipients = Recipients::new();
    for path in to {
        let loaded = Recipient::read(path, &NoPassphrase)?;
        ui.warn_all(&loaded.warnings);
        recipients.add(loaded.key);
    }
    if let Some(list) = &args.to_list {
        let warnings = recipients.add_list(list, args.tag.as_deref())?;
        ui.warn_all(&warnings);
    }
    Ok(recipients)
}
