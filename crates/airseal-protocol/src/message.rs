use core::fmt;

use minicbor::encode::write::Cursor;
use minicbor::{Decode, Decoder, Encode};

/// A message that crosses the wire as one CBOR item.
pub trait Message<'a>: Sized {
    /// Upper bound of the encoded length in bytes.
    const MAX_LEN: usize;

    /// Reads exactly one message from `bytes`, which the result borrows.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are too long, are no such CBOR map, go on after the message, or hold a value
    /// outside its limits.
    fn parse(bytes: &'a [u8]) -> Result<Self, MessageError>;

    /// Writes the message into `buffer` and returns how many bytes it takes.
    ///
    /// # Errors
    /// [`MessageError::Buffer`] when `buffer` is too short ([`Self::MAX_LEN`] always suffices), or the error that
    /// `parse` would give for a value outside its limits: what can't be read is never sent.
    fn encode(&self, buffer: &mut [u8]) -> Result<usize, MessageError>;
}

/// Why bytes are no message, or a message can't become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// More bytes than the message can have.
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The bytes are not the expected CBOR map, or end too early.
    Malformed {
        /// Offset of the byte where reading stopped.
        offset: usize,
    },
    /// Bytes follow the message.
    Trailing {
        /// Offset of the first byte too many.
        offset: usize,
    },
    /// A field holds a value that its definition does not allow.
    Field {
        /// Name of the field as in the documentation.
        name: &'static str,
        /// What the field must be.
        rule: &'static str,
    },
    /// The output buffer is too short.
    Buffer,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => {
                write!(
                    f,
                    "the message is {len} bytes long, at most {max} are allowed"
                )
            }
            Self::Malformed { offset } => {
                write!(f, "the message is malformed or cut off at byte {offset}")
            }
            Self::Trailing { offset } => {
                write!(f, "bytes follow the message at byte {offset}")
            }
            Self::Field { name, rule } => write!(f, "{name}: {rule}"),
            Self::Buffer => f.write_str("the output buffer is too short for the message"),
        }
    }
}

impl core::error::Error for MessageError {}

/// Reads one item of type `T` and nothing else.
pub(crate) fn read<'a, T: Decode<'a, ()>>(bytes: &'a [u8], max: usize) -> Result<T, MessageError> {
    if bytes.len() > max {
        return Err(MessageError::TooLong {
            len: bytes.len(),
            max,
        });
    }
    let mut decoder = Decoder::new(bytes);
    let item = decoder.decode().map_err(|_| MessageError::Malformed {
        offset: decoder.position(),
    })?;
    if decoder.position() != bytes.len() {
        return Err(MessageError::Trailing {
            offset: decoder.position(),
        });
    }
    Ok(item)
}

/// Writes one item at the start of `buffer`.
pub(crate) fn write<T: Encode<()>>(item: &T, buffer: &mut [u8]) -> Result<usize, MessageError> {
    let mut cursor = Cursor::new(buffer);
    minicbor::encode(item, &mut cursor).map_err(|_| MessageError::Buffer)?;
    Ok(cursor.position())
}

/// A rule of one field as a guard.
pub(crate) fn require(
    holds: bool,
    name: &'static str,
    rule: &'static str,
) -> Result<(), MessageError> {
    if holds {
        Ok(())
    } else {
        Err(MessageError::Field { name, rule })
    }
}

/// Whether text may be shown in a log or a terminal as it is.
pub(crate) fn printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Whether text is a token: not empty, visible ASCII only.
pub(crate) fn is_token(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|b| (0x21..=0x7E).contains(&b))
}

/// An optional digest as a CBOR byte string that is left out when absent.
pub(crate) mod optional_digest {
    use minicbor::bytes::ByteArray;
    use minicbor::decode::{self, Decoder};
    use minicbor::encode::{self, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(
        digest: &Option<[u8; 32]>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match digest {
            Some(digest) => e.bytes(digest)?.ok(),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(
        d: &mut Decoder<'_>,
        c: &mut C,
    ) -> Result<Option<[u8; 32]>, decode::Error> {
        let digest: Option<ByteArray<32>> = d.decode_with(c)?;
        Ok(digest.map(Into::into))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape the derive asks for")]
    pub(crate) fn nil() -> Option<Option<[u8; 32]>> {
        Some(None)
    }

    pub(crate) fn is_nil(digest: &Option<[u8; 32]>) -> bool {
        digest.is_none()
    }
}
