//! Facts about Espressif chips that Airseal needs, without allocation and without I/O of its own.
//!
//! - [`chip`]: chip ids, names, and where each family keeps its bootloader.
//! - [`encrypted_img`]: the header of the pre-encrypted image.
//! - [`flash_encryption`]: what the chip stores for what is written, in both schemes.
//! - [`image`]: application and bootloader images: header, segments, checksum, appended SHA-256, descriptors.
//! - [`nvs`]: NVS partitions, plain and encrypted.
//! - [`memory`]: where segments go, and whether a bootloader loads them there.
//! - [`otadata`]: which slot starts, and how that is changed.
//! - [`partition`]: the partition table in its binary and its CSV form.
//! - [`secure_boot`]: signature blocks behind an image.
//!
//! Everything read here comes from outside, so nothing panics on it and every refusal names a field and an offset.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod chip;
pub mod encrypted_img;
pub mod flash_encryption;
pub mod image;
pub mod memory;
pub mod nvs;
pub mod otadata;
pub mod partition;
pub mod secure_boot;

mod crc;

pub use chip::Chip;
pub use image::{Image, ImageError, ImageFault, ImageSource};
