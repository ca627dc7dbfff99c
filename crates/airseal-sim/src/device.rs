//! A device: keys from a seed, flash with real rules, a boot loader, and firmware that is
//! whatever image lies in the slot.

use std::io::Read;

use airseal_format::component::FlashEncryption;
use airseal_format::recipient::Identity;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::recipient::p256::P256Identity;
use airseal_format::recipient::seed::{self, Purpose};
use airseal_format::recipient::x25519::X25519Identity;
use airseal_format::{
    ClassId, Digest, HardwareRevision, KeysetVersion, RecipientId, SecurityVersion,
    UnverifiedManifest, VendorId,
};
use airseal_update::blocking::{Blocking, block_on};
use airseal_update::boot::{self, ResetReason, Selection};
use airseal_update::carried::carried_groups;
use airseal_update::flash::{FlashDevice, Layout, Region};
use airseal_update::install_record::{MAX_SECTION_LEN, read_section};
use airseal_update::lifecycle::{self, Own};
use airseal_update::port::{BootControl, BootState, DeviceState, JournalStore, Slot, StateStore};
use airseal_update::transport::{BundleReader, stream};
use airseal_update::{Buffers, Config, Factory, Memory, Policy, Refusal, UpdateSession};

use crate::flash::SimFlash;
use crate::stream::StdStream;

/// What all devices of one model share, compiled into their firmware.
#[derive(Clone, Debug)]
pub struct Model {
    /// The vendor whose releases it takes.
    pub vendor_id: VendorId,
    /// Its class.
    pub class_id: ClassId,
    /// Board revision.
    pub hw_rev: u16,
    /// Espressif chip id.
    pub chip: u16,
    /// Signed bytes of the compiled-in keyset.
    pub keyset: Vec<u8>,
    /// What it demands of a release.
    pub policy: Policy,
    /// Scheme and check value of its flash encryption key, for raw images. What is written goes into the simulated flash
    /// as it is.
    pub flash_encryption: FlashEncryption,
    /// Bytes of one slot, record area included.
    pub slot_len: u32,
    /// Both slots where they do not lie right behind the state area.
    pub slots: Option<[Region; 2]>,
    /// The image outside both slots, if the model has one.
    pub factory: Option<Factory>,
}

impl Model {
    /// Where slots and state lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let slot = |offset| Region {
            offset,
            len: self.slot_len,
        };
        let behind_the_state = [slot(STATE_LEN), slot(STATE_LEN + self.slot_len)];
        Layout {
            slots: self.slots.unwrap_or(behind_the_state),
            state: Region {
                offset: 0,
                len: STATE_LEN,
            },
            base_address: 0,
        }
    }

    /// Bytes of flash it needs.
    #[must_use]
    pub fn flash_len(&self) -> usize {
        let slots = self.layout().slots.into_iter();
        let ends = slots.map(|slot| (slot.offset + slot.len) as usize);
        ends.max().unwrap_or(0)
    }
}

/// Bytes at the start of the flash that hold the device's state; slots lie behind them.
pub const STATE_LEN: u32 = 4 * 4096;

/// Buffers of a simulated device: the default session's, with room for every profile 2 image.
pub type DeviceMemory = Memory<2304, 2048, 4096, 4096>;

/// One simulated device.
pub struct SimDevice {
    model: Model,
    flash: SimFlash,
    running: Option<Slot>,
    x25519: X25519Identity,
    p256: Option<P256Identity>,
    groups: Vec<GroupIdentity>,
    memory: Box<DeviceMemory>,
}

impl SimDevice {
    /// A device with erased slots, whose keys follow from `seed`.
    #[must_use]
    pub fn new(model: Model, seed: &[u8; 32]) -> Self {
        let flash = SimFlash::new(model.flash_len());
        Self::with_flash(model, seed, flash)
    }

    /// A device that finds `flash` as it was left.
    #[must_use]
    pub fn with_flash(model: Model, seed: &[u8; 32], flash: SimFlash) -> Self {
        Self {
            x25519: X25519Identity::new(*seed::derive(seed, Purpose::HpkeX25519)),
            p256: None,
            groups: Vec::new(),
            model,
            flash,
            running: None,
            memory: Box::default(),
        }
    }

    /// Gives the device a P-256 key too, derived from its seed.
    pub fn add_p256(&mut self, seed: &[u8; 32]) {
        let secret = seed::derive_p256(seed, Purpose::HpkeP256);
        self.p256 = Some(P256Identity::new(secret));
    }

    /// Gives the device a group key.
    pub fn add_group(&mut self, group: GroupIdentity) {
        self.groups.push(group);
    }

    /// Its X25519 public key, to seal to.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        *self.x25519.public()
    }

    /// Ids of every key it holds, ascending; among them the group key that the running
    /// release carries.
    ///
    /// # Errors
    /// A fault of the flash.
    pub fn recipient_ids(&mut self) -> Result<Vec<RecipientId>, Refusal> {
        self.with(|mut device, config, mut buffers| {
            let given = config.identities.iter();
            let mut ids: Vec<_> = given.map(|own| own.recipient_id()).collect();
            let found = |own: GroupIdentity| ids.push(own.recipient_id());
            block_on(carried_groups(&mut device, config, &mut buffers, found))?;
            ids.sort();
            ids.dedup();
            Ok(ids)
        })
    }

    /// Ids of the group keys it was given, ascending.
    #[must_use]
    pub fn group_ids(&self) -> Vec<RecipientId> {
        let mut ids: Vec<_> = self.groups.iter().map(Identity::recipient_id).collect();
        ids.sort();
        ids
    }

    /// The running release.
    ///
    /// # Errors
    /// A fault of the flash.
    pub fn own(&mut self) -> Result<Own, Refusal> {
        self.with(|mut device, config, mut buffers| {
            block_on(lifecycle::running_release(
                &mut device,
                config,
                &mut buffers,
            ))
        })
    }

    /// Version of the keyset in force.
    ///
    /// # Errors
    /// A fault of the flash.
    pub fn keyset_version(&mut self) -> Result<KeysetVersion, Refusal> {
        self.with(|mut device, config, _| {
            let mut keyset = [0; 800];
            block_on(lifecycle::keyset_version(&mut device, config, &mut keyset))
        })
    }

    /// The version text of the release in `slot`, if its record is complete.
    ///
    /// # Errors
    /// A fault of the flash.
    pub fn version_in(&mut self, slot: Slot) -> Result<Option<String>, Refusal> {
        self.with(|mut device, _, _| {
            let mut section = vec![0; MAX_SECTION_LEN];
            let section = block_on(read_section(&mut device, slot, &mut section))?;
            let manifest = section.and_then(|s| UnverifiedManifest::parse_prefix(s).ok());
            Ok(manifest.map(|(manifest, _)| manifest.header().version.to_string()))
        })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model, for changes a new firmware would bring.
    pub fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    /// The flash.
    #[must_use]
    pub fn flash(&self) -> &SimFlash {
        &self.flash
    }

    /// The flash, for cuts and attacks.
    pub fn flash_mut(&mut self) -> &mut SimFlash {
        &mut self.flash
    }

    /// The slot whose image runs; `None` before the first boot.
    #[must_use]
    pub fn running(&self) -> Option<Slot> {
        self.running
    }

    /// Tells which slot runs, when a flash content is put in that was taken while it ran.
    pub fn set_running(&mut self, running: Option<Slot>) {
        self.running = running;
    }

    /// Writes the image the device is born with into slot A, through an update as the
    /// production line would do, and boots it confirmed.
    ///
    /// # Errors
    /// The refusal of the bundle.
    pub fn provision(&mut self, bundle: &[u8]) -> Result<(), Refusal> {
        let keyset = self.model.keyset.clone();
        self.running = Some(Slot::B);
        self.with(|mut device, _, _| {
            block_on(device.provision(Some(Slot::B), SecurityVersion::default(), &keyset))
        })?;
        self.update_from_bytes(bundle)?;
        self.boot(ResetReason::Restart)?;
        self.confirm()
    }

    /// Starts the device: the boot loader chooses a slot and the image in it runs.
    ///
    /// # Errors
    /// `NothingBootable`, or a fault of the flash.
    pub fn boot(&mut self, reset: ResetReason) -> Result<Selection, Refusal> {
        self.running = None;
        *self.memory = DeviceMemory::new();
        let selection = self.with(|mut device, config, mut buffers| {
            block_on(boot::select(&mut device, config, reset, &mut buffers))
        })?;
        self.running = selection.slot;
        Ok(selection)
    }

    /// The first step after every boot.
    ///
    /// # Errors
    /// A fault of the flash.
    pub fn heal(&mut self) -> Result<Own, Refusal> {
        self.with(|mut device, config, mut buffers| {
            block_on(lifecycle::heal(&mut device, config, &mut buffers))
        })
    }

    /// The self-test passed.
    ///
    /// # Errors
    /// `WrongCall` when nothing is on trial, or a fault of the flash.
    pub fn confirm(&mut self) -> Result<(), Refusal> {
        self.with(|mut device, config, mut buffers| {
            block_on(lifecycle::confirm(&mut device, config, &mut buffers))
        })
    }

    /// The self-test failed. Boot afterwards.
    ///
    /// # Errors
    /// `WrongCall` when nothing is on trial, or a fault of the flash.
    pub fn revert(&mut self) -> Result<(), Refusal> {
        self.with(|mut device, _, mut buffers| {
            block_on(lifecycle::revert(&mut device, &mut buffers))
        })
    }

    /// Updates from a bundle in memory.
    ///
    /// # Errors
    /// The refusal.
    pub fn update_from_bytes(&mut self, bundle: &[u8]) -> Result<(), Refusal> {
        self.update_from(&mut &*bundle, Some(bundle.len() as u64), &mut |_, _| {})
    }

    /// Updates from a bundle that is read front to back: a file, a pipe, a serial line.
    /// `total_len` is its length where that is known; `progress` hears of bytes written and
    /// bytes in all.
    ///
    /// # Errors
    /// The refusal; `Transport` or `Ended` when the stream fails.
    pub fn update_from(
        &mut self,
        stream: &mut dyn Read,
        total_len: Option<u64>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Refusal> {
        self.with(|device, config, buffers| {
            block_on(async {
                let mut session = UpdateSession::begin(device, config, buffers).await?;
                let mut reader = match total_len {
                    Some(len) => BundleReader::with_total_len(len),
                    None => BundleReader::new(),
                };
                let mut source = Blocking(StdStream(stream));
                let mut buffer = [0; 4096];
                while let Some(part) =
                    stream::step(&mut session, &mut reader, &mut source, &mut buffer).await?
                {
                    progress(part.0, part.1);
                }
                Ok(())
            })
        })
    }

    /// Runs `f` with this device's ports, constants and buffers: what the firmware does.
    ///
    /// # Panics
    /// When the model's layout does not fit its flash.
    pub fn with<R>(
        &mut self,
        f: impl FnOnce(FlashDevice<Blocking<&mut SimFlash>>, &Config<'_>, Buffers<'_>) -> R,
    ) -> R {
        let layout = self.model.layout();
        let mut identities: Vec<&dyn Identity> = vec![&self.x25519];
        identities.extend(self.p256.as_ref().map(|own| own as &dyn Identity));
        identities.extend(self.groups.iter().map(|own| own as &dyn Identity));
        let config = Config {
            vendor_id: self.model.vendor_id,
            class_id: self.model.class_id,
            hw_rev: HardwareRevision(self.model.hw_rev),
            chip: self.model.chip,
            flash_encryption: self.model.flash_encryption,
            keyset: &self.model.keyset,
            identities: &identities,
            factory: self.model.factory,
            policy: self.model.policy,
        };
        let device = FlashDevice::new(Blocking(&mut self.flash), layout, self.running)
            .expect("the layout is made for the flash");
        f(device, &config, self.memory.lend())
    }

    /// What the boot record says.
    ///
    /// # Errors
    /// A fault of the flash.
    pub fn boot_state(&mut self) -> Result<BootState, Refusal> {
        self.with(|mut device, _, _| Ok(block_on(device.boot_state())?))
    }

    /// What the device remembers.
    ///
    /// # Errors
    /// A fault of the flash.
    pub fn state(&mut self) -> Result<DeviceState, Refusal> {
        self.with(|mut device, _, _| Ok(block_on(device.device_state())?))
    }

    /// Where an interrupted download stands.
    ///
    /// # Errors
    /// A fault of the flash.
    pub fn checkpoint(&mut self) -> Result<Option<airseal_update::journal::Checkpoint>, Refusal> {
        self.with(|mut device, _, _| Ok(block_on(device.checkpoint())?))
    }

    /// Digest of the running release.
    ///
    /// # Errors
    /// A fault of the flash.
    pub fn release(&mut self) -> Result<Option<Digest>, Refusal> {
        Ok(self.own()?.digest)
    }

    /// The first `len` bytes of the running slot.
    #[must_use]
    pub fn image(&self, len: usize) -> &[u8] {
        let layout = self.model.layout();
        let slot = self.running.unwrap_or(Slot::A);
        let at = layout.slots[slot.index()].offset as usize;
        &self.flash.bytes()[at..at + len]
    }

    /// The bytes of both slots in the flash, and whatever lies between them.
    #[must_use]
    pub fn slots(&self) -> std::ops::Range<usize> {
        let slots = self.model.layout().slots;
        let start = slots.map(|slot| slot.offset as usize);
        start[0].min(start[1])..self.model.flash_len()
    }
}
