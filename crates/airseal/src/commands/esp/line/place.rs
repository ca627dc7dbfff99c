//! Where the board sits: at a port, or in a folder.

use std::path::{Path, PathBuf};

use airseal_factory::line::apart;
use airseal_factory::line::bench::Bench;
use airseal_factory::line::port::Port;
use airseal_factory::line::simulated::{Fault, Silicon, SimulatedBoard};
use airseal_factory::line::station::Station;
use airseal_factory::line::tools::Tools;
use tempfile::TempDir;

use crate::failure::Failure;

/// The place of a board.
#[derive(Debug, clap::Args)]
pub(super) struct PlaceArgs {
    /// The serial port of the board
    #[arg(long, value_name = "PORT", conflicts_with = "simulate")]
    port: Option<PathBuf>,

    /// A board made of files instead: real espefuse on virtual eFuses, no port [default folder: simulated/SERIAL in the
    /// batch]
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    simulate: Option<Option<PathBuf>>,

    /// With --simulate: let call N (from 0) go wrong; KIND is before, after or killed-PIECES
    #[arg(long, value_name = "KIND@N", value_parser = fault, requires = "simulate")]
    fault: Option<(Fault, usize)>,

    /// Folder of esptool and espefuse; without it, the first in PATH
    #[arg(long, value_name = "DIR")]
    tools: Option<PathBuf>,
}

/// What a board is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be made: a simulated one that is not there is made.
    Work,
    /// To be looked at: nothing is made or changed.
    Look,
    /// To be written anew: it must be there.
    Return,
}

/// A board on the bench.
pub(super) struct Place {
    pub(super) bench: Bench<'static>,
    /// A board that was made for a look is gone after it.
    _scratch: Option<TempDir>,
}

impl PlaceArgs {
    /// The bench, its programs checked.
    pub(super) fn open(
        &self,
        station: &Station<'_>,
        serial: Option<&str>,
        purpose: Purpose,
    ) -> Result<Place, Failure> {
        if self.port.is_none() && self.simulate.is_none() {
            return Err(Failure::usage("no board is named").hint("give --port, or --simulate"));
        }
        apart::check(station.folder(), self.simulate.is_some())?;
        let tools = Tools::new(self.tools.as_deref());
        tools.check()?;
        let Some(folder) = &self.simulate else {
            let port = self.port.as_deref().unwrap_or(Path::new(""));
            let port = Port::new(tools, port);
            return Ok(Place {
                bench: Bench::new(Box::new(port), station.expected()),
                _scratch: None,
            });
        };
        let serial = serial.map(str::to_owned).or_else(|| station.next_serial());
        let serial = serial.ok_or_else(|| {
            Failure::refused("no serial is left, so no simulated board is made")
                .hint("close the batch")
        })?;
        let folder = folder
            .clone()
            .unwrap_or_else(|| apart::folder_of(station.folder(), &serial));
        let is_there = folder.join("mac").exists();
        let scratch = match purpose {
            Purpose::Look if !is_there => Some(TempDir::new().map_err(|error| {
                Failure::environment(format_args!("can't make a folder: {error}"))
            })?),
            Purpose::Return if !is_there => {
                return Err(Failure::refused(format_args!(
                    "{}: holds no simulated board",
                    folder.display()
                ))
                .hint("name the board's folder: --simulate DIR"));
            }
            Purpose::Work | Purpose::Return => {
                // Without a key no board is made, and the batch stays free for real ones.
                if !apart::is_marked(station.folder())? {
                    station.needs_key()?;
                }
                apart::mark_simulated(station.folder())?;
                None
            }
            Purpose::Look => None,
        };
        let expected = station.expected();
        let silicon = Silicon {
            chip: expected.chip,
            revision: expected.min_revision,
            mac: station.simulated_mac(&serial),
            flash_size: expected.flash_size,
            table_offset: station.table_offset(),
            images: station.first_image()?.into_iter().collect(),
        };
        let folder = scratch.as_ref().map_or(folder.as_path(), TempDir::path);
        let mut board = SimulatedBoard::open(tools, folder, silicon)?;
        if let Some((fault, at)) = self.fault {
            board.set_fault(at, fault);
        }
        Ok(Place {
            bench: Bench::new(Box::new(board), expected),
            _scratch: scratch,
        })
    }

    /// The label a simulated board has, where none is given: that of the board that comes next. In a folder that was named may lie
    /// any board, so only one that was begun is meant there.
    pub(super) fn label(&self, station: &Station<'_>) -> Option<String> {
        match &self.simulate {
            None => None,
            Some(None) => station.next_serial(),
            Some(Some(_)) => station.begun_serial(),
        }
    }

    /// Whether the place of a simulated board is named, or there is none.
    pub(super) fn is_named(&self) -> bool {
        !matches!(self.simulate, Some(None))
    }
}

fn fault(text: &str) -> Result<(Fault, usize), String> {
    let (kind, at) = text
        .split_once('@')
        .ok_or("needed is KIND@N, such as before@3")?;
    let at = at
        .parse()
        .map_err(|_| format!("{at:?} is no number of a call"))?;
    Ok((kind.parse()?, at))
}
