//! Proof by exhaustion: power goes at every flash operation of an update, and after it the
//! device runs the old or the new image.

use std::ops::Range;

use airseal_format::Digest;
use airseal_update::boot::{ResetReason, Selection};
use airseal_update::journal::Checkpoint;
use airseal_update::port::{BootState, DeviceState};
use airseal_update::{Policy, Refusal};

use crate::device::{Model, SimDevice};
use crate::fixture::{CLASS, KeysetPlan, ReleasePlan, Sealed, To, VENDOR};
use crate::flash::SimFlash;
use crate::random::Noise;

mod cuts;
mod flows;
mod sequences;

pub use cuts::{Report, prove_pairs, prove_singles};
pub use flows::{Flow, flows};
pub use sequences::{SearchReport, search};

/// A device and the releases made for it.
pub(crate) struct Bench {
    pub(crate) device: SimDevice,
    pub(crate) to: Vec<To>,
}

/// Seed of the device's keys.
const SEED: [u8; 32] = [7; 32];
/// Length of the images: 14 chunks in 4 sectors, the last ones not full.
const IMAGE_LEN: usize = 13 * 1024 + 5;

impl Bench {
    /// A device that runs release 1, confirmed, from slot A.
    pub(crate) fn new() -> Self {
        let model = Model {
            vendor_id: VENDOR,
            class_id: CLASS,
            hw_rev: 1,
            chip: 5,
            keyset: keyset(1).signed(),
            policy: Policy::default(),
            slot_len: 8 * 4096,
            factory: None,
        };
        let device = SimDevice::new(model, &SEED);
        let to = vec![To::X25519(device.public())];
        Self { device, to }
    }

    /// The state of the flash and what runs.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            flash: self.device.flash().clone(),
            running: self.device.running(),
        }
    }

    pub(crate) fn restore(&mut self, snapshot: &Snapshot) {
        *self.device.flash_mut() = snapshot.flash.clone();
        self.device.set_running(snapshot.running);
    }

    pub(crate) fn boot(&mut self, reset: ResetReason) -> Result<Selection, Refusal> {
        self.device.boot(reset)
    }

    /// A release with `security_version`, under keyset `version` and signed by its keys.
    pub(crate) fn release(&self, seq: u64, security_version: u32, version: u32) -> Made {
        let image = Noise::new(seq * 1000 + u64::from(version)).bytes(IMAGE_LEN);
        let mut plan = ReleasePlan::new(seq, image.clone(), self.to.clone());
        plan.header.security_version = airseal_format::SecurityVersion(security_version);
        plan.header.keyset_version = airseal_format::KeysetVersion(version);
        plan.signed_by = keyset(version).release.clone();
        plan.keysets = (2..=version).map(|v| keyset(v).section()).collect();
        let sealed = plan.seal();
        Made {
            bundle: sealed.bundle(),
            security_version,
            image,
            sealed,
        }
    }
}

/// A release, its bundle and what it installs.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) sealed: Sealed,
    pub(crate) bundle: Vec<u8>,
    pub(crate) image: Vec<u8>,
    pub(crate) security_version: u32,
}

/// Keyset `version` of a vendor who changes every key each time; roots of the one before
/// sign along.
pub(crate) fn keyset(version: u32) -> KeysetPlan {
    let mut plan = KeysetPlan::first();
    for next in 2..=version {
        let step = 40 + 8 * next as u8;
        let old = plan.roots.clone();
        plan = plan.next();
        plan.roots = vec![step, step + 1, step + 2];
        plan.release = vec![step + 3];
        plan.offer = None;
        plan.signed_by = vec![old[0], old[1], step, step + 1];
    }
    plan
}

/// Flash content and the slot that runs.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) flash: SimFlash,
    pub(crate) running: Option<airseal_update::port::Slot>,
}

/// What a device reads from its flash: nothing else may differ after a torn operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readout {
    pub(crate) boot: BootState,
    pub(crate) state: DeviceState,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) keyset_version: u32,
}

impl Readout {
    pub(crate) fn of(device: &mut SimDevice) -> Result<Self, Refusal> {
        Ok(Self {
            boot: device.boot_state()?,
            state: device.state()?,
            checkpoint: device.checkpoint()?,
            keyset_version: device.keyset_version()?.0,
        })
    }
}

/// Checks that the device runs exactly one of `images`, not below its floor. Returns the
/// digest of the release that runs.
pub(crate) fn check_running(device: &mut SimDevice, images: &[&Made]) -> Result<Digest, String> {
    let own = device
        .own()
        .map_err(|error| format!("own release: {error}"))?;
    let digest = own.digest.ok_or("the running slot has no record")?;
    let made = images
        .iter()
        .find(|made| made.sealed.digest == digest)
        .ok_or("neither the old nor the new release runs")?;
    if device.image(made.image.len()) != made.image {
        return Err("the running image differs from its release".to_owned());
    }
    let floor = device.state().map_err(|error| error.to_string())?.floor;
    if floor.0 > made.security_version {
        return Err(format!("an image below the floor {floor} runs"));
    }
    Ok(digest)
}

/// Splits `0..count` into one range per thread.
pub(crate) fn shares(count: u64, threads: u64) -> Vec<Range<u64>> {
    let threads = threads.max(1);
    (0..threads)
        .map(|i| count * i / threads..count * (i + 1) / threads)
        .collect()
}
