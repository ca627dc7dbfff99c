//! The factory: from one configuration file to a batch of boards, each with its own keys.
//!
//! ```text
//! Config --check--> Product --prepare--> batch folder (public parts, sealed boxes, journal)
//!                                            |
//!                        chip state + journal --decide--> next step --bench--> tools
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test may unwrap, and documents itself by its name"
    )
)]

pub mod batch;
pub mod boxes;
pub mod check;
pub mod config;
pub mod efuse;
pub mod emit;
pub mod journal;
pub mod keymap;
pub mod labels;
pub mod line;
pub mod prepare;
pub mod product;
pub mod record;
pub mod regions;
pub mod sealed;
pub mod secrets;
pub mod status;
pub mod values;

mod idf;
mod settings;
mod state;
