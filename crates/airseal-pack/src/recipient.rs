//! Who a release is sealed to, and wrapping its content key for them.

use std::collections::BTreeMap;
use std::path::Path;

use airseal_format::cipher::ContentKey;
use airseal_format::envelope::Header;
use airseal_format::recipient::{HPKE_INFO, group_recipient_id};
use airseal_format::{Digest, RecipientId, WrapSuite};
use hpke::aead::{AeadTag, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::{DhP256HkdfSha256, X25519HkdfSha256};
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::Error;
use crate::entropy::{Entropy, SeededRng};
use crate::key::{
    DevicePublicKey, GroupKey, KeyFile, KeyRole, Loaded, PassphraseSource, PrivateKey, PublicKey,
    Warning,
};

mod imports;
mod list;

pub use imports::{ImportRecord, RequestKey, parse_import_list, read_import_list};
pub use list::{DeviceRecord, parse_device_list, read_device_list};

/// Somebody a content key can be wrapped for.
#[derive(Clone)]
pub enum Recipient {
    /// One device, by its public key.
    Device(DevicePublicKey),
    /// All holders of a group key.
    Group(GroupKey),
}

impl Recipient {
    /// Reads the key file that `--to` names.
    ///
    /// # Errors
    /// As [`KeyFile::read`].
    pub fn read(
        path: &Path,
        passphrase: &dyn PassphraseSource,
    ) -> Result<Loaded<Recipient>, Error> {
        let loaded = KeyFile::read(path, Some(KeyRole::Recipient), passphrase)?;
        Ok(Loaded {
            key: Recipient::from_key(&path.display().to_string(), &loaded.key)?,
            warnings: loaded.warnings,
        })
    }

    /// The recipient behind a device or group key, private or public.
    ///
    /// # Errors
    /// Refused for a signing key.
    pub fn from_key(name: &str, key: &KeyFile) -> Result<Recipient, Error> {
        match (key, key.public()) {
            (KeyFile::Private(PrivateKey::Group(group)), _) => Ok(Recipient::Group(group.clone())),
            (_, Some(PublicKey::Device(public))) => Ok(Recipient::Device(public)),
            _ => Err(Error::refused(
                name,
                format!("a key of kind {} is not sealed to", key.kind()),
                "name a device or group key",
            )),
        }
    }

    /// The id that its envelope carries.
    pub fn id(&self) -> RecipientId {
        match self {
            Recipient::Device(key) => key.recipient_id(),
            Recipient::Group(group) => group_recipient_id(&group.key, group.generation),
        }
    }

    /// How the key is wrapped.
    pub fn suite(&self) -> WrapSuite {
        match self {
            Recipient::Device(key) => key.suite(),
            Recipient::Group(_) => WrapSuite::AesKeyWrap,
        }
    }

    /// Wraps `content_key` for the release `manifest`: a whole envelope.
    ///
    /// # Errors
    /// Refused if the public key is no valid point; `Io` if the entropy source fails.
    pub fn seal(
        &self,
        manifest: Digest,
        content_key: &ContentKey,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        let header = Header::encode(self.suite(), self.id(), manifest);
        match self {
            Recipient::Device(DevicePublicKey::X25519(key)) => {
                self.hpke::<X25519HkdfSha256>(key, &header, content_key, entropy)
            }
            Recipient::Device(DevicePublicKey::P256(key)) => {
                self.hpke::<DhP256HkdfSha256>(key, &header, content_key, entropy)
            }
            Recipient::Group(group) => Ok(group.identity().seal(manifest, content_key).to_vec()),
        }
    }

    fn hpke<K: Kem>(
        &self,
        public_key: &[u8],
        header: &[u8],
        content_key: &ContentKey,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        let refuse = |_| {
            Error::refused(
                format!("recipient {}", self.id()),
                "its public key is not a valid point",
                "remove it from the list",
            )
        };
        let key = K::PublicKey::from_bytes(public_key).map_err(refuse)?;
        let mut rng = SeededRng::draw(entropy)?;
        let mut body = Zeroizing::new(*content_key.expose());
        let (encapped, tag): (K::EncappedKey, AeadTag<ChaCha20Poly1305>) =
            hpke::single_shot_seal_inout_detached_with_rng::<ChaCha20Poly1305, HkdfSha256, K>(
                &OpModeS::Base,
                &key,
                &[HPKE_INFO, header].concat(),
                body.as_mut_slice().into(),
                b"",
                &mut rng,
            )
            .map_err(refuse)?;
        Ok([header, &encapped.to_bytes(), body.as_ref(), &tag.to_bytes()].concat())
    }
}

/// The devices of a list that carry `tag` (all without a tag) and may receive releases; a warning names each one left out.
///
/// # Errors
/// As [`read_device_list`]; refused if no device is left.
pub fn devices_to_seal_to(
    path: &Path,
    tag: Option<&str>,
) -> Result<(Vec<DeviceRecord>, Vec<Warning>), Error> {
    let records = read_device_list(path)?;
    let total = records.len();
    let (active, cut_off): (Vec<_>, Vec<_>) = records
        .into_iter()
        .filter(|record| tag.is_none_or(|tag| record.tags.iter().any(|t| t == tag)))
        .partition(DeviceRecord::may_receive);
    if active.is_empty() {
        let what = match tag {
            Some(tag) => {
                format!("no device with tag {tag} may receive releases, of {total} listed")
            }
            None => format!("no device may receive releases, of {total} listed"),
        };
        return Err(Error::refused(
            path.display().to_string(),
            what,
            "check the list and the tag",
        ));
    }
    let warnings = cut_off.into_iter().map(|record| {
        Warning::Note(format!(
            "{}: {} is {}, left out",
            path.display(),
            record.serial,
            record.state
        ))
    });
    Ok((active, warnings.collect()))
}

/// Recipients by id: each once, ascending as an envelope pack wants them.
#[derive(Clone, Default)]
pub struct Recipients {
    by_id: BTreeMap<RecipientId, Recipient>,
}

impl Recipients {
    /// Nobody yet.
    pub fn new() -> Recipients {
        Recipients::default()
    }

    /// Adds one; a recipient that is there already is not added twice.
    pub fn add(&mut self, recipient: Recipient) {
        self.by_id.insert(recipient.id(), recipient);
    }

    /// Adds the devices of a list that carry `tag` (all without a tag); revoked and retired ones are left out.
    ///
    /// # Errors
    /// As [`read_device_list`]; refused if no device is left.
    pub fn add_list(&mut self, path: &Path, tag: Option<&str>) -> Result<Vec<Warning>, Error> {
        let (records, warnings) = devices_to_seal_to(path, tag)?;
        for record in records {
            self.add(Recipient::Device(record.unseal));
        }
        Ok(warnings)
    }

    /// Takes one away; true if it was there.
    pub fn remove(&mut self, id: RecipientId) -> bool {
        self.by_id.remove(&id).is_some()
    }

    /// True if there is nobody.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All of them, ascending by id.
    pub fn iter(&self) -> impl Iterator<Item = (&RecipientId, &Recipient)> {
        self.by_id.iter()
    }

    /// Length of the envelope pack for them, bytes.
    pub(crate) fn pack_len(&self) -> u64 {
        self.by_id
            .values()
            .map(|recipient| recipient.suite().envelope_len() as u64)
            .sum()
    }
}
