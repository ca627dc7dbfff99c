use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use airseal_esp::Chip;
use airseal_pack::key::{DevicePublicKey, PublicKey, public_to_pem};
use airseal_pack::keyset::{KeysetFile, KeysetKeys, NewKeyset};
use airseal_pack::output::{Access, Existing, write_file};
use airseal_pack::seal::{class_id, vendor_id};
use airseal_sim::agent::{Agent, Cuts, Event, Outcome};
use airseal_sim::fault::{FaultPlan, FaultTransport};
use airseal_sim::flash::{Cut, PowerCut, Torn};
use airseal_sim::home::Home;
use airseal_sim::https::{ClientError, HttpsClient};
use airseal_sim::random::Noise;
use airseal_sim::traffic::Traffic;
use airseal_sim::{Model, SimDevice};
use airseal_update::boot::ResetReason;
use airseal_update::{Factory, Policy, Refusal};

use crate::commands::shared::signing_public_key;
use crate::dates;
use crate::failure::Failure;
use crate::interrupt;
use crate::ui::Ui;

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
    after_help = "The first run makes the device and needs --vendor, --class and --trust or --keyset. STATE/device.pub is the key to\\nseal to. Without --server and --from it only boots. Exit code 0: it runs the newest release it can have."
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

    /// Take a sealed file without any server; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    from: Option<PathBuf>,

    /// Let power fail after every N chunks until the update is done, or at random
    #[arg(long, value_name = "N|random", value_parser = cuts)]
    cut_power_at: Option<Cuts>,

    /// Faults of the network or cable: a file with one per line, or cut@63%, stall@1000:5s, short@0, ...
    #[arg(long, value_name = "FILE")]
    faults: Option<String>,

    /// The new image fails its self-test
    #[arg(long)]
    fail_self_test: bool,

    /// The device's clock, to test the expiry date of releases [default: dates do not matter]
    #[arg(long, value_name = "TIME", value_parser = dates::parse)]
    clock: Option<u64>,

    /// Also write what happened to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

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

    /// Board revision
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        help_heading = "A new device"
    )]
    hw_rev: u16,

    /// Chip
    #[arg(
        long,
        value_name = "CHIP",
        default_value = "esp32c3",
        help_heading = "A new device"
    )]
    chip: String,

    /// Size of each of its two slots, KiB
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(16..=65536), help_heading = "A new device")]
    slot_kib: u32,

    /// It takes releases that are not encrypted
    #[arg(long, help_heading = "A new device")]
    allow_plain: bool,
}

/// What happened, for people and as JSON.
#[derive(Default, serde::Serialize)]
struct Report {
    device: String,
    enrolled_as: Option<String>,
    outcome: String,
    code: u16,
    version: Option<String>,
    digest: Option<String>,
    sequence: u64,
    security_version: u32,
    keyset_version: u32,
    power_cuts: u32,
    flash_operations: u64,
    traffic: Option<Traffic>,
    bytes_per_byte: Option<f64>,
    events: Vec<Event>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let Command::Device(args) = &args.command;
    let home = Home::new(&args.state);
    let device = open(&home, args, ui)?;
    let before = device.flash().operations();
    let mut report = Report::default();
    let (mut device, result) = match (&args.server, &args.from) {
        (Some(url), _) => online(device, url, &home, args, &mut report, ui)?,
        (None, from) => alone(device, from.as_deref(), args, &mut report, ui)?,
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
        write_file(path, &text, Existing::Replace, Access::Public)?;
    }
    ui.result(&report, text)?;
    result
}

/// One round against a server.
fn online(
    device: SimDevice,
    url: &str,
    home: &Home,
    args: &DeviceArgs,
    report: &mut Report,
    ui: &Ui,
) -> Result<(SimDevice, Result<(), Failure>), Failure> {
    let bar = ui.progress("installing", 1);
    let mut client = client(url, home, args)?;
    client.on_progress(bar.setter());
    if let Some(token) = claim(args)? {
        report.enrolled_as = Some(client.enroll(&device, &token).map_err(client_failure)?);
    }
    let mut agent = Agent::new(device, client);
    agent.cuts = args.cut_power_at.clone().unwrap_or(Cuts::Never);
    let passes = !args.fail_self_test;
    agent.set_self_test(move |_| passes);
    let outcome = agent.round(&mut |event| report.events.push(event));
    report.power_cuts = count_cuts(&report.events);
    let traffic = agent.client.traffic().clone();
    let once = traffic.payload - traffic.twice;
    report.bytes_per_byte = (once > 0).then(|| traffic.received as f64 / once as f64);
    report.traffic = Some(traffic);
    report.outcome = match &outcome {
        Ok(outcome) => format!("{outcome:?}").to_lowercase(),
        Err(error) => error.to_string(),
    };
    let result = match outcome {
        Ok(outcome) => verdict(outcome, &report.events),
        Err(error) => Err(client_failure(error)),
    };
    Ok((agent.device, result))
}

/// Boots, and takes a sealed file if there is one.
fn alone(
    mut device: SimDevice,
    from: Option<&Path>,
    args: &DeviceArgs,
    report: &mut Report,
    ui: &Ui,
) -> Result<(SimDevice, Result<(), Failure>), Failure> {
    power_on(&mut device).map_err(|refusal| refused(&refusal))?;
    report.outcome = "booted".to_owned();
    let Some(from) = from else {
        return Ok((device, Ok(())));
    };
    let bar = ui.progress("installing", 1);
    let mut input = Input::open(from, args)?;
    let taken = take(
        &mut device,
        &mut input,
        args.cut_power_at.as_ref(),
        &mut bar.setter(),
        &mut report.power_cuts,
    )?;
    let result = match taken.and_then(|()| try_new_image(&mut device, !args.fail_self_test)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::refused(
            "the new image failed its self-test; the device went back to the one before",
        )),
        Err(refusal) => Err(refused(&refusal)),
    };
    report.outcome = if result.is_ok() {
        "updated".to_owned()
    } else {
        "refused".to_owned()
    };
    Ok((device, result))
}

fn take(
    device: &mut SimDevice,
    input: &mut Input,
    cuts: Option<&Cuts>,
    progress: &mut dyn FnMut(u64, u64),
    happened: &mut u32,
) -> Result<Result<(), Refusal>, Failure> {
    let mut noise = Noise::new(device.flash().operations());
    loop {
        let distance = match cuts {
            Some(Cuts::Every(every)) => Some(*every),
            Some(Cuts::Random(most, _)) => Some(noise.below(*most)),
            _ => None,
        };
        let cut = distance.map(|distance| PowerCut {
            at: device.flash().operations() + distance,
            how: Cut::Torn(Torn::Words(noise.bits())),
        });
        device.flash_mut().set_cut(cut);
        let result = device.update_from(&mut input.reader, input.len, progress);
        if !device.flash().is_off() {
            device.flash_mut().set_cut(None);
            return Ok(result);
        }
        *happened += 1;
        interrupt::check()?;
        if let Err(refusal) = power_on(device) {
            return Ok(Err(refusal));
        }
        input.rewind()?;
    }
}

fn power_on(device: &mut SimDevice) -> Result<(), Refusal> {
    device.flash_mut().power_on();
    let selection = device.boot(ResetReason::Power)?;
    if selection.on_trial {
        device.confirm()?;
    }
    device.heal().map(|_| ())
}

fn try_new_image(device: &mut SimDevice, passes: bool) -> Result<bool, Refusal> {
    device.boot(ResetReason::Restart)?;
    if passes {
        device.confirm()?;
    } else {
        device.revert()?;
        device.boot(ResetReason::Restart)?;
    }
    Ok(passes)
}

/// A sealed file as a byte stream, with faults in it.
struct Input {
    reader: Box<dyn Read>,
    len: Option<u64>,
    path: PathBuf,
    plan: Option<FaultPlan>,
}

impl Input {
    fn open(path: &Path, args: &DeviceArgs) -> Result<Input, Failure> {
        let mut input = Input {
            reader: Box::new(io::empty()),
            len: None,
            path: path.to_owned(),
            plan: faults(args)?,
        };
        input.rewind()?;
        Ok(input)
    }

    fn rewind(&mut self) -> Result<(), Failure> {
        if self.path.as_os_str() == "-" {
            if self.len.is_some() {
                return Err(Failure::environment(
                    "power failed, and standard input can't be read again",
                )
                .hint("send the sealed file once more; the device goes on where it was"));
            }
            self.len = Some(0);
            return self.with_faults(Box::new(io::stdin()), None);
        }
        let failed =
            |error| Failure::io(format_args!("can't read {}", self.path.display()), &error);
        let file = File::open(&self.path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::refused(format_args!(
                "{}: is a directory, not a sealed file",
                self.path.display()
            )));
        }
        let len = metadata.is_file().then_some(metadata.len());
        self.with_faults(Box::new(file), len)
    }

    fn with_faults(&mut self, reader: Box<dyn Read>, len: Option<u64>) -> Result<(), Failure> {
        self.len = len;
        self.reader = match self.plan.take() {
            None => reader,
            Some(plan) => {
                let faults = FaultTransport::new(&plan, len.unwrap_or(FAULT_TOTAL));
                Box::new(FaultyInput { reader, faults })
            }
        };
        Ok(())
    }
}

struct FaultyInput {
    reader: Box<dyn Read>,
    faults: FaultTransport,
}

impl Read for FaultyInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.faults.read(&mut self.reader, buffer)
    }
}

fn open(home: &Home, args: &DeviceArgs, ui: &Ui) -> Result<SimDevice, Failure> {
    let failed =
        |error: io::Error| Failure::io(format_args!("can't use {}", home.dir().display()), &error);
    let mut device = if home.exists() {
        home.open().map_err(failed)?
    } else {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| {
            Failure::environment(format_args!("the system gives no random bytes: {error}"))
        })?;
        home.create(model(args, ui)?, &seed).map_err(failed)?
    };
    let public = PublicKey::Device(DevicePublicKey::X25519(device.public()));
    write_file(
        &home.dir().join("device.pub"),
        public_to_pem(&public).as_bytes(),
        Existing::Replace,
        Access::Public,
    )?;
    device.model_mut().policy.now = args.clock;
    Ok(device)
}

fn model(args: &DeviceArgs, ui: &Ui) -> Result<Model, Failure> {
    let missing = || {
        Failure::usage(format_args!("{} holds no device yet", args.state.display()))
            .hint("to make one, give --vendor NAME --class NAME and --trust PUB or --keyset FILE")
    };
    let vendor = args.vendor.as_deref().ok_or_else(missing)?;
    let class = args.class.as_deref().ok_or_else(missing)?;
    let keyset = match (&args.keyset, &args.trust) {
        (Some(path), _) => {
            let file = KeysetFile::read(path)?;
            file.trust(None)?;
            file.last()?.keyset.signed_bytes().to_vec()
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
            KeysetFile::create("keyset", &new)?.as_bytes().to_vec()
        }
        (None, None) => return Err(missing()),
    };
    let chip = Chip::from_name(&args.chip).ok_or_else(|| {
        Failure::usage(format_args!("no chip is called {}", args.chip)).hint("for example esp32c3")
    })?;
    let vendor_id = vendor_id(vendor);
    Ok(Model {
        vendor_id,
        class_id: class_id(vendor_id, class),
        hw_rev: args.hw_rev,
        chip: chip.id(),
        keyset,
        policy: Policy {
            allow_plain: args.allow_plain,
            ..Policy::default()
        },
        slot_len: args.slot_kib * 1024,
        factory: Some(Factory::default()),
    })
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
    let mut client = HttpsClient::new(url, &ca, &seed).map_err(Failure::usage)?;
    if let Some(plan) = faults(args)? {
        client.set_faults(Some(FaultTransport::new(&plan, FAULT_TOTAL)));
    }
    Ok(client)
}

fn claim(args: &DeviceArgs) -> Result<Option<String>, Failure> {
    match &args.claim_file {
        Some(file) => fs::read_to_string(file)
            .map(|text| Some(text.trim().to_owned()))
            .map_err(|error| {
                Failure::io(
                    format_args!("can't read the claim token in {}", file.display()),
                    &error,
                )
            }),
        None => Ok(std::env::var("AIRSEAL_CLAIM")
            .ok()
            .filter(|token| !token.is_empty())),
    }
}

fn faults(args: &DeviceArgs) -> Result<Option<FaultPlan>, Failure> {
    let Some(text) = &args.faults else {
        return Ok(None);
    };
    let plan = if Path::new(text).is_file() {
        let text = fs::read_to_string(text)
            .map_err(|error| Failure::io(format_args!("can't read {text}"), &error))?;
        FaultPlan::parse(&text)
    } else {
        FaultPlan::parse(&text.replace(',', "\n"))
    };
    plan.map(Some).map_err(Failure::usage)
}

fn finish(report: &mut Report, device: &mut SimDevice, before: u64) -> Result<(), Refusal> {
    let own = device.own()?;
    report.device = DevicePublicKey::X25519(device.public())
        .recipient_id()
        .to_string();
    report.version = match device.running() {
        Some(slot) => device.version_in(slot)?,
        None => None,
    };
    report.digest = own.digest.map(|digest| digest.to_string());
    report.sequence = own.order.release_seq.0;
    report.security_version = own.security_version.0;
    report.keyset_version = device.keyset_version()?.0;
    report.flash_operations = device.flash().operations() - before;
    Ok(())
}

fn count_cuts(events: &[Event]) -> u32 {
    let cuts = events
        .iter()
        .filter(|event| matches!(event, Event::PowerLost { .. }))
        .count();
    u32::try_from(cuts).unwrap_or(u32::MAX)
}

/// The exit code and the reason of a round, from what happened last.
fn verdict(outcome: Outcome, events: &[Event]) -> Result<(), Failure> {
    let last = events.iter().rev().find_map(|event| match event {
        Event::NoEnvelope { release } => Some(
            Failure::refused(format_args!(
                "release {release} is newer, but nobody has sealed it to this device"
            ))
            .hint("airseal envelope add, with device.pub of the state folder, then publish again"),
        ),
        Event::Held { release } => Some(
            Failure::refused(format_args!(
                "release {release} is held back from this device: it failed here three times"
            ))
            .hint("publish a repaired release"),
        ),
        Event::Refused { code, why, .. } => {
            Some(split(format_args!("the device says: {why}")).code(*code))
        }
        Event::ServerRefused { code: 0, why, .. } => {
            Some(split(format_args!("the server says: {why}")))
        }
        Event::ServerRefused { code, why, .. } => {
            Some(split(format_args!("the server says: {why}")).code(*code))
        }
        Event::Reverted { code, why, .. } => Some(
            split(format_args!(
                "the device went back to the release before: {why}"
            ))
            .code(*code),
        ),
        Event::Interrupted { why } => Some(Failure::environment(why)),
        _ => None,
    });
    match (outcome, last) {
        (Outcome::Updated, _) | (Outcome::Idle, None) => Ok(()),
        (_, Some(failure)) => Err(failure),
        (outcome, None) => Err(Failure::refused(format_args!(
            "the update ended with {outcome:?}"
        ))),
    }
}

fn split(text: fmt::Arguments<'_>) -> Failure {
    let text = text.to_string();
    match text.split_once("; ") {
        Some((what, hint)) => Failure::refused(what).hint(hint),
        None => Failure::refused(text),
    }
}

fn client_failure(error: ClientError) -> Failure {
    match error {
        ClientError::Refusal(refusal) => refused(&refusal),
        ClientError::Problem { code, title, .. } => {
            split(format_args!("the server says: {title}")).code(code)
        }
        ClientError::Address(why) => Failure::usage(why),
        other => Failure::environment(other),
    }
}

fn refused(refusal: &Refusal) -> Failure {
    split(format_args!("the device says: {refusal}")).code(refusal.code())
}

fn text(report: &Report) -> String {
    let running = match (&report.version, report.sequence) {
        (Some(version), number) => format!("{version} (number {number})"),
        (None, _) => "the factory image".to_owned(),
    };
    let mut text = format!(
        "device       {}\noutcome      {}\nrunning      {running}\n",
        report.device, report.outcome
    );
    if let Some(name) = &report.enrolled_as {
        text.push_str(&format!("enrolled as  {name}\n"));
    }
    if report.power_cuts > 0 {
        text.push_str(&format!("power failed {} times\n", report.power_cuts));
    }
    if let (Some(traffic), Some(ratio)) = (&report.traffic, report.bytes_per_byte) {
        text.push_str(&format!(
            "network      {} bytes of payload, {} of them twice ({ratio:.3} per byte)\n",
            traffic.payload, traffic.twice
        ));
    }
    text.push_str(&format!(
        "flash        {} operations\n",
        report.flash_operations
    ));
    text
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
/// What a percentage in a fault plan means when nobody knows the length: 1 MiB.
const FAULT_TOTAL: u64 = 1 << 20;
