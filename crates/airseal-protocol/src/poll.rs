use minicbor::{Decode, Encode};

use crate::RecipientIds;
use crate::message::{Message, MessageError, read, require, write};

/// What the device is doing while it polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum DeviceState {
    /// Running a confirmed image, nothing under way.
    #[n(0)]
    Idle,
    /// A download has begun and is not complete.
    #[n(1)]
    Downloading,
    /// A new image is staged and waits for a reboot.
    #[n(2)]
    Staged,
    /// The running image is on trial.
    #[n(3)]
    Trial,
}

/// A device asks what to do: `POST /d/v1/poll`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PollRequest<'a> {
    /// Recipient ids of every key the device holds, its own and its groups'.
    #[b(0)]
    pub recipients: RecipientIds<'a>,
    /// Digest of the installed manifest; none on a device that has never taken a release.
    #[cbor(n(1), with = "crate::message::optional_digest", has_nil)]
    pub installed: Option<[u8; 32]>,
    /// `keyset_version` of the installed manifest: the higher half of its order.
    #[n(2)]
    pub order_keyset: u32,
    /// `release_seq` of the installed manifest: the lower half of its order.
    #[n(3)]
    pub release_seq: u64,
    /// `security_version` of the installed manifest.
    #[n(4)]
    pub security_version: u32,
    /// Version of the keyset the device has in force.
    #[n(5)]
    pub keyset_version: u32,
    /// Hardware revision.
    #[n(6)]
    pub hw_rev: u16,
    /// What the device is doing.
    #[n(7)]
    pub state: DeviceState,
}

impl<'a> Message<'a> for PollRequest<'a> {
    const MAX_LEN: usize = 384;

    fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        read(bytes, Self::MAX_LEN)
    }

    fn encode(&self, buffer: &mut [u8]) -> Result<usize, MessageError> {
        write(self, buffer)
    }
}

/// What a device is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PollResponse {
    /// There is nothing newer for this device.
    Nothing {
        /// Seconds until the next poll, already spread by the server.
        next_poll_s: u32,
    },
    /// Fetch and install this release.
    Install {
        /// Names the release in the requests that follow.
        manifest_digest: [u8; 32],
        /// Length of the payload in bytes.
        payload_len: u64,
        /// Seconds until the next poll, should the installation not come to a restart.
        next_poll_s: u32,
    },
    /// A newer release exists, but nobody has made an envelope for this device yet.
    NoEnvelope {
        /// The release that waits for an envelope.
        manifest_digest: [u8; 32],
        /// Seconds until the next poll.
        next_poll_s: u32,
    },
    /// A newer release exists, but this device has reported its failure too often; it waits for the next one.
    Held {
        /// The release that is held back.
        manifest_digest: [u8; 32],
        /// Seconds until the next poll.
        next_poll_s: u32,
    },
}

impl PollResponse {
    /// Seconds until the next poll.
    #[must_use]
    pub fn next_poll_s(&self) -> u32 {
        match self {
            Self::Nothing { next_poll_s }
            | Self::Install { next_poll_s, .. }
            | Self::NoEnvelope { next_poll_s, .. }
            | Self::Held { next_poll_s, .. } => *next_poll_s,
        }
    }

    fn wire(&self) -> PollResponseWire {
        let wire = |action, digest: Option<&[u8; 32]>, payload_len| PollResponseWire {
            action,
            manifest_digest: digest.copied(),
            payload_len,
            next_poll_s: self.next_poll_s(),
        };
        match self {
            Self::Nothing { .. } => wire(0, None, None),
            Self::Install {
                manifest_digest,
                payload_len,
                ..
            } => wire(1, Some(manifest_digest), Some(*payload_len)),
            Self::NoEnvelope {
                manifest_digest, ..
            } => wire(2, Some(manifest_digest), None),
            Self::Held {
                manifest_digest, ..
            } => wire(3, Some(manifest_digest), None),
        }
    }
}

impl<'a> Message<'a> for PollResponse {
    const MAX_LEN: usize = 64;

    fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let wire: PollResponseWire = read(bytes, Self::MAX_LEN)?;
        let next_poll_s = wire.next_poll_s;
        let digest = || {
            wire.manifest_digest.ok_or(MessageError::Field {
                name: "manifest_digest",
                rule: "must be present with actions 1, 2 and 3",
            })
        };
        match wire.action {
            0 => {
                require(
                    wire.manifest_digest.is_none(),
                    "manifest_digest",
                    "must be absent with action 0",
                )?;
                Ok(Self::Nothing { next_poll_s })
            }
            1 => Ok(Self::Install {
                manifest_digest: digest()?,
                payload_len: wire.payload_len.ok_or(MessageError::Field {
                    name: "payload_len",
                    rule: "must be present with action 1",
                })?,
                next_poll_s,
            }),
            2 => Ok(Self::NoEnvelope {
                manifest_digest: digest()?,
                next_poll_s,
            }),
            3 => Ok(Self::Held {
                manifest_digest: digest()?,
                next_poll_s,
            }),
            _ => Err(MessageError::Field {
                name: "action",
                rule: "must be 0, 1, 2 or 3",
            }),
        }
    }

    fn encode(&self, buffer: &mut [u8]) -> Result<usize, MessageError> {
        write(&self.wire(), buffer)
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct PollResponseWire {
    #[n(0)]
    action: u8,
    #[cbor(n(1), with = "crate::message::optional_digest", has_nil)]
    manifest_digest: Option<[u8; 32]>,
    #[n(2)]
    payload_len: Option<u64>,
    #[n(3)]
    next_poll_s: u32,
}
