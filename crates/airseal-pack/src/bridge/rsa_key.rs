//! RSA keys in the forms that openssl and the vendors' tools write.

use aws_lc_rs::rsa::{PrivateDecryptingKey, PublicEncryptingKey};
use pkcs8::der::asn1::{AnyRef, OctetStringRef};
use pkcs8::der::pem;
use pkcs8::der::{Encode, Tag};
use zeroize::Zeroizing;

use crate::Error;

/// DER of the object identifier rsaEncryption (RFC 8017).
const RSA_OID: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];

/// One RSA key.
pub(super) enum RsaKey {
    /// Both halves.
    Private(PrivateDecryptingKey),
    /// The public half.
    Public(PublicEncryptingKey),
}

impl RsaKey {
    /// Reads PEM text; `None` if it is no RSA key, which another reader may name.
    ///
    /// # Errors
    /// Refused if it is an RSA key that can't be used.
    pub(super) fn parse(name: &str, text: &[u8]) -> Result<Option<RsaKey>, Error> {
        let start = text.windows(11).position(|window| window == b"-----BEGIN ");
        let block = start
            .and_then(|start| text.get(start..))
            .unwrap_or_default();
        let Ok((label, der)) = pem::decode_vec(block.trim_ascii_end()) else {
            return Ok(None);
        };
        let der = Zeroizing::new(der);
        let has_oid = der
            .windows(RSA_OID.len())
            .take(64)
            .any(|window| window == RSA_OID);
        let key = match label {
            "RSA PRIVATE KEY" => pkcs8_of(&der)
                .and_then(|der| PrivateDecryptingKey::from_pkcs8(&der).ok())
                .map(RsaKey::Private),
            "PRIVATE KEY" if has_oid => PrivateDecryptingKey::from_pkcs8(&der)
                .ok()
                .map(RsaKey::Private),
            "PUBLIC KEY" if has_oid => PublicEncryptingKey::from_der(&der).ok().map(RsaKey::Public),
            _ => return Ok(None),
        };
        key.map(Some).ok_or_else(|| {
            Error::refused(
                name,
                "is no usable RSA key",
                "look at it with `openssl pkey -text`",
            )
        })
    }

    /// Modulus length in bits.
    pub(super) fn bits(&self) -> usize {
        match self {
            RsaKey::Private(key) => key.key_size_bits(),
            RsaKey::Public(key) => key.key_size_bits(),
        }
    }

    /// The public half.
    pub(super) fn into_public(self) -> PublicEncryptingKey {
        match self {
            RsaKey::Private(key) => key.public_key(),
            RsaKey::Public(key) => key,
        }
    }
}

/// The PKCS#8 frame around an RFC 8017 private key.
fn pkcs8_of(der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const ALGORITHM: [u8; 18] = [
        0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
        0x01, 0x05, 0x00,
    ];
    let octets = Zeroizing::new(OctetStringRef::new(der).ok()?.to_der().ok()?);
    let body = Zeroizing::new([&ALGORITHM[..], &octets].concat());
    let frame = AnyRef::new(Tag::Sequence, &body).ok()?.to_der().ok()?;
    Some(Zeroizing::new(frame))
}
