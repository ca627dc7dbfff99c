use std::fs;
use std::io;
use std::path::PathBuf;

use airseal_esp::Chip;
use airseal_format::SecurityVersion;
use airseal_format::component::FlashEncryption;
use airseal_pack::bundle::read_small;
use airseal_pack::key::{DevicePublicKey, PublicKey, public_to_pem};
use airseal_pack::keyset::{KeysetFile, KeysetKeys, NewKeyset};
use airseal_pack::output::{Access, Existing, check_target, write_file};
use airseal_pack::seal::{class_id, vendor_id};
use airseal_sim::agent::{Agent, Cuts, Outcome};
use airseal_sim::home::Home;
use airseal_sim::https::HttpsClient;
use airseal_sim::random::Noise;
use airseal_sim::source::{SealedFile, Source};
use airseal_sim::{Model, SimDevice};
use airseal_update::boot::ResetReason;
use airseal_update::{Factory, Policy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::commands::shared::{ForceArgs, checked_token, group_key, signing_public_key};
use crate::dates;
use crate::failure::Failure;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

mod flash;
mod from;
mod report;

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

/// One device: flash, two slots, a boot loader, keys of its own; it lives in a folder
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The first run makes the device and needs --vendor, --class and --trust or --keyset. STATE/device.pub is the key to seal to. Without --server and --from it only boots. Exit code 0: it runs the newest release it can have."
)]
struct DeviceArgs {
    /// The folder the device lives in
    #[arg(long, value_name = "DIR")]
    state: PathBuf,

    /// Ask this server for an update: https://HOST:PORT
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// The certificate the device trusts the server by, PEM
    #[arg(long, value_name = "FILE", default_value = "airseal-data/ca.pem")]
    ca: PathBuf,

    /// Enrol first, with the claim token in this file (or in AIRSEAL_CLAIM)
    #[arg(long, value_name = "FILE")]
    claim_file: Option<PathBuf>,

    /// Take a sealed file without any server (- is standard input), or DIR/CAPABILITY or https://HOST/CAPABILITY/ of `export static`
    #[arg(long, value_name = "FROM", conflicts_with = "server")]
    from: Option<PathBuf>,

    /// The way it takes: https with --server, static with --from [default: the one that fits]
    #[arg(long, value_name = "https|static|noise", value_parser = ["https", "static", "noise"], hide_possible_values = true)]
    transport: Option<String>,

    /// Let power fail after every N chunks until the update is done, or at random
    #[arg(long, value_name = "N|random", allow_negative_numbers = true, value_parser = cuts)]
    cut_power_at: Option<Cuts>,

    /// Faults of the network or cable: a file with one per line, or cut@63%, stall@1000:5s, short@0, ...
    #[arg(long, value_name = "FILE")]
    faults: Option<String>,

    /// The new image fails its self-test
    #[arg(long)]
    fail_self_test: bool,

    /// The device holds this group key too, in this run (repeatable)
    #[arg(long, value_name = "FILE")]
    group_key: Vec<PathBuf>,

    /// The device's clock, to test the expiry date of releases [default: dates do not matter]
    #[arg(long, value_name = "TIME", value_parser = dates::parse)]
    clock: Option<u64>,

    /// Also write what happened to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    #[command(flatten)]
    force: ForceArgs,

    /// Vendor of a new device
    #[arg(long, value_name = "NAME", help_heading = "A new device")]
    vendor: Option<String>,

    /// Class of a new device
    #[arg(long, value_name = "NAME", help_heading = "A new device")]
    class: Option<String>,

    /// Keyset built into its firmware
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "trust",
        help_heading = "A new device"
    )]
    keyset: Option<PathBuf>,

    /// Or: the key whose releases it takes
    #[arg(long, value_name = "PUB", help_heading = "A new device")]
    trust: Option<PathBuf>,

    /// Board revision [default: 1]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "A new device"
    )]
    hw_rev: Option<u16>,

    /// Chip [default: esp32c3]
    #[arg(long, value_name = "CHIP", help_heading = "A new device")]
    chip: Option<String>,

    /// Size of each of its two slots, KiB [default: 4096]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(16..=65536), help_heading = "A new device")]
    slot_kib: Option<u32>,

    /// Its slots are the first two OTA slots of this partition table, CSV or binary
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "slot_kib",
        help_heading = "A new device"
    )]
    partitions: Option<PathBuf>,

    /// Its flash is encrypted under the key in this file, for releases made with seal --raw-flash-key; only the key's check value is kept
    #[arg(long, value_name = "FILE", help_heading = "A new device")]
    flash_key: Option<PathBuf>,

    /// Its keys come from the 32-byte seed in this file, as `esp line run --simulate BOARD` keeps it in BOARD/seed [default: a new seed]
    #[arg(long, value_name = "FILE", help_heading = "A new device")]
    seed: Option<PathBuf>,

    /// Security version of the image it is born with [default: 0]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "A new device"
    )]
    security_version: Option<u32>,

    /// It takes releases that are not encrypted
    #[arg(long, help_heading = "A new device")]
    allow_plain: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let Command::Device(args) = &args.command;
    check_transport(args)?;
    let home = Home::new(&args.state);
    if let Some(path) = &args.report {
        check_target(path, args.force.existing())?;
    }
    let device = open(&home, args, ui)?;
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

fn open(home: &Home, args: &DeviceArgs, ui: &Ui) -> Result<SimDevice, Failure> {
    let failed =
        |error: io::Error| Failure::io(format_args!("can't use {}", home.dir().display()), &error);
    let mut device = if home.exists() {
        let device = home.open().map_err(failed)?;
        same(device.model(), args, ui)?;
        if args.seed.is_some() && home.seed().map_err(failed)? != *seed(args)? {
            return Err(made_otherwise(args, "--seed"));
        }
        device
    } else {
        home.create(model(args, ui)?, &*seed(args)?)
            .map_err(failed)?
    };
    let public = PublicKey::Device(DevicePublicKey::X25519(device.public()));
    write_file(
        &home.dir().join("device.pub"),
        public_to_pem(&public).as_bytes(),
        Existing::Replace,
        Access::Public,
    )?;
    device.model_mut().policy.now = args.clock;
    for path in &args.group_key {
        let key = group_key(path, &PassphraseArgs::default(), ui)?;
        device.add_group(key.identity());
    }
    Ok(device)
}

fn seed(args: &DeviceArgs) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    let Some(path) = &args.seed else {
        getrandom::fill(&mut *seed).map_err(|error| {
            Failure::environment(format_args!("the system gives no random bytes: {error}"))
        })?;
        return Ok(seed);
    };
    let bytes = Zeroizing::new(read_small(path, 32, "a seed")?);
    *seed = bytes.as_slice().try_into().map_err(|_| {
        Failure::refused(format_args!(
            "{}: has {} bytes, a seed has 32",
            path.display(),
            bytes.len()
        ))
    })?;
    Ok(seed)
}

fn model(args: &DeviceArgs, ui: &Ui) -> Result<Model, Failure> {
    let missing = || {
        Failure::usage(format_args!("{} holds no device yet", args.state.display()))
            .hint("to make one, give --vendor NAME --class NAME and --trust PUB or --keyset FILE")
    };
    let vendor = args.vendor.as_deref().ok_or_else(missing)?;
    let class = args.class.as_deref().ok_or_else(missing)?;
    if args.keyset.is_none() && args.trust.is_none() {
        return Err(missing());
    }
    let keyset = keyset(vendor, args, ui)?.ok_or_else(missing)?;
    let chip = chip(args.chip.as_deref().unwrap_or("esp32c3"))?;
    let vendor_id = vendor_id(vendor);
    Ok(Model {
        vendor_id,
        class_id: class_id(vendor_id, class),
        hw_rev: args.hw_rev.unwrap_or(1),
        chip: chip.id(),
        keyset,
        policy: Policy {
            allow_plain: args.allow_plain,
            ..Policy::default()
        },
        flash_encryption: flash::encryption(args, chip)?,
        slot_len: args.slot_kib.unwrap_or(4096) * 1024,
        slots: flash::slots(args, chip)?,
        factory: Some(Factory {
            security_version: SecurityVersion(args.security_version.unwrap_or(0)),
            ..Factory::default()
        }),
    })
}

/// The keyset that is built into the firmware, if one is named.
fn keyset(vendor: &str, args: &DeviceArgs, ui: &Ui) -> Result<Option<Vec<u8>>, Failure> {
    match (&args.keyset, &args.trust) {
        (Some(path), _) => {
            let file = KeysetFile::read(path)?;
            file.trust(None)?;
            Ok(Some(file.last()?.keyset.signed_bytes().to_vec()))
        }
        (None, Some(path)) => {
            let keys = [signing_public_key(path, ui)?];
            let keys = KeysetKeys {
                roots: &keys,
                releases: &keys,
                offers: &[],
                root_threshold: 1,
                release_threshold: 1,
            };
            let new = NewKeyset {
                vendor,
                class: None,
                keys,
                max_security_version: u32::MAX,
            };
            Ok(Some(
                KeysetFile::create("keyset", &new)?.as_bytes().to_vec(),
            ))
        }
        (None, None) => Ok(None),
    }
}

fn chip(name: &str) -> Result<Chip, Failure> {
    Chip::from_name(name).ok_or_else(|| {
        Failure::usage(format_args!("no chip is called {name}")).hint("for example esp32c3")
    })
}

/// Refuses options that describe another device than the one that lives in the folder.
fn same(model: &Model, args: &DeviceArgs, ui: &Ui) -> Result<(), Failure> {
    let vendor = args.vendor.as_deref().map(vendor_id);
    let class = args
        .class
        .as_deref()
        .map(|class| class_id(vendor.unwrap_or(model.vendor_id), class));
    let chip = args.chip.as_deref().map(chip).transpose()?;
    let (slots, flash_encryption) = match chip.or_else(|| Chip::from_id(model.chip)) {
        Some(chip) => (flash::slots(args, chip)?, flash::encryption(args, chip)?),
        None => (None, FlashEncryption::None),
    };
    let keyset = match &args.vendor {
        Some(vendor) => keyset(vendor, args, ui)?,
        None => None,
    };
    let differs = [
        ("--vendor", vendor.is_some_and(|id| id != model.vendor_id)),
        ("--class", class.is_some_and(|id| id != model.class_id)),
        ("--hw-rev", args.hw_rev.is_some_and(|n| n != model.hw_rev)),
        ("--chip", chip.is_some_and(|chip| chip.id() != model.chip)),
        (
            "--slot-kib",
            args.slot_kib.is_some_and(|n| n * 1024 != model.slot_len),
        ),
        (
            "--partitions",
            args.partitions.is_some() && slots != model.slots,
        ),
        (
            "--flash-key",
            args.flash_key.is_some() && flash_encryption != model.flash_encryption,
        ),
        (
            "--security-version",
            args.security_version.is_some_and(|n| {
                model.factory.map(|factory| factory.security_version) != Some(SecurityVersion(n))
            }),
        ),
        (
            "--allow-plain",
            args.allow_plain && !model.policy.allow_plain,
        ),
        (
            "--trust or --keyset",
            keyset.is_some_and(|bytes| bytes != model.keyset),
        ),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((option, _)) => Err(made_otherwise(args, option)),
    }
}

fn made_otherwise(args: &DeviceArgs, option: &str) -> Failure {
    Failure::usage(format_args!(
        "{} holds a device already, and {option} says something else than it was made with",
        args.state.display()
    ))
    .hint("leave the options of a new device out, or name another folder")
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

fn cuts(text: &str) -> Result<Cuts, String> {
    match text.parse::<u64>() {
        Ok(chunks) if chunks >= FEWEST_CHUNKS => Ok(Cuts::Every(chunks * OPERATIONS_PER_CHUNK)),
        _ if text == "random" => Ok(Cuts::Random(
            RANDOM_CHUNKS * OPERATIONS_PER_CHUNK,
            Noise::new(0x5EED),
        )),
        _ => Err(format!(
            "write a number of chunks from {FEWEST_CHUNKS}, or random"
        )),
    }
}

/// With less between two cuts the download gets nowhere.
const FEWEST_CHUNKS: u64 = 4;
const RANDOM_CHUNKS: u64 = 60;
/// A 4 KiB chunk is erased, written and entered in the journal.
const OPERATIONS_PER_CHUNK: u64 = 3;
