//! Images made by Espressif's tools, read as those tools read them, and damaged ones refused where they are damaged.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::image::{Descriptor, Image, ImageError, ImageFault, Part};
use proptest::prelude::*;
use serde_json::Value;

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/tests/data/images/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

fn parse(bytes: &[u8]) -> Result<Image, ImageFault> {
    Image::parse(&mut &bytes[..]).map_err(|error| match error {
        ImageError::Fault(fault) => fault,
        ImageError::Read(never) => match never {},
    })
}

#[test]
fn every_field_is_read_as_esptool_reads_it() {
    let expected: Value = serde_json::from_slice(&data("expected.json")).unwrap();
    for name in [
        "app-esp32c6-mmu.bin",
        "esp32c3-bootloader.bin",
        "esp32-bootloader.bin",
        "esp32p4-v3-bootloader.bin",
    ] {
        let want = &expected[name];
        let image = parse(&data(name)).unwrap();
        assert_eq!(u64::from(image.chip.id()), want["chip_id"], "{name}");
        assert_eq!(u64::from(image.entry), want["entry"], "{name}");
        assert_eq!(u64::from(image.checksum), want["checksum"], "{name}");
        assert_eq!(image.len, want["image_len"], "{name}");
        assert_eq!(hex::encode(image.hash.unwrap()), want["sha256"], "{name}");
        let segments = want["segments"].as_array().unwrap();
        assert_eq!(image.segments.as_slice().len(), segments.len(), "{name}");
        for (segment, want) in image.segments.as_slice().iter().zip(segments) {
            assert_eq!(u64::from(segment.load_address), want["load_addr"], "{name}");
            assert_eq!(u64::from(segment.len), want["len"], "{name}");
            assert_eq!(segment.offset, want["data_off"], "{name}");
        }
        let app = &want["app_desc"];
        if app.is_object() {
            let descriptor = image.app().unwrap();
            assert_eq!(
                u64::from(descriptor.secure_version),
                app["secure_version"],
                "{name}"
            );
            assert_eq!(descriptor.version.to_string(), app["version"], "{name}");
            assert_eq!(
                descriptor.project_name.to_string(),
                app["project_name"],
                "{name}"
            );
            assert_eq!(descriptor.idf_version.to_string(), app["idf_ver"], "{name}");
            assert_eq!(
                hex::encode(descriptor.elf_sha256),
                app["app_elf_sha256"],
                "{name}"
            );
        } else {
            assert!(!matches!(image.descriptor, Descriptor::App(_)), "{name}");
        }
    }
}

#[test]
fn shipped_firmware_is_valid_and_made_for_the_c3() {
    for name in ["1.0.0", "1.0.1", "1.1.0"] {
        let path = format!(
            "{}/../../firmware/images/esp32c3-wifi-{name}.bin",
            env!("CARGO_MANIFEST_DIR")
        );
        let bytes = std::fs::read(path).unwrap();
        let image = parse(&bytes).unwrap();
        assert_eq!(image.chip.name(), "esp32c3");
        assert_eq!(image.len, bytes.len() as u64);
        assert!(image.app().is_some());
    }
}

#[test]
fn each_damage_is_named() {
    assert!(matches!(
        parse(&data("neg/bad-magic.bin")),
        Err(ImageFault::Magic { found: 0xE8 })
    ));
    assert!(matches!(
        parse(&data("neg/bad-checksum.bin")),
        Err(ImageFault::Checksum { .. })
    ));
    assert!(matches!(
        parse(&data("neg/bad-hash.bin")),
        Err(ImageFault::Hash { .. })
    ));
    assert!(matches!(
        parse(&data("neg/flip-body.bin")),
        Err(ImageFault::Checksum { .. })
    ));
    assert!(matches!(
        parse(&data("neg/truncated.bin")),
        Err(ImageFault::Truncated {
            part: Part::SegmentData(_),
            file_len: 10280,
            ..
        })
    ));
    assert!(matches!(
        parse(&data("neg/seg-count-17.bin")),
        Err(ImageFault::SegmentCount { found: 17 })
    ));
    assert!(matches!(
        parse(&data("neg/seg-len-huge.bin")),
        Err(ImageFault::SegmentTooLong {
            index: 0,
            offset: 28,
            ..
        })
    ));
    assert!(matches!(
        parse(&data("neg/seg-len-unaligned.bin")),
        Err(ImageFault::SegmentAlignment {
            index: 0,
            offset: 28,
            ..
        })
    ));
    assert!(matches!(
        parse(&data("neg/empty.bin")),
        Err(ImageFault::Truncated {
            part: Part::Header,
            ..
        })
    ));
    assert!(matches!(
        parse(&data("neg/header-only.bin")),
        Err(ImageFault::Truncated {
            part: Part::SegmentHeader(0),
            offset: 24,
            ..
        })
    ));
}

#[test]
fn an_image_without_a_hash_is_shorter_than_its_file() {
    let bytes = data("neg/hash-flag-cleared.bin");
    let image = parse(&bytes).unwrap();
    assert_eq!(image.hash, None);
    assert_eq!(image.len + 32, bytes.len() as u64);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = data("esp32c3-bootloader.bin");
    for len in
        (0..bytes.len())
            .step_by(97)
            .chain([bytes.len() - 1, bytes.len() - 32, bytes.len() - 33])
    {
        assert!(
            matches!(parse(&bytes[..len]), Err(ImageFault::Truncated { .. })),
            "cut at {len}"
        );
    }
}

#[test]
fn an_unknown_chip_is_refused_by_its_number() {
    let mut bytes = data("esp32c3-bootloader.bin");
    bytes[12] = 6;
    assert_eq!(parse(&bytes), Err(ImageFault::Chip { found: 6 }));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..2048), esp in any::<bool>()) {
        if esp && bytes.len() > 23 {
            bytes[0] = 0xE9;
            bytes[1] %= 18;
            bytes[12] = 5;
            bytes[13] = 0;
            bytes[23] &= 1;
        }
        let _ = parse(&bytes);
    }
}
