//! New generations of group keys that travel inside a manifest.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_format::component::{Component, Destination, FlashEncryption, Kind};
use airseal_format::manifest::{self, EXTENSION_CARRIED_GROUPS, Extension, Header, VersionText};
use airseal_format::payload::{Geometry, Profile};
use airseal_format::recipient::Identity;
use airseal_format::recipient::carried::CarriedGroup;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::recipient::x25519::X25519Identity;
use airseal_format::{
    ClassId, ComponentId, ContentSuite, Digest, Error, HardwareRevision, KeysetVersion, Part,
    Reason, ReleaseSequence, SecurityVersion, UnverifiedManifest, VendorId,
};

const VENDOR: VendorId = VendorId([1; 16]);
const CLASS: ClassId = ClassId([2; 16]);
/// Header, one component, and the extension's own four bytes.
const VALUE_AT: u32 = 256 + 160 + 4;

fn old() -> GroupIdentity {
    GroupIdentity::new([0x11; 32], 1)
}

fn new() -> GroupIdentity {
    GroupIdentity::new([0x22; 32], 2)
}

#[test]
fn the_holder_of_the_old_key_finds_the_next_generation() {
    let carried = carried_by(&CarriedGroup::wrap(&old(), &new(), VENDOR, CLASS));
    let found = old().successor(&carried, VENDOR, CLASS).unwrap();
    assert_eq!(found.recipient_id(), new().recipient_id());
    assert_eq!(found.generation(), 2);
}

#[test]
fn nobody_else_finds_it() {
    let carried = carried_by(&CarriedGroup::wrap(&old(), &new(), VENDOR, CLASS));
    let others: [&dyn Identity; 3] = [
        &GroupIdentity::new([0x11; 32], 0),
        &new(),
        &X25519Identity::new([0x11; 32]),
    ];
    for other in others {
        assert!(other.successor(&carried, VENDOR, CLASS).is_none());
    }
}

/// The id of the entry names the old key; what is wrapped opens only with it.
#[test]
fn a_relabelled_entry_does_not_open() {
    let other = GroupIdentity::new([0x33; 32], 1);
    let mut carried = CarriedGroup::wrap(&other, &new(), VENDOR, CLASS);
    carried.old = old().recipient_id();
    assert!(old().successor(&carried, VENDOR, CLASS).is_none());
}

#[test]
fn an_entry_belongs_to_its_vendor_its_class_and_its_generation() {
    let carried = CarriedGroup::wrap(&old(), &new(), VENDOR, CLASS);
    assert!(carried.unwrap(&old(), VENDOR, CLASS).is_some());
    assert!(carried.unwrap(&old(), VendorId([9; 16]), CLASS).is_none());
    assert!(carried.unwrap(&old(), VENDOR, ClassId([9; 16])).is_none());
    let later = CarriedGroup {
        generation: 3,
        ..carried
    };
    assert!(later.unwrap(&old(), VENDOR, CLASS).is_none());
}

#[test]
fn a_changed_bit_of_the_wrapped_key_does_not_open() {
    let carried = CarriedGroup::wrap(&old(), &new(), VENDOR, CLASS);
    for bit in 0..320 {
        let mut bad = carried;
        bad.wrapped[bit / 8] ^= 1 << (bit % 8);
        assert!(bad.unwrap(&old(), VENDOR, CLASS).is_none(), "bit {bit}");
    }
}

#[test]
fn entries_are_whole_and_there_is_one() {
    let entry = CarriedGroup::wrap(&old(), &new(), VENDOR, CLASS).encode();
    for bad in [&[][..], &entry[..59], &[&entry[..], &[0]].concat()] {
        assert_eq!(manifest_with(bad), refused(Reason::OutOfRange));
    }
}

#[test]
fn entries_ascend_by_old_key() {
    let mut olds = [old(), GroupIdentity::new([0x44; 32], 1)];
    olds.sort_by_key(Identity::recipient_id);
    let [low, high] = olds.map(|old| CarriedGroup::wrap(&old, &new(), VENDOR, CLASS).encode());
    assert!(manifest_with(&[low, high].concat()).is_ok());
    for bad in [[high, low], [low, low]] {
        let value = bad.concat();
        assert_eq!(manifest_with(&value), refused(Reason::NotAscending));
    }
}

#[test]
fn a_generation_only_rises() {
    for generation in [0, 1] {
        let lower = GroupIdentity::new([0x22; 32], generation);
        let entry = CarriedGroup::wrap(&old(), &lower, VENDOR, CLASS).encode();
        assert_eq!(manifest_with(&entry), refused(Reason::OutOfRange));
    }
}

/// The entry as a manifest that carries it says it.
fn carried_by(carried: &CarriedGroup) -> CarriedGroup {
    let signed = manifest_with(&carried.encode()).unwrap();
    let manifest = UnverifiedManifest::parse(&signed).unwrap();
    let mut entries = manifest.carried_groups();
    let found = entries.next().unwrap();
    assert!(entries.next().is_none());
    found
}

fn refused(reason: Reason) -> Result<Vec<u8>, Error> {
    Err(Error {
        part: Part::Manifest,
        field: "carried_groups",
        offset: VALUE_AT,
        reason,
    })
}

fn manifest_with(value: &[u8]) -> Result<Vec<u8>, Error> {
    let geometry = Geometry::new(Profile::P1, ComponentId(1), 0, 100).unwrap();
    let header = Header {
        content_suite: ContentSuite::Aes256Ctr,
        profile: Profile::P1,
        vendor_id: VENDOR,
        class_id: CLASS,
        hw_rev_min: HardwareRevision(0),
        hw_rev_max: HardwareRevision(9),
        keyset_version: KeysetVersion(1),
        release_seq: ReleaseSequence(1),
        security_version: SecurityVersion(0),
        min_from_security_version: SecurityVersion(0),
        min_from_seq: ReleaseSequence(0),
        built_at: 0,
        expires_at: 0,
        payload_len: geometry.stored_len(),
        payload_salt: [3; 32],
        cek_commit: [4; 32],
        version: VersionText::new("1.0.0").unwrap(),
    };
    let component = Component {
        id: ComponentId(1),
        kind: Kind::App,
        target_chip: Component::ANY_CHIP,
        place: 0,
        file_off: 0,
        enc_len: 100,
        install_len: 100,
        destination: Destination::AnySlot,
        flash_encryption: FlashEncryption::None,
        tree_root: Digest([0; 32]),
        image_digest: Digest([0; 32]),
    };
    let extension = Extension {
        number: EXTENSION_CARRIED_GROUPS,
        value,
    };
    let mut out = vec![0; manifest::MAX_SIGNED_LEN];
    let len = manifest::encode(&header, &[component], &[extension], &mut out)?;
    out.truncate(len);
    Ok(out)
}
