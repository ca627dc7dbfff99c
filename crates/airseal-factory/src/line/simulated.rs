//! A board made of files: the real `espefuse` on virtual eFuses, and a file in place of the flash.
//!
//! The folder stands for the silicon: like a chip it keeps the keys that were burned where no tool reads them.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use airseal_esp::Chip;
use airseal_pack::Error;
use airseal_pack::esp::efuse_audit::EfuseState;

use super::bench::{Bench, BootLine, FlashFile};
use super::decide::Board;
use super::tools::{Tools, words};

/// Where a fault strikes, counted over the life of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The cable falls out before the call.
    Before,
    /// The call does its work and its answer is lost.
    After,
    /// The tool is killed while it works.
    Killed,
}

/// The simulated board.
pub struct SimulatedBench {
    tools: Tools,
    chip: Chip,
    folder: PathBuf,
    flash_size: u64,
    /// Serial the operator scans when the loader tells nothing.
    label: String,
    version: String,
    calls: usize,
    fault: Option<(usize, Fault)>,
}

impl SimulatedBench {
    /// The board in `folder`; a new chip with `mac` if the folder is empty.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(
        tools: Tools,
        chip: Chip,
        folder: &Path,
        mac: &str,
        flash_size: u64,
    ) -> Result<SimulatedBench, Error> {
        std::fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
        let bench = SimulatedBench {
            tools,
            chip,
            folder: folder.to_owned(),
            flash_size,
            label: String::new(),
            version: String::new(),
            calls: 0,
            fault: None,
        };
        if !bench.file("mac").exists() {
            bench.save("mac", mac.as_bytes())?;
            bench.erase()?;
        }
        Ok(bench)
    }

    /// The label on the board, and the version its firmware reports.
    pub fn set_label(&mut self, serial: &str, version: &str) {
        serial.clone_into(&mut self.label);
        version.clone_into(&mut self.version);
    }

    /// Lets the fault strike at call number `at`, from 0.
    pub fn set_fault(&mut self, at: usize, fault: Fault) {
        self.fault = Some((at, fault));
    }

    /// Calls made so far.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// The flash.
    pub fn flash(&self) -> PathBuf {
        self.file("flash.bin")
    }

    /// The summary, as espefuse prints it.
    ///
    /// # Errors
    /// As [`Tools::run`].
    pub fn summary(&self) -> Result<String, Error> {
        self.espefuse(&words(&[&"summary", &"--format", &"json"]))
    }

    fn erase(&self) -> Result<(), Error> {
        let path = self.flash();
        let erased = vec![0xFF; usize::try_from(self.flash_size).unwrap_or(0)];
        std::fs::write(&path, erased).map_err(|error| Error::io("write", &path, error))
    }

    fn espefuse(&self, call: &[OsString]) -> Result<String, Error> {
        let efuses = self.file("efuse.virt");
        let mut all = words(&[
            &"--chip",
            &self.chip.name(),
            &"--virt",
            &"--path-efuse-file",
            &efuses,
            &"--do-not-confirm",
        ]);
        all.extend_from_slice(call);
        self.tools.run("espefuse", &all)
    }

    /// One call with its fault.
    fn call<T>(&mut self, work: impl FnOnce(&Self, Option<Fault>) -> Result<T, Error>) -> Result<T, Error> {
        let number = self.calls;
        self.calls += 1;
        let fault = self.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        let lost = || Error::refused("the board", "does not answer", "look at the cable, and run again");
        if fault == Some(Fault::Before) {
            return Err(lost());
        }
        let done = work(self, fault)?;
        if fault.is_some() { Err(lost()) } else { Ok(done) }
    }

    /// What the chip would know of the keys: kept when a burn took.
    fn keep_keys(&self, call: &[OsString]) -> Result<(), Error> {
        for (purpose, name) in [("HMAC_UP", "seed"), ("XTS", "flash-key"), ("flash_encryption", "flash-key")] {
            let at = call.iter().position(|word| word.to_string_lossy().starts_with(purpose));
            let Some(at) = at else { continue };
            let file = if purpose == "flash_encryption" { call.get(at + 1) } else { call.get(at.wrapping_sub(1)) };
            if let Some(file) = file {
                let path = Path::new(file);
                let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
                self.save(name, &bytes)?;
            }
        }
        Ok(())
    }

    fn locked(&self) -> Result<bool, Error> {
        let state = EfuseState::parse("the simulated board", self.summary()?.as_bytes())?;
        let set = |name: &str| state.field(name).is_some_and(|field| field.used);
        Ok(set("ENABLE_SECURITY_DOWNLOAD") || set("DIS_DOWNLOAD_MODE") || set("UART_DOWNLOAD_DIS"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn save(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.file(name);
        std::fs::write(&path, bytes).map_err(|error| Error::io("write", &path, error))
    }
}

impl Bench for SimulatedBench {
    fn look(&mut self) -> Result<Board, Error> {
        self.call(|bench, _| {
            if bench.locked()? {
                return Ok(Board::Locked {
                    serial: bench.label.clone(),
                });
            }
            let path = bench.file("mac");
            let mac = std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
            let check = bench.espefuse(&words(&[&"check-error"]));
            Ok(Board::Open {
                mac,
                efuses: EfuseState::parse("the simulated board", bench.summary()?.as_bytes())?,
                block_error: check.err().map(|error| error.to_string()),
            })
        })
    }

    fn write(&mut self, files: &[FlashFile]) -> Result<(), Error> {
        self.call(|bench, fault| {
            bench.erase()?;
            let path = bench.flash();
            let io = |error| Error::io("write", &path, error);
            let mut flash = OpenOptions::new().write(true).open(&path).map_err(io)?;
            let half = fault == Some(Fault::Killed);
            for file in files.iter().take(if half { files.len() / 2 } else { files.len() }) {
                let bytes = std::fs::read(&file.path).map_err(|error| Error::io("read", &file.path, error))?;
                flash.seek(SeekFrom::Start(u64::from(file.address))).map_err(io)?;
                flash.write_all(&bytes).map_err(io)?;
            }
            Ok(())
        })
    }

    fn verify(&mut self, files: &[FlashFile]) -> Result<(), Error> {
        self.call(|bench, _| {
            let path = bench.flash();
            let mut flash = File::open(&path).map_err(|error| Error::io("read", &path, error))?;
            for file in files {
                let want = std::fs::read(&file.path).map_err(|error| Error::io("read", &file.path, error))?;
                let mut found = vec![0; want.len()];
                flash
                    .seek(SeekFrom::Start(u64::from(file.address)))
                    .and_then(|_| flash.read_exact(&mut found))
                    .map_err(|error| Error::io("read", &path, error))?;
                if let Some(at) = want.iter().zip(&found).position(|(want, found)| want != found) {
                    return Err(Error::refused(
                        "the flash",
                        format!("differs at {:#x}", u64::from(file.address) + at as u64),
                        "write it again; a second failure means a bad flash chip",
                    ));
                }
            }
            Ok(())
        })
    }

    fn burn(&mut self, call: &[OsString]) -> Result<(), Error> {
        self.call(|bench, fault| {
            if fault == Some(Fault::Killed) {
                // Blocks are burned one by one, block 0 last: what is left is the keys alone.
                let keys = call.iter().position(|word| word == "burn-efuse").unwrap_or(call.len());
                let keys = call.get(..keys).unwrap_or_default();
                if !keys.is_empty() {
                    bench.espefuse(keys)?;
                    bench.keep_keys(keys)?;
                }
                return Ok(());
            }
            bench.espefuse(call)?;
            bench.keep_keys(call)
        })
    }

    fn boot(&mut self) -> Result<BootLine, Error> {
        self.call(|bench, _| {
            let path = bench.file("seed");
            let seed = std::fs::read(&path).unwrap_or_default();
            let device_id = match <[u8; 32]>::try_from(seed.as_slice()) {
                Ok(seed) => crate::record::device_id(&seed),
                Err(_) => String::new(),
            };
            Ok(BootLine {
                device_id,
                version: bench.version.clone(),
            })
        })
    }
}
