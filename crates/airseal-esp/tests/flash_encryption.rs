//! Flash encryption byte for byte as espsecure does it, and regions that no chip can hold.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::Chip;
use airseal_esp::flash_encryption::{DEFAULT_CRYPT_CONFIG, FlashKey, FlashKeyFault, RegionFault};
use proptest::prelude::*;
use serde_json::Value;

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../vectors/esp/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

fn key(name: &str, config: u8) -> FlashKey {
    let chip = match name {
        "k192.key" | "k256.key" => "esp32",
        "x128d.key" => "esp32c2",
        _ => "esp32s3",
    };
    let bytes = vector(&format!("flashenc/{name}"));
    FlashKey::new(Chip::from_name(chip).unwrap(), &bytes, config).unwrap()
}

#[test]
fn every_case_is_that_of_espsecure_in_both_directions() {
    let cases: Vec<Value> = serde_json::from_slice(&vector("flashenc/cases.json")).unwrap();
    assert_eq!(cases.len(), 53);
    for case in cases {
        let config = case["flash_crypt_conf"].as_u64().unwrap_or(0xF) as u8;
        let key = key(case["key"].as_str().unwrap(), config);
        let address = case["address"].as_u64().unwrap() as u32;
        let plain = vector(case["plain"].as_str().unwrap());
        let cipher = vector(case["cipher"].as_str().unwrap());
        let mut bytes = plain.clone();
        key.encrypt(address, &mut bytes).unwrap();
        assert!(bytes == cipher, "{case}");
        key.decrypt(address, &mut bytes).unwrap();
        assert!(bytes == plain, "{case}");
    }
}

#[test]
fn a_key_of_another_size_is_refused() {
    for (chip, len) in [
        ("esp32c3", 24),
        ("esp32c3", 64),
        ("esp32c3", 16),
        ("esp32s3", 24),
        ("esp32", 64),
        ("esp32c2", 64),
        ("esp32", 0),
    ] {
        let chip = Chip::from_name(chip).unwrap();
        let fault = FlashKey::new(chip, &vec![7; len], DEFAULT_CRYPT_CONFIG).err();
        assert_eq!(fault, Some(FlashKeyFault::Length { chip, found: len }));
    }
    let chip = Chip::from_name("esp32").unwrap();
    let fault = FlashKey::new(chip, &[7; 32], 0x10).err();
    assert_eq!(fault, Some(FlashKeyFault::CryptConfig { found: 0x10 }));
}

#[test]
fn unaligned_addresses_and_lengths_are_refused() {
    let key = key("x256.key", DEFAULT_CRYPT_CONFIG);
    assert!(matches!(
        key.encrypt(8, &mut [0; 16]),
        Err(RegionFault::Address { address: 8 })
    ));
    assert!(matches!(
        key.encrypt(0x1000, &mut [0; 37]),
        Err(RegionFault::Length { len: 37 })
    ));
    assert!(matches!(
        key.encrypt(0x1000, &mut []),
        Err(RegionFault::Length { len: 0 })
    ));
}

#[test]
fn regions_that_leave_the_flash_are_refused() {
    let xts = key("x256.key", DEFAULT_CRYPT_CONFIG);
    assert!(xts.encrypt(0xFFFF_FFF0, &mut [0; 16]).is_ok());
    assert!(matches!(
        xts.encrypt(0xFFFF_FFF0, &mut [0; 32]),
        Err(RegionFault::Beyond { .. })
    ));
    let legacy = key("k256.key", DEFAULT_CRYPT_CONFIG);
    assert!(legacy.encrypt(0xFF_FFF0, &mut [0; 16]).is_ok());
    assert!(matches!(
        legacy.encrypt(0xFF_FFF0, &mut [0; 32]),
        Err(RegionFault::Beyond { .. })
    ));
}

proptest! {
    #[test]
    fn a_part_is_encrypted_as_in_the_whole(
        name in prop_oneof![Just("k256.key"), Just("x256.key"), Just("x512.key")],
        start in 0usize..200, len in 1usize..200, base in 0u32..0x800,
    ) {
        let key = key(name, DEFAULT_CRYPT_CONFIG);
        let plain: Vec<u8> = (0..400 * 16).map(|i| ((i * 31) >> 3) as u8).collect();
        let base = base * 16;
        let mut whole = plain.clone();
        key.encrypt(base, &mut whole).unwrap();
        let range = start * 16..(start + len) * 16;
        let mut part = plain[range.clone()].to_vec();
        key.encrypt(base + start as u32 * 16, &mut part).unwrap();
        prop_assert_eq!(&part, &whole[range.clone()]);
        key.decrypt(base + start as u32 * 16, &mut part).unwrap();
        prop_assert_eq!(&part, &plain[range]);
    }
}
