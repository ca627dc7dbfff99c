//! Flash encryption: what the chip stores for what is written to it (ESP-IDF `docs/en/security/flash-encryption.rst`,
//! espsecure `encrypt-flash-data`).
//!
//! Two schemes. The original ESP32 runs AES-256 *decryption* over byte-reversed blocks, under a key that is tweaked anew for
//! every 32 bytes of flash. All later chips use XTS over units of 128 bytes, byte-reversed as a whole, with the unit's
//! address as the tweak. Neither detects changes: who can write the flash can turn any block into noise.
//!
//! A [`FlashKey`] works in place on any legal region: address and length are multiples of 16.

use core::fmt;

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256, Block};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::chip::{Chip, FlashEncryption};

mod legacy;

use legacy::Legacy;

/// Bytes that are encrypted together; addresses and lengths are multiples of it.
pub const BLOCK_LEN: usize = 16;
/// Bytes of an XTS unit: what one tweak covers.
pub const XTS_UNIT_LEN: u32 = 128;
/// Setting of the eFuse `FLASH_CRYPT_CONFIG` that every production chip has: all parts of the key are tweaked.
pub const DEFAULT_CRYPT_CONFIG: u8 = 0xF;

/// A flash encryption key, ready for use. It has no `Debug` and is wiped when dropped.
pub struct FlashKey(Cipher);

#[expect(
    clippy::large_enum_variant,
    reason = "there is no allocator to box the larger one with"
)]
enum Cipher {
    Legacy(Legacy),
    Xts128(Xts<Aes128>),
    Xts256(Xts<Aes256>),
}

impl FlashKey {
    /// Takes the bytes of a key file for `chip`. `crypt_config` is the original ESP32's `FLASH_CRYPT_CONFIG`, normally
    /// [`DEFAULT_CRYPT_CONFIG`]; other chips have none.
    ///
    /// # Errors
    /// [`FlashKeyFault`] if the chip takes no key of this length, or the setting has more than four bits.
    pub fn new(chip: Chip, key: &[u8], crypt_config: u8) -> Result<FlashKey, FlashKeyFault> {
        let scheme = chip.flash_encryption();
        if !scheme.takes_key_len(key.len()) {
            return Err(FlashKeyFault::Length {
                chip,
                found: key.len(),
            });
        }
        if scheme == FlashEncryption::Legacy {
            if crypt_config > DEFAULT_CRYPT_CONFIG {
                return Err(FlashKeyFault::CryptConfig {
                    found: crypt_config,
                });
            }
            return Ok(FlashKey(Cipher::Legacy(Legacy::new(key, crypt_config))));
        }
        let mut derived = Zeroizing::new([0; 32]);
        let key = if key.len() == 16 {
            *derived = Sha256::digest(key).into();
            &derived[..]
        } else {
            key
        };
        let (data, tweak) = key.split_at(key.len() / 2);
        let cipher = if key.len() == 32 {
            Xts::new(data, tweak).map(Cipher::Xts128)
        } else {
            Xts::new(data, tweak).map(Cipher::Xts256)
        };
        cipher.map(FlashKey).ok_or(FlashKeyFault::Length {
            chip,
            found: key.len(),
        })
    }

    /// Encrypts what will lie in flash at `address`, in place.
    ///
    /// # Errors
    /// [`RegionFault`] if address or length are no multiples of 16, or the region leaves what the scheme can address.
    pub fn encrypt(&self, address: u32, bytes: &mut [u8]) -> Result<(), RegionFault> {
        self.check(address, bytes.len() as u64)?;
        match &self.0 {
            Cipher::Legacy(legacy) => legacy.encrypt(address, bytes),
            Cipher::Xts128(xts) => xts.apply(address, bytes, Aes128::encrypt_blocks),
            Cipher::Xts256(xts) => xts.apply(address, bytes, Aes256::encrypt_blocks),
        }
        Ok(())
    }

    /// Decrypts what lies in flash at `address`, in place.
    ///
    /// # Errors
    /// As [`FlashKey::encrypt`].
    pub fn decrypt(&self, address: u32, bytes: &mut [u8]) -> Result<(), RegionFault> {
        self.check(address, bytes.len() as u64)?;
        match &self.0 {
            Cipher::Legacy(legacy) => legacy.decrypt(address, bytes),
            Cipher::Xts128(xts) => xts.apply(address, bytes, Aes128::decrypt_blocks),
            Cipher::Xts256(xts) => xts.apply(address, bytes, Aes256::decrypt_blocks),
        }
        Ok(())
    }

    /// Checks a region without touching it.
    ///
    /// # Errors
    /// As [`FlashKey::encrypt`].
    pub fn check(&self, address: u32, len: u64) -> Result<(), RegionFault> {
        if !u64::from(address).is_multiple_of(BLOCK_LEN as u64) {
            return Err(RegionFault::Address { address });
        }
        if len == 0 || !len.is_multiple_of(BLOCK_LEN as u64) {
            return Err(RegionFault::Length { len });
        }
        let limit = match self.0 {
            Cipher::Legacy(_) => LEGACY_LIMIT,
            _ => XTS_LIMIT,
        };
        let end = u64::from(address).saturating_add(len);
        if end > limit {
            return Err(RegionFault::Beyond { end, limit });
        }
        Ok(())
    }
}

/// XTS with separate keys for data and tweak.
pub(crate) struct Xts<C> {
    pub(crate) data: C,
    pub(crate) tweak: C,
}

impl<
    C: KeyInit + BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
> Xts<C>
{
    pub(crate) fn new(data: &[u8], tweak: &[u8]) -> Option<Xts<C>> {
        Some(Xts {
            data: C::new_from_slice(data).ok()?,
            tweak: C::new_from_slice(tweak).ok()?,
        })
    }

    /// Encrypts or decrypts in place, many blocks at a time and tweaks of many units at a time: so the processor's AES
    /// units are kept busy, and the key schedules are set up once.
    fn apply(&self, address: u32, bytes: &mut [u8], blocks: impl Fn(&C, &mut [Block])) {
        let (chunks, _) = bytes.as_chunks_mut::<BLOCK_LEN>();
        let mut rest = Block::cast_slice_from_core_mut(chunks);
        let mut unit = address - address % XTS_UNIT_LEN;
        let mut skipped = (address % XTS_UNIT_LEN) as usize / BLOCK_LEN;
        let mut unit_tweaks = [Block::default(); RUN_UNITS];
        let mut tweaks = [0u128; BATCH_BLOCKS];
        while !rest.is_empty() {
            let units = (skipped + rest.len()).div_ceil(UNIT_BLOCKS).min(RUN_UNITS);
            let run = unit_tweaks.get_mut(..units).unwrap_or_default();
            for tweak in run.iter_mut() {
                *tweak = Array(u128::from(unit).to_le_bytes());
                unit = unit.wrapping_add(XTS_UNIT_LEN);
            }
            self.tweak.encrypt_blocks(run);
            for batch in run.chunks(BATCH_UNITS) {
                spread(batch, &mut tweaks);
                // Only the first batch of all begins within a unit.
                let wanted = batch.len() * UNIT_BLOCKS - skipped;
                let (now, later) = rest.split_at_mut(wanted.min(rest.len()));
                let tweaks = tweaks.get(skipped..).unwrap_or_default();
                for (block, tweak) in now.iter_mut().zip(tweaks) {
                    block.0 = (u128::from_be_bytes(block.0) ^ tweak).to_le_bytes();
                }
                blocks(&self.data, now);
                for (block, tweak) in now.iter_mut().zip(tweaks) {
                    block.0 = (u128::from_le_bytes(block.0) ^ tweak).to_be_bytes();
                }
                skipped = 0;
                rest = later;
            }
        }
        unit_tweaks.iter_mut().for_each(|tweak| tweak.0.zeroize());
        tweaks.zeroize();
    }
}

/// The tweaks of all blocks of some units, in the order of flash: a unit is reversed as a whole, so its last block in flash is
/// the first one of XTS.
fn spread(unit_tweaks: &[Block], tweaks: &mut [u128; BATCH_BLOCKS]) {
    for (of_unit, tweak) in tweaks.chunks_mut(UNIT_BLOCKS).zip(unit_tweaks) {
        let mut value = u128::from_le_bytes(tweak.0);
        for place in of_unit.iter_mut().rev() {
            *place = value;
            value = times_alpha(value);
        }
    }
}

/// Multiplication by x in GF(2^128), as IEEE 1619 defines it.
pub(crate) fn times_alpha(value: u128) -> u128 {
    (value << 1) ^ (0x87 * (value >> 127))
}

/// Units whose tweaks are encrypted at once: 64 blocks are what the widest of today's AES instructions are fed with. Data goes
/// in larger batches, since each call sets the key up for those instructions; the tweaks of one take 4 KiB of the stack.
const RUN_UNITS: usize = 64;
const BATCH_UNITS: usize = 32;
const UNIT_BLOCKS: usize = XTS_UNIT_LEN as usize / BLOCK_LEN;
const BATCH_BLOCKS: usize = BATCH_UNITS * UNIT_BLOCKS;
/// The original ESP32 maps 16 MiB at most, and its tweak has 24 address bits.
const LEGACY_LIMIT: u64 = 1 << 24;
const XTS_LIMIT: u64 = 1 << 32;

/// Why a key does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashKeyFault {
    /// The chip takes no key of this length.
    Length {
        /// The chip.
        chip: Chip,
        /// Bytes of the key.
        found: usize,
    },
    /// `FLASH_CRYPT_CONFIG` has four bits.
    CryptConfig {
        /// The value given.
        found: u8,
    },
}

impl fmt::Display for FlashKeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlashKeyFault::Length { chip, found } => {
                let takes = match chip.flash_encryption() {
                    FlashEncryption::Legacy => "32 bytes, or 24 with 3/4 coding",
                    FlashEncryption::Xts128 => "32 bytes",
                    FlashEncryption::Xts128Derived => {
                        "32 bytes, or 16 that the key is derived from"
                    }
                    FlashEncryption::Xts256 => "32 or 64 bytes",
                };
                write!(f, "the key has {found} bytes, {chip} takes {takes}")?;
                match found {
                    24 => f.write_str(" (24 belong to the original ESP32)"),
                    _ => Ok(()),
                }
            }
            FlashKeyFault::CryptConfig { found } => {
                write!(f, "FLASH_CRYPT_CONFIG is {found:#x}, it has four bits")
            }
        }
    }
}

impl core::error::Error for FlashKeyFault {}

/// Why a region can't be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionFault {
    /// The address is no multiple of 16.
    Address {
        /// The address.
        address: u32,
    },
    /// The length is 0 or no multiple of 16.
    Length {
        /// The length in bytes.
        len: u64,
    },
    /// The region ends beyond what the scheme can address.
    Beyond {
        /// First byte behind the region.
        end: u64,
        /// Where the address space ends.
        limit: u64,
    },
}

impl fmt::Display for RegionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegionFault::Address { address } => {
                write!(f, "address {address:#x} is not a multiple of 16")
            }
            RegionFault::Length { len: 0 } => f.write_str("there is nothing to encrypt"),
            RegionFault::Length { len } => write!(f, "length {len} is not a multiple of 16"),
            RegionFault::Beyond { end, limit } => {
                write!(f, "it ends at {end:#x}, the address space at {limit:#x}")
            }
        }
    }
}

impl core::error::Error for RegionFault {}
