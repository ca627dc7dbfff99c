//! A board made of files: the real `espefuse` on virtual eFuses, and a file in place of the flash.
//!
//! It stands behind the same words as a port does. `esptool`, which has no virtual mode, is played here: what it refuses
//! on a locked or encrypted chip is refused here too. The folder stands for the silicon: like a chip it keeps the keys that
//! were burned where no tool reads them. A boot is played from flash file, keys and eFuses by `flash-check`.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use airseal_esp::Chip;
use airseal_pack::Error;
use airseal_pack::output::{Access, Existing, write_file};

mod boot;
mod burn;
mod esptool;
mod fault;

pub use boot::KnownImage;
use burn::Burning;
pub use fault::Fault;

use super::connection::{Connection, Program};
use super::tools::{Tools, words};
use crate::secrets::shred;

/// What a new simulated board is made as.
#[derive(Clone, Debug)]
pub struct Silicon {
    /// The chip.
    pub chip: Chip,
    /// Its revision, major * 100 + minor.
    pub revision: u16,
    /// Lower case, with colons.
    pub mac: String,
    /// Bytes of flash.
    pub flash_size: u64,
    /// Where the bootloader looks for the partition table.
    pub table_offset: u32,
    /// Images whose firmware prints another version than its descriptor has.
    pub images: Vec<KnownImage>,
}

/// The simulated board.
pub struct SimulatedBoard {
    tools: Tools,
    silicon: Silicon,
    folder: PathBuf,
    calls: Vec<Vec<String>>,
    fault: Option<(usize, Fault)>,
    pieces: Option<usize>,
    burned_at_start: Option<&'static str>,
}

/// What the serial loader still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loader {
    Open,
    Secure,
    Silent,
}

impl SimulatedBoard {
    /// The board in `folder`; a new one, as `silicon` says, if the folder is empty. A board keeps the MAC it was made with.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(tools: Tools, folder: &Path, silicon: Silicon) -> Result<SimulatedBoard, Error> {
        // It holds keys: a chip lets nobody read them either.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| Error::io("make", folder, error))?;
        let mut board = SimulatedBoard {
            tools,
            silicon,
            folder: folder.to_owned(),
            calls: Vec::new(),
            fault: None,
            pieces: None,
            burned_at_start: None,
        };
        let path = board.file("mac");
        if path.exists() {
            board.silicon.mac =
                std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
        } else {
            board.erase(0, board.silicon.flash_size)?;
            board.save("mac", board.silicon.mac.as_bytes())?;
        }
        Ok(board)
    }

    /// Lets the fault strike at call number `at`, from 0.
    pub fn set_fault(&mut self, at: usize, fault: Fault) {
        self.fault = Some((at, fault));
    }

    /// Firmware that burns this field whenever it starts, as ESP-IDF does for some of its options.
    pub fn set_burned_at_start(&mut self, field: &'static str) {
        self.burned_at_start = Some(field);
    }

    /// In how many pieces the call that a kill struck does its work.
    pub fn struck_pieces(&self) -> Option<usize> {
        self.pieces
    }

    /// Every call so far: the program, then its words.
    pub fn calls(&self) -> &[Vec<String>] {
        &self.calls
    }

    /// The flash.
    pub fn flash(&self) -> PathBuf {
        self.file("flash.bin")
    }

    /// The summary of the eFuses, as espefuse prints it, even where no tool could read it from a chip.
    ///
    /// # Errors
    /// As [`Tools::run`].
    pub fn summary(&self) -> Result<String, Error> {
        let mut call = words(&[&"--chip", &self.silicon.chip.name()]);
        call.extend(self.place(Program::Espefuse));
        call.extend(words(&[&"summary", &"--format", &"json"]));
        self.espefuse(&call)
    }

    fn espefuse(&self, call: &[OsString]) -> Result<String, Error> {
        let text = self.tools.run(Program::Espefuse.name(), call)?;
        Ok(if text.contains('{') {
            self.with_identity(&text)
        } else {
            text
        })
    }

    /// A virtual chip has no MAC and no revision: those of this board are put into the summary.
    fn with_identity(&self, text: &str) -> String {
        let start = text.find('{').unwrap_or(0);
        let Ok(mut summary) =
            serde_json::from_str::<serde_json::Value>(text.get(start..).unwrap_or_default())
        else {
            return text.to_owned();
        };
        if let Some(mac) = summary
            .get_mut("MAC")
            .and_then(|field| field.get_mut("value"))
        {
            *mac = format!("{} (OK)", self.silicon.mac).into();
        }
        let revision = self.silicon.revision;
        for (name, number) in [
            ("WAFER_VERSION_MAJOR", revision / 100),
            ("WAFER_VERSION_MINOR", revision % 100),
        ] {
            if let Some(field) = summary
                .get_mut(name)
                .and_then(serde_json::Value::as_object_mut)
            {
                field.insert("value".to_owned(), number.into());
                field.insert("raw_value".to_owned(), format!("{number:#x}").into());
            }
        }
        format!("{}{summary:#}\n", text.get(..start).unwrap_or_default())
    }

    fn loader(&self) -> Loader {
        if self.is_burned("DIS_DOWNLOAD_MODE") || self.is_burned("UART_DOWNLOAD_DIS") {
            Loader::Silent
        } else if self.is_burned("ENABLE_SECURITY_DOWNLOAD") {
            Loader::Secure
        } else {
            Loader::Open
        }
    }

    fn is_burned(&self, name: &str) -> bool {
        let burned = std::fs::read_to_string(self.file("burned")).unwrap_or_default();
        burned.lines().any(|line| line == name)
    }

    fn burn(&self, call: &[OsString], killed: Option<usize>) -> Result<String, Error> {
        let Some(burning) = Burning::parse(self.silicon.chip, call) else {
            return self.espefuse(call);
        };
        let (burning, text) = match killed {
            None => {
                let text = self.espefuse(&burning.whole())?;
                (burning, text)
            }
            Some(pieces) => {
                let burning = burning.first(pieces);
                self.burn_pieces(&burning)?;
                (burning, String::new())
            }
        };
        for (name, path) in burning.secrets() {
            let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
            self.save(name, &bytes)?;
        }
        let path = self.file("burned");
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| {
                burning
                    .fields()
                    .try_for_each(|name| writeln!(file, "{name}"))
            })
            .map_err(|error| Error::io("write", &path, error))?;
        if self.loader() != Loader::Open {
            // No tool reads it any more; people and `airseal esp flash-check --efuses` still can.
            self.save("summary.json", self.summary()?.as_bytes())?;
        }
        Ok(text)
    }

    /// As far as it came.
    fn burn_pieces(&self, burning: &Burning) -> Result<(), Error> {
        let files = RefCell::new(Vec::new());
        let calls = burning.calls(|name, bytes| {
            self.save(name, bytes)?;
            let path = self.file(name);
            files.borrow_mut().push(path.clone());
            Ok(path.into_os_string())
        });
        let burned = calls.and_then(|calls| {
            calls
                .iter()
                .try_for_each(|call| self.espefuse(call).map(drop))
        });
        files.borrow().iter().try_for_each(|file| shred(file))?;
        burned
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn save(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.file(name);
        write_file(&path, bytes, Existing::Replace, Access::Owner)
    }

    /// One call with its fault. A kill is the business of `work`, which gets the number of pieces that are still done.
    fn strike(
        &mut self,
        work: impl FnOnce(&Self, Option<usize>) -> Result<String, Error>,
    ) -> Result<String, Error> {
        let number = self.calls.len().wrapping_sub(1);
        let fault = self
            .fault
            .filter(|(at, _)| *at == number)
            .map(|(_, fault)| fault);
        if fault == Some(Fault::Before) {
            return Err(fault::lost());
        }
        let killed = match fault {
            Some(Fault::Killed(pieces)) => Some(pieces),
            _ => None,
        };
        let done = work(self, killed)?;
        if fault.is_some() {
            Err(fault::lost())
        } else {
            Ok(done)
        }
    }

    fn note(&mut self, program: Program, call: &[OsString]) {
        let mut noted = vec![program.name().to_owned()];
        noted.extend(call.iter().map(|word| word.to_string_lossy().into_owned()));
        self.calls.push(noted);
    }
}

impl Connection for SimulatedBoard {
    fn place(&self, program: Program) -> Vec<OsString> {
        match program {
            Program::Esptool => words(&[&"--port", &self.folder]),
            Program::Espefuse => {
                words(&[&"--virt", &"--path-efuse-file", &self.file("efuse.virt")])
            }
        }
    }

    fn call(&mut self, program: Program, call: &[OsString]) -> Result<String, Error> {
        self.note(program, call);
        if matches!(self.fault, Some((at, Fault::Killed(_))) if at + 1 == self.calls.len()) {
            self.pieces = Some(match program {
                Program::Esptool => esptool::pieces(call),
                Program::Espefuse => {
                    Burning::parse(self.silicon.chip, call).map_or(0, |burning| burning.len())
                }
            });
        }
        self.strike(|board, killed| match program {
            Program::Esptool => board.esptool(call, killed),
            Program::Espefuse => match board.loader() {
                Loader::Open => board.burn(call, killed),
                Loader::Secure => Err(fault::refused(
                    program,
                    "the chip is in Secure Download Mode",
                )),
                Loader::Silent => Err(fault::refused(
                    program,
                    "Failed to connect: No serial data received.",
                )),
            },
        })
    }

    fn listen(
        &mut self,
        reset: &[OsString],
        _: &dyn Fn(&str) -> bool,
        _: Duration,
    ) -> Result<String, Error> {
        self.note(Program::Esptool, reset);
        self.strike(|board, _| board.boot())
    }
}
