//! What a device does, told to whoever listens.

use serde::Serialize;

use crate::traffic::Traffic;

/// Something a device did, for people and for JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The device started.
    Booted {
        /// `A`, `B`, or `factory`.
        slot: String,
        /// Version of the image, if it came by an update.
        version: Option<String>,
        /// It has to confirm itself.
        on_trial: bool,
    },
    /// There is nothing newer.
    NothingNewer,
    /// A release exists, and nobody has made an envelope for this device yet.
    NoEnvelope {
        /// Its manifest digest.
        release: String,
    },
    /// The server holds a release back because it failed here too often.
    Held {
        /// Its manifest digest.
        release: String,
    },
    /// An update begins.
    Installing {
        /// Its manifest digest.
        release: String,
        /// Bytes of its payload.
        payload_len: u64,
    },
    /// Power was lost during the download.
    PowerLost {
        /// Flash operations since the flash was made.
        operation: u64,
        /// Bytes of the image that were safe.
        safe: u32,
    },
    /// The network failed; the next try goes on where this one stopped.
    Interrupted {
        /// Why.
        why: String,
    },
    /// The new image is complete, verified and staged.
    Staged {
        /// What it cost the network, where there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        traffic: Option<Traffic>,
    },
    /// The new image passed its self-test and stays.
    Confirmed {
        /// Its version.
        version: Option<String>,
    },
    /// The device went back to the image before.
    Reverted {
        /// Number of the refusal.
        code: u16,
        /// Its words.
        why: String,
        /// Version that runs now.
        version: Option<String>,
    },
    /// The device refused the release; no slot was touched unless its bytes were damaged
    /// in the middle.
    Refused {
        /// Number of the refusal.
        code: u16,
        /// Its one word.
        name: &'static str,
        /// Its words.
        why: String,
        /// Flash operations on the slots since the update began.
        slot_operations: usize,
    },
    /// The server refused the device.
    ServerRefused {
        /// Number of the problem.
        code: u16,
        /// HTTP status.
        status: u16,
        /// The server's words.
        why: String,
    },
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to install.
    Idle,
    /// A release was installed and confirmed.
    Updated,
    /// The device or the server refused.
    Refused,
    /// A release was tried and given up.
    Reverted,
    /// The network failed too often.
    Interrupted,
}
