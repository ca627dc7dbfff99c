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
    /// Envelopes seen.
    count: u16,
    /// What is done with the envelope at hand.
    at: At,
    found: Option<Result<PayloadKeys, Refusal>>,
}

/// What a session brings to a pack.
pub(crate) struct Opener<'a> {
    pub(crate) checked: &'a Checked<'a>,
    pub(crate) keys: Keys<'a>,
    /// Most envelopes of a pack.
    pub(crate) limit: u16,
    /// Envelopes unwrapped since a release was staged.
    pub(crate) unwraps: &'a mut u8,
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
            count: 0,
            at: At::Header,
            found: None,
        })
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.at, At::Header) && self.order.remaining() == 0
    }

    /// The keys, once the pack is complete.
    pub(crate) fn take_keys(&mut self) -> Result<PayloadKeys, Refusal> {
        self.found.take().unwrap_or_else(|| Err(missing_envelope()))
    }

    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        opener: &mut Opener<'_>,
        buffer: &mut Buffer<'_>,
    ) -> Result<usize, Refusal> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let usable = usize::try_from(len.min(self.left(buffer))).unwrap_or(bytes.len());
        let mut rest = bytes.get(..usable).unwrap_or_default();
        while !rest.is_empty() {
            let taken = self.step(rest, opener, buffer)?;
            rest = rest.get(taken..).unwrap_or_default();
        }
        if self.left(buffer) == 0 && !self.is_complete() {
            return Err(truncated());
        }
        Ok(usable)
    }

    /// Bytes of the pack that did not arrive yet.
    fn left(&self, buffer: &Buffer<'_>) -> u64 {
        let begun = match self.at {
            At::Header => 0,
            At::Ours(len) => len,
            At::Skipping(left) => return self.order.remaining() + u64::from(left),
        };
        let buffered = u64::try_from(buffer.len()).unwrap_or(0);
        (self.order.remaining() + u64::from(begun)).saturating_sub(buffered)
    }

    fn step(
        &mut self,
        bytes: &[u8],
        opener: &mut Opener<'_>,
        buffer: &mut Buffer<'_>,
    ) -> Result<usize, Refusal> {
        let taken = match self.at {
            At::Header => {
                let taken = buffer.fill_to(HEADER_LEN, bytes);
                if let Some(header) = buffer.as_ref().first_chunk::<HEADER_LEN>() {
                    let header = Header::parse(header)?;
                    self.enter(&header, opener)?;
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
                self.open(opener, buffer.as_ref())?;
                self.leave(buffer);
            }
            At::Skipping(0) => self.leave(buffer),
            _ => {}
        }
        Ok(taken)
    }

    fn enter(&mut self, header: &Header, opener: &Opener<'_>) -> Result<(), Refusal> {
        self.count = self.count.saturating_add(1);
        if self.count > opener.limit {
            return Err(Refusal::TooManyEnvelopes);
        }
        self.order.check(header)?;
        let is_ours =
            header.suite.is_some() && header.suite == opener.keys.suite(header.recipient_id);
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
    fn open(&mut self, opener: &mut Opener<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        let envelope = Envelope::parse(bytes)?;
        if matches!(self.found, Some(Ok(_))) {
            return Ok(());
        }
        if *opener.unwraps >= MOST_UNWRAPS {
            return Err(Refusal::TooManyFailedUnwraps);
        }
        if let Some(key) = opener.keys.unwrap(&envelope) {
            *opener.unwraps += 1;
            let keys = key.and_then(|key| PayloadKeys::open(opener.checked.manifest(), &key));
            self.found = Some(keys.map_err(Refusal::from));
        }
        Ok(())
    }
}

fn truncated() -> Refusal {
    use airseal_format::{Error, Part, Reason};
    Error::new(Part::Envelope, "len", 6, Reason::Truncated).into()
}

/// So many tries an attacker has to watch or time one of the device's keys, between two starts.
/// One that opens counts too: the attacker may hold the good envelope and send it in between.
const MOST_UNWRAPS: u8 = 64;
