//! Finding the one key in a file, and the line that says what it is for.

use pkcs8::der::pem as rfc7468;
use zeroize::Zeroizing;

use super::KeyKind;
use crate::Error;
use crate::recognise;

const KIND_PREFIX: &str = "airseal-kind: ";
/// The label of a group key.
pub(super) const GROUP_LABEL: &str = "AIRSEAL GROUP KEY";

/// The one key block of a file.
pub(crate) struct Block {
    /// What stands between `BEGIN` and the dashes.
    pub(crate) label: String,
    /// The decoded body.
    pub(crate) der: Zeroizing<Vec<u8>>,
    /// What the file says the key is for; `None` for a file from elsewhere.
    pub(crate) kind: Option<KeyKind>,
}

/// Finds the key in `text`; `name` is for messages.
pub(crate) fn find(name: &str, text: &[u8]) -> Result<Block, Error> {
    let refuse =
        |message: String| Err(Error::refused(name, message, "name a key file in PEM form"));
    let Ok(text) = std::str::from_utf8(text) else {
        return refuse(match recognise::recognise(text) {
            Some(found) => format!("is no key file but {found}"),
            None => "is no key file: it is not text".to_owned(),
        });
    };
    let mut kind = None;
    let mut block: Option<(&str, usize, usize)> = None;
    let mut open: Option<(&str, usize)> = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if let Some(label) = boundary(line, "-----BEGIN ") {
            if open.is_some() {
                return refuse(format!(
                    "BEGIN {label} at offset {start} inside another key"
                ));
            }
            open = Some((label, start));
        } else if let Some(label) = boundary(line, "-----END ") {
            let Some((_, begin)) = open.take().filter(|(begun, _)| *begun == label) else {
                return refuse(format!("END {label} at offset {start} without its BEGIN"));
            };
            // What `openssl ecparam -genkey` writes before its key; it holds no key.
            if label == "EC PARAMETERS" {
                continue;
            }
            if block.is_some() {
                return refuse(format!(
                    "a second key (BEGIN {label}) at offset {begin}; put each key in a file of its own"
                ));
            }
            block = Some((label, begin, offset));
        } else if line
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("airseal-kind")
        {
            if kind.is_some() || block.is_some() || open.is_some() {
                return refuse(format!(
                    "airseal-kind line at offset {start}: exactly one is allowed, before BEGIN"
                ));
            }
            let value = line.strip_prefix(KIND_PREFIX).unwrap_or_default();
            let Some(known) = KeyKind::from_name(value) else {
                return refuse(format!(
                    "airseal-kind line at offset {start}: expected `{KIND_PREFIX}` and one of signing, signing-p256, device, device-p256, group"
                ));
            };
            kind = Some(known);
        }
    }
    if let Some((label, start)) = open {
        return refuse(format!(
            "BEGIN {label} at offset {start} has no END: the file is cut off"
        ));
    }
    let Some((label, begin, end)) = block else {
        return refuse(match recognise::recognise(text.as_bytes()) {
            Some(found) => format!("is no key file but {found}"),
            None => "is no key file: no -----BEGIN ...----- line found".to_owned(),
        });
    };
    let body = text.get(begin..end).unwrap_or_default();
    match rfc7468::decode_vec(body.as_bytes()) {
        Ok((_, der)) => Ok(Block {
            label: label.to_owned(),
            der: Zeroizing::new(der),
            kind,
        }),
        Err(error) => refuse(format!(
            "{label} at offset {begin} is no valid PEM: {error}"
        )),
    }
}

/// The text of a key file of ours.
pub(super) fn encode(label: &str, kind: KeyKind, der: &[u8]) -> Zeroizing<String> {
    let pem = Zeroizing::new(
        rfc7468::encode_string(label, rfc7468::LineEnding::LF, der)
            .expect("labels are valid and bodies short"),
    );
    Zeroizing::new(format!("{KIND_PREFIX}{kind}\n{}", *pem))
}

fn boundary<'t>(line: &'t str, start: &str) -> Option<&'t str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}
