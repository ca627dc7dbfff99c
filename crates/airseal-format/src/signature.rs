//! Signature blocks and the strict verification of one signature.

use sha2::{Digest as _, Sha256};

use crate::wire::{Reader, Writer, padding};
use crate::{Algorithm, Error, KeyId, Part, Reason};

mod ecdsa_p256;
mod ed25519;

/// Largest signature block, bytes.
pub const MAX_BLOCK_LEN: usize = 4096;
/// Most entries in one block.
pub const MAX_ENTRIES: usize = 8;

/// A public key as signature blocks and key files carry it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SigningPublicKey {
    /// 32 bytes, RFC 8032.
    Ed25519([u8; 32]),
    /// 65 bytes, uncompressed point (SEC 1).
    EcdsaP256([u8; 65]),
}

impl SigningPublicKey {
    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            SigningPublicKey::Ed25519(_) => Algorithm::Ed25519,
            SigningPublicKey::EcdsaP256(_) => Algorithm::EcdsaP256,
        }
    }

    /// The raw public key.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            SigningPublicKey::Ed25519(bytes) => bytes,
            SigningPublicKey::EcdsaP256(bytes) => bytes,
        }
    }

    /// The id that signature entries and keysets name it by.
    pub fn key_id(&self) -> KeyId {
        key_id(self.algorithm(), self.as_bytes())
    }

    /// Checks that the encoding is canonical, on the curve and not of small order.
    ///
    /// # Errors
    /// `BadKey`; `Unsupported` for P-256 when it is not built in.
    pub fn check(&self) -> Result<(), Reason> {
        match self {
            SigningPublicKey::Ed25519(bytes) => ed25519::check_key(bytes),
            SigningPublicKey::EcdsaP256(bytes) => ecdsa_p256::check_key(bytes),
        }
    }

    /// Verifies `signature` (64 bytes, Ed25519 or raw r || s) over the message parts in order.
    ///
    /// # Errors
    /// `BadSignature`, `BadKey`, `HighS` or `Unsupported`.
    pub fn verify(&self, message: &[&[u8]], signature: &[u8; 64]) -> Result<(), Reason> {
        match self {
            SigningPublicKey::Ed25519(key) => ed25519::verify(key, message, signature),
            SigningPublicKey::EcdsaP256(key) => ecdsa_p256::verify(key, message, signature),
        }
    }
}

/// First 8 bytes of SHA-256("airseal1 key" || algorithm || public key).
pub fn key_id(algorithm: Algorithm, public_key: &[u8]) -> KeyId {
    let hash = Sha256::new_with_prefix(b"airseal1 key")
        .chain_update(algorithm.number().to_le_bytes())
        .chain_update(public_key)
        .finalize();
    let mut id = [0; 8];
    id.copy_from_slice(&hash[..8]);
    KeyId(id)
}

/// One signature: who, how, and the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// How it was made.
    pub algorithm: Algorithm,
    /// The signer.
    pub key_id: KeyId,
    /// Public key (where the algorithm carries one) and signature.
    pub value: &'a [u8],
    offset: usize,
}

impl<'a> Entry<'a> {
    /// An entry for [`encode`]; `value` has [`Algorithm::value_len`] bytes.
    pub fn new(algorithm: Algorithm, key_id: KeyId, value: &'a [u8]) -> Self {
        Self {
            algorithm,
            key_id,
            value,
            offset: 0,
        }
    }

    /// An error about this entry.
    pub(crate) fn refuse(&self, field: &'static str, reason: Reason) -> Error {
        Error::new(Part::Signatures, field, self.offset, reason)
    }

    /// The public key an ECDSA entry carries.
    fn carried_key(&self) -> Option<[u8; 65]> {
        match self.algorithm {
            Algorithm::EcdsaP256 => self.value.first_chunk::<65>().copied(),
            _ => None,
        }
    }

    /// Verifies this entry with the key that is known to stand behind its key id.
    ///
    /// `known` compares a carried public key with what the trust root knows of it.
    pub(crate) fn verify(
        &self,
        ed25519_key: &[u8; 32],
        known: impl Fn(&[u8; 65]) -> bool,
        message: &[&[u8]],
    ) -> Result<(), Error> {
        let signature = self.value.last_chunk::<64>().copied();
        let (key, signature) = match (self.algorithm, self.carried_key(), signature) {
            (Algorithm::Ed25519, None, Some(signature)) => {
                (SigningPublicKey::Ed25519(*ed25519_key), signature)
            }
            (Algorithm::EcdsaP256, Some(key), Some(signature)) => {
                if !known(&key) || key_id(Algorithm::EcdsaP256, &key) != self.key_id {
                    return Err(self.refuse("public_key", Reason::KeyMismatch));
                }
                (SigningPublicKey::EcdsaP256(key), signature)
            }
            _ => return Err(self.refuse("algorithm", Reason::Unsupported)),
        };
        key.verify(message, &signature)
            .map_err(|reason| self.refuse("signature", reason))
    }
}

/// A well-formed signature block.
#[derive(Clone, Copy, Debug)]
pub struct SignatureBlock<'a> {
    bytes: &'a [u8],
}

impl<'a> SignatureBlock<'a> {
    /// Reads exactly one block.
    ///
    /// # Errors
    /// Names the field and its offset in the block.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (block, rest) = Self::parse_prefix(bytes)?;
        if !rest.is_empty() {
            return Err(Error::new(
                Part::Signatures,
                "end",
                block.bytes.len(),
                Reason::TrailingBytes,
            ));
        }
        Ok(block)
    }

    /// Reads a block from the front of `bytes` and returns what follows.
    ///
    /// # Errors
    /// Names the field and its offset in the block.
    pub fn parse_prefix(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let mut r = Reader::new(Part::Signatures, bytes);
        let count = read_count(&mut r)?;
        let mut last: Option<KeyId> = None;
        for _ in 0..count {
            let entry = read_entry(&mut r)?;
            if last.is_some_and(|last| entry.key_id <= last) {
                return Err(entry.refuse("key_id", Reason::NotAscending));
            }
            last = Some(entry.key_id);
            if r.offset() > MAX_BLOCK_LEN {
                return Err(entry.refuse("len", Reason::Limit));
            }
        }
        let (bytes, rest) = bytes.split_at(r.offset());
        Ok((Self { bytes }, rest))
    }

    /// The block's bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The entries, ascending by key id.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut r = Reader::new(Part::Signatures, self.bytes);
        let count = read_count(&mut r).expect("checked by parse_prefix");
        (0..count).map(move |_| read_entry(&mut r).expect("checked by parse_prefix"))
    }
}

/// Writes a signature block into `out` and returns its length. Entries ascend by key id.
///
/// # Errors
/// Every rule is checked on the result.
pub fn encode(entries: &[Entry<'_>], out: &mut [u8]) -> Result<usize, Error> {
    let mut w = Writer::new(Part::Signatures, out);
    let count = u8::try_from(entries.len()).unwrap_or(u8::MAX);
    w.put(&[count, 0, 0, 0])?;
    for entry in entries {
        let len = u16::try_from(entry.value.len())
            .map_err(|_| entry.refuse("len", Reason::OutOfRange))?;
        w.put(&entry.algorithm.number().to_le_bytes())?;
        w.u16(len)?;
        w.put(&entry.key_id.0)?;
        w.put(entry.value)?;
        w.zeros(padding(entry.value.len()))?;
    }
    let written = w.written();
    SignatureBlock::parse(out.get(..written).unwrap_or_default())?;
    Ok(written)
}

fn read_count(r: &mut Reader<'_>) -> Result<u8, Error> {
    let count = r.u8("count")?;
    if count == 0 || usize::from(count) > MAX_ENTRIES {
        return Err(r.refuse("count", Reason::OutOfRange));
    }
    r.zeros(3, "reserved")?;
    Ok(count)
}

fn read_entry<'a>(r: &mut Reader<'a>) -> Result<Entry<'a>, Error> {
    let offset = r.offset();
    let algorithm = Algorithm::from_number(r.i16("algorithm")?)
        .ok_or_else(|| r.refuse("algorithm", Reason::UnknownValue))?;
    let len = usize::from(r.u16("len")?);
    if len != algorithm.value_len() {
        return Err(r.refuse("len", Reason::OutOfRange));
    }
    let key_id = KeyId(r.array("key_id")?);
    let value = r.take(len, "value")?;
    r.zeros(padding(len), "padding")?;
    Ok(Entry {
        algorithm,
        key_id,
        value,
        offset,
    })
}
