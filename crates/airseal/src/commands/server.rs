use std::fs;
use std::path::PathBuf;

use airseal_pack::output::{Access, check_target, write_file};
use airseal_server::api::types::{ServerInfo, TrustInfo};

use crate::client::{Client, ServerArgs};
use crate::commands::shared::ForceArgs;
use crate::failure::Failure;
use crate::ui::Ui;

/// Show a running server, and write what firmware needs to know it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Show(ShowArgs),
    Trust(TrustArgs),
}

/// Show addresses, keys held, devices and releases
#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Write the server's trust for the firmware: ca.pem and airseal_trust.h
#[derive(Debug, clap::Args)]
struct TrustArgs {
    /// The folder to write into, made when missing
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    force: ForceArgs,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::Show(args) => show(args, ui),
        Command::Trust(args) => trust(args, ui),
    }
}

fn show(args: &ShowArgs, ui: &Ui) -> Result<(), Failure> {
    let info: ServerInfo = Client::new(&args.server)?.get("server")?;
    ui.result(&info, |info| {
        let mut text = format!("version      {}\nhttps        {}\n", info.version, info.https);
        if let Some(url) = &info.public_url {
            text.push_str(&format!("public url   {url}\n"));
        }
        text.push_str(&format!(
            "custody      {}\ncontent keys held: {}\nsigning keys held: {}\nCA sha256    {}\nreleases     {}\n",
            info.custody, info.content_keys_held, info.signing_keys_held, info.ca_sha256, info.releases
        ));
        for (state, count) in &info.devices {
            text.push_str(&format!("{state:12} {count}\n"));
        }
        text
    })
}

fn trust(args: &TrustArgs, ui: &Ui) -> Result<(), Failure> {
    let info: TrustInfo = Client::new(&args.server)?.get("trust")?;
    let files = [
        ("ca.pem", &info.ca_pem),
        ("airseal_trust.h", &info.c_header),
    ];
    fs::create_dir_all(&args.output).map_err(|error| {
        Failure::io(format_args!("can't make {}", args.output.display()), &error)
    })?;
    for (name, _) in files {
        check_target(&args.output.join(name), args.force.existing())?;
    }
    for (name, text) in files {
        write_file(
            &args.output.join(name),
            text.as_bytes(),
            args.force.existing(),
            Access::Public,
        )?;
    }
    let written = serde_json::json!({"directory": args.output, "files": files.map(|(name, _)| name), "ca_sha256": info.ca_sha256});
    ui.result(&written, |_| {
        format!(
            "{}: ca.pem, airseal_trust.h\nCA sha256    {}",
            args.output.display(),
            info.ca_sha256
        )
    })
}
