//! Espressif's programs: the versions that are known, and calling them.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use airseal_pack::Error;

use super::process;

/// Versions the plans were tried with: from this one, below the next major one.
const OLDEST: (u32, u32) = (5, 6);
const NEXT_MAJOR: u32 = 6;

/// How long a call may take that neither burns nor writes.
const LIMIT: Duration = Duration::from_secs(120);

/// Bytes a second at least: 115200 baud carry some 11000, and ciphertext can't be compressed.
const SLOWEST: u64 = 4000;

/// What esptool waits for each MiB that is erased, and for a whole chip, is less (`targets/rom.py`, `loader.py`).
const ERASE_MIB: Duration = Duration::from_secs(60);
const ERASE_CHIP: Duration = Duration::from_secs(400);

/// Commands that can't be taken back.
const BURNS: [&str; 4] = [
    "burn-key",
    "burn-efuse",
    "burn-block-data",
    "write-protect-efuse",
];

const INSTALL: &str = "install it: pip install esptool==5.6.0, and name its folder with --tools";

/// `esptool` and `espefuse`.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: Option<PathBuf>,
}

impl Tools {
    /// Those in `folder`, or the first in `PATH`.
    pub fn new(folder: Option<&Path>) -> Tools {
        Tools {
            folder: folder.map(Path::to_owned),
        }
    }

    /// Checks that both are there in a version that is known; returns the versions.
    ///
    /// # Errors
    /// `Io` if one does not start; refused for a version that was never tried.
    pub fn check(&self) -> Result<[String; 2], Error> {
        Ok([
            self.version("esptool", "version")?,
            self.version("espefuse", "--help")?,
        ])
    }

    /// Runs one to its end and returns what it printed.
    ///
    /// It runs in a process group of its own, so that Ctrl-C in the terminal can't end it between two eFuse blocks.
    ///
    /// # Errors
    /// `Io` if it does not start; refused with its last words if it fails, or does not end in time.
    pub fn run(&self, program: &str, words: &[OsString]) -> Result<String, Error> {
        let path = self.path(program);
        let mut command = Command::new(&path);
        command
            .args(words)
            .env("ESPTOOL_CFGFILE", "/dev/null")
            .env_remove("ESPRESSIF_IDE_WS")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "200");
        let limit = limit(words);
        let ended = process::run(&mut command, limit).map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                return Error::refused(path.display().to_string(), "is not there", INSTALL);
            }
            Error::io("start", &path, error)
        })?;
        let Some(status) = ended.status else {
            return Err(Error::refused(
                program,
                format!(
                    "did not end within {} s, and was killed",
                    limit.unwrap_or_default().as_secs()
                ),
                "look at cable, power and port, and run again",
            ));
        };
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        if status.success() {
            return Ok(text);
        }
        let errors = String::from_utf8_lossy(&ended.stderr);
        // espefuse prints the keys it is given to its standard output: of such a call only the errors are passed on.
        let shows_keys = words.iter().any(|word| word == "burn-key");
        let printed = last_words(&text).filter(|_| !shows_keys);
        Err(Error::refused(
            program,
            format!(
                "failed: {}",
                last_words(&errors)
                    .or(printed)
                    .map_or_else(|| format!("it says nothing ({status})"), str::to_owned)
            ),
            "look at cable, power and port; running again goes on where this stopped",
        ))
    }

    fn version(&self, program: &str, word: &str) -> Result<String, Error> {
        let text = self.run(program, &[word.into()])?;
        let version = text.split_whitespace().filter_map(parse_version).next();
        let Some((major, minor, shown)) = version else {
            return Err(Error::refused(program, "does not say its version", INSTALL));
        };
        if (major, minor) < OLDEST || major >= NEXT_MAJOR {
            return Err(Error::refused(
                program,
                format!(
                    "has version {shown}; the plans were tried with {}.{} and later, below {NEXT_MAJOR}",
                    OLDEST.0, OLDEST.1
                ),
                "pin the tools of the station: pip install esptool==5.6.0",
            ));
        }
        Ok(shown)
    }

    fn path(&self, program: &str) -> PathBuf {
        match &self.folder {
            Some(folder) => folder.join(program),
            None => PathBuf::from(program),
        }
    }
}

/// How long a call may take, from what it has to carry; one that burns is never killed, since it would leave a chip half burned.
fn limit(words: &[OsString]) -> Option<Duration> {
    let has = |names: &[&str]| {
        words
            .iter()
            .any(|word| names.iter().any(|name| word == name))
    };
    if has(&BURNS) {
        return None;
    }
    let mut limit = LIMIT;
    if has(&["write-flash", "verify-flash"]) {
        let files = words
            .iter()
            .filter_map(|word| Path::new(word).metadata().ok());
        let bytes: u64 = files.filter(Metadata::is_file).map(|file| file.len()).sum();
        limit += Duration::from_secs(bytes / SLOWEST);
    }
    if has(&["--erase-all"]) {
        limit += ERASE_CHIP;
    }
    if has(&["erase-region"]) {
        let len = words.last().and_then(|word| word.to_str());
        let len = len.and_then(|len| u32::from_str_radix(len.trim_start_matches("0x"), 16).ok());
        limit += ERASE_MIB * len.unwrap_or_default().div_ceil(1 << 20);
    }
    Some(limit)
}

/// The words of a call, from pieces.
pub(crate) fn words(pieces: &[&dyn AsRef<OsStr>]) -> Vec<OsString> {
    pieces
        .iter()
        .map(|piece| piece.as_ref().to_owned())
        .collect()
}

fn parse_version(word: &str) -> Option<(u32, u32, String)> {
    let shown = word.strip_prefix('v').unwrap_or(word);
    let mut numbers = shown.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    numbers.next()?;
    Some((major, minor, shown.to_owned()))
}

/// What went wrong: the program's own words for it, else its last line that is no decoration.
fn last_words(text: &str) -> Option<&str> {
    let decoration = |letter: char| letter.is_whitespace() || letter == '│';
    let fatal = text
        .lines()
        .find_map(|line| line.split_once("fatal error occurred: "));
    let fatal = fatal.map(|(_, words)| words.trim());
    fatal.filter(|words| !words.is_empty()).or_else(|| {
        text.lines()
            .map(|line| line.trim_matches(decoration))
            .rfind(|line| line.chars().any(char::is_alphanumeric))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_time_that_its_bytes_take_and_a_burning_one_has_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("image.bin");
        std::fs::write(&image, vec![0; 3 << 20]).expect("a file");
        let seconds = |words: &[OsString]| limit(words).map(|limit| limit.as_secs());
        assert_eq!(seconds(&words(&[&"get-security-info"])), Some(120));
        // At 11000 bytes a second, and what esptool allows for the erasing.
        let write = words(&[&"write-flash", &"--erase-all", &"0x0", &image]);
        assert!(seconds(&write).is_some_and(|limit| limit > (3 << 20) / 11_000 * 2 + 120));
        let erase = words(&[&"erase-region", &"--force", &"0x0", &"0x4000000"]);
        assert!(seconds(&erase).is_some_and(|limit| limit >= 64 * 40));
        for name in BURNS {
            assert_eq!(seconds(&words(&[&"summary", &name])), None);
        }
    }
}
