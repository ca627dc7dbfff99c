//! A NOR flash with its real rules: programming clears bits, only an erase sets them, and
//! power can go in the middle of either.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

use crate::random::Noise;

/// Bytes of one erase sector.
pub const SECTOR: usize = 4096;
/// Bytes of one word, the least that is programmed.
pub const WORD: usize = 4;

/// A simulated NOR flash: 4-byte words, 4 KiB sectors.
///
/// One operation is one call that programs, or one sector that is erased. A word is
/// programmed once per erase, as flash with error correction demands; anything else is an
/// error of the caller. An operation that lost power leaves its words as not to be
/// programmed before a whole erase, even those that read as erased.
#[derive(Clone, Debug)]
pub struct SimFlash {
    bytes: Vec<u8>,
    programmed: Vec<bool>,
    erases: Vec<u32>,
    operations: u64,
    log: Vec<Operation>,
    tape: Option<Vec<Recorded>>,
    cut: Option<PowerCut>,
    is_off: bool,
}

/// The content, and which words can't be programmed any more: all that decides how a
/// device goes on after a reset.
impl Hash for SimFlash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
        for (i, word) in self.bytes.as_chunks::<WORD>().0.iter().enumerate() {
            if self.programmed[i] && *word == [0xFF; WORD] {
                i.hash(state);
            }
        }
    }
}

/// When and how the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// The operation it hits, counted from 0 since the flash was made.
    pub at: u64,
    /// Where in that operation.
    pub how: Cut,
}

/// Where in an operation the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Just before it.
    Before,
    /// In its middle.
    Torn(Torn),
    /// Just after it, before the caller hears of it.
    After,
}

/// What a torn operation leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// The first half is done, the rest untouched, the word between them mixed.
    Half,
    /// Every word is independently untouched, done or mixed; an erase leaves garbage.
    Words(u64),
    /// Every bit is independently old or new.
    Bits(u64),
}

impl Cut {
    /// Every way that the reports try, one of each kind; `seed` varies the noise.
    #[must_use]
    pub fn all(seed: u64) -> [Cut; 5] {
        [
            Cut::Before,
            Cut::Torn(Torn::Half),
            Cut::Torn(Torn::Words(seed)),
            Cut::Torn(Torn::Bits(seed ^ 0x55)),
            Cut::After,
        ]
    }
}

/// One operation that changed, or tried to change, the flash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Erased rather than programmed.
    pub is_erase: bool,
    /// The bytes it concerned.
    pub range: Range<usize>,
}

/// One operation with its data, to be done again on another flash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The sector at this offset was erased.
    Erase(usize),
    /// These bytes were programmed at this offset.
    Program(usize, Vec<u8>),
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashError {
    /// The power is off; see [`SimFlash::power_on`].
    PowerLost,
    /// Not aligned or out of bounds.
    Misuse(NorFlashErrorKind),
    /// Programming would have to set a bit, or the word was programmed since its erase.
    NotErased {
        /// Offset of the word.
        offset: usize,
    },
}

impl std::fmt::Display for FlashError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FlashError::PowerLost => f.write_str("the power is off"),
            FlashError::Misuse(kind) => write!(f, "{kind}"),
            FlashError::NotErased { offset } => {
                write!(f, "the word at {offset:#x} was programmed since its erase")
            }
        }
    }
}

impl std::error::Error for FlashError {}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            FlashError::Misuse(kind) => *kind,
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl SimFlash {
    /// An erased flash of `len` bytes, a multiple of [`SECTOR`] (rounded up).
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self::from_bytes(vec![0xFF; len])
    }

    /// A flash that holds `bytes`, filled up with erased ones to whole sectors.
    #[must_use]
    pub fn from_bytes(mut bytes: Vec<u8>) -> Self {
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0xFF);
        let programmed = bytes.as_chunks::<WORD>().0.iter();
        Self {
            programmed: programmed.map(|word| *word != [0xFF; WORD]).collect(),
            erases: vec![0; bytes.len() / SECTOR],
            bytes,
            operations: 0,
            log: Vec::new(),
            tape: None,
            cut: None,
            is_off: false,
        }
    }

    /// Reads the content from a file that [`save`](Self::save) wrote; an erased flash of
    /// `len` bytes when there is none.
    ///
    /// # Errors
    /// The file's error.
    pub fn load(path: &Path, len: usize) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) if bytes.len() == len => Ok(Self::from_bytes(bytes)),
            Ok(bytes) => Err(io::Error::other(format!(
                "{} holds {} bytes and this device's flash has {len}; use another state directory",
                path.display(),
                bytes.len()
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::new(len)),
            Err(error) => Err(error),
        }
    }

    /// Writes the content to a file, in one piece or not at all.
    ///
    /// # Errors
    /// The file's error.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut partial = PathBuf::from(path);
        partial.set_extension("partial");
        fs::write(&partial, &self.bytes)?;
        fs::rename(&partial, path)
    }

    /// The content.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Changes bytes behind the device's back, as an attacker or a fault would.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Operations since the flash was made.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Operations since the log was cleared.
    #[must_use]
    pub fn log(&self) -> &[Operation] {
        &self.log
    }

    /// Operations in the log that touched `range`.
    #[must_use]
    pub fn touched(&self, range: &Range<usize>) -> usize {
        let touches = |operation: &&Operation| {
            operation.range.start < range.end && range.start < operation.range.end
        };
        self.log.iter().filter(touches).count()
    }

    /// Forgets the log.
    pub fn clear_log(&mut self) {
        self.log.clear();
    }

    /// Records every operation from now on, with its data.
    pub fn start_recording(&mut self) {
        self.tape = Some(Vec::new());
    }

    /// Ends the recording and gives it out.
    pub fn take_recording(&mut self) -> Vec<Recorded> {
        self.tape.take().unwrap_or_default()
    }

    /// Does a recorded operation, with the power lost in it or not, and leaves power on.
    ///
    /// # Errors
    /// The rules of the flash forbid the operation.
    pub fn redo(&mut self, recorded: &Recorded, how: Option<Cut>) -> Result<(), FlashError> {
        let at = self.operations;
        self.set_cut(how.map(|how| PowerCut { at, how }));
        let done = match recorded {
            Recorded::Erase(at) => self.erase(*at as u32, (*at + SECTOR) as u32),
            Recorded::Program(at, bytes) => self.write(*at as u32, bytes),
        };
        self.power_on();
        match done {
            Err(FlashError::PowerLost) if how.is_some() => Ok(()),
            other => other,
        }
    }

    /// How often each sector was erased.
    #[must_use]
    pub fn wear(&self) -> &[u32] {
        &self.erases
    }

    /// Plans a power cut; `None` plans none.
    pub fn set_cut(&mut self, cut: Option<PowerCut>) {
        self.cut = cut;
    }

    /// True after a cut.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.is_off
    }

    /// Gives power back.
    pub fn power_on(&mut self) {
        self.is_off = false;
        self.cut = None;
    }

    /// Takes the power away between two operations.
    pub fn power_off(&mut self) {
        self.is_off = true;
    }

    /// Runs one operation under the planned cut.
    fn run(
        &mut self,
        operation: Operation,
        apply: impl Fn(&mut Self, Option<Torn>),
    ) -> Result<(), FlashError> {
        if self.is_off {
            return Err(FlashError::PowerLost);
        }
        let cut = self.cut.filter(|cut| cut.at == self.operations);
        self.operations += 1;
        match cut.map(|cut| cut.how) {
            Some(Cut::Before) => {}
            Some(Cut::Torn(torn)) => apply(self, Some(torn)),
            Some(Cut::After) | None => apply(self, None),
        }
        if cut.is_none_or(|cut| cut.how != Cut::Before) {
            self.log.push(operation);
        }
        if cut.is_some() {
            self.is_off = true;
            return Err(FlashError::PowerLost);
        }
        Ok(())
    }

    fn erase_sector(&mut self, at: usize, torn: Option<Torn>) {
        self.erases[at / SECTOR] += 1;
        for offset in (at..at + SECTOR).step_by(WORD) {
            let old = word(&self.bytes, offset);
            let new = match torn {
                None => u32::MAX,
                Some(torn) => torn_word(torn, at, SECTOR, offset, old, u32::MAX, true),
            };
            self.put(offset, new);
            self.programmed[offset / WORD] = torn.is_some();
        }
    }

    fn program(&mut self, at: usize, data: &[u8], torn: Option<Torn>) {
        for (i, chunk) in data.as_chunks::<WORD>().0.iter().enumerate() {
            let offset = at + i * WORD;
            let old = word(&self.bytes, offset);
            let wanted = old & u32::from_le_bytes(*chunk);
            let new = match torn {
                None => wanted,
                Some(torn) => torn_word(torn, at, data.len(), offset, old, wanted, false),
            };
            self.put(offset, new);
            self.programmed[offset / WORD] = true;
        }
    }

    fn put(&mut self, offset: usize, value: u32) {
        self.bytes[offset..offset + WORD].copy_from_slice(&value.to_le_bytes());
    }
}

impl ErrorType for SimFlash {
    type Error = FlashError;
}

impl ReadNorFlash for SimFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        if self.is_off {
            return Err(FlashError::PowerLost);
        }
        check_read(self, offset, bytes.len()).map_err(FlashError::Misuse)?;
        let at = offset as usize;
        bytes.copy_from_slice(&self.bytes[at..at + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for SimFlash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        check_erase(self, from, to).map_err(FlashError::Misuse)?;
        for at in (from as usize..to as usize).step_by(SECTOR) {
            let operation = Operation {
                is_erase: true,
                range: at..at + SECTOR,
            };
            self.run(operation, |flash, torn| flash.erase_sector(at, torn))?;
            if let Some(tape) = &mut self.tape {
                tape.push(Recorded::Erase(at));
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        check_write(self, offset, bytes.len()).map_err(FlashError::Misuse)?;
        let at = offset as usize;
        if let Some(i) = (at..at + bytes.len())
            .step_by(WORD)
            .find(|offset| self.programmed[offset / WORD])
            && !self.is_off
        {
            return Err(FlashError::NotErased { offset: i });
        }
        let operation = Operation {
            is_erase: false,
            range: at..at + bytes.len(),
        };
        self.run(operation, |flash, torn| flash.program(at, bytes, torn))?;
        if let Some(tape) = &mut self.tape {
            tape.push(Recorded::Program(at, bytes.to_vec()));
        }
        Ok(())
    }
}

fn word(bytes: &[u8], offset: usize) -> u32 {
    let mut out = [0; WORD];
    out.copy_from_slice(&bytes[offset..offset + WORD]);
    u32::from_le_bytes(out)
}

/// What a torn operation over `len` bytes at `start` leaves in the word at `offset`.
fn torn_word(
    torn: Torn,
    start: usize,
    len: usize,
    offset: usize,
    old: u32,
    new: u32,
    is_erase: bool,
) -> u32 {
    let noise = |seed: u64| {
        let mut noise = Noise::new(seed ^ (offset as u64) << 20);
        let bits = noise.bits();
        ((bits >> 32) as u32, bits as u32)
    };
    let mix = |mask: u32| (old & !mask) | (new & mask);
    match torn {
        Torn::Half => {
            let middle = start + len / 2 / WORD * WORD;
            match offset.cmp(&middle) {
                std::cmp::Ordering::Less => new,
                std::cmp::Ordering::Equal => mix(0x0F0F_3355),
                std::cmp::Ordering::Greater => old,
            }
        }
        Torn::Words(seed) => {
            let (choice, mask) = noise(seed);
            match choice % 3 {
                0 => old,
                1 => new,
                _ if is_erase => mask,
                _ => mix(mask),
            }
        }
        Torn::Bits(seed) => mix(noise(seed).1),
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]
mod tests {
    use super::*;

    #[test]
    fn programming_only_clears_bits_and_only_once_per_erase() {
        let mut flash = SimFlash::new(SECTOR);
        flash.write(0, &[0xF0, 0xFF, 0x00, 0xFF]).unwrap();
        assert_eq!(flash.bytes()[..4], [0xF0, 0xFF, 0x00, 0xFF]);
        let again = flash.write(0, &[0; 4]);
        assert_eq!(again, Err(FlashError::NotErased { offset: 0 }));
        flash.erase(0, 4096).unwrap();
        flash.write(0, &[0; 4]).unwrap();
        assert_eq!(flash.wear(), [1]);
    }

    #[test]
    fn a_cut_stops_everything_until_power_returns() {
        for (how, expected) in [
            (Cut::Before, [0xFF; 8]),
            (Cut::After, [0; 8]),
            (Cut::Torn(Torn::Half), [0, 0, 0, 0, 0xAA, 0xCC, 0xF0, 0xF0]),
        ] {
            let mut flash = SimFlash::new(SECTOR);
            flash.set_cut(Some(PowerCut { at: 0, how }));
            assert_eq!(flash.write(0, &[0; 8]), Err(FlashError::PowerLost));
            assert_eq!(flash.read(0, &mut [0; 4]), Err(FlashError::PowerLost));
            flash.power_on();
            assert_eq!(flash.bytes()[..8], expected, "{how:?}");
        }
    }

    #[test]
    fn what_a_torn_operation_touched_wants_a_whole_erase() {
        let mut flash = SimFlash::new(SECTOR);
        let half = Some(Cut::Torn(Torn::Half));
        flash
            .redo(&Recorded::Program(0, vec![0; 16]), half)
            .unwrap();
        assert_eq!(flash.bytes()[12..16], [0xFF; 4]);
        let on_torn = flash.write(12, &[0; 4]);
        assert_eq!(on_torn, Err(FlashError::NotErased { offset: 12 }));
        flash.redo(&Recorded::Erase(0), half).unwrap();
        let on_torn = flash.write(0, &[0; 4]);
        assert_eq!(on_torn, Err(FlashError::NotErased { offset: 0 }));
        flash.redo(&Recorded::Erase(0), None).unwrap();
        flash.write(0, &[0; 4]).unwrap();
    }

    #[test]
    fn a_recording_does_the_same_again() {
        let mut flash = SimFlash::new(2 * SECTOR);
        let mut copy = flash.clone();
        flash.start_recording();
        flash.write(8, &[1, 2, 3, 4]).unwrap();
        flash.erase(0, SECTOR as u32).unwrap();
        flash.write(SECTOR as u32, &[5; 8]).unwrap();
        for recorded in flash.take_recording() {
            copy.redo(&recorded, None).unwrap();
        }
        assert_eq!(copy.bytes(), flash.bytes());
        copy.redo(&Recorded::Erase(SECTOR), Some(Cut::Before))
            .unwrap();
        assert_eq!(copy.bytes(), flash.bytes());
    }

    #[test]
    fn torn_operations_only_move_bits_towards_their_goal() {
        let old = Noise::new(1).bytes(SECTOR);
        for torn in [Torn::Half, Torn::Words(3), Torn::Bits(4)] {
            let mut flash = SimFlash::new(SECTOR);
            flash.set_cut(Some(PowerCut {
                at: 0,
                how: Cut::Torn(torn),
            }));
            flash.write(0, &old).unwrap_err();
            let left = flash.bytes();
            assert!(
                left.iter()
                    .zip(&old)
                    .all(|(left, goal)| left & goal == *goal)
            );
            assert_ne!(left, old);
            assert_ne!(left, vec![0xFF; SECTOR]);
        }
    }
}
