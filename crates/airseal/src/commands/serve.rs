use std::net::SocketAddr;
use std::path::PathBuf;

use airseal_server::{Config, Ready, Server, StartError};

use crate::client::DEFAULT_DATA;
use crate::failure::Failure;
use crate::interrupt;
use crate::ui::{Style, Ui};

/// Run the update server; it needs nothing else on this machine
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The first start makes a certificate authority and an administration token in the data directory. Port 0 takes a free port. The server holds no content key and no signing key."
)]
pub(crate) struct Args {
    /// Everything the server keeps: database, payloads, authority, token
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,

    /// Where devices connect
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8443", value_parser = address)]
    https: SocketAddr,

    /// Where administrators connect: plain HTTP on a loopback address, TLS on any other
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8440", value_parser = address)]
    admin: SocketAddr,

    /// The address devices know the server by, when it is not the one listened on
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// Another host name or address for the server certificate (repeatable)
    #[arg(long, value_name = "HOST")]
    name: Vec<String>,

    /// Make a new administration token; the old one stops working
    #[arg(long)]
    renew_admin_token: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    ui.log_to_stderr();
    // What is printed is for scripts too, which may look from another directory.
    let data = std::path::absolute(&args.data)
        .map_err(|error| Failure::io(format_args!("can't find {}", args.data.display()), &error))?;
    let config = Config {
        https: args.https,
        admin: args.admin,
        names: args.name.clone(),
        public_url: args.public_url.clone(),
        renew_admin_token: args.renew_admin_token,
        ..Config::new(data)
    };
    let running = Server::start_blocking(config).map_err(|error| failure(&error))?;
    ui.result(running.ready(), |ready| text(ready, ui))?;
    interrupt::wait();
    ui.note("stopping");
    running.stop();
    Ok(())
}

pub(crate) fn failure(error: &StartError) -> Failure {
    let text = error.to_string();
    match text.split_once("; ") {
        Some((message, hint)) => Failure::environment(message).hint(hint),
        None => Failure::environment(text),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write an IP address and a port, as 127.0.0.1:8443; host names go to --name".to_owned()
    })
}

fn text(ready: &Ready, ui: &Ui) -> String {
    format!(
        "{}: devices {}, administration {}, CA certificate {}, token in {}",
        ui.paint(Style::Good, "ready"),
        ready.https_url(),
        ready.admin_url(),
        ready.ca.display(),
        ready.admin_token_file.display(),
    )
}
