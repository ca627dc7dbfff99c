//! A board whose chip encrypts its flash: plain images go through the encryption, raw ones past it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::Chip;
use airseal_esp::flash_encryption::FlashKey;
use airseal_format::component::{Destination, FlashEncryption, RECORD_AREA_LEN};
use airseal_format::{ComponentId, FlashKeyCheck, KeysetVersion};
use airseal_sim::fixture::{CLASS, KeysetPlan, ReleasePlan, Sealed, To, VENDOR};
use airseal_sim::random::Noise;
use airseal_sim::stream::StdStream;
use airseal_sim::{Model, SimDevice, SimFlash};
use airseal_update::blocking::{Blocking, block_on};
use airseal_update::boot::{self, ResetReason};
use airseal_update::flash::FlashDevice;
use airseal_update::journal::Checkpoint;
use airseal_update::lifecycle;
use airseal_update::port::{
    BootControl, BootState, DeviceState, Fault, JournalStore, KeysetStore, KeysetUse, Slot, Slots,
    StateStore,
};
use airseal_update::transport::{BundleReader, stream};
use airseal_update::{Factory, Policy, Refusal, UpdateSession};

const IMAGE_LEN: usize = 20 * 1024;
const CHECK: FlashEncryption = FlashEncryption::Xts128(FlashKeyCheck([0x5E; 16]));

/// The ports of a board over flash that its chip encrypts: what a firmware for such a chip implements.
struct Board<'a> {
    ports: FlashDevice<Blocking<&'a mut SimFlash>>,
    key: FlashKey,
    raw: [bool; 2],
}

impl Board<'_> {
    /// Address of `offset` if the chip encrypts there.
    fn encrypts(&self, slot: Slot, offset: u32) -> Option<u32> {
        let is_image = offset < self.slot_len(slot) - RECORD_AREA_LEN;
        let is_encrypted = is_image && !self.raw[slot.index()];
        is_encrypted.then(|| u32::try_from(self.slot_address(slot)).unwrap() + offset)
    }
}

impl Slots for Board<'_> {
    fn slot_len(&self, slot: Slot) -> u32 {
        self.ports.slot_len(slot)
    }

    fn slot_address(&self, slot: Slot) -> u64 {
        self.ports.slot_address(slot)
    }

    fn erase_len(&self) -> u32 {
        self.ports.erase_len()
    }

    fn write_len(&self) -> u32 {
        16
    }

    fn set_raw(&mut self, slot: Slot, is_raw: bool) {
        self.raw[slot.index()] = is_raw;
    }

    async fn read_slot(&mut self, slot: Slot, offset: u32, out: &mut [u8]) -> Result<(), Fault> {
        self.ports.read_slot(slot, offset, out).await?;
        if let Some(address) = self.encrypts(slot, offset) {
            self.key.decrypt(address, out).unwrap();
        }
        Ok(())
    }

    async fn erase_slot(&mut self, slot: Slot, from: u32, to: u32) -> Result<(), Fault> {
        self.ports.erase_slot(slot, from, to).await
    }

    async fn write_slot(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let mut bytes = bytes.to_vec();
        if let Some(address) = self.encrypts(slot, offset) {
            self.key.encrypt(address, &mut bytes).unwrap();
        }
        self.ports.write_slot(slot, offset, &bytes).await
    }
}

impl BootControl for Board<'_> {
    async fn boot_state(&mut self) -> Result<BootState, Fault> {
        self.ports.boot_state().await
    }

    async fn stage(&mut self, slot: Slot) -> Result<(), Fault> {
        self.ports.stage(slot).await
    }

    async fn unstage(&mut self, slot: Slot) -> Result<(), Fault> {
        self.ports.unstage(slot).await
    }

    async fn set_trial(&mut self, power_losses: u8) -> Result<(), Fault> {
        self.ports.set_trial(power_losses).await
    }

    async fn confirm(&mut self) -> Result<(), Fault> {
        self.ports.confirm().await
    }

    async fn revert(&mut self) -> Result<(), Fault> {
        self.ports.revert().await
    }
}

impl StateStore for Board<'_> {
    async fn device_state(&mut self) -> Result<DeviceState, Fault> {
        self.ports.device_state().await
    }

    async fn set_device_state(&mut self, state: &DeviceState) -> Result<(), Fault> {
        self.ports.set_device_state(state).await
    }
}

impl JournalStore for Board<'_> {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, Fault> {
        self.ports.checkpoint().await
    }

    async fn set_checkpoint(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Fault> {
        self.ports.set_checkpoint(checkpoint).await
    }
}

impl KeysetStore for Board<'_> {
    async fn keyset(&mut self, which: KeysetUse, out: &mut [u8]) -> Result<Option<usize>, Fault> {
        self.ports.keyset(which, out).await
    }

    async fn set_keyset(&mut self, signed: &[u8], vouching: KeysetVersion) -> Result<(), Fault> {
        self.ports.set_keyset(signed, vouching).await
    }
}

#[test]
fn a_raw_image_goes_past_the_flash_encryption_and_a_plain_one_through_it() {
    let mut device = device();
    device.boot(ResetReason::Power).unwrap();
    for (seq, slot, is_raw) in [
        (1, Slot::A, false),
        (2, Slot::B, true),
        (3, Slot::A, true),
        (4, Slot::B, false),
        (5, Slot::A, false),
    ] {
        let image = image(seq);
        let release = match is_raw {
            true => raw_release(&device, seq),
            false => ReleasePlan::new(seq, image.clone(), to(&device)).seal(),
        };
        update(&mut device, &release).unwrap();
        start(&mut device, Some(slot));
        let at = address(&device, slot);
        let mut lies = device.flash().bytes()[at as usize..at as usize + IMAGE_LEN].to_vec();
        assert_ne!(lies, image, "{seq} lies in the flash for everybody to read");
        key().decrypt(at, &mut lies).unwrap();
        assert!(lies == image, "the chip would not run {seq}");
    }
}

#[test]
fn an_interrupted_raw_image_goes_on_as_a_raw_one() {
    let mut device = device();
    device.boot(ResetReason::Power).unwrap();
    let release = raw_release(&device, 1);
    let bundle = release.bundle();
    let part = &bundle[..bundle.len() / 3];
    on_board(&mut device, |board, config, buffers| {
        block_on(deliver(board, config, buffers, part)).unwrap_err();
    });
    assert!(device.checkpoint().unwrap().is_some());
    update(&mut device, &release).unwrap();
    start(&mut device, Some(Slot::A));
    let at = address(&device, Slot::A);
    let mut lies = device.flash().bytes()[at as usize..at as usize + IMAGE_LEN].to_vec();
    key().decrypt(at, &mut lies).unwrap();
    assert!(lies == image(1));
}

/// The image of the slot that is written is taken, wherever it stands, and another key's is passed over.
#[test]
fn the_alternative_for_slot_and_key_is_installed() {
    let mut device = device();
    device.boot(ResetReason::Power).unwrap();
    let mut plan = raw_plan(&device, 1);
    let other = FlashEncryption::Xts128(FlashKeyCheck([0x77; 16]));
    for (i, (component, _)) in plan.components.iter_mut().enumerate() {
        component.flash_encryption = if i == 0 { CHECK } else { other };
        component.destination = Destination::Address(address(&device, Slot::B).into());
    }
    let refused = update(&mut device, &plan.seal());
    assert_eq!(refused, Err(Refusal::WrongSlotAddress));
    plan.components[1].0.destination = Destination::Address(address(&device, Slot::A).into());
    let refused = update(&mut device, &plan.seal());
    assert_eq!(refused, Err(Refusal::WrongSlotAddress));
    plan.components[0].0.flash_encryption = other;
    let refused = update(&mut device, &plan.seal());
    assert_eq!(refused, Err(Refusal::WrongFlashKey));
    plan.components[1].0.flash_encryption = CHECK;
    update(&mut device, &plan.seal()).unwrap();
    start(&mut device, Some(Slot::A));
}

/// Same length and key, another scheme.
#[test]
fn another_scheme_is_another_flash_key() {
    let mut device = device();
    device.boot(ResetReason::Power).unwrap();
    let mut plan = raw_plan(&device, 1);
    for (component, _) in &mut plan.components {
        component.flash_encryption = FlashEncryption::Esp32Legacy(FlashKeyCheck([0x5E; 16]));
    }
    assert_eq!(
        update(&mut device, &plan.seal()),
        Err(Refusal::WrongFlashKey)
    );
}

fn device() -> SimDevice {
    let model = Model {
        vendor_id: VENDOR,
        class_id: CLASS,
        hw_rev: 1,
        chip: 5,
        keyset: KeysetPlan::first().signed(),
        policy: Policy::default(),
        flash_encryption: CHECK,
        slot_len: 8 * 4096,
        slots: None,
        factory: Some(Factory::default()),
    };
    SimDevice::new(model, &[7; 32])
}

fn key() -> FlashKey {
    FlashKey::new(Chip::from_id(5).unwrap(), &[0x5E; 32], 0xF).unwrap()
}

fn image(seq: u64) -> Vec<u8> {
    Noise::new(seq).bytes(IMAGE_LEN)
}

fn address(device: &SimDevice, slot: Slot) -> u32 {
    device.model().layout().slots[slot.index()].offset
}

fn to(device: &SimDevice) -> Vec<To> {
    vec![To::X25519(device.public())]
}

fn raw_plan(device: &SimDevice, seq: u64) -> ReleasePlan {
    let mut plan = ReleasePlan::new(seq, image(seq), to(device));
    plan.components.push(plan.components[0].clone());
    plan.components[1].0.id = ComponentId(2);
    for ((component, bytes), slot) in plan.components.iter_mut().zip(Slot::ALL) {
        let address = address(device, slot);
        component.destination = Destination::Address(address.into());
        component.flash_encryption = CHECK;
        key().encrypt(address, bytes).unwrap();
    }
    plan
}

fn raw_release(device: &SimDevice, seq: u64) -> Sealed {
    raw_plan(device, seq).seal()
}

fn on_board<R>(
    device: &mut SimDevice,
    f: impl FnOnce(Board<'_>, &airseal_update::Config<'_>, airseal_update::Buffers<'_>) -> R,
) -> R {
    device.with(|ports, config, buffers| {
        let board = Board {
            ports,
            key: key(),
            raw: [false; 2],
        };
        f(board, config, buffers)
    })
}

async fn deliver(
    board: Board<'_>,
    config: &airseal_update::Config<'_>,
    buffers: airseal_update::Buffers<'_>,
    bundle: &[u8],
) -> Result<(), Refusal> {
    let mut session = UpdateSession::begin(board, config, buffers).await?;
    let mut source = Blocking(StdStream(bundle));
    stream::update(
        &mut session,
        &mut BundleReader::new(),
        &mut source,
        &mut [0; 4096],
    )
    .await
}

fn update(device: &mut SimDevice, release: &Sealed) -> Result<(), Refusal> {
    let bundle = release.bundle();
    on_board(device, |board, config, buffers| {
        block_on(deliver(board, config, buffers, &bundle))
    })
}

/// Restarts into what is staged, which must be in `slot` and verify, and confirms it.
fn start(device: &mut SimDevice, slot: Option<Slot>) {
    let selected = on_board(device, |mut board, config, mut buffers| {
        block_on(boot::select(
            &mut board,
            config,
            ResetReason::Restart,
            &mut buffers,
        ))
        .unwrap()
    });
    assert_eq!((selected.slot, selected.on_trial), (slot, true));
    device.set_running(slot);
    on_board(device, |mut board, config, mut buffers| {
        block_on(lifecycle::confirm(&mut board, config, &mut buffers)).unwrap();
    });
    // The next start finds it too.
    let selected = on_board(device, |mut board, config, mut buffers| {
        block_on(boot::select(
            &mut board,
            config,
            ResetReason::Power,
            &mut buffers,
        ))
        .unwrap()
    });
    assert_eq!((selected.slot, selected.on_trial), (slot, false));
}
