//! Life after sealing: co-signing, air-gapped signing, more recipients, keysets and their rotation, inspection.
#![allow(
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

mod common;

use airseal_format::signature::SigningPublicKey;
use airseal_pack::content_key::ContentKeyFile;
use airseal_pack::control::Control;
use airseal_pack::entropy::SystemEntropy;
use airseal_pack::firmware::{ChipChoice, Firmware, FirmwareChecks};
use airseal_pack::inspect::inspect;
use airseal_pack::key::{KeyKind, PrivateKey, PublicKey};
use airseal_pack::keyset::{KeysetFile, KeysetKeys, NewKeyset, RotateKeyset};
use airseal_pack::open::{NamedTrust, OpenKey, verify};
use airseal_pack::output::Existing;
use airseal_pack::release::{add_envelopes, attach, cosign, sign_request};
use airseal_pack::seal::{SealOutput, seal};
use airseal_pack::{BundleFile, ErrorKind};
use common::{World, noise, recipients, request, signer, trust};

fn public(key: &PrivateKey) -> SigningPublicKey {
    match key.public() {
        Some(PublicKey::Signing(key)) => key,
        _ => panic!("no signing key"),
    }
}

fn keys<const N: usize>(kind: KeyKind) -> [PrivateKey; N] {
    std::array::from_fn(|_| PrivateKey::generate(kind).unwrap())
}

fn keyset(roots: &[PrivateKey], releases: &[PrivateKey], threshold: u8) -> KeysetFile {
    let roots: Vec<_> = roots.iter().map(public).collect();
    let releases: Vec<_> = releases.iter().map(public).collect();
    KeysetFile::create(
        "test.keyset",
        &NewKeyset {
            vendor: "example.com",
            class: Some("thermostat"),
            keys: KeysetKeys {
                roots: &roots,
                releases: &releases,
                offers: &[],
                root_threshold: threshold,
                release_threshold: threshold,
            },
            max_security_version: 5,
        },
    )
    .unwrap()
}

fn signed(file: &KeysetFile, by: &[PrivateKey]) -> KeysetFile {
    file.sign(&by.iter().map(signer).collect::<Vec<_>>())
        .unwrap()
}

#[test]
fn a_cosigner_changes_neither_digest_nor_payload() {
    let world = World::new();
    let path = world.seal(&noise(10_000), |_| {}).unwrap().0;
    let second = PrivateKey::generate(KeyKind::SigningP256).unwrap();
    let before = BundleFile::open(&path).unwrap();
    let digest = before.manifest().digest();
    let changed = cosign(
        &before,
        &[signer(&second)],
        (&path, Existing::Replace),
        &Control::default(),
    )
    .unwrap();
    let after = BundleFile::open(&path).unwrap();
    assert_eq!(after.manifest().digest(), digest);
    assert_eq!(
        (changed.signers.len(), changed.bundle_len),
        (2, after.len())
    );
    for key in [&world.signer, &second] {
        verify(&after, &trust(key), &Control::default()).unwrap();
    }
    // Signing again replaces, it does not count twice.
    let again = cosign(
        &after,
        &[signer(&second)],
        (&path, Existing::Replace),
        &Control::default(),
    )
    .unwrap();
    assert_eq!(again.signers.len(), 2);
}

#[test]
fn a_draft_is_signed_on_another_machine() {
    let world = World::new();
    let path = world
        .seal(&noise(10_000), |request| {
            request.signers = &[];
            request.allow_unsigned = true;
        })
        .unwrap()
        .0;
    let draft = BundleFile::open(&path).unwrap();
    let error = verify(&draft, &world.trust(), &Control::default()).unwrap_err();
    assert!(error.to_string().contains("no signature yet"), "{error}");
    let bytes = sign_request(&draft);
    let signature = signer(&world.signer).sign(&bytes).unwrap();
    let error = attach(
        &draft,
        ("a.sig", &signature),
        None,
        (&path, Existing::Replace),
        &Control::default(),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let stranger = public(&PrivateKey::generate(KeyKind::Signing).unwrap());
    assert!(
        attach(
            &draft,
            ("a.sig", &signature),
            Some(&stranger),
            (&path, Existing::Replace),
            &Control::default()
        )
        .is_err()
    );
    let key = public(&world.signer);
    attach(
        &draft,
        ("a.sig", &signature),
        Some(&key),
        (&path, Existing::Replace),
        &Control::default(),
    )
    .unwrap();
    verify(
        &BundleFile::open(&path).unwrap(),
        &world.trust(),
        &Control::default(),
    )
    .unwrap();
}

#[test]
fn more_recipients_need_no_signature() {
    let world = World::new();
    let bytes = noise(20_000);
    let input = world.path("firmware.bin");
    std::fs::write(&input, &bytes).unwrap();
    let checks = FirmwareChecks {
        chip: ChipChoice::None,
        ..Default::default()
    };
    let (bundle_path, key_path) = (world.path("out.seal"), world.path("content.key"));
    let first = recipients(&[&world.device]);
    let signers = [signer(&world.signer)];
    let output = SealOutput {
        bundle: &bundle_path,
        content_key: Some(&key_path),
        detached: Some(&world.path("parts")),
        existing: Existing::Refuse,
    };
    let firmware = Firmware::open(&input, &checks).unwrap();
    seal(
        &request(&first, &signers),
        &firmware,
        &output,
        &SystemEntropy,
        &Control::default(),
    )
    .unwrap();

    let bundle = BundleFile::open(&bundle_path).unwrap();
    assert_eq!(
        std::fs::read(world.path("parts/manifest")).unwrap(),
        bundle.manifest_section()
    );
    let mut payload = vec![0; bundle.manifest().header().payload_len as usize];
    bundle.read_payload(0, &mut payload).unwrap();
    assert!(std::fs::read(world.path("parts/payload")).unwrap() == payload);
    assert_eq!(
        std::fs::read_dir(world.path("parts/envelopes"))
            .unwrap()
            .count(),
        1
    );

    let content_key = ContentKeyFile::read(&key_path).unwrap().key;
    let late: Vec<PrivateKey> = [KeyKind::Device, KeyKind::DeviceP256, KeyKind::Group]
        .into_iter()
        .map(|kind| PrivateKey::generate(kind).unwrap())
        .collect();
    let more = recipients(&late.iter().chain([&world.device]).collect::<Vec<_>>());
    let target = (bundle_path.as_path(), Existing::Replace);
    let changed = add_envelopes(
        &bundle,
        &content_key,
        &more,
        target,
        &SystemEntropy,
        &Control::default(),
    )
    .unwrap();
    assert_eq!((changed.added.len(), changed.already.len()), (3, 1));
    let bundle = BundleFile::open(&bundle_path).unwrap();
    assert_eq!(changed.bundle_len, bundle.len());
    assert_eq!(
        verify(&bundle, &world.trust(), &Control::default())
            .unwrap()
            .envelopes,
        4
    );
    for key in late.iter().chain([&world.device]) {
        let out = world.path("opened.bin");
        let key = OpenKey::new("key", key).unwrap();
        world
            .open(&bundle, Some(&key), (&out, Existing::Replace))
            .unwrap();
        assert!(std::fs::read(&out).unwrap() == bytes);
    }

    let other = world.bundle(&noise(10), |_| {});
    let error = add_envelopes(
        &other,
        &content_key,
        &more,
        target,
        &SystemEntropy,
        &Control::default(),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("the content key is of"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn the_content_key_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let input = world.path("firmware.bin");
    std::fs::write(&input, b"firmware").unwrap();
    let firmware = Firmware::open(
        &input,
        &FirmwareChecks {
            chip: ChipChoice::None,
            ..Default::default()
        },
    )
    .unwrap();
    let (bundle, key) = (world.path("out.seal"), world.path("content.key"));
    let output = SealOutput {
        bundle: &bundle,
        content_key: Some(&key),
        detached: None,
        existing: Existing::Refuse,
    };
    let signers = [signer(&world.signer)];
    let to = recipients(&[&world.device]);
    seal(
        &request(&to, &signers),
        &firmware,
        &output,
        &SystemEntropy,
        &Control::default(),
    )
    .unwrap();
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_release_needs_as_many_signatures_as_the_keyset_says() {
    let world = World::new();
    let (roots, releases) = (keys::<3>(KeyKind::Signing), keys::<3>(KeyKind::Signing));
    let file = signed(&keyset(&roots, &releases, 2), &roots[..2]);
    assert!(file.info().complete, "{:?}", file.info().missing);
    let (path, sealed) = world
        .seal(&noise(3000), |request| {
            request.keyset = Some(Box::leak(Box::new(
                KeysetFile::parse("k", file.as_bytes().to_vec()).unwrap(),
            )));
            request.signers = Box::leak(Box::new([signer(&releases[0])]));
        })
        .unwrap();
    assert_eq!(sealed.keyset_version, 1);
    assert!(
        sealed
            .warnings
            .iter()
            .any(|warning| warning.to_string().contains("1 of 2"))
    );
    let by_keyset = NamedTrust::Keyset(file);
    let bundle = BundleFile::open(&path).unwrap();
    let error = verify(&bundle, &by_keyset, &Control::default()).unwrap_err();
    assert!(error.to_string().contains("fewer signatures"), "{error}");
    let changed = cosign(
        &bundle,
        &[signer(&releases[2])],
        (&path, Existing::Replace),
        &Control::default(),
    )
    .unwrap();
    assert_eq!((changed.signers.len(), changed.warnings.len()), (2, 0));
    let bundle = BundleFile::open(&path).unwrap();
    assert_eq!(
        verify(&bundle, &by_keyset, &Control::default())
            .unwrap()
            .accepted_under,
        1
    );
    verify(&bundle, &trust(&releases[0]), &Control::default()).unwrap();
}

#[test]
fn rotation_is_signed_by_old_and_new_roots_and_travels_in_the_bundle() {
    let world = World::new();
    let (old, new) = (keys::<3>(KeyKind::Signing), keys::<3>(KeyKind::Signing));
    let first = signed(&keyset(&old, &old[..2], 2), &old[..2]);
    let new_keys: Vec<_> = new.iter().map(public).collect();
    let change = RotateKeyset {
        roots: Some(&new_keys),
        releases: Some(&new_keys),
        ..Default::default()
    };
    let draft = first.rotate("next.keyset", &change).unwrap();
    assert!(!draft.info().complete);
    let half = signed(&draft, &new[..2]);
    assert!(!half.info().complete, "the old roots have not agreed");
    let whole = signed(&half, &old[1..]);
    assert!(whole.info().complete, "{:?}", whole.info().missing);

    let path = world
        .seal(&noise(3000), |request| {
            request.keyset = Some(Box::leak(Box::new(
                KeysetFile::parse("k", whole.as_bytes().to_vec()).unwrap(),
            )));
            request.signers = Box::leak(Box::new([signer(&new[0]), signer(&new[2])]));
        })
        .unwrap()
        .0;
    let bundle = BundleFile::open(&path).unwrap();
    // Somebody who knows version 1 only follows the chain in the bundle.
    let verified = verify(&bundle, &NamedTrust::Keyset(first), &Control::default()).unwrap();
    assert_eq!(verified.accepted_under, 2);
    let inspection = inspect(&bundle).unwrap();
    assert_eq!(
        (inspection.keyset_version, inspection.keysets.len()),
        (2, 2)
    );

    let strangers = signed(&keyset(&new, &new, 1), &new[..1]);
    assert!(verify(&bundle, &NamedTrust::Keyset(strangers), &Control::default()).is_err());
}

#[test]
fn a_keyset_is_signed_on_another_machine() {
    let roots = keys::<2>(KeyKind::Signing);
    let draft = keyset(&roots, &roots, 2);
    let mut file = draft;
    for root in &roots {
        let signature = signer(root).sign(&file.sign_request()).unwrap();
        file = file.attach(("root.sig", &signature), None).unwrap();
    }
    assert!(file.info().complete);
    let stranger = PrivateKey::generate(KeyKind::Signing).unwrap();
    let error = file.sign(&[signer(&stranger)]).err().unwrap();
    assert!(error.to_string().contains("no root"), "{error}");
}

#[test]
fn keysets_that_break_the_rules() {
    let roots = keys::<2>(KeyKind::Signing);
    let both: Vec<_> = roots.iter().map(public).collect();
    let make = |root_threshold, release_threshold, offers: &[SigningPublicKey]| {
        KeysetFile::create(
            "k",
            &NewKeyset {
                vendor: "example.com",
                class: None,
                keys: KeysetKeys {
                    roots: &both,
                    releases: &both,
                    offers,
                    root_threshold,
                    release_threshold,
                },
                max_security_version: 0,
            },
        )
    };
    assert!(make(2, 2, &[]).is_ok());
    assert!(
        make(3, 1, &[]).is_err(),
        "threshold above the number of keys"
    );
    assert!(make(0, 1, &[]).is_err());
    assert!(make(1, 0, &[]).is_err());
    assert!(
        make(1, 1, &both[..1]).is_err(),
        "the online key can't release"
    );
    let file = signed(&make(1, 1, &[]).unwrap(), &roots[..1]);
    let change = RotateKeyset {
        roots: Some(&[]),
        ..Default::default()
    };
    assert!(file.rotate("k", &change).is_err());
    let unsigned = make(1, 1, &[]).unwrap();
    let error = unsigned
        .rotate("k", &RotateKeyset::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("keyset sign"), "{error}");
}

/// R47: what an encrypted release is and who can open it is readable without a key.
#[test]
fn inspection_needs_no_key() {
    let world = World::new();
    let group = PrivateKey::generate(KeyKind::Group).unwrap();
    let everybody = recipients(&[&world.device, &group]);
    let bundle = world.bundle(&noise(100), |request| {
        request.recipients = Box::leak(Box::new(everybody));
        request.min_sequence = 3;
        request.expires_at = 1_900_000_000;
    });
    let inspection = inspect(&bundle).unwrap();
    assert_eq!(
        (
            inspection.version.as_str(),
            inspection.sequence,
            inspection.min_sequence
        ),
        ("1.0.0", 7, 3)
    );
    // uuid.uuid5(uuid.NAMESPACE_DNS, "example.com") in Python.
    assert_eq!(inspection.vendor_id, "cfbff0d1-9375-5685-968c-48ce8b15ae17");
    assert_eq!(inspection.recipients.len(), 2);
    assert!(
        inspection
            .recipients
            .iter()
            .any(|recipient| recipient.generation == Some(1))
    );
    assert_eq!(inspection.signatures.len(), 1);
    assert_eq!(inspection.expires_at, 1_900_000_000);
}
