//! A bundle as a stream of bytes: headers are read here, sections go to the session.

use airseal_format::bundle::{HEADER_LEN, SECTION_HEADER_LEN, SectionKind, Walk};
use airseal_format::{Error, Part, Reason};

use crate::port::Device;
use crate::session::{Action, UpdateSession};
use crate::{Refusal, Seen};

/// Reads a bundle front to back, in pieces of any length.
#[derive(Clone, Debug, Default)]
pub struct BundleReader {
    walk: Option<Walk>,
    header: [u8; SECTION_HEADER_LEN],
    filled: usize,
    /// The open section and how much of it did not arrive yet.
    open: Option<(SectionKind, u64)>,
    /// Bytes of the payload that arrived.
    payload_at: u64,
    /// Length of the whole bundle, where the transport knows it.
    total_len: Option<u64>,
}

impl BundleReader {
    /// A reader at the start of a bundle.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`new`](Self::new), for a transport that knows how long the bundle is: another
    /// length than the bundle's own is refused before anything is erased.
    #[must_use]
    pub fn with_total_len(total_len: u64) -> Self {
        Self {
            total_len: Some(total_len),
            ..Self::default()
        }
    }

    /// Bytes that can follow before the next header: reading no more than this never reads
    /// past the bundle. 0 at its end.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        let header = match (self.open, self.walk) {
            (Some((_, left)), _) => return left,
            (None, None) => HEADER_LEN,
            (None, Some(walk)) if walk.is_complete() => return 0,
            (None, Some(_)) => SECTION_HEADER_LEN,
        };
        as_u64(header.saturating_sub(self.filled))
    }

    /// True between the payload's header and its last byte.
    #[must_use]
    pub fn is_in_payload(&self) -> bool {
        matches!(self.open, Some((SectionKind::Payload, _)))
    }

    /// Bytes that can be passed over without reading them, because the session has them
    /// already: for streams that can seek. Report them with [`skip`](Self::skip).
    pub fn skippable<D: Device>(&self, session: &UpdateSession<'_, D>) -> u64 {
        match (self.open, session.next()) {
            (Some((SectionKind::Payload, left)), Action::Fetch(wanted)) => {
                wanted.offset.saturating_sub(self.payload_at).min(left)
            }
            _ => 0,
        }
    }

    /// Passes over `len` bytes of the payload, at most [`skippable`](Self::skippable).
    ///
    /// # Errors
    /// `WrongCall` for more.
    pub fn skip<D: Device>(
        &mut self,
        session: &UpdateSession<'_, D>,
        len: u64,
    ) -> Result<(), Refusal> {
        if len > self.skippable(session) {
            return Err(Refusal::WrongCall);
        }
        self.advance(len);
        Ok(())
    }

    /// Hands the next bytes of the bundle to `session`.
    ///
    /// # Errors
    /// The session's refusal; `NotARelease` when the stream is no bundle; `TooLong` for
    /// bytes after its end.
    pub async fn push<D: Device>(
        &mut self,
        session: &mut UpdateSession<'_, D>,
        mut bytes: &[u8],
    ) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            let taken = match self.open {
                None => self.push_header(session, bytes).await?,
                Some((SectionKind::Payload, left)) => {
                    self.push_payload(session, clamp(bytes, left)).await?
                }
                Some((_, left)) => {
                    let taken = session.push(clamp(bytes, left)).await?;
                    self.advance(as_u64(taken));
                    taken
                }
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    async fn push_header<D: Device>(
        &mut self,
        session: &mut UpdateSession<'_, D>,
        bytes: &[u8],
    ) -> Result<usize, Refusal> {
        if self.walk.is_some_and(|walk| walk.is_complete()) {
            return Err(Refusal::TooLong);
        }
        let target = match self.walk {
            None => HEADER_LEN,
            Some(_) => SECTION_HEADER_LEN,
        };
        let taken = target.saturating_sub(self.filled).min(bytes.len());
        if let (Some(room), Some(from)) = (
            self.header.get_mut(self.filled..self.filled + taken),
            bytes.get(..taken),
        ) {
            room.copy_from_slice(from);
        }
        self.filled += taken;
        if self.filled < target {
            return Ok(taken);
        }
        self.filled = 0;
        match &mut self.walk {
            None => {
                let header = self.header.first_chunk().copied().unwrap_or_default();
                let walk = Walk::start(&header).map_err(|error| match error.reason {
                    Reason::Magic => Refusal::NotARelease(Seen(header)),
                    _ => error.into(),
                })?;
                self.walk = Some(walk);
            }
            Some(walk) => {
                let section = walk.section(&self.header)?;
                if section.kind == SectionKind::Payload
                    && self.total_len.is_some_and(|total| total != walk.end())
                {
                    return Err(wrong_total(walk.end(), self.total_len));
                }
                session.begin_section(section).await?;
                if section.len == 0 {
                    session.push(&[]).await?;
                } else {
                    self.open = Some((section.kind, section.len));
                }
            }
        }
        Ok(taken)
    }

    async fn push_payload<D: Device>(
        &mut self,
        session: &mut UpdateSession<'_, D>,
        bytes: &[u8],
    ) -> Result<usize, Refusal> {
        let taken = match session.next() {
            Action::Fetch(wanted) if wanted.offset < self.payload_at => {
                return Err(Refusal::Rewind);
            }
            Action::Fetch(wanted) if wanted.offset > self.payload_at => {
                clamp(bytes, wanted.offset - self.payload_at).len()
            }
            Action::Fetch(_) => session.push(bytes).await?,
            Action::Refused(refusal) => return Err(refusal),
            _ => bytes.len(),
        };
        self.advance(as_u64(taken));
        Ok(taken)
    }

    fn advance(&mut self, len: u64) {
        if let Some((kind, left)) = &mut self.open {
            if *kind == SectionKind::Payload {
                self.payload_at += len;
            }
            *left = left.saturating_sub(len);
            if *left == 0 {
                self.open = None;
            }
        }
    }
}

fn clamp(bytes: &[u8], len: u64) -> &[u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    bytes.get(..len.min(bytes.len())).unwrap_or_default()
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn wrong_total(end: u64, total: Option<u64>) -> Refusal {
    let reason = if total.is_some_and(|total| total > end) {
        Reason::TrailingBytes
    } else {
        Reason::Truncated
    };
    let offset = usize::try_from(end).unwrap_or(usize::MAX);
    Error::new(Part::Bundle, "end", offset, reason).into()
}
