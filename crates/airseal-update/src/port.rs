//! The edge of the device: what a board has to offer, as small async traits.
//!
//! [`crate::flash::FlashDevice`] implements all of them over one NOR flash. A board with
//! another boot loader implements [`BootControl`] itself and passes the rest on.

use core::fmt;

use airseal_format::{Digest, KeysetVersion, ReleaseOrder, SecurityVersion};

use crate::journal::Checkpoint;

/// Everything an update needs from the device.
pub trait Device: Slots + BootControl + StateStore + JournalStore + KeysetStore {}

impl<T: Slots + BootControl + StateStore + JournalStore + KeysetStore> Device for T {}

/// One of the two places an image is installed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both, in order.
    pub const ALL: [Slot; 2] = [Slot::A, Slot::B];

    /// The one that is not this.
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// 0 or 1.
    pub fn index(self) -> usize {
        match self {
            Slot::A => 0,
            Slot::B => 1,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Slot::A => "A",
            Slot::B => "B",
        })
    }
}

/// Reading, erasing and writing the slots. Offsets are bytes from the slot's start.
#[allow(
    async_fn_in_trait,
    reason = "no Send bound: bare-metal executors are single-threaded"
)]
pub trait Slots {
    /// Length of `slot` in bytes, its record area included.
    fn slot_len(&self, slot: Slot) -> u32;

    /// Flash address where `slot` starts, for components that name one.
    fn slot_address(&self, slot: Slot) -> u64;

    /// The erase unit, bytes.
    fn erase_len(&self) -> u32;

    /// Writes start and end on multiples of this, bytes.
    fn write_len(&self) -> u32;

    /// Says whether the image in `slot` is flash-encrypted already. If so, [`write_slot`](Self::write_slot) and
    /// [`read_slot`](Self::read_slot) pass its bytes on as they are, past the chip's own flash encryption, and otherwise
    /// through it; the record area at the slot's end is always handled the same way. Called before an image is written
    /// and before it is verified. Flash that nothing encrypts ignores it.
    fn set_raw(&mut self, slot: Slot, is_raw: bool) {
        let _ = (slot, is_raw);
    }

    /// Fills `out` from `offset`. Both are multiples of 4.
    ///
    /// # Errors
    /// The flash's fault. Caches are invalidated by the implementation.
    async fn read_slot(&mut self, slot: Slot, offset: u32, out: &mut [u8]) -> Result<(), Fault>;

    /// Erases `from..to`, both multiples of the erase unit.
    ///
    /// # Errors
    /// The flash's fault.
    async fn erase_slot(&mut self, slot: Slot, from: u32, to: u32) -> Result<(), Fault>;

    /// Writes erased bytes.
    ///
    /// # Errors
    /// The flash's fault.
    async fn write_slot(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), Fault>;
}

/// What runs, what is confirmed and what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootState {
    /// The slot whose image is executing; `None` for a factory image outside the slots.
    pub running: Option<Slot>,
    /// The slot the boot state calls confirmed; `None` for the factory image.
    pub confirmed: Option<Slot>,
    /// A new image that is staged or on trial.
    pub pending: Option<PendingSlot>,
}

impl BootState {
    /// True while the running image is not confirmed, whoever started it.
    pub fn is_on_trial(&self) -> bool {
        self.pending
            .is_some_and(|pending| Some(pending.slot) == self.running)
    }

    /// The slot an update is written to: never the running one.
    pub fn target(&self) -> Slot {
        self.running.map_or(Slot::A, Slot::other)
    }
}

/// A slot that is to become the confirmed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingSlot {
    /// Where it lies.
    pub slot: Slot,
    /// How far it is.
    pub stage: PendingStage,
}

/// How far a pending slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingStage {
    /// Complete, never booted.
    Staged,
    /// Booted, not confirmed; `power_losses` trials ended by power loss.
    Trial {
        /// Trials of this pending slot that ended by power-on or brown-out, 0 to 8.
        power_losses: u8,
    },
}

/// The boot selection. Every change is atomic: after a power cut the state is the one
/// before or the one after.
#[allow(
    async_fn_in_trait,
    reason = "no Send bound: bare-metal executors are single-threaded"
)]
pub trait BootControl {
    /// The state now.
    ///
    /// # Errors
    /// The flash's fault.
    async fn boot_state(&mut self) -> Result<BootState, Fault>;

    /// Stages `slot` for a trial at the next boot.
    ///
    /// # Errors
    /// The flash's fault.
    async fn stage(&mut self, slot: Slot) -> Result<(), Fault>;

    /// Makes sure that nothing selects `slot`: drops it if it is pending, and hands
    /// "confirmed" to the running image when it was this slot.
    ///
    /// # Errors
    /// The flash's fault.
    async fn unstage(&mut self, slot: Slot) -> Result<(), Fault>;

    /// Marks the pending slot as on trial.
    ///
    /// # Errors
    /// The flash's fault.
    async fn set_trial(&mut self, power_losses: u8) -> Result<(), Fault>;

    /// Makes the pending slot the confirmed slot.
    ///
    /// # Errors
    /// The flash's fault.
    async fn confirm(&mut self) -> Result<(), Fault>;

    /// Drops the pending slot; the confirmed slot boots next.
    ///
    /// # Errors
    /// The flash's fault.
    async fn revert(&mut self) -> Result<(), Fault>;

    /// A chip's own check of a complete image before it is staged; Espressif chips compare
    /// the application descriptor's secure version.
    ///
    /// # Errors
    /// A refusal ends the attempt.
    async fn approve(
        &mut self,
        slot: Slot,
        security_version: SecurityVersion,
    ) -> Result<(), crate::Refusal> {
        let _ = (slot, security_version);
        Ok(())
    }
}

/// A release that failed on this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its order.
    pub order: ReleaseOrder,
    /// Its manifest digest.
    pub digest: Digest,
    /// How often; at 3 it is refused.
    pub count: u8,
    /// Code of the last failure, a [`crate::Refusal::code`].
    pub code: u16,
}

/// What the device remembers across updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DeviceState {
    /// No image below this is accepted or booted.
    pub floor: SecurityVersion,
    /// Order and digest of the newest release that was confirmed.
    pub newest: Option<(ReleaseOrder, Digest)>,
    /// The keyset the confirmed image was accepted under.
    pub boot_keyset: KeysetVersion,
    /// The last release that failed.
    pub failure: Option<Failure>,
}

/// Keeps the [`DeviceState`]; a change is atomic.
#[allow(
    async_fn_in_trait,
    reason = "no Send bound: bare-metal executors are single-threaded"
)]
pub trait StateStore {
    /// The state; default on a blank device.
    ///
    /// # Errors
    /// The flash's fault.
    async fn device_state(&mut self) -> Result<DeviceState, Fault>;

    /// Replaces the state. When `boot_keyset` becomes the version in force, the boot
    /// keyset's own copy is given up.
    ///
    /// # Errors
    /// The flash's fault.
    async fn set_device_state(&mut self, state: &DeviceState) -> Result<(), Fault>;
}

/// Keeps the last [`Checkpoint`].
#[allow(
    async_fn_in_trait,
    reason = "no Send bound: bare-metal executors are single-threaded"
)]
pub trait JournalStore {
    /// The last checkpoint that was written whole.
    ///
    /// # Errors
    /// The flash's fault.
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, Fault>;

    /// Adds a checkpoint; `None` forgets all before. After a power cut the journal reads
    /// as before or as after.
    ///
    /// # Errors
    /// The flash's fault.
    async fn set_checkpoint(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Fault>;
}

/// Which stored keyset is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysetUse {
    /// Accepts releases.
    InForce,
    /// Vouches for the confirmed image at boot.
    Boot,
}

/// Keeps the signed bytes of the keyset in force and of the boot keyset; a change is atomic.
#[allow(
    async_fn_in_trait,
    reason = "no Send bound: bare-metal executors are single-threaded"
)]
pub trait KeysetStore {
    /// Reads the stored keyset into `out` (at least 800 bytes) and returns its length;
    /// `None` when nothing is stored. One longer than `out` is not read, and its length tells.
    ///
    /// # Errors
    /// The flash's fault.
    async fn keyset(&mut self, which: KeysetUse, out: &mut [u8]) -> Result<Option<usize>, Fault>;

    /// Puts `signed` in force. The keyset of version `vouching`, under which the running
    /// image was accepted, becomes or stays the boot keyset's copy; when there is none of
    /// that version, the copy there is stays, or the keyset in force before becomes one.
    ///
    /// # Errors
    /// The flash's fault.
    async fn set_keyset(&mut self, signed: &[u8], vouching: KeysetVersion) -> Result<(), Fault>;
}

/// What a flash was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reading.
    Read,
    /// Programming.
    Write,
    /// Erasing.
    Erase,
}

impl Operation {
    /// Number of the refusal it becomes.
    pub fn code(self) -> u16 {
        match self {
            Operation::Read => 350,
            Operation::Write => 351,
            Operation::Erase => 352,
        }
    }

    /// Word of the refusal it becomes.
    pub fn word(self) -> &'static str {
        match self {
            Operation::Read => "flash-read",
            Operation::Write => "flash-write",
            Operation::Erase => "flash-erase",
        }
    }

    /// Message of the refusal it becomes.
    pub fn message(self) -> &'static str {
        match self {
            Operation::Read => "reading the flash failed",
            Operation::Write => "writing the flash failed",
            Operation::Erase => "erasing the flash failed",
        }
    }
}

/// A failed flash operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was done.
    pub operation: Operation,
    /// Absolute offset in the flash, bytes.
    pub offset: u32,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at offset {:#x}",
            self.operation.message(),
            self.offset
        )
    }
}

impl core::error::Error for Fault {}
