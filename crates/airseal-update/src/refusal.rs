//! Why an update does not go on: numbered, with the guilty party and the remedy.

use core::fmt;

use airseal_format::{Error, Reason};

use crate::port::Fault;

/// Who has to act on a [`Refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The release, or the bytes that claim to be one: whoever made or carried it.
    Release,
    /// This device's own state and rules.
    Device,
    /// The server or file that is asked for bytes.
    Peer,
    /// The flash of this device.
    Flash,
    /// The code that calls this library.
    Caller,
}

/// The first bytes of an answer that is no release, for the report.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seen(pub [u8; 8]);

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for byte in self.0 {
            let shown = if byte.is_ascii_graphic() || byte == b' ' {
                char::from(byte)
            } else {
                '.'
            };
            write!(f, "{shown}")?;
        }
        f.write_str("\"")
    }
}

macro_rules! refusals {
    ($( $(#[doc = $doc:literal])* $name:ident = $code:literal, $party:ident, $word:literal, $message:literal, $remedy:literal; )*) => {
        /// Why an update, a keyset or a boot is refused.
        ///
        /// Numbers 1 to 199 are those of [`airseal_format::Reason`]; 200 to 399 are
        /// defined here. They are stable and never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Refusal {
            /// A byte of the release is wrong; names part, field and offset.
            Format(Error),
            /// The flash reported an error.
            Flash(Fault),
            /// What came is no release; holds its first bytes.
            NotARelease(Seen),
            /// The server answered with this HTTP status.
            HttpStatus(u16),
            $( $(#[doc = $doc])* $name, )*
        }

        impl Refusal {
            /// Every refusal without data that is defined here, in numeric order.
            pub const PLAIN: &'static [Refusal] = &[ $( Refusal::$name, )* ];

            /// The stable number, 1 to 399.
            pub fn code(&self) -> u16 {
                match self {
                    Refusal::Format(error) => error.reason.code(),
                    Refusal::Flash(fault) => fault.operation.code(),
                    Refusal::NotARelease(_) => 300,
                    Refusal::HttpStatus(_) => 301,
                    $( Refusal::$name => $code, )*
                }
            }

            /// One kebab-case word for scripts.
            pub fn word(&self) -> &'static str {
                match self {
                    Refusal::Format(error) => error.reason.word(),
                    Refusal::Flash(fault) => fault.operation.word(),
                    Refusal::NotARelease(_) => "not-a-release",
                    Refusal::HttpStatus(_) => "http-status",
                    $( Refusal::$name => $word, )*
                }
            }

            /// Who has to act.
            pub fn party(&self) -> Party {
                match self {
                    Refusal::Format(_) => Party::Release,
                    Refusal::Flash(_) => Party::Flash,
                    Refusal::NotARelease(_) | Refusal::HttpStatus(_) => Party::Peer,
                    $( Refusal::$name => Party::$party, )*
                }
            }

            /// What is wrong, one clause.
            pub fn message(&self) -> &'static str {
                match self {
                    Refusal::Format(error) => error.reason.message(),
                    Refusal::Flash(fault) => fault.operation.message(),
                    Refusal::NotARelease(_) => "what came is no sealed release",
                    Refusal::HttpStatus(_) => "the server refused the request",
                    $( Refusal::$name => $message, )*
                }
            }

            /// What to do about it, one clause.
            pub fn remedy(&self) -> &'static str {
                match self {
                    Refusal::Format(error) => remedy_of(error.reason),
                    Refusal::Flash(_) => "check supply and flash; the update resumes where it stopped",
                    Refusal::NotARelease(_) => "check the address and whether a login page stands in the way",
                    Refusal::HttpStatus(_) => "see the server's log for this device",
                    $( Refusal::$name => $remedy, )*
                }
            }
        }
    };
}

refusals! {
    /// The running image is on trial: no update and no keyset before it is confirmed.
    Unconfirmed = 200, Device, "unconfirmed", "the running image is on trial, or a staged one waits to be tried", "confirm the running image, or restart to try the staged one";
    /// This very release waits for a restart.
    AlreadyStaged = 201, Device, "already-staged", "this release is staged already", "restart the device to try it";
    /// Made by or for another vendor.
    WrongVendor = 202, Release, "wrong-vendor", "the release is of another vendor", "publish a release of this device's vendor";
    /// Made for another class of device.
    WrongClass = 203, Release, "wrong-class", "the release is for another class of device", "publish a release for this device's class";
    /// Board revision outside the range of the release.
    WrongHardwareRevision = 204, Release, "wrong-hardware-revision", "the release is not for this board revision", "publish a release whose revision range holds this board";
    /// The release is restricted to other devices.
    NotTargeted = 205, Release, "not-targeted", "the release is restricted to other devices", "seal it with this device among the targets";
    /// No component is for this chip.
    NoMatchingComponent = 206, Release, "no-matching-component", "no component is for this device's chip", "seal a component for this chip";
    /// Other than exactly one place of kind app.
    UnsupportedPlaces = 207, Release, "unsupported-places", "this device installs exactly one place of kind app", "seal the application alone";
    /// Flash-encrypted for other devices.
    WrongFlashKey = 208, Release, "wrong-flash-key", "the image is encrypted under another flash key than this device's", "seal it with this device's flash key, or without one";
    /// Made for other slot addresses.
    WrongSlotAddress = 209, Release, "wrong-slot-address", "no image is made for the address of the slot to be written", "seal it with this device's partition table";
    /// Below the security version floor.
    BelowFloor = 210, Release, "below-floor", "the security version is below the device's floor", "publish a release with a security version at or above the floor";
    /// The running release is older than the stepping stone.
    SteppingStone = 211, Release, "stepping-stone", "the running release is too old for this one", "install the release in between first";
    /// Order lower than the installed release's.
    Older = 212, Release, "older", "the release is older than the installed one", "publish a release with a higher sequence";
    /// The same release is running already.
    AlreadyInstalled = 213, Release, "already-installed", "this release is running already", "nothing to do";
    /// Two releases claim one place in the sequence.
    Equivocation = 214, Release, "equivocation", "another release has the same sequence as the installed one", "find out who signed two releases with one sequence";
    /// Failed three times on this device.
    FailedBefore = 215, Device, "failed-before", "this release, or a newer one, has failed three times on this device", "publish a repaired release with a higher sequence";
    /// Past expires_at, where the policy looks at it.
    Expired = 216, Release, "expired", "the release has expired", "publish a release with a later expiry";
    /// The policy asks for an offer and none was accepted.
    OfferMissing = 217, Peer, "offer-missing", "no fresh offer names this release", "poll again; the server must sign offers";
    /// The offer is older than it allows, or waits for a keyset.
    OfferStale = 218, Peer, "offer-stale", "the offer is no longer valid, or needs a newer keyset", "poll again";
    /// Content suite 0 on a device that demands encryption.
    PlainRefused = 220, Release, "plain-refused", "the release is not encrypted and this device demands encryption", "seal it with a content suite";
    /// More components than the device's limit.
    TooManyComponents = 221, Release, "too-many-components", "the release has more components than this device's limit", "seal fewer components";
    /// Chunks larger than the device's buffer.
    ProfileTooLarge = 222, Release, "profile-too-large", "the chunks of this profile do not fit the device's buffer", "seal with a smaller profile";
    /// More pages than the device's buffer.
    TooManyPages = 223, Release, "too-many-pages", "the hash table has more pages than this device's limit", "seal a smaller image or raise the limit";
    /// Image and record area do not fit the slot.
    ImageTooLarge = 224, Release, "image-too-large", "the image does not fit the slot before its record area", "make the image smaller or the slot larger";
    /// Manifest section, delivered or in a slot's record, longer than the device's buffer.
    ManifestTooLarge = 225, Release, "manifest-too-large", "manifest and signatures exceed this device's buffer", "seal with fewer targets or signatures, or build the firmware with a larger HEAD";
    /// Keyset section longer than the device's buffer.
    KeysetTooLarge = 226, Release, "keyset-too-large", "keyset and signatures exceed this device's buffer", "use fewer keys or signatures";
    /// More envelopes than the device reads.
    TooManyEnvelopes = 227, Peer, "too-many-envelopes", "the envelope pack exceeds this device's limit", "export bundles per cohort";
    /// The flash can't be used: sizes do not fit together.
    BadLayout = 228, Caller, "bad-layout", "the flash layout does not fit the flash's erase or write size", "align slots and state to erase units, writes divide 64 bytes";
    /// Too many envelopes were unwrapped and no release was staged; none is tried before a restart.
    TooManyFailedUnwraps = 229, Peer, "too-many-failed-unwraps", "64 envelopes were unwrapped since the device started and no release was staged", "find out who sends them, then restart the device, which clears the count; firmware that never restarts has to restart on this refusal";
    /// Image digest wrong after a resumed download: begins again once, from zero.
    ResumeMismatch = 230, Device, "resume-mismatch", "the image is wrong after a resumed download", "the update starts again from the beginning";
    /// A method was called in the wrong state.
    WrongCall = 240, Caller, "wrong-call", "the session does not expect this now", "follow UpdateSession::next";

    /// A redirect; the device does not follow it.
    Redirect = 302, Peer, "redirect", "the server redirects elsewhere", "configure the final address";
    /// A redirect longer than the buffer.
    RedirectTooLong = 303, Peer, "redirect-too-long", "the redirect's address is longer than the device's buffer", "use shorter addresses or configure the final one";
    /// Transfer-Encoding is not supported.
    ChunkedEncoding = 304, Peer, "chunked-encoding", "the answer has a transfer encoding and no length", "serve the file with Content-Length";
    /// Content-Length is missing, repeated or wrong.
    BadLength = 305, Peer, "bad-length", "the answer's Content-Length is missing or not the expected one", "serve the unchanged file with Content-Length";
    /// Content-Range is missing or another one.
    BadRange = 306, Peer, "bad-range", "the answer's Content-Range is not the one asked for", "use a server that supports Range, or a whole download";
    /// The response head is longer than the limit.
    HeadTooLong = 307, Peer, "head-too-long", "the response head exceeds the device's limit", "make the server send fewer headers";
    /// The response head is not HTTP/1.1.
    MalformedHead = 308, Peer, "malformed-head", "the answer is not HTTP/1.1", "check the address and port";
    /// The stream ended too early.
    Ended = 309, Peer, "ended", "the stream ended before the release was complete", "try again; the update resumes where it stopped";
    /// More bytes than the signed length.
    TooLong = 310, Peer, "too-long", "more bytes came than the release has", "serve the unchanged file";
    /// The entity changed between two requests.
    Changed = 311, Peer, "changed", "the file changed while it was fetched", "poll again";
    /// The transport failed.
    Transport = 312, Peer, "transport", "the connection failed", "try again; the update resumes where it stopped";
    /// The stream is behind the position that is wanted.
    Rewind = 313, Peer, "rewind", "the stream is past the bytes that are needed", "start the stream again from its beginning";

    /// The firmware's own test failed.
    SelfTestFailed = 360, Device, "self-test-failed", "the new firmware failed its self-test", "publish a repaired release";
    /// The trial ended by a watchdog, a panic or an unexplained restart.
    TrialCrashed = 361, Device, "trial-crashed", "the new firmware restarted before it confirmed itself", "publish a repaired release";
    /// The trial lost power too often.
    TrialPower = 362, Device, "trial-power", "the new firmware lost power eight times before it confirmed itself", "check the supply, then publish the release again with a higher sequence";
    /// No slot holds a bootable image.
    NothingBootable = 370, Device, "nothing-bootable", "no slot holds an image that verifies at or above the floor", "write a release over the recovery interface";
    /// A slot's install record is missing or incomplete.
    NoRecord = 371, Device, "no-record", "the slot has no complete install record", "install a release into it";
    /// The keyset a slot was accepted under is not known any more.
    UnknownKeyset = 372, Device, "unknown-keyset", "the slot was accepted under a keyset that is no longer trusted", "install a release under the keyset in force";
}

impl Refusal {
    /// True for errors that a bad network can cause: trying again may help, and nothing
    /// is counted against the release.
    pub fn is_transient(&self) -> bool {
        match self {
            Refusal::Format(error) => matches!(
                error.reason,
                Reason::TopMismatch | Reason::PageMismatch | Reason::ChunkMismatch
            ),
            Refusal::Flash(_) | Refusal::ResumeMismatch => true,
            other => matches!(other.code(), 305..=313),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Format(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Refusal::Flash(fault)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Format(error) => error.fmt(f),
            Refusal::Flash(fault) => fault.fmt(f),
            Refusal::NotARelease(seen) => {
                write!(
                    f,
                    "{}: it begins with {seen}; {}",
                    self.message(),
                    self.remedy()
                )
            }
            Refusal::HttpStatus(status) => {
                write!(
                    f,
                    "{} with status {status}; {}",
                    self.message(),
                    self.remedy()
                )
            }
            other => write!(f, "{}; {}", other.message(), other.remedy()),
        }
    }
}

impl core::error::Error for Refusal {}

fn remedy_of(reason: Reason) -> &'static str {
    match reason {
        Reason::NeedKeyset | Reason::ChainGap => "deliver the keysets in between with the release",
        Reason::NotARecipient => "add an envelope for this device",
        Reason::Unsupported | Reason::UnknownCritical => {
            "install a firmware whose update code knows it"
        }
        _ => "fetch it again from a trusted place; if it stays, ask who made it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_ascending_and_above_the_formats() {
        assert!(
            Refusal::PLAIN
                .iter()
                .all(|r| (200..400).contains(&r.code()))
        );
        assert!(Refusal::PLAIN.windows(2).all(|p| p[0].code() < p[1].code()));
        let taken = [300, 301, 350, 351, 352];
        assert!(Refusal::PLAIN.iter().all(|r| !taken.contains(&r.code())));
    }

    #[test]
    fn words_are_unique() {
        for (i, a) in Refusal::PLAIN.iter().enumerate() {
            assert!(Refusal::PLAIN[i + 1..].iter().all(|b| a.word() != b.word()));
        }
    }
}
