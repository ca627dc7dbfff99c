//! A board at a serial port.
//!
//! Written after the documentation and source of esptool 5.6; no real board was at hand when it was made.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airseal_pack::Error;
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcsetattr};

use super::connection::{Connection, Program};
use super::tools::{Tools, words};

/// Speed of the console, as ESP-IDF sets it.
const CONSOLE_BAUD: u32 = 115_200;

/// Most text of a firmware that is kept while waiting for its line.
const MAX_TEXT: usize = 1 << 20;

/// A port, and the programs that talk to what is behind it.
pub struct Port {
    tools: Tools,
    path: PathBuf,
}

impl Port {
    /// The port at `path`.
    pub fn new(tools: Tools, path: &Path) -> Port {
        Port {
            tools,
            path: path.to_owned(),
        }
    }

    /// Opened before the reset, so that the first words of the firmware are kept for us.
    fn open(&self) -> Result<File, Error> {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(flags).unwrap_or(0))
            .open(&self.path)
            .map_err(|error| Error::io("open", &self.path, error))
    }

    /// Bytes as they come, at the console's speed.
    fn set_raw(&self, port: &File) -> Result<(), Error> {
        if !isatty(port) {
            return Ok(());
        }
        let set = || {
            let mut settings = tcgetattr(port)?;
            settings.make_raw();
            settings.set_speed(CONSOLE_BAUD)?;
            tcsetattr(port, OptionalActions::Now, &settings)
        };
        set().map_err(|error| Error::io("set up", &self.path, error.into()))
    }
}

impl Connection for Port {
    fn place(&self, _: Program) -> Vec<OsString> {
        words(&[&"--port", &self.path])
    }

    fn call(&mut self, program: Program, call: &[OsString]) -> Result<String, Error> {
        self.tools.run(program.name(), call)
    }

    fn listen(
        &mut self,
        reset: &[OsString],
        enough: &dyn Fn(&str) -> bool,
        wait: Duration,
    ) -> Result<String, Error> {
        let mut port = self.open()?;
        self.set_raw(&port)?;
        // A loader that is closed answers no reset; the board may still be switched off and on by hand.
        let answer = self.tools.run(Program::Esptool.name(), reset);
        if let Err(error @ Error::Io { .. }) = answer {
            return Err(error);
        }
        // The tool had settings of its own.
        self.set_raw(&port)?;
        let until = Instant::now() + wait;
        let mut text = Vec::new();
        let mut block = [0; 4096];
        loop {
            match port.read(&mut block) {
                Ok(len) if len > 0 => {
                    text.extend_from_slice(block.get(..len).unwrap_or_default());
                    let shown = String::from_utf8_lossy(&text);
                    if enough(&shown) || text.len() > MAX_TEXT {
                        return Ok(shown.into_owned());
                    }
                    continue;
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(Error::io("read", &self.path, error)),
            }
            if Instant::now() >= until {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
