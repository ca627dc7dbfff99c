//! What a device reads from its flash.

use std::fmt;

use airseal_format::SecurityVersion;
use airseal_update::Refusal;
use airseal_update::blocking::block_on;
use airseal_update::journal::Checkpoint;
use airseal_update::lifecycle::{Own, release_in};
use airseal_update::port::{DeviceState, KeysetStore, KeysetUse, PendingSlot, Slot};

use super::world::Bench;

/// Everything outside the slots that decides what a device does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readout {
    pub(crate) confirmed: Option<Slot>,
    pub(crate) pending: Option<PendingSlot>,
    pub(crate) state: DeviceState,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) in_force: KeysetBytes,
    pub(crate) boot_keyset: KeysetBytes,
}

/// The signed bytes of a stored keyset; empty for none.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeysetBytes(Vec<u8>);

impl fmt::Debug for KeysetBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = self;
        write!(f, "version {}, {} bytes", self.version(), bytes.len())
    }
}

impl KeysetBytes {
    fn version(&self) -> u32 {
        let Self(bytes) = self;
        let bytes = bytes.get(12..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }
}

impl Readout {
    pub(crate) fn of(bench: &mut Bench<'_>) -> Result<Self, Refusal> {
        let device = &mut bench.device;
        let boot = device.boot_state()?;
        let state = device.state()?;
        let checkpoint = device.checkpoint()?;
        let [in_force, boot_keyset] = device.with(|mut ports, _, _| {
            [KeysetUse::InForce, KeysetUse::Boot].map(|which| {
                let mut bytes = vec![0; 800];
                let len = block_on(ports.keyset(which, &mut bytes)).map(Option::unwrap_or_default);
                len.map(|len| KeysetBytes(bytes[..len].to_vec()))
            })
        });
        Ok(Self {
            confirmed: boot.confirmed,
            pending: boot.pending,
            state,
            checkpoint,
            in_force: in_force?,
            boot_keyset: boot_keyset?,
        })
    }

    /// Version of the stored keyset in force, 0 for none.
    pub(crate) fn keyset_version(&self) -> u32 {
        self.in_force.version()
    }

    /// Version of the stored keyset of the confirmed image, 0 for none.
    pub(crate) fn boot_keyset_version(&self) -> u32 {
        self.boot_keyset.version()
    }
}

/// The release in each slot whose record is complete.
pub(crate) fn releases(bench: &mut Bench<'_>) -> Result<[Option<Own>; 2], Refusal> {
    let [a, b] = Slot::ALL.map(|slot| {
        bench
            .device
            .with(|mut ports, _, mut buffers| block_on(release_in(&mut ports, slot, &mut buffers)))
    });
    Ok([a?, b?])
}

/// Checks that what runs is one of this world's images, byte for byte, and not below the
/// floor. Returns its release, `None` for the image outside both slots.
pub(crate) fn running(bench: &mut Bench<'_>) -> Result<Option<Own>, String> {
    let read = |error: Refusal| format!("what runs can't be read: {error}");
    let own = bench.device.own().map_err(read)?;
    let floor = bench.device.state().map_err(read)?.floor;
    let Some(slot) = bench.device.running() else {
        let factory = bench.device.model().factory;
        return match factory {
            Some(factory) if factory.security_version >= floor => Ok(None),
            Some(_) => Err(format!("the factory image runs below the floor {floor}")),
            None => Err("nothing runs".to_owned()),
        };
    };
    let digest = own.digest.ok_or("the running slot has no record")?;
    let made = bench.world.find(digest);
    let made = made.ok_or("a release that nobody made runs")?;
    let image = made.image_in(slot);
    if bench.device.image(image.len()) != image {
        return Err("the running image differs from its release".to_owned());
    }
    if SecurityVersion(made.recipe.security_version) < floor {
        return Err(format!("an image below the floor {floor} runs"));
    }
    Ok(Some(own))
}
