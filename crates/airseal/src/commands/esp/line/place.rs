//! Where the board sits: at a port, or in a folder.

use std::path::PathBuf;

use airseal_factory::line::bench::Bench;
use airseal_factory::line::port::Port;
use airseal_factory::line::simulated::{Fault, Silicon, SimulatedBoard};
use airseal_factory::line::station::Station;
use airseal_factory::line::tools::Tools;

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

impl PlaceArgs {
    /// The bench, its programs checked.
    pub(super) fn bench(
        &self,
        station: &Station<'_>,
        serial: Option<&str>,
    ) -> Result<Bench<'static>, Failure> {
        let tools = Tools::new(self.tools.as_deref());
        tools.check()?;
        let expected = station.expected();
        if let Some(port) = &self.port {
            return Ok(Bench::new(Box::new(Port::new(tools, port)), expected));
        }
        let Some(folder) = &self.simulate else {
            return Err(Failure::usage("no board is named").hint("give --port, or --simulate"));
        };
        let serial = serial.map(str::to_owned).or_else(|| station.next_serial());
        let serial = serial.ok_or_else(|| {
            Failure::refused("no serial is left, so no simulated board is made")
                .hint("close the batch")
        })?;
        let folder = folder
            .clone()
            .unwrap_or_else(|| station.folder().join("simulated").join(&serial));
        let silicon = Silicon {
            chip: expected.chip,
            revision: expected.min_revision,
            mac: station.simulated_mac(&serial),
            flash_size: expected.flash_size,
            table_offset: station.table_offset(),
            images: station.first_image()?.into_iter().collect(),
        };
        let mut board = SimulatedBoard::open(tools, &folder, silicon)?;
        if let Some((fault, at)) = self.fault {
            board.set_fault(at, fault);
        }
        Ok(Bench::new(Box::new(board), expected))
    }

    /// The label a simulated board has, where none is given: that of the board that comes next.
    pub(super) fn label(&self, station: &Station<'_>) -> Option<String> {
        self.simulate.as_ref().and_then(|_| station.next_serial())
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
