//! What a bootloader checks before it loads an application, on what Espressif's tools built.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::memory::{LoadFault, check_load};
use airseal_esp::{Chip, Image};

fn bytes(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/../../vectors/esp/images/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).unwrap()
}

fn image(name: &str) -> Image {
    Image::parse(&mut &bytes(name)[..]).unwrap()
}

/// `app.bin` with one segment moved.
fn moved(index: usize, address: u32) -> Image {
    let mut bytes = bytes("app.bin");
    let data = usize::try_from(image("app.bin").segments.as_slice()[index].offset).unwrap();
    bytes[data - 8..data - 4].copy_from_slice(&address.to_le_bytes());
    Image::examine(&mut &bytes[..]).unwrap().0
}

/// An application for pages of 32 KiB; esptool does not write the page into the descriptor, ESP-IDF's build does.
fn small_pages(log2: u8) -> Image {
    let mut bytes = bytes("app-esp32c6-mmu.bin");
    bytes[32 + 180] = log2;
    Image::examine(&mut &bytes[..]).unwrap().0
}

#[test]
fn an_application_loads_where_it_was_built_for() {
    for (name, bootloader) in [
        ("app.bin", "esp32c3-bootloader.bin"),
        ("app-esp32.bin", "esp32-bootloader.bin"),
        ("app-esp32-securepad-v1.bin", "esp32-bootloader.bin"),
    ] {
        let bootloader = image(bootloader);
        for offset in [0x1_0000, 0x11_0000] {
            assert_eq!(
                check_load(&image(name), offset, Some(&bootloader)),
                Ok(()),
                "{name}"
            );
        }
    }
}

#[test]
fn a_mapped_segment_lies_at_the_same_place_of_a_page_as_its_address() {
    let app = image("app.bin");
    for offset in [0x1_8000, 0x1_1000, 0x1_0010] {
        let fault = check_load(&app, offset, None);
        assert!(
            matches!(
                fault,
                Err(LoadFault::Page {
                    index: 0,
                    page: 0x1_0000,
                    ..
                })
            ),
            "{fault:?}"
        );
    }
    let small = small_pages(15);
    assert_eq!(check_load(&small, 0x1_8000, None), Ok(()));
    let fault = check_load(&small, 0x1_4000, None);
    assert!(
        matches!(fault, Err(LoadFault::Page { page: 0x8000, .. })),
        "{fault:?}"
    );
    let unsaid = check_load(&small_pages(0), 0x1_0000, None);
    assert!(
        matches!(unsaid, Err(LoadFault::Page { page: 0x1_0000, .. })),
        "{unsaid:?}"
    );
}

#[test]
fn a_segment_for_an_address_without_memory_is_refused() {
    for address in [0x2000_0000, 0x3FCD_FFF0, 0x403D_FFF0, 0xFFFF_FFF0] {
        let fault = check_load(&moved(1, address), 0x1_0000, None);
        assert!(
            matches!(fault, Err(LoadFault::NoMemory { index: 1, .. })),
            "{address:#x} {fault:?}"
        );
    }
    assert_eq!(check_load(&moved(1, 0x3FCD_0000), 0x1_0000, None), Ok(()));
}

#[test]
fn a_segment_over_the_running_bootloader_is_refused_under_both_addresses_of_its_ram() {
    let bootloader = image("esp32c3-bootloader.bin");
    let check = |address| check_load(&moved(1, address), 0x1_0000, Some(&bootloader));
    // Its data, its loader, and both again under the other bus.
    for address in [0x3FCD_5830, 0x403C_E710, 0x403D_5840, 0x3FCC_E710] {
        let fault = check(address);
        assert!(
            matches!(fault, Err(LoadFault::OverBootloader { index: 1, .. })),
            "{address:#x} {fault:?}"
        );
    }
    // The part with its entry is done with by then.
    assert_eq!(check(0x403C_BF10), Ok(()));
    assert_eq!(check(0x3FCD_5800 - 0x20), Ok(()));
}

#[test]
fn every_chip_maps_flash_and_has_ram() {
    let probe = |address| {
        let chips = Chip::ALL
            .iter()
            .filter(move |chip| chip.maps_flash_at(address));
        chips.map(|chip| chip.name()).collect::<Vec<_>>()
    };
    assert_eq!(probe(0x3F40_0020), ["esp32", "esp32s2"]);
    assert_eq!(probe(0x3C00_0020), ["esp32c3", "esp32s3", "esp32c2"]);
    assert_eq!(probe(0x4000_0020), ["esp32p4", "esp32s31"]);
    assert_eq!(
        probe(0x4300_0000),
        [
            "esp32s3", "esp32c6", "esp32h2", "esp32p4", "esp32c61", "esp32c5", "esp32h21",
            "esp32h4", "esp32s31"
        ]
    );
    for chip in Chip::ALL {
        assert!(
            (0x1000..0xF000).any(|page: u32| chip.has_ram(page << 16, 0x1000)),
            "{chip}"
        );
    }
}
