//! The central promise: who holds the server, the content key and a device's own keys
//! still makes no device run a byte that the vendor did not sign.

use airseal_format::cipher::{ChunkSealer, ContentKey, PayloadKeys};
use airseal_format::payload::{Geometry, Profile, leaf_header, node_header, root_header};
use airseal_format::{ComponentId, ContentSuite, Digest, Part, Reason};
use airseal_sim::fixture::To;
use sha2::{Digest as _, Sha256};

use crate::bench::{Bench, IMAGE_LEN, bad_signature, tampered, too_few, wrong};

const CHUNK: usize = 1024;
const FIRST_CHUNK: usize = 64 + 32 * 32;

fn hash(header: &[u8], body: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(header)
        .chain_update(body)
        .finalize()
        .into()
}

/// Encrypts `evil` with the real content key, as chunk 0 would be.
fn forged_chunk(bench: &Bench) -> Vec<u8> {
    let plan = bench.next();
    let key = ContentKey::new(plan.content_key);
    let salt = &plan.header.payload_salt;
    let keys = PayloadKeys::derive(ContentSuite::Aes256Ctr, &key, salt);
    let mut evil = vec![0xEE; CHUNK];
    ChunkSealer::new(&keys, ComponentId(1)).encrypt(0, &mut evil);
    evil
}

#[test]
fn forged_chunk_under_the_right_content_key() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    let evil = forged_chunk(&bench);
    bad.payload[FIRST_CHUNK..FIRST_CHUNK + CHUNK].copy_from_slice(&evil);
    let expected = wrong(Part::Payload, "chunk", FIRST_CHUNK, Reason::ChunkMismatch);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn forged_chunk_and_page() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    let evil = forged_chunk(&bench);
    let leaf = hash(&leaf_header(ComponentId(1), 0, CHUNK as u32), &evil);
    bad.payload[FIRST_CHUNK..FIRST_CHUNK + CHUNK].copy_from_slice(&evil);
    bad.payload[64..96].copy_from_slice(&leaf);
    let expected = wrong(Part::Payload, "page", 64, Reason::PageMismatch);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn forged_chunk_page_and_top() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    let evil = forged_chunk(&bench);
    let leaf = hash(&leaf_header(ComponentId(1), 0, CHUNK as u32), &evil);
    bad.payload[FIRST_CHUNK..FIRST_CHUNK + CHUNK].copy_from_slice(&evil);
    bad.payload[64..96].copy_from_slice(&leaf);
    let node = hash(
        &node_header(ComponentId(1), 0),
        &bad.payload[64..FIRST_CHUNK],
    );
    bad.payload[..32].copy_from_slice(&node);
    let expected = wrong(Part::Payload, "top", 0, Reason::TopMismatch);
    assert_eq!(bench.refuses(&bad), expected);
}

#[test]
fn forged_tree_down_to_the_manifest() {
    let mut bench = Bench::new();
    let mut bad = bench.next().seal();
    let evil = forged_chunk(&bench);
    let leaf = hash(&leaf_header(ComponentId(1), 0, CHUNK as u32), &evil);
    bad.payload[FIRST_CHUNK..FIRST_CHUNK + CHUNK].copy_from_slice(&evil);
    bad.payload[64..96].copy_from_slice(&leaf);
    let node = hash(
        &node_header(ComponentId(1), 0),
        &bad.payload[64..FIRST_CHUNK],
    );
    bad.payload[..32].copy_from_slice(&node);
    let geometry = Geometry::new(Profile::P1, ComponentId(1), 0, IMAGE_LEN as u64).unwrap();
    let root = hash(&root_header(&geometry), &bad.payload[..64]);
    bad.manifest[256 + 64..256 + 96].copy_from_slice(&root);
    bad.digest = Digest(Sha256::digest(&bad.manifest).into());
    let plan = bench.next();
    let own = To::X25519(bench.device.public());
    bad.envelopes = vec![own.seal(bad.digest, &ContentKey::new(plan.content_key))];
    // Consistent from the chunk to the envelope; only the vendor's signature is missing.
    assert_eq!(bench.refuses(&bad), bad_signature());
}

#[test]
fn release_signed_by_the_insider() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.components[0].1 = vec![0xEE; IMAGE_LEN];
    plan.signed_by = vec![66];
    assert_eq!(bench.refuses(&plan.seal()), too_few());
}

#[test]
fn signed_release_with_another_payload_under_its_own_key() {
    let mut bench = Bench::new();
    let good = bench.next().seal();
    let mut evil = bench.next();
    evil.components[0].1 = vec![0xEE; IMAGE_LEN];
    let mut bad = good.clone();
    bad.payload = evil.seal().payload;
    let expected = wrong(Part::Payload, "top", 0, Reason::TopMismatch);
    assert_eq!(bench.refuses(&bad), expected);
    bench.accepts(&good);
}

/// A co-signature can be added, and nothing can be taken away by it.
#[test]
fn signed_release_with_the_insiders_signature_instead() {
    let mut bench = Bench::new();
    let mut plan = bench.next();
    plan.signed_by = vec![66];
    let bad = tampered(&plan, |_| {});
    assert_eq!(bench.refuses(&bad), too_few());
}
