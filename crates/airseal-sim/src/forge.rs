//! What an attacker does to the bytes of a sealed file.

use airseal_format::bundle::{HEADER_LEN, SECTION_HEADER_LEN, Section, SectionKind, Walk};
use airseal_format::component::Component;
use airseal_format::payload::{self, Geometry};
use airseal_format::{Error, Part, Reason, RecipientId, UnverifiedManifest};
use sha2::{Digest as _, Sha256};

/// A sealed file in memory, with its sections. What names a part that the file does not
/// have is `Truncated`.
#[derive(Clone)]
pub struct Forgery {
    bytes: Vec<u8>,
    sections: Vec<(SectionKind, usize, usize)>,
}

impl Forgery {
    /// Takes a genuine file.
    pub fn of(bytes: Vec<u8>) -> Result<Forgery, Error> {
        let mut sections = Vec::new();
        let mut at = HEADER_LEN;
        let mut walk = Walk::start(array(&bytes, 0)?)?;
        while !walk.is_complete() {
            let section: Section = walk.section(array(&bytes, at)?)?;
            let start = at + SECTION_HEADER_LEN;
            let len = size(section.len);
            sections.push((section.kind, start, len));
            at = start.saturating_add(len);
        }
        Ok(Forgery { bytes, sections })
    }

    /// The file as it is now.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Flips a bit of the byte at `offset` of a section.
    pub fn flip(mut self, kind: SectionKind, offset: usize) -> Result<Forgery, Error> {
        let (start, len) = self.section(kind)?;
        let byte = self.bytes.get_mut(start + offset).filter(|_| offset < len);
        *byte.ok_or_else(short)? ^= 1;
        Ok(self)
    }

    /// Flips a bit of the last byte of a section.
    pub fn flip_last(self, kind: SectionKind) -> Result<Forgery, Error> {
        let (_, len) = self.section(kind)?;
        self.flip(kind, len.saturating_sub(1))
    }

    /// Flips a bit inside the wrapped key of one recipient's envelope.
    pub fn flip_envelope(self, recipient: RecipientId) -> Result<Forgery, Error> {
        let (start, len) = self.section(SectionKind::EnvelopePack)?;
        let pack = self.bytes.get(start..start + len).ok_or_else(short)?;
        let at = pack
            .windows(16)
            .position(|window| window == recipient.0)
            .ok_or_else(short)?;
        // Behind the recipient's id stand the manifest digest (32 bytes) and the encapsulated key (32 bytes).
        self.flip(SectionKind::EnvelopePack, at + 16 + 32 + 32)
    }

    /// Overwrites bytes of the manifest.
    pub fn write_manifest(mut self, offset: usize, bytes: &[u8]) -> Result<Forgery, Error> {
        let (start, _) = self.section(SectionKind::Manifest)?;
        let room = self
            .bytes
            .get_mut(start + offset..start + offset + bytes.len())
            .ok_or_else(short)?;
        room.copy_from_slice(bytes);
        Ok(self)
    }

    /// Puts another file's envelopes in the place of these, which must be of the same length.
    pub fn envelopes_of(mut self, other: &Forgery) -> Result<Forgery, Error> {
        let (start, len) = self.section(SectionKind::EnvelopePack)?;
        let (from, from_len) = other.section(SectionKind::EnvelopePack)?;
        let pack = other
            .bytes
            .get(from..from + from_len)
            .filter(|_| from_len == len)
            .ok_or_else(short)?;
        self.bytes
            .get_mut(start..start + len)
            .ok_or_else(short)?
            .copy_from_slice(pack);
        Ok(self)
    }

    /// Where the first page of the hash table, and the first chunk, stand in the payload.
    pub fn first_page_and_chunk(&self) -> Result<(usize, usize), Error> {
        let (_, geometry) = self.component()?;
        let page = size(geometry.pages()) * 32;
        let leaves = size(geometry.entries(0)) * 32;
        Ok((page, page + leaves))
    }

    /// Changes the first chunk as only somebody with the content key can: in its meaning, with leaf and page hash made
    /// anew. What can't be made anew is the signature over the root.
    pub fn rehash_first_chunk(mut self) -> Result<Forgery, Error> {
        let (component, geometry) = self.component()?;
        let (page, chunk) = self.first_page_and_chunk()?;
        let (payload, _) = self.section(SectionKind::Payload)?;
        let chunk_len = size(geometry.chunk_len(0));
        let bytes = self.bytes.get_mut(payload..).ok_or_else(short)?;
        let body = bytes.get_mut(chunk..chunk + chunk_len).ok_or_else(short)?;
        body.iter_mut().for_each(|byte| *byte ^= 0x5A);
        let leaf = hash(
            &payload::leaf_header(component.id, 0, geometry.chunk_len(0)),
            body,
        );
        bytes
            .get_mut(page..page + 32)
            .ok_or_else(short)?
            .copy_from_slice(&leaf);
        let node = hash(
            &payload::node_header(component.id, 0),
            bytes.get(page..chunk).ok_or_else(short)?,
        );
        bytes
            .get_mut(..32)
            .ok_or_else(short)?
            .copy_from_slice(&node);
        Ok(self)
    }

    fn component(&self) -> Result<(Component, Geometry), Error> {
        let (start, len) = self.section(SectionKind::Manifest)?;
        let section = self.bytes.get(start..start + len).ok_or_else(short)?;
        let (manifest, _) = UnverifiedManifest::parse_prefix(section)?;
        let component = manifest.components().next().ok_or_else(short)?;
        let geometry = component.geometry(manifest.header().profile)?;
        Ok((component, geometry))
    }

    fn section(&self, kind: SectionKind) -> Result<(usize, usize), Error> {
        let found = self.sections.iter().find(|(section, ..)| *section == kind);
        found
            .map(|(_, start, len)| (*start, *len))
            .ok_or_else(short)
    }
}

fn hash(header: &[u8], body: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(header)
        .chain_update(body)
        .finalize()
        .into()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<&[u8; N], Error> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .ok_or_else(short)
}

fn size(len: impl Into<u64>) -> usize {
    usize::try_from(len.into()).unwrap_or(usize::MAX)
}

fn short() -> Error {
    Error::new(Part::Bundle, "section_len", 0, Reason::Truncated)
}
