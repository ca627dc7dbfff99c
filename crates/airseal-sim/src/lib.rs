//! Simulated devices for Airseal, with flash that behaves like flash.

pub mod device;
pub mod fixture;
pub mod flash;
pub mod random;

pub use device::{Model, SimDevice};
pub use flash::{Cut, PowerCut, SimFlash, Torn};
