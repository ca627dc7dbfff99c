//! Sealing, verifying and opening, over all suites, profiles and kinds of keys.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_format::ContentSuite;
use airseal_pack::control::Control;
use airseal_pack::firmware::FirmwareChecks;
use airseal_pack::key::{KeyKind, PrivateKey};
use airseal_pack::open::{OpenKey, open, verify};
use airseal_pack::output::Existing;
use airseal_pack::{BundleFile, ErrorKind};
use common::{World, noise, recipients, shipped, signer, trust};

#[test]
fn what_is_sealed_verifies_and_opens_to_the_same_bytes() {
    let world = World::new();
    for suite in [
        ContentSuite::Aes256Ctr,
        ContentSuite::ChaCha20,
        ContentSuite::None,
    ] {
        // Every border of the default profile, one byte to either side.
        for len in [
            1,
            63,
            4095,
            4096,
            4097,
            128 * 4096 - 1,
            128 * 4096,
            128 * 4096 + 1,
            1_234_567,
        ] {
            let bytes = noise(len);
            let nobody = recipients(&[]);
            let (path, sealed) = world
                .seal(&bytes, |request| {
                    request.suite = suite;
                    if suite == ContentSuite::None {
                        request.recipients = Box::leak(Box::new(nobody));
                    }
                })
                .unwrap();
            assert_eq!(sealed.profile, 2);
            let bundle = BundleFile::open(&path).unwrap();
            assert_eq!(bundle.len(), sealed.bundle_len);
            let verified = verify(&bundle, &world.trust(), &Control::default()).unwrap();
            assert_eq!(verified.chunks, (len as u64).div_ceil(4096));
            assert_eq!(verified.manifest_digest, sealed.manifest_digest);
            let out = world.path("opened.bin");
            let opened = world
                .open(&bundle, Some(&world.open_key()), (&out, Existing::Replace))
                .unwrap();
            assert_eq!(opened.image_len, len as u64);
            assert!(std::fs::read(&out).unwrap() == bytes, "{suite:?} {len}");
        }
    }
}

#[test]
fn profiles_follow_the_size_and_the_request() {
    let world = World::new();
    let cases = [
        (1000, true, 1),
        (2 << 20, true, 1),
        (32 << 20, false, 2),
        ((32 << 20) + 1, false, 3),
    ];
    for (len, small_ram, profile) in cases {
        let bytes = noise(len);
        let (path, sealed) = world
            .seal(&bytes, |request| request.small_ram = small_ram)
            .unwrap();
        assert_eq!(sealed.profile, profile, "{len}");
        let bundle = BundleFile::open(&path).unwrap();
        verify(&bundle, &world.trust(), &Control::default()).unwrap();
        let out = world.path("opened.bin");
        world
            .open(&bundle, Some(&world.open_key()), (&out, Existing::Replace))
            .unwrap();
        assert!(std::fs::read(&out).unwrap() == bytes);
    }
    let error = world
        .seal(&noise((2 << 20) + 1), |request| request.small_ram = true)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[test]
fn every_kind_of_recipient_and_signer_works() {
    let world = World::new();
    let keys: Vec<PrivateKey> = [KeyKind::Device, KeyKind::DeviceP256, KeyKind::Group]
        .into_iter()
        .map(|kind| PrivateKey::generate(kind).unwrap())
        .collect();
    let p256 = PrivateKey::generate(KeyKind::SigningP256).unwrap();
    let everybody = recipients(&keys.iter().collect::<Vec<_>>());
    let both = [signer(&world.signer), signer(&p256)];
    let bytes = noise(10_000);
    let (path, sealed) = world
        .seal(&bytes, |request| {
            request.recipients = Box::leak(Box::new(everybody));
            request.signers = Box::leak(Box::new(both));
        })
        .unwrap();
    assert_eq!((sealed.recipients.len(), sealed.signers.len()), (3, 2));
    let bundle = BundleFile::open(&path).unwrap();
    for trusted in [&world.signer, &p256] {
        for key in &keys {
            let out = world.path("opened.bin");
            let key = OpenKey::new("key", key).unwrap();
            open(
                &bundle,
                &trust(trusted),
                Some(&key),
                None,
                (&out, Existing::Replace),
                &Control::default(),
            )
            .unwrap();
            assert!(std::fs::read(&out).unwrap() == bytes);
        }
    }
    let error = open(
        &bundle,
        &world.trust(),
        Some(&world.open_key()),
        None,
        (&world.path("no.bin"), Existing::Refuse),
        &Control::default(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("no envelope"), "{error}");
    assert!(!world.path("no.bin").exists());
}

#[test]
fn real_firmware_says_its_chip_and_versions() {
    let world = World::new();
    let path = shipped("firmware/images/esp32c3-wifi-1.0.0.bin");
    let (out, sealed) = world
        .seal_file(&path, &FirmwareChecks::default(), |request| {
            request.version = None
        })
        .unwrap();
    assert_eq!(sealed.chip, Some("esp32c3"));
    assert!(!sealed.version.is_empty());
    let bundle = BundleFile::open(&out).unwrap();
    assert_eq!(
        bundle.manifest().components().next().unwrap().target_chip,
        5
    );
    let opened = world.path("opened.bin");
    open(
        &bundle,
        &world.trust(),
        Some(&world.open_key()),
        None,
        (&opened, Existing::Refuse),
        &Control::default(),
    )
    .unwrap();
    assert!(std::fs::read(opened).unwrap() == std::fs::read(path).unwrap());
}

#[test]
fn cancelled_work_leaves_nothing() {
    use std::sync::atomic::AtomicBool;
    let world = World::new();
    let path = world.seal(&noise(5_000_000), |_| {}).unwrap().0;
    let bundle = BundleFile::open(&path).unwrap();
    let stop = AtomicBool::new(true);
    let control = Control {
        progress: None,
        cancel: Some(&stop),
    };
    let out = world.path("opened.bin");
    let error = open(
        &bundle,
        &world.trust(),
        Some(&world.open_key()),
        None,
        (&out, Existing::Refuse),
        &control,
    )
    .unwrap_err();
    assert!(matches!(error, airseal_pack::Error::Cancelled));
    let names: Vec<_> = std::fs::read_dir(world.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

/// A random source that always gives the same bytes.
struct Broken;

impl airseal_pack::entropy::Entropy for Broken {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), airseal_pack::Error> {
        bytes.fill(7);
        Ok(())
    }
}

#[test]
fn a_broken_random_source_does_not_give_two_releases_one_key() {
    use airseal_pack::content_key::ContentKeyFile;
    use airseal_pack::firmware::{ChipChoice, Firmware};
    use airseal_pack::seal::{SealOutput, seal};
    let world = World::new();
    let seal_with = |bytes: &[u8]| {
        let (input, bundle, key) = (
            world.path("f.bin"),
            world.path("f.seal"),
            world.path("f.key"),
        );
        std::fs::write(&input, bytes).unwrap();
        let checks = FirmwareChecks {
            chip: ChipChoice::None,
            ..Default::default()
        };
        let to = recipients(&[&world.device]);
        let signers = [signer(&world.signer)];
        let output = SealOutput {
            bundle: &bundle,
            content_key: Some(&key),
            detached: None,
            existing: Existing::Replace,
        };
        let firmware = Firmware::open(&input, &checks).unwrap();
        seal(
            &common::request(&to, &signers),
            &firmware,
            &output,
            &Broken,
            &Control::default(),
        )
        .unwrap();
        let key = *ContentKeyFile::read(&key).unwrap().key.content_key.expose();
        (key, std::fs::read(bundle).unwrap())
    };
    let mut bytes = noise(3_000_000);
    let first = seal_with(&bytes);
    assert!(
        first == seal_with(&bytes),
        "the same bytes and the same randomness give the same bundle"
    );
    for at in [0, 1 << 20, 2_999_999] {
        bytes[at] ^= 1;
        assert_ne!(first.0, seal_with(&bytes).0, "byte {at}");
        bytes[at] ^= 1;
    }
    assert_ne!(first.0, seal_with(&bytes[..2_999_999]).0);
}
