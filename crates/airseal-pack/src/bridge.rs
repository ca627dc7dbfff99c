//! Containers of others: what a fleet in the field already reads.

use std::path::Path;

use crate::Error;
use crate::source::{Source, length};

pub mod aes_cbc;
pub mod encrypted_img;
pub mod keys;
pub mod mcuboot;

mod gcm;

/// The longest image read, bytes.
pub const MAX_IMAGE: u64 = 256 << 20;

/// Reads an image or a payload whole.
///
/// # Errors
/// `Io`; refused above [`MAX_IMAGE`].
pub fn read(path: &Path) -> Result<(String, Vec<u8>), Error> {
    let source = Source::open(path)?;
    if source.len() > MAX_IMAGE {
        return Err(Error::refused(
            source.name(),
            format!("has {} bytes, more than {MAX_IMAGE}", source.len()),
            "name one image, not a whole flash",
        ));
    }
    let mut bytes = vec![0; length(source.len())];
    source.read_at(0, &mut bytes)?;
    Ok((source.name().to_owned(), bytes))
}
