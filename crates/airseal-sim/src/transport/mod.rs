//! How bytes reach a simulated device.

pub mod faults;
pub mod https;
