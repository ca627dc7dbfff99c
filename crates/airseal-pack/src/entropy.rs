//! Random bytes as an argument, so that tests can repeat a sealing to the byte.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Error;
use crate::key::fill_random;

/// A source of random bytes.
pub trait Entropy: Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// `Io` if the source fails; nothing may be sealed with what it left behind.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error>;
}

/// The operating system's generator.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        fill_random(bytes)
    }
}

/// Hands 32 drawn bytes to a library that expects a generator which can't fail.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SeededRng {
    seed: [u8; 32],
    counter: u64,
}

impl SeededRng {
    pub(crate) fn draw(entropy: &dyn Entropy) -> Result<SeededRng, Error> {
        let mut rng = SeededRng {
            seed: [0; 32],
            counter: 0,
        };
        entropy.fill(&mut rng.seed)?;
        Ok(rng)
    }
}

impl TryRng for SeededRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(32) {
            let block = Sha256::new()
                .chain_update(self.seed)
                .chain_update(self.counter.to_le_bytes())
                .finalize();
            let block: Zeroizing<[u8; 32]> = Zeroizing::new(block.into());
            self.counter += 1;
            for (to, from) in chunk.iter_mut().zip(block.iter()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for SeededRng {}
