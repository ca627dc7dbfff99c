//! AES-256-GCM with the 16-byte IV of Espressif's container, chunk by chunk (NIST SP 800-38D).

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _, KeyIvInit as _, StreamCipher as _};
use ctr::Ctr32BE;
use ghash::GHash;
use ghash::universal_hash::UniversalHash as _;
use subtle::ConstantTimeEq as _;

/// One message under way. Every chunk but the last has a multiple of 16 bytes.
pub(super) struct Gcm {
    stream: Ctr32BE<Aes256>,
    hash: GHash,
    mask: [u8; 16],
    len: u64,
}

impl Gcm {
    pub(super) fn new(key: &[u8; 32], iv: &[u8; 16]) -> Gcm {
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
        Gcm {
            stream: Ctr32BE::new(key.into(), &counter.into()),
            hash,
            mask: mask.into(),
            len: 0,
        }
    }

    pub(super) fn encrypt(&mut self, chunk: &mut [u8]) {
        self.stream.apply_keystream(chunk);
        self.absorb(chunk);
    }

    pub(super) fn decrypt(&mut self, chunk: &mut [u8]) {
        self.absorb(chunk);
        self.stream.apply_keystream(chunk);
    }

    pub(super) fn tag(mut self) -> [u8; 16] {
        self.hash.update_padded(&lengths(0, self.len));
        let mut tag: [u8; 16] = self.hash.finalize().into();
        tag.iter_mut()
            .zip(self.mask)
            .for_each(|(byte, mask)| *byte ^= mask);
        tag
    }

    pub(super) fn verify(self, tag: &[u8; 16]) -> bool {
        self.tag().ct_eq(tag).into()
    }

    fn absorb(&mut self, ciphertext: &[u8]) {
        self.hash.update_padded(ciphertext);
        self.len += ciphertext.len() as u64;
    }
}

/// The last block that GHASH takes: both lengths in bits.
fn lengths(additional: u64, text: u64) -> [u8; 16] {
    let mut block = [0; 16];
    block[..8].copy_from_slice(&(additional * 8).to_be_bytes());
    block[8..].copy_from_slice(&(text * 8).to_be_bytes());
    block
}
