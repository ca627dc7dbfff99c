use std::path::PathBuf;

use airseal_pack::bundle::BundleFile;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::export::{ExportRecipient, ExportRequest, Exported, export_static};
use airseal_pack::key::KeyRole;
use airseal_pack::recipient::devices_to_seal_to;

use crate::commands::shared::count;
use crate::failure::Failure;
use crate::keys;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;
use crate::work;

/// Write a release as a folder that any file server can host
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Static(StaticArgs),
}

/// Write or update the folder: a path that nobody can guess for each device or group, one payload for all
#[derive(Debug, clap::Args)]
struct StaticArgs {
    /// The folder to hand to the file server; made when missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The sealed file
    #[arg(long, value_name = "BUNDLE")]
    release: PathBuf,

    /// Every device of a list, JSON lines or CSV
    #[arg(long, value_name = "FILE", required_unless_present = "to")]
    to_list: Option<PathBuf>,

    /// Of the list, only devices with this tag
    #[arg(long, value_name = "TAG", requires = "to_list")]
    tag: Option<String>,

    /// This device or group: its public key, or a group key (repeatable)
    #[arg(long, value_name = "KEY_OR_PUB")]
    to: Vec<PathBuf>,

    /// Remove the paths of everybody else, and payloads that no path needs
    #[arg(long)]
    prune: bool,

    /// Which path is whose; secret, kept outside the folder [default: DIR-capabilities.csv beside it]
    #[arg(long, value_name = "FILE")]
    paths: Option<PathBuf>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let Command::Static(args) = &args.command;
    let bundle = BundleFile::open(&args.release)?;
    let recipients = recipients(args, ui)?;
    let capabilities = args.paths.clone().unwrap_or_else(|| beside(args));
    let request = ExportRequest {
        dir: &args.directory,
        capabilities: &capabilities,
        recipients: &recipients,
        prune: args.prune,
    };
    let exported = work::run(ui, |control| {
        export_static(&bundle, &request, &SystemEntropy, control)
    })?;
    for name in &exported.no_envelope {
        ui.warn(format_args!("{name}: the release has no envelope for it, so its path is as it was (airseal envelope add)"));
    }
    ui.result(&exported, |exported| text(exported, args))
}

fn recipients(args: &StaticArgs, ui: &Ui) -> Result<Vec<ExportRecipient>, Failure> {
    let mut recipients = Vec::new();
    if let Some(list) = &args.to_list {
        let (records, warnings) = devices_to_seal_to(list, args.tag.as_deref())?;
        ui.warn_all(&warnings);
        recipients.extend(records.iter().map(ExportRecipient::from));
    }
    for path in &args.to {
        let key = keys::read(
            path,
            Some(KeyRole::Recipient),
            &PassphraseArgs::default(),
            ui,
        )?;
        let id = key.recipient_id().ok_or_else(|| {
            Failure::refused(format_args!(
                "{}: this key has no recipient id",
                path.display()
            ))
        })?;
        // Of every simulated device the file is called device.pub: the folder tells them apart.
        let name = path.with_extension("").to_string_lossy().into_owned();
        recipients.push(ExportRecipient { id, name });
    }
    Ok(recipients)
}

fn beside(args: &StaticArgs) -> PathBuf {
    let mut name = args.directory.file_name().unwrap_or_default().to_owned();
    name.push("-capabilities.csv");
    args.directory.with_file_name(name)
}

fn text(exported: &Exported, args: &StaticArgs) -> String {
    let mut text = format!(
        "{}: release {} for {}\ndigest       {}\npaths        {} (secret: who knows a path can fetch it)",
        args.directory.display(),
        exported.version,
        count(
            exported.written.len(),
            "device or group",
            "devices or groups"
        ),
        exported.manifest_digest,
        exported.capabilities.display(),
    );
    if args.prune {
        text.push_str(&format!(
            "\nremoved      {}, {}",
            count(exported.pruned_paths, "path", "paths"),
            count(exported.pruned_payloads, "payload", "payloads")
        ));
    }
    text
}
