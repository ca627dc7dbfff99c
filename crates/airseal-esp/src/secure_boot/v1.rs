//! Secure boot version 1 of the original ESP32 (ESP-IDF `docs/en/security/secure-boot-v1.rst`).
//!
//! An application is signed with ECDSA P-256 over SHA-256; version, r and s stand right behind it. The bootloader has a
//! digest of its own under a symmetric key, which lies at address 0.

use aes::Aes256;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use sha2::{Digest, Sha512};

/// Bytes of a signature with its version.
pub const SIGNATURE_LEN: usize = 68;
/// Bytes of the random start of a bootloader's digest.
pub const IV_LEN: usize = 128;
/// Where the bootloader begins behind its digest, in the file that is flashed to address 0.
pub const BOOTLOADER_AT: usize = 0x1000;

/// Writes version 0 and `r || s`, big-endian.
pub fn encode(signature: &[u8; 64]) -> [u8; SIGNATURE_LEN] {
    let mut bytes = [0; SIGNATURE_LEN];
    bytes[4..].copy_from_slice(signature);
    bytes
}

/// Reads `r || s` from the last bytes of a signed file; `None` if the file is shorter or the version is not 0.
pub fn parse(file: &[u8]) -> Option<&[u8; 64]> {
    let signature: &[u8; SIGNATURE_LEN] = file.last_chunk()?;
    let (version, signature) = signature.split_first_chunk::<4>()?;
    if *version != [0; 4] {
        return None;
    }
    signature.first_chunk()
}

/// The digest that the ROM computes over a bootloader. `hash_appended` is the flag of its header: the ROM leaves out a tail
/// that holds nothing but the hash.
pub fn bootloader_digest(
    key: &[u8; 32],
    iv: &[u8; IV_LEN],
    bootloader: &[u8],
    hash_appended: bool,
) -> [u8; 64] {
    let cipher = Aes256::new(&Array(*key));
    let mut digest = Sha512::new();
    let tail = bootloader.len() % 128;
    let image = if hash_appended && tail <= 32 {
        bootloader.split_at(bootloader.len() - tail).0
    } else {
        bootloader
    };
    for part in iv.chunks(16).chain(image.chunks(16)) {
        absorb(&cipher, &mut digest, part);
    }
    let end = image.len().div_ceil(16) * 16;
    for _ in (end..end.next_multiple_of(128)).step_by(16) {
        absorb(&cipher, &mut digest, &[]);
    }
    let mut result: [u8; 64] = digest.finalize().into();
    result
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .for_each(|word| word.reverse());
    result
}

/// Takes one block of 16 bytes; a shorter one is filled up with 0xFF.
fn absorb(cipher: &Aes256, digest: &mut Sha512, part: &[u8]) {
    let mut block = [0xFF; 16];
    for (to, from) in block.iter_mut().zip(part) {
        *to = *from;
    }
    block.reverse();
    let mut block = Array(block);
    cipher.encrypt_block(&mut block);
    // Reversed as a whole and then in every word: the words in reverse order.
    for word in block.0.as_chunks::<4>().0.iter().rev() {
        digest.update(word);
    }
}
