use std::path::{Path, PathBuf};
use std::time::Instant;

use airseal_factory::journal::{Outcome, Step};
use airseal_factory::line::process::end_programs;
use airseal_factory::line::station::{Closed, Imported, Shift, Station, Which, Who};
use airseal_factory::line::work::WorkFolder;
use airseal_factory::prepare::TEST_KEY;
use airseal_factory::sealed::refuse_other;
use airseal_factory::status::{Counts, status};
use airseal_pack::open::OpenKey;
use serde::Serialize;

use crate::commands::shared::count;
use crate::dates;
use crate::failure::Failure;
use crate::interrupt;
use crate::passphrase::PassphraseArgs;
use crate::ui::Ui;

mod place;
mod run;

use place::{PlaceArgs, Purpose};

/// Work at the bench: flash, burn, audit and record one board after the other
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(run::Args),
    Status(StatusArgs),
    Reflash(ReflashArgs),
    Scrap(ScrapArgs),
    ImportKeys(ImportArgs),
    Close(CloseArgs),
}

/// The station and its batch.
#[derive(Debug, clap::Args)]
struct StationArgs {
    /// The batch's folder
    #[arg(long, value_name = "DIR")]
    batch: PathBuf,

    /// What `esp provision` printed for this batch: another batch, or other boxes in it, are refused
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,

    /// The private key that opens the boxes, one of keys.at_rest; a batch for tests brings its own
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,

    /// Name of this station, for the journal
    #[arg(long, value_name = "NAME", default_value = "station-1")]
    station: String,

    /// Who works here, for the journal
    #[arg(
        long,
        value_name = "NAME",
        env = "USER",
        default_value = "operator",
        hide_env = true
    )]
    operator: String,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Count the boards of a batch by how far they are
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airseal esp line status --batch 2648-A")]
struct StatusArgs {
    /// The batch's folder
    #[arg(long, value_name = "DIR")]
    batch: PathBuf,

    /// What `esp provision` printed for this batch: another batch, or other boxes in it, are refused
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
}

/// Write a finished board anew, as it left the line; its keys must have been kept (escrow)
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: airseal esp line reflash --batch 2648-A --key line.key --port /dev/ttyUSB0 --serial AL-2648-A-00001"
)]
struct ReflashArgs {
    #[command(flatten)]
    station: StationArgs,

    #[command(flatten)]
    place: PlaceArgs,

    /// The serial on the board's label, or what its QR code says; this or --mac is needed
    #[arg(
        long,
        value_name = "SN",
        conflicts_with = "mac",
        required_unless_present = "mac"
    )]
    serial: Option<String>,

    /// The chip's MAC
    #[arg(long, value_name = "MAC", value_parser = mac)]
    mac: Option<Which>,

    /// Write it though its firmware does not say who it is; under another board's label it would be lost
    #[arg(long)]
    silent_board: bool,
}

/// Give a board up: its serial and keys are never used again
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: airseal esp line scrap --batch 2648-A --serial AL-2648-A-00001 --reason drowned"
)]
struct ScrapArgs {
    #[command(flatten)]
    station: StationArgs,

    /// The serial on the board's label, or what its QR code says
    #[arg(long, value_name = "SN")]
    serial: String,

    /// Why, for the journal
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,

    /// Give up a board that is finished: its keys go, and its record is marked
    #[arg(long)]
    finished: bool,
}

#[derive(Serialize)]
struct Scrapped {
    serial: String,
    reason: String,
}

/// Take in flash keys of boards that were burned elsewhere, so that they can be written anew
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: airseal esp line import-keys --batch 2648-A --key line.key old-keys"
)]
struct ImportArgs {
    #[command(flatten)]
    station: StationArgs,

    /// Folder of key files named by MAC, such as a0b1c2d3e4f5.bin
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Close a batch: unused keys are destroyed, the report is written
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airseal esp line close --batch 2648-A --key line.key")]
struct CloseArgs {
    #[command(flatten)]
    station: StationArgs,

    /// Destroy the keys of serials that no board has, though boards are missing
    #[arg(long)]
    unused: bool,

    /// Only say how many keys would be destroyed
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::Run(args) => run::run(args, ui),
        Command::Status(args) => show_status(args, ui),
        Command::Reflash(args) => reflash(args, ui),
        Command::Scrap(args) => with_station(&args.station, ui, |station| {
            let scrapped = Scrapped {
                serial: station.serial_on(&args.serial)?,
                reason: args.reason.clone(),
            };
            station.scrap(&scrapped.serial, &scrapped.reason, args.finished)?;
            ui.result(&scrapped, |scrapped| {
                format!("{} is scrapped\n", scrapped.serial)
            })
        }),
        Command::ImportKeys(args) => with_station(&args.station, ui, |station| {
            let imported = station.import_keys(&args.folder)?;
            ui.result(&imported, import_text)
        }),
        Command::Close(args) => with_station(&args.station, ui, |station| {
            if args.dry_run {
                return ui.result(&station.would_close()?, would_close_text);
            }
            let closed = station.close(args.unused)?;
            ui.result(&closed, |closed| close_text(closed, &args.station.batch))
        }),
    }
}

/// One line of `--json` for each line of the journal.
#[derive(Serialize)]
struct StepEvent<'s> {
    event: &'static str,
    serial: &'s str,
    step: &'static str,
    outcome: Outcome,
}

/// Opens the station for some work; Ctrl-C stops between two steps, never within one.
fn with_station(
    args: &StationArgs,
    ui: &Ui,
    work: impl FnOnce(&mut Station<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let watch = |serial: &str, step: Step, outcome: Outcome| {
        if ui.json() {
            // A reader that went away stops no board; the result finds out.
            let _ = ui.value(&StepEvent {
                event: "step",
                serial,
                step: step.name(),
                outcome,
            });
        } else if outcome == Outcome::Begun {
            ui.note(format_args!("{serial} {}", step.name()));
        }
    };
    let clock = || dates::show(dates::now());
    let shift = Shift {
        who: Who {
            station: args.station.clone(),
            operator: args.operator.clone(),
        },
        clock: &clock,
        stop: Some(interrupt::flag()),
        watch: &watch,
    };
    let mut station = Station::open(&args.batch, key(args, ui)?, shift)?;
    if let Some(told) = &args.fingerprint {
        station.refuse_other(told)?;
    }
    // Only now is the batch locked: before, its key files may be those of a station at work.
    let batch = args.batch.clone();
    let says = (!ui.json()).then_some(
        "stops after this step; once more stops now, though not before eFuses that are being burned",
    );
    interrupt::finish_first(says, move || {
        end_programs();
        // What can't be removed now is removed by the next start.
        let _ = WorkFolder::clean(&batch);
    });
    work(&mut station)
}

fn key(args: &StationArgs, ui: &Ui) -> Result<Option<OpenKey>, Failure> {
    let for_tests = args.batch.join(TEST_KEY);
    let path = match &args.key {
        Some(path) => path,
        None if for_tests.exists() => &for_tests,
        None => return Ok(None),
    };
    let loaded = OpenKey::read(path, &args.passphrase)?;
    loaded.warnings.iter().for_each(|warning| ui.warn(warning));
    Ok(Some(loaded.key))
}

fn reflash(args: &ReflashArgs, ui: &Ui) -> Result<(), Failure> {
    with_station(&args.station, ui, |station| {
        let which = match (&args.serial, &args.mac) {
            (Some(label), _) => Which::Serial(station.serial_on(label)?),
            (None, Some(_)) if !args.place.is_named() => {
                return Err(
                    Failure::usage("a MAC does not say where the simulated board lies")
                        .hint("name its folder: --simulate DIR"),
                );
            }
            (None, Some(mac)) => mac.clone(),
            (None, None) => {
                return Err(Failure::usage("no board is named").hint("give --serial or --mac"));
            }
        };
        let serial = match &which {
            Which::Serial(serial) => Some(serial.as_str()),
            Which::Mac(_) => None,
        };
        let mut place = args.place.open(station, serial, Purpose::Return)?;
        let begun = Instant::now();
        let done = station.reflash(&mut place.bench, &which, args.silent_board)?;
        ui.result(&run::Done::of(&done, &place.bench, begun.elapsed()), |_| {
            format!("{} is written anew\n", done.serial)
        })
    })
}

fn mac(text: &str) -> Result<Which, String> {
    Which::mac(text)
        .ok_or_else(|| "needed are twelve hexadecimal digits, with or without colons".to_owned())
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a word about why is needed, for the journal".to_owned());
    }
    Ok(text.to_owned())
}

fn show_status(args: &StatusArgs, ui: &Ui) -> Result<(), Failure> {
    if let Some(told) = &args.fingerprint {
        refuse_other(&args.batch, told)?;
    }
    ui.result(&status(&args.batch)?, |counts: &Counts| {
        let closed = if counts.closed { "; closed" } else { "" };
        format!(
            "{} finished, {} begun, {} scrapped, {} not begun{closed}\n",
            counts.finished, counts.begun, counts.scrapped, counts.free
        )
    })
}

fn import_text(imported: &Imported) -> String {
    let skipped = if imported.skipped.is_empty() {
        String::new()
    } else {
        format!(", no MAC in the name of {}", imported.skipped.join(", "))
    };
    format!(
        "{} taken in, {} there already{skipped}\n",
        count(imported.taken.len(), "key", "keys"),
        imported.known
    )
}

fn would_close_text(closed: &Closed) -> String {
    format!(
        "{} finished, {} scrapped; would remove {} unused boxes\n",
        closed.counts.finished, closed.counts.scrapped, closed.unused_removed
    )
}

fn close_text(closed: &Closed, batch: &Path) -> String {
    format!(
        "{} finished, {} scrapped; {} removed; report in {}\n",
        closed.counts.finished,
        closed.counts.scrapped,
        count(closed.unused_removed, "unused box", "unused boxes"),
        batch.join("report.html").display()
    )
}
