//! The bundle: every artifact of a release in one file that is read front to back.

use crate::wire::Reader;
use crate::{Error, Part, Reason, keyset, manifest, signature};

/// Length of the bundle's own header, bytes.
pub const HEADER_LEN: usize = 8;
/// Length of the header before each section, bytes.
pub const SECTION_HEADER_LEN: usize = 16;
/// Most keysets in one bundle.
pub const MAX_KEYSETS: usize = 32;
/// Longest keyset section, bytes.
pub const MAX_KEYSET_SECTION: usize = keyset::MAX_SIGNED_LEN + signature::MAX_BLOCK_LEN;
/// Longest manifest section, bytes.
pub const MAX_MANIFEST_SECTION: usize = manifest::MAX_SIGNED_LEN + signature::MAX_BLOCK_LEN;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SectionKind {
    /// One keyset and its signature block.
    Keyset,
    /// The manifest and its signature block.
    Manifest,
    /// Envelopes back to back.
    EnvelopePack,
    /// The payload.
    Payload,
}

impl SectionKind {
    /// The wire number.
    pub fn number(self) -> u16 {
        match self {
            SectionKind::Keyset => 1,
            SectionKind::Manifest => 2,
            SectionKind::EnvelopePack => 3,
            SectionKind::Payload => 4,
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(SectionKind::Keyset),
            2 => Some(SectionKind::Manifest),
            3 => Some(SectionKind::EnvelopePack),
            4 => Some(SectionKind::Payload),
            _ => None,
        }
    }
}

/// One section's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// What follows.
    pub kind: SectionKind,
    /// How many bytes of it.
    pub len: u64,
}

impl Section {
    /// Reads a section header.
    ///
    /// # Errors
    /// Names the field and its offset in the section header.
    pub fn parse(bytes: &[u8; SECTION_HEADER_LEN]) -> Result<Self, Error> {
        let mut r = Reader::new(Part::Bundle, bytes);
        let kind = SectionKind::from_number(r.u16("section_kind")?)
            .ok_or_else(|| r.refuse("section_kind", Reason::UnknownValue))?;
        r.zeros(2, "section_flags")?;
        r.zeros(4, "section_reserved")?;
        let len = r.u64("section_len")?;
        let limit = match kind {
            SectionKind::Keyset => MAX_KEYSET_SECTION as u64,
            SectionKind::Manifest => MAX_MANIFEST_SECTION as u64,
            SectionKind::EnvelopePack | SectionKind::Payload => u64::MAX,
        };
        if len > limit || (kind == SectionKind::EnvelopePack && len == 0) {
            return Err(r.refuse("section_len", Reason::OutOfRange));
        }
        Ok(Self { kind, len })
    }

    /// Writes the section header.
    pub fn encode(&self) -> [u8; SECTION_HEADER_LEN] {
        let mut out = [0; SECTION_HEADER_LEN];
        out[..2].copy_from_slice(&self.kind.number().to_le_bytes());
        out[8..].copy_from_slice(&self.len.to_le_bytes());
        out
    }
}

/// The order of sections, for readers that see the bundle as a stream.
///
/// Feed the 8-byte header to [`Walk::start`] and each section header to
/// [`Walk::section`]; after the payload's bytes [`Walk::is_complete`] is true and
/// nothing may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    left: u16,
    keysets: usize,
    last: Option<SectionKind>,
    offset: u64,
}

impl Walk {
    /// Reads the bundle's header.
    ///
    /// # Errors
    /// Names the field and its offset in the bundle.
    pub fn start(bytes: &[u8; HEADER_LEN]) -> Result<Self, Error> {
        let mut r = Reader::new(Part::Bundle, bytes);
        r.expect(b"ASB1", "magic", Reason::Magic)?;
        r.expect(&[1], "major", Reason::Version)?;
        r.expect(&[0], "minor", Reason::Version)?;
        let sections = r.u16("n_sections")?;
        if !(2..=35).contains(&sections) {
            return Err(r.refuse("n_sections", Reason::OutOfRange));
        }
        Ok(Self {
            left: sections,
            keysets: 0,
            last: None,
            offset: 8,
        })
    }

    /// Reads the next section header; errors carry offsets in the whole bundle.
    ///
    /// # Errors
    /// Names the field and its offset in the bundle.
    pub fn section(&mut self, bytes: &[u8; SECTION_HEADER_LEN]) -> Result<Section, Error> {
        let at = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let section = Section::parse(bytes).map_err(|error| {
            let offset = usize::try_from(error.offset).unwrap_or(usize::MAX);
            Error::new(
                error.part,
                error.field,
                at.saturating_add(offset),
                error.reason,
            )
        })?;
        let refuse = |field, reason| Err(Error::new(Part::Bundle, field, at, reason));
        let follows = match (self.last, section.kind) {
            (None | Some(SectionKind::Keyset), SectionKind::Keyset | SectionKind::Manifest) => true,
            (Some(SectionKind::Manifest), kind) => kind > SectionKind::Manifest,
            (Some(SectionKind::EnvelopePack), SectionKind::Payload) => true,
            _ => false,
        };
        if !follows {
            return refuse("section_kind", Reason::Order);
        }
        if section.kind == SectionKind::Keyset {
            self.keysets += 1;
            if self.keysets > MAX_KEYSETS {
                return refuse("section_kind", Reason::Limit);
            }
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) if (left == 0) == (section.kind == SectionKind::Payload) => left,
            _ => return refuse("n_sections", Reason::Sum),
        };
        let end = self
            .offset
            .checked_add(16)
            .and_then(|o| o.checked_add(section.len));
        self.offset = match end {
            Some(end) => end,
            None => return refuse("section_len", Reason::OutOfRange),
        };
        self.last = Some(section.kind);
        Ok(section)
    }

    /// True once the payload's header was read: its bytes are the last of the bundle.
    pub fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Offset in the bundle where the section read last ends, bytes.
    pub fn end(&self) -> u64 {
        self.offset
    }
}

/// Writes the bundle's header for `sections` sections.
pub fn encode_header(sections: u16) -> [u8; HEADER_LEN] {
    let mut out = *b"ASB1\x01\0\0\0";
    out[6..].copy_from_slice(&sections.to_le_bytes());
    out
}

/// Checks that a payload section has the length the manifest signs.
///
/// # Errors
/// `Sum`, at the section's length.
pub fn check_payload_len(section: &Section, manifest: &manifest::Header) -> Result<(), Error> {
    if section.len == manifest.payload_len {
        Ok(())
    } else {
        Err(Error::new(Part::Payload, "section_len", 8, Reason::Sum))
    }
}
