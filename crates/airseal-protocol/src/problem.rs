use minicbor::{Decode, Encode};

use crate::limits::PROBLEM_TITLE_MAX;
use crate::message::{Message, MessageError, printable, read, require, write};

/// The body of every answer with a status of 400 or above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Problem<'a> {
    /// What went wrong; a number this reader does not know may arrive from a newer server.
    #[n(0)]
    pub code: u16,
    /// What went wrong and what to do, for people; no control characters.
    #[b(1)]
    pub title: &'a str,
}

impl Problem<'_> {
    /// The code as a known one.
    #[must_use]
    pub fn known(&self) -> Option<ProblemCode> {
        ProblemCode::from_number(self.code)
    }

    fn check(&self) -> Result<(), MessageError> {
        require(
            self.title.len() <= PROBLEM_TITLE_MAX && printable(self.title),
            "title",
            "must be at most 160 bytes without control characters",
        )
    }
}

impl<'a> Message<'a> for Problem<'a> {
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

/// Defines the codes once: number, HTTP status and title can't drift apart.
macro_rules! problem_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal, $status:literal, $title:literal;)*) => {
        /// What a server refuses a device for. Numbers are never reused; a withdrawn one stays reserved.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum ProblemCode {
            $($(#[doc = $doc])* $name = $number,)*
        }

        impl ProblemCode {
            /// Every code, ascending.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// The code behind a number, if this version knows it.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// The HTTP status it travels with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// What went wrong and what to do, in one sentence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

problem_codes! {
    /// The request body is no such message.
    Malformed = 1001, 400, "the request is malformed; device and server may speak different versions";
    /// The request body is longer than the message allows.
    TooLarge = 1002, 413, "the request is larger than this message may be";
    /// The path names nothing.
    NoSuchPath = 1003, 404, "there is nothing under this path; check the server address and its version";
    /// The path exists, the method does not apply to it.
    WrongMethod = 1004, 405, "this method does not apply to this path";
    /// The request did not arrive within its time.
    TooSlow = 1005, 408, "the request took too long to arrive; try again later";
    /// The body has another media type.
    WrongMediaType = 1006, 415, "the body must be application/cbor";
    /// The client key is not enrolled.
    UnknownDevice = 1101, 401, "this device key is not enrolled; enroll it with a claim token first";
    /// The claim token is wrong, expired or used by another key.
    ClaimRefused = 1102, 403, "the claim token is wrong, expired or already used; ask for a new one";
    /// The device is revoked.
    Revoked = 1103, 403, "this device is revoked; an administrator can reinstate it";
    /// The client key belongs to another device.
    KeyInUse = 1106, 409, "this device key is already enrolled under another claim";
    /// The recipient key, or a group id, belongs to another device.
    RecipientInUse = 1107, 409, "this recipient key is already enrolled by another device";
    /// The claim was made for another vendor or class.
    WrongClass = 1108, 403, "the claim token was issued for another vendor or class";
    /// No such release, or none for this device: the two are not told apart.
    NoSuchRelease = 1201, 404, "there is no such release for this device";
    /// The release was withdrawn.
    Yanked = 1202, 410, "this release was withdrawn; poll for another one";
    /// No envelope of the release is addressed to the device.
    NoEnvelope = 1203, 404, "no envelope yet: nobody has addressed this release to the device";
    /// The range starts behind the end of the payload.
    RangeNotSatisfiable = 1301, 416, "the range lies outside the payload";
    /// A precondition of the request does not hold.
    PreconditionFailed = 1302, 412, "the payload is not the one the request expects";
    /// The server could not do its work.
    Internal = 1901, 500, "the server failed; its log says why, try again later";
    /// The server has too much to do.
    Busy = 1902, 503, "the server is busy; try again after the time given";
}
