//! Writing signatures of secure boot, against what espsecure wrote.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use airseal_esp::secure_boot::write::{BlockKey, RSA_LEN, WriteFault};
use airseal_esp::secure_boot::{BLOCK_LEN, SignatureBlock, v1};

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/../../vectors/esp/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// The first block of a signed bootloader.
fn block(name: &str) -> [u8; BLOCK_LEN] {
    let file = vector(&format!("secureboot/v2-{name}-bootloader.signed"));
    *file.last_chunk::<4096>().unwrap().first_chunk().unwrap()
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

#[test]
fn a_block_made_of_the_same_parts_is_the_same() {
    for name in ["rsa0", "rsa1"] {
        let bytes = block(name);
        let read = SignatureBlock::parse(0, &bytes).unwrap();
        let (modulus, exponent) = read.rsa_key().unwrap();
        let modulus: [u8; RSA_LEN] = reversed(modulus).try_into().unwrap();
        let key = BlockKey::Rsa {
            modulus: &modulus,
            exponent,
        };
        let made = key.sign_block(read.image_digest(), &reversed(read.signature()));
        assert_eq!(made.unwrap(), bytes, "{name}");
        assert_eq!(key.key_digest().unwrap(), read.key_digest(), "{name}");
    }
    for name in ["ec192", "ec256", "ec256b", "ec384"] {
        let bytes = block(name);
        let read = SignatureBlock::parse(0, &bytes).unwrap();
        let (x, y) = read.ecdsa_key().unwrap();
        let point = [reversed(x), reversed(y)].concat();
        let (r, s) = read.signature().split_at(x.len());
        let key = BlockKey::Ecdsa {
            scheme: read.scheme(),
            point: &point,
        };
        let signature = [reversed(r), reversed(s)].concat();
        let made = key.sign_block(read.image_digest(), &signature);
        assert_eq!(made.unwrap(), bytes, "{name}");
        assert_eq!(key.key_digest().unwrap(), read.key_digest(), "{name}");
    }
}

#[test]
fn an_even_modulus_and_wrong_lengths_are_refused() {
    let mut modulus = [1; RSA_LEN];
    let key = BlockKey::Rsa {
        modulus: &modulus,
        exponent: 65537,
    };
    let fault = key.sign_block(&[0; 48], &[0; RSA_LEN]).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the digest has 48 bytes where 32 are needed"
    );
    let fault = key.sign_block(&[0; 32], &[0; 256]).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the signature has 256 bytes where 384 are needed"
    );
    modulus[RSA_LEN - 1] = 2;
    let key = BlockKey::Rsa {
        modulus: &modulus,
        exponent: 65537,
    };
    assert_eq!(key.key_digest(), Err(WriteFault::EvenModulus));
}

#[test]
fn a_version_1_signature_stands_at_the_end() {
    let signature = vector("secureboot/v1-payload.signature");
    let file = [vector("secureboot/payload.bin"), signature.clone()].concat();
    let read = v1::parse(&file).unwrap();
    assert_eq!(v1::encode(read)[..], signature);
    assert!(v1::parse(&signature[1..]).is_none());
    let mut other = signature;
    other[0] = 1;
    assert!(v1::parse(&other).is_none());
}

#[test]
fn a_version_1_bootloader_has_the_digest_of_the_rom() {
    let expected = vector("secureboot/v1-bootloader-digest.bin");
    let key = vector("secureboot/v1-digest.key").try_into().unwrap();
    let iv = expected[..v1::IV_LEN].try_into().unwrap();
    let image = vector("images/esp32-bootloader.bin");
    let digest = v1::bootloader_digest(&key, &iv, &image, image[23] == 1);
    assert_eq!(digest[..], expected[v1::IV_LEN..]);
}
