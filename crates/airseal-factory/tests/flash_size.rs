//! The size of the flash in the bootloader's header: one that is too small refuses the partition table, on every board.

mod common;

use std::fs;

use airseal_factory::product::Product;
use airseal_pack::esp::flash_size::with_flash_size;
use airseal_pack::source::Source;
use common::{ProductFolder, vectors};

/// Where the header has the size, in the upper four bits; 2 stands for 4 MiB.
const SIZE: usize = 3;

#[test]
fn the_bootloader_gets_the_size_of_the_configuration_before_it_is_signed() {
    let folder = ProductFolder::esp32c3();
    let built = fs::read(folder.path("bootloader.bin")).expect("a bootloader");
    assert_eq!(built[SIZE] >> 4, 1, "built for 2 MiB");
    let product = Product::read(&folder.config()).expect("a product");
    assert!(
        product
            .warnings
            .iter()
            .any(|text| text.contains("says 2MB") && text.contains("gets 4MB")),
        "{:?}",
        product.warnings
    );
    folder.prepare().expect("a batch");
    let flashed = fs::read(folder.path("batch/common/bootloader.bin")).expect("a bootloader");
    assert_eq!(
        (flashed[SIZE] >> 4, flashed[SIZE] & 15),
        (2, built[SIZE] & 15)
    );
    let source = Source::open(&folder.path("batch/common/bootloader.bin")).expect("a file");
    let again = with_flash_size(&source, 4 << 20).expect("a sound image, its hash too");
    assert!(again.is_none());
}

#[test]
fn a_signed_bootloader_that_would_refuse_the_table_is_refused() {
    let folder = ProductFolder::esp32c3();
    for (signed, to) in [
        ("secureboot/v2-rsa0-bootloader.signed", "bootloader.bin"),
        ("secureboot/v2-rsa0-app.signed", "app.bin"),
    ] {
        fs::copy(vectors().join(signed), folder.path(to)).expect("a signed image");
    }
    folder.edit("sign = [\"sb0.pem\"]", "sign = [\"already-signed\"]");
    let error = Product::read(&folder.config()).err().expect("refused");
    let text = error.to_string();
    assert!(
        text.contains("spi_size at offset 3") && text.contains("beyond the flash"),
        "{text}"
    );
    assert!(!folder.path("batch").exists());
}
