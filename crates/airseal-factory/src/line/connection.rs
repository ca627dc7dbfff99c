//! Where the words of a call end up: at a port, or at a board made of files.

use std::ffi::OsString;
use std::time::Duration;

use airseal_pack::Error;

/// One of Espressif's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Flash.
    Esptool,
    /// eFuses.
    Espefuse,
}

impl Program {
    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Program::Esptool => "esptool",
            Program::Espefuse => "espefuse",
        }
    }
}

/// The way to one board.
pub trait Connection {
    /// The words that name the board to a program.
    fn place(&self, program: Program) -> Vec<OsString>;

    /// Runs a program to its end and returns what it printed.
    ///
    /// # Errors
    /// `Io` if it does not start; refused with its last words if it fails.
    fn call(&mut self, program: Program, words: &[OsString]) -> Result<String, Error>;

    /// Runs `reset`, a call of `esptool` that leaves the board running, and returns what its firmware prints until `enough`
    /// says so or `wait` is over.
    ///
    /// # Errors
    /// As [`Connection::call`], and `Io` if the port can't be read.
    fn listen(
        &mut self,
        reset: &[OsString],
        enough: &dyn Fn(&str) -> bool,
        wait: Duration,
    ) -> Result<String, Error>;
}

impl<C: Connection + ?Sized> Connection for &mut C {
    fn place(&self, program: Program) -> Vec<OsString> {
        (**self).place(program)
    }

    fn call(&mut self, program: Program, words: &[OsString]) -> Result<String, Error> {
        (**self).call(program, words)
    }

    fn listen(
        &mut self,
        reset: &[OsString],
        enough: &dyn Fn(&str) -> bool,
        wait: Duration,
    ) -> Result<String, Error> {
        (**self).listen(reset, enough, wait)
    }
}
