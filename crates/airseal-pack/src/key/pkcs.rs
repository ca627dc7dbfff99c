//! PKCS#8 private keys, SubjectPublicKeyInfo public keys, and the group key's own body.

use airseal_format::signature::SigningPublicKey;
use p256::pkcs8::EncodePrivateKey;
use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{Decode, Encode, SecretDocument, Tag};
use pkcs8::{
    DecodePrivateKey, EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SubjectPublicKeyInfoRef, pkcs5,
};
use zeroize::{Zeroize, Zeroizing};

use super::pem::{self, Block, GROUP_LABEL};
use super::{
    DevicePublicKey, GroupKey, KeyFile, KeyKind, KeyRole, PassphraseSource, PrivateKey, PublicKey,
    uncompressed,
};
use crate::Error;

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// Highest work factors accepted in a key file, so that a crafted file can't stop a machine.
const MAX_PBKDF2_ITERATIONS: u32 = 10_000_000;
const MAX_SCRYPT_BYTES: u64 = 512 << 20;

/// Writes a private key; with a passphrase it is encrypted (PBES2, scrypt, AES-256-CBC) so that openssl reads it.
///
/// # Errors
/// Usage error for a group key with a passphrase: its file has no encrypted form.
pub fn private_to_pem(
    key: &PrivateKey,
    passphrase: Option<&str>,
) -> Result<Zeroizing<String>, Error> {
    let der = match key {
        PrivateKey::Group(group) => {
            if passphrase.is_some() {
                return Err(Error::usage(
                    "a group key can't be encrypted with a passphrase",
                    "keep it on an encrypted disk",
                ));
            }
            let mut body = Zeroizing::new([0; 36]);
            body[..32].copy_from_slice(&group.key);
            body[32..].copy_from_slice(&group.generation.to_le_bytes());
            return Ok(pem::encode(GROUP_LABEL, KeyKind::Group, body.as_ref()));
        }
        PrivateKey::Signing(seed) => curve_private_der(0x70, seed),
        PrivateKey::Device(secret) => curve_private_der(0x6e, secret),
        PrivateKey::SigningP256(secret) | PrivateKey::DeviceP256(secret) => {
            let document = secret
                .to_pkcs8_der()
                .map_err(|error| Error::refused("P-256 key", error.to_string(), ""))?;
            Zeroizing::new(document.as_bytes().to_vec())
        }
    };
    let Some(passphrase) = passphrase else {
        return Ok(pem::encode("PRIVATE KEY", key.kind(), &der));
    };
    if passphrase.is_empty() {
        return Err(Error::usage(
            "an empty passphrase protects nothing",
            "leave --passphrase away, or give one",
        ));
    }
    let encrypted = PrivateKeyInfoRef::from_der(&der)
        .map_err(pkcs8::Error::from)
        .and_then(|info| info.encrypt(passphrase))
        .map_err(|error| {
            Error::refused("private key", format!("can't be encrypted: {error}"), "")
        })?;
    Ok(pem::encode(
        "ENCRYPTED PRIVATE KEY",
        key.kind(),
        encrypted.as_bytes(),
    ))
}

/// Writes a public key.
pub fn public_to_pem(key: &PublicKey) -> String {
    pem::encode("PUBLIC KEY", key.kind(), &public_to_der(key))
        .as_str()
        .to_owned()
}

/// DER SubjectPublicKeyInfo (RFC 8410, RFC 5480).
pub(super) fn public_to_der(key: &PublicKey) -> Vec<u8> {
    const P256_HEAD: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let curve_head = |oid: u8| {
        [
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, oid, 0x03, 0x21, 0x00,
        ]
    };
    let mut der = match key.kind() {
        KeyKind::Signing => curve_head(0x70).to_vec(),
        KeyKind::Device | KeyKind::Group => curve_head(0x6e).to_vec(),
        KeyKind::SigningP256 | KeyKind::DeviceP256 => P256_HEAD.to_vec(),
    };
    der.extend_from_slice(key.as_bytes());
    der
}

/// Reads the key in `block` and checks it against the file's own statement of its kind.
pub(super) fn decode(
    name: &str,
    block: &Block,
    role: Option<KeyRole>,
    passphrase: &dyn PassphraseSource,
) -> Result<KeyFile, Error> {
    let refuse = |message: String| Error::refused(name, message, "");
    // The role that decides what a P-256 key is for: the file's own word first, then the option's.
    let p256_role = block.kind.map(KeyKind::role).or(role);
    let key = match block.label.as_str() {
        "PRIVATE KEY" => KeyFile::Private(private_from_der(name, &block.der, p256_role)?),
        "ENCRYPTED PRIVATE KEY" => {
            let document = decrypt(name, &block.der, passphrase)?;
            KeyFile::Private(private_from_der(name, document.as_bytes(), p256_role)?)
        }
        "EC PRIVATE KEY" => {
            let secret = sec1_p256(&block.der)
                .ok_or_else(|| refuse("EC PRIVATE KEY is no P-256 key".to_owned()))?;
            KeyFile::Private(p256_private(name, secret, p256_role)?)
        }
        "PUBLIC KEY" => KeyFile::Public(public_from_der(name, &block.der, p256_role)?),
        GROUP_LABEL => KeyFile::Private(PrivateKey::Group(group_from_body(name, &block.der)?)),
        "AIRSEAL CONTENT KEY" => {
            return Err(Error::refused(
                name,
                "is the content key of one release",
                "it is for envelope add --content-key",
            ));
        }
        "CERTIFICATE" => return Err(refuse("is a certificate, not a key file".to_owned())),
        label => {
            return Err(Error::refused(
                name,
                format!("PEM label {label} is not supported"),
                "convert it with `openssl pkey`",
            ));
        }
    };
    match block.kind {
        Some(kind) if kind != key.kind() => Err(refuse(format!(
            "airseal-kind says {kind}, but the key inside is of kind {}",
            key.kind()
        ))),
        _ => Ok(key),
    }
}

fn private_from_der(name: &str, der: &[u8], role: Option<KeyRole>) -> Result<PrivateKey, Error> {
    let refuse = |message: String| Error::refused(name, message, "");
    let info = PrivateKeyInfoRef::from_der(der)
        .map_err(|error| refuse(format!("is no valid PKCS#8 private key: {error}")))?;
    match info.algorithm.oid {
        ED25519 => Ok(PrivateKey::Signing(curve_private(name, &info)?)),
        X25519 => Ok(PrivateKey::Device(curve_private(name, &info)?)),
        EC => {
            let secret = p256::SecretKey::from_pkcs8_der(der).map_err(|_| {
                refuse("the EC private key is not on curve P-256 (prime256v1)".to_owned())
            })?;
            p256_private(name, secret, role)
        }
        other => Err(unsupported(name, other)),
    }
}

fn curve_private(name: &str, info: &PrivateKeyInfoRef<'_>) -> Result<Zeroizing<[u8; 32]>, Error> {
    let bytes = <&OctetStringRef>::from_der(info.private_key.as_bytes())
        .ok()
        .and_then(|inner| <[u8; 32]>::try_from(inner.as_bytes()).ok())
        .ok_or_else(|| Error::refused(name, "the private key does not have 32 bytes", ""))?;
    Ok(Zeroizing::new(bytes))
}

fn p256_private(
    name: &str,
    secret: p256::SecretKey,
    role: Option<KeyRole>,
) -> Result<PrivateKey, Error> {
    match role {
        Some(KeyRole::Signing) => Ok(PrivateKey::SigningP256(secret)),
        Some(KeyRole::Recipient) => Ok(PrivateKey::DeviceP256(secret)),
        None => Err(ambiguous(name)),
    }
}

fn public_from_der(name: &str, der: &[u8], role: Option<KeyRole>) -> Result<PublicKey, Error> {
    let refuse = |message: String| Error::refused(name, message, "");
    let info = SubjectPublicKeyInfoRef::from_der(der)
        .map_err(|error| refuse(format!("is no valid SubjectPublicKeyInfo: {error}")))?;
    let bytes = info.subject_public_key.as_bytes().unwrap_or_default();
    let curve = || {
        <[u8; 32]>::try_from(bytes).map_err(|_| {
            refuse(format!(
                "the public key has {} bytes, expected 32",
                bytes.len()
            ))
        })
    };
    let key = match info.algorithm.oid {
        ED25519 => PublicKey::Signing(SigningPublicKey::Ed25519(curve()?)),
        X25519 => PublicKey::Device(DevicePublicKey::X25519(curve()?)),
        EC => {
            let curve = info.algorithm.parameters_oid().ok();
            if curve != Some(PRIME256V1) {
                return Err(refuse(
                    "the EC public key is not on curve P-256 (prime256v1)".to_owned(),
                ));
            }
            let point = p256::PublicKey::from_sec1_bytes(bytes)
                .map_err(|_| refuse("the public key is no point on P-256".to_owned()))?;
            match role {
                Some(KeyRole::Signing) => {
                    PublicKey::Signing(SigningPublicKey::EcdsaP256(uncompressed(&point)))
                }
                Some(KeyRole::Recipient) => {
                    PublicKey::Device(DevicePublicKey::P256(uncompressed(&point)))
                }
                None => return Err(ambiguous(name)),
            }
        }
        other => return Err(unsupported(name, other)),
    };
    if let PublicKey::Signing(key) = &key {
        key.check()
            .map_err(|reason| refuse(format!("public key: {}", reason.message())))?;
    }
    Ok(key)
}

fn group_from_body(name: &str, body: &[u8]) -> Result<GroupKey, Error> {
    let (Some(key), Some(generation), 36) =
        (body.first_chunk::<32>(), body.last_chunk::<4>(), body.len())
    else {
        return Err(Error::refused(
            name,
            format!("the group key has {} bytes, expected 36", body.len()),
            "",
        ));
    };
    Ok(GroupKey {
        key: *key,
        generation: u32::from_le_bytes(*generation),
    })
}

fn decrypt(
    name: &str,
    der: &[u8],
    passphrase: &dyn PassphraseSource,
) -> Result<SecretDocument, Error> {
    let refuse = |message: &str, remedy: &str| Error::refused(name, message, remedy);
    let info = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|error| {
        refuse(
            &format!("the encryption of this private key is not supported: {error}"),
            "convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`",
        )
    })?;
    let kdf = info
        .encryption_algorithm
        .pbes2()
        .map(|parameters| &parameters.kdf);
    let too_costly = kdf.is_some_and(|kdf| {
        kdf.pbkdf2()
            .is_some_and(|p| p.iteration_count > MAX_PBKDF2_ITERATIONS)
            || kdf.scrypt().is_some_and(|s| {
                let memory = u64::from(s.block_size)
                    .saturating_mul(128)
                    .saturating_mul(s.cost_parameter);
                memory.saturating_mul(u64::from(s.parallelization)) > MAX_SCRYPT_BYTES
            })
    });
    if too_costly {
        return Err(refuse(
            "the passphrase's work factor is above this program's limit",
            "encrypt the key again with openssl",
        ));
    }
    let passphrase = passphrase.passphrase(name)?.ok_or_else(|| {
        refuse(
            "the private key is encrypted and there is no passphrase",
            "give --passphrase, or name a file in AIRSEAL_PASSPHRASE_FILE",
        )
    })?;
    info.decrypt(passphrase.as_bytes())
        .map_err(|error| match error {
            pkcs8::Error::EncryptedPrivateKey(
                reason @ (pkcs5::Error::UnsupportedAlgorithm { .. }
                | pkcs5::Error::NoPbes1CryptSupport
                | pkcs5::Error::AlgorithmParametersInvalid { .. }),
            ) => refuse(
                &format!("the encryption of this private key is not supported: {reason}"),
                "convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`",
            ),
            _ => refuse("the passphrase is wrong, or the private key is damaged", ""),
        })
}

/// Reads what `openssl ecparam -genkey` writes (RFC 5915), by giving it the PKCS#8 frame that newer tools write.
pub(crate) fn sec1_p256(der: &[u8]) -> Option<p256::SecretKey> {
    const ALGORITHM: [u8; 24] = [
        0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
        0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ];
    let octet_string = Zeroizing::new(OctetStringRef::new(der).ok()?.to_der().ok()?);
    let body = Zeroizing::new([&ALGORITHM[..], &octet_string].concat());
    let framed = Zeroizing::new(AnyRef::new(Tag::Sequence, &body).ok()?.to_der().ok()?);
    p256::SecretKey::from_pkcs8_der(&framed).ok()
}

fn curve_private_der(oid: u8, secret: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut head = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, oid, 0x04, 0x22, 0x04,
        0x20,
    ];
    let mut der = Zeroizing::new(Vec::with_capacity(48));
    der.extend_from_slice(&head);
    der.extend_from_slice(secret);
    head.zeroize();
    der
}

fn ambiguous(name: &str) -> Error {
    Error::refused(
        name,
        "a P-256 key without an airseal-kind line may be for signing or for a device",
        "write `airseal-kind: signing-p256` or `airseal-kind: device-p256` on a line before BEGIN; airseal key show --kind signing-p256 (or device-p256) shows it as it is",
    )
}

fn unsupported(name: &str, algorithm: ObjectIdentifier) -> Error {
    let is_rsa = algorithm == ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    let what = if is_rsa {
        "RSA".to_owned()
    } else {
        format!("algorithm {algorithm}")
    };
    Error::refused(
        name,
        format!("{what} keys are not used here"),
        "supported are Ed25519, X25519 and P-256",
    )
}
