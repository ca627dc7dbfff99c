//! Ways for a release to reach the session.

mod bundle;

pub mod stream;

pub use bundle::BundleReader;
