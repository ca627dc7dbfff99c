//! One vendor, its keysets and releases, and a bench with one device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use airseal_esp::Chip;
use airseal_esp::flash_encryption::{BLOCK_LEN, DEFAULT_CRYPT_CONFIG, FlashKey};
use airseal_format::component::{Destination, FlashEncryption, RECORD_AREA_LEN};
use airseal_format::payload::Profile;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::{ComponentId, Digest, FlashKeyCheck, KeysetVersion, SecurityVersion};
use airseal_update::port::Slot;
use airseal_update::{Factory, Policy};

use crate::device::{Model, SimDevice};
use crate::fixture::{CLASS, KeysetPlan, ReleasePlan, To, VENDOR};
use crate::flash::{SECTOR, SimFlash};
use crate::random::Noise;

/// A vendor with all keysets there will ever be, and the releases made so far.
///
/// Every second keyset changes every key. Version 1 is the one in the boot loader and
/// vouches for nothing that is installed here, so that no boot succeeds by luck.
pub struct World {
    keysets: Vec<Keyset>,
    made: Mutex<HashMap<Recipe, Arc<Made>>>,
    by_digest: Mutex<HashMap<[u8; 32], Arc<Made>>>,
}

struct Keyset {
    plan: KeysetPlan,
    signed: Vec<u8>,
    section: Vec<u8>,
}

/// What distinguishes releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Recipe {
    pub(crate) seq: u64,
    pub(crate) security_version: u32,
    /// The keyset it is sealed under; the bundle carries all keysets up to it.
    pub(crate) keyset: u32,
    /// The keyset compiled into the firmware.
    pub(crate) compiled: u32,
    pub(crate) size: Size,
    /// Flash-encrypted, with an alternative for each slot.
    pub(crate) raw: bool,
}

/// How large an image is, and in which chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Size {
    /// Six chunks of 1 KiB.
    Tiny,
    /// Ten chunks of 1 KiB.
    Small,
    /// Three chunks of 4 KiB.
    Coarse,
    /// 34 chunks of 1 KiB, which need a second page.
    TwoPages,
}

impl Size {
    fn profile(self) -> Profile {
        match self {
            Size::Coarse => Profile::P2,
            _ => Profile::P1,
        }
    }

    pub(crate) fn image_len(self) -> usize {
        match self {
            Size::Tiny => 5 * 1024 + 5,
            Size::Small => 9 * 1024 + 5,
            Size::Coarse => 2 * 4096 + 777,
            Size::TwoPages => 33 * 1024 + 5,
        }
    }

    /// A device for it, without a keyset.
    fn model(self) -> Model {
        Model {
            vendor_id: VENDOR,
            class_id: CLASS,
            hw_rev: 1,
            chip: CHIP_ID,
            keyset: Vec::new(),
            policy: Policy::default(),
            flash_encryption: FLASH_KEY_CHECK,
            slot_len: self.slot_len(),
            slots: None,
            factory: None,
        }
    }

    /// Bytes of a slot for it, record area included.
    pub(crate) fn slot_len(self) -> u32 {
        self.image_len().next_multiple_of(SECTOR) as u32 + RECORD_AREA_LEN
    }
}

/// A release and what its firmware is.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) recipe: Recipe,
    /// `None` for the image outside both slots.
    pub(crate) digest: Option<Digest>,
    pub(crate) bundle: Vec<u8>,
    /// Length of the bundle up to the end of its keysets.
    pub(crate) keysets_len: usize,
    pub(crate) image: Vec<u8>,
    /// The image in slot B, where that is another one.
    pub(crate) image_in_b: Option<Vec<u8>>,
}

impl Made {
    /// The image a device with three partitions is born with.
    pub(crate) fn factory(size: Size) -> Arc<Self> {
        let recipe = Recipe {
            seq: 0,
            security_version: 1,
            keyset: 0,
            compiled: BORN_WITH,
            size,
            raw: false,
        };
        Arc::new(Self {
            recipe,
            digest: None,
            bundle: Vec::new(),
            keysets_len: 0,
            image: Vec::new(),
            image_in_b: None,
        })
    }

    /// What lies in `slot` when this release is in it.
    pub(crate) fn image_in(&self, slot: Slot) -> &[u8] {
        match (slot, &self.image_in_b) {
            (Slot::B, Some(image)) => image,
            _ => &self.image,
        }
    }
}

impl World {
    /// A vendor without releases.
    #[must_use]
    pub fn new() -> Self {
        let mut keysets: Vec<Keyset> = Vec::new();
        for version in 1..=LAST_KEYSET {
            let plan = match keysets.last() {
                None => KeysetPlan::first(),
                Some(last) => successor(&last.plan, version),
            };
            keysets.push(Keyset {
                signed: plan.signed(),
                section: plan.section(),
                plan,
            });
        }
        Self {
            keysets,
            made: Mutex::default(),
            by_digest: Mutex::default(),
        }
    }

    /// The release of `recipe`.
    pub(crate) fn release(&self, recipe: Recipe) -> Arc<Made> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.get(&recipe) {
            return Arc::clone(made);
        }
        let new = Arc::new(self.seal(recipe));
        made.insert(recipe, Arc::clone(&new));
        if let Some(digest) = new.digest {
            let mut by_digest = self
                .by_digest
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            by_digest.insert(digest.0, Arc::clone(&new));
        }
        new
    }

    /// The release with this manifest digest.
    pub(crate) fn find(&self, digest: Digest) -> Option<Arc<Made>> {
        let by_digest = self
            .by_digest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        by_digest.get(&digest.0).map(Arc::clone)
    }

    fn seal(&self, recipe: Recipe) -> Made {
        let noise = recipe.seq << 32
            | u64::from(recipe.keyset) << 16
            | u64::from(recipe.compiled) << 8
            | u64::from(recipe.security_version);
        let mut image = Noise::new(noise).bytes(recipe.size.image_len());
        let mut image_in_b = None;
        if recipe.raw {
            let [a, b] = Slot::ALL.map(|slot| flash_encrypted(&image, recipe.size, slot));
            (image, image_in_b) = (a, Some(b));
        }
        let mut plan = ReleasePlan::new(recipe.seq, image.clone(), vec![To::Group(GROUP, 1)]);
        if let Some(in_b) = &image_in_b {
            let mut second = plan.components[0].clone();
            second.0.id = ComponentId(2);
            second.1.clone_from(in_b);
            plan.components.push(second);
            for ((component, _), slot) in plan.components.iter_mut().zip(Slot::ALL) {
                let address = recipe.size.model().layout().slots[slot.index()].offset;
                component.destination = Destination::Address(address.into());
                component.flash_encryption = FLASH_KEY_CHECK;
            }
        }
        plan.header.profile = recipe.size.profile();
        plan.header.security_version = SecurityVersion(recipe.security_version);
        plan.header.keyset_version = KeysetVersion(recipe.keyset);
        plan.signed_by = self.keyset(recipe.keyset).plan.release.clone();
        let carried = BORN_WITH..=recipe.keyset;
        plan.keysets = carried.map(|v| self.keyset(v).section.clone()).collect();
        let carried = plan.keysets.iter();
        let keysets_len: usize = carried.map(|k| k.len() + SECTION_HEADER).sum();
        let sealed = plan.seal();
        Made {
            recipe,
            digest: Some(sealed.digest),
            bundle: sealed.bundle(),
            keysets_len: BUNDLE_HEADER + keysets_len,
            image,
            image_in_b,
        }
    }

    fn keyset(&self, version: u32) -> &Keyset {
        let last = self.keysets.len() - 1;
        &self.keysets[(version as usize).saturating_sub(1).min(last)]
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// A device on a bench, with the world around it.
pub(crate) struct Bench<'w> {
    pub(crate) device: SimDevice,
    pub(crate) world: &'w World,
}

impl<'w> Bench<'w> {
    /// A device with erased flash.
    pub(crate) fn new(world: &'w World, size: Size) -> Self {
        let mut model = size.model();
        model.keyset.clone_from(&world.keyset(BORN_WITH).signed);
        let mut device = SimDevice::new(model, &[7; 32]);
        device.add_group(GroupIdentity::new(GROUP, 1));
        Self { device, world }
    }

    /// Makes it a model with an image outside both slots.
    pub(crate) fn add_factory(&mut self) {
        self.device.model_mut().factory = Some(Factory {
            security_version: SecurityVersion(1),
            ..Factory::default()
        });
    }

    /// Puts a flash in.
    pub(crate) fn restore(&mut self, flash: &SimFlash, running: Option<Slot>) {
        self.device.flash_mut().clone_from(flash);
        self.device.set_running(running);
    }

    /// The boot loader is at work: it has the oldest keyset compiled in.
    pub(crate) fn act_as_boot_loader(&mut self) {
        self.compile_in(1);
    }

    /// The firmware of `made` is at work.
    pub(crate) fn act_as_firmware(&mut self, made: &Made) {
        self.compile_in(made.recipe.compiled);
    }

    fn compile_in(&mut self, version: u32) {
        let signed = &self.world.keyset(version).signed;
        self.device.model_mut().keyset.clone_from(signed);
    }
}

/// The successor: the same keys, or with an even version all others, which the old roots
/// and the new ones sign.
fn successor(last: &KeysetPlan, version: u32) -> KeysetPlan {
    let mut plan = last.next();
    plan.offer = None;
    if !version.is_multiple_of(2) {
        plan.signed_by = vec![plan.roots[0], plan.roots[1]];
        return plan;
    }
    let first = 40 + 4 * version as u8;
    plan.roots = vec![first, first + 1, first + 2];
    plan.release = vec![first + 3];
    plan.signed_by = vec![last.roots[0], last.roots[1], first, first + 1];
    plan
}

/// `image` as it lies in a slot of a device whose flash is encrypted.
fn flash_encrypted(image: &[u8], size: Size, slot: Slot) -> Vec<u8> {
    let chip = Chip::from_id(CHIP_ID).expect("the chip is known");
    let key = FlashKey::new(chip, &[0x5E; 32], DEFAULT_CRYPT_CONFIG).expect("32 bytes fit");
    let address = size.model().layout().slots[slot.index()].offset;
    let mut bytes = image.to_vec();
    bytes.resize(image.len().next_multiple_of(BLOCK_LEN), 0xFF);
    key.encrypt(address, &mut bytes).expect("a slot is aligned");
    bytes
}

/// The keyset a device leaves the production line with.
pub(crate) const BORN_WITH: u32 = 2;
/// The last keyset there is.
pub(crate) const LAST_KEYSET: u32 = 16;
const GROUP: [u8; 32] = [9; 32];
/// An ESP32-C3.
const CHIP_ID: u16 = 5;
/// Names the flash key of every device; the number is made up.
const FLASH_KEY_CHECK: FlashEncryption = FlashEncryption::Xts128(FlashKeyCheck([0x5E; 16]));
const BUNDLE_HEADER: usize = airseal_format::bundle::HEADER_LEN;
const SECTION_HEADER: usize = airseal_format::bundle::SECTION_HEADER_LEN;
