//! Simulated flash, devices and networks for Airseal: NOR rules, power cuts, faults.
// For whoever continues here: flash.rs, transport/faults.rs and transport/https.rs are complete;
// enable `pub mod transport;` once airseal_update exports transport::http.

pub mod flash;
