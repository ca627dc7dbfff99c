//! Keys of a release and the decryption of verified chunks.

use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::payload::VerifiedChunk;
use crate::{ComponentId, ContentSuite, Error, Part, Reason, VerifiedManifest};

/// The 32-byte content encryption key (CEK) of one release.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ContentKey([u8; 32]);

impl ContentKey {
    /// Takes the key's bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes, for wrapping.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Everything that is derived from a content key: commitment, component keys, digest salts.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PayloadKeys {
    /// HKDF pseudo-random key; absent for content suite 0.
    prk: Option<[u8; 32]>,
    #[zeroize(skip)]
    suite: ContentSuite,
}

impl PayloadKeys {
    /// Derives the keys; for sealing. `suite` other than 0 needs a content key.
    pub fn derive(suite: ContentSuite, content_key: &ContentKey, salt: &[u8; 32]) -> Self {
        let prk = (suite != ContentSuite::None).then(|| {
            let (prk, _) = Hkdf::<Sha256>::extract(Some(salt), content_key.expose());
            prk.into()
        });
        Self { prk, suite }
    }

    /// The keys of a release that is not encrypted.
    pub fn plain() -> Self {
        Self {
            prk: None,
            suite: ContentSuite::None,
        }
    }

    /// Derives the keys and checks, in constant time, that the release commits to `content_key`.
    ///
    /// # Errors
    /// `CommitmentMismatch`; `Unsupported` when the release is not encrypted and has no key.
    pub fn open(manifest: &VerifiedManifest<'_>, content_key: &ContentKey) -> Result<Self, Error> {
        let header = manifest.header();
        if header.content_suite == ContentSuite::None {
            return Err(Error::new(
                Part::Envelope,
                "content_suite",
                18,
                Reason::MustBeZero,
            ));
        }
        let keys = Self::derive(header.content_suite, content_key, &header.payload_salt);
        if bool::from(keys.commitment().ct_eq(&header.cek_commit)) {
            Ok(keys)
        } else {
            Err(Error::new(
                Part::Envelope,
                "cek_commit",
                56,
                Reason::CommitmentMismatch,
            ))
        }
    }

    /// Commitment to the content key; zero for content suite 0.
    pub fn commitment(&self) -> [u8; 32] {
        *self.expand(&[b"airseal1 commit"])
    }

    /// Salt of the image digest of `place`; zero for content suite 0.
    pub fn digest_salt(&self, place: u8) -> [u8; 32] {
        *self.expand(&[b"airseal1 image", &[place]])
    }

    /// The key of one component; zero for content suite 0.
    pub fn component_key(&self, component: ComponentId) -> Zeroizing<[u8; 32]> {
        self.expand(&[
            b"airseal1 content",
            &[self.suite.number()],
            &component.0.to_le_bytes(),
        ])
    }

    /// The cipher of one component.
    pub fn cipher(&self, component: ComponentId) -> ChunkCipher {
        ChunkCipher {
            suite: self.suite,
            component,
            key: self.component_key(component),
        }
    }

    fn expand(&self, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        if let Some(prk) = &self.prk {
            Hkdf::<Sha256>::from_prk(prk)
                .and_then(|kdf| {
                    kdf.expand_multi_info(info, out.as_mut())
                        .map_err(|_| hkdf::InvalidPrkLength)
                })
                .expect("a 32-byte key and output fit HKDF-SHA256");
        }
        out
    }
}

/// Decrypts chunks of one component, once they are verified.
pub struct ChunkCipher {
    suite: ContentSuite,
    component: ComponentId,
    key: Zeroizing<[u8; 32]>,
}

impl ChunkCipher {
    /// Decrypts a verified chunk where it lies.
    ///
    /// # Errors
    /// `Order` when the chunk belongs to another component.
    pub fn decrypt<B: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
        chunk: VerifiedChunk<B>,
    ) -> Result<Plaintext<B>, Error> {
        if chunk.component != self.component {
            return Err(Error::new(Part::Payload, "component_id", 0, Reason::Order));
        }
        let mut bytes = chunk.ciphertext;
        self.apply(chunk.byte_offset, bytes.as_mut());
        Ok(Plaintext {
            byte_offset: chunk.byte_offset,
            bytes,
        })
    }

    fn apply(&self, byte_offset: u64, bytes: &mut [u8]) {
        let key: &[u8; 32] = &self.key;
        match self.suite {
            ContentSuite::None => {}
            ContentSuite::Aes256Ctr => {
                let mut cipher = ctr::Ctr32BE::<aes::Aes256>::new(key.into(), &[0; 16].into());
                cipher.seek(byte_offset);
                cipher.apply_keystream(bytes);
            }
            ContentSuite::ChaCha20 => {
                let mut cipher = chacha20::ChaCha20::new(key.into(), &[0; 12].into());
                cipher.seek(byte_offset);
                cipher.apply_keystream(bytes);
            }
        }
    }
}

/// Encrypts one component; for sealing.
///
/// A stream cipher that encrypts also decrypts, verified or not: that is why a device's [`ChunkCipher`] leads to none.
pub struct ChunkSealer(ChunkCipher);

impl ChunkSealer {
    /// The sealer of one component.
    pub fn new(keys: &PayloadKeys, component: ComponentId) -> Self {
        Self(keys.cipher(component))
    }

    /// Encrypts the bytes that lie at `byte_offset` of the component, a multiple of 64.
    pub fn encrypt(&self, byte_offset: u64, bytes: &mut [u8]) {
        self.0.apply(byte_offset, bytes);
    }
}

/// Bytes of the image, authenticated before they were decrypted.
pub struct Plaintext<B> {
    byte_offset: u64,
    bytes: B,
}

impl<B: AsRef<[u8]>> Plaintext<B> {
    /// Offset in the image, bytes.
    pub fn byte_offset(&self) -> u64 {
        self.byte_offset
    }

    /// The image's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// Gives the (decrypted) buffer back.
    pub fn into_inner(self) -> B {
        self.bytes
    }
}
