//! A device that updates itself from a byte stream: a flash, a key, and bytes from anywhere.

use airseal_format::component::FlashEncryption;
use airseal_format::recipient::x25519::X25519Identity;
use airseal_format::{ClassId, HardwareRevision, VendorId};
use airseal_update::blocking::{Blocking, block_on};
use airseal_update::boot::{self, ResetReason};
use airseal_update::flash::{FlashDevice, Layout, Region};
use airseal_update::transport::{BundleReader, stream};
use airseal_update::{Config, Factory, Memory, Policy, Refusal, UpdateSession, lifecycle};
use embedded_io_async::Read;
use embedded_storage_async::nor_flash::NorFlash;

/// Where things lie in the flash: 16 KiB of state, then two slots.
const LAYOUT: Layout = Layout {
    state: region(0, 0x4000),
    slots: [region(0x4000, 0x2_0000), region(0x2_4000, 0x2_0000)],
    base_address: 0,
};

/// After every start, before any network: who runs, and is it any good?
async fn start<F: NorFlash>(
    device: &mut FlashDevice<F>,
    config: &Config<'_>,
    memory: &mut Memory,
) -> Result<(), Refusal> {
    // A board with a boot loader of its own asks that loader instead.
    let started = boot::select(device, config, ResetReason::Restart, &mut memory.lend()).await?;
    device.set_running(started.slot);
    if started.on_trial {
        if self_test() {
            lifecycle::confirm(device, config, &mut memory.lend()).await?;
        } else {
            // Restart after this: the image before comes back.
            lifecycle::revert(device, &mut memory.lend()).await?;
        }
    }
    Ok(())
}

/// Takes one bundle. Restart when it returns `Ok`; anything else left the device as it was,
/// and says who has to do what. A broken download goes on where it stopped.
async fn update<F: NorFlash>(
    device: FlashDevice<F>,
    config: &Config<'_>,
    memory: &mut Memory,
    bytes: &mut impl Read,
) -> Result<(), Refusal> {
    let mut session = UpdateSession::begin(device, config, memory.lend()).await?;
    let mut reader = BundleReader::new();
    stream::update(&mut session, &mut reader, bytes, &mut [0; 256]).await
}

fn self_test() -> bool {
    true
}

const fn region(offset: u32, len: u32) -> Region {
    Region { offset, len }
}

/// The board: here a simulated flash, a key out of the air, and releases made on the spot.
fn main() -> Result<(), Refusal> {
    use airseal_sim::{SimFlash, fixture, stream::StdStream};

    let mut flash = SimFlash::new(0x4_4000);
    let mut memory = Memory::new(); // one static
    let key = X25519Identity::new([7; 32]); // from eFuses, or derived from a seed
    let config = Config {
        vendor_id: VendorId(fixture::VENDOR.0), // as `airseal inspect` and `keyset show` print it
        class_id: ClassId(fixture::CLASS.0),
        keyset: &fixture::KeysetPlan::first().signed(), // include_bytes!
        hw_rev: HardwareRevision(1),
        chip: Config::NO_CHIP,
        flash_encryption: FlashEncryption::None,
        identities: &[&key],
        factory: Some(Factory::default()), // the image outside both slots that runs first
        policy: Policy::default(),
    };
    let to = fixture::To::X25519(*key.public());
    for number in 1..=3 {
        let image = vec![number as u8; 100_000];
        let bundle = fixture::ReleasePlan::new(number, image, vec![to])
            .seal()
            .bundle();
        let mut cable = Blocking(StdStream(&bundle[..]));
        let mut device = FlashDevice::new(Blocking(&mut flash), LAYOUT, None)?;
        block_on(start(&mut device, &config, &mut memory))?;
        block_on(update(device, &config, &mut memory, &mut cable))?;
        println!("release {number} is staged");
    }
    let slot_a = &flash.bytes()[0x4000..][..100_000];
    assert!(
        slot_a.iter().all(|&byte| byte == 3),
        "releases 1 and 3 went to slot A"
    );
    Ok(())
}
