//! The file that keeps a release's content key, so that recipients can be added later.
//!
//! PEM label `AIRSEAL CONTENT KEY`; the body is the manifest digest (32 bytes) and the key (32 bytes). Who holds it can
//! read the release, and nothing else: it signs nothing.

use std::path::Path;

use airseal_format::Digest;
use airseal_format::cipher::ContentKey;
use pkcs8::der::pem as rfc7468;
use zeroize::Zeroizing;

use crate::Error;
use crate::key::{Loaded, read_key_text};

const LABEL: &str = "AIRSEAL CONTENT KEY";

/// The content key of one release.
pub struct ContentKeyFile {
    /// The release it opens.
    pub manifest_digest: Digest,
    /// The key.
    pub content_key: ContentKey,
}

impl ContentKeyFile {
    /// Reads a content key file.
    ///
    /// # Errors
    /// `Io` if it can't be read; refused if it is something else.
    pub fn read(path: &Path) -> Result<Loaded<ContentKeyFile>, Error> {
        let name = path.display().to_string();
        let (text, warning) = read_key_text(path)?;
        Ok(Loaded {
            key: Self::parse(&name, &text)?,
            warnings: warning.into_iter().collect(),
        })
    }

    /// Reads the text of a content key file; `name` is for messages.
    ///
    /// # Errors
    /// Refused if it is something else.
    pub fn parse(name: &str, text: &[u8]) -> Result<ContentKeyFile, Error> {
        let (label, body) = rfc7468::decode_vec(text.trim_ascii()).map_err(|error| {
            Error::refused(
                name,
                format!("is no content key file: {error}"),
                "name the file that --content-key-out wrote",
            )
        })?;
        let body = Zeroizing::new(body);
        if label != LABEL {
            return Err(Error::refused(
                name,
                format!("holds a PEM {label}, expected {LABEL}"),
                "name the file that --content-key-out wrote",
            ));
        }
        match (
            body.first_chunk::<32>(),
            body.last_chunk::<32>(),
            body.len(),
        ) {
            (Some(digest), Some(key), 64) => Ok(ContentKeyFile {
                manifest_digest: Digest(*digest),
                content_key: ContentKey::new(*key),
            }),
            _ => Err(Error::refused(
                name,
                format!("has {} bytes in its body, expected 64", body.len()),
                "",
            )),
        }
    }
}

/// The text of a content key file.
pub(crate) fn content_key_pem(
    manifest_digest: Digest,
    content_key: &ContentKey,
) -> Zeroizing<String> {
    let mut body = Zeroizing::new([0; 64]);
    body[..32].copy_from_slice(&manifest_digest.0);
    body[32..].copy_from_slice(content_key.expose());
    Zeroizing::new(
        rfc7468::encode_string(LABEL, rfc7468::LineEnding::LF, body.as_ref())
            .expect("the label is valid and the body short"),
    )
}
