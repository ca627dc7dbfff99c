//! The device record: boot selection and what the device remembers, 256 bytes.

use airseal_format::{Digest, KeysetVersion, ReleaseOrder, ReleaseSequence, SecurityVersion};

use crate::port::{DeviceState, Failure, PendingSlot, PendingStage, Slot};

/// Length of the header, bytes.
pub(crate) const HEADER_LEN: usize = 256;

/// The header's values.
///
/// ```text
///   0 4 "ASD1"      | 12 4 floor          | 24 4+8+32 newest: keyset_version, release_seq, digest
///   4 4 sequence    | 16 4 boot_keyset    | 68 4+8+32 failure: the same, 112 2 its code
///   8 1 confirmed   | 20 1 newest exists  | 114 2 length of the keyset in force
///   9 1 pending   | 21 1 failure exists | 116 2 length of the boot keyset, 0 = the one in force
///  10 1 on trial    | 22 1 failure count  | 252 4 CRC-32 over bytes 0..252 and both keysets
///  11 1 power losses
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceRecord {
    pub(crate) sequence: u32,
    pub(crate) confirmed: Option<Slot>,
    pub(crate) pending: Option<PendingSlot>,
    pub(crate) state: DeviceState,
    pub(crate) in_force_len: u16,
    pub(crate) boot_len: u16,
}

impl DeviceRecord {
    pub(crate) fn blank(confirmed: Option<Slot>) -> Self {
        Self {
            sequence: 0,
            confirmed,
            pending: None,
            state: DeviceState::default(),
            in_force_len: 0,
            boot_len: 0,
        }
    }

    /// Reads the values and the checksum, which the caller compares.
    pub(crate) fn parse(bytes: &[u8; HEADER_LEN]) -> Option<(Self, u32)> {
        let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let u16_at = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let release_at = |at: usize| {
            let order = ReleaseOrder {
                keyset_version: KeysetVersion(u32_at(at)?),
                release_seq: ReleaseSequence(u64_at(at + 4)?),
            };
            Some((order, Digest(*bytes.get(at + 12..)?.first_chunk()?)))
        };
        let stage = match bytes[10] {
            0 => PendingStage::Staged,
            _ => PendingStage::Trial {
                power_losses: bytes[11],
            },
        };
        let pending = slot_from(bytes[9]).map(|slot| PendingSlot { slot, stage });
        let (order, digest) = release_at(68)?;
        let failure = Failure {
            order,
            digest,
            count: bytes[22],
            code: u16_at(112)?,
        };
        let record = Self {
            sequence: u32_at(4)?,
            confirmed: slot_from(bytes[8]),
            pending,
            state: DeviceState {
                floor: SecurityVersion(u32_at(12)?),
                newest: release_at(24).filter(|_| bytes[20] == 1),
                boot_keyset: KeysetVersion(u32_at(16)?),
                failure: Some(failure).filter(|_| bytes[21] == 1),
            },
            in_force_len: u16_at(114)?,
            boot_len: u16_at(116)?,
        };
        let lengths_fit = record.in_force_len.max(record.boot_len) <= MAX_KEYSET_LEN;
        lengths_fit.then_some((record, u32_at(252)?))
    }

    /// The header without its checksum.
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..4].copy_from_slice(MAGIC);
        out[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        out[8] = slot_to(self.confirmed);
        out[9] = slot_to(self.pending.map(|pending| pending.slot));
        if let Some(PendingSlot {
            stage: PendingStage::Trial { power_losses },
            ..
        }) = self.pending
        {
            out[10] = 1;
            out[11] = power_losses;
        }
        out[12..16].copy_from_slice(&self.state.floor.0.to_le_bytes());
        out[16..20].copy_from_slice(&self.state.boot_keyset.0.to_le_bytes());
        if let Some((order, digest)) = &self.state.newest {
            out[20] = 1;
            put_release(&mut out[24..68], order, digest);
        }
        if let Some(failure) = &self.state.failure {
            out[21] = 1;
            out[22] = failure.count;
            put_release(&mut out[68..112], &failure.order, &failure.digest);
            out[112..114].copy_from_slice(&failure.code.to_le_bytes());
        }
        out[114..116].copy_from_slice(&self.in_force_len.to_le_bytes());
        out[116..118].copy_from_slice(&self.boot_len.to_le_bytes());
        out
    }

    /// The part of the header that the checksum covers.
    pub(crate) fn covered<'a>(&self, header: &'a [u8; HEADER_LEN]) -> &'a [u8] {
        &header[..HEADER_LEN - 4]
    }

    /// Puts the checksum in.
    pub(crate) fn seal(header: &mut [u8; HEADER_LEN], crc: u32) {
        header[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}

const MAGIC: &[u8; 4] = b"ASD1";
const MAX_KEYSET_LEN: u16 = 800;

fn put_release(out: &mut [u8], order: &ReleaseOrder, digest: &Digest) {
    out[..4].copy_from_slice(&order.keyset_version.0.to_le_bytes());
    out[4..12].copy_from_slice(&order.release_seq.0.to_le_bytes());
    out[12..44].copy_from_slice(&digest.0);
}

fn slot_from(byte: u8) -> Option<Slot> {
    match byte {
        0 => Some(Slot::A),
        1 => Some(Slot::B),
        _ => None,
    }
}

fn slot_to(slot: Option<Slot>) -> u8 {
    match slot {
        Some(Slot::A) => 0,
        Some(Slot::B) => 1,
        None => 0xFF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back() {
        let order = ReleaseOrder {
            keyset_version: KeysetVersion(3),
            release_seq: ReleaseSequence(9),
        };
        let record = DeviceRecord {
            sequence: 5,
            confirmed: Some(Slot::B),
            pending: Some(PendingSlot {
                slot: Slot::A,
                stage: PendingStage::Trial { power_losses: 2 },
            }),
            state: DeviceState {
                floor: SecurityVersion(4),
                newest: Some((order, Digest([8; 32]))),
                boot_keyset: KeysetVersion(2),
                failure: Some(Failure {
                    order,
                    digest: Digest([9; 32]),
                    count: 2,
                    code: 360,
                }),
            },
            in_force_len: 140,
            boot_len: 184,
        };
        let mut header = record.encode();
        DeviceRecord::seal(&mut header, 77);
        assert_eq!(DeviceRecord::parse(&header), Some((record, 77)));
        let blank = DeviceRecord::blank(None);
        assert_eq!(DeviceRecord::parse(&blank.encode()), Some((blank, 0)));
        assert_eq!(DeviceRecord::parse(&[0xFF; 256]), None);
    }
}
