//! The bytes of a sealed firmware release, shared by devices and hosts.
//!
//! A release travels as a [`bundle`]: a trust root ([`keyset`]), a signed
//! [`manifest`], one [`envelope`] per recipient and one [`payload`] that is the
//! same for the whole fleet. `docs/FORMAT.md` is the normative text.
//!
//! The types draw the order of work. Bytes from outside become *unverified*
//! values by parsing (bounds, zero and canonical checks, nothing else); a
//! [`keyset::TrustedKeyset`] or [`trust::TrustAnchor`] turns an
//! [`UnverifiedManifest`] into a [`VerifiedManifest`]; only that gives a
//! [`payload::PayloadTree`], only the tree makes a [`payload::VerifiedChunk`],
//! and only a verified chunk can be decrypted:
//!
//! ```text
//! bytes -> UnverifiedManifest --keyset--> VerifiedManifest -> PayloadTree
//!                                              |                  | top, page, leaf
//! envelope --identity--> ContentKey --commit--> PayloadKeys   VerifiedChunk
//!                                                   \____ decrypt ____/
//! ```
//!
//! The compiler holds that order. A verified chunk is decrypted:
//!
//! ```
//! use airseal_format::Error;
//! use airseal_format::cipher::{ChunkCipher, Plaintext};
//! use airseal_format::payload::VerifiedChunk;
//!
//! fn open(cipher: &ChunkCipher, chunk: VerifiedChunk<Vec<u8>>) -> Result<Plaintext<Vec<u8>>, Error> {
//!     cipher.decrypt(chunk)
//! }
//! ```
//!
//! Bytes that nobody verified are not:
//!
//! ```compile_fail,E0308
//! # use airseal_format::Error;
//! # use airseal_format::cipher::{ChunkCipher, Plaintext};
//! fn open(cipher: &ChunkCipher, chunk: Vec<u8>) -> Result<Plaintext<Vec<u8>>, Error> {
//!     cipher.decrypt(chunk)
//! }
//! ```
//!
//! Nor as bytes to be encrypted, which a stream cipher would decrypt:
//!
//! ```compile_fail,E0599
//! # use airseal_format::cipher::ChunkCipher;
//! fn open(cipher: &ChunkCipher, chunk: &mut [u8]) {
//!     cipher.encrypt(0, chunk)
//! }
//! ```
//!
//! Nobody but the page makes a verified chunk of them:
//!
//! ```compile_fail,E0451
//! # use airseal_format::ComponentId;
//! # use airseal_format::payload::VerifiedChunk;
//! fn pass(ciphertext: Vec<u8>) -> VerifiedChunk<Vec<u8>> {
//!     VerifiedChunk { component: ComponentId(1), byte_offset: 0, ciphertext }
//! }
//! ```
//!
//! And the way to a page begins at a verified manifest. This compiles:
//!
//! ```
//! use airseal_format::payload::PayloadTree;
//! use airseal_format::{ComponentId, Error, VerifiedManifest};
//!
//! fn tree(manifest: &VerifiedManifest<'_>) -> Result<PayloadTree, Error> {
//!     PayloadTree::new(manifest, ComponentId(1))
//! }
//! ```
//!
//! and this does not:
//!
//! ```compile_fail,E0308
//! # use airseal_format::payload::PayloadTree;
//! # use airseal_format::{ComponentId, Error, UnverifiedManifest};
//! fn tree(manifest: &UnverifiedManifest<'_>) -> Result<PayloadTree, Error> {
//!     PayloadTree::new(manifest, ComponentId(1))
//! }
//! ```
//!
//! No allocation, no I/O, no unsafe code, no panic on any input.

#![no_std]

mod error;
mod ids;
mod suite;
mod wire;

pub mod bundle;
pub mod cipher;
pub mod component;
pub mod envelope;
pub mod keyset;
pub mod manifest;
pub mod offer;
pub mod payload;
pub mod recipient;
pub mod signature;
pub mod trust;

pub use error::{Error, Part, Reason};
pub use ids::{
    ClassId, ComponentId, Digest, FlashKeyCheck, HardwareRevision, KeyId, KeysetVersion,
    RecipientId, ReleaseOrder, ReleaseSequence, SecurityVersion, VendorId,
};
pub use manifest::{UnverifiedManifest, VerifiedManifest};
pub use suite::{Algorithm, ContentSuite, WrapSuite};
