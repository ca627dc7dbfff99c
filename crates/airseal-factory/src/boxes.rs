//! A device's secrets at rest: sealed to the line, and to whoever keeps a copy.
//!
//! ```text
//! 0   8  "airsbox1"
//! 8   32 context: SHA-256("airseal1 box" || batch len u8 || batch || serial)
//! 40  1  number of envelopes
//! 41     per envelope: length u16, the envelope (docs/FORMAT.md, section on envelopes) with the context as its digest
//! ..     the secrets under ChaCha20-Poly1305, nonce zero, everything before as associated data
//! ```
//!
//! The key is HKDF-SHA256(content key, "airseal1 box") and used once; a box is never changed, only made anew.

use std::collections::BTreeSet;

use airseal_format::Digest;
use airseal_format::RecipientId;
use airseal_format::cipher::ContentKey;
use airseal_format::envelope::Envelope;
use airseal_pack::Error;
use airseal_pack::entropy::Entropy;
use airseal_pack::open::OpenKey;
use airseal_pack::recipient::Recipients;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secrets::DeviceSecrets;

const MAGIC: &[u8; 8] = b"airsbox1";
const HEAD: usize = 41;
const TAG: usize = 16;

/// Most recipients of one box.
pub const MAX_RECIPIENTS: usize = 16;

/// Which device a box belongs to; a box that was renamed does not open.
#[derive(Clone, Copy, Debug)]
pub struct BoxContext<'a> {
    /// The batch.
    pub batch: &'a str,
    /// The serial.
    pub serial: &'a str,
}

impl BoxContext<'_> {
    fn digest(&self) -> Digest {
        let hash = Sha256::new_with_prefix(b"airseal1 box")
            .chain_update([u8::try_from(self.batch.len()).unwrap_or(u8::MAX)])
            .chain_update(self.batch)
            .chain_update(self.serial)
            .finalize();
        Digest(hash.into())
    }
}

/// Seals the secrets of a device.
///
/// # Errors
/// Refused for more than [`MAX_RECIPIENTS`] or none, or a public key that is no valid point; `Io` if the source of randomness fails.
pub fn seal(
    context: BoxContext<'_>,
    secrets: &DeviceSecrets,
    recipients: &Recipients,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, Error> {
    if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
        return Err(Error::refused(
            "keys.at_rest",
            format!("names {} recipients", recipients.len()),
            format!("name 1 to {MAX_RECIPIENTS} public keys"),
        ));
    }
    let mut key = [0; 32];
    entropy.fill(&mut key)?;
    let key = ContentKey::new(key);
    let digest = context.digest();
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&digest.0);
    bytes.push(u8::try_from(recipients.len()).unwrap_or(u8::MAX));
    for (_, recipient) in recipients.iter() {
        let envelope = recipient.seal(digest, &key, entropy)?;
        let len = u16::try_from(envelope.len())
            .map_err(|_| Error::refused(context.serial, "its envelope is too long", ""))?;
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&envelope);
    }
    let mut body = secrets.encode();
    let tag = cipher(&key)
        .encrypt_inout_detached(&Nonce::default(), &bytes, body.as_mut_slice().into())
        .map_err(|_| Error::refused(context.serial, "its secrets can't be sealed", ""))?;
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&tag);
    Ok(bytes)
}

/// Opens a box.
///
/// # Errors
/// Refused if it is no box, belongs to another device, was not sealed to this key, or was changed.
pub fn open(context: BoxContext<'_>, bytes: &[u8], key: &OpenKey) -> Result<DeviceSecrets, Error> {
    let refuse = |what: &str, remedy: &str| {
        Error::refused(format!("the box of {}", context.serial), what, remedy)
    };
    let damaged = || {
        refuse(
            "is damaged",
            "bring it back from a copy: its keys can't be made again",
        )
    };
    let parts = Parts::split(bytes).ok_or_else(damaged)?;
    if parts.digest != context.digest().0 {
        return Err(refuse(
            "belongs to another device or batch",
            "put the boxes back under the names they were made with",
        ));
    }
    let ours = parts
        .envelopes
        .iter()
        .filter_map(|bytes| Envelope::parse(bytes).ok())
        .find(|envelope| envelope.header().recipient_id == key.recipient_id());
    let Some(envelope) = ours else {
        return Err(refuse(
            &format!("is not sealed to this key (id {})", key.recipient_id()),
            "open it with a key whose public half keys.at_rest names; once its board is finished, one of keys.escrow_to",
        ));
    };
    let content_key = key.unwrap_envelope(&envelope).map_err(|_| damaged())?;
    let mut body = Zeroizing::new(parts.body.to_vec());
    cipher(&content_key)
        .decrypt_inout_detached(
            &Nonce::default(),
            parts.head,
            body.as_mut_slice().into(),
            &parts.tag,
        )
        .map_err(|_| damaged())?;
    DeviceSecrets::decode(&body).ok_or_else(damaged)
}

/// Who can open a box, as it says itself; nobody if it is no box.
pub(crate) fn holders(bytes: &[u8]) -> BTreeSet<RecipientId> {
    let envelopes = Parts::split(bytes).map(|parts| parts.envelopes);
    envelopes
        .unwrap_or_default()
        .into_iter()
        .filter_map(|bytes| Envelope::parse(bytes).ok())
        .map(|envelope| envelope.header().recipient_id)
        .collect()
}

struct Parts<'b> {
    digest: [u8; 32],
    envelopes: Vec<&'b [u8]>,
    head: &'b [u8],
    body: &'b [u8],
    tag: Tag,
}

impl<'b> Parts<'b> {
    fn split(bytes: &'b [u8]) -> Option<Parts<'b>> {
        let (head, mut rest) = bytes.split_at_checked(HEAD)?;
        let (magic, head) = head.split_first_chunk::<8>()?;
        let (digest, count) = head.split_first_chunk::<32>()?;
        let count = usize::from(*count.first()?);
        if magic != MAGIC || count == 0 || count > MAX_RECIPIENTS {
            return None;
        }
        let mut envelopes = Vec::with_capacity(count);
        for _ in 0..count {
            let (len, after) = rest.split_first_chunk::<2>()?;
            let (envelope, after) =
                after.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            envelopes.push(envelope);
            rest = after;
        }
        let (body, tag) = rest.split_last_chunk::<TAG>()?;
        Some(Parts {
            digest: *digest,
            envelopes,
            head: bytes.get(..bytes.len() - rest.len())?,
            body,
            tag: (*tag).into(),
        })
    }
}

fn cipher(key: &ContentKey) -> ChaCha20Poly1305 {
    let mut derived = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, key.expose())
        .expand(b"airseal1 box", &mut *derived)
        .expect("32 bytes fit HKDF-SHA256");
    ChaCha20Poly1305::new(&Key::from(*derived))
}

#[cfg(test)]
mod tests {
    use airseal_pack::entropy::SystemEntropy;
    use airseal_pack::key::{KeyFile, KeyKind, PrivateKey};
    use airseal_pack::recipient::Recipient;

    use super::*;
    use crate::secrets::SecretKinds;

    const CONTEXT: BoxContext<'_> = BoxContext {
        batch: "b",
        serial: "S1",
    };

    fn keys() -> (OpenKey, Recipients) {
        let private = PrivateKey::generate(KeyKind::Device).expect("works");
        let open = OpenKey::new("line", &private).expect("works");
        let mut recipients = Recipients::new();
        recipients.add(Recipient::from_key("line", &KeyFile::Private(private)).expect("works"));
        (open, recipients)
    }

    fn sealed() -> (OpenKey, DeviceSecrets, Vec<u8>) {
        let (key, recipients) = keys();
        let kinds = SecretKinds {
            flash_key_len: 32,
            seed: true,
            nvs_keys: true,
            claim: true,
        };
        let secrets = DeviceSecrets::draw(kinds, &SystemEntropy).expect("works");
        let bytes = seal(CONTEXT, &secrets, &recipients, &SystemEntropy).expect("works");
        (key, secrets, bytes)
    }

    #[test]
    fn what_was_sealed_is_opened() {
        let (key, secrets, bytes) = sealed();
        let opened = open(CONTEXT, &bytes, &key).expect("works");
        assert_eq!(*opened.flash_key, *secrets.flash_key);
        assert_eq!(*opened.seed, *secrets.seed);
        assert_eq!(*opened.nvs_keys, *secrets.nvs_keys);
        assert_eq!(*opened.claim, *secrets.claim);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let (key, _, bytes) = sealed();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(CONTEXT, &damaged, &key).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(open(CONTEXT, &bytes[..len], &key).is_err(), "length {len}");
        }
    }

    #[test]
    fn a_renamed_box_or_another_key_does_not_open_it() {
        let (key, _, bytes) = sealed();
        let other = BoxContext {
            serial: "S2",
            ..CONTEXT
        };
        assert!(open(other, &bytes, &key).is_err());
        let (stranger, _) = keys();
        assert!(open(CONTEXT, &bytes, &stranger).is_err());
    }
}
