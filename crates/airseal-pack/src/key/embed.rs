//! Public keys in the forms that firmware sources take.

use std::fmt::Write as _;

use super::{KeyFile, KeyKind, public_to_pem};
use crate::Error;

/// A form to print a public key in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbedFormat {
    /// The PEM key file.
    Pem,
    /// The raw bytes.
    Raw,
    /// A C array.
    C,
    /// A Rust constant.
    Rust,
}

/// Renders the public half of `key`.
///
/// # Errors
/// Usage error for a group key: it has no public half.
pub fn embed(key: &KeyFile, format: EmbedFormat) -> Result<Vec<u8>, Error> {
    let Some(public) = key.public() else {
        return Err(Error::usage(
            "a group key has no public part",
            "only its id can be shown",
        ));
    };
    let bytes = public.as_bytes();
    let name = match public.kind() {
        KeyKind::Signing | KeyKind::SigningP256 => "airseal_signing_key",
        KeyKind::Device | KeyKind::DeviceP256 | KeyKind::Group => "airseal_device_key",
    };
    let text = match format {
        EmbedFormat::Pem => public_to_pem(&public),
        EmbedFormat::Raw => return Ok(bytes.to_vec()),
        EmbedFormat::C => format!(
            "/* {} public key, id {} */\nstatic const unsigned char {name}[{}] = {{\n{}}};\n",
            public.kind(),
            public.id(),
            bytes.len(),
            rows(bytes)
        ),
        EmbedFormat::Rust => format!(
            "/// The {} public key with id {}.\npub const {}: [u8; {}] = [\n{}];\n",
            public.kind(),
            public.id(),
            name.to_uppercase(),
            bytes.len(),
            rows(bytes)
        ),
    };
    Ok(text.into_bytes())
}

fn rows(bytes: &[u8]) -> String {
    let mut text = String::new();
    for row in bytes.chunks(12) {
        let cells: Vec<String> = row.iter().map(|byte| format!("0x{byte:02x}")).collect();
        // Writing to a String can't fail.
        let _ = writeln!(text, "    {},", cells.join(", "));
    }
    text
}
