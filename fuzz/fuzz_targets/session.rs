//! A device's life as a list of operations: good, damaged and cut-off releases, restarts, confirmations, and power cuts at
//! any flash operation. Whatever happens, it boots, and what it boots was signed.
#![no_main]

use std::sync::OnceLock;

use airseal_format::component::FlashEncryption;
use airseal_sim::fixture::{CLASS, KeysetPlan, ReleasePlan, Sealed, To, VENDOR};
use airseal_sim::flash::{Cut, PowerCut};
use airseal_sim::random::Noise;
use airseal_sim::{Model, SimDevice};
use airseal_update::boot::ResetReason;
use airseal_update::{Policy, Refusal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let world = world();
    let mut device = SimDevice::new(model(), &SEED);
    device
        .provision(&world[0].sealed.bundle())
        .expect("a good first release");
    let mut floor = device.state().expect("no power cut yet").floor;
    for step in data.as_chunks::<4>().0.iter().take(MAX_STEPS) {
        let [what, which, low, high] = *step;
        let number = u16::from_le_bytes([low, high]);
        let release = &world[usize::from(which) % world.len()];
        // Every outcome is allowed; what must hold is checked afterwards.
        let _: Result<(), Refusal> = match what % 8 {
            0 => {
                plan_cut(&mut device, which, u64::from(number % 64));
                Ok(())
            }
            1 | 2 => device.update_from_bytes(&release.sealed.bundle()),
            3 => {
                let mut bundle = release.sealed.bundle();
                let at = usize::from(number) % bundle.len();
                bundle[at] ^= (what >> 3) | 1;
                device.update_from_bytes(&bundle)
            }
            4 => {
                let bundle = release.sealed.bundle();
                device.update_from_bytes(&bundle[..usize::from(number) % bundle.len()])
            }
            5 => device.confirm(),
            6 => device.revert(),
            _ => restart(
                &mut device,
                world,
                if which & 1 == 0 {
                    ResetReason::Power
                } else {
                    ResetReason::Restart
                },
            ),
        };
        if device.flash().is_off() {
            power_returns(&mut device, world);
        }
        let now = device.state().expect("the power is on").floor;
        assert!(now >= floor, "the floor fell");
        floor = now;
    }
    device.flash_mut().set_cut(None);
    power_returns(&mut device, world);
});

struct Release {
    image: Vec<u8>,
    sealed: Sealed,
}

/// Boots until a boot is not cut off; the image that runs is one that was signed.
fn power_returns(device: &mut SimDevice, world: &[Release]) {
    device.flash_mut().power_on();
    device.flash_mut().set_cut(None);
    restart(device, world, ResetReason::Power).expect("a device with power boots");
}

fn restart(device: &mut SimDevice, world: &[Release], reset: ResetReason) -> Result<(), Refusal> {
    let outcome = device.boot(reset);
    if device.flash().is_off() {
        return Ok(());
    }
    outcome.expect("there is always an image to boot");
    let digest = device.release();
    if device.flash().is_off() {
        return Ok(());
    }
    let digest = digest
        .expect("the flash works")
        .expect("what runs has a record");
    let release = world
        .iter()
        .find(|release| release.sealed.digest == digest)
        .expect("a release that was made");
    assert_eq!(device.image(release.image.len()), release.image);
    device.heal().map(|_| ())
}

fn plan_cut(device: &mut SimDevice, which: u8, ahead: u64) {
    let at = device.flash().operations() + ahead;
    let cuts = Cut::all(u64::from(which));
    let how = cuts[usize::from(which) % cuts.len()];
    device.flash_mut().set_cut(Some(PowerCut { at, how }));
}

/// Releases that differ in length, order, security version and keyset; one is for another class, one for nobody.
fn world() -> &'static [Release] {
    static WORLD: OnceLock<Vec<Release>> = OnceLock::new();
    WORLD.get_or_init(|| {
        let to = vec![To::X25519(SimDevice::new(model(), &SEED).public())];
        let first = KeysetPlan::first();
        let second = first.next();
        (1_u16..=8)
            .map(|number| {
                let image = Noise::new(u64::from(number)).bytes(900 * usize::from(number) + 3);
                let mut plan = ReleasePlan::new(u64::from(number), image.clone(), to.clone());
                match number {
                    3 => plan.header.security_version.0 = 2,
                    5 => plan.keysets = vec![second.section()],
                    6 => {
                        plan.keysets = vec![second.section()];
                        plan.header.keyset_version.0 = second.version;
                    }
                    7 => plan.header.class_id = airseal_format::ClassId([9; 16]),
                    8 => plan.to = Vec::new(),
                    _ => {}
                }
                Release {
                    image,
                    sealed: plan.seal(),
                }
            })
            .collect()
    })
}

fn model() -> Model {
    Model {
        vendor_id: VENDOR,
        class_id: CLASS,
        hw_rev: 1,
        chip: 5,
        keyset: KeysetPlan::first().signed(),
        policy: Policy::default(),
        flash_encryption: FlashEncryption::None,
        slot_len: 4 * 4096,
        slots: None,
        factory: None,
    }
}

const SEED: [u8; 32] = [7; 32];
/// Steps of one input.
const MAX_STEPS: usize = 24;
