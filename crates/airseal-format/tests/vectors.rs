//! Every frozen case of `vectors/v1`, made by the independent second implementation.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::path::{Path, PathBuf};

use airseal_format::bundle::{self, SectionKind, Walk};
use airseal_format::cipher::PayloadKeys;
use airseal_format::component::Component;
use airseal_format::envelope::{Envelope, Pack, PackEntry};
use airseal_format::keyset::{CarriedOrder, Followed, SignedKeyset, TrustedKeyset};
use airseal_format::offer::{Offer, Purpose, Question};
use airseal_format::payload::{ImageHasher, PayloadTree};
use airseal_format::recipient::Identity;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::recipient::p256::P256Identity;
use airseal_format::recipient::x25519::X25519Identity;
use airseal_format::signature::{SignatureBlock, SigningPublicKey};
use airseal_format::trust::{TrustAnchor, check_carried_keysets};
use airseal_format::*;
use serde_json::Value;
use sha2::Digest as _;

#[test]
fn every_vector_has_its_expected_outcome() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/v1");
    let index: Value =
        serde_json::from_slice(&std::fs::read(root.join("index.json")).unwrap()).unwrap();
    let context = Context {
        root,
        index: &index,
    };
    let mut ran = 0;
    let mut failures = Vec::new();
    for case in index["cases"].as_array().unwrap() {
        // Key files are the pack crate's part.
        if case["kind"] == "keyfile" {
            continue;
        }
        ran += 1;
        let outcome = context.run(case);
        let verdict = match (case["expect"].as_str().unwrap(), &outcome) {
            ("ok", Ok(())) => Ok(()),
            ("refused", Err(error)) if case["part"] == error.part.word() => Ok(()),
            // A trusted key that is none has no artifact to be part of.
            ("refused", Err(error)) if case["part"] == "key" && error.field == "public_key" => {
                Ok(())
            }
            _ => Err(format!(
                "{}: {} {}/{}/{}; got {outcome:?}",
                case["name"], case["expect"], case["part"], case["field"], case["reason"]
            )),
        };
        failures.extend(verdict.err());
    }
    assert!(
        failures.is_empty(),
        "{} of {ran}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(ran > 300, "only {ran} cases ran");
}

struct Context<'a> {
    root: PathBuf,
    index: &'a Value,
}

impl Context<'_> {
    fn run(&self, case: &Value) -> Result<(), Error> {
        let bytes = self.file(&case["file"]);
        match case["kind"].as_str().unwrap() {
            "bundle" => self.bundle(case, &bytes),
            "manifest" => UnverifiedManifest::parse_prefix(&bytes)
                .and_then(|(_, rest)| SignatureBlock::parse(rest))
                .map(|_| ()),
            "keyset" => {
                let in_force = in_force(&bytes)?;
                assert_eq!(case["keyset_in_force"], in_force.header().version.0);
                Ok(())
            }
            "envelopes" => {
                let digest = Digest(hex32(&case["manifest_digest"]));
                for entry in Pack::new(digest, &bytes)? {
                    entry?;
                }
                Ok(())
            }
            "offer" => self.offer(case, &bytes),
            kind => panic!("unknown kind {kind}"),
        }
    }

    fn bundle(&self, case: &Value, bytes: &[u8]) -> Result<(), Error> {
        let sections = sections(bytes)?;
        let (manifest, rest) = UnverifiedManifest::parse_prefix(sections.manifest)?;
        let signatures = SignatureBlock::parse(rest)?;
        let keyset_file = case["keyset"]
            .is_string()
            .then(|| self.file(&case["keyset"]));
        let carried = || sections.keysets.iter().map(|k| SignedKeyset::parse(k));
        let trusted_keys: Vec<_> = case["trust"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| self.public(name))
            .collect();
        let verified = match &keyset_file {
            Some(file) => {
                let mut keyset = in_force(file)?;
                let mut order = CarriedOrder::default();
                for next in carried() {
                    let next = next?;
                    order.check(&next.keyset)?;
                    keyset = followed(keyset, next)?;
                }
                keyset.verify_manifest(manifest, &signatures)?
            }
            None => {
                check_carried_keysets(carried())?;
                TrustAnchor::new(&trusted_keys)?.verify_manifest(manifest, &signatures)?
            }
        };
        let pack = sections
            .pack
            .map(|pack| pack_of(&verified, pack))
            .transpose()?;
        bundle::check_payload_len(&sections.payload_section, verified.header())?;
        let keys = match case["operation"].as_str().unwrap() {
            "open" => Some(self.keys(case, &verified, pack.unwrap_or_default())?),
            _ => None,
        };
        let mut opened = Vec::new();
        for component in verified.components() {
            let image = walk_component(&verified, &component, sections.payload, keys.as_ref())?;
            opened.push((component, image));
        }
        if case["expect"] == "ok" {
            self.check(case, &verified, &opened);
        }
        Ok(())
    }

    fn check(
        &self,
        case: &Value,
        manifest: &VerifiedManifest<'_>,
        opened: &[(Component, Vec<u8>)],
    ) {
        assert_eq!(case["manifest_digest"], manifest.digest().to_string());
        for (expected, (component, image)) in case["components"]
            .as_array()
            .into_iter()
            .flatten()
            .zip(opened)
        {
            assert_eq!(expected["id"], component.id.0);
            assert_eq!(expected["sha256"], hex::encode(sha2::Sha256::digest(image)));
        }
        if let Some(expected) = case.get("next_group") {
            let (own, header) = (self.identity(&case["key"]), manifest.header());
            let found = manifest
                .carried_groups()
                .find_map(|carried| own.successor(&carried, header.vendor_id, header.class_id))
                .map(|next| next.recipient_id().to_string());
            assert_eq!(expected.as_str(), found.as_deref());
        }
    }

    fn keys(
        &self,
        case: &Value,
        manifest: &VerifiedManifest<'_>,
        pack: Vec<Envelope<'_>>,
    ) -> Result<PayloadKeys, Error> {
        let identity = case["key"].is_string().then(|| self.identity(&case["key"]));
        let own_id = identity.as_ref().map(|identity| identity.recipient_id());
        if let Some(mut targets) = manifest.targets()
            && !targets.any(|id| Some(id) == own_id)
        {
            return Err(Error::new(
                Part::Manifest,
                "targets",
                0,
                Reason::NotARecipient,
            ));
        }
        let Some(identity) = identity else {
            return Ok(PayloadKeys::plain());
        };
        if manifest.header().content_suite == ContentSuite::None {
            return Ok(PayloadKeys::plain());
        }
        let envelope = pack
            .iter()
            .find(|e| e.header().recipient_id == identity.recipient_id())
            .ok_or(Error::new(
                Part::Envelope,
                "recipient_id",
                0,
                Reason::NotARecipient,
            ))?;
        PayloadKeys::open(manifest, &identity.unwrap(envelope)?)
    }

    fn offer(&self, case: &Value, bytes: &[u8]) -> Result<(), Error> {
        let file = self.file(&case["keyset"]);
        let poll = &case["about_poll"];
        let mut question = Question {
            device_nonce: [0; 16],
            recipient_id: RecipientId([0; 16]),
        };
        hex::decode_to_slice(
            poll["device_nonce"].as_str().unwrap(),
            &mut question.device_nonce,
        )
        .unwrap();
        hex::decode_to_slice(
            poll["recipient_id"].as_str().unwrap(),
            &mut question.recipient_id.0,
        )
        .unwrap();
        let offer = Offer::verify(bytes, &in_force(&file)?, &question)?;
        // What the offer is about is the asker's to compare.
        if poll["manifest_digest"] != offer.manifest_digest.to_string() {
            return Err(Error::new(
                Part::Offer,
                "manifest_digest",
                40,
                Reason::OfferMismatch,
            ));
        }
        let purpose = if offer.purpose == Purpose::Install {
            0
        } else {
            1
        };
        assert_eq!(case["purpose"], purpose);
        Ok(())
    }

    fn file(&self, name: &Value) -> Vec<u8> {
        std::fs::read(self.root.join(name.as_str().unwrap())).unwrap()
    }

    fn public(&self, name: &Value) -> SigningPublicKey {
        let key = &self.index["keys"][name.as_str().unwrap()];
        let bytes = hex::decode(key["public"].as_str().unwrap()).unwrap();
        match bytes.len() {
            32 => SigningPublicKey::Ed25519(bytes.try_into().unwrap()),
            _ => SigningPublicKey::EcdsaP256(bytes.try_into().unwrap()),
        }
    }

    fn identity(&self, name: &Value) -> Box<dyn Identity> {
        let key = &self.index["keys"][name.as_str().unwrap()];
        let secret = hex32(&key["secret"]);
        match key["kind"].as_str().unwrap() {
            "device" => Box::new(X25519Identity::new(secret)),
            "device-p256" => Box::new(P256Identity::new(
                p256::SecretKey::from_slice(&secret).unwrap(),
            )),
            "group" => {
                let generation = key["generation"].as_u64().unwrap().try_into().unwrap();
                Box::new(GroupIdentity::new(secret, generation))
            }
            kind => panic!("{kind} opens nothing"),
        }
    }
}

struct Sections<'a> {
    keysets: Vec<&'a [u8]>,
    manifest: &'a [u8],
    pack: Option<&'a [u8]>,
    payload_section: bundle::Section,
    payload: &'a [u8],
}

fn sections(bytes: &[u8]) -> Result<Sections<'_>, Error> {
    let truncated = || Error::new(Part::Bundle, "section", bytes.len(), Reason::Truncated);
    let mut rest = bytes;
    let mut take = |len: usize| -> Result<&[u8], Error> {
        let (taken, tail) = rest.split_at_checked(len).ok_or_else(truncated)?;
        rest = tail;
        Ok(taken)
    };
    let mut walk = Walk::start(take(8)?.first_chunk().unwrap())?;
    let (mut keysets, mut manifest, mut pack) = (Vec::new(), None, None);
    loop {
        let section = walk.section(take(16)?.first_chunk().unwrap())?;
        let body = take(usize::try_from(section.len).unwrap_or(usize::MAX))?;
        match section.kind {
            SectionKind::Keyset => keysets.push(body),
            SectionKind::Manifest => manifest = Some(body),
            SectionKind::EnvelopePack => pack = Some(body),
            SectionKind::Payload => {
                if !rest.is_empty() {
                    return Err(Error::new(
                        Part::Bundle,
                        "end",
                        bytes.len(),
                        Reason::TrailingBytes,
                    ));
                }
                return Ok(Sections {
                    keysets,
                    manifest: manifest.expect("before the payload"),
                    pack,
                    payload_section: section,
                    payload: body,
                });
            }
        }
    }
}

fn in_force(file: &[u8]) -> Result<TrustedKeyset<'_>, Error> {
    let mut keysets = SignedKeyset::parse_file(file);
    let empty = Error::new(Part::Keyset, "magic", 0, Reason::Truncated);
    let mut keyset = keysets.next().ok_or(empty)??.verify_by_itself()?;
    for next in keysets {
        keyset = next?.verify_after(&keyset)?;
    }
    Ok(keyset)
}

fn followed<'a>(
    keyset: TrustedKeyset<'a>,
    next: SignedKeyset<'a>,
) -> Result<TrustedKeyset<'a>, Error> {
    Ok(match keyset.follow(next)? {
        Followed::Skipped => keyset,
        Followed::Newer(newer) => newer,
    })
}

fn pack_of<'a>(
    manifest: &VerifiedManifest<'_>,
    pack: &'a [u8],
) -> Result<Vec<Envelope<'a>>, Error> {
    if manifest.header().content_suite == ContentSuite::None {
        return Err(Error::new(
            Part::Envelope,
            "content_suite",
            0,
            Reason::MustBeZero,
        ));
    }
    Pack::new(manifest.digest(), pack)?
        .filter_map(|entry| match entry {
            Ok(PackEntry::Envelope(envelope)) => Some(Ok(envelope)),
            Ok(PackEntry::UnknownSuite(_)) => None,
            Err(error) => Some(Err(error)),
        })
        .collect()
}

fn walk_component(
    manifest: &VerifiedManifest<'_>,
    component: &Component,
    payload: &[u8],
    keys: Option<&PayloadKeys>,
) -> Result<Vec<u8>, Error> {
    let tree = PayloadTree::new(manifest, component.id)?;
    let g = *tree.geometry();
    let part = |at: u64, len: u32| payload[at as usize..][..len as usize].to_vec();
    let top = tree.verify_top(part(g.top_off(), g.top_len()))?;
    let mut image = Vec::new();
    for page in 0..g.pages() {
        let leaves = top.verify_page(page, part(g.page_off(page), g.page_len(page)))?;
        let first = page * g.profile().fan_out();
        for i in first..first + g.entries(page) {
            let chunk = leaves.verify_chunk(i, part(g.chunk_off(i), g.chunk_len(i)))?;
            if let Some(keys) = keys {
                image.extend(keys.cipher(component.id).decrypt(chunk)?.bytes());
            }
        }
    }
    if let Some(keys) = keys {
        let salt = keys.digest_salt(component.place);
        let mut hasher = ImageHasher::new(component.place, component.install_len, &salt);
        hasher.update(&image);
        if hasher.finish() != component.image_digest {
            return Err(Error::new(
                Part::Payload,
                "image_digest",
                0,
                Reason::ImageMismatch,
            ));
        }
    }
    Ok(image)
}

fn hex32(value: &Value) -> [u8; 32] {
    let mut out = [0; 32];
    hex::decode_to_slice(value.as_str().unwrap(), &mut out).unwrap();
    out
}
