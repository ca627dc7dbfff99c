//! The original ESP32's scheme: AES-256 with a key that depends on the address.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes256, Block};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::BLOCK_LEN;

/// A key, and for each address bit what it flips in the key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Legacy {
    key: [u8; 32],
    #[zeroize(skip)]
    flips: [[u8; 32]; ADDRESS_BITS],
}

impl Legacy {
    /// `key` has 32 bytes, or 24 of which the last 8 of the first 16 stand for the missing ones.
    pub(super) fn new(key: &[u8], crypt_config: u8) -> Legacy {
        let mut full = [0; 32];
        let repeated = key.get(8..16).unwrap_or_default();
        for (to, from) in full.iter_mut().zip(key.iter().chain(repeated)) {
            *to = *from;
        }
        let mut flips = [[0; 32]; ADDRESS_BITS];
        let mut bit = 0;
        for (part, shortened_from) in [14, 12, 10, 8].into_iter().enumerate() {
            let whole = (FIRST_BIT..=LAST_BIT).rev();
            let pattern = whole
                .clone()
                .chain(whole.clone())
                .chain(whole)
                .chain((FIRST_BIT..=shortened_from).rev());
            for address_bit in pattern {
                if crypt_config >> part & 1 == 1
                    && let Some(byte) = flips
                        .get_mut(address_bit - FIRST_BIT)
                        .and_then(|flip| flip.get_mut(bit / 8))
                {
                    *byte |= 0x80 >> (bit % 8);
                }
                bit += 1;
            }
        }
        Legacy { key: full, flips }
    }

    pub(super) fn encrypt(&self, address: u32, bytes: &mut [u8]) {
        self.apply(address, bytes, |aes, blocks| aes.decrypt_blocks(blocks));
    }

    pub(super) fn decrypt(&self, address: u32, bytes: &mut [u8]) {
        self.apply(address, bytes, |aes, blocks| aes.encrypt_blocks(blocks));
    }

    fn apply(&self, address: u32, bytes: &mut [u8], run: impl Fn(&Aes256, &mut [Block])) {
        let mut place = address as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = ROW_LEN - place % ROW_LEN;
            let (now, later) = rest.split_at_mut(room.min(rest.len()));
            let aes = self.cipher_at(place);
            let (chunks, _) = now.as_chunks_mut::<BLOCK_LEN>();
            let mut work = [Block::default(); ROW_LEN / BLOCK_LEN];
            for (block, chunk) in work.iter_mut().zip(chunks.iter()) {
                *block = Array(u128::from_be_bytes(*chunk).to_le_bytes());
            }
            run(&aes, work.get_mut(..chunks.len()).unwrap_or_default());
            for (block, chunk) in work.iter().zip(chunks.iter_mut()) {
                *chunk = u128::from_le_bytes(block.0).to_be_bytes();
            }
            place += now.len();
            rest = later;
        }
    }

    /// AES under the key of the 32-byte row at `place`.
    fn cipher_at(&self, place: usize) -> Aes256 {
        let mut key = self.key;
        for (index, flip) in self.flips.iter().enumerate() {
            if place >> (index + FIRST_BIT) & 1 == 1 {
                key.iter_mut()
                    .zip(flip)
                    .for_each(|(byte, flip)| *byte ^= flip);
            }
        }
        let aes = Aes256::new(&Array(key));
        key.zeroize();
        aes
    }
}

/// Bytes that one tweaked key covers.
const ROW_LEN: usize = 32;
/// The lowest and the highest address bit that tweak the key.
const FIRST_BIT: usize = 5;
const LAST_BIT: usize = 23;
const ADDRESS_BITS: usize = LAST_BIT - FIRST_BIT + 1;
