//! The payload on its way into the slot: top, page, chunk, each verified, then written.

use airseal_format::cipher::Plaintext;
use airseal_format::payload::{Geometry, ImageHasher, VerifiedPage, VerifiedTop};
use airseal_format::{Digest, Error, Part, Reason};

use crate::Refusal;
use crate::check::Clearance;
use crate::config::Buffer;
use crate::install_record::{self, Completion};
use crate::journal::Checkpoint;
use crate::port::{Device, Slots};
use crate::session::Fetch;

/// A download and installation under way.
pub(crate) struct Install<'a> {
    clearance: Clearance<'a>,
    top: Top<'a>,
    page: Page<'a>,
    chunk: Buffer<'a>,
    /// The chunk that is next.
    next: u32,
    /// The slot's record area holds this release's manifest.
    is_open: bool,
    /// The download goes on from a checkpoint of an earlier session.
    is_resumed: bool,
}

enum Top<'a> {
    Wanted(Buffer<'a>),
    Known(VerifiedTop<Buffer<'a>>),
    Moving,
}

enum Page<'a> {
    Wanted(Buffer<'a>),
    Known(VerifiedPage<Buffer<'a>>),
    Moving,
}

impl<'a> Install<'a> {
    /// Begins, or goes on where the journal says, if slot and journal still agree with the
    /// release. Reads flash only.
    pub(crate) async fn begin(
        clearance: Clearance<'a>,
        device: &mut impl Device,
        [mut top, mut page, mut chunk]: [Buffer<'a>; 3],
    ) -> Result<Self, Refusal> {
        for buffer in [&mut top, &mut page, &mut chunk] {
            buffer.clear();
        }
        device.set_raw(clearance.target, clearance.is_raw);
        let position = resume_position(&clearance, device).await?;
        let geometry = clearance.tree.geometry();
        let next = match position {
            Some(position) if u64::from(position) == geometry.enc_len() => geometry.chunks(),
            Some(position) => position / geometry.profile().chunk_len(),
            None => 0,
        };
        Ok(Self {
            clearance,
            top: Top::Wanted(top),
            page: Page::Wanted(page),
            chunk,
            next,
            is_open: position.is_some(),
            is_resumed: position.is_some(),
        })
    }

    pub(crate) fn digest(&self) -> Digest {
        self.clearance.digest
    }

    /// Bytes of the image in the slot, and of the whole image.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let geometry = self.geometry();
        let written = geometry.byte_offset(self.next).min(geometry.enc_len());
        (written, geometry.enc_len())
    }

    pub(crate) fn payload_len(&self) -> u64 {
        self.clearance.payload_len
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.clearance.is_plain
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    pub(crate) fn is_written(&self) -> bool {
        self.next >= self.geometry().chunks()
    }

    /// The longest contiguous part of the payload that is needed next.
    pub(crate) fn wanted(&self) -> Fetch {
        let geometry = self.geometry();
        let (start, len, filled) = self.piece();
        let end_of_component = geometry.top_off() + geometry.stored_len();
        let page = geometry.page_of(self.next);
        let is_first_of_page = self.next == page * geometry.profile().fan_out();
        let end = match (&self.top, &self.page) {
            (Top::Known(_), Page::Known(_)) => end_of_component,
            (Top::Known(_), _) if is_first_of_page => end_of_component,
            (Top::Known(_), _) => start + u64::from(len),
            _ if self.next == 0 => end_of_component,
            _ if page == 0 => geometry.page_off(0) + u64::from(geometry.page_len(0)),
            _ => start + u64::from(len),
        };
        let offset = start + u64::from(filled);
        Fetch {
            offset,
            len: end.saturating_sub(offset),
        }
    }

    /// Takes payload bytes that start at [`Self::wanted`]'s offset, and returns how many it
    /// took: all, unless the bytes needed next lie elsewhere or nothing more is needed.
    pub(crate) async fn push(
        &mut self,
        device: &mut impl Device,
        bytes: &[u8],
    ) -> Result<usize, Refusal> {
        let mut taken = 0;
        while taken < bytes.len() && !self.is_written() {
            let (start, len, _) = self.piece();
            let target = usize::try_from(len).unwrap_or(usize::MAX);
            let rest = bytes.get(taken..).unwrap_or_default();
            let (filled, added) = self.fill(target, rest);
            taken += added;
            if filled < target {
                if added == 0 {
                    return Err(Refusal::WrongCall);
                }
                continue;
            }
            self.take_piece(device).await?;
            let (next_start, _, _) = self.piece();
            if next_start != start + u64::from(len) {
                break;
            }
        }
        Ok(taken)
    }

    /// Reads the slot back, compares the image digest, completes the record and stages.
    pub(crate) async fn stage(&mut self, device: &mut impl Device) -> Result<(), Refusal> {
        let clearance = &self.clearance;
        let slot = clearance.target;
        let salt = &clearance.digest_salt;
        let mut hasher = ImageHasher::new(clearance.place, clearance.install_len, salt);
        hash_slot(
            device,
            slot,
            clearance.install_len,
            &mut self.chunk,
            &mut hasher,
        )
        .await?;
        if hasher.finish() != clearance.image_digest {
            device.set_checkpoint(None).await?;
            return Err(if self.is_resumed {
                Refusal::ResumeMismatch
            } else {
                let mismatch = Error::new(Part::Payload, "image_digest", 0, Reason::ImageMismatch);
                let why = Refusal::Format(mismatch);
                let (order, digest) = (clearance.order, clearance.digest);
                crate::lifecycle::count_failure(device, order, digest, &why).await?;
                why
            });
        }
        device.approve(slot, clearance.security_version).await?;
        let completion = Completion {
            keyset_version: clearance.accepted_under,
            component: clearance.component,
            digest_salt: clearance.digest_salt,
            manifest_digest: clearance.digest,
        };
        install_record::complete(device, slot, clearance.section, &completion).await?;
        device.stage(slot).await?;
        device.set_checkpoint(None).await?;
        Ok(())
    }

    fn geometry(&self) -> &Geometry {
        self.clearance.tree.geometry()
    }

    /// Start and length of the piece that is collected now, and how much of it is there.
    fn piece(&self) -> (u64, u32, u32) {
        let geometry = self.geometry();
        let filled = |buffer: &Buffer<'_>| u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let page = geometry.page_of(self.next);
        match (&self.top, &self.page) {
            (Top::Wanted(buffer), _) => (geometry.top_off(), geometry.top_len(), filled(buffer)),
            (_, Page::Wanted(buffer)) => (
                geometry.page_off(page),
                geometry.page_len(page),
                filled(buffer),
            ),
            _ => (
                geometry.chunk_off(self.next),
                geometry.chunk_len(self.next),
                filled(&self.chunk),
            ),
        }
    }

    fn fill(&mut self, target: usize, bytes: &[u8]) -> (usize, usize) {
        let buffer = match (&mut self.top, &mut self.page) {
            (Top::Wanted(buffer), _) | (_, Page::Wanted(buffer)) => buffer,
            _ => &mut self.chunk,
        };
        let added = buffer.fill_to(target, bytes);
        (buffer.len(), added)
    }

    /// Verifies the piece that is complete, and writes it when it is a chunk.
    async fn take_piece(&mut self, device: &mut impl Device) -> Result<(), Refusal> {
        match core::mem::replace(&mut self.top, Top::Moving) {
            Top::Wanted(buffer) => {
                self.top = Top::Known(self.clearance.tree.verify_top(buffer)?);
                return Ok(());
            }
            known => self.top = known,
        }
        let Top::Known(top) = &self.top else {
            return Err(Refusal::WrongCall);
        };
        match core::mem::replace(&mut self.page, Page::Moving) {
            Page::Wanted(buffer) => {
                let number = self.geometry().page_of(self.next);
                self.page = Page::Known(top.verify_page(number, buffer)?);
                return Ok(());
            }
            known => self.page = known,
        }
        self.take_chunk(device).await
    }

    async fn take_chunk(&mut self, device: &mut impl Device) -> Result<(), Refusal> {
        let Page::Known(page) = &self.page else {
            return Err(Refusal::WrongCall);
        };
        let chunk = core::mem::replace(&mut self.chunk, Buffer::new(&mut []));
        let chunk = page.verify_chunk(self.next, chunk)?;
        let plaintext = self.clearance.cipher.decrypt(chunk)?;
        if !self.is_open {
            open_slot(&self.clearance, device).await?;
            self.is_open = true;
        }
        let (end, mut buffer) = write(&self.clearance, device, plaintext).await?;
        buffer.clear();
        self.chunk = buffer;
        self.next += 1;
        if end.is_multiple_of(device.erase_len()) || self.is_written() {
            let checkpoint = Checkpoint {
                manifest_digest: self.clearance.digest,
                component: self.clearance.component,
                position: end,
            };
            device.set_checkpoint(Some(&checkpoint)).await?;
        }
        self.turn_page();
        Ok(())
    }

    fn turn_page(&mut self) {
        let number = self.geometry().page_of(self.next);
        match core::mem::replace(&mut self.page, Page::Moving) {
            Page::Known(page) if page.number() != number => {
                let mut buffer = page.into_inner();
                buffer.clear();
                self.page = Page::Wanted(buffer);
            }
            same => self.page = same,
        }
    }
}

/// Where to go on: what the journal says, if the slot's record area holds this manifest.
async fn resume_position(
    clearance: &Clearance<'_>,
    device: &mut impl Device,
) -> Result<Option<u32>, Refusal> {
    let Some(checkpoint) = device.checkpoint().await? else {
        return Ok(None);
    };
    let geometry = clearance.tree.geometry();
    let position = checkpoint.position;
    let is_boundary = position.is_multiple_of(device.erase_len())
        && position.is_multiple_of(geometry.profile().chunk_len());
    let is_end = u64::from(position) == geometry.enc_len();
    let is_ours = checkpoint.manifest_digest == clearance.digest
        && checkpoint.component == clearance.component
        && (is_end || (is_boundary && u64::from(position) < geometry.enc_len()));
    if !is_ours {
        return Ok(None);
    }
    // A section that can't be read is one that a power cut tore.
    let holds = install_record::holds_section(device, clearance.target, clearance.section).await;
    Ok((holds == Ok(true)).then_some(position))
}

/// The slot's first erase: nothing selects it any more, its record area holds the new
/// manifest. Only a [`Clearance`] leads here.
async fn open_slot(clearance: &Clearance<'_>, device: &mut impl Device) -> Result<(), Refusal> {
    device.set_checkpoint(None).await?;
    device.unstage(clearance.target).await?;
    install_record::write_section(device, clearance.target, clearance.section).await?;
    Ok(())
}

/// Writes a decrypted chunk, erasing each unit that begins in it. Returns the position
/// after it in the image.
async fn write<'a>(
    clearance: &Clearance<'_>,
    device: &mut impl Device,
    plaintext: Plaintext<Buffer<'a>>,
) -> Result<(u32, Buffer<'a>), Refusal> {
    let slot = clearance.target;
    let start = u32::try_from(plaintext.byte_offset()).map_err(|_| Refusal::ImageTooLarge)?;
    let mut buffer = plaintext.into_inner();
    let end = start + u32::try_from(buffer.len()).map_err(|_| Refusal::ImageTooLarge)?;
    buffer.pad_to_multiple(usize::try_from(device.write_len()).unwrap_or(1));
    let unit = device.erase_len();
    let from = start.next_multiple_of(unit);
    let to = end.next_multiple_of(unit);
    if from < to {
        device.erase_slot(slot, from, to).await?;
    }
    device.write_slot(slot, start, buffer.as_ref()).await?;
    Ok((end, buffer))
}

/// Feeds the first `len` bytes of a slot to `hasher`.
pub(crate) async fn hash_slot(
    device: &mut impl Slots,
    slot: crate::port::Slot,
    len: u64,
    buffer: &mut Buffer<'_>,
    hasher: &mut ImageHasher,
) -> Result<(), Refusal> {
    let len = u32::try_from(len).map_err(|_| Refusal::ImageTooLarge)?;
    let room = buffer.scratch();
    let step = u32::try_from(room.len()).unwrap_or(u32::MAX) / 64 * 64;
    let mut offset = 0;
    while offset < len && step > 0 {
        let wanted = usize::try_from(step.min(len - offset)).unwrap_or(0);
        let part = room
            .get_mut(..wanted.next_multiple_of(4))
            .ok_or(Refusal::WrongCall)?;
        device.read_slot(slot, offset, part).await?;
        hasher.update(part.get(..wanted).unwrap_or_default());
        offset += step;
    }
    Ok(())
}
