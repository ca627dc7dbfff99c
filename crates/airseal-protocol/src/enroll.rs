use minicbor::{Decode, Encode};

use crate::limits::{CLAIM_TOKEN_MAX, DEVICE_ID_MAX, RECIPIENT_KEY_MAX};
use crate::message::{Message, MessageError, is_token, read, require, write};
use crate::{RecipientIds, limits};

/// A new device introduces itself: `POST /d/v1/enroll`.
///
/// The key of the TLS client certificate becomes the device's identity; the message brings what the channel does not
/// show. Sending the same request again with the same key is answered the same way, so a lost answer does no harm.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EnrollRequest<'a> {
    /// The one-time token an administrator handed out, visible ASCII. Secret until it is used.
    #[b(0)]
    pub claim_token: &'a str,
    /// Vendor id as in the manifest.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub vendor_id: [u8; 16],
    /// Class id as in the manifest.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub class_id: [u8; 16],
    /// Hardware revision.
    #[n(3)]
    pub hw_rev: u16,
    /// Wrap suite of `recipient_key` as in the envelope: 1 X25519, 2 P-256.
    #[n(4)]
    pub wrap_suite: u8,
    /// The device's public recipient key: 32 bytes for suite 1, 65 (uncompressed) for suite 2.
    #[cbor(b(5), with = "minicbor::bytes")]
    pub recipient_key: &'a [u8],
    /// Ids of group keys the device holds; empty when there are none.
    #[b(6)]
    pub groups: RecipientIds<'a>,
}

impl core::fmt::Debug for EnrollRequest<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EnrollRequest")
            .field("hw_rev", &self.hw_rev)
            .field("wrap_suite", &self.wrap_suite)
            .finish_non_exhaustive()
    }
}

impl EnrollRequest<'_> {
    fn check(&self) -> Result<(), MessageError> {
        require(
            is_token(self.claim_token, CLAIM_TOKEN_MAX),
            "claim_token",
            "must be 1 to 64 visible ASCII characters",
        )?;
        let key_len = match self.wrap_suite {
            1 => 32,
            2 => RECIPIENT_KEY_MAX,
            _ => 0,
        };
        require(
            key_len != 0,
            "wrap_suite",
            "must be 1 (X25519) or 2 (P-256)",
        )?;
        require(
            self.recipient_key.len() == key_len,
            "recipient_key",
            "must be 32 bytes for suite 1, 65 for suite 2",
        )
    }
}

impl<'a> Message<'a> for EnrollRequest<'a> {
    const MAX_LEN: usize = limits::MESSAGE_MAX;

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

/// The device is known from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EnrollResponse<'a> {
    /// Name of the device on this server, for people; the device never has to send it.
    #[b(0)]
    pub device_id: &'a str,
    /// Seconds until the first poll.
    #[n(1)]
    pub next_poll_s: u32,
}

impl EnrollResponse<'_> {
    fn check(&self) -> Result<(), MessageError> {
        require(
            is_token(self.device_id, DEVICE_ID_MAX),
            "device_id",
            "must be 1 to 64 visible ASCII characters",
        )
    }
}

impl<'a> Message<'a> for EnrollResponse<'a> {
    const MAX_LEN: usize = 96;

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
