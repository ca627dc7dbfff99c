//! Pre-encrypted images: what Espressif's tool made is opened, what it should not accept is refused, both directions.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::fs;
use std::path::{Path, PathBuf};

use airseal_pack::bridge::encrypted_img::{
    DecryptKey, EncryptKey, check_firmware, decrypt, device_key, encrypt, parse_vendor_devices,
    read_hmac_key,
};
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::output::{Access, Existing};
use airseal_pack::source::Source;
use airseal_pack::{Error, OutputFile};
use sha2::{Digest as _, Sha256};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/esp/enc_img")
}

fn open(bytes: &[u8], key: &DecryptKey) -> Result<(Vec<u8>, usize), Error> {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let source = Source::spool("image.enc", &mut &bytes[..])?;
    let output = OutputFile::create(&target, Existing::Refuse, Access::Owner)?;
    let odd = decrypt(&source, key, &output, &Control::default())?;
    output.commit()?;
    Ok((fs::read(target).unwrap(), odd.len()))
}

fn seal(bytes: &[u8], key: &EncryptKey) -> Result<Vec<u8>, Error> {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let source = Source::spool("app.bin", &mut &bytes[..])?;
    check_firmware(&source)?;
    let output = OutputFile::create(&target, Existing::Refuse, Access::Owner)?;
    encrypt(&source, key, &SystemEntropy, &output, &Control::default())?;
    output.commit()?;
    Ok(fs::read(target).unwrap())
}

fn rsa() -> DecryptKey {
    DecryptKey::read(&vectors().join("rsa3072.pem")).unwrap()
}

fn ecies() -> DecryptKey {
    let hmac = read_hmac_key(&vectors().join("device_hmac_key.bin")).unwrap();
    DecryptKey::Ecies(device_key("device_hmac_key.bin", &hmac).unwrap())
}

fn key_of(name: &str) -> DecryptKey {
    if name.contains("rsa-") {
        rsa()
    } else {
        ecies()
    }
}

#[test]
fn every_image_of_the_vendors_tool_opens() {
    let text = fs::read(vectors().join("expected.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let cases = cases.as_object().unwrap();
    assert_eq!(cases.len(), 14);
    for (name, case) in cases {
        let file = name.strip_prefix("enc_img/").unwrap();
        let sealed = fs::read(vectors().join(file)).unwrap();
        let (plain, odd) = open(&sealed, &key_of(file)).unwrap();
        assert_eq!(
            hex::encode(Sha256::digest(&plain)),
            case["plain_sha256"].as_str().unwrap(),
            "{name}"
        );
        assert_eq!(odd, 0);
    }
}

#[test]
fn the_hmac_key_leads_to_the_devices_own_key() {
    let pem = DecryptKey::read(&vectors().join("device_priv_key.pem")).unwrap();
    match (pem, ecies()) {
        (DecryptKey::Ecies(file), DecryptKey::Ecies(derived)) => {
            assert_eq!(file.public_key(), derived.public_key());
        }
        _ => panic!("both are on P-256"),
    }
}

#[test]
fn damaged_images_are_refused_and_unprotected_bytes_are_named() {
    let text = fs::read(vectors().join("neg/expected.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&text).unwrap();
    for name in cases.as_object().unwrap().keys() {
        let sealed = fs::read(vectors().join("neg").join(name)).unwrap();
        let result = open(&sealed, &key_of(name));
        if name.contains("reserved") {
            assert_eq!(result.unwrap().1, 1, "{name}");
            continue;
        }
        let message = result.err().unwrap().to_string();
        let part = match name.as_str() {
            "ecc-bad-magic.enc" => "magic",
            "ecc-point-not-on-curve.enc" | "rsa-bad-keyblock.enc" => "key block",
            "ecc-truncated.enc"
            | "ecc-trailing.enc"
            | "ecc-size-plus1.enc"
            | "rsa-header-only.enc" => "size",
            _ => "tag",
        };
        assert!(message.contains(part), "{name}: {message}");
    }
}

/// R29.
#[test]
fn an_image_cut_at_63_percent_is_refused_by_its_size() {
    let sealed = fs::read(vectors().join("ecc-esp32c3-bootloader.enc")).unwrap();
    let cut = &sealed[..sealed.len() * 63 / 100];
    let error = open(cut, &ecies()).unwrap_err().to_string();
    assert!(
        error.contains("size") && error.contains("cut off"),
        "{error}"
    );
}

#[test]
fn what_is_encrypted_here_opens_here_at_every_length_around_a_block() {
    let rsa_public = EncryptKey::read(&vectors().join("rsa3072-pub.pem")).unwrap();
    let device = EncryptKey::read(&vectors().join("device_pub_key.pem")).unwrap();
    assert!(seal(&[0], &device).is_ok());
    for len in [0, 1, 15, 16, 17, 31, 32, 33, 1 << 20, (1 << 20) + 1] {
        let plain: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0] ^ 0x5A).collect();
        for (seal_key, open_key) in [(&rsa_public, rsa()), (&device, ecies())] {
            let sealed = seal(&plain, seal_key).unwrap();
            assert_eq!(sealed.len(), plain.len() + 512);
            assert_eq!(open(&sealed, &open_key).unwrap().0, plain);
        }
    }
}

/// R32.
#[test]
fn each_of_two_devices_opens_only_its_own_image() {
    let keys = [[1; 32], [2; 32]].map(|hmac| device_key("hmac", &hmac).unwrap());
    for (mine, other) in [(0, 1), (1, 0)] {
        let sealed = seal(b"firmware", &EncryptKey::Ecies(keys[mine].public_key())).unwrap();
        let mine = DecryptKey::Ecies(keys[mine].clone());
        assert_eq!(open(&sealed, &mine).unwrap().0, b"firmware");
        let other = DecryptKey::Ecies(keys[other].clone());
        assert!(open(&sealed, &other).is_err());
    }
}

#[test]
fn an_encrypted_image_is_not_encrypted_again_and_a_plain_one_not_opened() {
    let device = EncryptKey::read(&vectors().join("device_pub_key.pem")).unwrap();
    let sealed = seal(b"firmware", &device).unwrap();
    let error = seal(&sealed, &device).unwrap_err().to_string();
    assert!(error.contains("encrypted already"), "{error}");
    let image = vectors().join("../images/esp32c3-bootloader.bin");
    let error = open(&fs::read(image).unwrap(), &ecies())
        .unwrap_err()
        .to_string();
    assert!(error.contains("Espressif image"), "{error}");
}

#[test]
fn keys_of_another_kind_or_size_are_refused() {
    for key in [
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAgj5hSJTtu8LCvcDMYTyvjKSmO3K8pQ7oQ7ozf0cyEtY=\n-----END PUBLIC KEY-----\n",
        "no key",
    ] {
        assert!(EncryptKey::parse("k.pem", key.as_bytes()).is_err());
    }
    let public = fs::read(vectors().join("device_pub_key.pem")).unwrap();
    let error = DecryptKey::parse("k.pem", &public)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("public key"), "{error}");
}

#[test]
fn a_list_of_devices_is_refused_by_its_line() {
    let good = format!("p256:{}", point());
    let text = format!("serial,vendor_image\nA1,{good}\nA2,{good}\n");
    assert_eq!(
        parse_vendor_devices("d.csv", text.as_bytes())
            .unwrap()
            .len(),
        2
    );
    let text = format!("{{\"serial\":\"A1\",\"keys\":{{\"vendor_image\":\"{good}\"}}}}\n");
    assert_eq!(
        parse_vendor_devices("d.jsonl", text.as_bytes())
            .unwrap()
            .len(),
        1
    );
    for (row, part) in [
        (format!("../x,{good}"), "file"),
        (format!("A1,{good}"), "twice"),
        ("A3,p256:AAAA".to_owned(), "point"),
        ("A3,x".to_owned(), "base64"),
    ] {
        let text = format!("serial,vendor_image\nA1,{good}\n{row}\n");
        let error = parse_vendor_devices("d.csv", text.as_bytes())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("line 3") && error.contains(part), "{error}");
    }
}

/// The generator of P-256, compressed, in base64.
fn point() -> String {
    "A2sX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKW".to_owned()
}
