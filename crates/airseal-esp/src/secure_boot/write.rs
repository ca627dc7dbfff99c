//! Writing signature blocks.

use core::fmt;

use super::montgomery::Numbers;
use super::{BLOCK_LEN, CRC_OFFSET, MAGIC, Scheme, SignatureBlock, crc32};

/// Bytes of an RSA-3072 modulus and signature.
pub const RSA_LEN: usize = 384;

/// A public key for a block. Numbers are big-endian, as keys have them everywhere but in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKey<'k> {
    /// RSA-3072.
    Rsa {
        /// The modulus.
        modulus: &'k [u8; RSA_LEN],
        /// The public exponent.
        exponent: u32,
    },
    /// A point on the curve of an ECDSA scheme.
    Ecdsa {
        /// The scheme.
        scheme: Scheme,
        /// x, then y.
        point: &'k [u8],
    },
}

impl BlockKey<'_> {
    /// What it signs with.
    pub fn scheme(&self) -> Scheme {
        match self {
            BlockKey::Rsa { .. } => Scheme::Rsa3072,
            BlockKey::Ecdsa { scheme, .. } => *scheme,
        }
    }

    /// The digest that is burned into the eFuses.
    ///
    /// # Errors
    /// [`WriteFault`] for a key that no block can hold.
    pub fn key_digest(&self) -> Result<[u8; 32], WriteFault> {
        let bytes = self.block()?;
        let block = SignatureBlock {
            bytes: &bytes,
            scheme: self.scheme(),
        };
        Ok(block.key_digest())
    }

    /// Makes the block. `digest` is the hash of the padded image, `signature` big-endian: the RSA number, or r and s.
    ///
    /// # Errors
    /// [`WriteFault`] for a key that no block can hold, or a digest or signature that is not as long as the scheme's.
    pub fn sign_block(
        &self,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<[u8; BLOCK_LEN], WriteFault> {
        let mut block = self.block()?;
        let scheme = self.scheme();
        length("the digest", digest, scheme.digest_len())?;
        put(&mut block, 4, digest);
        match scheme.coordinate_len() {
            None => {
                length("the signature", signature, RSA_LEN)?;
                put_reversed(&mut block, 812, signature);
            }
            Some(len) => {
                length("the signature", signature, 2 * len)?;
                let (r, s) = signature.split_at(len);
                let place = if scheme == Scheme::EcdsaP384 {
                    149
                } else {
                    101
                };
                put_reversed(&mut block, place, r);
                put_reversed(&mut block, place + len, s);
            }
        }
        let crc = crc32(block.get(..CRC_OFFSET).unwrap_or_default());
        put(&mut block, CRC_OFFSET, &crc.to_le_bytes());
        Ok(block)
    }

    /// A block that has everything but digest, signature and CRC.
    fn block(&self) -> Result<[u8; BLOCK_LEN], WriteFault> {
        let mut bytes = [0; BLOCK_LEN];
        let (version, hash, curve, place) = match self.scheme() {
            Scheme::Rsa3072 => (2, 0, 0, 36),
            Scheme::EcdsaP192 => (3, 0, 1, 36),
            Scheme::EcdsaP256 => (3, 0, 2, 36),
            Scheme::EcdsaP384 => (3, 1, 3, 52),
        };
        put(&mut bytes, 0, &[MAGIC, version, hash]);
        match self {
            BlockKey::Rsa { modulus, exponent } => {
                let numbers = Numbers::of(modulus).ok_or(WriteFault::EvenModulus)?;
                put_reversed(&mut bytes, place, *modulus);
                put(&mut bytes, 420, &exponent.to_le_bytes());
                put(&mut bytes, 424, &numbers.r);
                put(&mut bytes, 808, &numbers.m_prime.to_le_bytes());
            }
            BlockKey::Ecdsa { scheme, point } => {
                let len = scheme.coordinate_len().unwrap_or_default();
                length("the public key", point, 2 * len)?;
                let (x, y) = point.split_at(len);
                put(&mut bytes, place, &[curve]);
                put_reversed(&mut bytes, place + 1, x);
                put_reversed(&mut bytes, place + 1 + len, y);
            }
        }
        Ok(bytes)
    }
}

/// Why no block can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// A modulus that is even: no RSA key has one.
    EvenModulus,
    /// Something of a wrong length.
    Length {
        /// What it is.
        what: &'static str,
        /// What was given, bytes.
        found: usize,
        /// What the scheme needs.
        needed: usize,
    },
}

impl fmt::Display for WriteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteFault::EvenModulus => f.write_str("the modulus is even, so it is no RSA key"),
            WriteFault::Length {
                what,
                found,
                needed,
            } => write!(f, "{what} has {found} bytes where {needed} are needed"),
        }
    }
}

impl core::error::Error for WriteFault {}

fn length(what: &'static str, bytes: &[u8], needed: usize) -> Result<(), WriteFault> {
    if bytes.len() == needed {
        return Ok(());
    }
    Err(WriteFault::Length {
        what,
        found: bytes.len(),
        needed,
    })
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(offset..offset + value.len()) {
        place.copy_from_slice(value);
    }
}

fn put_reversed(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(offset..offset + value.len()) {
        place.copy_from_slice(value);
        place.reverse();
    }
}
