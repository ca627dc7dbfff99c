//! Key files: PEM that openssl reads, with one line before it that says what the key is for.
//!
//! Private keys are PKCS#8, public keys SubjectPublicKeyInfo; a group key has a PEM label of its own. The line
//! `airseal-kind: ` keeps a device key from being taken for a signing key. Files from elsewhere have no such line: they
//! are taken by their algorithm, and a P-256 key as what the option that names it needs.

use std::fs;
use std::path::Path;

use airseal_format::recipient::group::GroupIdentity;
use airseal_format::recipient::{group_recipient_id, recipient_id};
use airseal_format::signature::SigningPublicKey;
use airseal_format::{RecipientId, WrapSuite};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Error;

mod embed;
pub(crate) mod pem;
pub(crate) mod pkcs;

pub use embed::{EmbedFormat, embed};
pub use pkcs::{private_to_pem, public_to_pem};

/// Longest key file that is read, bytes.
pub const MAX_KEY_FILE: u64 = 64 * 1024;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Signs releases and keysets, Ed25519.
    Signing,
    /// Signs releases and keysets, ECDSA P-256.
    SigningP256,
    /// Opens envelopes, X25519.
    Device,
    /// Opens envelopes, P-256.
    DeviceP256,
    /// Opens envelopes, a symmetric key that several devices share.
    Group,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [KeyKind; 5] = [
        KeyKind::Signing,
        KeyKind::SigningP256,
        KeyKind::Device,
        KeyKind::DeviceP256,
        KeyKind::Group,
    ];

    /// The name on the command line and in key files.
    pub fn name(self) -> &'static str {
        match self {
            KeyKind::Signing => "signing",
            KeyKind::SigningP256 => "signing-p256",
            KeyKind::Device => "device",
            KeyKind::DeviceP256 => "device-p256",
            KeyKind::Group => "group",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<KeyKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What an option may use it as.
    pub fn role(self) -> KeyRole {
        match self {
            KeyKind::Signing | KeyKind::SigningP256 => KeyRole::Signing,
            KeyKind::Device | KeyKind::DeviceP256 | KeyKind::Group => KeyRole::Recipient,
        }
    }
}

impl std::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What an option needs a key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// `--sign`, `--trust`, `--root`, `--release`.
    Signing,
    /// `--to`, `--key`, `--only`.
    Recipient,
}

impl KeyRole {
    fn wanted(self) -> &'static str {
        match self {
            KeyRole::Signing => "a signing key (signing or signing-p256)",
            KeyRole::Recipient => "a device or group key (device, device-p256 or group)",
        }
    }
}

/// A symmetric key shared by a group of devices, in one generation.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct GroupKey {
    /// The 32 secret bytes.
    pub(crate) key: [u8; 32],
    /// Counts renewals; part of the recipient id.
    pub(crate) generation: u32,
}

impl GroupKey {
    /// The next generation: a fresh key, not derived from this one.
    ///
    /// # Errors
    /// `Io` if the system gives no random bytes; refused after 2^32 - 1 generations.
    pub fn rotate(&self) -> Result<GroupKey, Error> {
        let generation = self.generation.checked_add(1).ok_or_else(|| {
            Error::refused(
                "group key",
                "the last generation is reached",
                "make a new group key",
            )
        })?;
        Ok(GroupKey {
            key: *random_32()?,
            generation,
        })
    }

    /// What opens envelopes with it.
    pub fn identity(&self) -> GroupIdentity {
        GroupIdentity::new(self.key, self.generation)
    }

    /// Which renewal this is, from 1.
    pub fn generation(&self) -> u32 {
        self.generation
    }
}

/// A private key of any kind. Wiped when dropped, never printed.
#[derive(Clone)]
pub enum PrivateKey {
    /// Ed25519 seed (RFC 8032).
    Signing(Zeroizing<[u8; 32]>),
    /// P-256 scalar that signs.
    SigningP256(p256::SecretKey),
    /// X25519 secret (RFC 7748).
    Device(Zeroizing<[u8; 32]>),
    /// P-256 scalar that opens envelopes.
    DeviceP256(p256::SecretKey),
    /// A group key.
    Group(GroupKey),
}

impl PrivateKey {
    /// Makes a fresh key of `kind`.
    ///
    /// # Errors
    /// `Io` if the system gives no random bytes.
    pub fn generate(kind: KeyKind) -> Result<PrivateKey, Error> {
        Ok(match kind {
            KeyKind::Signing => PrivateKey::Signing(random_32()?),
            KeyKind::SigningP256 => PrivateKey::SigningP256(random_p256()?),
            KeyKind::Device => PrivateKey::Device(random_32()?),
            KeyKind::DeviceP256 => PrivateKey::DeviceP256(random_p256()?),
            KeyKind::Group => PrivateKey::Group(GroupKey {
                key: *random_32()?,
                generation: 1,
            }),
        })
    }

    /// What the key is for.
    pub fn kind(&self) -> KeyKind {
        match self {
            PrivateKey::Signing(_) => KeyKind::Signing,
            PrivateKey::SigningP256(_) => KeyKind::SigningP256,
            PrivateKey::Device(_) => KeyKind::Device,
            PrivateKey::DeviceP256(_) => KeyKind::DeviceP256,
            PrivateKey::Group(_) => KeyKind::Group,
        }
    }

    /// The public half; `None` for a group key, which has none.
    pub fn public(&self) -> Option<PublicKey> {
        match self {
            PrivateKey::Signing(seed) => {
                let key = ed25519_dalek::SigningKey::from_bytes(seed);
                Some(PublicKey::Signing(SigningPublicKey::Ed25519(
                    key.verifying_key().to_bytes(),
                )))
            }
            PrivateKey::SigningP256(secret) => Some(PublicKey::Signing(
                SigningPublicKey::EcdsaP256(uncompressed(&secret.public_key())),
            )),
            PrivateKey::Device(secret) => {
                let secret = x25519_dalek::StaticSecret::from(**secret);
                Some(PublicKey::Device(DevicePublicKey::X25519(
                    x25519_dalek::PublicKey::from(&secret).to_bytes(),
                )))
            }
            PrivateKey::DeviceP256(secret) => Some(PublicKey::Device(DevicePublicKey::P256(
                uncompressed(&secret.public_key()),
            ))),
            PrivateKey::Group(_) => None,
        }
    }
}

/// A public key of a device, to seal to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePublicKey {
    /// 32 bytes (RFC 7748).
    X25519([u8; 32]),
    /// 65 bytes, uncompressed point (SEC 1).
    P256([u8; 65]),
}

impl DevicePublicKey {
    /// How a content key is wrapped for it.
    pub fn suite(&self) -> WrapSuite {
        match self {
            DevicePublicKey::X25519(_) => WrapSuite::HpkeX25519,
            DevicePublicKey::P256(_) => WrapSuite::HpkeP256,
        }
    }

    /// The raw key.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            DevicePublicKey::X25519(bytes) => bytes,
            DevicePublicKey::P256(bytes) => bytes,
        }
    }

    /// The id that envelopes and target lists name it by.
    pub fn recipient_id(&self) -> RecipientId {
        recipient_id(self.suite(), self.as_bytes())
    }
}

/// A public key of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Verifies signatures.
    Signing(SigningPublicKey),
    /// Is sealed to.
    Device(DevicePublicKey),
}

impl PublicKey {
    /// What the key is for.
    pub fn kind(&self) -> KeyKind {
        match self {
            PublicKey::Signing(SigningPublicKey::Ed25519(_)) => KeyKind::Signing,
            PublicKey::Signing(SigningPublicKey::EcdsaP256(_)) => KeyKind::SigningP256,
            PublicKey::Device(DevicePublicKey::X25519(_)) => KeyKind::Device,
            PublicKey::Device(DevicePublicKey::P256(_)) => KeyKind::DeviceP256,
        }
    }

    /// The raw key.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            PublicKey::Signing(key) => key.as_bytes(),
            PublicKey::Device(key) => key.as_bytes(),
        }
    }

    /// SHA-256 of the DER SubjectPublicKeyInfo, as `openssl pkey -pubin -outform DER | sha256sum` gives it.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(pkcs::public_to_der(self)).into()
    }

    /// Key id or recipient id in hexadecimal.
    pub fn id(&self) -> String {
        match self {
            PublicKey::Signing(key) => key.key_id().to_string(),
            PublicKey::Device(key) => key.recipient_id().to_string(),
        }
    }
}

/// What a key file holds.
#[derive(Clone)]
pub enum KeyFile {
    /// A private key (or a group key).
    Private(PrivateKey),
    /// A public key.
    Public(PublicKey),
}

impl KeyFile {
    /// Reads a key file.
    ///
    /// `role` is what the caller needs it for; a key of another kind is refused by name. With `None` every kind is taken.
    ///
    /// # Errors
    /// `Io` if the file can't be read; refused with the reason if it is no key, two keys, of the wrong kind, or encrypted
    /// under another passphrase.
    pub fn read(
        path: &Path,
        role: Option<KeyRole>,
        passphrase: &dyn PassphraseSource,
    ) -> Result<Loaded<KeyFile>, Error> {
        let name = path.display().to_string();
        let (text, warning) = read_key_text(path)?;
        let key = Self::parse(&name, &text, role, passphrase)?;
        let warnings = match key {
            KeyFile::Private(_) => warning.into_iter().collect(),
            KeyFile::Public(_) => Vec::new(),
        };
        Ok(Loaded { key, warnings })
    }

    /// Reads the text of a key file; `name` is for messages.
    ///
    /// # Errors
    /// As [`KeyFile::read`].
    pub fn parse(
        name: &str,
        text: &[u8],
        role: Option<KeyRole>,
        passphrase: &dyn PassphraseSource,
    ) -> Result<KeyFile, Error> {
        let block = pem::find(name, text)?;
        let key = pkcs::decode(name, &block, role, passphrase)?;
        match role {
            Some(role) if role != key.kind().role() => Err(Error::refused(
                name,
                format!(
                    "this is a key of kind {}, needed is {}",
                    key.kind(),
                    role.wanted()
                ),
                "",
            )),
            _ => Ok(key),
        }
    }

    /// What the key is for.
    pub fn kind(&self) -> KeyKind {
        match self {
            KeyFile::Private(key) => key.kind(),
            KeyFile::Public(key) => key.kind(),
        }
    }

    /// The public half; `None` for a group key.
    pub fn public(&self) -> Option<PublicKey> {
        match self {
            KeyFile::Private(key) => key.public(),
            KeyFile::Public(key) => Some(*key),
        }
    }

    /// The id that envelopes name the key by; `None` for signing keys.
    pub fn recipient_id(&self) -> Option<RecipientId> {
        match (self, self.public()) {
            (KeyFile::Private(PrivateKey::Group(group)), _) => {
                Some(group_recipient_id(&group.key, group.generation))
            }
            (_, Some(PublicKey::Device(key))) => Some(key.recipient_id()),
            _ => None,
        }
    }

    /// Everything about the key that is not secret.
    pub fn info(&self) -> KeyInfo {
        let public = self.public();
        KeyInfo {
            kind: self.kind().name(),
            private: matches!(self, KeyFile::Private(_)),
            id: match (&public, self.recipient_id()) {
                (Some(public), _) => public.id(),
                (None, Some(id)) => id.to_string(),
                (None, None) => String::new(),
            },
            fingerprint: public.map(|key| hex::encode(key.fingerprint())),
            public_key: public.map(|key| hex::encode(key.as_bytes())),
            generation: match self {
                KeyFile::Private(PrivateKey::Group(group)) => Some(group.generation),
                _ => None,
            },
        }
    }
}

/// What `key show` prints.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KeyInfo {
    /// One of the five kinds.
    pub kind: &'static str,
    /// True if the file holds the secret half.
    pub private: bool,
    /// Key id (8 bytes) of a signing key, recipient id (16 bytes) of a device or group key, hexadecimal.
    pub id: String,
    /// SHA-256 of the DER public key, hexadecimal; none for a group key.
    pub fingerprint: Option<String>,
    /// The raw public key, hexadecimal; none for a group key.
    pub public_key: Option<String>,
    /// The generation of a group key.
    pub generation: Option<u32>,
}

/// A key and what should be said about its file.
pub struct Loaded<K> {
    /// The key.
    pub key: K,
    /// Things to warn about.
    pub warnings: Vec<Warning>,
}

/// Something that does not stop the work, but should be put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A private key file that others can read.
    ReadableByOthers {
        /// The file.
        file: String,
        /// Its mode bits.
        mode: u32,
    },
    /// Anything else, in words.
    Note(String),
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Warning::ReadableByOthers { file, mode } => {
                write!(
                    f,
                    "{file}: private key can be read by others (mode {mode:04o}); chmod 600 {file}"
                )
            }
            Warning::Note(text) => f.write_str(text),
        }
    }
}

/// Where passphrases of encrypted private keys come from.
pub trait PassphraseSource {
    /// The passphrase for `file`; `None` if there is none to be had.
    ///
    /// # Errors
    /// Whatever went wrong while asking.
    fn passphrase(&self, file: &str) -> Result<Option<Zeroizing<String>>, Error>;
}

impl<F: Fn(&str) -> Result<Option<Zeroizing<String>>, Error>> PassphraseSource for F {
    fn passphrase(&self, file: &str) -> Result<Option<Zeroizing<String>>, Error> {
        self(file)
    }
}

/// Has no passphrase: encrypted keys are refused.
pub struct NoPassphrase;

impl PassphraseSource for NoPassphrase {
    fn passphrase(&self, _: &str) -> Result<Option<Zeroizing<String>>, Error> {
        Ok(None)
    }
}

/// 32 bytes from the operating system.
pub(crate) fn random_32() -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill_random(bytes.as_mut())?;
    Ok(bytes)
}

/// Fills `bytes` from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| Error::Io {
        action: "can't get random bytes from the operating system".to_owned(),
        source: std::io::Error::other(error.to_string()),
    })
}

fn random_p256() -> Result<p256::SecretKey, Error> {
    loop {
        if let Ok(secret) = p256::SecretKey::from_slice(random_32()?.as_ref()) {
            return Ok(secret);
        }
    }
}

fn uncompressed(key: &p256::PublicKey) -> [u8; 65] {
    use p256::elliptic_curve::sec1::ToSec1Point;
    let mut bytes = [0; 65];
    bytes.copy_from_slice(key.to_sec1_point(false).as_bytes());
    bytes
}

pub(crate) fn read_key_text(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Option<Warning>), Error> {
    let metadata = fs::metadata(path).map_err(|error| Error::io("read", path, error))?;
    if metadata.is_dir() {
        return Err(Error::refused(
            path.display().to_string(),
            "is a directory, not a key file",
            "name the file inside it",
        ));
    }
    if metadata.len() > MAX_KEY_FILE {
        return Err(Error::refused(
            path.display().to_string(),
            format!(
                "is no key file: {} bytes, a key file has at most {MAX_KEY_FILE}",
                metadata.len()
            ),
            "",
        ));
    }
    let text = fs::read(path).map_err(|error| Error::io("read", path, error))?;
    Ok((Zeroizing::new(text), mode_warning(path, &metadata)))
}

/// The warning for a file with a secret that others can read; `None` for what is no file.
pub fn readable_by_others(path: &Path) -> Option<Warning> {
    mode_warning(path, &fs::metadata(path).ok()?)
}

#[cfg(unix)]
fn mode_warning(path: &Path, metadata: &fs::Metadata) -> Option<Warning> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    (metadata.is_file() && mode & 0o044 != 0).then(|| Warning::ReadableByOthers {
        file: path.display().to_string(),
        mode,
    })
}

#[cfg(not(unix))]
fn mode_warning(_: &Path, _: &fs::Metadata) -> Option<Warning> {
    None
}
