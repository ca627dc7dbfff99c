//! Every port of a device over one NOR flash: two slots and a small state area.
//!
//! ```text
//! state area, four units (a unit: erase units up to at least 4 KiB)
//!   unit 0 | copy 0 of the device record: header 256, keyset in force 832, boot keyset 832
//!   unit 1 | copy 1; the valid copy with the higher sequence counts
//!   unit 2 | checkpoints, 64 bytes each, appended
//!   unit 3 | continues when unit 2 is full, and the other way round
//! ```

use airseal_format::{KeysetVersion, SecurityVersion};
use embedded_storage_async::nor_flash::NorFlash;

use crate::Refusal;
use crate::journal::{Checkpoint, RECORD_LEN, Record};
use crate::port::{
    BootControl, BootState, DeviceState, Fault, JournalStore, KeysetStore, KeysetUse, Operation,
    PendingSlot, PendingStage, Slot, Slots, StateStore,
};
use crate::record::{DeviceRecord, HEADER_LEN};

/// One contiguous part of the flash, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it starts.
    pub offset: u32,
    /// How long it is.
    pub len: u32,
}

/// Where slots and state lie in the flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Slot A and slot B, record areas included.
    pub slots: [Region; 2],
    /// The state area: four units of at least 4 KiB, on unencrypted flash.
    pub state: Region,
    /// What has to be added to an offset in the flash to get the address components name.
    pub base_address: u64,
}

/// A device whose slots and state lie in one flash.
pub struct FlashDevice<F> {
    flash: F,
    layout: Layout,
    running: Option<Slot>,
    unit: u32,
    record: Option<(u32, DeviceRecord)>,
    journal: Option<JournalEnd>,
}

impl<F: NorFlash> FlashDevice<F> {
    /// Takes the flash; `running` is the slot whose image executes (`None` for an image
    /// outside both slots).
    ///
    /// # Errors
    /// `BadLayout` when regions are not aligned, overlap, or exceed the flash.
    pub fn new(flash: F, layout: Layout, running: Option<Slot>) -> Result<Self, Refusal> {
        let erase = u32::try_from(F::ERASE_SIZE).map_err(|_| Refusal::BadLayout)?;
        let unit = MIN_UNIT
            .checked_next_multiple_of(erase)
            .ok_or(Refusal::BadLayout)?;
        let [a, b] = layout.slots;
        let regions = [a, b, layout.state];
        let capacity = u64::try_from(flash.capacity()).unwrap_or(u64::MAX);
        let end = |region: Region| u64::from(region.offset) + u64::from(region.len);
        let is_aligned = |region: &Region| {
            region.offset.is_multiple_of(erase)
                && region.len.is_multiple_of(erase)
                && end(*region) <= capacity
        };
        let overlap =
            |x: Region, y: Region| u64::from(x.offset) < end(y) && u64::from(y.offset) < end(x);
        let is_right = regions.iter().all(is_aligned)
            && !overlap(a, b)
            && !overlap(a, layout.state)
            && !overlap(b, layout.state)
            && RECORD_LEN.is_multiple_of(F::WRITE_SIZE)
            && F::READ_SIZE <= 4
            && layout.state.len / 4 >= unit;
        if !is_right {
            return Err(Refusal::BadLayout);
        }
        Ok(Self {
            flash,
            layout,
            running,
            unit,
            record: None,
            journal: None,
        })
    }

    /// Writes the first device record: `confirmed` holds the image the device is born with
    /// (`None`: it lies outside both slots), `floor` is the lowest security version it takes
    /// and `keyset` is the signed keyset in force.
    ///
    /// # Errors
    /// The flash's fault.
    pub async fn provision(
        &mut self,
        confirmed: Option<Slot>,
        floor: SecurityVersion,
        keyset: &[u8],
    ) -> Result<(), Refusal> {
        let (index, mut record) = self.load().await?;
        record.confirmed = confirmed;
        record.pending = None;
        record.state.floor = floor;
        self.store(index, record, KeysetChange::Accept(keyset))
            .await?;
        Ok(())
    }

    /// Tells which slot's image executes, after boot selection.
    pub fn set_running(&mut self, running: Option<Slot>) {
        self.running = running;
    }

    /// The flash.
    pub fn flash(&self) -> &F {
        &self.flash
    }

    /// The flash, for other uses between updates.
    pub fn flash_mut(&mut self) -> &mut F {
        &mut self.flash
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    fn region(&self, slot: Slot) -> Region {
        let [a, b] = self.layout.slots;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    fn unit_at(&self, index: u32) -> u32 {
        self.layout.state.offset + index * self.unit
    }

    async fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Fault> {
        let read = self.flash.read(offset, out).await;
        read.map_err(|_| fault(Operation::Read, offset))
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let written = self.flash.write(offset, bytes).await;
        written.map_err(|_| fault(Operation::Write, offset))
    }

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        let erased = self.flash.erase(from, to).await;
        erased.map_err(|_| fault(Operation::Erase, from))
    }

    /// The valid copy with the highest sequence, and its index; a blank record if none.
    ///
    /// A copy that can't be read counts as torn, as error-correcting flash reports it. Only
    /// where that leaves nothing but a damaged copy, the fault comes out: to forget the floor
    /// over a passing fault would be worse.
    async fn load(&mut self) -> Result<(u32, DeviceRecord), Fault> {
        if let Some(cached) = &self.record {
            return Ok(*cached);
        }
        let mut best: Option<(u32, DeviceRecord)> = None;
        let mut unreadable = None;
        for index in 0..2 {
            let record = match self.read_copy(index).await {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(fault) => {
                    unreadable = Some((index, fault));
                    continue;
                }
            };
            if best.is_none_or(|(_, other)| record.sequence > other.sequence) {
                best = Some((index, record));
            }
        }
        let found = match (best, unreadable) {
            (Some(found), _) => found,
            (None, Some((index, fault))) if !self.is_erased(1 - index).await? => return Err(fault),
            (None, torn) => {
                let current = torn.map_or(1, |(index, _)| 1 - index);
                (current, DeviceRecord::blank(self.running))
            }
        };
        self.record = Some(found);
        Ok(found)
    }

    async fn is_erased(&mut self, index: u32) -> Result<bool, Fault> {
        let mut header = [0; HEADER_LEN];
        self.read(self.unit_at(index), &mut header).await?;
        Ok(header == [0xFF; HEADER_LEN])
    }

    async fn read_copy(&mut self, index: u32) -> Result<Option<DeviceRecord>, Fault> {
        let at = self.unit_at(index);
        let mut header = [0; HEADER_LEN];
        self.read(at, &mut header).await?;
        let Some((record, crc)) = DeviceRecord::parse(&header) else {
            return Ok(None);
        };
        let mut sum = crate::Crc32::new();
        sum.update(record.covered(&header));
        for (from, len) in [
            (IN_FORCE_AT, record.in_force_len),
            (BOOT_AT, record.boot_len),
        ] {
            let mut done = 0;
            while done < u32::from(len) {
                let mut block = [0; BLOCK];
                self.read(at + from + done, &mut block).await?;
                sum.update(block_of(&block, len, done));
                done += BLOCK_U32;
            }
        }
        Ok((sum.finish() == crc).then_some(record))
    }

    /// Writes the next record into the copy that is not current: keysets first, the
    /// header with the checksum over all of it last.
    async fn store(
        &mut self,
        current: u32,
        mut record: DeviceRecord,
        change: KeysetChange<'_>,
    ) -> Result<(), Fault> {
        self.record = None;
        let from = self.unit_at(current);
        let target = 1 - current;
        let to = self.unit_at(target);
        let in_force = (from + IN_FORCE_AT, record.in_force_len);
        let boot = (from + BOOT_AT, record.boot_len);
        let (in_force, boot) = match change {
            KeysetChange::Keep => (Source::Flash(in_force), Source::Flash(boot)),
            KeysetChange::Settle => (Source::Flash(in_force), Source::Flash((0, 0))),
            KeysetChange::Accept(signed) if boot.1 > 0 => {
                (Source::Memory(signed), Source::Flash(boot))
            }
            KeysetChange::Accept(signed) => (Source::Memory(signed), Source::Flash(in_force)),
        };
        record.sequence = record.sequence.wrapping_add(1);
        record.in_force_len = in_force.len();
        record.boot_len = boot.len();
        let mut header = record.encode();
        let mut sum = crate::Crc32::new();
        sum.update(record.covered(&header));
        self.erase(to, to + self.unit).await?;
        for (source, at) in [(in_force, to + IN_FORCE_AT), (boot, to + BOOT_AT)] {
            let len = source.len();
            let mut done = 0;
            while done < u32::from(len) {
                let mut block = [0xFF; BLOCK];
                match source {
                    Source::Memory(bytes) => {
                        let left = bytes.get(index(done)..).unwrap_or_default();
                        let taken = left.len().min(BLOCK);
                        block[..taken].copy_from_slice(&left[..taken]);
                    }
                    Source::Flash((offset, _)) => self.read(offset + done, &mut block).await?,
                }
                sum.update(block_of(&block, len, done));
                self.write(at + done, &block).await?;
                done += BLOCK_U32;
            }
        }
        DeviceRecord::seal(&mut header, sum.finish());
        self.write(to, &header).await?;
        self.record = Some((target, record));
        Ok(())
    }

    async fn change_boot(
        &mut self,
        change: impl FnOnce(&mut DeviceRecord, Option<Slot>),
    ) -> Result<(), Fault> {
        let (index, record) = self.load().await?;
        let mut changed = record;
        change(&mut changed, self.running);
        if changed == record {
            return Ok(());
        }
        self.store(index, changed, KeysetChange::Keep).await
    }

    async fn journal_end(&mut self) -> Result<JournalEnd, Fault> {
        if let Some(end) = self.journal {
            return Ok(end);
        }
        let mut last: Option<(u32, Record)> = None;
        let mut free = [0; 2];
        for (unit, free) in free.iter_mut().enumerate() {
            let unit = u32::try_from(unit).unwrap_or(0);
            for entry in 0..self.unit / RECORD_U32 {
                let mut bytes = [0; RECORD_LEN];
                let at = self.unit_at(2 + unit) + entry * RECORD_U32;
                let is_readable = self.read(at, &mut bytes).await.is_ok();
                if !is_readable || bytes != [0xFF; RECORD_LEN] {
                    *free = entry + 1;
                }
                let record = Record::parse(&bytes).filter(|_| is_readable);
                if let Some(record) = record
                    && last.is_none_or(|(_, last)| record.sequence > last.sequence)
                {
                    last = Some((unit, record));
                }
            }
        }
        let end = match last {
            Some((unit, record)) => JournalEnd {
                unit,
                next: if unit == 0 { free[0] } else { free[1] },
                last: Some(record),
            },
            None => JournalEnd {
                unit: 1,
                next: self.unit / RECORD_U32,
                last: None,
            },
        };
        self.journal = Some(end);
        Ok(end)
    }
}

impl<F: NorFlash> Slots for FlashDevice<F> {
    fn slot_len(&self, slot: Slot) -> u32 {
        self.region(slot).len
    }

    fn slot_address(&self, slot: Slot) -> u64 {
        self.layout
            .base_address
            .saturating_add(u64::from(self.region(slot).offset))
    }

    fn erase_len(&self) -> u32 {
        u32::try_from(F::ERASE_SIZE).unwrap_or(u32::MAX)
    }

    fn write_len(&self) -> u32 {
        u32::try_from(F::WRITE_SIZE).unwrap_or(u32::MAX)
    }

    async fn read_slot(&mut self, slot: Slot, offset: u32, out: &mut [u8]) -> Result<(), Fault> {
        let at = within(self.region(slot), offset, out.len(), Operation::Read)?;
        self.read(at, out).await
    }

    async fn erase_slot(&mut self, slot: Slot, from: u32, to: u32) -> Result<(), Fault> {
        let len = index(to.saturating_sub(from));
        let at = within(self.region(slot), from, len, Operation::Erase)?;
        self.erase(at, at + (to - from)).await
    }

    async fn write_slot(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let at = within(self.region(slot), offset, bytes.len(), Operation::Write)?;
        self.write(at, bytes).await
    }
}

impl<F: NorFlash> BootControl for FlashDevice<F> {
    async fn boot_state(&mut self) -> Result<BootState, Fault> {
        let (_, record) = self.load().await?;
        Ok(BootState {
            running: self.running,
            confirmed: record.confirmed,
            pending: record.pending,
        })
    }

    async fn stage(&mut self, slot: Slot) -> Result<(), Fault> {
        let pending = PendingSlot {
            slot,
            stage: PendingStage::Staged,
        };
        self.change_boot(|record, _| record.pending = Some(pending))
            .await
    }

    async fn unstage(&mut self, slot: Slot) -> Result<(), Fault> {
        self.change_boot(|record, running| {
            record.pending = record.pending.filter(|pending| pending.slot != slot);
            if record.confirmed == Some(slot) && running != Some(slot) {
                record.confirmed = running;
            }
        })
        .await
    }

    async fn set_trial(&mut self, power_losses: u8) -> Result<(), Fault> {
        self.change_boot(|record, _| {
            if let Some(pending) = &mut record.pending {
                pending.stage = PendingStage::Trial { power_losses };
            }
        })
        .await
    }

    async fn confirm(&mut self) -> Result<(), Fault> {
        self.change_boot(|record, _| {
            if let Some(pending) = record.pending.take() {
                record.confirmed = Some(pending.slot);
            }
        })
        .await
    }

    async fn revert(&mut self) -> Result<(), Fault> {
        self.change_boot(|record, _| record.pending = None).await
    }
}

impl<F: NorFlash> StateStore for FlashDevice<F> {
    async fn device_state(&mut self) -> Result<DeviceState, Fault> {
        Ok(self.load().await?.1.state)
    }

    async fn set_device_state(&mut self, state: &DeviceState) -> Result<(), Fault> {
        let (index, record) = self.load().await?;
        if record.state == *state {
            return Ok(());
        }
        let in_force = self.version_in_force(index, &record).await?;
        let settles = record.boot_len > 0 && in_force == Some(state.boot_keyset.0);
        let change = if settles {
            KeysetChange::Settle
        } else {
            KeysetChange::Keep
        };
        let record = DeviceRecord {
            state: *state,
            ..record
        };
        self.store(index, record, change).await
    }
}

impl<F: NorFlash> FlashDevice<F> {
    async fn version_in_force(
        &mut self,
        copy: u32,
        record: &DeviceRecord,
    ) -> Result<Option<u32>, Fault> {
        if record.in_force_len == 0 {
            return Ok(None);
        }
        let mut version = [0; 4];
        let at = self.unit_at(copy) + IN_FORCE_AT + KEYSET_VERSION_AT;
        self.read(at, &mut version).await?;
        Ok(Some(u32::from_le_bytes(version)))
    }
}

impl<F: NorFlash> JournalStore for FlashDevice<F> {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, Fault> {
        let end = self.journal_end().await?;
        Ok(end.last.and_then(|record| record.checkpoint))
    }

    async fn set_checkpoint(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Fault> {
        let mut end = self.journal_end().await?;
        let last = end.last.and_then(|record| record.checkpoint);
        if last.as_ref() == checkpoint {
            return Ok(());
        }
        self.journal = None;
        if end.next >= self.unit / RECORD_U32 {
            end.unit = 1 - end.unit;
            end.next = 0;
            let at = self.unit_at(2 + end.unit);
            self.erase(at, at + self.unit).await?;
        }
        let record = Record {
            sequence: end.last.map_or(0, |last| last.sequence.wrapping_add(1)),
            checkpoint: checkpoint.copied(),
        };
        let at = self.unit_at(2 + end.unit) + end.next * RECORD_U32;
        self.write(at, &record.encode()).await?;
        end.next += 1;
        end.last = Some(record);
        self.journal = Some(end);
        Ok(())
    }
}

impl<F: NorFlash> KeysetStore for FlashDevice<F> {
    async fn keyset(&mut self, which: KeysetUse, out: &mut [u8]) -> Result<Option<usize>, Fault> {
        let (copy, record) = self.load().await?;
        let (from, len) = match which {
            KeysetUse::Boot if record.boot_len > 0 => (BOOT_AT, record.boot_len),
            _ => (IN_FORCE_AT, record.in_force_len),
        };
        if len == 0 {
            return Ok(None);
        }
        let at = self.unit_at(copy) + from;
        if let Some(room) = out.get_mut(..usize::from(len)) {
            self.read(at, room).await?;
        }
        Ok(Some(usize::from(len)))
    }

    async fn set_keyset(&mut self, signed: &[u8], vouching: KeysetVersion) -> Result<(), Fault> {
        let (index, mut record) = self.load().await?;
        if self.version_in_force(index, &record).await? == Some(vouching.0) {
            record.boot_len = 0;
        }
        self.store(index, record, KeysetChange::Accept(signed))
            .await
    }
}

#[derive(Clone, Copy)]
struct JournalEnd {
    unit: u32,
    next: u32,
    last: Option<Record>,
}

enum KeysetChange<'a> {
    Keep,
    Settle,
    Accept(&'a [u8]),
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Memory(&'a [u8]),
    Flash((u32, u16)),
}

impl Source<'_> {
    fn len(&self) -> u16 {
        match self {
            Source::Memory(bytes) => u16::try_from(bytes.len()).unwrap_or(0),
            Source::Flash((_, len)) => *len,
        }
    }
}

/// Smallest unit of the state area, bytes.
const MIN_UNIT: u32 = 4096;
const BLOCK: usize = 64;
const BLOCK_U32: u32 = 64;
const RECORD_U32: u32 = 64;
const IN_FORCE_AT: u32 = 256;
const BOOT_AT: u32 = 256 + 832;
/// Offset of the version in a keyset's signed bytes.
const KEYSET_VERSION_AT: u32 = 12;

/// The part of `block` that belongs to `len` bytes of which `done` came before.
fn block_of(block: &[u8; BLOCK], len: u16, done: u32) -> &[u8] {
    let left = u32::from(len).saturating_sub(done).min(BLOCK_U32);
    block.get(..index(left)).unwrap_or_default()
}

fn within(region: Region, offset: u32, len: usize, operation: Operation) -> Result<u32, Fault> {
    let at = region.offset.saturating_add(offset);
    let end = u32::try_from(len)
        .ok()
        .and_then(|len| offset.checked_add(len));
    match end {
        Some(end) if end <= region.len => Ok(at),
        _ => Err(fault(operation, at)),
    }
}

fn fault(operation: Operation, offset: u32) -> Fault {
    Fault { operation, offset }
}

fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
