//! The paths of the device interface, written and read without an allocator.

use core::fmt::{self, Write};

/// Every path of the device interface starts so.
pub const PREFIX: &str = "/d/v1/";

/// `POST`: a device introduces itself.
pub const ENROLL: &str = "/d/v1/enroll";
/// `POST`: a device asks what to do.
pub const POLL: &str = "/d/v1/poll";
/// `GET`, followed by `/DIGEST`: keysets and manifest.
pub const MANIFEST: &str = "/d/v1/manifest";
/// `GET`, followed by `/DIGEST`: the device's envelopes.
pub const ENVELOPE: &str = "/d/v1/envelope";
/// `GET` or `HEAD`, followed by `/DIGEST`: payload bytes.
pub const PAYLOAD: &str = "/d/v1/payload";
/// `POST`: a device tells how an update goes.
pub const REPORT: &str = "/d/v1/report";

/// Longest path with its query, in bytes: below the 96 that small HTTP stacks are known to hold.
pub const MAX_LEN: usize = 96;

/// Name of the query parameter of a manifest request: the version of the keyset in force on the device.
pub const KEYSET_PARAMETER: &str = "ks";

/// A path in a buffer of its own.
#[derive(Clone, Copy)]
pub struct Path {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Path {
    /// Keysets above `keyset_version`, and the manifest with `digest`.
    #[must_use]
    pub fn manifest(digest: &[u8; 32], keyset_version: u32) -> Self {
        Self::of(format_args!(
            "{MANIFEST}/{}?{KEYSET_PARAMETER}={keyset_version}",
            Hex(digest)
        ))
    }

    /// The envelopes of the release with `digest` that are addressed to the asking device.
    #[must_use]
    pub fn envelope(digest: &[u8; 32]) -> Self {
        Self::of(format_args!("{ENVELOPE}/{}", Hex(digest)))
    }

    /// The payload of the release with `digest`.
    #[must_use]
    pub fn payload(digest: &[u8; 32]) -> Self {
        Self::of(format_args!("{PAYLOAD}/{}", Hex(digest)))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    fn of(arguments: fmt::Arguments<'_>) -> Self {
        let mut path = Self {
            bytes: [0; MAX_LEN],
            len: 0,
        };
        path.write_fmt(arguments)
            .expect("the longest path, manifest with a ten-digit version, has 93 bytes");
        path
    }
}

impl fmt::Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.checked_add(text.len()).ok_or(fmt::Error)?;
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a manifest digest from 64 lower-case hexadecimal digits, the only spelling that is accepted.
#[must_use]
pub fn digest_from_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(digest)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
