//! The place where a board sits: each step as the words of `esptool` and `espefuse`.
//!
//! Port and simulation differ in the words that name the board, and in who answers; everything else is here. No secret is
//! ever a word: keys go by file. `--force-write-always` is never said; `--force` only where the flash is encrypted already
//! and the files are ciphertext.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use airseal_esp::Chip;
use airseal_pack::Error;
use airseal_pack::esp::chip_state::ChipState;
use airseal_pack::esp::efuse_audit::EfuseState;

use super::connection::{Connection, Program};
use super::decide::Board;
use super::tools::words;
use crate::journal::is_mac;

/// How long the firmware may take to say who it is.
const BOOT_WAIT: Duration = Duration::from_secs(10);

/// `SECURE_DOWNLOAD_ENABLE` in the flags that `get-security-info` prints.
const SECURE_DOWNLOAD: u32 = 1 << 2;

/// What an error about the firmware's own words is about.
pub(crate) const FIRMWARE: &str = "the firmware";

/// A file for an address.
#[derive(Clone, Debug)]
pub struct FlashFile {
    /// Where.
    pub address: u32,
    /// The bytes, as the flash will hold them.
    pub path: PathBuf,
}

/// What a board of the batch must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The chip.
    pub chip: Chip,
    /// Oldest revision, major * 100 + minor.
    pub min_revision: u16,
    /// Bytes of flash.
    pub flash_size: u64,
}

/// What is written where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A blank chip: the whole flash is erased first.
    Blank,
    /// The eFuses are burned: the tool must be told that the files are ciphertext.
    Burned,
    /// A finished board, locked as a rule: nothing can be read or detected.
    Locked {
        /// Whether the whole flash is erased first.
        erase: bool,
    },
}

/// The board on the bench. Every call can fail and be repeated after a look.
pub struct Bench<'c> {
    connection: Box<dyn Connection + 'c>,
    expected: Expected,
    in_tools: Duration,
}

impl<'c> Bench<'c> {
    /// A bench for boards of a batch.
    pub fn new(connection: Box<dyn Connection + 'c>, expected: Expected) -> Bench<'c> {
        Bench {
            connection,
            expected,
            in_tools: Duration::ZERO,
        }
    }

    /// Time spent inside the programs so far.
    pub fn in_tools(&self) -> Duration {
        self.in_tools
    }

    /// What chip is there, and what is burned.
    ///
    /// # Errors
    /// `Io` if a program does not start; refused for another chip, or an older revision.
    pub fn look(&mut self) -> Result<Board, Error> {
        let chip = self.expected.chip;
        // The original chip has no such command, and no Secure Download Mode.
        if chip.name() != "esp32" {
            match self.esptool("no-reset", words(&[&"get-security-info"])) {
                Ok(text)
                    if security_flags(&text).is_some_and(|flags| flags & SECURE_DOWNLOAD != 0) =>
                {
                    return Ok(Board::Locked);
                }
                Ok(_) => {}
                Err(error) => return silent(error),
            }
        }
        let checked = self.espefuse(&words(&[&"check-error", &"summary", &"--format", &"json"]));
        let (text, block_error) = match checked {
            Ok(text) => (text, None),
            Err(error) if finds_errors(&error) => {
                // Noise on the wire can look like a bad block: a finding counts when it is there twice.
                let block_error = match self.espefuse(&words(&[&"check-error"])) {
                    Ok(_) => None,
                    Err(again) if finds_errors(&again) => Some(again.to_string()),
                    Err(other) => return Err(other),
                };
                let text = self.espefuse(&words(&[&"summary", &"--format", &"json"]))?;
                (text, block_error)
            }
            Err(error) if chip.name() == "esp32" => return silent(error),
            Err(error) => return Err(error),
        };
        let efuses = EfuseState::parse("the board's eFuses", text.as_bytes())?;
        let mac = mac_of(&efuses)?;
        let revision = ChipState::of(chip, &efuses)?.chip_revision;
        if revision < self.expected.min_revision {
            let shown = |revision: u16| format!("v{}.{}", revision / 100, revision % 100);
            return Err(Error::refused(
                format!("the board {mac}"),
                format!(
                    "has a chip of revision {}, chip.min_revision is {}",
                    shown(revision),
                    shown(self.expected.min_revision)
                ),
                "take a board with a newer chip",
            ));
        }
        refuse_misread(&efuses, &mac)?;
        Ok(Board::Open {
            mac,
            efuses,
            block_error,
        })
    }

    /// Erases and writes.
    ///
    /// # Errors
    /// Refused if the tool fails.
    pub fn write(&mut self, files: &[FlashFile], how: Write) -> Result<(), Error> {
        let mut call = words(&[&"write-flash"]);
        let mut size = "keep".to_owned();
        match how {
            Write::Blank => call.push("--erase-all".into()),
            Write::Burned => call.extend(words(&[&"--erase-all", &"--force"])),
            Write::Locked { erase } => {
                if erase {
                    let len = format!("{:#x}", self.expected.flash_size);
                    self.esptool(
                        "no-reset",
                        words(&[&"erase-region", &"--force", &"0x0", &len]),
                    )?;
                }
                call.push("--force".into());
                size = format!("{}MB", self.expected.flash_size >> 20);
            }
        }
        call.extend(words(&[
            &"--flash-mode",
            &"keep",
            &"--flash-freq",
            &"keep",
            &"--flash-size",
            &size,
        ]));
        call.extend(places(files));
        self.esptool("no-reset", call).map(drop)
    }

    /// Reads back and compares.
    ///
    /// # Errors
    /// Refused if a byte differs, or the tool fails.
    pub fn verify(&mut self, files: &[FlashFile]) -> Result<(), Error> {
        let mut call = words(&[&"verify-flash"]);
        call.extend(places(files));
        self.esptool("no-reset", call).map(drop)
    }

    /// One call that burns. What was burned is seen by the next look, whatever this returns.
    ///
    /// # Errors
    /// Refused with what the tool says.
    pub fn burn(&mut self, call: &[OsString]) -> Result<(), Error> {
        self.espefuse(call).map(drop)
    }

    /// Resets the board and waits for the line its firmware prints.
    ///
    /// # Errors
    /// Refused if none comes in time.
    pub fn boot(&mut self) -> Result<BootLine, Error> {
        let command = if self.expected.chip.name() == "esp32" {
            "chip-id"
        } else {
            "get-security-info"
        };
        let reset = self.esptool_words("hard-reset", words(&[&command]));
        let begun = Instant::now();
        let text =
            self.connection
                .listen(&reset, &|text| BootLine::find(text).is_some(), BOOT_WAIT);
        self.in_tools += begun.elapsed();
        let text = text?;
        BootLine::find(&text).ok_or_else(|| {
            let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
            Error::refused(
                FIRMWARE,
                format!(
                    "did not say `airseal: DEVICE_ID VERSION` within {} s; its last words: {}",
                    BOOT_WAIT.as_secs(),
                    last.unwrap_or("none")
                ),
                "another flash key, image or signature is in the chip, or its console is not on this port",
            )
        })
    }

    /// Whether the board's flash is as large as the batch wants it, right before it is erased; an open loader says so, and whose
    /// it is.
    ///
    /// # Errors
    /// Refused if it is smaller, its size can't be told, or the board is not the one with this MAC any more.
    pub fn check_flash(&mut self, mac: &str) -> Result<(), Error> {
        let text = self.esptool("no-reset", words(&[&"flash-id"]))?;
        if let Some(found) = mac_in(&text)
            && found != mac
        {
            return Err(Error::refused(
                "the board",
                format!("is now {found}, it was {mac}"),
                "put the first one back",
            ));
        }
        let found = text
            .lines()
            .find_map(|line| line.split_once("Detected flash size:"));
        let found = found.map(|(_, size)| size.trim().to_owned());
        let bytes = found.as_deref().and_then(bytes_of);
        match bytes {
            Some(bytes) if bytes >= self.expected.flash_size => Ok(()),
            _ => Err(Error::refused(
                "the flash",
                format!(
                    "has {}, the batch is for {}MB",
                    found.as_deref().unwrap_or("a size that esptool can't tell"),
                    self.expected.flash_size >> 20
                ),
                "take a board with the right flash",
            )),
        }
    }

    fn esptool(&mut self, after: &str, command: Vec<OsString>) -> Result<String, Error> {
        let call = self.esptool_words(after, command);
        self.call(Program::Esptool, &call)
    }

    fn esptool_words(&self, after: &str, command: Vec<OsString>) -> Vec<OsString> {
        let mut call = words(&[&"--chip", &self.expected.chip.name()]);
        call.extend(self.connection.place(Program::Esptool));
        call.extend(words(&[&"--before", &"default-reset", &"--after", &after]));
        call.extend(command);
        call
    }

    fn espefuse(&mut self, command: &[OsString]) -> Result<String, Error> {
        let mut call = words(&[&"--chip", &self.expected.chip.name()]);
        call.extend(self.connection.place(Program::Espefuse));
        call.extend(words(&[
            &"--before",
            &"default-reset",
            &"--after",
            &"no-reset",
            &"--do-not-confirm",
        ]));
        call.extend_from_slice(command);
        self.call(Program::Espefuse, &call)
    }

    fn call(&mut self, program: Program, call: &[OsString]) -> Result<String, Error> {
        let begun = Instant::now();
        let result = self.connection.call(program, call);
        self.in_tools += begun.elapsed();
        result
    }
}

/// What a device says when it starts: `airseal: DEVICE_ID VERSION`; the id is `-` for a device without a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootLine {
    /// The device id: that of its key, which is proof of the seed. Empty without a key.
    pub device_id: String,
    /// The version of the image that runs.
    pub version: String,
}

impl BootLine {
    /// The first whole line of this form; a logger's words may come before it.
    pub fn find(text: &str) -> Option<BootLine> {
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .filter_map(|line| line.split_once("airseal: "))
            .find_map(|(_, words)| {
                let mut words = words.split_whitespace();
                let id = words.next()?;
                let is_id = id == "-"
                    || (id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
                is_id.then_some(BootLine {
                    device_id: if id == "-" {
                        String::new()
                    } else {
                        id.to_ascii_lowercase()
                    },
                    version: words.next()?.to_owned(),
                })
            })
    }
}

/// The MAC in a summary, lower case with colons.
///
/// # Errors
/// Refused if there is none.
pub fn mac_of(efuses: &EfuseState) -> Result<String, Error> {
    let shown = efuses
        .field("MAC")
        .map(|field| field.shown.to_ascii_lowercase())
        .unwrap_or_default();
    match shown.get(..17) {
        Some(mac) if is_mac(mac) => Ok(mac.to_owned()),
        _ => Err(Error::refused(
            "the summary",
            format!("has no MAC: {shown:?}"),
            "look at cable and port, and run again",
        )),
    }
}

/// Two boards with one misread MAC would be one board.
fn refuse_misread(efuses: &EfuseState, mac: &str) -> Result<(), Error> {
    let shown = efuses.field("MAC").map(|field| field.shown.as_str());
    let is_ok = shown.is_some_and(|shown| shown.contains("OK"));
    if is_ok && mac != "00:00:00:00:00:00" {
        return Ok(());
    }
    Err(Error::refused(
        "the board",
        format!(
            "has the MAC {:?}: misread, or none",
            shown.unwrap_or_default()
        ),
        "look at cable and port, and run again; a chip without a MAC is put aside",
    ))
}

/// A loader that does not answer is a finding; everything else that a program says in trouble is an error.
fn silent(error: Error) -> Result<Board, Error> {
    match error {
        Error::Refused { message, .. } if is_silence(&message) => {
            Ok(Board::Silent { why: message })
        }
        other => Err(other),
    }
}

/// What esptool says when no loader answers (`loader.py`). One that is heard and does not hear is there.
fn is_silence(message: &str) -> bool {
    let silent = ["Failed to connect", "No serial data received"];
    silent.iter().any(|words| message.contains(words))
        && !message.contains("Download mode successfully detected")
}

/// What `check-error` says of a block, in its own words; a call that failed in any other way found nothing.
fn finds_errors(error: &Error) -> bool {
    matches!(error, Error::Refused { message, .. } if message.contains("Error(s) were detected in eFuses"))
}

/// The MAC that esptool prints once it is connected; chips with a longer one have this as their base.
fn mac_in(text: &str) -> Option<String> {
    let shown = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .and_then(|line| line.split_whitespace().next())
            .filter(|mac| mac.len() == 17)
            .map(str::to_ascii_lowercase)
    };
    shown("BASE MAC:").or_else(|| shown("MAC:"))
}

fn security_flags(text: &str) -> Option<u32> {
    let flags = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Flags: 0x"))?;
    u32::from_str_radix(flags.split_whitespace().next()?, 16).ok()
}

fn places(files: &[FlashFile]) -> Vec<OsString> {
    files
        .iter()
        .flat_map(|file| {
            [
                format!("{:#x}", file.address).into(),
                file.path.clone().into_os_string(),
            ]
        })
        .collect()
}

fn bytes_of(size: &str) -> Option<u64> {
    let (digits, shift) = match size.strip_suffix("MB") {
        Some(digits) => (digits, 20),
        None => (size.strip_suffix("KB")?, 10),
    };
    Some(digits.parse::<u64>().ok()? << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_hexadecimal_digits_and_nothing_else() {
        let summary = |mac: &str| {
            let text =
                format!(r#"{{"MAC": {{"value": "{mac}", "readable": true, "writeable": false}}}}"#);
            EfuseState::parse("x", text.as_bytes())
        };
        let efuses = summary("02:00:00:00:00:A1 (OK)").expect("a summary");
        assert_eq!(mac_of(&efuses).expect("a MAC"), "02:00:00:00:00:a1");
        let efuses = summary("02:00:00:00:00:+1 (OK)").expect("a summary");
        assert!(mac_of(&efuses).is_err());
    }
}
