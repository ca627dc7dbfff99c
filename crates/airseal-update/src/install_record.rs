//! The record at the end of each slot: what lies in it, signed, and how to check it.
//!
//! ```text
//! the slot's last erase units, at least 8 KiB
//!    0  64  "ASR1", section length u32, CRC-32 of the section
//!   64  ..  manifest and signature block, as they came
//!  end-128  "ASC1", keyset_version u32, component_id u16, digest_salt 32, manifest_digest 32, CRC-32
//! ```
//!
//! The last block is written after the whole image was read back; without it the slot
//! counts as empty.

use airseal_format::component::RECORD_AREA_LEN;
use airseal_format::{ComponentId, Digest, KeysetVersion};

use crate::Refusal;
use crate::port::{Fault, Slot, Slots};

/// Longest manifest section a record holds, bytes.
pub const MAX_SECTION_LEN: usize = 6144;

/// What completes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The keyset the release was accepted under.
    pub keyset_version: KeysetVersion,
    /// The component that was installed.
    pub component: ComponentId,
    /// Salt of the image digest. Secret enough to stay on the device.
    pub digest_salt: [u8; 32],
    /// The manifest the completion belongs to.
    pub manifest_digest: Digest,
}

/// Length of the record area of a slot, bytes.
pub fn area_len(device: &impl Slots) -> u32 {
    RECORD_AREA_LEN
        .checked_next_multiple_of(device.erase_len().max(1))
        .unwrap_or(u32::MAX)
}

/// Bytes of a slot that an image can use.
pub fn image_room(device: &impl Slots, slot: Slot) -> u32 {
    device.slot_len(slot).saturating_sub(area_len(device))
}

/// Reads the manifest section of `slot` into `out`; `None` when there is none or when it is
/// damaged.
///
/// # Errors
/// `ManifestTooLarge` when it does not fit into `out`, or the flash's fault.
pub async fn read_section<'b>(
    device: &mut impl Slots,
    slot: Slot,
    out: &'b mut [u8],
) -> Result<Option<&'b [u8]>, Refusal> {
    let at = image_room(device, slot);
    let mut head = [0; HEAD_LEN];
    device.read_slot(slot, at, &mut head).await?;
    let Some((len, crc)) = parse_head(&head) else {
        return Ok(None);
    };
    let room = out.get_mut(..len.next_multiple_of(4));
    let room = room.ok_or(Refusal::ManifestTooLarge)?;
    device.read_slot(slot, at + HEAD_LEN_U32, room).await?;
    let section = room.get(..len).unwrap_or_default();
    Ok((crate::crc32(&[section]) == crc).then_some(section))
}

/// True when `slot` holds exactly `section`.
///
/// # Errors
/// The flash's fault.
pub async fn holds_section(
    device: &mut impl Slots,
    slot: Slot,
    section: &[u8],
) -> Result<bool, Fault> {
    let at = image_room(device, slot);
    let mut head = [0; HEAD_LEN];
    device.read_slot(slot, at, &mut head).await?;
    if parse_head(&head) != Some((section.len(), crate::crc32(&[section]))) {
        return Ok(false);
    }
    let mut offset = at + HEAD_LEN_U32;
    for part in section.chunks(BLOCK) {
        let mut block = [0; BLOCK];
        device.read_slot(slot, offset, &mut block).await?;
        if block.get(..part.len()) != Some(part) {
            return Ok(false);
        }
        offset += BLOCK_U32;
    }
    Ok(true)
}

/// Reads the completion of `slot`.
///
/// # Errors
/// The flash's fault.
pub async fn read_completion(
    device: &mut impl Slots,
    slot: Slot,
) -> Result<Option<Completion>, Fault> {
    Ok(Completion::parse(&read_tail(device, slot).await?))
}

/// Erases the record area and writes the manifest section into it.
///
/// # Errors
/// The flash's fault.
pub(crate) async fn write_section(
    device: &mut impl Slots,
    slot: Slot,
    section: &[u8],
) -> Result<(), Fault> {
    let at = image_room(device, slot);
    device.erase_slot(slot, at, device.slot_len(slot)).await?;
    let mut head = [0xFF; HEAD_LEN];
    head[..4].copy_from_slice(HEAD_MAGIC);
    let len = u32::try_from(section.len()).unwrap_or(u32::MAX);
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[8..12].copy_from_slice(&crate::crc32(&[section]).to_le_bytes());
    device.write_slot(slot, at, &head).await?;
    let (whole, rest) = section.split_at(section.len() - section.len() % BLOCK);
    let body = at + HEAD_LEN_U32;
    if !whole.is_empty() {
        device.write_slot(slot, body, whole).await?;
    }
    if !rest.is_empty() {
        let mut block = [0xFF; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        let offset = u32::try_from(whole.len()).unwrap_or(u32::MAX);
        device.write_slot(slot, body + offset, &block).await?;
    }
    Ok(())
}

/// Completes the record of `slot`. A half-written completion of an earlier try costs an
/// erase of the record area, because flash is written once per erase.
///
/// # Errors
/// The flash's fault.
pub(crate) async fn complete(
    device: &mut impl Slots,
    slot: Slot,
    section: &[u8],
    completion: &Completion,
) -> Result<(), Fault> {
    let tail = read_tail(device, slot).await.ok();
    if tail.as_ref().and_then(Completion::parse).as_ref() == Some(completion) {
        return Ok(());
    }
    if tail != Some([0xFF; TAIL_LEN]) {
        write_section(device, slot, section).await?;
    }
    let at = device.slot_len(slot) - TAIL_LEN_U32;
    device.write_slot(slot, at, &completion.encode()).await
}

impl Completion {
    fn parse(bytes: &[u8; TAIL_LEN]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if !body.starts_with(TAIL_MAGIC) || u32::from_le_bytes(*crc) != crate::crc32(&[body]) {
            return None;
        }
        Some(Self {
            keyset_version: KeysetVersion(u32::from_le_bytes(*body.get(4..)?.first_chunk()?)),
            component: ComponentId(u16::from_le_bytes(*body.get(8..)?.first_chunk()?)),
            digest_salt: *body.get(12..)?.first_chunk()?,
            manifest_digest: Digest(*body.get(44..)?.first_chunk()?),
        })
    }

    fn encode(&self) -> [u8; TAIL_LEN] {
        let mut out = [0; TAIL_LEN];
        out[..4].copy_from_slice(TAIL_MAGIC);
        out[4..8].copy_from_slice(&self.keyset_version.0.to_le_bytes());
        out[8..10].copy_from_slice(&self.component.0.to_le_bytes());
        out[12..44].copy_from_slice(&self.digest_salt);
        out[44..76].copy_from_slice(&self.manifest_digest.0);
        let crc = crate::crc32(&[&out[..TAIL_LEN - 4]]);
        out[TAIL_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

async fn read_tail(device: &mut impl Slots, slot: Slot) -> Result<[u8; TAIL_LEN], Fault> {
    let mut tail = [0; TAIL_LEN];
    let at = device.slot_len(slot).saturating_sub(TAIL_LEN_U32);
    device.read_slot(slot, at, &mut tail).await?;
    Ok(tail)
}

fn parse_head(head: &[u8; HEAD_LEN]) -> Option<(usize, u32)> {
    if !head.starts_with(HEAD_MAGIC) {
        return None;
    }
    let len = u32::from_le_bytes(*head.get(4..)?.first_chunk()?);
    let len = usize::try_from(len)
        .ok()
        .filter(|&len| len <= MAX_SECTION_LEN)?;
    Some((len, u32::from_le_bytes(*head.get(8..)?.first_chunk()?)))
}

const HEAD_MAGIC: &[u8; 4] = b"ASR1";
const TAIL_MAGIC: &[u8; 4] = b"ASC1";
const HEAD_LEN: usize = 64;
const HEAD_LEN_U32: u32 = 64;
const TAIL_LEN: usize = 128;
const TAIL_LEN_U32: u32 = 128;
const BLOCK: usize = 64;
const BLOCK_U32: u32 = 64;
