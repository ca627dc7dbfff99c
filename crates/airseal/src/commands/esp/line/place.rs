//! Where the board sits: at a port, or in a folder.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use airseal_factory::line::bench::Bench;
use airseal_factory::line::port::Port;
use airseal_factory::line::simulated::{Fault, Silicon, SimulatedBoard};
use airseal_factory::line::station::Station;
use airseal_factory::line::tools::Tools;
use airseal_factory::status::status;

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
        keep_apart(station.folder(), self.simulate.is_some())?;
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

    /// The label a simulated board has, where none is given: that of the board that comes next. In a folder that was named may lie
    /// any board, so only one that was begun is meant there.
    pub(super) fn label(&self, station: &Station<'_>) -> Option<String> {
        match &self.simulate {
            None => None,
            Some(None) => station.next_serial(),
            Some(Some(_)) => station.begun_serial(),
        }
    }
}

/// One batch has real boards or simulated ones: those use up serials, and leave their keys in a folder.
fn keep_apart(batch: &Path, simulated: bool) -> Result<(), Failure> {
    let mark = batch.join("simulated");
    let io = |what, error| airseal_pack::Error::io(what, &mark, error);
    let marked = match std::fs::symlink_metadata(&mark) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(io("look at", error).into()),
    };
    if marked && !simulated {
        return Err(Failure::refused(format_args!(
            "{}: the batch was run with simulated boards, whose keys lie in files",
            batch.display()
        ))
        .hint("prepare another batch for real boards"));
    }
    if marked || !simulated {
        return Ok(());
    }
    let boards = status(batch)?;
    if boards.begun + boards.finished + boards.scrapped > 0 {
        return Err(Failure::refused(format_args!(
            "{}: the batch has real boards: a simulated one would use up a serial and leave its keys in files",
            batch.display()
        ))
        .hint("prepare another batch to try the line"));
    }
    let made = DirBuilder::new().mode(0o700).create(&mark);
    Ok(made.map_err(|error| io("make", error))?)
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

#[cfg(test)]
mod tests {
    use airseal_factory::batch::{BatchFolder, Description};

    use super::*;

    #[test]
    fn a_batch_with_simulated_boards_gets_no_real_ones() {
        let room = tempfile::tempdir().expect("a folder");
        let mut description = Description::new("b", "p", "esp32c3", 1 << 22);
        description.serials = vec!["S1".to_owned()];
        let folder = BatchFolder::open(room.path()).expect("a batch");
        folder.describe(&description).expect("described");
        keep_apart(room.path(), false).expect("nothing is there");
        keep_apart(room.path(), true).expect("simulated");
        keep_apart(room.path(), true).expect("simulated");
        let why = keep_apart(room.path(), false).expect_err("keys in files");
        assert!(why.message.contains("simulated boards"), "{}", why.message);
    }
}
