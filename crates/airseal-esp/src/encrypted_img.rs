//! The header of Espressif's pre-encrypted images (component `esp_encrypted_img`).
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 4 | magic, `CF B6 88 07` |
//! | 4 | 384 | key block: the AES-256-GCM key for the device, see [`KeyBlock`] |
//! | 388 | 16 | IV of AES-GCM |
//! | 404 | 4 | length of the image, little-endian |
//! | 408 | 16 | tag of AES-GCM, without additional data |
//! | 424 | 88 | reserved |
//!
//! The header does not say which of the two schemes made it: a device knows that from its build. Nothing in it is
//! authenticated but what the tag covers through key, IV and ciphertext; nobody's signature is in it.
//! (Source: idf-extra-components, `esp_encrypted_img/tools/esp_enc_img_gen.py` and `src/esp_encrypted_img.c` of 2.7.1.)

use core::fmt;

/// Length of the header, bytes.
pub const HEADER_LEN: usize = 512;
/// Length of the key block, bytes: one RSA-3072 ciphertext.
pub const KEY_BLOCK_LEN: usize = 384;
/// Length of the IV and of the tag, bytes.
pub const IV_LEN: usize = 16;
/// The first four bytes.
pub const MAGIC: [u8; 4] = [0xCF, 0xB6, 0x88, 0x07];

/// The salt of PBKDF2-HMAC-SHA256 that makes the device's private scalar from the key in its eFuses.
pub const DEVICE_KEY_SALT: [u8; 32] = [
    0x0e, 0x21, 0x60, 0x64, 0x2d, 0xae, 0x76, 0xd3, 0x34, 0x48, 0xe4, 0x3d, 0x77, 0x20, 0x12, 0x3d,
    0x9f, 0x3b, 0x1e, 0xce, 0xb8, 0x8e, 0x57, 0x3a, 0x4e, 0x8f, 0x7f, 0xb9, 0x4f, 0xf0, 0xc8, 0x69,
];
/// Iterations of that PBKDF2.
pub const DEVICE_KEY_ITERATIONS: u32 = 2048;
/// The `info` of HKDF-SHA256 that makes the image's key from the shared x-coordinate.
pub const KEY_INFO: &[u8; 16] = b"_esp_enc_img_ecc";

/// A header that has its magic and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The wrapped key.
    pub key_block: [u8; KEY_BLOCK_LEN],
    /// IV of AES-GCM.
    pub iv: [u8; IV_LEN],
    /// Length of the image, bytes; as many bytes of ciphertext follow the header.
    pub size: u32,
    /// Tag of AES-GCM.
    pub tag: [u8; IV_LEN],
    /// True if all reserved bytes at the end of the header are zero. Devices do not look.
    pub reserved_zero: bool,
}

/// What the key block holds in the ECIES-P256 scheme; 288 bytes behind it are unused.
///
/// In the RSA scheme the whole block is one PKCS#1 v1.5 ciphertext of the 32-byte key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBlock {
    /// The sender's one-time public point, X then Y, big-endian.
    pub point: [u8; 64],
    /// The salt of HKDF.
    pub salt: [u8; 32],
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Fewer than [`HEADER_LEN`] bytes.
    Short {
        /// How many there are.
        len: usize,
    },
    /// Other bytes at offset 0.
    Magic {
        /// Them.
        found: [u8; 4],
    },
    /// The file does not have the length that the size field promises.
    Size {
        /// The size field at offset 404.
        promised: u32,
        /// Bytes that really follow the header.
        found: u64,
    },
}

impl Header {
    /// Reads the first [`HEADER_LEN`] bytes of `bytes`.
    ///
    /// # Errors
    /// `Short`, `Magic`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Header, HeaderFault> {
        let short = HeaderFault::Short { len: bytes.len() };
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(short)?;
        if *magic != MAGIC {
            return Err(HeaderFault::Magic { found: *magic });
        }
        let (key_block, rest) = rest.split_first_chunk().ok_or(short)?;
        let (iv, rest) = rest.split_first_chunk().ok_or(short)?;
        let (size, rest) = rest.split_first_chunk().ok_or(short)?;
        let (tag, rest) = rest.split_first_chunk().ok_or(short)?;
        let reserved = rest.first_chunk::<RESERVED_LEN>().ok_or(short)?;
        Ok(Header {
            key_block: *key_block,
            iv: *iv,
            size: u32::from_le_bytes(*size),
            tag: *tag,
            reserved_zero: reserved.iter().all(|byte| *byte == 0),
        })
    }

    /// Checks that a file of `len` bytes ends where the image does.
    ///
    /// A device that gets more than that never finishes, and one that gets less waits for the rest.
    ///
    /// # Errors
    /// `Size`, or `Short` if not even the header fits.
    pub fn check_len(&self, len: u64) -> Result<(), HeaderFault> {
        let found = len
            .checked_sub(HEADER_LEN as u64)
            .ok_or(HeaderFault::Short {
                len: usize::try_from(len).unwrap_or(0),
            })?;
        if found != u64::from(self.size) {
            return Err(HeaderFault::Size {
                promised: self.size,
                found,
            });
        }
        Ok(())
    }

    /// The bytes of the header, with zeros in the reserved ones.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let parts: [&[u8]; 5] = [
            &MAGIC,
            &self.key_block,
            &self.iv,
            &self.size.to_le_bytes(),
            &self.tag,
        ];
        let source = parts.into_iter().flatten();
        bytes
            .iter_mut()
            .zip(source)
            .for_each(|(to, from)| *to = *from);
        bytes
    }
}

impl KeyBlock {
    /// Reads the ECIES parts of a key block.
    pub fn from_bytes(block: &[u8; KEY_BLOCK_LEN]) -> KeyBlock {
        let mut key = KeyBlock {
            point: [0; 64],
            salt: [0; 32],
        };
        let targets = key.point.iter_mut().chain(key.salt.iter_mut());
        targets.zip(block).for_each(|(to, from)| *to = *from);
        key
    }

    /// The key block, unused bytes zero.
    pub fn to_bytes(&self) -> [u8; KEY_BLOCK_LEN] {
        let mut block = [0; KEY_BLOCK_LEN];
        let source = self.point.iter().chain(&self.salt);
        block
            .iter_mut()
            .zip(source)
            .for_each(|(to, from)| *to = *from);
        block
    }
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderFault::Short { len } => write!(
                f,
                "has {len} bytes, less than the {HEADER_LEN} of the header"
            ),
            HeaderFault::Magic {
                found: [a, b, c, d],
            } => write!(
                f,
                "magic at offset 0 is {a:02X} {b:02X} {c:02X} {d:02X}, expected CF B6 88 07"
            ),
            HeaderFault::Size { promised, found } => write!(
                f,
                "size at offset 404 says {promised} bytes of image, {found} follow the header"
            ),
        }
    }
}

impl core::error::Error for HeaderFault {}

const RESERVED_LEN: usize = 88;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may unwrap")]
    use super::*;

    #[test]
    fn a_header_survives_and_every_cut_of_it_is_refused() {
        let header = Header {
            key_block: [7; KEY_BLOCK_LEN],
            iv: [1; IV_LEN],
            size: 0x0102_0304,
            tag: [2; IV_LEN],
            reserved_zero: true,
        };
        let bytes = header.to_bytes();
        assert_eq!(Header::from_bytes(&bytes).unwrap(), header);
        assert_eq!(bytes[404..408], [4, 3, 2, 1]);
        for len in 0..HEADER_LEN {
            assert_eq!(
                Header::from_bytes(&bytes[..len]),
                Err(HeaderFault::Short { len })
            );
        }
        assert!(header.check_len(0x0102_0304 + 512).is_ok());
        assert!(header.check_len(0x0102_0304 + 511).is_err());
        assert!(header.check_len(3).is_err());
    }

    #[test]
    fn point_and_salt_lie_one_after_the_other() {
        let block = KeyBlock {
            point: [1; 64],
            salt: [2; 32],
        };
        let bytes = block.to_bytes();
        assert_eq!((bytes[63], bytes[64], bytes[95], bytes[96]), (1, 2, 2, 0));
        assert_eq!(KeyBlock::from_bytes(&bytes), block);
    }
}
