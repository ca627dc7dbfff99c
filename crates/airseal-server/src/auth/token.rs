use std::path::{Path, PathBuf};
use std::sync::RwLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::error::StartError;
use crate::files;
use crate::store::{Note, Store};

/// A fresh one-time token for a device. Has no Debug: it must not reach a log.
pub(crate) struct ClaimToken(String);

impl ClaimToken {
    /// 192 random bits.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        random_text::<24>("asc_").map(Self)
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }

    /// The token itself, for the one answer that shows it.
    pub(crate) fn reveal(self) -> String {
        self.0
    }
}

/// What is stored of a token. Tokens are random and long, so a plain hash tells nothing about them.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The hashes of the administrator tokens that work.
#[derive(Debug, Default)]
pub(crate) struct AdminTokens(RwLock<Vec<[u8; 32]>>);

impl AdminTokens {
    pub(crate) fn new(hashes: Vec<[u8; 32]>) -> Self {
        Self(RwLock::new(hashes))
    }

    /// Whether a presented token works; the time taken does not depend on which byte differs.
    pub(crate) fn accept(&self, token: &str) -> bool {
        let presented = hash(token);
        let hashes = match self.0.read() {
            Ok(hashes) => hashes,
            Err(poisoned) => poisoned.into_inner(),
        };
        hashes
            .iter()
            .fold(Choice::from(0), |found, known| {
                found | known.ct_eq(&presented)
            })
            .into()
    }
}

/// Makes the administrator token when there is none, or when `renew` asks for a new one, and leaves it in
/// `DATA/admin-token`, readable by the owner. The file comes first: a crash before the database knows the token leads
/// to a new one at the next start.
pub(crate) async fn open_admin_token(
    store: &dyn Store,
    data: &Path,
    renew: bool,
    now: u64,
) -> Result<(AdminTokens, PathBuf), StartError> {
    let path = data.join(TOKEN_FILE);
    let mut hashes = store.token_hashes().await?;
    if hashes.is_empty() || renew {
        let token = random_text::<32>("asa_")
            .map_err(|error| StartError::io(&path, std::io::Error::other(error)))?;
        files::write_secret(&path, format!("{token}\n").as_bytes())?;
        let note = Note {
            actor: "server".into(),
            action: "token.replace".into(),
            subject: "admin".into(),
            detail: String::new(),
            now,
        };
        let new = hash(&token);
        store.replace_token(&new, &note).await?;
        hashes = vec![new];
    }
    Ok((AdminTokens::new(hashes), path))
}

fn random_text<const N: usize>(prefix: &str) -> Result<String, getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

const TOKEN_FILE: &str = "admin-token";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_token_is_accepted() {
        let tokens = AdminTokens::new(vec![hash("right"), hash("also right")]);
        assert!(tokens.accept("right") && tokens.accept("also right"));
        assert!(!tokens.accept("wrong") && !tokens.accept(""));
        assert!(!AdminTokens::default().accept("right"));
    }

    #[test]
    fn a_claim_token_fits_its_message() {
        let token = ClaimToken::new().expect("random").reveal();
        assert!(token.len() <= airseal_protocol::limits::CLAIM_TOKEN_MAX);
    }
}
