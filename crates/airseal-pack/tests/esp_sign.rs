//! Signing for secure boot, against what espsecure made.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::path::PathBuf;

use airseal_pack::Error;
use airseal_pack::esp::boot_key::{BootPublicKey, BootSigner, parse_signature};
use airseal_pack::esp::sign::{SignOptions, Unsigned, sign_v1, verify_v1, verify_v2};
use airseal_pack::source::Source;

const ALL: [&str; 6] = ["rsa0", "rsa1", "ec192", "ec256", "ec256b", "ec384"];
const ANY: SignOptions = SignOptions {
    append: false,
    any_data: true,
};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../vectors/esp")
        .join(name)
}

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn source(bytes: &[u8]) -> Source {
    Source::spool("image", &mut &bytes[..]).unwrap()
}

fn signer(name: &str) -> BootSigner {
    BootSigner::open(path(&format!("secureboot/{name}.pem")).to_str().unwrap()).unwrap()
}

fn public(name: &str) -> BootPublicKey {
    BootPublicKey::read(&path(&format!("secureboot/{name}-pub.pem"))).unwrap()
}

fn refusal<T>(result: Result<T, Error>) -> String {
    result.err().unwrap().to_string()
}

/// An image for a chip that takes `key`.
fn image(key: &str) -> Vec<u8> {
    match key {
        "ec384" => vector("images/esp32p4-v3-bootloader.bin"),
        key if key.starts_with("ec") => vector("images/esp32c6-bootloader.bin"),
        _ => vector("images/esp32c3-bootloader.bin"),
    }
}

fn signed(key: &str) -> Vec<u8> {
    let mut unsigned = Unsigned::read(&source(&image(key)), SignOptions::default()).unwrap();
    unsigned.sign(&signer(&format!("v2-{key}"))).unwrap();
    unsigned.finish().unwrap().bytes
}

#[test]
fn what_espsecure_signed_verifies_with_each_half_of_the_key() {
    for key in ALL {
        let file = source(&vector(&format!("secureboot/v2-{key}-bootloader.signed")));
        verify_v2(&file, &public(&format!("v2-{key}"))).unwrap();
        verify_v2(&file, signer(&format!("v2-{key}")).public()).unwrap();
    }
    for file in ["v2-multi", "v2-appended"] {
        let file = source(&vector(&format!("secureboot/{file}.signed")));
        verify_v2(&file, &public("v2-rsa0")).unwrap();
        verify_v2(&file, &public("v2-rsa1")).unwrap();
    }
    let app = source(&vector("secureboot/v2-rsa0-app.signed"));
    verify_v2(&app, &public("v2-rsa0")).unwrap();
}

#[test]
fn damaged_files_and_other_keys_are_refused_by_name() {
    let key = public("v2-ec256");
    for (file, why) in [
        ("neg-v2-badcrc", "CRC of signature block 0"),
        ("neg-v2-flip-body", "changed after signing"),
        ("neg-v2-flip-sig-crcfixed", "does not hold"),
    ] {
        let text = refusal(verify_v2(
            &source(&vector(&format!("secureboot/{file}.signed"))),
            &key,
        ));
        assert!(text.contains(why), "{file}: {text}");
    }
    let file = source(&vector("secureboot/v2-ec256-bootloader.signed"));
    let text = refusal(verify_v2(&file, &public("v2-ec256b")));
    assert!(text.contains("by another key"), "{text}");
    let file = source(&vector("images/esp32c3-bootloader.bin"));
    assert!(refusal(verify_v2(&file, &key)).contains("is not signed"));
}

#[test]
fn key_digests_are_those_that_espsecure_burns() {
    for key in ALL {
        let digest = vector(&format!("secureboot/v2-{key}.digest.bin"));
        let public = public(&format!("v2-{key}"));
        assert_eq!(public.key_digest().unwrap()[..], digest, "{key}");
    }
}

#[test]
fn what_is_signed_here_verifies_and_has_the_form_of_espsecure() {
    for key in ALL {
        let file = signed(key);
        let padded = image(key).len().next_multiple_of(4096);
        assert_eq!(file.len(), padded + 4096, "{key}");
        verify_v2(&source(&file), &public(&format!("v2-{key}"))).unwrap();
    }
}

#[test]
fn version_1_is_the_same_byte_for_byte() {
    let payload = source(&vector("secureboot/payload.bin"));
    let done = sign_v1(&payload, &signer("v1-ecdsa256"), ANY).unwrap();
    let expected = [
        vector("secureboot/payload.bin"),
        vector("secureboot/v1-payload.signature"),
    ]
    .concat();
    assert_eq!(done.bytes, expected);
    let app = vector("images/app-esp32-securepad-v1.bin");
    let done = sign_v1(
        &source(&app),
        &signer("v1-ecdsa256"),
        SignOptions::default(),
    )
    .unwrap();
    assert_eq!(
        done.bytes,
        [app, vector("secureboot/v1-app.signature")].concat()
    );
    verify_v1(&source(&done.bytes), &public("v1-ecdsa256")).unwrap();
    let mut flipped = expected;
    flipped[10] ^= 1;
    let text = refusal(verify_v1(&source(&flipped), &public("v1-ecdsa256")));
    assert!(text.contains("changed after signing"), "{text}");
    let text = refusal(verify_v1(&source(&done.bytes), &public("v2-ec256")));
    assert!(text.contains("another key"), "{text}");
}

#[test]
fn more_than_three_signature_blocks_are_refused() {
    let mut unsigned = Unsigned::read(&source(&vector("secureboot/payload.bin")), ANY).unwrap();
    for key in ["ec256", "ec256b", "rsa0"] {
        unsigned.sign(&signer(&format!("v2-{key}"))).unwrap();
    }
    let text = refusal(unsigned.sign(&signer("v2-rsa1")));
    assert!(text.contains("one too many"), "{text}");
    assert_eq!(unsigned.finish().unwrap().report.key_digests.len(), 3);
}

#[test]
fn a_second_block_by_the_same_key_is_refused() {
    let append = SignOptions {
        append: true,
        any_data: false,
    };
    let file = source(&vector("secureboot/v2-rsa0-bootloader.signed"));
    assert!(refusal(Unsigned::read(&file, SignOptions::default())).contains("signed already"));
    let mut unsigned = Unsigned::read(&file, append).unwrap();
    assert!(refusal(unsigned.sign(&signer("v2-rsa0"))).contains("signed this image already"));
    unsigned.sign(&signer("v2-rsa1")).unwrap();
    let both = source(&unsigned.finish().unwrap().bytes);
    verify_v2(&both, &public("v2-rsa0")).unwrap();
    verify_v2(&both, &public("v2-rsa1")).unwrap();
    let plain = source(&image("rsa0"));
    assert!(refusal(Unsigned::read(&plain, append)).contains("nothing to append to"));
}

#[test]
fn a_signature_over_an_already_encrypted_image_is_refused() {
    let mut encrypted = image("rsa0");
    encrypted.iter_mut().for_each(|byte| *byte ^= 0x5A);
    let text = refusal(Unsigned::read(&source(&encrypted), SignOptions::default()));
    assert!(text.contains("sign first, then encrypt"), "{text}");
}

#[test]
fn bytes_behind_the_image_are_refused_since_no_device_would_find_the_signature() {
    let mut long = image("rsa0");
    long.resize(long.len().next_multiple_of(4096), 0xFF);
    long.extend_from_slice(b"more");
    let text = refusal(Unsigned::read(&source(&long), SignOptions::default()));
    assert!(text.contains("behind the image"), "{text}");
}

#[test]
fn keys_of_a_wrong_kind_for_the_chip_are_refused() {
    let mut c3 = Unsigned::read(&source(&image("rsa0")), SignOptions::default()).unwrap();
    let text = refusal(c3.sign(&signer("v2-ec256")));
    assert!(text.contains("esp32c3 can't verify"), "{text}");
    let mut c6 = Unsigned::read(&source(&image("ec256")), SignOptions::default()).unwrap();
    assert!(refusal(c6.sign(&signer("v2-ec384"))).contains("can't verify"));
    let text = refusal(sign_v1(
        &source(&image("rsa0")),
        &signer("v1-ecdsa256"),
        SignOptions::default(),
    ));
    assert!(text.contains("no secure boot version 1"), "{text}");
    let text = refusal(sign_v1(
        &source(&image("rsa0")),
        &signer("v2-rsa0"),
        SignOptions::default(),
    ));
    assert!(text.contains("not ECDSA on P-256"), "{text}");
}

#[test]
fn ecdsa_signatures_come_as_der_or_as_two_numbers() {
    let key = signer("v2-ec256");
    let mut unsigned = Unsigned::read(&source(&image("ec256")), SignOptions::default()).unwrap();
    let raw = key.sign(unsigned.message()).unwrap();
    let der = p256::ecdsa::Signature::from_slice(&raw).unwrap().to_der();
    let scheme = key.public().scheme();
    assert_eq!(parse_signature("sig", scheme, &raw).unwrap(), raw);
    assert_eq!(parse_signature("sig", scheme, der.as_bytes()).unwrap(), raw);
    assert!(refusal(parse_signature("sig", scheme, &raw[1..])).contains("63 bytes"));
    unsigned.attach("sig", key.public(), &raw).unwrap();
    verify_v2(&source(&unsigned.finish().unwrap().bytes), key.public()).unwrap();
}

#[test]
fn a_refused_ecdsa_signature_says_what_was_signed() {
    let key = signer("v2-ec256");
    let plain = image("ec256");
    let mut unsigned = Unsigned::read(&source(&plain), SignOptions::default()).unwrap();
    let message = unsigned.message().to_vec();
    let mut attach = |bytes: &[u8], public: &BootPublicKey| {
        let signature = key.sign(bytes).unwrap();
        refusal(unsigned.attach("sig", public, &signature))
    };
    assert!(attach(&plain, key.public()).contains("unpadded input"));
    let digest = key.public().digest(&message);
    assert!(attach(&digest, key.public()).contains("hashed twice"));
    assert!(attach(&message, &public("v2-ec256b")).contains("wrong key"));
}

#[test]
fn a_refused_rsa_signature_says_which_mistake_it_was() {
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};

    let pem = vector("secureboot/v2-rsa0.pem");
    let (_, der) = pkcs8::Document::from_pem(std::str::from_utf8(&pem).unwrap()).unwrap();
    let key = aws_lc_rs::rsa::KeyPair::from_der(der.as_bytes()).unwrap();
    let sign = |padding: &'static dyn RsaEncoding, bytes: &[u8]| {
        let mut signature = vec![0; 384];
        let random = aws_lc_rs::rand::SystemRandom::new();
        key.sign(padding, &random, bytes, &mut signature).unwrap();
        signature
    };
    let plain = image("rsa0");
    let mut unsigned = Unsigned::read(&source(&plain), SignOptions::default()).unwrap();
    let message = unsigned.message().to_vec();
    let public_key = public("v2-rsa0");
    let digest = public_key.digest(&message);
    let mut attach =
        |key: &BootPublicKey, signature: &[u8]| refusal(unsigned.attach("sig", key, signature));
    let text = attach(&public_key, &sign(&RSA_PKCS1_SHA256, &message));
    assert!(text.contains("wrong padding"), "{text}");
    let text = attach(&public_key, &sign(&RSA_PSS_SHA256, &plain));
    assert!(text.contains("unpadded input"), "{text}");
    let text = attach(&public_key, &sign(&RSA_PSS_SHA256, &digest));
    assert!(text.contains("hashed twice"), "{text}");
    let text = attach(&public_key, &sign(&RSA_PSS_SHA256, b"other"));
    assert!(text.contains("other bytes"), "{text}");
    let text = attach(&public("v2-rsa1"), &sign(&RSA_PSS_SHA256, &message));
    assert!(text.contains("wrong key"), "{text}");
}

#[test]
fn a_wrong_salt_length_is_said() {
    let mut unsigned = Unsigned::read(&source(&image("rsa0")), SignOptions::default()).unwrap();
    let signature = vector("secureboot/rsa0-salt-20.sig");
    let text = refusal(unsigned.attach("sig", &public("v2-rsa0"), &signature));
    assert!(text.contains("PSS with 20 bytes of salt"), "{text}");
}

#[test]
fn keys_of_a_wrong_curve_or_size_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, pem) in [("rsa2048", RSA_2048), ("ed25519", ED25519)] {
        let file = folder.path().join(name);
        std::fs::write(&file, pem).unwrap();
        let text = refusal(BootPublicKey::read(&file));
        assert!(text.contains("secure boot v2 takes RSA-3072"), "{text}");
    }
}

const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";
const RSA_2048: &str = include_str!("data/rsa2048-pub.pem");

/// An ESP32 looks at the first block alone, whatever stands in the sector.
#[test]
fn a_block_that_the_chip_does_not_look_at_counts_for_nothing() {
    let image = vector("images/app-esp32-securepad-v1.bin");
    let by = |key: &str| {
        let mut unsigned = Unsigned::read(&source(&image), SignOptions::default()).unwrap();
        unsigned.sign(&signer(key)).unwrap();
        unsigned.finish().unwrap().bytes
    };
    let (mut both, second) = (by("v2-rsa0"), by("v2-rsa1"));
    let sector = both.len() - 4096;
    both[sector + 1216..sector + 2 * 1216].copy_from_slice(&second[sector..sector + 1216]);
    verify_v2(&source(&both), &public("v2-rsa0")).unwrap();
    verify_v2(&source(&second), &public("v2-rsa1")).unwrap();
    let text = refusal(verify_v2(&source(&both), &public("v2-rsa1")));
    assert!(text.contains("by another key"), "{text}");
}

#[test]
fn bytes_behind_the_signature_sector_are_not_lost_when_a_block_is_added() {
    let mut file = signed("rsa0");
    file.extend_from_slice(b"more");
    let append = SignOptions {
        append: true,
        any_data: false,
    };
    let Err(error) = Unsigned::read(&source(&file), append) else {
        panic!("these bytes would be lost");
    };
    assert!(
        error.to_string().contains("behind the signature sector"),
        "{error}"
    );
}

/// What is signed is all of the file, where the chip looks at the image alone.
#[test]
fn a_signature_of_version_1_behind_other_bytes_is_refused() {
    let signer = signer("v1-ecdsa256");
    let mut file = vector("images/app-esp32-securepad-v1.bin");
    let by_signer = |body: &[u8]| {
        let signature = signer.sign(body).unwrap();
        let signature = airseal_esp::secure_boot::v1::encode(signature.first_chunk().unwrap());
        source(&[body, &signature].concat())
    };
    verify_v1(&by_signer(&file), signer.public()).unwrap();
    file.extend_from_slice(&[0xFF; 16]);
    let text = refusal(verify_v1(&by_signer(&file), signer.public()));
    assert!(text.contains("right behind the image"), "{text}");
}
