//! The two numbers that stand in a block so that a ROM need not compute them: `R = 2^6144 mod n` and `M' = -1/n mod 2^32`.

use super::write::RSA_LEN;

const WORDS: usize = RSA_LEN / 4;

/// What belongs to a modulus.
pub(super) struct Numbers {
    /// `2^6144 mod n`, little-endian.
    pub(super) r: [u8; RSA_LEN],
    /// `-1/n mod 2^32`.
    pub(super) m_prime: u32,
}

impl Numbers {
    /// Computes them for a big-endian modulus; `None` if it is even.
    pub(super) fn of(modulus: &[u8; RSA_LEN]) -> Option<Numbers> {
        let mut n = [0u32; WORDS];
        for (word, bytes) in n.iter_mut().rev().zip(modulus.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        let lowest = n[0];
        if lowest & 1 == 0 {
            return None;
        }
        // Doubling 1 again and again, taking the modulus off whenever it fits: only a few values below n are ever held.
        let mut value = [0u32; WORDS];
        value[0] = 1;
        reduce(&mut value, false, &n);
        for _ in 0..2 * 8 * RSA_LEN {
            let carry = double(&mut value);
            reduce(&mut value, carry, &n);
        }
        let mut r = [0; RSA_LEN];
        for (bytes, word) in r.as_chunks_mut().0.iter_mut().zip(value) {
            *bytes = word.to_le_bytes();
        }
        // Newton: each step doubles the number of right bits, and an odd number is its own inverse in the lowest three.
        let mut inverse = lowest;
        for _ in 0..4 {
            inverse = inverse.wrapping_mul(2u32.wrapping_sub(lowest.wrapping_mul(inverse)));
        }
        Some(Numbers {
            r,
            m_prime: inverse.wrapping_neg(),
        })
    }
}

fn double(value: &mut [u32; WORDS]) -> bool {
    let mut carry = 0;
    for word in value {
        let next = *word >> 31;
        *word = *word << 1 | carry;
        carry = next;
    }
    carry != 0
}

/// Takes `n` off once if `value`, with `carry` above it, is not below it.
fn reduce(value: &mut [u32; WORDS], carry: bool, n: &[u32; WORDS]) {
    if !carry && value.iter().rev().lt(n.iter().rev()) {
        return;
    }
    let mut borrow = false;
    for (word, taken) in value.iter_mut().zip(n) {
        let (difference, first) = word.overflowing_sub(*taken);
        let (difference, second) = difference.overflowing_sub(u32::from(borrow));
        *word = difference;
        borrow = first || second;
    }
}
