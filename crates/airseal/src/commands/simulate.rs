use std::fs;

use airseal_pack::output::{Access, write_file};
use airseal_sim::SimDevice;
use airseal_sim::agent::{Agent, Cuts, Outcome};
use airseal_sim::home::Home;
use airseal_sim::https::HttpsClient;
use airseal_sim::source::{SealedFile, Source};
use airseal_update::boot::ResetReason;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::commands::shared::{Target, checked_token};
use crate::failure::Failure;
use crate::ui::Ui;

mod args;
mod device;
mod flash;
mod from;
mod report;

use args::DeviceArgs;
use from::{exported, faults, sealed_file};
use report::{Report, client_failure, count_cuts, finish, refused, text, verdict};

/// A simulated device to try releases and servers with
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Device(Box<DeviceArgs>),
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let Command::Device(args) = &args.command;
    check_transport(args)?;
    let home = Home::new(&args.state);
    if let Some(path) = &args.report {
        let keys = args.keyset.iter().chain(&args.trust).chain(&args.flash_key);
        let read = keys.chain(&args.group_key).chain(&args.from);
        Target::new(path, args.force, read.chain(&args.claim_file))?;
    }
    let device = device::open(&home, args, ui)?;
    let before = device.flash().operations();
    let mut report = Report::default();
    let (mut device, result) = match (&args.server, &args.from) {
        (Some(url), _) => {
            let mut client = client(url, &home, args)?;
            if let Some(token) = claim(args)? {
                let name = client
                    .enroll(&device, &token)
                    .map_err(|error| client_failure(error, &args.ca))?;
                report.enrolled_as = Some(name);
            }
            round(device, client, args, &mut report, ui)?
        }
        (None, Some(from)) => match exported(from, &home, args)? {
            Some(exported) => round(device, exported, args, &mut report, ui)?,
            None => round(device, sealed_file(from)?, args, &mut report, ui)?,
        },
        (None, None) => start(device, args, &mut report),
    };
    home.save(&device).map_err(|error| {
        Failure::io(format_args!("can't write {}", home.dir().display()), &error)
    })?;
    finish(&mut report, &mut device, before).map_err(|refusal| refused(&refusal))?;
    if let Err(failure) = &result {
        report.code = failure.code.unwrap_or(0);
    }
    if let Some(path) = &args.report {
        let text = serde_json::to_vec(&report).map_err(Failure::environment)?;
        write_file(path, &text, args.force.existing(), Access::Public)?;
    }
    ui.result(&report, text)?;
    result
}

fn check_transport(args: &DeviceArgs) -> Result<(), Failure> {
    let wrong = |message: &str, hint: &str| Err(Failure::usage(message).hint(hint));
    match args.transport.as_deref() {
        Some("noise") => wrong(
            "--transport noise is not built yet",
            "take https with --server, or static with --from",
        ),
        Some("https") if args.server.is_none() => {
            wrong("--transport https needs a server", "add --server URL")
        }
        Some("static") if args.from.is_none() => wrong(
            "--transport static needs a place to take the release from",
            "add --from with what `airseal export static` wrote, or a sealed file",
        ),
        _ => Ok(()),
    }
}

/// Asks the source once and does what it says.
fn round<S: Source>(
    device: SimDevice,
    source: S,
    args: &DeviceArgs,
    report: &mut Report,
    ui: &Ui,
) -> Result<(SimDevice, Result<(), Failure>), Failure> {
    let bar = ui.progress("installing", 0);
    let mut agent = agent(device, source, args);
    agent.on_progress(bar.setter());
    agent.cuts = args.cut_power_at.clone().unwrap_or(Cuts::Never);
    agent.faults = faults(args)?;
    let outcome = agent
        .round(&mut |event| report.events.push(event))
        .map_err(|error| client_failure(error, &args.ca));
    report.power_cuts = count_cuts(&report.events);
    if let Some(traffic) = agent.source.traffic() {
        let once = traffic.payload - traffic.twice;
        report.bytes_per_byte = (once > 0).then(|| traffic.received as f64 / once as f64);
        report.traffic = Some(traffic.clone());
    }
    report.outcome = match &outcome {
        Ok(Outcome::Idle) => "nothing to install".to_owned(),
        Ok(outcome) => format!("{outcome:?}").to_lowercase(),
        Err(failure) => failure.message.clone(),
    };
    let result = outcome.and_then(|outcome| verdict(outcome, &report.events, &args.ca));
    Ok((agent.device, result))
}

/// Only boots.
fn start(
    device: SimDevice,
    args: &DeviceArgs,
    report: &mut Report,
) -> (SimDevice, Result<(), Failure>) {
    let mut agent = agent(device, SealedFile::standard_input(), args);
    let started = agent.start(ResetReason::Power, &mut |event| report.events.push(event));
    report.outcome = "booted".to_owned();
    let result = started
        .map(|_| ())
        .map_err(|error| client_failure(error, &args.ca));
    (agent.device, result)
}

fn agent<S: Source>(device: SimDevice, source: S, args: &DeviceArgs) -> Agent<S> {
    let mut agent = Agent::new(device, source);
    let passes = !args.fail_self_test;
    agent.set_self_test(move |_| passes);
    agent
}

fn client(url: &str, home: &Home, args: &DeviceArgs) -> Result<HttpsClient, Failure> {
    let ca = fs::read(&args.ca).map_err(|error| {
        Failure::io(
            format_args!("can't read the server's certificate {}", args.ca.display()),
            &error,
        )
        .hint("name it with --ca; `airseal server trust` writes it")
    })?;
    let seed = home
        .seed()
        .map_err(|error| Failure::io(format_args!("can't use {}", home.dir().display()), &error))?;
    CertificateDer::from_pem_slice(&ca).map_err(|_| {
        Failure::refused(format_args!("{}: holds no certificate", args.ca.display()))
            .hint("name the ca.pem that `airseal server trust` writes")
    })?;
    HttpsClient::new(url, &ca, &seed).map_err(Failure::usage)
}

fn claim(args: &DeviceArgs) -> Result<Option<Zeroizing<String>>, Failure> {
    match &args.claim_file {
        Some(file) => fs::read_to_string(file)
            .map_err(|error| {
                Failure::io(
                    format_args!("can't read the claim token in {}", file.display()),
                    &error,
                )
            })
            .and_then(|text| checked_token(&file.display().to_string(), &text))
            .map(Some),
        None => std::env::var("AIRSEAL_CLAIM")
            .ok()
            .filter(|token| !token.is_empty())
            .map(|token| checked_token("AIRSEAL_CLAIM", &token))
            .transpose(),
    }
}
