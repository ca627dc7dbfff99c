//! Envelopes: the content key of one release, wrapped for one device or group.

use crate::wire::Reader;
use crate::{Digest, Error, Part, Reason, RecipientId, WrapSuite};

/// Length of what stands before the wrapped key; bound into the wrap.
pub const HEADER_LEN: usize = 56;
/// Longest envelope of a defined suite, bytes.
pub const MAX_LEN: usize = 169;

/// The first 56 bytes of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `None` for a number that format 1.0 does not define: skipped by its length.
    pub suite: Option<WrapSuite>,
    /// The number on the wire.
    pub suite_number: u8,
    /// Length of the whole envelope, bytes, at least [`HEADER_LEN`].
    pub len: u16,
    /// Whose it is.
    pub recipient_id: RecipientId,
    /// The release it opens.
    pub manifest_digest: Digest,
}

impl Header {
    /// Reads the header of an envelope.
    ///
    /// # Errors
    /// Names the field and its offset in the envelope.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, Error> {
        let mut r = Reader::new(Part::Envelope, bytes);
        r.expect(b"ASE1", "magic", Reason::Magic)?;
        r.expect(&[1], "version", Reason::Version)?;
        let suite_number = r.u8("wrap_suite")?;
        let suite = WrapSuite::from_number(suite_number);
        let len = r.u16("len")?;
        let is_right = match suite {
            Some(suite) => usize::from(len) == suite.envelope_len(),
            None => usize::from(len) >= HEADER_LEN,
        };
        if !is_right {
            return Err(r.refuse("len", Reason::OutOfRange));
        }
        Ok(Self {
            suite,
            suite_number,
            len,
            recipient_id: RecipientId(r.array("recipient_id")?),
            manifest_digest: Digest(r.array("manifest_digest")?),
        })
    }

    /// Writes the header of an envelope of `suite`.
    pub fn encode(
        suite: WrapSuite,
        recipient_id: RecipientId,
        manifest_digest: Digest,
    ) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..4].copy_from_slice(b"ASE1");
        out[4] = 1;
        out[5] = suite.number();
        let len = u16::try_from(suite.envelope_len()).unwrap_or(u16::MAX);
        out[6..8].copy_from_slice(&len.to_le_bytes());
        out[8..24].copy_from_slice(&recipient_id.0);
        out[24..56].copy_from_slice(&manifest_digest.0);
        out
    }
}

/// One envelope of a defined suite.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    header: Header,
    bytes: &'a [u8],
    suite: WrapSuite,
}

impl<'a> Envelope<'a> {
    /// Reads exactly one envelope.
    ///
    /// # Errors
    /// Names the field and its offset; `UnknownValue` for an undefined suite.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let truncated = Error::new(Part::Envelope, "header", bytes.len(), Reason::Truncated);
        let header = Header::parse(bytes.first_chunk().ok_or(truncated)?)?;
        let suite = header.suite.ok_or(Error::new(
            Part::Envelope,
            "wrap_suite",
            5,
            Reason::UnknownValue,
        ))?;
        let r = Reader::at(Part::Envelope, bytes, usize::from(header.len));
        r.finish()?;
        if bytes.len() < usize::from(header.len) {
            return Err(Error::new(
                Part::Envelope,
                "wrapped_key",
                bytes.len(),
                Reason::Truncated,
            ));
        }
        Ok(Self {
            header,
            bytes,
            suite,
        })
    }

    /// The header's values.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the key is wrapped.
    pub fn suite(&self) -> WrapSuite {
        self.suite
    }

    /// The header's bytes, bound into the wrap.
    pub fn header_bytes(&self) -> &'a [u8] {
        self.bytes.get(..HEADER_LEN).unwrap_or_default()
    }

    /// The wrapped content key.
    pub fn wrapped(&self) -> &'a [u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or_default()
    }

    /// The whole envelope.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The rules of a pack, envelope by envelope, for readers that see it as a stream.
#[derive(Clone, Copy, Debug)]
pub struct PackOrder {
    manifest_digest: Digest,
    last: Option<RecipientId>,
    left: u64,
}

impl PackOrder {
    /// Starts a pack of `len` bytes that belongs to the release `manifest_digest`.
    ///
    /// # Errors
    /// `Missing` for an empty pack, which a bundle leaves out instead.
    pub fn new(manifest_digest: Digest, len: u64) -> Result<Self, Error> {
        if len == 0 {
            return Err(Error::new(Part::Envelope, "len", 0, Reason::Missing));
        }
        Ok(Self {
            manifest_digest,
            last: None,
            left: len,
        })
    }

    /// Bytes of the pack that follow the envelopes seen so far.
    pub fn remaining(&self) -> u64 {
        self.left
    }

    /// Checks the next envelope's header.
    ///
    /// # Errors
    /// `OtherRelease`, `NotAscending`, or `Truncated` when it reaches past the pack.
    pub fn check(&mut self, header: &Header) -> Result<(), Error> {
        let refuse = |field, offset, reason| Err(Error::new(Part::Envelope, field, offset, reason));
        if header.manifest_digest != self.manifest_digest {
            return refuse("manifest_digest", 24, Reason::OtherRelease);
        }
        if self.last.is_some_and(|last| header.recipient_id <= last) {
            return refuse("recipient_id", 8, Reason::NotAscending);
        }
        self.left = match self.left.checked_sub(u64::from(header.len)) {
            Some(left) => left,
            None => return refuse("len", 6, Reason::Truncated),
        };
        self.last = Some(header.recipient_id);
        Ok(())
    }
}

/// Iterates over a pack that lies in memory; ends after the first error.
pub struct Pack<'a> {
    order: PackOrder,
    rest: &'a [u8],
}

impl<'a> Pack<'a> {
    /// Starts reading `bytes`, the pack of the release `manifest_digest`.
    ///
    /// # Errors
    /// `Missing` for an empty pack.
    pub fn new(manifest_digest: Digest, bytes: &'a [u8]) -> Result<Self, Error> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Self {
            order: PackOrder::new(manifest_digest, len)?,
            rest: bytes,
        })
    }

    fn read_one(&mut self) -> Result<PackEntry<'a>, Error> {
        let truncated = Error::new(Part::Envelope, "header", self.rest.len(), Reason::Truncated);
        let header = Header::parse(self.rest.first_chunk().ok_or(truncated)?)?;
        self.order.check(&header)?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(usize::from(header.len))
            .ok_or(truncated)?;
        self.rest = rest;
        Ok(match header.suite {
            Some(_) => PackEntry::Envelope(Envelope::parse(bytes)?),
            None => PackEntry::UnknownSuite(header),
        })
    }
}

/// One entry of a pack.
#[derive(Clone, Copy, Debug)]
pub enum PackEntry<'a> {
    /// An envelope of a defined suite.
    Envelope(Envelope<'a>),
    /// An envelope of another suite: skipped, and no envelope for its recipient.
    UnknownSuite(Header),
}

impl<'a> Iterator for Pack<'a> {
    type Item = Result<PackEntry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.read_one();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}
