//! Why a signature that came back from somewhere else does not verify: the usual mistakes, each by its name.

use airseal_esp::secure_boot::write::RSA_LEN;
use sha2::{Digest, Sha256};

use super::boot_key::{self, BootPublicKey};
use crate::Error;

const SALT_LEN: usize = 32;
const HASH_LEN: usize = 32;

/// The error for a `signature` by `key` that does not hold over `padded`.
pub(super) fn explain(
    name: &str,
    key: &BootPublicKey,
    padded: &[u8],
    unpadded: &[u8],
    signature: &[u8],
) -> Error {
    let digest = key.digest(padded);
    let unpadded = key.digest(unpadded);
    let twice = boot_key::digest(key.scheme(), &digest);
    let mistake = match key.rsa() {
        Some(rsa) => rsa_mistake(rsa, &digest, &unpadded, &twice, signature),
        None if key.verifies(&unpadded, signature) => Mistake::Unpadded,
        None if key.verifies(&twice, signature) => Mistake::HashedTwice,
        None => Mistake::KeyOrBytes,
    };
    let (message, remedy) = mistake.text();
    Error::refused(name, message, remedy)
}

enum Mistake {
    Key,
    KeyOrBytes,
    Bytes,
    Unpadded,
    HashedTwice,
    Padding,
    Salt(usize),
}

impl Mistake {
    fn text(&self) -> (String, &'static str) {
        match self {
            Mistake::Key => (
                "wrong key: the signature was made with another key than the public key given"
                    .to_owned(),
                "give the public key that belongs to the signing key",
            ),
            Mistake::KeyOrBytes => (
                "wrong key or other bytes: the signature does not hold over the padded image"
                    .to_owned(),
                "give the public key that belongs to the signing key, and sign exactly the bytes of the request",
            ),
            Mistake::Bytes => (
                "other bytes were signed than those of the request".to_owned(),
                "make the request anew from this image, and sign exactly its bytes",
            ),
            Mistake::Unpadded => (
                "unpadded input: the image was signed without its padding".to_owned(),
                "sign the bytes of the request: the image padded with 0xFF to a multiple of 4096",
            ),
            Mistake::HashedTwice => (
                "hashed twice: the digest was given where the bytes belong".to_owned(),
                "give the signing tool the bytes of the request, or tell it that the input is a digest",
            ),
            Mistake::Padding => (
                "wrong padding: the signature is PKCS #1 v1.5, not PSS".to_owned(),
                "sign with RSA-PSS, SHA-256, MGF1 with SHA-256 and 32 bytes of salt",
            ),
            Mistake::Salt(len) => (
                format!(
                    "wrong salt length: PSS with {len} bytes of salt, where {SALT_LEN} are needed"
                ),
                "sign with a salt of 32 bytes: openssl has -sigopt rsa_pss_saltlen:32",
            ),
        }
    }
}

fn rsa_mistake(
    (modulus, exponent): (&[u8], u32),
    digest: &[u8],
    unpadded: &[u8],
    twice: &[u8],
    signature: &[u8],
) -> Mistake {
    let (Some(modulus), Some(signature)) = (modulus.first_chunk(), signature.first_chunk()) else {
        return Mistake::Key;
    };
    let Some(encoded) = public_power(modulus, exponent, signature) else {
        return Mistake::Key;
    };
    if encoded.starts_with(&[0, 1, 0xFF, 0xFF]) {
        return Mistake::Padding;
    }
    let Some((salt, hash)) = open_pss(&encoded) else {
        return Mistake::Key;
    };
    let over = |digest: &[u8]| {
        let mut sha256 = Sha256::new();
        sha256.update([0; 8]);
        sha256.update(digest);
        sha256.update(&salt);
        sha256.finalize()[..] == hash
    };
    if over(digest) {
        Mistake::Salt(salt.len())
    } else if over(unpadded) {
        Mistake::Unpadded
    } else if over(twice) {
        Mistake::HashedTwice
    } else {
        Mistake::Bytes
    }
}

/// Takes the mask off (RFC 8017, 9.1.2, with MGF1 and SHA-256): salt and hash, whatever the salt's length.
fn open_pss(encoded: &[u8; RSA_LEN]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (rest, trailer) = encoded.split_at(RSA_LEN - 1);
    let (masked, hash) = rest.split_at(rest.len() - HASH_LEN);
    if trailer != [0xBC] {
        return None;
    }
    let mut data = masked.to_vec();
    for (counter, part) in data.chunks_mut(HASH_LEN).enumerate() {
        let mask = Sha256::new()
            .chain_update(hash)
            .chain_update((counter as u32).to_be_bytes())
            .finalize();
        for (byte, mask) in part.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    *data.first_mut()? &= 0x7F;
    let one = data.iter().position(|byte| *byte != 0)?;
    let (marker, salt) = data.get(one..)?.split_first()?;
    (*marker == 1).then(|| (salt.to_vec(), hash.to_vec()))
}

const LIMBS: usize = RSA_LEN / 8;

/// `value ^ exponent mod modulus`; only to tell mistakes apart, with nothing secret in it. `None` if `value` is too large.
fn public_power(
    modulus: &[u8; RSA_LEN],
    exponent: u32,
    value: &[u8; RSA_LEN],
) -> Option<[u8; RSA_LEN]> {
    let (n, base) = (limbs(modulus), limbs(value));
    if !less(&base, &n) || exponent == 0 {
        return None;
    }
    let mut result = base;
    for bit in (0..exponent.ilog2()).rev() {
        result = multiply(&result, &result, &n);
        if exponent >> bit & 1 == 1 {
            result = multiply(&result, &base, &n);
        }
    }
    let mut bytes = [0; RSA_LEN];
    for (bytes, limb) in bytes.as_chunks_mut().0.iter_mut().zip(result.iter().rev()) {
        *bytes = limb.to_be_bytes();
    }
    Some(bytes)
}

fn multiply(a: &[u64; LIMBS], b: &[u64; LIMBS], n: &[u64; LIMBS]) -> [u64; LIMBS] {
    let mut sum = [0; LIMBS];
    for limb in a.iter().rev() {
        for bit in (0..64).rev() {
            let double = sum;
            add(&mut sum, &double, n);
            if limb >> bit & 1 == 1 {
                add(&mut sum, b, n);
            }
        }
    }
    sum
}

/// `sum = (sum + other) mod n`, both below `n`.
fn add(sum: &mut [u64; LIMBS], other: &[u64; LIMBS], n: &[u64; LIMBS]) {
    let mut carry = false;
    for (limb, other) in sum.iter_mut().zip(other) {
        let (value, first) = limb.overflowing_add(*other);
        let (value, second) = value.overflowing_add(u64::from(carry));
        *limb = value;
        carry = first || second;
    }
    if !carry && less(sum, n) {
        return;
    }
    let mut borrow = false;
    for (limb, n) in sum.iter_mut().zip(n) {
        let (value, first) = limb.overflowing_sub(*n);
        let (value, second) = value.overflowing_sub(u64::from(borrow));
        *limb = value;
        borrow = first || second;
    }
}

fn less(a: &[u64; LIMBS], b: &[u64; LIMBS]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

fn limbs(bytes: &[u8; RSA_LEN]) -> [u64; LIMBS] {
    let mut limbs = [0; LIMBS];
    for (limb, bytes) in limbs.iter_mut().rev().zip(bytes.as_chunks().0) {
        *limb = u64::from_be_bytes(*bytes);
    }
    limbs
}
