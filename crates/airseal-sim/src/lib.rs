//! Simulated flash, devices and networks for Airseal: NOR rules, power cuts, faults.

pub mod flash;
