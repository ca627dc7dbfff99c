//! Simulated devices for Airseal: flash that behaves like flash, power that fails, networks
//! that misbehave.
//!
//! | module | what it is |
//! |---|---|
//! | [`flash`] | NOR rules: programming clears bits, sectors are erased, operations tear |
//! | [`device`] | keys, slots, boot loader and firmware of one device |
//! | [`agent`] | what a device does all day |
//! | [`source`] | where its releases come from: a server, a folder, a file |
//! | [`https`] | its connection: mutual TLS over [`airseal_update::transport::http`] |
//! | [`fault`] | cuts, stalls, short reads, garbage and duplicates in any byte stream |
//! | [`fleet`] | many devices of one model and one server |
//! | [`forge`] | what an attacker does to the bytes of a sealed file |
//! | [`home`] | a device that outlives the program, in a directory |
//! | [`proof`] | power cuts at every operation, sequences of events |
//! | [`fixture`] | releases for tests, right ones and wrong ones |
//! | [`static_files`] | updates from any file server, by an unguessable path |
//! | [`stream`] | files and pipes as the byte streams devices read |
//! | [`traffic`] | bytes that came, and came twice |

pub mod agent;
pub mod device;
pub mod fault;
pub mod fixture;
pub mod flash;
pub mod fleet;
pub mod forge;
pub mod home;
pub mod https;
// With examples/power_cuts.rs, tests/power_cuts.rs and tests/sequences.rs.
pub mod proof;
pub mod random;
pub mod source;
pub mod static_files;
pub mod stream;
pub mod traffic;

pub use agent::{Agent, Cuts, Event, Outcome};
pub use device::{Model, SimDevice};
pub use fault::{FaultPlan, FaultTransport};
pub use flash::{Cut, PowerCut, SimFlash, Torn};
pub use fleet::{Fleet, Member};
pub use home::Home;
pub use https::{ClientError, HttpsClient};
pub use source::{SealedFile, Source};
