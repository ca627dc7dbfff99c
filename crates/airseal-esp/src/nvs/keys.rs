//! The keys of encrypted partitions (ESP-IDF `docs/en/api-reference/storage/nvs_encryption.rst`).
//!
//! Two keys of 32 bytes, for data and tweak. They lie in a partition of their own, which flash encryption covers, or
//! follow from a key in the eFuses by HMAC-SHA256 over [`HMAC_DATA_SEED`] and [`HMAC_TWEAK_SEED`].

use core::fmt;

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt};
use aes::{Aes256, Block};
use zeroize::Zeroizing;

use super::{ENTRY_LEN, crc};
use crate::flash_encryption::{Xts, times_alpha};

/// Bytes of both keys, the data key first.
pub const KEYS_LEN: usize = 64;
/// Bytes of a keys partition.
pub const KEYS_PARTITION_LEN: usize = 4096;
/// What HMAC runs over for the data key.
pub const HMAC_DATA_SEED: [u8; 32] = repeated(0xAEBE_5A5A);
/// What HMAC runs over for the tweak key.
pub const HMAC_TWEAK_SEED: [u8; 32] = repeated(0xCEDE_A5A5);

/// Keys ready for use: XTS-AES-256 over each entry, its address in the partition as the tweak. No `Debug`.
pub struct NvsKey(Xts<Aes256>);

impl NvsKey {
    /// Takes both keys, the data key first.
    ///
    /// # Errors
    /// [`KeysFault::Same`] if they are the same one.
    pub fn new(keys: &[u8; KEYS_LEN]) -> Result<NvsKey, KeysFault> {
        let (data, tweak) = keys.split_at(KEYS_LEN / 2);
        if data == tweak {
            return Err(KeysFault::Same);
        }
        Xts::new(data, tweak).map(NvsKey).ok_or(KeysFault::Same)
    }

    /// Encrypts the entry at `address` bytes from the start of the partition.
    pub fn encrypt(&self, address: u32, entry: &mut [u8; ENTRY_LEN]) {
        self.apply(address, entry, Aes256::encrypt_blocks);
    }

    /// Decrypts the entry at `address` bytes from the start of the partition.
    pub fn decrypt(&self, address: u32, entry: &mut [u8; ENTRY_LEN]) {
        self.apply(address, entry, Aes256::decrypt_blocks);
    }

    fn apply(
        &self,
        address: u32,
        entry: &mut [u8; ENTRY_LEN],
        blocks: impl Fn(&Aes256, &mut [Block]),
    ) {
        let mut tweak: Block = Array(u128::from(address).to_le_bytes());
        self.0.tweak.encrypt_block(&mut tweak);
        let first = u128::from_le_bytes(tweak.0);
        let tweaks = [first, times_alpha(first)];
        let (chunks, _) = entry.as_chunks_mut();
        let mut work = [Block::default(); 2];
        for ((block, chunk), tweak) in work.iter_mut().zip(chunks.iter()).zip(tweaks) {
            *block = Array((u128::from_le_bytes(*chunk) ^ tweak).to_le_bytes());
        }
        blocks(&self.0.data, &mut work);
        for ((block, chunk), tweak) in work.iter().zip(chunks).zip(tweaks) {
            *chunk = (u128::from_le_bytes(block.0) ^ tweak).to_le_bytes();
        }
    }
}

/// What lies in a keys partition: both keys, their CRC, erased flash.
pub fn keys_partition(keys: &[u8; KEYS_LEN]) -> Zeroizing<[u8; KEYS_PARTITION_LEN]> {
    let mut partition = Zeroizing::new([0xFF; KEYS_PARTITION_LEN]);
    let crc = crc(keys.iter().copied()).to_le_bytes();
    let parts = keys.iter().chain(&crc);
    for (to, from) in partition.iter_mut().zip(parts) {
        *to = *from;
    }
    partition
}

/// Both keys of a keys partition, or of a file that is cut behind the CRC or behind the keys.
///
/// # Errors
/// [`KeysFault`].
pub fn keys_from_partition(bytes: &[u8]) -> Result<Zeroizing<[u8; KEYS_LEN]>, KeysFault> {
    let Some((keys, rest)) = bytes.split_first_chunk::<KEYS_LEN>() else {
        return Err(KeysFault::Length { found: bytes.len() });
    };
    if keys.iter().all(|byte| *byte == 0xFF) {
        return Err(KeysFault::Erased);
    }
    let crc = crc(keys.iter().copied()).to_le_bytes();
    match rest.split_first_chunk::<4>() {
        None if rest.is_empty() => {}
        None => return Err(KeysFault::Length { found: bytes.len() }),
        Some((stored, _)) if *stored != crc => return Err(KeysFault::Crc),
        Some((_, behind)) => {
            let stray = behind.iter().position(|byte| *byte != 0xFF);
            if let Some(stray) = stray {
                let offset = KEYS_LEN + 4 + stray;
                return Err(KeysFault::Behind { offset });
            }
        }
    }
    Ok(Zeroizing::new(*keys))
}

const fn repeated(word: u32) -> [u8; 32] {
    let word = word.to_le_bytes();
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = word[at % word.len()];
        at += 1;
    }
    bytes
}

/// Why keys can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysFault {
    /// Neither the keys alone nor the keys with their CRC.
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Erased flash.
    Erased,
    /// The CRC at offset 64 does not hold.
    Crc,
    /// Something lies where flash is erased.
    Behind {
        /// Where.
        offset: usize,
    },
    /// The data key is the tweak key: not XTS.
    Same,
}

impl fmt::Display for KeysFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeysFault::Length { found } => write!(
                f,
                "has {found} bytes, NVS keys are 64 bytes, with their CRC 68, as a partition 4096"
            ),
            KeysFault::Erased => f.write_str("is erased flash: no keys yet"),
            KeysFault::Crc => f.write_str("the CRC at offset 0x40 does not hold over the keys"),
            KeysFault::Behind { offset } => {
                write!(f, "has bytes at offset {offset:#x}, where flash is erased")
            }
            KeysFault::Same => f.write_str("the data key and the tweak key are the same"),
        }
    }
}

impl core::error::Error for KeysFault {}
