//! Simulated devices for Airseal, with flash that behaves like flash.

pub mod device;
pub mod fault;
pub mod fixture;
pub mod flash;
pub mod home;
pub mod https;
pub mod random;
pub mod traffic;

pub use device::{Model, SimDevice};
pub use fault::{FaultPlan, FaultTransport};
pub use flash::{Cut, PowerCut, SimFlash, Torn};
