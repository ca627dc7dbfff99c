//! The messages between a device and an update server.
//!
//! A device speaks to a server in six requests, all below [`path::PREFIX`]:
//!
//! | request | body sent | body answered |
//! |---|---|---|
//! | `POST enroll` | [`EnrollRequest`] | [`EnrollResponse`] |
//! | `POST poll` | [`PollRequest`] | [`PollResponse`] |
//! | `GET manifest/DIGEST?ks=N` | | keyset sections above N, then the manifest section (laid out as in a bundle) |
//! | `GET envelope/DIGEST` | | an envelope pack holding only what is addressed to this device |
//! | `GET payload/DIGEST` | | payload bytes, by `Range` |
//! | `POST report` | [`Report`] | nothing |
//!
//! Every answer with a status of 400 or above carries a [`Problem`].
//!
//! Who is speaking is decided by the channel (the client key of the TLS session), so no message and no path holds a
//! device identity that a server would have to believe.
//!
//! Messages are CBOR maps with small integer keys (RFC 8949). A reader skips keys it does not know, which is how the
//! protocol grows; it refuses trailing bytes and everything above the limits in [`limits`]. Nothing here is signed or
//! stored, so several encodings of one message are harmless; the signed bytes travel as they are in `airseal-format`.
//!
//! The crate has no allocator, no I/O and no clock: [`Message::parse`] borrows from the input, [`Message::encode`]
//! writes into a buffer of at least [`Message::MAX_LEN`] bytes.
#![no_std]

pub mod limits;
pub mod path;

mod enroll;
mod ids;
mod message;
mod poll;
mod problem;
mod report;

pub use enroll::{EnrollRequest, EnrollResponse};
pub use ids::RecipientIds;
pub use message::{Message, MessageError};
pub use poll::{DeviceState, PollRequest, PollResponse};
pub use problem::{Problem, ProblemCode};
pub use report::{Report, Stage};

/// Media type of every message of this crate.
pub const CONTENT_TYPE: &str = "application/cbor";

/// Media type of bundle sections, envelope packs and payloads.
pub const CONTENT_TYPE_BYTES: &str = "application/octet-stream";
