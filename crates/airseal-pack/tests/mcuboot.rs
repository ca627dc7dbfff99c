//! MCUboot images, on what imgtool made, and there and back.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use airseal_pack::bridge::keys::BridgeKey;
use airseal_pack::bridge::mcuboot::{
    Encrypt, KeyLen, Unwrap, Verified, Version, Wrap, encrypt, open,
};
use airseal_pack::control::Control;
use airseal_pack::output::{Access, Existing};
use airseal_pack::source::Source;
use airseal_pack::{Error, OutputFile};
use zeroize::Zeroizing;

fn vector(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/esp/mcuboot");
    std::fs::read(format!("{dir}/{name}")).unwrap()
}

fn key(name: &str) -> BridgeKey {
    BridgeKey::from_pem(name, &vector(name)).unwrap()
}

fn unwrap_for(case: &str) -> Option<Unwrap> {
    let kind = case.split('-').nth(1).unwrap();
    match (case.starts_with("enc-"), kind) {
        (false, _) => None,
        (true, "kw") => {
            let name = format!("enc-kw{}.key", &case[case.len() - 3..]);
            Some(Unwrap::Shared(Zeroizing::new(vector(&name))))
        }
        (true, kind) => Some(Unwrap::Private(key(&format!("enc-{kind}.pem")))),
    }
}

fn signer_of(case: &str) -> &'static str {
    match case.split('-').nth(1).unwrap() {
        "ec256" => "sign-ec256",
        "rsa2048" => "sign-rsa2048",
        _ => "sign-ed25519",
    }
}

fn opened(
    bytes: &[u8],
    key: Option<&Unwrap>,
    signer: Option<&BridgeKey>,
) -> Result<(Vec<u8>, Verified), Error> {
    let image = Source::spool("image", &mut &bytes[..])?;
    let mut output = nameless()?;
    let found = open(&image, key, signer, Some(&output), &Control::default())?;
    Ok((written(&mut output), found))
}

fn made(payload: &[u8], how: &Encrypt<'_>) -> Result<Vec<u8>, Error> {
    let payload = Source::spool("firmware", &mut &payload[..])?;
    let mut output = nameless()?;
    encrypt(&payload, how, &output, &Control::default())?;
    Ok(written(&mut output))
}

/// A temporary file that never gets a name.
fn nameless() -> Result<OutputFile, Error> {
    OutputFile::create(Path::new("-"), Existing::Refuse, Access::Owner)
}

fn written(output: &mut OutputFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    output.seek(SeekFrom::Start(0)).unwrap();
    output.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn every_image_of_imgtool_is_verified_and_opened() {
    let expected: serde_json::Value = serde_json::from_slice(&vector("expected.json")).unwrap();
    let payload = vector("payload.bin");
    for (case, want) in expected.as_object().unwrap() {
        let image = vector(&format!("{case}.bin"));
        let unwrap = unwrap_for(case);
        let signer = key(&format!("{}-pub.pem", signer_of(case)));
        let (body, found) = opened(&image, unwrap.as_ref(), Some(&signer)).unwrap();
        let pad = hex::decode(want["pad"].as_str().unwrap_or_default()).unwrap();
        assert_eq!(body, [payload.clone(), pad].concat(), "{case}");
        assert_eq!(u64::from(found.size), want["img_size"].as_u64().unwrap());
        assert_eq!(found.encrypted, unwrap.is_some());
        assert_eq!(found.version.build, 4);
        if unwrap.is_some() {
            let error = opened(&image, None, None).unwrap_err().to_string();
            assert!(error.contains("is encrypted"), "{error}");
        }
    }
}

#[test]
fn what_is_made_opens_for_every_wrap() {
    let kek = || Zeroizing::new(vector("enc-kw256.key"));
    let public = |name: &str, sha512| Wrap::Public {
        key: key(name),
        sha512,
    };
    let cases = [
        (
            "sign-ec256",
            public("enc-ec256-pub.pem", false),
            "enc-ec256-",
        ),
        (
            "sign-rsa2048",
            public("enc-rsa2048-pub.pem", false),
            "enc-rsa2048-",
        ),
        (
            "sign-ed25519",
            public("enc-x25519-pub.pem", false),
            "enc-x25519-",
        ),
        (
            "sign-ed25519",
            public("enc-x25519-pub.pem", true),
            "enc-x25519-",
        ),
        ("sign-ec256", Wrap::Shared(kek()), "enc-kw-aes256"),
    ];
    for (signer, wrap, open_with) in &cases {
        for key_len in [KeyLen::Aes128, KeyLen::Aes256] {
            let how = Encrypt {
                version: Version {
                    major: 1,
                    minor: 2,
                    revision: 3,
                    build: 4,
                },
                header_len: 0x200,
                security_counter: Some(7),
                signer: &key(&format!("{signer}.pem")),
                wrap,
                key_len,
            };
            let mut image = made(b"firmware", &how).unwrap();
            let unwrap = unwrap_for(open_with);
            let signer = key(&format!("{signer}-pub.pem"));
            let (body, found) = opened(&image, unwrap.as_ref(), Some(&signer)).unwrap();
            assert_eq!(body, b"firmware\0\0\0\0\0\0\0\0");
            assert_eq!(found.security_counter, Some(7));
            image[0x203] ^= 1;
            let error = opened(&image, unwrap.as_ref(), None)
                .unwrap_err()
                .to_string();
            assert!(error.contains("SHA-256"), "{error}");
        }
    }
}

#[test]
fn a_pair_that_mcuboot_does_not_know_is_refused_with_those_it_knows() {
    let how = Encrypt {
        version: Version {
            major: 1,
            minor: 0,
            revision: 0,
            build: 0,
        },
        header_len: 32,
        security_counter: None,
        signer: &key("sign-ec256.pem"),
        wrap: &Wrap::Public {
            key: key("enc-rsa2048-pub.pem"),
            sha512: false,
        },
        key_len: KeyLen::Aes128,
    };
    let error = made(b"firmware", &how).unwrap_err();
    assert!(error.remedy().contains("P-256 with P-256"), "{error}");
    let error = made(&vector("plain-ec256.bin"), &how).unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
}

#[test]
fn no_cut_of_an_image_is_taken_for_whole() {
    let image = vector("enc-ec256-aes128.bin");
    let unwrap = unwrap_for("enc-ec256-aes128");
    for len in (0..image.len()).filter(|len| *len < 64 || *len > 5030) {
        assert!(
            opened(&image[..len], unwrap.as_ref(), None).is_err(),
            "{len}"
        );
    }
}
