//! Checkpoints of a download: 64 bytes each, appended to a ring of two erase units.

use airseal_format::{ComponentId, Digest};

/// How far a download is. Written only at erase-unit boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The release.
    pub manifest_digest: Digest,
    /// The component that is being installed.
    pub component: ComponentId,
    /// Bytes of the image that are written.
    pub position: u32,
}

/// Length of a record, bytes.
pub const RECORD_LEN: usize = 64;

/// One record of the ring: a checkpoint, or the note that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Ascends from record to record.
    pub sequence: u32,
    /// `None` forgets everything before.
    pub checkpoint: Option<Checkpoint>,
}

impl Record {
    /// Reads a record; `None` for anything that was not written whole.
    pub fn parse(bytes: &[u8; RECORD_LEN]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if !body.starts_with(MAGIC) || u32::from_le_bytes(*crc) != crate::crc32(&[body]) {
            return None;
        }
        let sequence = u32::from_le_bytes(*body.get(4..)?.first_chunk()?);
        let is_checkpoint = *body.get(8)? == 1;
        let checkpoint = Checkpoint {
            component: ComponentId(u16::from_le_bytes(*body.get(10..)?.first_chunk()?)),
            position: u32::from_le_bytes(*body.get(12..)?.first_chunk()?),
            manifest_digest: Digest(*body.get(16..)?.first_chunk()?),
        };
        Some(Self {
            sequence,
            checkpoint: is_checkpoint.then_some(checkpoint),
        })
    }

    /// The record's bytes.
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut out = [0; RECORD_LEN];
        out[..4].copy_from_slice(MAGIC);
        out[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        if let Some(checkpoint) = &self.checkpoint {
            out[8] = 1;
            out[10..12].copy_from_slice(&checkpoint.component.0.to_le_bytes());
            out[12..16].copy_from_slice(&checkpoint.position.to_le_bytes());
            out[16..48].copy_from_slice(&checkpoint.manifest_digest.0);
        }
        let crc = crate::crc32(&[&out[..60]]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

const MAGIC: &[u8; 4] = b"ASJ1";

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            sequence: 7,
            checkpoint: Some(Checkpoint {
                manifest_digest: Digest([5; 32]),
                component: ComponentId(3),
                position: 0x12000,
            }),
        }
    }

    #[test]
    fn a_record_reads_back() {
        assert_eq!(Record::parse(&record().encode()), Some(record()));
        let tombstone = Record {
            checkpoint: None,
            ..record()
        };
        assert_eq!(Record::parse(&tombstone.encode()), Some(tombstone));
    }

    #[test]
    fn a_flipped_bit_is_no_record() {
        let good = record().encode();
        for bit in 0..RECORD_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::parse(&bad), None, "bit {bit}");
        }
        assert_eq!(Record::parse(&[0xFF; 64]), None);
    }
}
