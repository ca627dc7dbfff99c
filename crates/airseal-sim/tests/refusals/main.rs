//! What a device refuses. Every test names one sin, insists on the exact refusal, and sees
//! to it that no byte of a slot was erased or written and that the image before still boots.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod bench;

mod aftermath;
mod carried_groups;
mod chunks;
mod crafted;
mod endurance;
mod envelopes;
mod flips;
mod insider;
mod keysets;
mod limits;
mod offers;
mod order;
mod payload;
mod resume;
mod signers;
mod strangers;
mod torn_reads;
mod trial;
mod truncation;
mod vectors;
mod wrong_device;
