//! The trust of a product moves on with the keysets that releases carry.

mod common;

use airseal_format::bundle::{Section, SectionKind};
use airseal_format::keyset::SignedKeyset;
use airseal_format::signature::SigningPublicKey;
use airseal_pack::key::{KeyKind, PrivateKey, PublicKey};
use airseal_pack::keyset::{KeysetFile, KeysetKeys, NewKeyset, RotateKeyset};
use airseal_pack::signer::{KeySigner, Signer};
use airseal_protocol::path::{self, Path};
use airseal_protocol::{PollRequest, Stage};
use airseal_server::api::types;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::vendor::{CLASS, VENDOR, Vendor, Wish};
use common::{Bench, Device};

struct Key(PrivateKey);

impl Key {
    fn new() -> Self {
        Self(PrivateKey::generate(KeyKind::Signing).expect("random"))
    }

    fn public(&self) -> SigningPublicKey {
        match self.0.public() {
            Some(PublicKey::Signing(key)) => key,
            _ => unreachable!("a signing key"),
        }
    }

    fn signer(&self) -> Box<dyn Signer> {
        Box::new(KeySigner::new("key", self.0.clone()).expect("signer"))
    }
}

fn first_keyset(root: &Key, release: &Key) -> KeysetFile {
    let keyset = KeysetFile::create(
        "keyset",
        &NewKeyset {
            vendor: VENDOR,
            class: Some(CLASS),
            max_security_version: 9,
            keys: KeysetKeys {
                roots: &[root.public()],
                releases: &[release.public()],
                offers: &[],
                root_threshold: 1,
                release_threshold: 1,
            },
        },
    );
    keyset
        .and_then(|keyset| keyset.sign(&[root.signer()]))
        .expect("version 1")
}

fn with_release_key(before: &KeysetFile, root: &Key, release: &Key) -> KeysetFile {
    let change = RotateKeyset {
        releases: Some(&[release.public()]),
        ..Default::default()
    };
    let keyset = before.rotate("keyset", &change);
    keyset
        .and_then(|keyset| keyset.sign(&[root.signer()]))
        .expect("next version")
}

fn trust(keyset: &KeysetFile) -> types::SetTrust {
    types::SetTrust {
        keyset: Some(STANDARD.encode(keyset.as_bytes())),
        keys: Vec::new(),
    }
}

/// Keyset versions in the answer to a manifest request, which must end with the manifest.
fn keysets_for(device: &Device, digest: &[u8; 32], in_force: u32) -> Vec<u32> {
    let answer = device.get(Path::manifest(digest, in_force).as_str(), &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut rest = &answer.body[..];
    let mut versions = Vec::new();
    loop {
        let (header, tail) = rest.split_first_chunk().expect("a section");
        let section = Section::parse(header).expect("a header");
        let (body, tail) = tail.split_at(usize::try_from(section.len).expect("small"));
        rest = tail;
        if section.kind == SectionKind::Manifest {
            assert!(rest.is_empty());
            return versions;
        }
        let keyset = SignedKeyset::parse(body).expect("a keyset");
        versions.push(keyset.keyset.header().version.0);
    }
}

#[test]
fn a_rotation_is_followed_and_led_to_every_device() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let admin = bench.admin();
    let device = bench.device("lamp");
    let (root, old, new) = (Key::new(), Key::new(), Key::new());
    let one = first_keyset(&root, &old);
    let three = with_release_key(&with_release_key(&one, &root, &old), &root, &new);
    admin
        .set_trust(&trust(&one))
        .json::<types::ProductTrust>(200);

    let sealed = |seq, key: &Key, keyset: &KeysetFile| {
        let wish = Wish {
            seq,
            keyset: Some(keyset),
            ..Default::default()
        };
        let vendor = Vendor::with_key(key.0.clone());
        vendor.seal(&wish, &[&device.recipient])
    };
    let (bundle, first) = sealed(1, &old, &one);
    admin.publish(&bundle).json::<types::Published>(201);
    let (bundle, _) = sealed(2, &new, &one);
    let problem: types::ProblemBody = admin.publish(&bundle).json(422);
    assert_eq!(problem.kind, "about:blank#too-few-signatures");

    let (bundle, second) = sealed(2, &new, &three);
    admin.publish(&bundle).json::<types::Published>(201);
    let path = format!(
        "/api/v1/products/{}/{}/trust",
        hex::encode(common::vendor::vendor_id()),
        hex::encode(common::vendor::class_id())
    );
    let trust: types::ProductTrust = admin.get(&path);
    assert_eq!((trust.kind.as_str(), trust.keyset_version), ("keyset", 3));

    let (bundle, _) = sealed(3, &old, &one);
    assert_eq!(
        admin.publish(&bundle).status,
        422,
        "the old key is withdrawn"
    );

    let first = path::digest_from_hex(&first).expect("digest");
    let second = path::digest_from_hex(&second).expect("digest");
    assert_eq!(device.offered(), second);
    assert_eq!(keysets_for(&device, &second, 0), [1, 2, 3]);
    assert_eq!(keysets_for(&device, &second, 1), [2, 3]);
    assert_eq!(keysets_for(&device, &second, 3), [0; 0]);
    assert_eq!(keysets_for(&device, &first, 0), [1]);
}

#[test]
fn a_device_that_confirmed_under_the_next_keyset_is_shown_with_it() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let (root, key) = (Key::new(), Key::new());
    let one = first_keyset(&root, &key);
    let two = with_release_key(&one, &root, &key);
    let (follower, anchored) = (bench.device("follower"), bench.device("anchored"));
    for (device, keyset_version) in [(&follower, 1), (&anchored, 0)] {
        let poll = PollRequest {
            keyset_version,
            ..device.poll_request()
        };
        assert_eq!(device.post(path::POLL, &poll).status, 200);
    }
    let wish = Wish {
        keyset: Some(&two),
        ..Default::default()
    };
    let vendor = Vendor::with_key(key.0.clone());
    let (bundle, digest) = vendor.seal(&wish, &[&follower.recipient, &anchored.recipient]);
    let published = bench.admin().publish_with(&trust(&one), &bundle);
    published.json::<types::Published>(201);
    let digest = path::digest_from_hex(&digest).expect("digest");
    for (device, expected) in [(&follower, 2), (&anchored, 0)] {
        device.report(digest, Stage::Confirm, 0, 1);
        let path = format!("/api/v1/devices/{}", device.name);
        let shown: types::DeviceDetail = bench.admin().get(&path);
        assert_eq!(shown.device.keyset_version, expected, "{}", device.name);
    }
}

#[test]
fn a_keyset_of_another_vendor_is_refused_as_trust() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let (root, release) = (Key::new(), Key::new());
    let keyset = first_keyset(&root, &release);
    let path = format!(
        "/api/v1/products/{}/{}/trust",
        "ab".repeat(16),
        hex::encode(common::vendor::class_id())
    );
    let answer = bench.admin().call("PUT", &path, &trust(&keyset));
    let problem: types::ProblemBody = answer.json(422);
    assert_eq!(problem.kind, "about:blank#wrong-vendor");
}

#[test]
fn an_unsigned_keyset_is_refused_as_trust() {
    let data = tempfile::tempdir().expect("tempdir");
    let bench = Bench::start(data.path());
    let (root, release) = (Key::new(), Key::new());
    let signed = first_keyset(&root, &release);
    let mut bytes = signed.as_bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let request = types::SetTrust {
        keyset: Some(STANDARD.encode(&bytes)),
        keys: Vec::new(),
    };
    let problem: types::ProblemBody = bench.admin().set_trust(&request).json(422);
    assert_eq!(problem.kind, "about:blank#bad-signature");
}
