//! The bench: what a board needs next, and doing it.

pub mod decide;
