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
        "{}/../../vectors/esp/images/{name}",
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
    let expected = expected.as_object().unwrap();
    assert_eq!(expected.len(), 13);
    for (name, want) in expected {
        let name = name.as_str();
        let image = parse(&data(name)).unwrap();
        assert_eq!(u64::from(image.chip.id()), want["chip_id"], "{name}");
        assert_eq!(u64::from(image.entry), want["entry"], "{name}");
        assert_eq!(u64::from(image.checksum), want["checksum"], "{name}");
        assert_eq!(image.len, want["image_len"], "{name}");
        let hash = image.hash.map(hex::encode);
        assert_eq!(serde_json::json!(hash), want["sha256"], "{name}");
        let header = image.header;
        let fields = [
            ("spi_mode", u64::from(header.spi_mode)),
            ("spi_speed", u64::from(header.spi_speed)),
            ("spi_size", u64::from(header.spi_size)),
            ("wp_pin", u64::from(header.wp_pin)),
            ("min_chip_rev", u64::from(header.min_chip_rev)),
            ("min_rev_full", u64::from(header.min_chip_rev_full)),
            ("max_rev_full", u64::from(header.max_chip_rev_full)),
        ];
        for (field, value) in fields {
            assert_eq!(value, want[field], "{name} {field}");
        }
        assert_eq!(
            serde_json::json!(header.spi_pin_drv),
            want["spi_pin_drv"],
            "{name}"
        );
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
            assert_eq!(descriptor.time.to_string(), app["time"], "{name}");
            assert_eq!(descriptor.date.to_string(), app["date"], "{name}");
            let numbers = [
                ("min_efuse_blk_rev_full", descriptor.min_efuse_block_rev),
                ("max_efuse_blk_rev_full", descriptor.max_efuse_block_rev),
                ("mmu_page_size", u16::from(descriptor.mmu_page_log2)),
                ("spi_flash_mode", u16::from(descriptor.spi_flash_mode)),
            ];
            for (field, value) in numbers {
                assert_eq!(u64::from(value), app[field], "{name} {field}");
            }
        } else if let Descriptor::Bootloader(descriptor) = &image.descriptor {
            let boot = &want["bootloader_desc"];
            assert_eq!(u64::from(descriptor.version), boot["version"], "{name}");
            assert_eq!(
                descriptor.idf_version.to_string(),
                boot["idf_ver"],
                "{name}"
            );
            assert_eq!(
                descriptor.date_time.to_string(),
                boot["date_time"],
                "{name}"
            );
        } else {
            panic!("{name} has no descriptor");
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
