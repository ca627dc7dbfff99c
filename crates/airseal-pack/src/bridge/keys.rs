//! Key files of other tools: PEM as OpenSSL, imgtool and Espressif's tools write them.

use std::path::Path;

use aws_lc_rs::rsa::{PrivateDecryptingKey, PublicEncryptingKey};
use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{Decode, Encode, Tag};
use pkcs8::{DecodePrivateKey, EncodePublicKey, PrivateKeyInfoRef, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

use crate::Error;
use crate::key::pem;
use crate::key::pkcs::sec1_p256;
use crate::source::{Source, length};

/// A key of somebody else's tool.
#[derive(Clone)]
pub enum BridgeKey {
    /// RSA private key, PKCS#8.
    RsaPrivate(Zeroizing<Vec<u8>>),
    /// RSA public key, SubjectPublicKeyInfo.
    RsaPublic(Vec<u8>),
    /// P-256 private key.
    P256Private(p256::SecretKey),
    /// P-256 public key.
    P256Public(p256::PublicKey),
    /// X25519 private key.
    X25519Private(Zeroizing<[u8; 32]>),
    /// X25519 public key.
    X25519Public([u8; 32]),
    /// Ed25519 private key.
    Ed25519Private(Zeroizing<[u8; 32]>),
    /// Ed25519 public key.
    Ed25519Public([u8; 32]),
}

impl BridgeKey {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// `Io`; refused if there is not exactly one key in it, or one of a kind that no container here uses.
    pub fn read(path: &Path) -> Result<BridgeKey, Error> {
        BridgeKey::from_pem(&path.display().to_string(), &read_small(path)?)
    }

    /// The key in `text`; `name` is for messages.
    ///
    /// # Errors
    /// As [`BridgeKey::read`].
    pub fn from_pem(name: &str, text: &[u8]) -> Result<BridgeKey, Error> {
        let block = pem::find(name, text)?;
        let damaged = || {
            Error::refused(
                name,
                format!("{} is no valid key", block.label),
                "make it again, or convert it with `openssl pkey`",
            )
        };
        match block.label.as_str() {
            "PRIVATE KEY" => private(name, &block.der),
            "PUBLIC KEY" => public(name, &block.der),
            "EC PRIVATE KEY" => sec1_p256(&block.der)
                .map(BridgeKey::P256Private)
                .ok_or_else(|| wrong_curve(name)),
            "RSA PRIVATE KEY" => private(name, &pkcs8_of_rsa(&block.der).ok_or_else(damaged)?),
            "ENCRYPTED PRIVATE KEY" => Err(Error::refused(
                name,
                "is protected by a passphrase",
                "decrypt it with `openssl pkey -in KEY -out PLAIN.pem`, and delete that file afterwards",
            )),
            label => Err(Error::refused(
                name,
                format!("PEM label {label} is not supported"),
                "convert it with `openssl pkey`",
            )),
        }
    }

    /// The same key without its secret.
    ///
    /// # Errors
    /// Refused if an RSA key is damaged.
    pub fn public(&self) -> Result<BridgeKey, Error> {
        Ok(match self {
            BridgeKey::RsaPrivate(der) => BridgeKey::RsaPublic(rsa_public_der(der)?),
            BridgeKey::P256Private(key) => BridgeKey::P256Public(key.public_key()),
            BridgeKey::X25519Private(secret) => BridgeKey::X25519Public(
                x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(**secret))
                    .to_bytes(),
            ),
            BridgeKey::Ed25519Private(seed) => BridgeKey::Ed25519Public(
                ed25519_dalek::SigningKey::from_bytes(seed)
                    .verifying_key()
                    .to_bytes(),
            ),
            public => public.clone(),
        })
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            BridgeKey::RsaPrivate(_) => "an RSA private key",
            BridgeKey::RsaPublic(_) => "an RSA public key",
            BridgeKey::P256Private(_) => "a P-256 private key",
            BridgeKey::P256Public(_) => "a P-256 public key",
            BridgeKey::X25519Private(_) => "an X25519 private key",
            BridgeKey::X25519Public(_) => "an X25519 public key",
            BridgeKey::Ed25519Private(_) => "an Ed25519 private key",
            BridgeKey::Ed25519Public(_) => "an Ed25519 public key",
        }
    }

    /// SubjectPublicKeyInfo of the public part.
    ///
    /// # Errors
    /// Refused if the key is damaged.
    pub fn public_der(&self) -> Result<Vec<u8>, Error> {
        let raw = |oid: u8, key: &[u8; 32]| {
            let head = [
                0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, oid, 0x03, 0x21, 0x00,
            ];
            [head.as_slice(), key].concat()
        };
        match self.public()? {
            BridgeKey::RsaPublic(der) => Ok(der),
            BridgeKey::P256Public(key) => key
                .to_public_key_der()
                .map(|document| document.as_bytes().to_vec())
                .map_err(|_| Error::refused("P-256 key", "can't be encoded", "")),
            BridgeKey::X25519Public(key) => Ok(raw(0x6e, &key)),
            BridgeKey::Ed25519Public(key) => Ok(raw(0x70, &key)),
            _ => Err(Error::refused("key", "has no public part", "")),
        }
    }
}

/// Reads a file that holds a key; larger ones are refused.
///
/// # Errors
/// `Io`; refused above 64 KiB.
pub fn read_small(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let source = Source::open(path)?;
    if source.len() > MAX_KEY_FILE {
        return Err(Error::refused(
            source.name(),
            format!("has {} bytes, too many for a key", source.len()),
            "name the key file",
        ));
    }
    let mut bytes = Zeroizing::new(vec![0; length(source.len())]);
    source.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// The bits of an RSA public key, if it is one.
pub(crate) fn rsa_bits(spki: &[u8]) -> Option<usize> {
    Some(PublicEncryptingKey::from_der(spki).ok()?.key_size_bits())
}

/// The `RSAPublicKey` of PKCS#1 inside SubjectPublicKeyInfo.
pub(crate) fn rsa_pkcs1(spki: &[u8]) -> Option<Vec<u8>> {
    let info = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    Some(info.subject_public_key.as_bytes()?.to_vec())
}

fn private(name: &str, der: &[u8]) -> Result<BridgeKey, Error> {
    let info = PrivateKeyInfoRef::from_der(der)
        .map_err(|_| Error::refused(name, "is no valid PKCS#8 private key", "make it again"))?;
    let curve = || {
        <&OctetStringRef>::from_der(info.private_key.as_bytes())
            .ok()
            .and_then(|inner| <[u8; 32]>::try_from(inner.as_bytes()).ok())
            .map(Zeroizing::new)
            .ok_or_else(|| Error::refused(name, "the private key does not have 32 bytes", ""))
    };
    match info.algorithm.oid {
        ED25519 => Ok(BridgeKey::Ed25519Private(curve()?)),
        X25519 => Ok(BridgeKey::X25519Private(curve()?)),
        EC => p256::SecretKey::from_pkcs8_der(der)
            .map(BridgeKey::P256Private)
            .map_err(|_| wrong_curve(name)),
        RSA => {
            PrivateDecryptingKey::from_pkcs8(der).map_err(|_| wrong_rsa(name))?;
            Ok(BridgeKey::RsaPrivate(Zeroizing::new(der.to_vec())))
        }
        other => Err(unsupported(name, other)),
    }
}

fn public(name: &str, der: &[u8]) -> Result<BridgeKey, Error> {
    let info = SubjectPublicKeyInfoRef::from_der(der)
        .map_err(|_| Error::refused(name, "is no valid public key", "make it again"))?;
    let bytes = info.subject_public_key.as_bytes().unwrap_or_default();
    let curve = || {
        <[u8; 32]>::try_from(bytes)
            .map_err(|_| Error::refused(name, "the public key does not have 32 bytes", ""))
    };
    match info.algorithm.oid {
        ED25519 => Ok(BridgeKey::Ed25519Public(curve()?)),
        X25519 => Ok(BridgeKey::X25519Public(curve()?)),
        EC if info.algorithm.parameters_oid().ok() == Some(PRIME256V1) => {
            p256::PublicKey::from_sec1_bytes(bytes)
                .map(BridgeKey::P256Public)
                .map_err(|_| Error::refused(name, "the point is not on curve P-256", ""))
        }
        EC => Err(wrong_curve(name)),
        RSA => {
            rsa_bits(der).ok_or_else(|| wrong_rsa(name))?;
            Ok(BridgeKey::RsaPublic(der.to_vec()))
        }
        other => Err(unsupported(name, other)),
    }
}

fn rsa_public_der(pkcs8: &[u8]) -> Result<Vec<u8>, Error> {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    let public = PrivateDecryptingKey::from_pkcs8(pkcs8)
        .map_err(|_| wrong_rsa("RSA key"))?
        .public_key();
    let der: PublicKeyX509Der<'_> = public.as_der().map_err(|_| wrong_rsa("RSA key"))?;
    Ok(der.as_ref().to_vec())
}

fn pkcs8_of_rsa(pkcs1: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const ALGORITHM: [u8; 18] = [
        0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
        0x01, 0x05, 0x00,
    ];
    let inner = Zeroizing::new(OctetStringRef::new(pkcs1).ok()?.to_der().ok()?);
    let body = Zeroizing::new([ALGORITHM.as_slice(), &inner].concat());
    let framed = AnyRef::new(Tag::Sequence, &body).ok()?.to_der().ok()?;
    Some(Zeroizing::new(framed))
}

fn wrong_curve(name: &str) -> Error {
    Error::refused(
        name,
        "the elliptic curve key is not on curve P-256",
        "make one with `openssl ecparam -name prime256v1 -genkey`",
    )
}

fn wrong_rsa(name: &str) -> Error {
    Error::refused(
        name,
        "the RSA key is damaged, or not of 2048 to 8192 bits",
        "make one with `openssl genrsa`",
    )
}

fn unsupported(name: &str, oid: ObjectIdentifier) -> Error {
    Error::refused(
        name,
        format!("holds a key of a kind not used here (algorithm {oid})"),
        "needed is RSA, P-256, X25519 or Ed25519",
    )
}

const MAX_KEY_FILE: u64 = 64 << 10;
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
