use minicbor::{Decode, Encode};

use crate::limits::REPORT_DETAIL_MAX;
use crate::message::{Message, MessageError, printable, read, require, write};

/// Where in an update a report was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
#[non_exhaustive]
pub enum Stage {
    /// Manifest, keysets, policy: before anything was erased.
    #[n(0)]
    Check,
    /// Finding and opening the envelope.
    #[n(1)]
    Unwrap,
    /// Fetching, verifying and writing the payload.
    #[n(2)]
    Download,
    /// Reading the whole image back and staging it.
    #[n(3)]
    Stage,
    /// The new image runs on trial.
    #[n(4)]
    Trial,
    /// The new image is confirmed; with code 0 the update has succeeded.
    #[n(5)]
    Confirm,
    /// The device went back to the image before.
    #[n(6)]
    Revert,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 7] = [
        Self::Check,
        Self::Unwrap,
        Self::Download,
        Self::Stage,
        Self::Trial,
        Self::Confirm,
        Self::Revert,
    ];

    /// The stage's word in listings and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Unwrap => "unwrap",
            Self::Download => "download",
            Self::Stage => "stage",
            Self::Trial => "trial",
            Self::Confirm => "confirm",
            Self::Revert => "revert",
        }
    }
}

/// A device tells how an update goes: `POST /d/v1/report`.
///
/// The server remembers each pair of `attempt` and `stage` once, so a report may be sent again when its answer was lost.
/// An attempt with any code other than 0 counts as one failure of that release on that device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Report<'a> {
    /// The release the report is about.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub manifest_digest: [u8; 32],
    /// Where in the update it was made.
    #[n(1)]
    pub stage: Stage,
    /// 0 for success, otherwise the number of the refusal.
    #[n(2)]
    pub code: u16,
    /// Counts the device's attempts at this release, from 1.
    #[n(3)]
    pub attempt: u32,
    /// For people; no control characters, may be empty.
    #[b(4)]
    pub detail: &'a str,
}

impl Report<'_> {
    fn check(&self) -> Result<(), MessageError> {
        require(
            self.detail.len() <= REPORT_DETAIL_MAX && printable(self.detail),
            "detail",
            "must be at most 96 bytes without control characters",
        )
    }
}

impl<'a> Message<'a> for Report<'a> {
    const MAX_LEN: usize = 192;

    fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let message: Self = read(bytes, Self::MAX_LEN)?;
        message.check()?;
        Ok(message)
    }

    fn encode(&self, buffer: &mut [u8]) -> Result<usize, MessageError> {
        self.check()?;
        write(self, buffer)
    }
}
