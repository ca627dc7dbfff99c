//! AES-256-GCM with the 16-byte IV of Espressif's container, in two parts that different threads can work on
//! (NIST SP 800-38D).

use aes::Aes256;
use aes::cipher::{
    BlockCipherEncrypt as _, KeyInit as _, KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _,
};
use ctr::Ctr32BE;
use ghash::GHash;
use ghash::universal_hash::UniversalHash as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Starts a message: what its bytes are changed with, on any core, and what sees the ciphertext in order.
pub(super) fn start(key: &[u8; 32], iv: &[u8; 16]) -> (Keystream, Tag) {
    let cipher = Aes256::new(key.into());
    let mut subkey = aes::Block::default();
    cipher.encrypt_block(&mut subkey);
    let hash = GHash::new(&subkey);
    let mut first = hash.clone();
    first.update_padded(iv);
    first.update_padded(&lengths(0, iv.len() as u64));
    let mut counter: [u8; 16] = first.finalize().into();
    let mut mask = counter.into();
    cipher.encrypt_block(&mut mask);
    let [.., a, b, c, d] = &mut counter;
    let next = u32::from_be_bytes([*a, *b, *c, *d]).wrapping_add(1);
    [*a, *b, *c, *d] = next.to_be_bytes();
    let keystream = Keystream {
        key: Zeroizing::new(*key),
        counter,
    };
    let tag = Tag {
        hash,
        mask: mask.into(),
        len: 0,
    };
    (keystream, tag)
}

/// Turns plaintext into ciphertext and back.
pub(super) struct Keystream {
    key: Zeroizing<[u8; 32]>,
    /// Of the first block.
    counter: [u8; 16],
}

impl Keystream {
    /// Changes bytes that lie at `offset` of the message.
    pub(super) fn apply(&self, offset: u64, bytes: &mut [u8]) {
        let mut stream = Ctr32BE::<Aes256>::new((&*self.key).into(), &self.counter.into());
        stream.seek(offset);
        stream.apply_keystream(bytes);
    }
}

/// The tag in the making.
pub(super) struct Tag {
    hash: GHash,
    mask: [u8; 16],
    len: u64,
}

impl Tag {
    /// Takes the next bytes of the ciphertext: a multiple of 16, but for the last ones.
    pub(super) fn absorb(&mut self, ciphertext: &[u8]) {
        self.hash.update_padded(ciphertext);
        self.len += ciphertext.len() as u64;
    }

    pub(super) fn finish(mut self) -> [u8; 16] {
        self.hash.update_padded(&lengths(0, self.len));
        let mut tag: [u8; 16] = self.hash.finalize().into();
        tag.iter_mut()
            .zip(self.mask)
            .for_each(|(byte, mask)| *byte ^= mask);
        tag
    }

    pub(super) fn verify(self, tag: &[u8; 16]) -> bool {
        self.finish().ct_eq(tag).into()
    }
}

/// The last block that GHASH takes: both lengths in bits.
fn lengths(additional: u64, text: u64) -> [u8; 16] {
    let mut block = [0; 16];
    block[..8].copy_from_slice(&(additional * 8).to_be_bytes());
    block[8..].copy_from_slice(&(text * 8).to_be_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_the_keystream_are_those_of_the_whole_across_the_end_of_the_counter() {
        let keystream = Keystream {
            key: Zeroizing::new([7; 32]),
            counter: *b"first 12 byt\xFF\xFF\xFF\xFE",
        };
        let mut whole = [0; 200];
        keystream.apply(0, &mut whole);
        let mut pieces = [0; 200];
        for (offset, piece) in (0..).step_by(48).zip(pieces.chunks_mut(48)) {
            keystream.apply(offset, piece);
        }
        assert_eq!(pieces, whole);
        // Only the last four bytes of the counter count (SP 800-38D, inc32).
        let after_the_end = Keystream {
            key: Zeroizing::new([7; 32]),
            counter: *b"first 12 byt\0\0\0\0",
        };
        let mut later = [0; 32];
        after_the_end.apply(0, &mut later);
        assert_eq!(later, whole[32..64]);
    }
}
