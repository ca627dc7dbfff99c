//! `esptool` as far as the bench calls it, on a file in place of the flash.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::Path;

use airseal_pack::Error;

use super::fault::refused;
use super::{Loader, SimulatedBoard};
use crate::line::connection::Program;

const COMMANDS: [&str; 6] = [
    "get-security-info",
    "chip-id",
    "flash-id",
    "erase-region",
    "write-flash",
    "verify-flash",
];

/// Options of `write-flash` that a value follows.
const WITH_VALUE: [&str; 3] = ["--flash-mode", "--flash-freq", "--flash-size"];

/// Files that a call writes.
pub(super) fn pieces(call: &[OsString]) -> usize {
    Command::parse(call).map_or(0, |command| {
        if command.name == "write-flash" {
            command.places.len()
        } else {
            0
        }
    })
}

struct Command {
    name: String,
    options: Vec<String>,
    /// Address and file, or address and length.
    places: Vec<(u64, String)>,
}

impl Command {
    fn parse(call: &[OsString]) -> Option<Command> {
        let mut words = call.iter().map(|word| word.to_string_lossy().into_owned());
        let name = words.find(|word| COMMANDS.contains(&word.as_str()))?;
        let mut command = Command {
            name,
            options: Vec::new(),
            places: Vec::new(),
        };
        while let Some(word) = words.next() {
            if WITH_VALUE.contains(&word.as_str()) {
                words.next()?;
            } else if word.starts_with("--") {
                command.options.push(word);
            } else {
                let address = number(&word)?;
                command.places.push((address, words.next()?));
            }
        }
        Some(command)
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|known| known == option)
    }
}

impl SimulatedBoard {
    pub(super) fn esptool(
        &self,
        call: &[OsString],
        killed: Option<usize>,
    ) -> Result<String, Error> {
        let refuse = |why: &str| Err(refused(Program::Esptool, why));
        let Some(command) = Command::parse(call) else {
            return refuse("a command that the simulated board does not know");
        };
        let loader = self.loader();
        let name = command.name.as_str();
        match loader {
            Loader::Silent => return refuse("Failed to connect: No serial data received."),
            Loader::Secure
                if !["get-security-info", "erase-region", "write-flash"].contains(&name) =>
            {
                return refuse(&format!(
                    "The '{name}' command is not available in Secure Download Mode."
                ));
            }
            Loader::Open | Loader::Secure => {}
        }
        match name {
            "get-security-info" => Ok(format!(
                "Flags: {:#010x}\n",
                if loader == Loader::Secure { 4 } else { 0 }
            )),
            "flash-id" => Ok(format!(
                "MAC:                {}\nDetected flash size: {}MB\n",
                self.silicon.mac,
                self.silicon.flash_size >> 20
            )),
            "chip-id" => Ok(String::new()),
            "erase-region" => self.erase_region(&command, loader, killed),
            "write-flash" => self.write_flash(&command, killed),
            _ => self.verify_flash(&command),
        }
    }

    fn is_encrypted(&self) -> bool {
        self.is_burned("SPI_BOOT_CRYPT_CNT") || self.is_burned("FLASH_CRYPT_CNT")
    }

    fn erase_region(
        &self,
        command: &Command,
        loader: Loader,
        killed: Option<usize>,
    ) -> Result<String, Error> {
        if self.is_encrypted() && loader == Loader::Open && !command.has("--force") {
            return Err(refused(
                Program::Esptool,
                "Active security features detected, erasing flash is disabled as a safety measure.",
            ));
        }
        for (address, len) in &command.places {
            let len = number(len).unwrap_or(0);
            self.erase(*address, if killed.is_some() { len / 2 } else { len })?;
        }
        Ok(String::new())
    }

    fn write_flash(&self, command: &Command, killed: Option<usize>) -> Result<String, Error> {
        if self.is_encrypted() && !command.has("--force") {
            return Err(refused(
                Program::Esptool,
                "Flashing plaintext data may brick your device! Use the force argument to override the warning.",
            ));
        }
        if command.has("--erase-all") {
            self.erase(0, self.silicon.flash_size)?;
        }
        let whole = killed.unwrap_or(command.places.len());
        for (index, (address, file)) in command
            .places
            .iter()
            .enumerate()
            .take(whole.saturating_add(1))
        {
            let path = Path::new(file);
            let mut bytes = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
            let end = *address + bytes.len() as u64;
            if end > self.silicon.flash_size {
                return Err(refused(
                    Program::Esptool,
                    &format!("File '{file}' will not fit in the flash"),
                ));
            }
            let sectors = bytes.len().next_multiple_of(0x1000) as u64;
            self.erase(*address, sectors)?;
            if index == whole {
                bytes.truncate(bytes.len() / 2);
            }
            self.at(*address, |flash| flash.write_all(&bytes))?;
        }
        Ok(String::new())
    }

    fn verify_flash(&self, command: &Command) -> Result<String, Error> {
        for (address, file) in &command.places {
            let path = Path::new(file);
            let want = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
            let mut found = vec![0; want.len()];
            self.at(*address, |flash| flash.read_exact(&mut found))?;
            if let Some(at) = want
                .iter()
                .zip(&found)
                .position(|(want, found)| want != found)
            {
                let address = address + at as u64;
                return Err(refused(
                    Program::Esptool,
                    &format!("Verification failed: first difference at {address:#x}"),
                ));
            }
        }
        Ok(String::new())
    }

    pub(super) fn erase(&self, address: u64, len: u64) -> Result<(), Error> {
        let erased = vec![0xFF; usize::try_from(len).unwrap_or(0)];
        self.at(address, |flash| flash.write_all(&erased))
    }

    fn at(
        &self,
        address: u64,
        work: impl FnOnce(&mut File) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        let path = self.flash();
        let mut flash = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| Error::io("open", &path, error))?;
        flash
            .seek(SeekFrom::Start(address))
            .and_then(|_| work(&mut flash))
            .map_err(|error| Error::io("write", &path, error))
    }
}

fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}
