use std::sync::{Arc, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::ca::{CertificateAuthority, DAY, LEAF_DAYS};
use crate::error::StartError;

/// The server certificate in use, replaced while the server runs.
pub(crate) struct Leaf {
    authority: Arc<CertificateAuthority>,
    names: Vec<String>,
    current: RwLock<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    issued_at: u64,
}

impl Leaf {
    /// Issues the first certificate for `names` at `now` (unix seconds).
    pub(crate) fn new(
        authority: Arc<CertificateAuthority>,
        names: Vec<String>,
        now: u64,
    ) -> Result<Self, StartError> {
        let key = Arc::new(authority.issue(&names, now)?);
        Ok(Self {
            authority,
            names,
            current: RwLock::new(Current {
                key,
                issued_at: now,
            }),
        })
    }

    /// Replaces the certificate when a third of its life is over, or the clock went back to before it. Returns whether
    /// it did.
    pub(crate) fn renew(&self, now: u64) -> Result<bool, StartError> {
        let issued_at = self
            .current
            .read()
            .map_or_else(|poisoned| poisoned.into_inner().issued_at, |c| c.issued_at);
        let fresh = issued_at.saturating_sub(DAY)..issued_at.saturating_add(LEAF_DAYS * DAY / 3);
        if fresh.contains(&now) {
            return Ok(false);
        }
        let key = Arc::new(self.authority.issue(&self.names, now)?);
        let mut current = match self.current.write() {
            Ok(current) => current,
            Err(poisoned) => poisoned.into_inner(),
        };
        *current = Current {
            key,
            issued_at: now,
        };
        Ok(true)
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = match self.current.read() {
            Ok(current) => current,
            Err(poisoned) => poisoned.into_inner(),
        };
        Some(Arc::clone(&current.key))
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_replaced_after_a_third_of_its_life() {
        let data = tempfile::tempdir().expect("tempdir");
        let now = 1_790_000_000;
        let authority = Arc::new(CertificateAuthority::open(data.path()).expect("authority"));
        let leaf = Leaf::new(authority, vec!["localhost".into()], now).expect("issued");
        assert!(!leaf.renew(now + 29 * DAY).expect("checked"));
        assert!(leaf.renew(now + 30 * DAY).expect("renewed"));
        assert!(!leaf.renew(now + 31 * DAY).expect("checked"));
        assert!(!leaf.renew(now + 29 * DAY).expect("it holds since then"));
        assert!(leaf.renew(now).expect("renewed after the clock went back"));
    }
}
