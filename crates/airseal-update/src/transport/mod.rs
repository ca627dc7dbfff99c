//! Ways for a release to reach the session.
//!
//! | module | for |
//! |---|---|
//! | [`stream`] | a bundle over any byte stream, front to back |
//! | [`http`] | requests and response heads, for files and for the update server |
//!
//! [`BundleReader`] is what they share: it takes a bundle's bytes in pieces of any length.

mod bundle;

pub mod http;
pub mod stream;

pub use bundle::BundleReader;
