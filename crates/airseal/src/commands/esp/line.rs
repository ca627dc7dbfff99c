use std::path::{Path, PathBuf};

use airseal_factory::line::decide::Next;
use airseal_factory::line::simulated::SimulatedBench;
use airseal_factory::line::station::{Station, Who};
use airseal_factory::line::tools::Tools;
use airseal_factory::status::{Counts, status};
use airseal_pack::open::OpenKey;
use serde::Serialize;

use crate::dates;
use crate::failure::Failure;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

/// Work at the bench: flash, burn, audit and record one board after the other
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(RunArgs),
    Status(StatusArgs),
    Scrap(ScrapArgs),
}

/// The station and its batch.
#[derive(Debug, clap::Args)]
struct StationArgs {
    /// The batch's folder
    #[arg(long, value_name = "DIR")]
    batch: PathBuf,

    /// The private key that opens the boxes (one of keys.at_rest)
    #[arg(long, value_name = "KEY")]
    key: PathBuf,

    /// Name of this station, for the journal
    #[arg(long, value_name = "NAME", default_value = "station-1")]
    station: String,

    /// Who works here, for the journal
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator", hide_env = true)]
    operator: String,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Do what the board on the bench needs; safe to repeat at any time
#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    station: StationArgs,

    /// The serial on the board's label
    #[arg(long, value_name = "SN")]
    serial: Option<String>,

    /// A board made of files in this folder: real espefuse on virtual eFuses, no port
    #[arg(long, value_name = "DIR")]
    simulate: PathBuf,

    /// MAC of a new simulated board
    #[arg(long, value_name = "MAC", default_value = "02:00:00:00:00:01")]
    mac: String,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,

    /// Folder of esptool and espefuse; without it, the first in PATH
    #[arg(long, value_name = "DIR")]
    tools: Option<PathBuf>,
}

/// Count the boards of a batch by how far they are
#[derive(Debug, clap::Args)]
struct StatusArgs {
    /// The batch's folder
    #[arg(long, value_name = "DIR")]
    batch: PathBuf,
}

/// Give a board up: its serial and keys are never used again
#[derive(Debug, clap::Args)]
struct ScrapArgs {
    #[command(flatten)]
    station: StationArgs,

    /// The serial on the board's label
    #[arg(long, value_name = "SN")]
    serial: String,

    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Serialize)]
struct Done {
    serial: String,
    was_finished: bool,
}

#[derive(Serialize)]
struct Planned {
    serial: Option<String>,
    steps: Vec<String>,
    reason: Option<String>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::Run(args) => run_board(args, ui),
        Command::Status(args) => show_status(&args.batch, ui),
        Command::Scrap(args) => {
            open(&args.station, ui)?.scrap(&args.serial, &args.reason)?;
            ui.note(format_args!("{} is scrapped", args.serial));
            Ok(())
        }
    }
}

fn clock() -> String {
    dates::show(dates::now())
}

fn open(args: &StationArgs, ui: &Ui) -> Result<Station<'static>, Failure> {
    let loaded = OpenKey::read(&args.key, &args.passphrase)?;
    loaded.warnings.iter().for_each(|warning| ui.warn(warning));
    let who = Who {
        station: args.station.clone(),
        operator: args.operator.clone(),
    };
    Ok(Station::open(&args.batch, loaded.key, who, &clock)?)
}

fn run_board(args: &RunArgs, ui: &Ui) -> Result<(), Failure> {
    let mut station = open(&args.station, ui)?;
    let tools = Tools::new(args.tools.as_deref());
    tools.check()?;
    let mut bench = SimulatedBench::open(tools, station.chip(), &args.simulate, &args.mac, station.flash_size())?;
    let serial = args.serial.as_deref();
    bench.set_label(serial.unwrap_or_default(), station.version());
    if args.dry_run {
        return ui.result(&planned(station.decide(&mut bench, serial)?), plan_text);
    }
    let done = station.run(&mut bench, serial)?;
    let done = Done {
        serial: done.serial,
        was_finished: done.was_finished,
    };
    ui.result(&done, |done: &Done| {
        let how = if done.was_finished { "was finished before" } else { "is finished" };
        format!("{} {how}\n", done.serial)
    })
}

fn planned(next: Next) -> Planned {
    match next {
        Next::Work { serial, tasks } => Planned {
            serial,
            steps: tasks.iter().map(|task| task.step().name().to_owned()).collect(),
            reason: None,
        },
        Next::Finished { serial } => Planned {
            serial: Some(serial),
            steps: Vec::new(),
            reason: Some("it is finished".to_owned()),
        },
        Next::Scrap { serial, why } => Planned {
            serial,
            steps: vec!["scrap".to_owned()],
            reason: Some(why),
        },
        Next::Refuse { why, .. } => Planned {
            serial: None,
            steps: Vec::new(),
            reason: Some(why),
        },
    }
}

fn plan_text(planned: &Planned) -> String {
    let serial = planned.serial.as_deref().unwrap_or("the next free serial");
    let steps = planned.steps.join(", ");
    match &planned.reason {
        None => format!("{serial}: {steps}\n"),
        Some(reason) if steps.is_empty() => format!("{serial}: nothing, {reason}\n"),
        Some(reason) => format!("{serial}: {steps}, {reason}\n"),
    }
}

fn show_status(batch: &Path, ui: &Ui) -> Result<(), Failure> {
    ui.result(&status(batch)?, |counts: &Counts| {
        format!(
            "{} finished, {} begun, {} scrapped, {} not begun\n",
            counts.finished, counts.begun, counts.scrapped, counts.free
        )
    })
}
