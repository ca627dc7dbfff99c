//! What must be refused, each by a test named after it, with a reason that names the place and nothing left behind.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_format::ContentSuite;
use airseal_pack::control::Control;
use airseal_pack::firmware::{ChipChoice, Firmware, FirmwareChecks};
use airseal_pack::key::{KeyKind, PrivateKey, PublicKey};
use airseal_pack::keyset::{KeysetFile, KeysetKeys, NewKeyset};
use airseal_pack::open::{open, verify};
use airseal_pack::output::Existing;
use airseal_pack::source::Source;
use airseal_pack::{BundleFile, Error, ErrorKind};
use common::{World, noise, recipients, shipped, trust};

fn read(bytes: &[u8]) -> Result<BundleFile, Error> {
    BundleFile::read(Source::spool("test.seal", &mut &bytes[..]).unwrap())
}

/// Reads, verifies and opens; what comes out if everything passes.
fn all(world: &World, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let bundle = read(bytes)?;
    verify(&bundle, &world.trust(), &Control::default())?;
    let out = world.path("opened.bin");
    world.open(&bundle, Some(&world.open_key()), (&out, Existing::Replace))?;
    Ok(std::fs::read(out).unwrap())
}

#[test]
fn every_flipped_bit_of_a_bundle() {
    let world = World::new();
    let firmware = noise(9000);
    let path = world.seal(&firmware, |_| {}).unwrap().0;
    let mut bytes = std::fs::read(path).unwrap();
    for bit in 0..bytes.len() * 8 {
        // Every bit of the parts before the chunks, and a sample of the chunks.
        if bit > 8 * 1400 && bit % 61 != 0 {
            continue;
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = match all(&world, &bytes) {
            Err(error) => error,
            Ok(_) => panic!("bit {bit} changed and nobody noticed"),
        };
        assert_eq!(error.kind(), ErrorKind::Refused, "bit {bit}: {error}");
        assert!(!world.path("opened.bin").exists());
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(all(&world, &bytes).unwrap() == firmware);
}

#[test]
fn truncation_anywhere_and_trailing_bytes() {
    let world = World::new();
    let path = world.seal(&noise(9000), |_| {}).unwrap().0;
    let mut bytes = std::fs::read(path).unwrap();
    for len in 0..bytes.len() {
        let error = all(&world, &bytes[..len])
            .err()
            .unwrap_or_else(|| panic!("cut at {len}"));
        assert_eq!(error.kind(), ErrorKind::Refused, "cut at {len}: {error}");
    }
    bytes.push(0);
    let error = all(&world, &bytes).unwrap_err();
    assert!(error.to_string().contains("bytes follow"), "{error}");
}

#[test]
fn somebody_elses_signature() {
    let world = World::new();
    let bundle = world.bundle(&noise(100), |_| {});
    let stranger = PrivateKey::generate(KeyKind::Signing).unwrap();
    let error = verify(&bundle, &trust(&stranger), &Control::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("not the key given with --trust"), "{text}");
    assert!(matches!(error, Error::Signatures { .. }), "{error:?}");
}

#[test]
fn another_releases_envelope() {
    let world = World::new();
    let a = std::fs::read(world.seal(&noise(5000), |_| {}).unwrap().0).unwrap();
    let b = std::fs::read(world.seal(&noise(5000), |_| {}).unwrap().0).unwrap();
    let at = a.windows(4).position(|w| w == b"ASE1").unwrap();
    let mut swapped = a.clone();
    swapped[at..at + 136].copy_from_slice(&b[at..at + 136]);
    let error = all(&world, &swapped).unwrap_err().to_string();
    assert!(
        error.contains("manifest_digest") && error.contains("another release"),
        "{error}"
    );
    // With the digest patched in, the wrap itself says no.
    swapped[at + 24..at + 56].copy_from_slice(&a[at + 24..at + 56]);
    let error = all(&world, &swapped).unwrap_err().to_string();
    assert!(error.contains("does not open"), "{error}");
}

#[test]
fn not_among_the_targets() {
    let world = World::new();
    let other = recipients(&[&PrivateKey::generate(KeyKind::Device).unwrap()]);
    let only: Vec<_> = other.iter().map(|(id, _)| *id).collect();
    let bundle = world.bundle(&noise(100), |request| {
        request.only = Box::leak(only.into_boxed_slice())
    });
    verify(&bundle, &world.trust(), &Control::default()).unwrap();
    let out = world.path("opened.bin");
    let error = world
        .open(&bundle, Some(&world.open_key()), (&out, Existing::Refuse))
        .unwrap_err();
    assert!(
        error.to_string().contains("not among its targets"),
        "{error}"
    );
    assert!(!out.exists());
}

#[test]
fn opening_without_a_key_is_a_usage_error() {
    let world = World::new();
    let bundle = world.bundle(&noise(100), |_| {});
    let out = world.path("opened.bin");
    let error = world
        .open(&bundle, None, (&out, Existing::Refuse))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn existing_output_without_force() {
    let world = World::new();
    let bundle = world.bundle(&noise(100), |_| {});
    let out = world.path("opened.bin");
    std::fs::write(&out, "mine").unwrap();
    let error = world
        .open(&bundle, Some(&world.open_key()), (&out, Existing::Refuse))
        .unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
}

#[test]
fn missing_file_and_directory() {
    let world = World::new();
    let error = BundleFile::open(&world.path("none.seal")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
    let error = BundleFile::open(world.dir.path()).err().unwrap();
    assert!(error.to_string().contains("is a directory"), "{error}");
    let error = Firmware::open(world.dir.path(), &FirmwareChecks::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("is a directory"), "{error}");
}

fn refuse_firmware(bytes: &[u8], checks: &FirmwareChecks<'_>) -> String {
    let source = Source::spool("firmware.bin", &mut &bytes[..]).unwrap();
    let error = Firmware::check(source, checks).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    error.to_string()
}

#[test]
fn empty_firmware() {
    for chip in [ChipChoice::Auto, ChipChoice::None] {
        let error = refuse_firmware(
            b"",
            &FirmwareChecks {
                chip,
                ..Default::default()
            },
        );
        assert!(error.contains("is empty"), "{error}");
    }
}

#[test]
fn damaged_images_with_the_reason() {
    let image = std::fs::read(shipped("firmware/images/esp32c3-wifi-1.0.0.bin")).unwrap();
    let checks = FirmwareChecks::default();
    let mut body = image.clone();
    body[300_000] ^= 1;
    assert!(refuse_firmware(&body, &checks).contains("checksum at offset"));
    let mut hash = image.clone();
    *hash.last_mut().unwrap() ^= 1;
    assert!(refuse_firmware(&hash, &checks).contains("SHA-256"));
    assert!(refuse_firmware(&image[..200_000], &checks).contains("truncated"));
    let mut chip = image.clone();
    chip[12] = 77;
    assert!(refuse_firmware(&chip, &checks).contains("chip_id at offset 12"));
    let wrong = FirmwareChecks {
        chip: ChipChoice::parse("esp32s3").unwrap(),
        ..Default::default()
    };
    let error = refuse_firmware(&image, &wrong);
    assert!(
        error.contains("esp32c3") && error.contains("esp32s3"),
        "{error}"
    );
}

#[test]
fn input_of_the_wrong_kind() {
    let checks = FirmwareChecks::default();
    for (bytes, word) in [
        (
            &b"\xCF\xB6\x88\x07............................"[..],
            "esp_encrypted_img",
        ),
        (b"\x3D\xB8\xF3\x96............................", "MCUboot"),
        (b"\x7FELF............................", "ELF"),
        (
            b":10010000214601360121470136007EFE09D2190140\n",
            "Intel HEX",
        ),
        (b"\x1F\x8B\x08..........................", "gzip"),
        (b"PK\x03\x04...........................", "zip"),
        (b"<!doctype html><html>..............", "HTML"),
        (&[0xFF; 4096], "erased flash"),
        (b"-----BEGIN PUBLIC KEY-----\nMCow\n", "PEM"),
        (b"ASB1\x01\x00\x02\x00....................", "bundle"),
    ] {
        let error = refuse_firmware(bytes, &checks);
        assert!(error.contains(word), "{error}");
    }
    let mut random = vec![0; 8192];
    getrandom::fill(&mut random).unwrap();
    random[0] = 0xE9;
    assert!(refuse_firmware(&random, &checks).contains("flash-encrypted"));
    random[0] = 0x12;
    assert!(refuse_firmware(&random, &checks).contains("flash-encrypted"));
    let bootloader = std::fs::read(shipped("vectors/esp/images/esp32c3-bootloader.bin")).unwrap();
    assert!(refuse_firmware(&bootloader, &checks).contains("descriptor"));
}

#[test]
fn an_image_too_large_for_the_smallest_slot() {
    let table = shipped("vectors/esp/partitions/two_ota_factory.csv");
    let slot = 1 << 20;
    let checks = FirmwareChecks {
        chip: ChipChoice::None,
        fits: Some(&table),
        ..Default::default()
    };
    let fits = |len: usize, checks: &FirmwareChecks<'_>| {
        Firmware::check(Source::spool("f", &mut &noise(len)[..]).unwrap(), checks)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(fits(slot - 8192, &checks), Ok(()));
    let error = fits(slot - 8191, &checks).unwrap_err();
    assert!(
        error.contains("ota_0") && error.contains("1048576"),
        "{error}"
    );
    let signed = FirmwareChecks {
        secure_boot_sector: true,
        ..checks
    };
    assert!(fits(slot - 8192, &signed).is_err());
    assert_eq!(fits(slot - 8192 - 4096, &signed), Ok(()));
}

#[test]
fn contradicting_requests() {
    let world = World::new();
    let usage = |result: Result<_, Error>| {
        assert_eq!(result.map(|_| ()).unwrap_err().kind(), ErrorKind::Usage)
    };
    usage(world.seal(b"x", |request| request.signers = &[]));
    usage(world.seal(b"x", |request| request.hardware = (3, 2)));
    usage(world.seal(b"x", |request| request.suite = ContentSuite::None));
    usage(world.seal(b"x", |request| {
        request.version = Some("a version text that is too long for it")
    }));
    usage(world.seal(b"x", |request| request.version = None));
    usage(world.seal(b"x", |request| request.vendor = ""));
    assert!(!world.path("out.seal").exists());
}

#[test]
fn a_security_version_that_the_image_denies() {
    let world = World::new();
    let path = shipped("firmware/images/esp32c3-wifi-1.0.0.bin");
    let error = world
        .seal_file(&path, &FirmwareChecks::default(), |request| {
            request.security_version = Some(99)
        })
        .unwrap_err();
    assert!(
        error.to_string().contains("secure_version at offset 36"),
        "{error}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cant_be_created() {
    let world = World::new();
    let bundle = world.bundle(&noise(100), |_| {});
    let target = (std::path::Path::new("/proc/out.bin"), Existing::Replace);
    let error = open(
        &bundle,
        &world.trust(),
        Some(&world.open_key()),
        None,
        target,
        &Control::default(),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

/// Needs the right to mount; elsewhere it says so and proves nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing() {
    use std::process::Command;
    let world = World::new();
    let small = world.path("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "airseal-test"])
        .arg(&small)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a small file system can't be mounted here");
        return;
    }
    let bundle = world.bundle(&noise(300_000), |_| {});
    let target = small.join("opened.bin");
    let outcome = open(
        &bundle,
        &world.trust(),
        Some(&world.open_key()),
        None,
        (&target, Existing::Refuse),
        &Control::default(),
    );
    let left = std::fs::read_dir(&small).unwrap().count();
    assert!(
        Command::new("umount")
            .arg(&small)
            .status()
            .unwrap()
            .success()
    );
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), left), (ErrorKind::Io, 0), "{error}");
}

#[test]
fn a_file_of_another_kind_is_no_keyset() {
    let cases: [(&[u8], &str); 3] = [
        (b"-----BEGIN PUBLIC KEY-----\n", "is a PEM key"),
        (b"ASB1\x01\x00\x00\x00", "is a sealed Airseal bundle"),
        (b"hello", "does not begin with ASK1"),
    ];
    for (bytes, expected) in cases {
        let error = KeysetFile::parse("k", bytes.to_vec()).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_keyset_without_signatures_or_with_too_few_keys_says_so() {
    let root = PrivateKey::generate(KeyKind::Signing).unwrap();
    let Some(PublicKey::Signing(key)) = root.public() else {
        unreachable!("a signing key");
    };
    let create = |threshold| {
        KeysetFile::create(
            "k",
            &NewKeyset {
                vendor: "v",
                class: None,
                keys: KeysetKeys {
                    roots: &[key],
                    releases: &[key],
                    offers: &[],
                    root_threshold: threshold,
                    release_threshold: threshold,
                },
                max_security_version: 1,
            },
        )
    };
    let error = create(2).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("--threshold"), "{error}");
    let missing = create(1).unwrap().info().missing.unwrap();
    assert!(missing.contains("has 0 of 1 root signatures"), "{missing}");
    assert!(missing.contains("airseal keyset sign"), "{missing}");
}
