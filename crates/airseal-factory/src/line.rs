//! The bench: what a board needs next, and doing it.
//!
//! ```text
//! Bench (a port, or a simulated board) --look--> Board --decide--> tasks --Station--> journal, Bench
//! ```

pub mod apart;
pub mod bench;
pub mod connection;
pub mod decide;
pub mod port;
pub mod process;
pub mod simulated;
pub mod station;
pub mod tools;
pub mod work;
