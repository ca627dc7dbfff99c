//! What a device refuses: the exact refusal, no slot byte touched, and the old image boots.
#![allow(missing_docs, clippy::unwrap_used)]
