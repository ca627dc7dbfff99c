//! One device takes a release, tries it, keeps it, and takes the next.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_format::component::FlashEncryption;
use airseal_sim::fixture::{CLASS, KeysetPlan, ReleasePlan, To, VENDOR};
use airseal_sim::random::Noise;
use airseal_sim::{Model, SimDevice};
use airseal_update::Policy;
use airseal_update::boot::ResetReason;
use airseal_update::port::Slot;

fn model() -> Model {
    Model {
        vendor_id: VENDOR,
        class_id: CLASS,
        hw_rev: 1,
        chip: 5,
        keyset: KeysetPlan::first().signed(),
        policy: Policy::default(),
        flash_encryption: FlashEncryption::None,
        slot_len: 8 * 4096,
        slots: None,
        factory: None,
    }
}

#[test]
fn installs_boots_confirms_twice() {
    let mut device = SimDevice::new(model(), &[7; 32]);
    let to = vec![To::X25519(device.public())];
    let image = |n: u64| Noise::new(n).bytes(13 * 1024 + 5);
    let release = |n| ReleasePlan::new(n, image(n), to.clone()).seal();
    device.provision(&release(1).bundle()).unwrap();
    assert_eq!(device.running(), Some(Slot::A));
    assert_eq!(device.image(image(1).len()), image(1));
    device.update_from_bytes(&release(2).bundle()).unwrap();
    let booted = device.boot(ResetReason::Restart).unwrap();
    assert_eq!((booted.slot, booted.on_trial), (Some(Slot::B), true));
    assert_eq!(device.image(image(2).len()), image(2));
    device.confirm().unwrap();
    let booted = device.boot(ResetReason::Power).unwrap();
    assert_eq!((booted.slot, booted.on_trial), (Some(Slot::B), false));
    assert_eq!(device.release().unwrap(), Some(release(2).digest));
}
