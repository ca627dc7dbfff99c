//! The device reads the frozen bundles of `vectors/v1`: every sin is refused in the part
//! that the vector names, before a slot byte is touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use airseal_format::keyset::{KeyRow, Roles, SignedKeyset};
use airseal_format::recipient::Identity;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::recipient::p256::P256Identity;
use airseal_format::recipient::x25519::X25519Identity;
use airseal_format::signature::SigningPublicKey;
use airseal_format::{
    ClassId, Digest, KeysetVersion, Part, Reason, SecurityVersion, VendorId, keyset,
};
use airseal_pack::key::{KeyFile, NoPassphrase, PrivateKey};
use airseal_sim::SimDevice;
use airseal_sim::stream::StdStream;
use airseal_update::blocking::{Blocking, block_on};
use airseal_update::transport::{BundleReader, stream};
use airseal_update::{Config, Factory, Policy, Refusal, UpdateSession};
use serde::Deserialize;

use crate::bench::{bad_signature, model, wrong};

#[derive(Deserialize)]
struct Index {
    keys: BTreeMap<String, Key>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Key {
    kind: String,
    public: Option<String>,
    secret: Option<String>,
    generation: Option<u32>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    file: String,
    kind: String,
    operation: String,
    expect: String,
    key: Option<String>,
    trust: Option<Vec<String>>,
    keyset: Option<String>,
    part: Option<String>,
    reason: Option<String>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/v1")
}

impl Index {
    fn read() -> Self {
        serde_json::from_slice(&fs::read(folder().join("index.json")).unwrap()).unwrap()
    }

    fn bundles(&self, expect: &str) -> impl Iterator<Item = &Case> {
        let is_wanted = move |case: &&Case| case.kind == "bundle" && case.expect == expect;
        self.cases.iter().filter(is_wanted)
    }

    /// The key of this name, as a device holds it.
    fn identity(&self, name: &str) -> Box<dyn Identity> {
        let key = &self.keys[name];
        let secret = || -> [u8; 32] {
            let bytes = hex::decode(key.secret.as_ref().unwrap()).unwrap();
            bytes.try_into().unwrap()
        };
        match key.kind.as_str() {
            "device" => Box::new(X25519Identity::new(secret())),
            "group" => Box::new(GroupIdentity::new(secret(), key.generation.unwrap())),
            _ => {
                let path = folder().join(format!("keys/{name}.key"));
                match KeyFile::read(&path, None, &NoPassphrase).unwrap().key {
                    KeyFile::Private(PrivateKey::DeviceP256(secret)) => {
                        Box::new(P256Identity::new(secret))
                    }
                    _ => panic!("{name} is no device key"),
                }
            }
        }
    }

    fn public(&self, name: &str) -> SigningPublicKey {
        let bytes = hex::decode(self.keys[name].public.as_ref().unwrap()).unwrap();
        match <[u8; 32]>::try_from(&bytes[..]) {
            Ok(key) => SigningPublicKey::Ed25519(key),
            Err(_) => SigningPublicKey::EcdsaP256(bytes.try_into().unwrap()),
        }
    }

    /// The keyset in force: the case's, or one that trusts the case's keys. The latter has
    /// the highest version, so that carried keysets are passed over.
    fn keyset(&self, case: &Case, vendor_id: VendorId) -> Option<Vec<u8>> {
        if let Some(file) = &case.keyset {
            let bytes = fs::read(folder().join(file)).unwrap();
            let last = SignedKeyset::parse_file(&bytes).last().unwrap().unwrap();
            return Some(last.keyset.signed_bytes().to_vec());
        }
        let trusted = case.trust.iter().flatten();
        let both = Roles::ROOT.and(Roles::RELEASE);
        let mut rows: Vec<KeyRow> = trusted
            .map(|name| KeyRow::new(&self.public(name), both))
            .collect();
        rows.sort_by_key(|row| row.key_id);
        let header = keyset::Header {
            version: KeysetVersion(u32::MAX),
            vendor_id,
            class_id: ClassId([0; 16]),
            prev_digest: Digest([1; 32]),
            max_security_version: SecurityVersion(u32::MAX),
            k_root: 1,
            k_root_pq: 0,
            k_release: 1,
            k_release_pq: 0,
        };
        let mut signed = vec![0; keyset::MAX_SIGNED_LEN];
        let len = keyset::encode(&header, &rows, &mut signed).ok()?;
        signed.truncate(len);
        Some(signed)
    }

    /// A fresh device of the case's vendor tries the case's file.
    fn attempt(&self, case: &Case) -> Option<(Result<(), Refusal>, SimDevice)> {
        let bundle = fs::read(folder().join(&case.file)).unwrap();
        let vendor = ids_in(&bundle).0;
        let keyset = self.keyset(case, VendorId(vendor))?;
        let names = match &case.key {
            Some(name) => vec![name.as_str()],
            // Opened without a key: by a device that nobody sealed to.
            None if case.operation == "open" => vec!["device-3"],
            None => vec!["device-1", "device-2", "group-0"],
        };
        let held: Vec<Box<dyn Identity>> = names.iter().map(|name| self.identity(name)).collect();
        let identities: Vec<&dyn Identity> = held.iter().map(|own| &**own).collect();
        let mut model = model();
        model.slot_len = 64 * 4096;
        let mut device = SimDevice::new(model, &[7; 32]);
        let result = device.with(|device, config, buffers| {
            let vendor_id = keyset[16..32].try_into().map(VendorId).unwrap();
            let config = Config {
                keyset: &keyset,
                identities: &identities,
                vendor_id,
                class_id: ClassId(ids_in(&bundle).1),
                chip: 5,
                factory: Some(Factory::default()),
                policy: Policy {
                    allow_plain: true,
                    ..Policy::default()
                },
                ..*config
            };
            block_on(async {
                let mut session = UpdateSession::begin(device, &config, buffers).await?;
                let mut reader = BundleReader::with_total_len(bundle.len() as u64);
                let mut source = Blocking(StdStream(&bundle[..]));
                stream::update(&mut session, &mut reader, &mut source, &mut [0; 1000]).await
            })
        });
        Some((result, device))
    }
}

/// Vendor and class of the first manifest in a bundle; those of most vectors without one.
fn ids_in(bundle: &[u8]) -> ([u8; 16], [u8; 16]) {
    let known = |text: &str| hex::decode(text).unwrap().try_into().unwrap();
    let at = bundle.windows(4).position(|window| window == b"ASM1");
    let ids = at.and_then(|at| bundle.get(at + 24..at + 56));
    match ids.and_then(|ids| ids.split_first_chunk()) {
        Some((vendor, class)) => (*vendor, class.try_into().unwrap()),
        None => (
            known("4db05a89dd705d8e9ff85731a9945620"),
            known("b28661d39d4c5b859fdbc944883ccf1f"),
        ),
    }
}

/// Part and reason of a refusal, in the words of the vectors.
fn words(refusal: &Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::Format(error) => (error.part.word(), error.reason.word()),
        other => ("device", other.word()),
    }
}

#[test]
fn every_sin_of_the_vectors() {
    let index = Index::read();
    let (mut refused, mut late) = (0, Vec::new());
    let mut differences = String::new();
    for case in index.bundles("refused") {
        if case.name.starts_with("trust-carried-") {
            // For hosts without a keyset; a device passes over keysets it has outgrown.
            continue;
        }
        let Some((result, device)) = index.attempt(case) else {
            // A weak key can't be in a keyset in the first place.
            assert_eq!(case.part.as_deref(), Some("key"), "{}", case.name);
            continue;
        };
        let refusal = result.expect_err(&case.name);
        let (part, reason) = words(&refusal);
        let expected = (
            case.part.as_deref().unwrap(),
            case.reason.as_deref().unwrap(),
        );
        if (part, reason) != expected {
            let (expected_part, expected_reason) = expected;
            differences += &format!(
                "{}: {part} {reason}, not {expected_part} {expected_reason}\n",
                case.name
            );
        }
        if device.flash().touched(&device.slots()) > 0 {
            late.push(case.name.as_str());
        }
        refused += 1;
    }
    println!("{refused} vectors refused");
    assert_eq!(
        differences.lines().collect::<Vec<_>>(),
        DIFFERENCES.lines().collect::<Vec<_>>(),
        "seen:\n{differences}"
    );
    assert_eq!(late, LATE);
    assert!(refused > 200);
}

/// The refusal of one vector, before any slot byte is touched.
fn refuses(name: &str) -> Refusal {
    let index = Index::read();
    let case = index.cases.iter().find(|case| case.name == name).unwrap();
    let (result, device) = index.attempt(case).unwrap();
    assert_eq!(device.flash().touched(&device.slots()), 0);
    result.unwrap_err()
}

#[test]
fn signature_that_is_not_canonical() {
    assert_eq!(refuses("ed25519-s-plus-order"), bad_signature());
    assert_eq!(refuses("ed25519-noncanonical-r"), bad_signature());
}

#[test]
fn signature_of_small_order() {
    assert_eq!(refuses("ed25519-small-order-r"), bad_signature());
    assert_eq!(refuses("ed25519-holds-only-with-cofactor"), bad_signature());
}

#[test]
fn signature_with_high_s() {
    let expected = wrong(Part::Signatures, "signature", 4, Reason::HighS);
    assert_eq!(refuses("p256-high-s"), expected);
}

#[test]
fn key_of_small_order() {
    let index = Index::read();
    let weak = index
        .bundles("refused")
        .filter(|case| case.part.as_deref() == Some("key"));
    let mut count = 0;
    for case in weak {
        // No keyset can hold it, so no release is ever verified with it.
        assert!(index.attempt(case).is_none(), "{}", case.name);
        count += 1;
    }
    assert!(count >= 4);
}

#[test]
fn good_vectors_are_staged_or_refused_by_this_devices_limits() {
    let index = Index::read();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for case in index.bundles("ok") {
        let (result, device) = index.attempt(case).unwrap();
        let word = match result {
            Ok(()) => "staged",
            Err(refusal) => {
                assert_eq!(device.flash().touched(&device.slots()), 0, "{}", case.name);
                println!("{}: {refusal:?}", case.name);
                words(&refusal).1
            }
        };
        *seen.entry(word).or_default() += 1;
    }
    println!("{seen:?}");
    assert!(seen["staged"] >= 40);
}

/// Sins that only show after good chunks: those may lie in the slot.
const LATE: [&str; 3] = [
    "payload-flip-second-page",
    "image-digest-suite-0",
    "image-digest-suite-1",
];

/// Where the device, which reads a stream and opens before it reads the payload, meets
/// another fault first or has a name of its own for it.
const DIFFERENCES: &str = "\
bundle-empty: device ended, not bundle truncated
bundle-magic: device not-a-release, not bundle magic
bundle-sections-more-than-said: bundle sum, not bundle missing
bundle-sections-fewer-than-said: bundle sum, not bundle truncated
section-length-overflow: bundle out-of-range, not bundle truncated
sections-payload-before-envelopes: bundle sum, not bundle order
sections-two-payloads: bundle sum, not bundle order
sections-no-payload: bundle sum, not bundle missing
sections-empty-envelope-pack: bundle out-of-range, not bundle missing
truncated-header: device ended, not bundle truncated
truncated-before-keyset: device ended, not bundle truncated
truncated-in-keyset-header: device ended, not bundle truncated
truncated-at-keyset-start: device ended, not bundle truncated
truncated-in-keyset: device ended, not bundle truncated
truncated-before-manifest: device ended, not bundle truncated
truncated-in-manifest-header: device ended, not bundle truncated
truncated-at-manifest-start: device ended, not bundle truncated
truncated-in-manifest: device ended, not bundle truncated
truncated-before-envelopes: device ended, not bundle truncated
truncated-in-envelopes-header: device ended, not bundle truncated
truncated-at-envelopes-start: device ended, not bundle truncated
truncated-in-envelopes: device ended, not bundle truncated
truncated-before-payload: device ended, not bundle truncated
truncated-in-payload-header: device ended, not bundle truncated
manifest-magic: device not-a-release, not manifest magic
manifest-signed-len-short: manifest sum, not manifest out-of-range
not-among-targets: device not-targeted, not manifest not-a-recipient
not-among-targets-other-generation: device not-targeted, not manifest not-a-recipient
not-among-targets-plain: device not-targeted, not manifest not-a-recipient
signatures-over-4-kib: device manifest-too-large, not signatures limit
lms-required-and-missing: signatures unsupported, not signatures too-few-signatures";
