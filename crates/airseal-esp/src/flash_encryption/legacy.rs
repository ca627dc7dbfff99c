//! The original ESP32's scheme: AES-256 with a key that depends on the address.
//!
//! Nearly all of its time goes into the key schedule, of which there is one for every 32 bytes. So only the one for the
//! direction in use is made, and it is not wiped each time: the next one takes its place, and the last one is wiped.

use core::mem;

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes256Dec, Aes256Enc, Block};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::BLOCK_LEN;

/// A key, and for each address bit what it flips in the key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Legacy {
    key: Key,
    #[zeroize(skip)]
    flips: [Key; ADDRESS_BITS],
}

/// The 32 bytes of a key as two numbers in little-endian order, since it is flipped bit by bit far more often than used as bytes.
#[derive(Clone, Copy, Zeroize)]
struct Key([u128; 2]);

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
        let legacy = Legacy {
            key: Key::from_bytes(&full),
            flips: flips.map(|flip| Key::from_bytes(&flip)),
        };
        full.zeroize();
        legacy
    }

    pub(super) fn encrypt(&self, address: u32, bytes: &mut [u8]) {
        self.apply(address, bytes, Aes256Dec::decrypt_blocks);
    }

    pub(super) fn decrypt(&self, address: u32, bytes: &mut [u8]) {
        self.apply(address, bytes, Aes256Enc::encrypt_blocks);
    }

    fn apply<C: KeyInit + aes::cipher::KeySizeUser<KeySize = aes::cipher::consts::U32>>(
        &self,
        address: u32,
        bytes: &mut [u8],
        run: impl Fn(&C, &mut [Block]),
    ) {
        let (chunks, _) = bytes.as_chunks_mut::<BLOCK_LEN>();
        let mut rest = Block::cast_slice_from_core_mut(chunks);
        let mut place = address as usize;
        let mut key = Zeroizing::new(self.key_at(place));
        let mut key_bytes = Zeroizing::new([0; 32]);
        loop {
            key.write_to(&mut key_bytes);
            let aes = C::new(Array::cast_from_core(&key_bytes));
            let room = (ROW_LEN - place % ROW_LEN) / BLOCK_LEN;
            let (now, later) = rest.split_at_mut(room.min(rest.len()));
            for block in now.iter_mut() {
                block.0.reverse();
            }
            run(&aes, now);
            for block in now.iter_mut() {
                block.0.reverse();
            }
            if later.is_empty() {
                return;
            }
            mem::forget(aes);
            rest = later;
            let next = place + room * BLOCK_LEN;
            self.flip(&mut key, place ^ next);
            place = next;
        }
    }

    /// The key of the 32-byte row at `place`.
    fn key_at(&self, place: usize) -> Key {
        let mut key = self.key;
        self.flip(&mut key, place);
        key
    }

    /// Flips in the key what belongs to the address bits that are set in `bits`.
    fn flip(&self, key: &mut Key, bits: usize) {
        let mut bits = (bits >> FIRST_BIT) & ((1 << ADDRESS_BITS) - 1);
        while bits != 0 {
            if let Some(flip) = self.flips.get(bits.trailing_zeros() as usize) {
                key.0[0] ^= flip.0[0];
                key.0[1] ^= flip.0[1];
            }
            bits &= bits - 1;
        }
    }
}

impl Key {
    fn from_bytes(bytes: &[u8; 32]) -> Key {
        let (halves, _) = bytes.as_chunks::<16>();
        let mut key = Key([0; 2]);
        for (number, half) in key.0.iter_mut().zip(halves) {
            *number = u128::from_le_bytes(*half);
        }
        key
    }

    fn write_to(&self, bytes: &mut [u8; 32]) {
        let (halves, _) = bytes.as_chunks_mut::<16>();
        for (half, number) in halves.iter_mut().zip(self.0) {
            *half = number.to_le_bytes();
        }
    }
}

/// Bytes that one tweaked key covers.
const ROW_LEN: usize = 32;
/// The lowest and the highest address bit that tweak the key.
const FIRST_BIT: usize = 5;
const LAST_BIT: usize = 23;
const ADDRESS_BITS: usize = LAST_BIT - FIRST_BIT + 1;
