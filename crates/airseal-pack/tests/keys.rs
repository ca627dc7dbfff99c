//! Key files: openssl reads ours, we read openssl's, and what is refused.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::path::Path;
use std::process::Command;

use airseal_pack::ErrorKind;
use airseal_pack::key::{
    EmbedFormat, KeyFile, KeyKind, KeyRole, NoPassphrase, PrivateKey, PublicKey, Warning, embed,
    private_to_pem, public_to_pem,
};
use airseal_pack::output::{Access, Existing, write_file};
use airseal_pack::recipient::Recipient;
use airseal_pack::signer::{Signer, open_signer};
use zeroize::Zeroizing;

fn openssl(arguments: &[&str], dir: &Path) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("the openssl program is needed");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn parse(text: &str, role: Option<KeyRole>) -> Result<KeyFile, String> {
    KeyFile::parse("key.pem", text.as_bytes(), role, &NoPassphrase)
        .map_err(|error| error.to_string())
}

fn secret(
    word: &'static str,
) -> impl Fn(&str) -> Result<Option<Zeroizing<String>>, airseal_pack::Error> {
    move |_| Ok(Some(Zeroizing::new(word.to_owned())))
}

const ASYMMETRIC: [KeyKind; 4] = [
    KeyKind::Signing,
    KeyKind::SigningP256,
    KeyKind::Device,
    KeyKind::DeviceP256,
];

#[test]
fn openssl_reads_our_keys() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ASYMMETRIC {
        let key = PrivateKey::generate(kind).unwrap();
        let public = key.public().unwrap();
        std::fs::write(
            dir.path().join("a.key"),
            private_to_pem(&key, None).unwrap().as_bytes(),
        )
        .unwrap();
        std::fs::write(dir.path().join("a.pub"), public_to_pem(&public)).unwrap();
        let from_private = openssl(
            &["pkey", "-in", "a.key", "-pubout", "-outform", "DER"],
            dir.path(),
        );
        let from_public = openssl(
            &["pkey", "-pubin", "-in", "a.pub", "-outform", "DER"],
            dir.path(),
        );
        assert_eq!(from_private, from_public, "{kind}");
        assert!(from_public.ends_with(public.as_bytes()), "{kind}");
        let digest = openssl(
            &[
                "pkey", "-pubin", "-in", "a.pub", "-outform", "DER", "-out", "a.der",
            ],
            dir.path(),
        );
        assert!(digest.is_empty());
        let sum = openssl(&["dgst", "-sha256", "-r", "a.der"], dir.path());
        assert!(
            String::from_utf8(sum)
                .unwrap()
                .starts_with(&hex::encode(public.fingerprint())),
            "{kind}"
        );

        let encrypted = private_to_pem(&key, Some("correct horse")).unwrap();
        std::fs::write(dir.path().join("e.key"), encrypted.as_bytes()).unwrap();
        let decrypted = openssl(
            &[
                "pkey",
                "-in",
                "e.key",
                "-passin",
                "pass:correct horse",
                "-pubout",
                "-outform",
                "DER",
            ],
            dir.path(),
        );
        assert_eq!(decrypted, from_public, "{kind}");
    }
}

#[test]
fn we_read_keys_of_openssl() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            &["-algorithm", "ED25519"][..],
            KeyRole::Signing,
            KeyKind::Signing,
        ),
        (
            &["-algorithm", "X25519"],
            KeyRole::Recipient,
            KeyKind::Device,
        ),
        (
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            KeyRole::Signing,
            KeyKind::SigningP256,
        ),
        (
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            KeyRole::Recipient,
            KeyKind::DeviceP256,
        ),
    ];
    for (arguments, role, kind) in cases {
        let generate = [&["genpkey", "-out", "o.key"], arguments].concat();
        openssl(&generate, dir.path());
        openssl(
            &["pkey", "-in", "o.key", "-pubout", "-out", "o.pub"],
            dir.path(),
        );
        let private = KeyFile::read(&dir.path().join("o.key"), Some(role), &NoPassphrase)
            .unwrap()
            .key;
        let public = KeyFile::read(&dir.path().join("o.pub"), Some(role), &NoPassphrase)
            .unwrap()
            .key;
        assert_eq!((private.kind(), public.kind()), (kind, kind));
        assert_eq!(private.public(), public.public());

        let generate = [
            &[
                "genpkey",
                "-out",
                "e.key",
                "-aes256",
                "-pass",
                "pass:opensesame",
            ],
            arguments,
        ]
        .concat();
        openssl(&generate, dir.path());
        let path = dir.path().join("e.key");
        assert!(
            KeyFile::read(&path, Some(role), &secret("opensesame")).is_ok(),
            "{kind}"
        );
        let Err(error) = KeyFile::read(&path, Some(role), &secret("wrong")) else {
            panic!("{kind}")
        };
        assert!(error.to_string().contains("passphrase is wrong"), "{error}");
        let Err(error) = KeyFile::read(&path, Some(role), &NoPassphrase) else {
            panic!("{kind}")
        };
        assert!(
            error.to_string().contains("there is no passphrase"),
            "{error}"
        );

        openssl(
            &[
                "pkcs8",
                "-topk8",
                "-in",
                "o.key",
                "-out",
                "s.key",
                "-scrypt",
                "-passout",
                "pass:opensesame",
            ],
            dir.path(),
        );
        assert!(
            KeyFile::read(&dir.path().join("s.key"), Some(role), &secret("opensesame")).is_ok(),
            "{kind}"
        );
    }
    openssl(
        &[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-out",
            "sec1.key",
        ],
        dir.path(),
    );
    let key = KeyFile::read(
        &dir.path().join("sec1.key"),
        Some(KeyRole::Signing),
        &NoPassphrase,
    )
    .unwrap()
    .key;
    assert_eq!(key.kind(), KeyKind::SigningP256);
    openssl(
        &[
            "ecparam",
            "-name",
            "secp384r1",
            "-genkey",
            "-out",
            "p384.key",
        ],
        dir.path(),
    );
    assert!(
        KeyFile::read(
            &dir.path().join("p384.key"),
            Some(KeyRole::Signing),
            &NoPassphrase
        )
        .is_err()
    );
}

#[test]
fn openssl_signatures_and_ours_verify_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate(KeyKind::SigningP256).unwrap();
    std::fs::write(
        dir.path().join("a.key"),
        private_to_pem(&key, None).unwrap().as_bytes(),
    )
    .unwrap();
    // The bytes to sign on standard input, the DER signature on standard output: what an HSM's tool does.
    let program = format!(
        "cd {dir} && if [ $AIRSEAL_SIGN = public ]; then openssl pkey -in a.key -pubout; else openssl dgst -sha256 -sign a.key; fi",
        dir = dir.path().display()
    );
    let signer = open_signer(&format!("command:{program}"), &NoPassphrase)
        .unwrap()
        .key;
    for n in 0..16u8 {
        let message = [b"message".as_slice(), &[n]].concat();
        let signature = signer.sign(&message).unwrap();
        signer
            .public_key()
            .verify(&[&message], &signature)
            .expect("low-S and valid");
    }
}

#[test]
fn round_trip_of_every_kind() {
    for kind in KeyKind::ALL {
        let key = PrivateKey::generate(kind).unwrap();
        let pem = private_to_pem(&key, None).unwrap();
        assert!(pem.starts_with(&format!("airseal-kind: {kind}\n-----BEGIN ")));
        let again = parse(&pem, None).unwrap();
        assert_eq!((again.kind(), again.public()), (kind, key.public()));
        let crlf = pem.replace('\n', "\r\n");
        assert_eq!(parse(&crlf, None).unwrap().kind(), kind);
        if let Some(public) = key.public() {
            assert_eq!(
                parse(&public_to_pem(&public), None).unwrap().public(),
                Some(public)
            );
        }
    }
}

#[test]
fn a_key_of_the_wrong_kind_is_refused_by_name() {
    let device = PrivateKey::generate(KeyKind::Device).unwrap();
    let error = parse(
        &private_to_pem(&device, None).unwrap(),
        Some(KeyRole::Signing),
    )
    .err()
    .unwrap();
    assert!(
        error.contains("kind device") && error.contains("signing key"),
        "{error}"
    );

    let signing = PrivateKey::generate(KeyKind::SigningP256).unwrap();
    let pem = private_to_pem(&signing, None).unwrap();
    assert!(parse(&pem, Some(KeyRole::Recipient)).is_err());
    // The file's own word goes before the option's, so a signing key does not become a device key without it.
    let error = parse(
        &pem.replace("signing-p256", "device"),
        Some(KeyRole::Recipient),
    )
    .err()
    .unwrap();
    assert!(error.contains("airseal-kind says device"), "{error}");
    let bare = pem.lines().skip(1).collect::<Vec<_>>().join("\n");
    assert!(
        parse(&bare, None)
            .err()
            .unwrap()
            .contains("may be for signing or for a device")
    );
}

#[test]
fn two_keys_in_one_file_are_refused() {
    let a = private_to_pem(&PrivateKey::generate(KeyKind::Device).unwrap(), None).unwrap();
    let b = public_to_pem(
        &PrivateKey::generate(KeyKind::Device)
            .unwrap()
            .public()
            .unwrap(),
    );
    let bare = b.lines().skip(1).collect::<Vec<_>>().join("\n");
    assert!(
        parse(&format!("{}{bare}", *a), None)
            .err()
            .unwrap()
            .contains("second key")
    );
    assert!(parse(&format!("{}{b}", *a), None).is_err());
}

#[test]
fn the_kind_line_stands_exactly_once_before_the_key() {
    let pem = private_to_pem(&PrivateKey::generate(KeyKind::Device).unwrap(), None).unwrap();
    let bare = pem.lines().skip(1).collect::<Vec<_>>().join("\n");
    for bad in [
        format!("airseal-kind: device\n{}", *pem),
        format!("{bare}\nairseal-kind: device\n"),
        format!("airseal-kind: device \n{bare}"),
        format!("airseal-kind: Device\n{bare}"),
        format!("airseal-kind:device\n{bare}"),
        format!("Airseal-Kind: device\n{bare}"),
        format!(" airseal-kind: device\n{bare}"),
        format!("airseal-kind: robot\n{bare}"),
    ] {
        let error = parse(&bad, None)
            .err()
            .unwrap_or_else(|| panic!("accepted: {bad}"));
        assert!(error.contains("airseal-kind"), "{error}");
    }
    assert!(
        parse(
            &format!("made on Tuesday\nairseal-kind: device\nby me\n{bare}"),
            None
        )
        .is_ok()
    );
}

#[test]
fn other_files_are_named_by_what_they_are() {
    for (bytes, word) in [
        (&b"\x7FELF\x02\x01\x01\xff\xff"[..], "ELF"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"hello", "no -----BEGIN"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n", "cut off"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate",
        ),
    ] {
        let error = KeyFile::parse("f", bytes, None, &NoPassphrase)
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_world_readable_private_key_warns_and_a_fresh_one_is_0600() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.key");
    let pem = private_to_pem(&PrivateKey::generate(KeyKind::Signing).unwrap(), None).unwrap();
    write_file(&path, pem.as_bytes(), Existing::Refuse, Access::Owner).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        KeyFile::read(&path, None, &NoPassphrase)
            .unwrap()
            .warnings
            .is_empty()
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = KeyFile::read(&path, None, &NoPassphrase).unwrap().warnings;
    assert!(
        matches!(
            &warnings[..],
            [Warning::ReadableByOthers { mode: 0o644, .. }]
        ),
        "{warnings:?}"
    );
}

#[test]
fn missing_files_directories_and_public_keys_do_not_sign() {
    let dir = tempfile::tempdir().unwrap();
    let error = open_signer(
        &dir.path().join("none.key").display().to_string(),
        &NoPassphrase,
    )
    .err()
    .unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
    let error = open_signer(&dir.path().display().to_string(), &NoPassphrase)
        .err()
        .unwrap();
    assert!(error.to_string().contains("is a directory"), "{error}");
    let public = public_to_pem(
        &PrivateKey::generate(KeyKind::Signing)
            .unwrap()
            .public()
            .unwrap(),
    );
    let path = dir.path().join("a.pub");
    std::fs::write(&path, public).unwrap();
    let error = open_signer(&path.display().to_string(), &NoPassphrase)
        .err()
        .unwrap();
    assert!(error.to_string().contains("public key"), "{error}");
}

#[test]
fn a_command_that_signs_something_else_is_refused_before_its_signature_is_used() {
    let dir = tempfile::tempdir().unwrap();
    openssl(
        &["genpkey", "-algorithm", "ED25519", "-out", "a.key"],
        dir.path(),
    );
    let program = format!(
        "cd {} && if [ $AIRSEAL_SIGN = public ]; then openssl pkey -in a.key -pubout; else head -c 64 /dev/zero; fi",
        dir.path().display()
    );
    let signer = open_signer(&format!("command:{program}"), &NoPassphrase)
        .unwrap()
        .key;
    let dir2 = tempfile::tempdir().unwrap();
    let keyset = airseal_pack::keyset::KeysetFile::create(
        "k",
        &airseal_pack::keyset::NewKeyset {
            vendor: "v",
            class: None,
            keys: airseal_pack::keyset::KeysetKeys {
                roots: &[*signer.public_key()],
                releases: &[*signer.public_key()],
                offers: &[],
                root_threshold: 1,
                release_threshold: 1,
            },
            max_security_version: 0,
        },
    )
    .unwrap();
    let error = keyset.sign(&[signer]).err().unwrap();
    assert!(error.to_string().contains("does not verify"), "{error}");
    assert!(
        open_signer("command:exit 3", &NoPassphrase)
            .err()
            .unwrap()
            .to_string()
            .contains("failed")
    );
    drop(dir2);
}

#[test]
fn public_parts_are_shown_for_embedding_and_secrets_never() {
    for kind in ASYMMETRIC {
        let key = PrivateKey::generate(kind).unwrap();
        let raw = embed(&KeyFile::Private(key.clone()), EmbedFormat::Raw).unwrap();
        assert_eq!(raw, key.public().unwrap().as_bytes());
        let c = String::from_utf8(embed(&KeyFile::Private(key.clone()), EmbedFormat::C).unwrap())
            .unwrap();
        assert_eq!(c.matches("0x").count(), raw.len());
        let rust =
            String::from_utf8(embed(&KeyFile::Private(key), EmbedFormat::Rust).unwrap()).unwrap();
        assert!(rust.contains(&format!("[u8; {}]", raw.len())));
    }
    let group = KeyFile::Private(PrivateKey::generate(KeyKind::Group).unwrap());
    assert_eq!(
        embed(&group, EmbedFormat::Pem).unwrap_err().kind(),
        ErrorKind::Usage
    );
    let info = group.info();
    assert_eq!((info.public_key, info.generation), (None, Some(1)));
}

#[test]
fn a_rotated_group_key_is_the_next_generation_of_nothing_known() {
    let PrivateKey::Group(first) = PrivateKey::generate(KeyKind::Group).unwrap() else {
        panic!()
    };
    let second = first.rotate().unwrap();
    assert_eq!((first.generation(), second.generation()), (1, 2));
    let [a, b] = [first, second].map(|key| Recipient::Group(key).id());
    assert_ne!(a.0[..12], b.0[..12]);
    assert_eq!((a.0[12], b.0[12]), (1, 2));
}

#[test]
fn signers_sign_what_their_public_key_verifies() {
    for kind in [KeyKind::Signing, KeyKind::SigningP256] {
        let key = PrivateKey::generate(kind).unwrap();
        let Some(PublicKey::Signing(public)) = key.public() else {
            panic!()
        };
        let signer = airseal_pack::signer::KeySigner::new("k", key).unwrap();
        let signature = signer.sign(b"message").unwrap();
        assert_eq!(public.verify(&[b"mess", b"age"], &signature), Ok(()));
    }
}
