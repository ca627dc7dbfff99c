//! One test per rule of the manifest: a value changed, the field named.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::type_complexity,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_format::component::{Component, Destination, FlashEncryption, Kind};
use airseal_format::manifest::{EXTENSION_REQUIRES, EXTENSION_TARGETS, Extension, encode};
use airseal_format::payload::Geometry;
use airseal_format::*;
use common::*;

fn manifest() -> Vec<u8> {
    seal(header(ContentSuite::ChaCha20), &[7; 3000], &[]).signed
}

/// Changes bytes at `at` and returns what a reader says.
fn changed(at: usize, bytes: &[u8]) -> (&'static str, Reason) {
    let mut signed = manifest();
    signed[at..at + bytes.len()].copy_from_slice(bytes);
    let error = UnverifiedManifest::parse(&signed).unwrap_err();
    (error.field, error.reason)
}

#[test]
fn every_header_rule_names_its_field() {
    use Reason::*;
    let cases: &[(usize, &[u8], &str, Reason)] = &[
        (0, b"ASM2", "magic", Magic),
        (4, &[2], "major", Version),
        (5, &[1], "minor", Version),
        (6, &[0, 2], "header_len", Version),
        (8, &[0, 9, 0, 0], "signed_len", OutOfRange),
        (12, &[1], "critical_flags", UnknownCritical),
        (16, &[0], "n_components", OutOfRange),
        (16, &[9], "n_components", OutOfRange),
        (16, &[2], "n_components", Sum),
        (17, &[1], "reserved", Reserved),
        (18, &[3], "content_suite", UnknownValue),
        (18, &[0], "payload_salt", MustBeZero),
        (19, &[2], "hash_suite", UnknownValue),
        (20, &[0], "profile", UnknownValue),
        (20, &[5], "profile", UnknownValue),
        (21, &[1], "reserved", Reserved),
        (56, &[9, 0], "hw_rev_max", OutOfRange),
        (104, &[0], "payload_len", Sum),
        (112, &[0; 32], "payload_salt", Zero),
        (144, &[0; 32], "cek_commit", Zero),
        (176, &[0x1F], "version", Text),
        (177, &[0], "version", Text),
        (176, &[0x41; 32], "version", Text),
        (255, &[1], "reserved", Reserved),
    ];
    for &(at, bytes, field, reason) in cases {
        assert_eq!(changed(at, bytes), (field, reason), "{bytes:?} at {at}");
    }
}

#[test]
fn every_component_rule_names_its_field() {
    use Reason::*;
    let cases: &[(usize, &[u8], &str, Reason)] = &[
        (2, &[0], "kind", UnknownValue),
        (2, &[5], "kind", UnknownValue),
        (2, &[2], "dest_addr", OutOfRange),
        (3, &[1], "transform", Unsupported),
        (3, &[9], "transform", UnknownValue),
        (6, &[1], "flags", Reserved),
        (8, &[1], "file_off", Sum),
        (16, &[0; 8], "enc_len", OutOfRange),
        (20, &[1], "enc_len", OutOfRange),
        (24, &[0], "install_len", Sum),
        (40, &[4], "fe_scheme", UnknownValue),
        (40, &[2], "fe_scheme", OutOfRange),
        (41, &[1], "transform_parameters", Reserved),
        (48, &[1], "flash_key_check", MustBeZero),
        (128, &[1], "base_digest", MustBeZero),
    ];
    for &(at, bytes, field, reason) in cases {
        assert_eq!(
            changed(256 + at, bytes),
            (field, reason),
            "{bytes:?} at {at}"
        );
    }
}

fn component(id: u16, place: u8, kind: Kind, file_off: u64) -> Component {
    Component {
        id: ComponentId(id),
        kind,
        target_chip: Component::ANY_CHIP,
        place,
        file_off,
        enc_len: 10,
        install_len: 10,
        destination: Destination::Address(0x1000),
        flash_encryption: FlashEncryption::Xts128(FlashKeyCheck([3; 16])),
        tree_root: Digest([4; 32]),
        image_digest: Digest([5; 32]),
    }
}

fn encode_components(components: &[Component]) -> Result<Vec<u8>, Error> {
    let mut header = header(ContentSuite::Aes256Ctr);
    header.payload_len = components
        .iter()
        .map(|c| {
            Geometry::new(header.profile, c.id, 0, c.enc_len)
                .unwrap()
                .stored_len()
        })
        .sum();
    let mut out = vec![0; 2048];
    let len = encode(&header, components, &[], &mut out)?;
    out.truncate(len);
    Ok(out)
}

#[test]
fn components_ascend_and_a_place_has_one_kind() {
    let (a, b) = (
        component(1, 0, Kind::App, 0),
        component(2, 1, Kind::Data, 74),
    );
    let signed = encode_components(&[a, b]).unwrap();
    let manifest = UnverifiedManifest::parse(&signed).unwrap();
    assert_eq!(manifest.components().collect::<Vec<_>>(), [a, b]);

    let refused = |components: &[Component]| encode_components(components).unwrap_err();
    let same_id = refused(&[a, component(1, 1, Kind::Data, 74)]);
    assert_eq!(
        (same_id.field, same_id.reason),
        ("component_id", Reason::NotAscending)
    );
    let place_back = refused(&[
        component(1, 1, Kind::App, 0),
        component(2, 0, Kind::App, 74),
    ]);
    assert_eq!(
        (place_back.field, place_back.reason),
        ("place", Reason::NotAscending)
    );
    let two_kinds = refused(&[a, component(2, 0, Kind::Data, 74)]);
    assert_eq!(
        (two_kinds.field, two_kinds.reason),
        ("kind", Reason::OutOfRange)
    );
    let gap = refused(&[a, component(2, 1, Kind::Data, 75)]);
    assert_eq!((gap.field, gap.reason), ("file_off", Reason::Sum));
}

#[test]
fn a_fixed_address_is_demanded_of_every_kind_but_app() {
    for kind in [Kind::Bootloader, Kind::PartitionTable, Kind::Data] {
        let mut c = component(1, 0, kind, 0);
        c.destination = Destination::AnySlot;
        c.flash_encryption = FlashEncryption::None;
        assert_eq!(encode_components(&[c]).unwrap_err().field, "dest_addr");
    }
}

#[test]
fn a_component_too_large_for_its_profile_is_refused() {
    let mut c = component(1, 0, Kind::App, 0);
    c.enc_len = 2 * 1024 * 1024 + 1;
    c.install_len = c.enc_len;
    let error = encode(&header(ContentSuite::ChaCha20), &[c], &[], &mut [0; 2048]).unwrap_err();
    assert_eq!((error.field, error.reason), ("enc_len", Reason::OutOfRange));
}

fn with_extensions(extensions: &[(u16, &[u8])]) -> Result<Vec<RecipientId>, Error> {
    let c = component(1, 0, Kind::App, 0);
    let mut header = header(ContentSuite::ChaCha20);
    header.payload_len = 74;
    let extensions: Vec<_> = extensions
        .iter()
        .map(|&(number, value)| Extension { number, value })
        .collect();
    let mut out = [0; 2048];
    let len = encode(&header, &[c], &extensions, &mut out)?;
    let manifest = UnverifiedManifest::parse(&out[..len])?;
    Ok(manifest.targets().into_iter().flatten().collect())
}

#[test]
fn targets_are_listed_and_private_extensions_are_skipped() {
    let ids = [[1; 16], [2; 16]].concat();
    let listed = with_extensions(&[(EXTENSION_TARGETS, &ids), (0x7001, b"abc")]).unwrap();
    assert_eq!(listed, [RecipientId([1; 16]), RecipientId([2; 16])]);
    assert_eq!(
        with_extensions(&[(0x0000, b""), (0x7FFF, b"xyz")]).unwrap(),
        []
    );
}

#[test]
fn extensions_that_must_not_be_ignored_are_refused() {
    use Reason::*;
    let descending = [[2; 16], [1; 16]].concat();
    let cases: &[(&[(u16, &[u8])], &str, Reason)] = &[
        (&[(0x8003, b"")], "extension_type", UnknownCritical),
        (&[(0x8000, b"")], "extension_type", UnknownCritical),
        (&[(0xF001, b"")], "extension_type", UnknownCritical),
        (&[(EXTENSION_REQUIRES, b"")], "extension_type", Unsupported),
        (&[(0x0001, &[1; 16])], "extension_type", OutOfRange),
        (&[(0x0002, b"")], "extension_type", OutOfRange),
        (
            &[(0x7001, b""), (0x7001, b"")],
            "extension_type",
            NotAscending,
        ),
        (
            &[(0x7002, b""), (0x7001, b"")],
            "extension_type",
            NotAscending,
        ),
        (&[(EXTENSION_TARGETS, b"")], "targets", OutOfRange),
        (&[(EXTENSION_TARGETS, &[1; 17])], "targets", OutOfRange),
        (&[(EXTENSION_TARGETS, &descending)], "targets", NotAscending),
        (&[(EXTENSION_TARGETS, &[1; 32])], "targets", NotAscending),
    ];
    for &(extensions, field, reason) in cases {
        let error = with_extensions(extensions).unwrap_err();
        assert_eq!(
            (error.field, error.reason),
            (field, reason),
            "{extensions:?}"
        );
    }
}

#[test]
fn extension_padding_is_zero_and_inside() {
    let mut signed = seal(
        header(ContentSuite::ChaCha20),
        b"x",
        &[Extension {
            number: 0x7001,
            value: b"a",
        }],
    )
    .signed;
    let last = signed.len() - 1;
    signed[last] = 1;
    let error = UnverifiedManifest::parse(&signed).unwrap_err();
    assert_eq!(
        (error.field, error.reason),
        ("extension_padding", Reason::Reserved)
    );
    signed[last] = 0;
    signed[last - 5] = 9;
    let error = UnverifiedManifest::parse(&signed).unwrap_err();
    assert_eq!(
        (error.field, error.reason),
        ("extension_value", Reason::Truncated)
    );
}
