//! The device side of Airseal.
#![no_std]

mod check;
mod checksum;
mod config;
mod envelopes;
mod install;
mod keysets;
mod record;
mod refusal;
mod session;

pub mod blocking;
pub mod boot;
pub mod flash;
pub mod install_record;
pub mod journal;
pub mod lifecycle;
pub mod port;
pub mod transport;

pub use config::{Buffers, Config, Factory, Memory, Policy, SmallMemory};
pub use refusal::{Party, Refusal, Seen};
pub use session::{Action, Fetch, UpdateSession};

pub(crate) use checksum::{Crc32, crc32};
