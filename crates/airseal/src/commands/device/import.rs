use std::path::PathBuf;

use airseal_pack::key::DevicePublicKey;
use airseal_pack::recipient::{ImportRecord, RequestKey, read_import_list};
use airseal_pack::seal::{class_id, vendor_id};
use airseal_server::api::types::{DevicesImported, ImportDevice, ImportDevices, TrustKey};

use crate::client::{Client, ServerArgs};
use crate::failure::Failure;
use crate::ui::Ui;

/// Take in devices as the factory recorded them, all or none; they need no claim token
#[derive(Debug, clap::Args)]
#[command(
    after_help = "FILE is devices.jsonl of a batch, or CSV with the columns serial, vendor, class, request, unseal, and optionally hw_rev, seq, security_version and state."
)]
pub(super) struct ImportArgs {
    /// JSON lines (airseal.device/1) or CSV; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// A device that is known with another key gets the new one, and the old one is revoked
    #[arg(long)]
    replace: bool,

    /// Only say what would change
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &ImportArgs, ui: &Ui) -> Result<(), Failure> {
    let records = read_import_list(&args.file)?;
    let left_out = records.iter().filter(|record| !record.is_active());
    for record in left_out {
        ui.warn(format_args!(
            "line {}: {} is {} and left out",
            record.line, record.serial, record.state
        ));
    }
    let devices: Vec<_> = records
        .into_iter()
        .filter(ImportRecord::is_active)
        .map(device)
        .collect();
    if devices.is_empty() {
        return Err(Failure::refused(format_args!(
            "{}: lists no active device",
            args.file.display()
        )));
    }
    let request = ImportDevices {
        devices,
        replace: args.replace,
        dry_run: args.dry_run,
    };
    let imported: DevicesImported = Client::new(&args.server)?
        .post("device-imports", &request)
        .map_err(|failure| in_file(args, failure))?;
    if imported.revived > 0 {
        ui.warn(format_args!(
            "{} of the devices with another key before were revoked: with the new key they are let in again",
            imported.revived
        ));
    }
    ui.result(&imported, |imported| {
        let head = if imported.dry_run {
            "nothing is changed; it would be: "
        } else {
            ""
        };
        let replaced = match imported.replaced {
            0 => String::new(),
            replaced => format!(", {replaced} with another key before, which is revoked"),
        };
        format!(
            "{head}{} new, {} announced before, {} known already{replaced}\n",
            imported.added, imported.activated, imported.unchanged
        )
    })
}

/// The server names lines; people want to know of which file.
fn in_file(args: &ImportArgs, mut failure: Failure) -> Failure {
    if failure.message.starts_with("line ") {
        failure.message = format!("{}: {}", args.file.display(), failure.message);
    }
    failure
}

fn device(record: ImportRecord) -> ImportDevice {
    let vendor = vendor_id(&record.vendor);
    let (algorithm, public_key) = match &record.request {
        RequestKey::Ed25519(key) => ("ed25519", hex::encode(key)),
        RequestKey::P256(key) => ("ecdsa-p256", hex::encode(key)),
    };
    let wrap_suite = match &record.unseal {
        DevicePublicKey::X25519(_) => 1,
        DevicePublicKey::P256(_) => 2,
    };
    ImportDevice {
        line: record.line,
        vendor_id: hex::encode(vendor.0),
        class_id: hex::encode(class_id(vendor, &record.class).0),
        hw_rev: record.hw_rev,
        request_key: TrustKey {
            algorithm: algorithm.to_owned(),
            public_key,
        },
        wrap_suite,
        recipient_key: hex::encode(record.unseal.as_bytes()),
        release_seq: record.release_seq,
        security_version: record.security_version,
        record: Some(record.record),
        serial: record.serial,
    }
}
