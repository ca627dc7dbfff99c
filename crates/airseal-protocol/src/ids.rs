use minicbor::decode::{self, Decode, Decoder};
use minicbor::encode::{self, Encode, Encoder, Write};

use crate::MessageError;
use crate::limits::RECIPIENT_IDS_MAX;
use crate::message::require;

/// A list of recipient ids (16 bytes each), strictly ascending, at most [`RECIPIENT_IDS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecipientIds<'a> {
    bytes: &'a [u8],
}

impl<'a> RecipientIds<'a> {
    /// Takes ids laid back to back.
    ///
    /// # Errors
    /// [`MessageError::Field`] when the length is no multiple of 16, there are too many ids, or they do not ascend.
    pub fn new(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let (ids, rest) = bytes.as_chunks::<16>();
        require(rest.is_empty(), NAME, "must be whole ids of 16 bytes")?;
        require(
            ids.len() <= RECIPIENT_IDS_MAX,
            NAME,
            "must be at most 16 ids",
        )?;
        let ascending = ids.iter().zip(ids.iter().skip(1)).all(|(a, b)| a < b);
        require(ascending, NAME, "must be strictly ascending")?;
        Ok(Self { bytes })
    }

    /// The ids in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8; 16]> + use<'a> {
        self.bytes.as_chunks::<16>().0.iter()
    }

    /// Whether `id` is in the list.
    #[must_use]
    pub fn contains(&self, id: &[u8; 16]) -> bool {
        self.iter().any(|own| own == id)
    }

    /// The ids laid back to back.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<'b: 'a, 'a, C> Decode<'b, C> for RecipientIds<'a> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        Self::new(d.bytes()?).map_err(|_| decode::Error::message(NAME).at(at))
    }
}

impl<C> Encode<C> for RecipientIds<'_> {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(self.bytes)?.ok()
    }
}

const NAME: &str = "recipient ids";
