//! Keys of secure boot: RSA-3072 and ECDSA on P-192, P-256 and P-384, as PEM files or behind a program.

use std::path::Path;

use airseal_esp::secure_boot::write::{BlockKey, RSA_LEN};
use airseal_esp::secure_boot::{Scheme, SignatureBlock};
use aws_lc_rs::digest::{Digest as AwsDigest, SHA256};
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, UnparsedPublicKey,
};
use ecdsa::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use ecdsa::elliptic_curve::{
    AffinePoint, CurveArithmetic, FieldBytesSize, NonZeroScalar, PrimeField, ProjectivePoint,
    PublicKey as CurvePoint, SecretKey,
};
use ecdsa::{EcdsaCurve, Signature, SignatureSize, hazmat};
use p192::NistP192;
use p256::NistP256;
use p384::NistP384;
use pkcs8::der::asn1::{AnyRef, ContextSpecific, ObjectIdentifier, OctetStringRef, UintRef};
use pkcs8::der::{Decode, Encode, Reader, SliceReader, TagNumber};
use pkcs8::{PrivateKeyInfoRef, SubjectPublicKeyInfoRef};
use sha2::Sha256;

use crate::Error;
use crate::key::pem;
use crate::signer;
use crate::source::Source;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P192: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const KEY_FILE_MAX: usize = 1 << 16;
const NEEDED: &str = "secure boot v2 takes RSA-3072 and ECDSA on P-192, P-256 and P-384, v1 takes P-256; make one with `openssl genrsa 3072` or `openssl ecparam -name prime256v1 -genkey -noout`";

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootPublicKey {
    scheme: Scheme,
    /// The modulus or the point x, y; big-endian.
    number: Vec<u8>,
    exponent: u32,
}

impl BootPublicKey {
    /// Reads the public key of a PEM file, which may be the private key too.
    ///
    /// # Errors
    /// `Io`; refused for a key of a kind or size that secure boot does not take.
    pub fn read(path: &Path) -> Result<BootPublicKey, Error> {
        let (name, block): (String, pem::Block) = read_pem(path)?;
        if block.label != "PUBLIC KEY" {
            return Ok(private(&name, &block)?.1);
        }
        public(&name, &block.der)
    }

    /// The key in a signature block. Whether it is one to trust, its digest tells.
    pub(crate) fn of_block(block: &SignatureBlock<'_>) -> BootPublicKey {
        let turned = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<u8>>();
        let (number, exponent) = match (block.rsa_key(), block.ecdsa_key()) {
            (Some((modulus, exponent)), _) => (turned(modulus), exponent),
            (None, Some((x, y))) => ([turned(x), turned(y)].concat(), 0),
            (None, None) => (Vec::new(), 0),
        };
        BootPublicKey {
            scheme: block.scheme(),
            number,
            exponent,
        }
    }

    /// Refuses a key that secure boot version 1 does not take; `name` is the file it came from.
    ///
    /// # Errors
    /// Refused for anything but P-256.
    pub fn check_p256(&self, name: &str) -> Result<(), Error> {
        if self.scheme == Scheme::EcdsaP256 {
            return Ok(());
        }
        Err(Error::refused(
            name,
            format!("is {}, not ECDSA on P-256", self.scheme.name()),
            "secure boot version 1 takes P-256 alone",
        ))
    }

    /// What it signs with.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The digest that is burned into the eFuses.
    ///
    /// # Errors
    /// Refused for a key that no block can hold.
    pub fn key_digest(&self) -> Result<[u8; 32], Error> {
        self.block_key(|key| key.key_digest())
    }

    /// The signature block over an image with this digest.
    ///
    /// # Errors
    /// Refused for a key that no block can hold.
    pub fn block(&self, digest: &[u8], signature: &[u8]) -> Result<Vec<u8>, Error> {
        self.block_key(|key| key.sign_block(digest, signature).map(Vec::from))
    }

    /// The digest of an image with the hash of this scheme.
    pub fn digest(&self, bytes: &[u8]) -> Vec<u8> {
        digest(self.scheme, bytes)
    }

    /// True if `signature`, big-endian, was made with this key over `digest`.
    pub fn verifies(&self, digest: &[u8], signature: &[u8]) -> bool {
        match self.scheme {
            Scheme::Rsa3072 => self.rsa_verifies(digest, signature),
            Scheme::EcdsaP192 => ecdsa_verifies::<NistP192>(&self.number, digest, signature),
            Scheme::EcdsaP256 => ecdsa_verifies::<NistP256>(&self.number, digest, signature),
            Scheme::EcdsaP384 => ecdsa_verifies::<NistP384>(&self.number, digest, signature),
        }
    }

    /// Modulus and exponent of an RSA key, big-endian.
    pub(super) fn rsa(&self) -> Option<(&[u8], u32)> {
        (self.scheme == Scheme::Rsa3072).then_some((&self.number, self.exponent))
    }

    fn rsa_verifies(&self, digest: &[u8], signature: &[u8]) -> bool {
        let integer = |bytes: &[u8]| UintRef::new(bytes).and_then(|number| number.to_der());
        let exponent = self.exponent.to_be_bytes();
        let (Ok(modulus), Ok(exponent)) = (integer(&self.number), integer(&exponent)) else {
            return false;
        };
        let body = [modulus, exponent].concat();
        let Ok(len) = u16::try_from(body.len()).map(u16::to_be_bytes) else {
            return false;
        };
        let der = [&[0x30, 0x82, len[0], len[1]], body.as_slice()].concat();
        AwsDigest::import_less_safe(digest, &SHA256).is_ok_and(|digest| {
            UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, der)
                .verify_digest(&digest, signature)
                .is_ok()
        })
    }

    fn block_key<T>(
        &self,
        make: impl FnOnce(BlockKey<'_>) -> Result<T, airseal_esp::secure_boot::write::WriteFault>,
    ) -> Result<T, Error> {
        let key = match self.number.first_chunk::<RSA_LEN>() {
            Some(modulus) => BlockKey::Rsa {
                modulus,
                exponent: self.exponent,
            },
            None => BlockKey::Ecdsa {
                scheme: self.scheme,
                point: &self.number,
            },
        };
        make(key).map_err(|fault| Error::refused("the key", fault.to_string(), NEEDED))
    }
}

/// What signs.
pub struct BootSigner {
    name: String,
    public: BootPublicKey,
    secret: Secret,
}

enum Secret {
    Rsa(Box<RsaKeyPair>),
    P192(SecretKey<NistP192>),
    P256(SecretKey<NistP256>),
    P384(SecretKey<NistP384>),
    Program(String),
}

impl BootSigner {
    /// Opens a private key file, or `command:PROGRAM`, which is asked as for `airseal seal --sign`.
    ///
    /// # Errors
    /// `Io`; refused for a public key, or one of a kind or size that secure boot does not take.
    pub fn open(spec: &str) -> Result<BootSigner, Error> {
        if let Some(program) = spec.strip_prefix("command:") {
            let pem = signer::run(spec, program, "public", &[])?;
            let block = pem::find(spec, &pem)?;
            return Ok(BootSigner {
                name: spec.to_owned(),
                public: public(spec, &block.der)?,
                secret: Secret::Program(program.to_owned()),
            });
        }
        let (name, block): (String, pem::Block) = read_pem(Path::new(spec))?;
        if block.label == "PUBLIC KEY" {
            return Err(Error::refused(
                name,
                "is a public key and can't sign",
                "name the private key file",
            ));
        }
        let (secret, public) = private(&name, &block)?;
        Ok(BootSigner {
            name,
            public,
            secret,
        })
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public half.
    pub fn public(&self) -> &BootPublicKey {
        &self.public
    }

    /// The secret number of a key on P-256 that is at hand, big-endian.
    pub(super) fn p256_secret(&self) -> Option<zeroize::Zeroizing<[u8; 32]>> {
        match &self.secret {
            Secret::P256(key) => Some(zeroize::Zeroizing::new(key.to_bytes().into())),
            _ => None,
        }
    }

    /// Signs; the result is big-endian: the RSA number, or r and s.
    ///
    /// # Errors
    /// Refused if a program fails or answers with something else.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let digest = self.public.digest(message);
        match &self.secret {
            Secret::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                AwsDigest::import_less_safe(&digest, &SHA256)
                    .and_then(|digest| key.sign_digest(&RSA_PSS_SHA256, &digest, &mut signature))
                    .map_err(|_| Error::refused(self.name(), "the key can't sign", ""))?;
                Ok(signature)
            }
            Secret::P192(key) => Ok(ecdsa_sign(key, &digest)),
            Secret::P256(key) => Ok(ecdsa_sign(key, &digest)),
            Secret::P384(key) => Ok(ecdsa_sign(key, &digest)),
            Secret::Program(program) => {
                let output = signer::run(&self.name, program, "sign", message)?;
                parse_signature(&self.name, self.public.scheme, &output)
            }
        }
    }
}

/// The hash of a scheme.
pub(super) fn digest(scheme: Scheme, bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    match scheme {
        Scheme::EcdsaP384 => sha2::Sha384::digest(bytes).to_vec(),
        _ => Sha256::digest(bytes).to_vec(),
    }
}

/// Reads a signature made elsewhere: the RSA number as it is, ECDSA as DER or raw r and s.
///
/// # Errors
/// Refused if it is neither.
pub fn parse_signature(name: &str, scheme: Scheme, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let wrong = |needed: String| {
        let found = format!("has {} bytes, which is no {needed}", bytes.len());
        Err(Error::refused(
            name,
            found,
            "give the bare signature, not text or Base64",
        ))
    };
    let Some(len) = scheme.coordinate_len() else {
        if bytes.len() == RSA_LEN {
            return Ok(bytes.to_vec());
        }
        return wrong(format!("RSA-3072 signature ({RSA_LEN} bytes)"));
    };
    if bytes.len() == 2 * len {
        return Ok(bytes.to_vec());
    }
    match from_der(bytes, len) {
        Some(signature) => Ok(signature),
        None => wrong(format!(
            "{} signature: neither DER nor r and s ({} bytes)",
            scheme.name(),
            2 * len
        )),
    }
}

fn from_der(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    let sequence = AnyRef::from_der(bytes).ok()?;
    let mut reader = SliceReader::new(sequence.value()).ok()?;
    let mut signature = Vec::new();
    for _ in 0..2 {
        let number: UintRef<'_> = reader.decode().ok()?;
        let number = number.as_bytes();
        signature.resize(signature.len() + len.checked_sub(number.len())?, 0);
        signature.extend_from_slice(number);
    }
    reader.is_finished().then_some(signature)
}

fn read_pem(path: &Path) -> Result<(String, pem::Block), Error> {
    let source = Source::open(path)?;
    let bytes = zeroize::Zeroizing::new(source.head(0, KEY_FILE_MAX)?);
    let block = pem::find(source.name(), &bytes)?;
    Ok((source.name().to_owned(), block))
}

fn unsupported(name: &str, what: &str) -> Error {
    Error::refused(name, format!("is {what}"), NEEDED)
}

fn public(name: &str, der: &[u8]) -> Result<BootPublicKey, Error> {
    let info = SubjectPublicKeyInfoRef::from_der(der)
        .map_err(|error| Error::refused(name, format!("is no public key: {error}"), NEEDED))?;
    let bits = info.subject_public_key.as_bytes().unwrap_or_default();
    if info.algorithm.oid == RSA {
        return rsa_public(name, bits);
    }
    let scheme = match info.algorithm.parameters_oid() {
        Ok(P192) if info.algorithm.oid == EC => Scheme::EcdsaP192,
        Ok(P256) if info.algorithm.oid == EC => Scheme::EcdsaP256,
        Ok(P384) if info.algorithm.oid == EC => Scheme::EcdsaP384,
        _ => return Err(unsupported(name, "a key of another kind or curve")),
    };
    let point = match bits.split_first() {
        Some((4, point)) if Some(point.len()) == scheme.coordinate_len().map(|len| 2 * len) => {
            point
        }
        _ => {
            return Err(unsupported(
                name,
                "a key whose point is compressed or cut off",
            ));
        }
    };
    Ok(BootPublicKey {
        scheme,
        number: point.to_vec(),
        exponent: 0,
    })
}

/// Modulus and exponent as RFC 8017 A.1.1 frames them.
fn rsa_public(name: &str, der: &[u8]) -> Result<BootPublicKey, Error> {
    let parts = || {
        let sequence = AnyRef::from_der(der).ok()?;
        let mut reader = SliceReader::new(sequence.value()).ok()?;
        let modulus: UintRef<'_> = reader.decode().ok()?;
        let exponent: UintRef<'_> = reader.decode().ok()?;
        Some((modulus.as_bytes().to_vec(), exponent.as_bytes().to_vec()))
    };
    let (modulus, exponent) = parts().ok_or_else(|| unsupported(name, "a damaged RSA key"))?;
    if modulus.len() != RSA_LEN || modulus.first().is_none_or(|byte| *byte < 0x80) {
        let bits = modulus.len() * 8;
        return Err(unsupported(name, &format!("an RSA key of {bits} bits")));
    }
    let exponent = exponent
        .iter()
        .try_fold(0u32, |value, byte| {
            value.checked_mul(256).map(|value| value | u32::from(*byte))
        })
        .ok_or_else(|| unsupported(name, "an RSA key with an exponent above 32 bits"))?;
    Ok(BootPublicKey {
        scheme: Scheme::Rsa3072,
        number: modulus,
        exponent,
    })
}

fn private(name: &str, block: &pem::Block) -> Result<(Secret, BootPublicKey), Error> {
    let der = block.der.as_slice();
    match block.label.as_str() {
        "RSA PRIVATE KEY" => rsa_private(name, RsaKeyPair::from_der(der).ok()),
        "EC PRIVATE KEY" => ec_private(name, der, None),
        "PRIVATE KEY" => {
            let info = PrivateKeyInfoRef::from_der(der)
                .map_err(|error| Error::refused(name, format!("is no key: {error}"), NEEDED))?;
            match info.algorithm.oid {
                RSA => rsa_private(name, RsaKeyPair::from_pkcs8(der).ok()),
                EC => {
                    let curve = info.algorithm.parameters_oid().ok();
                    ec_private(name, info.private_key.as_bytes(), curve)
                }
                _ => Err(unsupported(name, "a key of another kind")),
            }
        }
        "ENCRYPTED PRIVATE KEY" => Err(Error::refused(
            name,
            "is encrypted with a passphrase",
            "decrypt it with `openssl pkey -in KEY -out PLAIN`, or sign through `command:PROGRAM`",
        )),
        label => Err(unsupported(name, &format!("a {label}"))),
    }
}

fn rsa_private(name: &str, key: Option<RsaKeyPair>) -> Result<(Secret, BootPublicKey), Error> {
    let key = key.ok_or_else(|| unsupported(name, "a damaged RSA key, or one of another size"))?;
    let public = rsa_public(name, key.public_key().as_ref())?;
    Ok((Secret::Rsa(Box::new(key)), public))
}

/// RFC 5915; the curve stands in the key, or in the frame around it.
fn ec_private(
    name: &str,
    der: &[u8],
    curve: Option<ObjectIdentifier>,
) -> Result<(Secret, BootPublicKey), Error> {
    let parts = || {
        let sequence = AnyRef::from_der(der).ok()?;
        let mut reader = SliceReader::new(sequence.value()).ok()?;
        let _version: u8 = reader.decode().ok()?;
        let secret: &OctetStringRef = reader.decode().ok()?;
        let inner = ContextSpecific::<ObjectIdentifier>::decode_explicit(&mut reader, TagNumber(0));
        let curve = curve.or(inner.ok().flatten().map(|inner| inner.value))?;
        Some((secret.as_bytes().to_vec(), curve))
    };
    let (secret, curve) = parts().ok_or_else(|| unsupported(name, "a damaged EC key"))?;
    let secret = zeroize::Zeroizing::new(secret);
    let damaged = || unsupported(name, "an EC key with a secret that does not fit its curve");
    let (secret, scheme, number) = match curve {
        P192 => {
            let key = SecretKey::from_slice(&secret).map_err(|_| damaged())?;
            let point = point_of(&key);
            (Secret::P192(key), Scheme::EcdsaP192, point)
        }
        P256 => {
            let key = SecretKey::from_slice(&secret).map_err(|_| damaged())?;
            let point = point_of(&key);
            (Secret::P256(key), Scheme::EcdsaP256, point)
        }
        P384 => {
            let key = SecretKey::from_slice(&secret).map_err(|_| damaged())?;
            let point = point_of(&key);
            (Secret::P384(key), Scheme::EcdsaP384, point)
        }
        _ => return Err(unsupported(name, "an EC key on another curve")),
    };
    let public = BootPublicKey {
        scheme,
        number,
        exponent: 0,
    };
    Ok((secret, public))
}

fn point_of<C>(key: &SecretKey<C>) -> Vec<u8>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let point = key.public_key().to_sec1_point(false);
    point.as_bytes().get(1..).unwrap_or_default().to_vec()
}

fn ecdsa_sign<C>(key: &SecretKey<C>, digest: &[u8]) -> Vec<u8>
where
    C: EcdsaCurve + CurveArithmetic,
    SignatureSize<C>: ecdsa::elliptic_curve::array::ArraySize,
{
    let scalar: NonZeroScalar<C> = key.to_nonzero_scalar();
    let (signature, _) = hazmat::sign_prehashed_rfc6979::<C, Sha256>(&scalar, digest, &[]);
    signature.to_bytes().to_vec()
}

fn ecdsa_verifies<C>(point: &[u8], digest: &[u8], signature: &[u8]) -> bool
where
    C: EcdsaCurve + CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
    SignatureSize<C>: ecdsa::elliptic_curve::array::ArraySize,
    C::Scalar: PrimeField,
{
    let point = [&[4], point].concat();
    let (Ok(key), Ok(signature)) = (
        CurvePoint::<C>::from_sec1_bytes(&point),
        Signature::<C>::from_slice(signature),
    ) else {
        return false;
    };
    let point = ProjectivePoint::<C>::from(*key.as_affine());
    hazmat::verify_prehashed::<C>(&point, digest, &signature).is_ok()
}
