//! What to erase and write so that the bootloader starts another slot, or thinks otherwise of this one.
//!
//! Every plan keeps a record that leads to a sensible slot at each of its steps, so that a power cut in between leaves
//! the choice as it was before or as it is after. ESP-IDF rewrites the active record in its place, and a cut between
//! erasing and writing loses it; here a copy stands in the other sector meanwhile. What lies in flash at the end is the
//! same.

use core::fmt;

use super::{BootSlot, ENTRY_LEN, Layout, MAX_SLOTS, OtaData, OtaEntry, OtaState, SECTOR_LEN};

/// One operation on the flash; offsets count bytes from the start of the OTA data partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashStep {
    /// Erase the sector that begins here.
    EraseSector {
        /// 0 or 0x1000.
        offset: u32,
    },
    /// Write a record; its sector is erased.
    Write {
        /// 0 or 0x1000.
        offset: u32,
        /// The record.
        bytes: [u8; ENTRY_LEN],
    },
}

/// Operations in the order in which they have to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    steps: [FlashStep; Plan::MAX_STEPS],
    len: usize,
}

impl Plan {
    /// No plan is longer.
    pub const MAX_STEPS: usize = 6;

    /// The operations.
    pub fn steps(&self) -> &[FlashStep] {
        self.steps.get(..self.len).unwrap_or_default()
    }

    fn new() -> Plan {
        Plan {
            steps: [FlashStep::EraseSector { offset: 0 }; Plan::MAX_STEPS],
            len: 0,
        }
    }

    fn push(&mut self, step: FlashStep) {
        if let Some(place) = self.steps.get_mut(self.len) {
            *place = step;
            self.len += 1;
        }
    }

    fn erase(&mut self, index: usize) {
        let offset = offset_of(index);
        self.push(FlashStep::EraseSector { offset });
    }

    fn rewrite(&mut self, index: usize, entry: OtaEntry) {
        self.erase(index);
        if entry != OtaEntry::ERASED {
            self.push(FlashStep::Write {
                offset: offset_of(index),
                bytes: entry.to_bytes(),
            });
        }
    }
}

impl OtaData {
    /// Makes `target` the next one to start, as ESP-IDF's `esp_ota_set_boot_partition` does.
    ///
    /// `running` is the application that runs now. It matters when the bootloader did not start what the records say,
    /// because that image is damaged: then the record that leads to the running application is kept, and the broken one
    /// replaced. `state` is [`OtaState::New`] for a bootloader with rollback, else [`OtaState::Undefined`].
    ///
    /// # Errors
    /// [`PlanFault`] if the layout has no such slot, or the numbers are used up.
    pub fn select(
        &self,
        layout: Layout,
        running: BootSlot,
        target: BootSlot,
        state: OtaState,
    ) -> Result<Plan, PlanFault> {
        layout.check(running)?;
        layout.check(target)?;
        let mut plan = Plan::new();
        let active = self.active();
        let slot = match target {
            BootSlot::Ota(slot) => slot,
            BootSlot::Factory => {
                let last = active.unwrap_or(0);
                plan.erase(1 - last);
                plan.erase(last);
                return Ok(plan);
            }
        };
        let Some(active) = active else {
            plan.rewrite(0, self.renewed(0, u32::from(slot) + 1, state));
            return Ok(plan);
        };
        let kept = self.leading_to(layout, running, active);
        let kept_entry = self.entry(kept);
        if kept_entry.slot(layout.slots) == Some(slot) {
            let other = 1 - kept;
            if kept != active {
                plan.rewrite(other, OtaEntry::ERASED);
            }
            if kept_entry.state != state {
                self.rewrite_in_place(&mut plan, kept, state, kept == active);
            }
            return Ok(plan);
        }
        let sequence = next_sequence(kept_entry.sequence, slot, layout.slots)?;
        plan.rewrite(1 - kept, self.renewed(1 - kept, sequence, state));
        Ok(plan)
    }

    /// Gives the active record another state, as ESP-IDF does when an application confirms or refuses itself.
    ///
    /// # Errors
    /// [`PlanFault::NoRecord`] without an active record, [`PlanFault::OtherSlot`] if it leads to another slot than the
    /// one that runs: that slot is not what was tried.
    pub fn mark(
        &self,
        layout: Layout,
        running: BootSlot,
        state: OtaState,
    ) -> Result<Plan, PlanFault> {
        layout.check(running)?;
        let active = self.active().ok_or(PlanFault::NoRecord)?;
        let entry = self.entry(active);
        let recorded = entry.slot(layout.slots).map(BootSlot::Ota);
        if recorded != Some(running) {
            return Err(PlanFault::OtherSlot { running, recorded });
        }
        let mut plan = Plan::new();
        if entry.state != state {
            self.rewrite_in_place(&mut plan, active, state, true);
        }
        Ok(plan)
    }

    /// The records after a plan was carried out.
    #[must_use]
    pub fn after(&self, plan: &Plan) -> OtaData {
        let mut after = *self;
        for step in plan.steps() {
            let (offset, entry) = match step {
                FlashStep::EraseSector { offset } => (*offset, OtaEntry::ERASED),
                FlashStep::Write { offset, bytes } => (*offset, OtaEntry::from_bytes(bytes)),
            };
            after.entries[usize::from(offset != 0)] = entry;
        }
        after
    }

    /// Rewrites a record while a copy in the other sector stands for it, then puts back what was there.
    fn rewrite_in_place(&self, plan: &mut Plan, index: usize, state: OtaState, restore: bool) {
        let other = 1 - index;
        let entry = OtaEntry {
            state,
            ..self.entry(index)
        };
        plan.rewrite(other, entry);
        plan.rewrite(index, entry);
        if restore {
            plan.rewrite(other, self.entry(other));
        } else {
            plan.erase(other);
        }
    }

    /// The record to keep: the active one, unless only the other leads to what runs.
    fn leading_to(&self, layout: Layout, running: BootSlot, active: usize) -> usize {
        let leads = |index: usize| {
            let entry = self.entry(index);
            entry.counts() && entry.slot(layout.slots).map(BootSlot::Ota) == Some(running)
        };
        if !leads(active) && leads(1 - active) {
            1 - active
        } else {
            active
        }
    }

    fn renewed(&self, index: usize, sequence: u32, state: OtaState) -> OtaEntry {
        OtaEntry {
            label: self.entry(index).label,
            ..OtaEntry::new(sequence, state)
        }
    }

    fn entry(&self, index: usize) -> OtaEntry {
        let [first, second] = self.entries;
        if index == 0 { first } else { second }
    }
}

impl Layout {
    fn check(self, slot: BootSlot) -> Result<(), PlanFault> {
        let known = match slot {
            BootSlot::Factory => self.factory,
            BootSlot::Ota(slot) => slot < self.slots && self.slots <= MAX_SLOTS,
        };
        if known {
            Ok(())
        } else {
            Err(PlanFault::NoSuchSlot { slot, layout: self })
        }
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanFault {
    /// The partition table has no such slot.
    NoSuchSlot {
        /// The slot.
        slot: BootSlot,
        /// What there is.
        layout: Layout,
    },
    /// No record counts.
    NoRecord,
    /// The active record leads to another slot than the one that runs.
    OtherSlot {
        /// What runs.
        running: BootSlot,
        /// What the record leads to.
        recorded: Option<BootSlot>,
    },
    /// The sequence number can't be raised any further.
    SequenceExhausted {
        /// The number in use.
        sequence: u32,
    },
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanFault::NoSuchSlot { slot, layout } => {
                let factory = if layout.factory { "a" } else { "no" };
                write!(
                    f,
                    "there is no {slot}: the table has {} OTA slots and {factory} factory application",
                    layout.slots
                )
            }
            PlanFault::NoRecord => f.write_str("neither record counts, so there is none to change"),
            PlanFault::OtherSlot { running, recorded } => {
                write!(f, "{running} runs, the active record leads to ")?;
                match recorded {
                    Some(slot) => slot.fmt(f),
                    None => f.write_str("no slot"),
                }
            }
            PlanFault::SequenceExhausted { sequence } => write!(
                f,
                "ota_seq is {sequence:#x} and can't be raised; erase the partition"
            ),
        }
    }
}

impl core::error::Error for PlanFault {}

/// The smallest number above `current` that leads to `slot`. ESP-IDF's own loop gives 0 in one case, which three slots
/// take for another slot.
fn next_sequence(current: u32, slot: u8, slots: u8) -> Result<u32, PlanFault> {
    let exhausted = PlanFault::SequenceExhausted { sequence: current };
    let slots = u32::from(slots);
    let now = current
        .wrapping_sub(1)
        .checked_rem(slots)
        .ok_or(exhausted)?;
    let ahead = match (u32::from(slot) + slots - now) % slots {
        0 => slots,
        ahead => ahead,
    };
    // Number 0 leads where 2^32 would, which is not where counting on from it leads.
    let sequence = if current == 0 {
        Some(u32::from(slot) + 1)
    } else {
        current.checked_add(ahead)
    };
    sequence
        .filter(|sequence| *sequence != u32::MAX)
        .ok_or(exhausted)
}

fn offset_of(index: usize) -> u32 {
    if index == 0 { 0 } else { SECTOR_LEN }
}
