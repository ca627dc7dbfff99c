//! Signature blocks of version 2, as espsecure writes them.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::secure_boot::{BlockFault, SECTOR_LEN, SignatureBlock, sector_offset};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha384};

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../vectors/esp/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

#[test]
fn every_block_says_what_espsecure_put_into_it() {
    let expected: Value = serde_json::from_slice(&vector("secureboot/expected.json")).unwrap();
    for (name, want) in expected.as_object().unwrap() {
        let bytes = vector(name);
        let (image, sector) = bytes.split_at(bytes.len() - SECTOR_LEN);
        let blocks: Vec<_> = SignatureBlock::read_sector(sector)
            .map(Result::unwrap)
            .collect();
        let want = want.as_array().unwrap();
        assert_eq!(blocks.len(), want.len(), "{name}");
        for (block, want) in blocks.iter().zip(want) {
            assert_eq!(u64::from(block.crc()), want["crc"], "{name}");
            assert_eq!(hex::encode(block.image_digest()), want["digest"], "{name}");
            assert_eq!(
                hex::encode(block.key_digest()),
                want["key_digest"],
                "{name}"
            );
            let digest = match block.image_digest().len() {
                48 => Sha384::digest(image).to_vec(),
                _ => Sha256::digest(image).to_vec(),
            };
            assert_eq!(block.image_digest(), digest, "{name}");
            assert_eq!(block.rsa_key().is_some(), want["version"] == 2, "{name}");
            assert_eq!(block.ecdsa_key().is_some(), want["version"] == 3, "{name}");
            if let Some((modulus, exponent)) = block.rsa_key() {
                assert_eq!(hex::encode(modulus), want["n_le"], "{name}");
                assert_eq!(u64::from(exponent), want["e"], "{name}");
            }
        }
    }
}

#[test]
fn key_digests_are_those_that_espsecure_burns() {
    for name in ["rsa0", "rsa1", "ec192", "ec256", "ec256b", "ec384"] {
        let bytes = vector(&format!("secureboot/v2-{name}-bootloader.signed"));
        let sector = &bytes[bytes.len() - SECTOR_LEN..];
        let block = SignatureBlock::read_sector(sector).next().unwrap().unwrap();
        let digest = vector(&format!("secureboot/v2-{name}.digest.bin"));
        assert_eq!(block.key_digest()[..], digest, "{name}");
    }
}

#[test]
fn a_damaged_block_is_named() {
    let bytes = vector("secureboot/neg-v2-badcrc.signed");
    let sector = &bytes[bytes.len() - SECTOR_LEN..];
    assert!(matches!(
        SignatureBlock::read_sector(sector).next(),
        Some(Err(BlockFault::Crc { index: 0, .. }))
    ));
    assert!(
        SignatureBlock::read_sector(&[0xFF; SECTOR_LEN])
            .next()
            .is_none()
    );
    assert!(matches!(
        SignatureBlock::read_sector(&[0; SECTOR_LEN]).next(),
        Some(Err(BlockFault::Magic { index: 0, found: 0 }))
    ));
}

#[test]
fn the_sector_lies_behind_the_padded_image() {
    assert_eq!(sector_offset(20560), 24576);
    assert_eq!(sector_offset(24576), 24576);
}

proptest! {
    #[test]
    fn any_sector_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4200)) {
        for block in SignatureBlock::read_sector(&bytes).flatten() {
            let _ = (block.key_digest(), block.signature(), block.image_digest());
        }
    }
}
