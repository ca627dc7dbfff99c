//! The payload: ciphertext cut into chunks, under a hash tree of constant depth.
//!
//! Verification comes before everything else, by types: a [`PayloadTree`] exists
//! only for a verified manifest; a top, a page and a chunk are each checked
//! against the level above; only a [`VerifiedChunk`] can be given to
//! [`crate::cipher::ChunkCipher::decrypt`].

use sha2::{Digest as _, Sha256};

use crate::component::Component;
use crate::{ComponentId, Digest, Error, Part, Reason, VerifiedManifest};

/// Bytes of one hash in the tree.
pub const HASH_LEN: usize = 32;
/// Most pages of one component.
pub const MAX_PAGES: u32 = 64;

/// Chunk size and fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// 1 KiB chunks, up to 2 MiB: small RAM.
    P1,
    /// 4 KiB chunks, up to 32 MiB: the default.
    P2,
    /// 16 KiB chunks, up to 512 MiB.
    P3,
    /// 64 KiB chunks, up to 4 GiB.
    P4,
}

impl Profile {
    /// Every profile, smallest first.
    pub const ALL: [Profile; 4] = [Profile::P1, Profile::P2, Profile::P3, Profile::P4];

    /// The wire number, 1 to 4.
    pub fn number(self) -> u8 {
        match self {
            Profile::P1 => 1,
            Profile::P2 => 2,
            Profile::P3 => 3,
            Profile::P4 => 4,
        }
    }

    /// The profile of a wire number, if it is defined.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.number() == number)
    }

    /// Length of a full chunk, bytes.
    pub fn chunk_len(self) -> u32 {
        match self {
            Profile::P1 => 1 << 10,
            Profile::P2 => 4 << 10,
            Profile::P3 => 16 << 10,
            Profile::P4 => 64 << 10,
        }
    }

    /// Chunks per page.
    pub fn fan_out(self) -> u32 {
        match self {
            Profile::P1 => 32,
            Profile::P2 => 128,
            Profile::P3 => 512,
            Profile::P4 => 1024,
        }
    }

    /// Length of a full page of leaf hashes, bytes.
    pub fn page_len(self) -> u32 {
        self.fan_out() * 32
    }
}

/// Where the top, pages and chunks of one component lie in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    profile: Profile,
    component: ComponentId,
    file_off: u64,
    enc_len: u64,
    chunks: u32,
    pages: u32,
}

impl Geometry {
    /// `None` when `enc_len` is 0 or more than the profile holds.
    pub fn new(
        profile: Profile,
        component: ComponentId,
        file_off: u64,
        enc_len: u64,
    ) -> Option<Self> {
        if enc_len == 0 || enc_len > u64::from(u32::MAX) {
            return None;
        }
        let chunks = u32::try_from(enc_len.div_ceil(u64::from(profile.chunk_len()))).ok()?;
        let pages = chunks.div_ceil(profile.fan_out());
        if pages > MAX_PAGES {
            return None;
        }
        let geometry = Self {
            profile,
            component,
            file_off,
            enc_len,
            chunks,
            pages,
        };
        file_off.checked_add(geometry.stored_len())?;
        Some(geometry)
    }

    /// The component these positions are of.
    pub fn component(&self) -> ComponentId {
        self.component
    }

    /// The profile the positions follow from.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Number of chunks, n.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Number of pages, P.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Ciphertext length, bytes.
    pub fn enc_len(&self) -> u64 {
        self.enc_len
    }

    /// Length of the top, bytes.
    pub fn top_len(&self) -> u32 {
        self.pages * 32
    }

    /// Offset of the top in the payload.
    pub fn top_off(&self) -> u64 {
        self.file_off
    }

    /// Leaves of page `page`; 0 past the end.
    pub fn entries(&self, page: u32) -> u32 {
        let before = page.saturating_mul(self.profile.fan_out());
        self.chunks
            .saturating_sub(before)
            .min(self.profile.fan_out())
    }

    /// Offset of page `page` in the payload.
    pub fn page_off(&self, page: u32) -> u64 {
        let group = u64::from(self.profile.fan_out()) * (32 + u64::from(self.profile.chunk_len()));
        self.file_off + u64::from(self.top_len()) + u64::from(page) * group
    }

    /// Length of page `page`, bytes.
    pub fn page_len(&self, page: u32) -> u32 {
        self.entries(page) * 32
    }

    /// The page that holds the leaf of chunk `chunk`.
    pub fn page_of(&self, chunk: u32) -> u32 {
        chunk / self.profile.fan_out()
    }

    /// Offset of chunk `chunk` in the payload.
    pub fn chunk_off(&self, chunk: u32) -> u64 {
        let page = self.page_of(chunk);
        let within = chunk % self.profile.fan_out();
        self.page_off(page)
            + u64::from(self.page_len(page))
            + u64::from(within) * u64::from(self.profile.chunk_len())
    }

    /// Length of chunk `chunk`, bytes; 0 past the end.
    pub fn chunk_len(&self, chunk: u32) -> u32 {
        let start = self.byte_offset(chunk);
        let left = self.enc_len.saturating_sub(start);
        u32::try_from(left)
            .unwrap_or(u32::MAX)
            .min(self.profile.chunk_len())
    }

    /// Offset of chunk `chunk` in the component's ciphertext and in the image.
    pub fn byte_offset(&self, chunk: u32) -> u64 {
        u64::from(chunk) * u64::from(self.profile.chunk_len())
    }

    /// Bytes the component occupies in the payload.
    pub fn stored_len(&self) -> u64 {
        32 * (u64::from(self.pages) + u64::from(self.chunks)) + self.enc_len
    }
}

/// What is hashed before a chunk's ciphertext to give its leaf.
pub fn leaf_header(component: ComponentId, chunk: u32, len: u32) -> [u8; 11] {
    let mut out = [0; 11];
    out[1..3].copy_from_slice(&component.0.to_le_bytes());
    out[3..7].copy_from_slice(&chunk.to_le_bytes());
    out[7..11].copy_from_slice(&len.to_le_bytes());
    out
}

/// What is hashed before a page to give its entry in the top.
pub fn node_header(component: ComponentId, page: u32) -> [u8; 7] {
    let mut out = [1, 0, 0, 0, 0, 0, 0];
    out[1..3].copy_from_slice(&component.0.to_le_bytes());
    out[3..7].copy_from_slice(&page.to_le_bytes());
    out
}

/// What is hashed before the top to give the root.
pub fn root_header(geometry: &Geometry) -> [u8; 15] {
    let mut out = [2; 15];
    out[1..3].copy_from_slice(&geometry.component.0.to_le_bytes());
    out[3..7].copy_from_slice(&geometry.chunks.to_le_bytes());
    out[7..15].copy_from_slice(&geometry.enc_len.to_le_bytes());
    out
}

/// What is hashed before the plaintext to give the image digest.
pub fn image_header(place: u8, install_len: u64, digest_salt: &[u8; 32]) -> [u8; 42] {
    let mut out = [3; 42];
    out[1] = place;
    out[2..10].copy_from_slice(&install_len.to_le_bytes());
    out[10..42].copy_from_slice(digest_salt);
    out
}

/// Salted digest of an installed image, fed piece by piece.
#[derive(Clone)]
pub struct ImageHasher(Sha256);

impl ImageHasher {
    /// Starts the digest of an image of `install_len` bytes for `place`.
    pub fn new(place: u8, install_len: u64, digest_salt: &[u8; 32]) -> Self {
        Self(Sha256::new_with_prefix(image_header(
            place,
            install_len,
            digest_salt,
        )))
    }

    /// Adds the next bytes of the plaintext.
    pub fn update(&mut self, plaintext: &[u8]) {
        self.0.update(plaintext);
    }

    /// The digest, to compare with [`Component::image_digest`].
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The hash tree of one component of a verified manifest.
#[derive(Clone, Copy, Debug)]
pub struct PayloadTree {
    geometry: Geometry,
    root: Digest,
}

impl PayloadTree {
    /// The tree of component `component`.
    ///
    /// # Errors
    /// `Missing` when the manifest has no such component.
    pub fn new(manifest: &VerifiedManifest<'_>, component: ComponentId) -> Result<Self, Error> {
        let component = find(manifest, component)?;
        Ok(Self {
            geometry: component.geometry(manifest.header().profile)?,
            root: component.tree_root,
        })
    }

    /// Positions of everything in the payload.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Checks the top against the signed root.
    ///
    /// # Errors
    /// `TopMismatch`, also for a top of the wrong length.
    pub fn verify_top<B: AsRef<[u8]>>(&self, top: B) -> Result<VerifiedTop<B>, Error> {
        let bytes = top.as_ref();
        let hash = hash(&root_header(&self.geometry), bytes);
        if !has_len(bytes, self.geometry.top_len()) || hash != self.root.0 {
            return Err(at(self.geometry.top_off(), "top", Reason::TopMismatch));
        }
        Ok(VerifiedTop {
            geometry: self.geometry,
            top,
        })
    }
}

/// A top that hashes to the signed root.
pub struct VerifiedTop<B> {
    geometry: Geometry,
    top: B,
}

impl<B: AsRef<[u8]>> VerifiedTop<B> {
    /// Positions of everything in the payload.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Checks page `page` against its entry in the top.
    ///
    /// # Errors
    /// `PageMismatch`, also for a page of the wrong length or a number past the end.
    pub fn verify_page<P: AsRef<[u8]>>(
        &self,
        page: u32,
        bytes: P,
    ) -> Result<VerifiedPage<P>, Error> {
        let hash = hash(&node_header(self.geometry.component, page), bytes.as_ref());
        let is_right = page < self.geometry.pages
            && has_len(bytes.as_ref(), self.geometry.page_len(page))
            && entry(self.top.as_ref(), page) == Some(&hash);
        if !is_right {
            return Err(at(
                self.geometry.page_off(page),
                "page",
                Reason::PageMismatch,
            ));
        }
        Ok(VerifiedPage {
            geometry: self.geometry,
            page,
            bytes,
        })
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> B {
        self.top
    }
}

/// A page of leaf hashes that hashes to its entry in a verified top.
pub struct VerifiedPage<B> {
    geometry: Geometry,
    page: u32,
    bytes: B,
}

impl<B: AsRef<[u8]>> VerifiedPage<B> {
    /// The page's number.
    pub fn number(&self) -> u32 {
        self.page
    }

    /// Checks chunk `chunk` of the component against its leaf.
    ///
    /// # Errors
    /// `ChunkMismatch`, also for a chunk of another page or of the wrong length.
    pub fn verify_chunk<C: AsRef<[u8]>>(
        &self,
        chunk: u32,
        ciphertext: C,
    ) -> Result<VerifiedChunk<C>, Error> {
        let g = &self.geometry;
        let len = g.chunk_len(chunk);
        let leaf = hash(&leaf_header(g.component, chunk, len), ciphertext.as_ref());
        let is_right = chunk < g.chunks
            && g.page_of(chunk) == self.page
            && has_len(ciphertext.as_ref(), len)
            && entry(self.bytes.as_ref(), chunk % g.profile.fan_out()) == Some(&leaf);
        if !is_right {
            return Err(at(g.chunk_off(chunk), "chunk", Reason::ChunkMismatch));
        }
        Ok(VerifiedChunk {
            component: g.component,
            byte_offset: g.byte_offset(chunk),
            ciphertext,
        })
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> B {
        self.bytes
    }
}

/// Ciphertext that is, byte for byte, what the vendor signed.
pub struct VerifiedChunk<B> {
    pub(crate) component: ComponentId,
    pub(crate) byte_offset: u64,
    pub(crate) ciphertext: B,
}

impl<B> VerifiedChunk<B> {
    /// Offset of the chunk in the component's ciphertext and in the image, bytes.
    pub fn byte_offset(&self) -> u64 {
        self.byte_offset
    }

    /// Gives the (still encrypted) buffer back.
    pub fn into_inner(self) -> B {
        self.ciphertext
    }
}

pub(crate) fn find(
    manifest: &VerifiedManifest<'_>,
    component: ComponentId,
) -> Result<Component, Error> {
    manifest
        .components()
        .find(|c| c.id == component)
        .ok_or(Error::new(
            Part::Manifest,
            "component_id",
            0,
            Reason::Missing,
        ))
}

fn hash(header: &[u8], body: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(header)
        .chain_update(body)
        .finalize()
        .into()
}

fn has_len(bytes: &[u8], len: u32) -> bool {
    u32::try_from(bytes.len()) == Ok(len)
}

fn entry(hashes: &[u8], index: u32) -> Option<&[u8; 32]> {
    hashes.as_chunks::<32>().0.get(usize::try_from(index).ok()?)
}

fn at(offset: u64, field: &'static str, reason: Reason) -> Error {
    Error::new(
        Part::Payload,
        field,
        usize::try_from(offset).unwrap_or(usize::MAX),
        reason,
    )
}
