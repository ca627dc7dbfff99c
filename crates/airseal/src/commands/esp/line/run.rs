//! One board.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use airseal_factory::line::bench::{Bench, mac_of};
use airseal_factory::line::decide::{Board, Next};
use airseal_factory::line::station::{Finished, Station};
use airseal_pack::esp::efuse_audit::EfuseState;
use serde::Serialize;

use super::place::{PlaceArgs, Purpose};
use super::{StationArgs, with_station};
use crate::failure::Failure;
use crate::ui::Ui;

/// Do what the board on the bench needs; safe to repeat at any time
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: airseal esp line run --batch 2648-A --key line.key --port /dev/ttyUSB0"
)]
pub(super) struct Args {
    #[command(flatten)]
    station: StationArgs,

    #[command(flatten)]
    place: PlaceArgs,

    /// The serial on the board's label, or what its QR code says
    #[arg(long, value_name = "SN")]
    serial: Option<String>,

    /// Only say what would be done; nothing is made or written
    #[arg(long)]
    dry_run: bool,

    /// With --dry-run: a chip as `espefuse summary --format json` shows it, in place of a board
    #[arg(long, value_name = "SUMMARY.json", requires = "dry_run", conflicts_with_all = ["port", "simulate"])]
    state: Option<PathBuf>,
}

#[derive(Serialize)]
pub(super) struct Done {
    serial: String,
    was_finished: bool,
    /// Time inside esptool and espefuse, and all there was, seconds.
    tools_seconds: f64,
    seconds: f64,
}

impl Done {
    pub(super) fn of(done: &Finished, bench: &Bench<'_>, all: Duration) -> Done {
        Done {
            serial: done.serial.clone(),
            was_finished: done.was_finished,
            tools_seconds: bench.in_tools().as_secs_f64(),
            seconds: all.as_secs_f64(),
        }
    }
}

#[derive(Serialize)]
struct Planned {
    serial: Option<String>,
    steps: Vec<PlannedStep>,
}

#[derive(Serialize)]
struct PlannedStep {
    step: &'static str,
    /// Calls of espefuse; key files are named by what is in them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    espefuse: Vec<Vec<String>>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    with_station(&args.station, ui, |station| {
        let serial = match &args.serial {
            Some(label) => Some(station.serial_on(label)?),
            None => args.place.label(station),
        };
        let serial = serial.as_deref();
        if args.dry_run {
            return dry_run(args, station, serial, ui);
        }
        let mut place = args.place.open(station, serial, Purpose::Work)?;
        let begun = Instant::now();
        let done = station.run(&mut place.bench, serial)?;
        let done = Done::of(&done, &place.bench, begun.elapsed());
        ui.result(&done, |done: &Done| {
            if done.was_finished {
                format!("{} was finished before\n", done.serial)
            } else {
                format!("{} is finished, in {:.1} s\n", done.serial, done.seconds)
            }
        })
    })
}

fn dry_run(
    args: &Args,
    station: &Station<'_>,
    serial: Option<&str>,
    ui: &Ui,
) -> Result<(), Failure> {
    let board = match &args.state {
        Some(path) => {
            let efuses = EfuseState::read(path)?;
            Board::Open {
                mac: mac_of(&efuses)?,
                efuses,
                block_error: None,
            }
        }
        None => {
            let mut place = args.place.open(station, serial, Purpose::Look)?;
            place.bench.look()?
        }
    };
    match station.decide(&board, serial)? {
        Next::Work { serial, tasks } => {
            let steps = tasks.iter().map(|task| PlannedStep {
                step: task.step().name(),
                espefuse: Station::burn_words(task),
            });
            let planned = Planned {
                serial,
                steps: steps.collect(),
            };
            ui.result(&planned, plan_text)
        }
        Next::Finished { serial } => Err(Failure::refused(format_args!(
            "the board is finished: encrypted already, record {serial}"
        ))
        .hint("nothing is to be done; a returned board is written anew with `esp line reflash`")),
        Next::Scrap { serial, why } => Err(Failure::refused(format_args!(
            "board {}: it looks like scrap: {why}",
            serial.unwrap_or_default()
        ))
        .hint("look at cable and port and run again; if it stays so, `esp line scrap` gives it up with its keys")),
        Next::Refuse { why, remedy } => {
            Err(Failure::refused(format_args!("the board: {why}")).hint(remedy))
        }
    }
}

fn plan_text(planned: &Planned) -> String {
    let mut text = format!(
        "{}\n",
        planned.serial.as_deref().unwrap_or("the next free serial")
    );
    for step in &planned.steps {
        text.push_str(&format!("  {}\n", step.step));
        for call in &step.espefuse {
            text.push_str(&format!("    espefuse {}\n", call.join(" ")));
        }
    }
    text
}
