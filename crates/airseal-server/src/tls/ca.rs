//! The server's own certificate authority.
//!
//! It is made at the first start and stays: devices pin it. Its name is derived from its key, so the key file alone
//! is enough to issue again. Server certificates are short-lived, their keys live in memory only.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use crate::error::StartError;
use crate::files;

/// An authority that issues this server's TLS certificates.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    certificate_path: PathBuf,
}

impl CertificateAuthority {
    /// Reads `ca.key` and `ca.pem` from `data`, or makes them.
    ///
    /// # Errors
    /// [`StartError`] when a file can't be read or written, or holds no such key.
    pub fn open(data: &Path) -> Result<Self, StartError> {
        let key_path = data.join(KEY_FILE);
        let certificate_path = data.join(CERTIFICATE_FILE);
        let key = match std::fs::read_to_string(&key_path) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(|_| StartError::CaKey {
                path: key_path.clone(),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if certificate_path.exists() {
                    return Err(StartError::CaKey { path: key_path });
                }
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                files::write_secret(&key_path, key.serialize_pem().as_bytes())?;
                key
            }
            Err(error) => return Err(StartError::io(&key_path, error)),
        };
        let params = authority_params(&key);
        let certificate_pem = match std::fs::read_to_string(&certificate_path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pem = params.self_signed(&key)?.pem();
                files::write_atomically(&certificate_path, pem.as_bytes())?;
                pem
            }
            Err(error) => return Err(StartError::io(&certificate_path, error)),
        };
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate_pem,
            certificate_path,
        })
    }

    /// The certificate that devices pin, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Where the certificate lies.
    #[must_use]
    pub fn certificate_path(&self) -> &Path {
        &self.certificate_path
    }

    /// Issues a certificate with a fresh key for host names and addresses, valid from the day before `now` (unix
    /// seconds) for 90 days.
    ///
    /// # Errors
    /// [`StartError::Certificate`] when a name is neither a DNS name nor an address.
    pub fn issue(&self, names: &[String], now: u64) -> Result<CertifiedKey, StartError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names.to_vec())?;
        let (year, month, day) = ymd(now.saturating_sub(DAY));
        params.not_before = date_time_ymd(year, month, day);
        let (year, month, day) = ymd(now.saturating_add(LEAF_DAYS * DAY));
        params.not_after = date_time_ymd(year, month, day);
        params.distinguished_name = common_name("Airseal server");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
        Ok(CertifiedKey::new(vec![certificate.into()], key))
    }
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("certificate", &self.certificate_path)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate given as PEM, or `None` when it is no PEM certificate.
#[must_use]
pub fn fingerprint(pem: &str) -> Option<[u8; 32]> {
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(Sha256::digest(&der).into())
}

fn authority_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let fingerprint = Sha256::digest(key.subject_public_key_info());
    let short = fingerprint.get(..4).unwrap_or_default();
    params.distinguished_name = common_name(&format!("Airseal CA {}", hex::encode(short)));
    params.not_before = date_time_ymd(FIRST_YEAR, 1, 1);
    params.not_after = date_time_ymd(LAST_YEAR, 12, 31);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

/// Year, month and day of a unix time in UTC.
fn ymd(unix: u64) -> (i32, u8, u8) {
    let date = i64::try_from(unix)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    (
        i32::from(date.year()),
        u8::try_from(date.month()).unwrap_or(1),
        u8::try_from(date.day()).unwrap_or(1),
    )
}

const KEY_FILE: &str = "ca.key";
const CERTIFICATE_FILE: &str = "ca.pem";
/// Seconds of a day.
pub(crate) const DAY: u64 = 86_400;

/// Life of a server certificate. Devices that check dates meet a fresh one long before: it is replaced after a third.
pub(crate) const LEAF_DAYS: u64 = 90;

/// The authority has no beginning that depends on the clock of its first start, which may be wrong.
const FIRST_YEAR: i32 = 2020;

/// The authority has no end that a fleet could meet; a change of authority is a decision, not a date.
const LAST_YEAR: i32 = 2199;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_finds_the_same_authority() {
        let data = tempfile::tempdir().expect("tempdir");
        let first = CertificateAuthority::open(data.path()).expect("made");
        let second = CertificateAuthority::open(data.path()).expect("read");
        assert_eq!(first.certificate_pem(), second.certificate_pem());
    }

    #[cfg(unix)]
    #[test]
    fn the_authority_key_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().expect("tempdir");
        CertificateAuthority::open(data.path()).expect("made");
        let mode = std::fs::metadata(data.path().join(KEY_FILE))
            .expect("key file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_lost_authority_key_is_named_and_not_replaced() {
        let data = tempfile::tempdir().expect("tempdir");
        CertificateAuthority::open(data.path()).expect("made");
        std::fs::remove_file(data.path().join(KEY_FILE)).expect("remove");
        assert!(matches!(
            CertificateAuthority::open(data.path()),
            Err(StartError::CaKey { .. })
        ));
    }
}
