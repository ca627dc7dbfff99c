//! What a session costs in RAM.
#![allow(missing_docs, clippy::unwrap_used)]
