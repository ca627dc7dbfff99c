//! The keys of both schemes: read from PEM, or derived as the device does it.

use std::num::NonZeroU32;
use std::path::Path;

use airseal_esp::encrypted_img::{DEVICE_KEY_ITERATIONS, DEVICE_KEY_SALT};
use aws_lc_rs::pbkdf2;
use aws_lc_rs::rsa::{PrivateDecryptingKey, PublicEncryptingKey};
use pkcs8::{EncodePublicKey as _, LineEnding};
use zeroize::Zeroizing;

use crate::Error;
use crate::bridge::keys::BridgeKey;
use crate::bundle::read_small;
use crate::key::read_key_text;

/// What an image is encrypted to.
pub enum EncryptKey {
    /// RSA-3072, one key for a fleet.
    Rsa(PublicEncryptingKey),
    /// ECIES on P-256, usually one key per device.
    Ecies(p256::PublicKey),
}

/// What opens an image.
pub enum DecryptKey {
    /// RSA-3072.
    Rsa(PrivateDecryptingKey),
    /// ECIES on P-256.
    Ecies(p256::SecretKey),
}

impl EncryptKey {
    /// The scheme's name in listings.
    pub fn scheme(&self) -> &'static str {
        match self {
            EncryptKey::Rsa(_) => "rsa-3072",
            EncryptKey::Ecies(_) => "ecies-p256",
        }
    }

    /// Reads a PEM file; of a private key the public half is taken.
    ///
    /// # Errors
    /// `Io`; refused if it is no RSA-3072 or P-256 key.
    pub fn read(path: &Path) -> Result<EncryptKey, Error> {
        let (text, _) = read_key_text(path)?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads PEM text; `name` is for messages.
    ///
    /// # Errors
    /// Refused if it is no RSA-3072 or P-256 key.
    pub fn parse(name: &str, text: &[u8]) -> Result<EncryptKey, Error> {
        match BridgeKey::from_pem(name, text)?.public()? {
            BridgeKey::RsaPublic(der) => {
                let key = PublicEncryptingKey::from_der(&der).map_err(|_| damaged(name))?;
                check_bits(name, key.key_size_bits())?;
                Ok(EncryptKey::Rsa(key))
            }
            BridgeKey::P256Public(point) => Ok(EncryptKey::Ecies(point)),
            _ => Err(wrong_kind(name)),
        }
    }
}

impl DecryptKey {
    /// Reads a PEM file with a private key.
    ///
    /// # Errors
    /// `Io`; refused if it is no private RSA-3072 or P-256 key.
    pub fn read(path: &Path) -> Result<DecryptKey, Error> {
        let (text, _) = read_key_text(path)?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads PEM text; `name` is for messages.
    ///
    /// # Errors
    /// Refused if it is no private RSA-3072 or P-256 key.
    pub fn parse(name: &str, text: &[u8]) -> Result<DecryptKey, Error> {
        match BridgeKey::from_pem(name, text)? {
            BridgeKey::RsaPrivate(der) => {
                let key = PrivateDecryptingKey::from_pkcs8(&der).map_err(|_| damaged(name))?;
                check_bits(name, key.key_size_bits())?;
                Ok(DecryptKey::Rsa(key))
            }
            BridgeKey::P256Private(secret) => Ok(DecryptKey::Ecies(secret)),
            BridgeKey::RsaPublic(_) | BridgeKey::P256Public(_) => Err(Error::refused(
                name,
                "is a public key and opens nothing",
                "name the private key",
            )),
            _ => Err(wrong_kind(name)),
        }
    }
}

/// The ECIES key that a device derives from its HMAC key (eFuse purpose HMAC_UP).
///
/// # Errors
/// Refused for the few keys (about one of 2^32) that lead to no scalar of the curve: the device refuses them as well.
pub fn device_key(name: &str, hmac_key: &[u8; 32]) -> Result<p256::SecretKey, Error> {
    let rounds = NonZeroU32::new(DEVICE_KEY_ITERATIONS).expect("a constant above zero");
    let mut scalar = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        &DEVICE_KEY_SALT,
        hmac_key,
        scalar.as_mut(),
    );
    p256::SecretKey::from_slice(scalar.as_ref()).map_err(|_| {
        Error::refused(
            name,
            "no key on P-256 follows from this HMAC key, on the device neither",
            "make another HMAC key",
        )
    })
}

/// Reads the HMAC key of a device: 32 raw bytes.
///
/// # Errors
/// `Io`; refused for another length.
pub fn read_hmac_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, Error> {
    let bytes = Zeroizing::new(read_small(path, 4096, "an HMAC key")?);
    match <[u8; 32]>::try_from(bytes.as_slice()) {
        Ok(key) => Ok(Zeroizing::new(key)),
        Err(_) => Err(Error::refused(
            path.display().to_string(),
            format!("has {} bytes, an HMAC key has 32", bytes.len()),
            "give the file that is burned with purpose HMAC_UP",
        )),
    }
}

/// The PEM text (SubjectPublicKeyInfo) of a device's public key, as the vendor's tool reads it.
///
/// # Errors
/// Refused if it can't be encoded.
pub fn public_pem(secret: &p256::SecretKey) -> Result<String, Error> {
    secret
        .public_key()
        .to_public_key_pem(LineEnding::LF)
        .map_err(|error| Error::refused("device key", error.to_string(), ""))
}

fn check_bits(name: &str, bits: usize) -> Result<(), Error> {
    match bits {
        3072 => Ok(()),
        bits => Err(Error::refused(
            name,
            format!("is an RSA key of {bits} bits, the container needs 3072"),
            "make one with `openssl genrsa 3072`",
        )),
    }
}

fn damaged(name: &str) -> Error {
    Error::refused(
        name,
        "is no usable RSA key",
        "look at it with `openssl pkey -text`",
    )
}

fn wrong_kind(name: &str) -> Error {
    Error::refused(
        name,
        "is neither an RSA-3072 nor a P-256 key",
        "the container knows these two",
    )
}
