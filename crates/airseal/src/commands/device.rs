use std::io::Write;
use std::path::{Path, PathBuf};

use airseal_pack::output::{Access, Existing, OutputFile};
use airseal_pack::seal::{class_id, vendor_id};
use airseal_server::api::types::{
    Claim, CreateDevice, DeviceDetail, DeviceInfo, DeviceList, Revocation, RevokeDevice,
};

use crate::client::{Client, ServerArgs, segment};
use crate::dates;
use crate::failure::Failure;
use crate::ui::{Style, Table, Ui};

mod import;

/// Enrol devices, take in those of a factory, list them, cut one off
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Enroll(EnrollArgs),
    Import(import::ImportArgs),
    List(ListArgs),
    Show(ShowArgs),
    Revoke(RevokeArgs),
    Reinstate(ReinstateArgs),
}

/// Announce a device: prints the claim token it enrols with, once
#[derive(Debug, clap::Args)]
struct EnrollArgs {
    /// A name for people, such as the serial number
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Only a device of this vendor may use the token
    #[arg(long, value_name = "NAME", requires = "class")]
    vendor: Option<String>,

    /// Only a device of this class may use the token
    #[arg(long, value_name = "NAME", requires = "vendor")]
    class: Option<String>,

    /// Days until the token expires
    #[arg(long, value_name = "N", default_value_t = 7, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=365))]
    days: u64,

    /// Write the token to this file, readable by you alone, in place of printing it
    #[arg(long, value_name = "FILE")]
    token_out: Option<PathBuf>,

    #[command(flatten)]
    server: ServerArgs,
}

/// List devices
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only devices in this state: claimed, active or revoked
    #[arg(long, value_name = "STATE", value_parser = ["claimed", "active", "revoked"], hide_possible_values = true)]
    state: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

/// Show a device, what it can read and what it reported
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Id or name of the device
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// Cut a device off: from its next request on it gets nothing
#[derive(Debug, clap::Args)]
struct RevokeArgs {
    /// Id or name of the device
    #[arg(value_name = "ID")]
    id: String,

    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,

    /// Only show what the device could read and what should be rotated
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Let a revoked device in again
#[derive(Debug, clap::Args)]
struct ReinstateArgs {
    /// Id or name of the device
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::Enroll(args) => enroll(args, ui),
        Command::Import(args) => import::run(args, ui),
        Command::List(args) => list(args, ui),
        Command::Show(args) => show(args, ui),
        Command::Revoke(args) => revoke(args, ui),
        Command::Reinstate(args) => reinstate(args, ui),
    }
}

fn enroll(args: &EnrollArgs, ui: &Ui) -> Result<(), Failure> {
    let vendor = args.vendor.as_deref().map(vendor_id);
    let class = vendor
        .zip(args.class.as_deref())
        .map(|(vendor, class)| class_id(vendor, class));
    let request = CreateDevice {
        name: args.name.clone(),
        vendor_id: vendor.map(|id| hex::encode(id.0)),
        class_id: class.map(|id| hex::encode(id.0)),
        expires_in_s: Some(args.days * 24 * 60 * 60),
    };
    // The file comes first: a token that can't be kept is not asked for.
    let output = match &args.token_out {
        Some(file) => Some((file, token_file(file)?)),
        None => None,
    };
    let claim: Claim = Client::new(&args.server)?.post("devices", &request)?;
    let until = claim
        .device
        .claim_expires_at
        .map(dates::show)
        .unwrap_or_default();
    let Some((file, mut output)) = output else {
        return ui.result(&claim, |claim| {
            format!(
                "{}\nclaim token  {}\n             give it to the device; it works once, until {until}",
                named(&claim.device),
                claim.claim_token
            )
        });
    };
    output
        .write_all(format!("{}\n", claim.claim_token).as_bytes())
        .map_err(|error| Failure::io(format_args!("can't write {}", file.display()), &error))?;
    output.commit()?;
    let written = serde_json::json!({"device": claim.device, "claim_token_file": file});
    ui.result(&written, |_| {
        format!(
            "{}\nclaim token  in {}; it works once, until {until}",
            named(&claim.device),
            file.display()
        )
    })
}

/// A token is never written over: the file must be new.
fn token_file(file: &Path) -> Result<OutputFile, Failure> {
    OutputFile::create(file, Existing::Refuse, Access::Owner).map_err(|error| {
        let exists = file.exists();
        let failure = Failure::from(error);
        if exists {
            failure.hint("name another file; no token was made")
        } else {
            failure
        }
    })
}

fn list(args: &ListArgs, ui: &Ui) -> Result<(), Failure> {
    let client = Client::new(&args.server)?;
    let mut devices = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut path = "devices?limit=500".to_owned();
        if let Some(after) = &after {
            path.push_str(&format!("&after={}", segment(after)));
        }
        if let Some(state) = &args.state {
            path.push_str(&format!("&state={}", segment(state)));
        }
        let page: DeviceList = client.get(&path)?;
        devices.extend(page.devices);
        match page.next {
            Some(next) if after.as_ref() != Some(&next) => after = Some(next),
            _ => break,
        }
    }
    if ui.json() {
        return ui.value(&devices);
    }
    let mut table = Table::new(&["ID", "NAME", "RELEASE", "KEYSET", "LAST SEEN", "STATE"]);
    for device in &devices {
        let style = if device.state == "active" {
            Style::Good
        } else {
            Style::Warning
        };
        table.row_with_verdict(
            [
                device.id.clone(),
                device.name.clone().unwrap_or_default(),
                if device.installed.is_some() {
                    device.release_seq.to_string()
                } else {
                    "-".to_owned()
                },
                device.keyset_version.to_string(),
                device
                    .last_seen_at
                    .map_or_else(|| "never".to_owned(), dates::show),
                state(device),
            ],
            style,
        );
    }
    ui.table(&table)
}

fn show(args: &ShowArgs, ui: &Ui) -> Result<(), Failure> {
    let detail: DeviceDetail =
        Client::new(&args.server)?.get(&format!("devices/{}", segment(&args.id)))?;
    ui.result(&detail, |detail| {
        let device = &detail.device;
        let mut text = format!("{}\nstate        {}\n", named(device), state(device));
        let recorded = |name: &str| {
            let value = detail.record.as_ref().and_then(|record| record.get(name));
            value.and_then(serde_json::Value::as_str).map(str::to_owned)
        };
        let optional = [
            ("batch", recorded("batch")),
            ("mac", recorded("mac")),
            ("recipient", device.recipient_id.clone()),
            ("key", device.recipient_key.clone()),
            (
                "running",
                device
                    .installed
                    .as_ref()
                    .map(|digest| format!("number {} ({digest})", device.release_seq)),
            ),
            (
                "keyset",
                device
                    .installed
                    .as_ref()
                    .map(|_| device.keyset_version.to_string()),
            ),
            ("held from", device.held.clone()),
            ("last seen", device.last_seen_at.map(dates::show)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                text.push_str(&format!("{name:12} {value}\n"));
            }
        }
        for release in &detail.readable_releases {
            text.push_str(&format!(
                "can read     {} (number {})\n",
                release.version, release.release_seq
            ));
        }
        for report in &detail.reports {
            let what = if report.code == 0 {
                "done".to_owned()
            } else {
                format!("refusal {}", report.code)
            };
            text.push_str(&format!(
                "reported     {} {} {what} {}\n",
                dates::show(report.at),
                report.stage,
                report.detail
            ));
        }
        text
    })
}

fn revoke(args: &RevokeArgs, ui: &Ui) -> Result<(), Failure> {
    let request = RevokeDevice {
        reason: args.reason.clone(),
        dry_run: args.dry_run,
    };
    let revocation: Revocation = Client::new(&args.server)?
        .post(&format!("devices/{}/revoke", segment(&args.id)), &request)?;
    ui.result(&revocation, |revocation| {
        let verb = if revocation.dry_run { "would be revoked" } else { "is revoked: it gets nothing from now on" };
        let mut text = format!("{} {verb}\n", named(&revocation.device));
        match revocation.readable_releases.as_slice() {
            [] => text.push_str("it was never given a key to any release\n"),
            releases => {
                text.push_str("whoever holds it can read these releases, and revoking does not change that:\n");
                for release in releases {
                    text.push_str(&format!("  {} (number {})\n", release.version, release.release_seq));
                }
            }
        }
        if !revocation.group_ids.is_empty() {
            text.push_str("it holds group keys: seal to devices only, or rotate these groups:\n");
            for group in &revocation.group_ids {
                text.push_str(&format!("  {group}\n"));
            }
        }
        text
    })
}

fn reinstate(args: &ReinstateArgs, ui: &Ui) -> Result<(), Failure> {
    let device: DeviceInfo = Client::new(&args.server)?.post(
        &format!("devices/{}/reinstate", segment(&args.id)),
        &serde_json::json!({}),
    )?;
    ui.result(&device, |device| {
        let mut text = format!("{} is {}", named(device), state(device));
        if device.state == "claimed" {
            let name = device.name.as_ref().unwrap_or(&device.id);
            text.push_str(&format!(
                "; if it was revoked its old token is void, and `airseal device enroll {name}` makes a new one"
            ));
        }
        text
    })
}

fn named(device: &DeviceInfo) -> String {
    match &device.name {
        Some(name) => format!("device {} ({name})", device.id),
        None => format!("device {}", device.id),
    }
}

fn state(device: &DeviceInfo) -> String {
    match (&device.reason, &device.held) {
        (Some(reason), _) => format!("{} ({reason})", device.state),
        (None, Some(_)) => format!("{}, held after three failures", device.state),
        (None, None) => device.state.clone(),
    }
}
