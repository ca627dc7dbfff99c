//! Signatures of secure boot, version 2: a sector of up to three blocks behind the padded image (ESP-IDF
//! `esp_secure_boot.h`, espsecure `sign-data --version 2`).
//!
//! A block carries the digest of everything before the sector, the public key, the signature and a CRC. This module reads
//! blocks and says what they claim; whether a signature holds takes the mathematics of its scheme, which is not here.

use core::fmt;

use sha2::{Digest, Sha256};

use crate::crc::rom_crc32;

pub mod v1;
pub mod write;

mod montgomery;

/// Length of a signature sector in bytes; images are padded to a multiple of it.
pub const SECTOR_LEN: usize = 4096;
/// Length of a block in bytes.
pub const BLOCK_LEN: usize = 1216;
/// Largest number of blocks in a sector.
pub const MAX_BLOCKS: usize = 3;

/// Where the chip looks for the sector behind an image of `image_len` bytes.
pub fn sector_offset(image_len: u64) -> u64 {
    image_len.next_multiple_of(SECTOR_LEN as u64)
}

/// A block whose magic and CRC hold.
#[derive(Clone, Copy)]
pub struct SignatureBlock<'b> {
    bytes: &'b [u8; BLOCK_LEN],
    scheme: Scheme,
}

/// The scheme of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RSA-3072 with PSS and SHA-256.
    Rsa3072,
    /// ECDSA P-192 with SHA-256.
    EcdsaP192,
    /// ECDSA P-256 with SHA-256.
    EcdsaP256,
    /// ECDSA P-384 with SHA-384.
    EcdsaP384,
}

impl Scheme {
    /// The name of the scheme.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Rsa3072 => "rsa3072",
            Scheme::EcdsaP192 => "ecdsa192",
            Scheme::EcdsaP256 => "ecdsa256",
            Scheme::EcdsaP384 => "ecdsa384",
        }
    }

    /// Bytes of a coordinate of the curve, `None` for RSA.
    pub fn coordinate_len(self) -> Option<usize> {
        match self {
            Scheme::Rsa3072 => None,
            Scheme::EcdsaP192 => Some(24),
            Scheme::EcdsaP256 => Some(32),
            Scheme::EcdsaP384 => Some(48),
        }
    }

    /// Bytes of the digest over the image: SHA-384 with P-384, SHA-256 with all others.
    pub fn digest_len(self) -> usize {
        match self {
            Scheme::EcdsaP384 => 48,
            _ => 32,
        }
    }
}

impl<'b> SignatureBlock<'b> {
    /// Reads the blocks of a sector, up to the first that is erased. A fault names the block.
    pub fn read_sector(
        sector: &'b [u8],
    ) -> impl Iterator<Item = Result<SignatureBlock<'b>, BlockFault>> {
        let (blocks, _) = sector.as_chunks::<BLOCK_LEN>();
        blocks
            .iter()
            .take(MAX_BLOCKS)
            .enumerate()
            .take_while(|(_, block)| block.iter().any(|byte| *byte != 0xFF))
            .map(|(index, block)| SignatureBlock::parse(index, block))
    }

    /// Reads block number `index`.
    ///
    /// # Errors
    /// [`BlockFault`] if magic, version, curve or CRC are wrong.
    pub fn parse(index: usize, bytes: &'b [u8; BLOCK_LEN]) -> Result<Self, BlockFault> {
        if bytes[0] != MAGIC {
            return Err(BlockFault::Magic {
                index,
                found: bytes[0],
            });
        }
        let stored = word(bytes, CRC_OFFSET);
        let computed = crc32(bytes.get(..CRC_OFFSET).unwrap_or_default());
        if stored != computed {
            return Err(BlockFault::Crc {
                index,
                stored,
                computed,
            });
        }
        let scheme = match (bytes[1], bytes[2], bytes[36], bytes[52]) {
            (2, ..) => Scheme::Rsa3072,
            (3, 0, 1, _) => Scheme::EcdsaP192,
            (3, 0, 2, _) => Scheme::EcdsaP256,
            (3, 1, _, 3) => Scheme::EcdsaP384,
            _ => {
                return Err(BlockFault::Scheme {
                    index,
                    version: bytes[1],
                });
            }
        };
        Ok(SignatureBlock { bytes, scheme })
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The digest of everything before the sector: 32 bytes, or 48 with P-384.
    pub fn image_digest(&self) -> &'b [u8] {
        self.part(4, self.scheme.digest_len())
    }

    /// The CRC in the block.
    pub fn crc(&self) -> u32 {
        word(self.bytes, CRC_OFFSET)
    }

    /// The digest of the public key, as it is burned into the eFuses.
    pub fn key_digest(&self) -> [u8; 32] {
        let (offset, len) = match self.scheme {
            Scheme::Rsa3072 => (36, 776),
            Scheme::EcdsaP192 | Scheme::EcdsaP256 => (36, 65),
            Scheme::EcdsaP384 => (52, 97),
        };
        Sha256::digest(self.part(offset, len)).into()
    }

    /// The modulus of an RSA key, 384 bytes little-endian, and the exponent.
    pub fn rsa_key(&self) -> Option<(&'b [u8], u32)> {
        (self.scheme == Scheme::Rsa3072).then(|| (self.part(36, 384), word(self.bytes, 420)))
    }

    /// The coordinates of an ECDSA key, little-endian.
    pub fn ecdsa_key(&self) -> Option<(&'b [u8], &'b [u8])> {
        let len = self.scheme.coordinate_len()?;
        let offset = match self.scheme {
            Scheme::EcdsaP384 => 53,
            _ => 37,
        };
        Some((self.part(offset, len), self.part(offset + len, len)))
    }

    /// The signature as it lies in the block, little-endian: 384 bytes of RSA, or r and s one after the other.
    pub fn signature(&self) -> &'b [u8] {
        match self.scheme {
            Scheme::Rsa3072 => self.part(812, 384),
            Scheme::EcdsaP192 => self.part(101, 48),
            Scheme::EcdsaP256 => self.part(101, 64),
            Scheme::EcdsaP384 => self.part(149, 96),
        }
    }

    fn part(&self, offset: usize, len: usize) -> &'b [u8] {
        self.bytes.get(offset..offset + len).unwrap_or_default()
    }
}

impl fmt::Debug for SignatureBlock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureBlock")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFault {
    /// It does not begin with 0xE7.
    Magic {
        /// Number of the block, from 0.
        index: usize,
        /// The byte found.
        found: u8,
    },
    /// The CRC is wrong.
    Crc {
        /// Number of the block, from 0.
        index: usize,
        /// The CRC in the block.
        stored: u32,
        /// The CRC of the bytes.
        computed: u32,
    },
    /// No known scheme.
    Scheme {
        /// Number of the block, from 0.
        index: usize,
        /// The version byte.
        version: u8,
    },
}

impl fmt::Display for BlockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockFault::Magic { index, found } => write!(
                f,
                "signature block {index} begins with {found:#04x}, not 0xe7"
            ),
            BlockFault::Crc {
                index,
                stored,
                computed,
            } => write!(
                f,
                "CRC of signature block {index} is {stored:#010x}, its bytes give {computed:#010x}: it is damaged"
            ),
            BlockFault::Scheme { index, version } => write!(
                f,
                "signature block {index} has version {version}, with a curve or hash that no scheme has"
            ),
        }
    }
}

impl core::error::Error for BlockFault {}

const MAGIC: u8 = 0xE7;
const CRC_OFFSET: usize = 1196;

fn word(bytes: &[u8; BLOCK_LEN], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |word| u32::from_le_bytes(*word))
}

/// The CRC-32 of zlib.
fn crc32(bytes: &[u8]) -> u32 {
    rom_crc32(0, bytes.iter().copied())
}
