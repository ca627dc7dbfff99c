//! What goes wrong on a bench.

use std::str::FromStr;

use airseal_pack::Error;

use crate::line::connection::Program;

/// Where in a call a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The cable falls out before it.
    Before,
    /// The call does its work and its answer is lost.
    After,
    /// The program is killed when it has done this many pieces: keys and names that are burned, files that are written.
    Killed(usize),
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        match text.split_once('-') {
            None if text == "before" => Ok(Fault::Before),
            None if text == "after" => Ok(Fault::After),
            Some(("killed", pieces)) => pieces
                .parse()
                .map(Fault::Killed)
                .map_err(|error| error.to_string()),
            _ => Err("a fault is before, after or killed-N".to_owned()),
        }
    }
}

/// What a program says when the board is gone.
pub(super) fn lost() -> Error {
    Error::refused(
        "the board",
        "does not answer",
        "look at cable, power and port; running again goes on where this stopped",
    )
}

/// What a program refuses.
pub(super) fn refused(program: Program, why: &str) -> Error {
    Error::refused(
        program.name(),
        format!("failed: {why}"),
        "look at cable, power and port; running again goes on where this stopped",
    )
}
