#![no_std]
//! x
// For whoever continues here: transport/http.rs is complete (HTTP framing with tests).
