//! The envelope pack, read as a stream: every envelope is checked, ours is opened.

use airseal_format::Digest;
use airseal_format::cipher::PayloadKeys;
use airseal_format::envelope::{Envelope, HEADER_LEN, Header, MAX_LEN, PackOrder};

use crate::Refusal;
use crate::carried::Keys;
use crate::check::Checked;
use crate::config::Buffer;
use crate::session::missing_envelope;

/// Reads a pack of any length in the space of one envelope.
pub(crate) struct PackReader {
    order: PackOrder,
    /// Bytes of the pack that did not arrive yet.
    left: u64,
    /// Envelopes seen.
    count: u16,
    /// What is done with the envelope at hand.
    at: At,
    found: Option<Result<PayloadKeys, Refusal>>,
}

#[derive(Clone, Copy)]
enum At {
    Header,
    /// Collecting one of ours, of this length.
    Ours(u16),
    /// Bytes of another's envelope to skip.
    Skipping(u16),
}

impl PackReader {
    pub(crate) fn new(manifest_digest: Digest, len: u64) -> Result<Self, Refusal> {
        Ok(Self {
            order: PackOrder::new(manifest_digest, len)?,
            left: len,
            count: 0,
            at: At::Header,
            found: None,
        })
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// The keys, once the pack is complete.
    pub(crate) fn take_keys(&mut self) -> Result<PayloadKeys, Refusal> {
        if !matches!(self.at, At::Header) {
            return Err(Refusal::Ended);
        }
        self.found.take().unwrap_or_else(|| Err(missing_envelope()))
    }

    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        checked: &Checked<'_>,
        keys: Keys<'_>,
        limit: u16,
        buffer: &mut Buffer<'_>,
    ) -> Result<usize, Refusal> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let usable = usize::try_from(len.min(self.left)).unwrap_or(bytes.len());
        let mut rest = bytes.get(..usable).unwrap_or_default();
        while !rest.is_empty() {
            let taken = self.step(rest, checked, keys, limit, buffer)?;
            rest = rest.get(taken..).unwrap_or_default();
            self.left -= u64::try_from(taken).unwrap_or(0);
        }
        if self.left == 0 && !(matches!(self.at, At::Header) && buffer.len() == 0) {
            return Err(truncated());
        }
        Ok(usable)
    }

    fn step(
        &mut self,
        bytes: &[u8],
        checked: &Checked<'_>,
        keys: Keys<'_>,
        limit: u16,
        buffer: &mut Buffer<'_>,
    ) -> Result<usize, Refusal> {
        let taken = match self.at {
            At::Header => {
                let taken = buffer.fill_to(HEADER_LEN, bytes);
                if let Some(header) = buffer.as_ref().first_chunk::<HEADER_LEN>() {
                    let header = Header::parse(header)?;
                    self.enter(&header, keys, limit)?;
                }
                taken
            }
            At::Ours(len) => buffer.fill_to(usize::from(len), bytes),
            At::Skipping(left) => {
                let taken = bytes.len().min(usize::from(left));
                self.at = At::Skipping(left - u16::try_from(taken).unwrap_or(left));
                taken
            }
        };
        match self.at {
            At::Ours(len) if buffer.len() == usize::from(len) => {
                self.open(checked, keys, buffer.as_ref())?;
                self.leave(buffer);
            }
            At::Skipping(0) => self.leave(buffer),
            _ => {}
        }
        Ok(taken)
    }

    fn enter(&mut self, header: &Header, keys: Keys<'_>, limit: u16) -> Result<(), Refusal> {
        self.count = self.count.saturating_add(1);
        if self.count > limit {
            return Err(Refusal::TooManyEnvelopes);
        }
        self.order.check(header)?;
        let is_ours = header.suite.is_some() && header.suite == keys.suite(header.recipient_id);
        let len = usize::from(header.len);
        let body = header
            .len
            .saturating_sub(u16::try_from(HEADER_LEN).unwrap_or(0));
        self.at = if is_ours && len <= MAX_LEN {
            At::Ours(header.len)
        } else {
            At::Skipping(body)
        };
        Ok(())
    }

    fn leave(&mut self, buffer: &mut Buffer<'_>) {
        self.at = At::Header;
        buffer.clear();
    }

    /// Opens one of ours. A key that does not open or is not the release's is remembered
    /// as the refusal, unless another key of this device has a good envelope.
    fn open(&mut self, checked: &Checked<'_>, keys: Keys<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        let envelope = Envelope::parse(bytes)?;
        if matches!(self.found, Some(Ok(_))) {
            return Ok(());
        }
        if let Some(key) = keys.unwrap(&envelope) {
            let keys = key.and_then(|key| PayloadKeys::open(checked.manifest(), &key));
            self.found = Some(keys.map_err(Refusal::from));
        }
        Ok(())
    }
}

fn truncated() -> Refusal {
    use airseal_format::{Error, Part, Reason};
    Error::new(Part::Envelope, "len", 6, Reason::Truncated).into()
}
