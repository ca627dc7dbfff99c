//! What a station asks of the place where a board sits.

use std::ffi::OsString;
use std::path::PathBuf;

use airseal_pack::Error;

use super::decide::Board;

/// A file for an address.
#[derive(Clone, Debug)]
pub struct FlashFile {
    /// Where.
    pub address: u32,
    /// The bytes, as the flash will hold them.
    pub path: PathBuf,
}

/// The board on the bench. Every call can fail and be repeated after a look.
pub trait Bench {
    /// What chip is there, and what is burned.
    ///
    /// # Errors
    /// `Io` if no board answers; refused for another chip family, an older revision or a smaller flash.
    fn look(&mut self) -> Result<Board, Error>;

    /// Erases the flash and writes the files.
    ///
    /// # Errors
    /// `Io` if the tool fails.
    fn write(&mut self, files: &[FlashFile]) -> Result<(), Error>;

    /// Reads the files back and compares.
    ///
    /// # Errors
    /// Refused if a byte differs; `Io` if the tool fails.
    fn verify(&mut self, files: &[FlashFile]) -> Result<(), Error>;

    /// One call of `espefuse`. What was burned is seen by the next look, whatever this returns.
    ///
    /// # Errors
    /// Refused with what the tool says.
    fn burn(&mut self, words: &[OsString]) -> Result<(), Error>;

    /// Resets the board and waits for the line its firmware prints.
    ///
    /// # Errors
    /// Refused if none comes in time.
    fn boot(&mut self) -> Result<BootLine, Error>;
}

/// What a device says when it starts: `airseal: DEVICE_ID VERSION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootLine {
    /// The device id: that of its key, which is proof of the seed.
    pub device_id: String,
    /// The version of the image that runs.
    pub version: String,
}
