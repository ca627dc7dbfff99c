//! What can be wrong with bytes from outside.

use core::fmt;

/// Why an artifact is refused: which part, which field, where, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The artifact the byte belongs to.
    pub part: Part,
    /// The field's name as `docs/FORMAT.md` spells it.
    pub field: &'static str,
    /// Offset of the field in bytes from the start of the part.
    pub offset: u32,
    /// What is wrong with it.
    pub reason: Reason,
}

impl Error {
    /// An error at `offset` bytes into `part`; offsets past 4 GiB are clamped.
    pub fn new(part: Part, field: &'static str, offset: usize, reason: Reason) -> Self {
        Self {
            part,
            field,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            reason,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} at offset {}: {}",
            self.part.word(),
            self.field,
            self.offset,
            self.reason.message()
        )
    }
}

impl core::error::Error for Error {}

/// The artifact an [`Error`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The bundle's own header and section headers.
    Bundle,
    /// The signed manifest.
    Manifest,
    /// A signature block, of a manifest or of a keyset.
    Signatures,
    /// A keyset or a chain of them.
    Keyset,
    /// One envelope, or the pack of them.
    Envelope,
    /// The payload: top, pages, chunks, image.
    Payload,
    /// A fresh offer.
    Offer,
}

impl Part {
    /// The lower-case word used in messages and in vectors.
    pub fn word(self) -> &'static str {
        match self {
            Part::Bundle => "bundle",
            Part::Manifest => "manifest",
            Part::Signatures => "signatures",
            Part::Keyset => "keyset",
            Part::Envelope => "envelope",
            Part::Payload => "payload",
            Part::Offer => "offer",
        }
    }
}

macro_rules! reasons {
    ($( $(#[doc = $doc:literal])* $name:ident = $code:literal, $word:literal, $message:literal; )*) => {
        /// Why a field is refused. The numbers are stable and never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Reason { $( $(#[doc = $doc])* $name, )* }

        impl Reason {
            /// Every reason, in numeric order.
            pub const ALL: &'static [Reason] = &[ $( Reason::$name, )* ];

            /// The stable number of this reason, 1 to 199.
            pub fn code(self) -> u16 {
                match self { $( Reason::$name => $code, )* }
            }

            /// One kebab-case word for scripts and vectors.
            pub fn word(self) -> &'static str {
                match self { $( Reason::$name => $word, )* }
            }

            /// One English clause without a full stop.
            pub fn message(self) -> &'static str {
                match self { $( Reason::$name => $message, )* }
            }
        }
    };
}

reasons! {
    /// The input ends inside the field.
    Truncated = 1, "truncated", "the data ends too early; fetch the file again";
    /// Bytes follow where nothing may follow.
    TrailingBytes = 2, "trailing-bytes", "bytes follow after the end";
    /// The magic number is another one.
    Magic = 3, "magic", "this is not such an artifact";
    /// Major, minor or fixed header length are not those of format 1.0.
    Version = 4, "version", "this format version is not known; a newer Airseal may read it";
    /// A reserved byte is not zero.
    Reserved = 5, "reserved", "reserved bytes must be zero";
    /// The value is not defined in format 1.0.
    UnknownValue = 6, "unknown-value", "this value is not defined in format 1";
    /// The value is reserved for a feature that this version does not have.
    Unsupported = 7, "unsupported", "this feature's number is reserved, but not supported by this version";
    /// The value is outside its stated range.
    OutOfRange = 8, "out-of-range", "the value is outside its range";
    /// Entries are not in ascending order, or one is there twice.
    NotAscending = 9, "not-ascending", "entries must ascend and none may repeat";
    /// A length or offset disagrees with the sum of the parts.
    Sum = 10, "sum", "lengths and offsets do not add up";
    /// More than this reader's stated limit.
    Limit = 11, "limit", "this exceeds the reader's limit";
    /// All zero where a random value is required.
    Zero = 12, "zero", "an all-zero value is not allowed here";
    /// Must be zero in this combination of fields.
    MustBeZero = 13, "must-be-zero", "must be zero in this combination";
    /// Text outside printable ASCII, or not NUL padded.
    Text = 14, "text", "only printable ASCII followed by NULs is allowed";
    /// A section or entry stands in the wrong place.
    Order = 15, "order", "it stands in the wrong place";
    /// Required, but not there.
    Missing = 16, "missing", "it is required and missing";
    /// A critical extension or flag that this reader does not know.
    UnknownCritical = 17, "unknown-critical", "a critical flag or extension is not known, so the release must not be used";

    /// The signature does not verify.
    BadSignature = 30, "bad-signature", "the signature is wrong: the bytes were changed or another key signed them";
    /// A public key or point encoding is not canonical or not on the curve.
    BadKey = 31, "bad-key", "the public key is not a canonical, full-order point";
    /// An ECDSA signature with the large one of the two s values.
    HighS = 32, "high-s", "the signature is not in its low-S form";
    /// The public key in an entry is not the one its key id or row names.
    KeyMismatch = 33, "key-mismatch", "the key does not match its key id";
    /// Not enough valid signatures by distinct keys that hold the role.
    TooFewSignatures = 34, "too-few-signatures", "fewer signatures by trusted keys than the threshold asks for";
    /// The key does not hold the role that is needed.
    WrongRole = 35, "wrong-role", "the key does not hold the role that is needed here";

    /// A keyset version is skipped.
    ChainGap = 40, "chain-gap", "a keyset version is missing in the chain; fetch the keysets in between";
    /// prev_digest is not the digest of the keyset before.
    ChainBroken = 41, "chain-broken", "the keyset does not follow the one before it";
    /// Vendor or class differ from the keyset before.
    OwnerChanged = 42, "owner-changed", "vendor and class of a keyset never change";
    /// max_security_version is lower than before.
    SecurityVersionFell = 43, "security-version-fell", "max_security_version never falls";
    /// A threshold that can never be met, or outside its bounds.
    Threshold = 44, "threshold", "the threshold is out of bounds or above the number of eligible keys";
    /// Same version as the trusted keyset with other bytes.
    KeysetConflict = 45, "keyset-conflict", "two different keysets carry the same version";
    /// The manifest asks for a newer keyset than the one in force.
    NeedKeyset = 46, "need-keyset", "the release needs a newer keyset than the one in force";
    /// Manifest and keyset are of different vendors.
    WrongVendor = 47, "wrong-vendor", "the release is of another vendor";
    /// Manifest and keyset are of different classes.
    WrongClass = 48, "wrong-class", "the release is for another class of device";
    /// The security version is above what the keyset allows.
    SecurityVersionTooHigh = 49, "security-version-too-high", "the security version is above the keyset's maximum";

    /// The top does not hash to the signed root.
    TopMismatch = 50, "top-mismatch", "the hash table's top does not match the signed root";
    /// A page does not hash to its entry in the top.
    PageMismatch = 51, "page-mismatch", "a page of the hash table does not match";
    /// A chunk does not hash to its leaf.
    ChunkMismatch = 52, "chunk-mismatch", "the chunk is not the signed one";
    /// The whole image does not hash to image_digest.
    ImageMismatch = 53, "image-mismatch", "the decrypted image is not the signed one";

    /// The envelope belongs to another release.
    OtherRelease = 60, "other-release", "it belongs to another release";
    /// The envelope can't be opened with this key.
    UnwrapFailed = 61, "unwrap-failed", "the envelope does not open: damaged, forged, or for another key";
    /// The key inside the envelope is not the release's.
    CommitmentMismatch = 62, "commitment-mismatch", "the key in the envelope is not this release's content key";
    /// There is no envelope for this key.
    NotARecipient = 63, "not-a-recipient", "there is no envelope for this key";

    /// The offer answers another nonce, device or release.
    OfferMismatch = 70, "offer-mismatch", "the offer answers another question";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_are_unique_and_ascending() {
        for pair in Reason::ALL.windows(2) {
            assert!(pair[0].code() < pair[1].code());
        }
        for (i, a) in Reason::ALL.iter().enumerate() {
            for b in &Reason::ALL[i + 1..] {
                assert_ne!(a.word(), b.word());
            }
        }
    }
}
