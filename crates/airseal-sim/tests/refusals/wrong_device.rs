//! Good releases for somebody else.

use airseal_format::component::Destination;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::{ClassId, HardwareRevision, Part, Reason, VendorId};
use airseal_sim::SimDevice;
use airseal_sim::fixture::{KeysetPlan, To, app};
use airseal_update::Refusal;
use airseal_update::port::Slot;

use crate::bench::{Bench, model, wrong};

/// A keyset that vouches for every class of the vendor.
fn every_class() -> Bench {
    let mut plan = KeysetPlan::first();
    plan.class_id = ClassId([0; 16]);
    Bench::with(|model| model.keyset = plan.signed())
}

#[test]
fn wrong_vendor() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.header.vendor_id = VendorId([0xEE; 16]);
    let expected = wrong(Part::Manifest, "vendor_id", 24, Reason::WrongVendor);
    assert_eq!(bench.refuses(&plan.seal()), expected);
}

#[test]
fn keyset_of_another_vendor_in_the_firmware() {
    let mut bench = Bench::new();
    bench.device.model_mut().vendor_id = VendorId([0xEE; 16]);
    let release = bench.next().seal();
    let refusal = bench.untouched(|device| device.update_from_bytes(&release.bundle()));
    assert_eq!(refusal, Refusal::WrongVendor);
}

#[test]
fn wrong_class() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.header.class_id = ClassId([0xEE; 16]);
    let expected = wrong(Part::Manifest, "class_id", 40, Reason::WrongClass);
    assert_eq!(bench.refuses(&plan.seal()), expected);
    let mut bench = every_class();
    assert_eq!(bench.refuses(&plan.seal()), Refusal::WrongClass);
}

#[test]
fn wrong_chip() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.components[0].0.target_chip = 13;
    assert_eq!(bench.refuses(&plan.seal()), Refusal::NoMatchingComponent);
    plan.components[0].0.target_chip = 5;
    bench.accepts(&plan.seal());
}

#[test]
fn wrong_slot_address() {
    let mut bench = Bench::new();
    let layout = bench.device.model().layout();
    let address = |slot: Slot| u64::from(layout.slots[slot.index()].offset);
    let mut plan = bench.next();
    plan.components[0].0.destination = Destination::Address(address(Slot::A));
    assert_eq!(bench.refuses(&plan.seal()), Refusal::WrongSlotAddress);
    plan.components[0].0.destination = Destination::Address(address(Slot::B));
    bench.accepts(&plan.seal());
}

#[test]
fn wrong_flash_key() {
    use airseal_format::FlashKeyCheck;
    use airseal_format::component::FlashEncryption;
    let mut bench = Bench::new();
    let address = u64::from(bench.device.model().layout().slots[1].offset);
    let mut plan = bench.next();
    plan.components[0].0.destination = Destination::Address(address);
    plan.components[0].0.flash_encryption = FlashEncryption::Xts128(FlashKeyCheck([1; 16]));
    assert_eq!(bench.refuses(&plan.seal()), Refusal::WrongFlashKey);
}

#[test]
fn wrong_hardware_revision() {
    let mut bench = Bench::new();
    for (min, max) in [(2, 9), (0, 0)] {
        let mut plan = bench.next();
        plan.header.hw_rev_min = HardwareRevision(min);
        plan.header.hw_rev_max = HardwareRevision(max);
        assert_eq!(bench.refuses(&plan.seal()), Refusal::WrongHardwareRevision);
    }
    let mut plan = bench.next();
    plan.header.hw_rev_min = HardwareRevision(1);
    plan.header.hw_rev_max = HardwareRevision(1);
    bench.accepts(&plan.seal());
}

#[test]
fn another_devices_test_build() {
    let mut bench = Bench::new();
    let other = SimDevice::new(model(), &[8; 32]);
    let mut plan = bench.next();
    let others_id = To::X25519(other.public()).id();
    plan.extensions = vec![(0x8001, others_id.0.to_vec())];
    // Even with an envelope that opens.
    assert_eq!(bench.refuses(&plan.seal()), Refusal::NotTargeted);
}

#[test]
fn another_generation_of_a_targeted_group() {
    let mut bench = Bench::new();
    bench.device.add_group(GroupIdentity::new([0x61; 32], 2));
    let mut plan = bench.next();
    plan.extensions = vec![(0x8001, To::Group([0x61; 32], 1).id().0.to_vec())];
    assert_eq!(bench.refuses(&plan.seal()), Refusal::NotTargeted);
    plan.extensions = vec![(0x8001, To::Group([0x61; 32], 2).id().0.to_vec())];
    bench.accepts(&plan.seal());
}

#[test]
fn own_test_build_is_taken() {
    let mut bench = Bench::new();
    let other = SimDevice::new(model(), &[8; 32]);
    let mut ids = [bench.device.public(), other.public()].map(|key| To::X25519(key).id().0);
    ids.sort_unstable();
    let mut plan = bench.next();
    plan.extensions = vec![(0x8001, ids.concat())];
    bench.accepts(&plan.seal());
}

#[test]
fn more_than_one_place() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.components.push((app(2, 1), vec![1; 100]));
    assert_eq!(bench.refuses(&plan.seal()), Refusal::UnsupportedPlaces);
}

#[test]
fn component_of_another_kind() {
    use airseal_format::component::Kind;
    let mut bench = Bench::new();
    let address = u64::from(bench.device.model().layout().slots[1].offset);
    for kind in [Kind::Bootloader, Kind::PartitionTable, Kind::Data] {
        let mut plan = bench.next();
        plan.components[0].0.kind = kind;
        plan.components[0].0.destination = Destination::Address(address);
        assert_eq!(bench.refuses(&plan.seal()), Refusal::UnsupportedPlaces);
    }
}

#[test]
fn first_alternative_that_fits_is_installed() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    let right = plan.components.remove(0).1;
    for (id, chip, image) in [
        (1, 13, vec![1; 500]),
        (2, 5, right.clone()),
        (3, 5, vec![3; 500]),
    ] {
        let mut component = app(id, 0);
        component.target_chip = chip;
        plan.components.push((component, image));
    }
    bench.accepts(&plan.seal());
    assert_eq!(bench.device.image(right.len()), right);
}
