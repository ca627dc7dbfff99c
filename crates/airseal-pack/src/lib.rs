//! The host side of Airseal: sealing firmware, signing, key files, recipients, inspection.
//!
//! ```text
//! Firmware --SealRequest--> bundle --NamedTrust--> verify
//!                              |  \--NamedTrust + OpenKey--> open
//!                              \--> cosign, attach, envelope add, inspect, export
//! ```
//!
//! Everything here works on files of any size with flat memory, writes outputs whole or not at all
//! ([`output`]), and reports an [`Error`] whose [`Error::kind`] says whether the input was refused, the call was wrong, or
//! the environment failed. Secrets are wiped when dropped and have no `Debug`.

pub mod bridge;
pub mod bundle;
pub mod content_key;
pub mod control;
pub mod entropy;
pub mod esp;
pub mod export;
pub mod firmware;
pub mod inspect;
pub mod key;
pub mod keyset;
pub mod open;
pub mod output;
pub mod recipient;
pub mod recognise;
pub mod release;
pub mod seal;
pub mod signer;
pub mod source;

mod error;
mod parallel;
mod stream;

pub use bundle::BundleFile;
pub use control::{Activity, Control, Progress};
pub use error::{Error, ErrorKind};
pub use output::OutputFile;
