//! NOR flash that behaves like the real one, also when power fails.
//!
//! Programming only clears bits, erasing sets a whole sector, words are 4 bytes. Every
//! program call and every erased sector is one operation; a [`PowerCut`] stops at one of
//! them, before, in the middle or after, and nothing works until [`SimFlash::power_on`].

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// Bytes of one erase unit.
pub const SECTOR: u32 = 4096;
/// Bytes of one program unit.
pub const WORD: usize = 4;

/// When and how power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// The operation it happens at, counted from the first one after power-on, from 0.
    pub at: u64,
    /// What becomes of that operation.
    pub how: Cut,
}

/// What becomes of the operation during which power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It does not start.
    Before,
    /// It is done in part.
    Torn(Tear),
    /// It is done whole, but the caller never hears of it.
    After,
}

impl Cut {
    /// Every way that is tried at each operation.
    pub const ALL: [Cut; 6] = [
        Cut::Before,
        Cut::Torn(Tear::FirstHalf),
        Cut::Torn(Tear::SecondHalf),
        Cut::Torn(Tear::SomeBits),
        Cut::Torn(Tear::OneBit),
        Cut::After,
    ];
}

/// Which part of an interrupted operation is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// The first half of the words, and some bits of the next.
    FirstHalf,
    /// All but the first half of the words: some chips program pages in any order.
    SecondHalf,
    /// In every word, some bits are changed and others not yet.
    SomeBits,
    /// A single bit is changed.
    OneBit,
}

/// Simulated NOR flash.
#[derive(Debug)]
pub struct SimFlash {
    bytes: Vec<u8>,
    wear: Vec<u32>,
    operations: u64,
    since_power_on: u64,
    cut: Option<PowerCut>,
    is_powered: bool,
    touched: Vec<Touch>,
    file: Option<File>,
}

/// One operation that changed flash, for tests that ask what was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// First byte.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
    /// Erased, or programmed.
    pub is_erase: bool,
}

impl SimFlash {
    /// Blank flash of `len` bytes, a multiple of [`SECTOR`].
    pub fn new(len: u32) -> Self {
        let sectors = len.div_ceil(SECTOR) as usize;
        Self {
            bytes: vec![0xFF; sectors * SECTOR as usize],
            wear: vec![0; sectors],
            operations: 0,
            since_power_on: 0,
            cut: None,
            is_powered: true,
            touched: Vec::new(),
            file: None,
        }
    }

    /// Flash whose content is kept in the file `path`; made blank when there is none.
    ///
    /// # Errors
    /// The file can't be opened, or has another length.
    pub fn open(path: &Path, len: u32) -> io::Result<Self> {
        let mut flash = Self::new(len);
        let is_new = !path.exists();
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if is_new {
            file.write_all(&flash.bytes)?;
        }
        if file.metadata()?.len() != flash.bytes.len() as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is not a flash of {len} bytes", path.display()),
            ));
        }
        file.read_exact_at(&mut flash.bytes, 0)?;
        flash.file = Some(file);
        Ok(flash)
    }

    /// Operations since the flash was made.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// What was erased and programmed since [`SimFlash::forget_touches`].
    pub fn touches(&self) -> &[Touch] {
        &self.touched
    }

    /// Starts the list of touches anew.
    pub fn forget_touches(&mut self) {
        self.touched.clear();
    }

    /// Highest number of erases of any sector.
    pub fn wear(&self) -> u32 {
        self.wear.iter().copied().max().unwrap_or(0)
    }

    /// Power fails at `cut`.
    pub fn cut_power(&mut self, cut: PowerCut) {
        self.cut = Some(cut);
        self.since_power_on = 0;
    }

    /// Power comes back; a cut that has not happened is forgotten.
    pub fn power_on(&mut self) {
        self.is_powered = true;
        self.since_power_on = 0;
        self.cut = None;
    }

    /// False after a power cut, until [`SimFlash::power_on`].
    pub fn is_powered(&self) -> bool {
        self.is_powered
    }

    /// The whole content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole content, past the rules: for tests that damage flash.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Counts an operation and tells how far it may go; `None` = all the way.
    fn begin(&mut self) -> Result<Option<Cut>, SimFlashError> {
        if !self.is_powered {
            return Err(SimFlashError::PowerLost);
        }
        let now = self.since_power_on;
        self.since_power_on += 1;
        self.operations += 1;
        match self.cut {
            Some(cut) if cut.at == now => {
                self.is_powered = false;
                self.cut = None;
                if cut.how == Cut::Before {
                    return Err(SimFlashError::PowerLost);
                }
                Ok(Some(cut.how))
            }
            _ => Ok(None),
        }
    }

    /// Brings `self.bytes[at..]` to `target` as far as `cut` lets it.
    fn apply(&mut self, at: usize, target: &[u8], cut: Option<Cut>, is_erase: bool) {
        let old = self.bytes[at..at + target.len()].to_vec();
        let torn = match cut {
            Some(Cut::Torn(tear)) => tear_bytes(&old, target, tear, self.operations),
            _ => target.to_vec(),
        };
        self.bytes[at..at + target.len()].copy_from_slice(&torn);
        self.touched.push(Touch {
            offset: at as u32,
            len: target.len() as u32,
            is_erase,
        });
    }

    fn save(&self, at: usize, len: usize) -> Result<(), SimFlashError> {
        match &self.file {
            Some(file) => file
                .write_all_at(&self.bytes[at..at + len], at as u64)
                .map_err(|_| SimFlashError::File),
            None => Ok(()),
        }
    }

    fn range(&self, offset: u32, len: usize, unit: usize) -> Result<usize, SimFlashError> {
        let at = offset as usize;
        if !at.is_multiple_of(unit) || !len.is_multiple_of(unit) {
            return Err(SimFlashError::NotAligned { offset });
        }
        match at.checked_add(len) {
            Some(end) if end <= self.bytes.len() => Ok(at),
            _ => Err(SimFlashError::OutOfBounds { offset }),
        }
    }
}

impl Clone for SimFlash {
    /// A copy in memory; the file stays with the original.
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            wear: self.wear.clone(),
            operations: self.operations,
            since_power_on: self.since_power_on,
            cut: self.cut,
            is_powered: self.is_powered,
            touched: self.touched.clone(),
            file: None,
        }
    }
}

impl ErrorType for SimFlash {
    type Error = SimFlashError;
}

impl ReadNorFlash for SimFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), SimFlashError> {
        if !self.is_powered {
            return Err(SimFlashError::PowerLost);
        }
        let at = self.range(offset, out.len(), 1)?;
        out.copy_from_slice(&self.bytes[at..at + out.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for SimFlash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), SimFlashError> {
        let len = to
            .checked_sub(from)
            .ok_or(SimFlashError::OutOfBounds { offset: from })?;
        self.range(from, len as usize, SECTOR as usize)?;
        for sector in from / SECTOR..to / SECTOR {
            let cut = self.begin()?;
            let at = (sector * SECTOR) as usize;
            self.wear[sector as usize] += 1;
            self.apply(at, &[0xFF; SECTOR as usize], cut, true);
            self.save(at, SECTOR as usize)?;
            if cut.is_some() {
                return Err(SimFlashError::PowerLost);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), SimFlashError> {
        let at = self.range(offset, bytes.len(), WORD)?;
        let old = &self.bytes[at..at + bytes.len()];
        let sets_a_bit = |(old, new): (&u8, &u8)| new & !old != 0;
        if let Some(i) = old.iter().zip(bytes).position(sets_a_bit) {
            return Err(SimFlashError::NotErased {
                offset: offset + i as u32,
            });
        }
        let cut = self.begin()?;
        self.apply(at, bytes, cut, false);
        self.save(at, bytes.len())?;
        match cut {
            Some(_) => Err(SimFlashError::PowerLost),
            None => Ok(()),
        }
    }
}

/// Why a flash operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFlashError {
    /// Power is off.
    PowerLost,
    /// Programming would set a bit.
    NotErased {
        /// The byte.
        offset: u32,
    },
    /// Offset or length are not multiples of the unit.
    NotAligned {
        /// Where the operation starts.
        offset: u32,
    },
    /// Past the end.
    OutOfBounds {
        /// Where the operation starts.
        offset: u32,
    },
    /// The file behind the flash can't be written.
    File,
}

impl fmt::Display for SimFlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerLost => f.write_str("power is off"),
            Self::NotErased { offset } => write!(f, "a bit at {offset:#x} is not erased"),
            Self::NotAligned { offset } => write!(f, "an operation at {offset:#x} is not aligned"),
            Self::OutOfBounds { offset } => {
                write!(f, "an operation at {offset:#x} leaves the flash")
            }
            Self::File => f.write_str("the file behind the flash can't be written"),
        }
    }
}

impl std::error::Error for SimFlashError {}

impl NorFlashError for SimFlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned { .. } => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds { .. } => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}

fn tear_bytes(old: &[u8], new: &[u8], tear: Tear, seed: u64) -> Vec<u8> {
    let half = (new.len() / 2).next_multiple_of(WORD).min(new.len());
    let mut noise = Noise(seed ^ 0x9E37_79B9_7F4A_7C15);
    let mut mix = |old: u8, new: u8| {
        let mask = noise.byte();
        (old & !mask) | (new & mask)
    };
    let mut out = old.to_vec();
    match tear {
        Tear::FirstHalf => {
            out[..half].copy_from_slice(&new[..half]);
            for i in half..(half + WORD).min(new.len()) {
                out[i] = mix(old[i], new[i]);
            }
        }
        Tear::SecondHalf => out[half..].copy_from_slice(&new[half..]),
        Tear::SomeBits => {
            for (out, (&old, &new)) in out.iter_mut().zip(old.iter().zip(new)) {
                *out = mix(old, new);
            }
        }
        Tear::OneBit => {
            if let Some(i) = (0..new.len()).find(|&i| old[i] != new[i]) {
                let changed = old[i] ^ new[i];
                out[i] ^= changed & changed.wrapping_neg();
            }
        }
    }
    out
}

/// A repeatable stream of bits (SplitMix64).
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((z ^ (z >> 27)) >> 24) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programming_only_clears_bits() {
        let mut flash = SimFlash::new(2 * SECTOR);
        flash.write(0, &[0xF0; 4]).expect("erased");
        flash.write(0, &[0x30; 4]).expect("clears more bits");
        let error = flash.write(0, &[0x30, 0x30, 0x31, 0x30]);
        assert_eq!(error, Err(SimFlashError::NotErased { offset: 2 }));
        flash.erase(0, SECTOR).expect("aligned");
        flash.write(0, &[0xFE; 4]).expect("erased again");
        assert_eq!(flash.wear(), 1);
    }

    #[test]
    fn words_and_sectors_are_the_units() {
        let mut flash = SimFlash::new(SECTOR);
        let not_aligned = Err(SimFlashError::NotAligned { offset: 2 });
        assert_eq!(flash.write(2, &[0; 4]), not_aligned);
        assert_eq!(
            flash.write(0, &[0; 3]),
            Err(SimFlashError::NotAligned { offset: 0 })
        );
        assert_eq!(
            flash.erase(0, 100),
            Err(SimFlashError::NotAligned { offset: 0 })
        );
        assert_eq!(
            flash.write(SECTOR, &[0; 4]),
            Err(SimFlashError::OutOfBounds { offset: SECTOR })
        );
        assert_eq!(flash.operations(), 0);
    }

    #[test]
    fn each_cut_leaves_what_it_says() {
        let (old, new) = ([0xFF; 64], [0x5A; 64]);
        for how in Cut::ALL {
            let mut flash = SimFlash::new(SECTOR);
            flash.cut_power(PowerCut { at: 1, how });
            flash.write(128, &[0; 4]).expect("operation 0");
            assert_eq!(flash.write(0, &new), Err(SimFlashError::PowerLost));
            assert_eq!(flash.read(0, &mut [0; 4]), Err(SimFlashError::PowerLost));
            flash.power_on();
            let got = &flash.bytes()[..64];
            match how {
                Cut::Before => assert_eq!(got, old),
                Cut::After => assert_eq!(got, new),
                Cut::Torn(_) => {
                    assert!(got != old && got != new, "{how:?}");
                    let is_between = |(got, new): (&u8, &u8)| got & new == *new;
                    assert!(got.iter().zip(&new).all(is_between), "{how:?}");
                }
            }
        }
    }

    #[test]
    fn a_torn_erase_leaves_a_mix() {
        let mut flash = SimFlash::new(SECTOR);
        flash.write(0, &[0; SECTOR as usize]).expect("blank");
        flash.cut_power(PowerCut {
            at: 0,
            how: Cut::Torn(Tear::SomeBits),
        });
        assert_eq!(flash.erase(0, SECTOR), Err(SimFlashError::PowerLost));
        flash.power_on();
        let bits: u32 = flash.bytes().iter().map(|byte| byte.count_ones()).sum();
        assert!(
            (4096 * 2..4096 * 6).contains(&bits),
            "{bits} of 32768 bits are set"
        );
    }
}
