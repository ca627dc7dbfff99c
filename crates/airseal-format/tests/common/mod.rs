//! A small signed release, built from the encoders alone.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a helper shared by test files, each of which uses its part"
)]

use airseal_format::cipher::{ChunkSealer, ContentKey, PayloadKeys};
use airseal_format::component::{Component, Destination, FlashEncryption, Kind};
use airseal_format::keyset::{self, KeyRow, Roles};
use airseal_format::manifest::{self, Extension, Header, VersionText};
use airseal_format::payload::{self, Geometry, Profile};
use airseal_format::signature::{self, Entry, SigningPublicKey};
use airseal_format::*;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest as _, Sha256};

pub fn signer(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

pub fn public(n: u8) -> SigningPublicKey {
    SigningPublicKey::Ed25519(signer(n).verifying_key().to_bytes())
}

pub fn content_key() -> ContentKey {
    ContentKey::new([0xC7; 32])
}

pub struct Release {
    pub signed: Vec<u8>,
    pub signatures: Vec<u8>,
    pub payload: Vec<u8>,
    pub plaintext: Vec<u8>,
}

pub fn header(suite: ContentSuite) -> Header {
    let salt = match suite {
        ContentSuite::None => [0; 32],
        _ => [0x5A; 32],
    };
    Header {
        content_suite: suite,
        profile: Profile::P1,
        vendor_id: VendorId([1; 16]),
        class_id: ClassId([2; 16]),
        hw_rev_min: HardwareRevision(1),
        hw_rev_max: HardwareRevision(3),
        keyset_version: KeysetVersion(1),
        release_seq: ReleaseSequence(7),
        security_version: SecurityVersion(2),
        min_from_security_version: SecurityVersion(0),
        min_from_seq: ReleaseSequence(0),
        built_at: 1_700_000_000,
        expires_at: 0,
        payload_len: 0,
        payload_salt: salt,
        cek_commit: PayloadKeys::derive(suite, &content_key(), &salt).commitment(),
        version: VersionText::new("1.0.0").unwrap(),
    }
}

/// Seals one app component; the slow, plain way.
pub fn seal(mut header: Header, plaintext: &[u8], extensions: &[Extension<'_>]) -> Release {
    let keys = PayloadKeys::derive(header.content_suite, &content_key(), &header.payload_salt);
    let id = ComponentId(1);
    let len = plaintext.len() as u64;
    let g = Geometry::new(header.profile, id, 0, len).unwrap();
    let mut ciphertext = plaintext.to_vec();
    ChunkSealer::new(&keys, id).encrypt(0, &mut ciphertext);
    let (mut top, mut groups) = (Vec::new(), Vec::new());
    for page in 0..g.pages() {
        let first = page * header.profile.fan_out();
        let (mut leaves, mut chunks) = (Vec::new(), Vec::new());
        for i in first..first + g.entries(page) {
            let at = g.byte_offset(i) as usize;
            let chunk = &ciphertext[at..at + g.chunk_len(i) as usize];
            leaves.extend(hash(&payload::leaf_header(id, i, g.chunk_len(i)), chunk));
            chunks.extend_from_slice(chunk);
        }
        top.extend(hash(&payload::node_header(id, page), &leaves));
        groups.extend(leaves);
        groups.extend(chunks);
    }
    let mut image = payload::ImageHasher::new(0, len, &keys.digest_salt(0));
    image.update(plaintext);
    let component = Component {
        id,
        kind: Kind::App,
        target_chip: 5,
        place: 0,
        file_off: 0,
        enc_len: len,
        install_len: len,
        destination: Destination::AnySlot,
        flash_encryption: FlashEncryption::None,
        tree_root: Digest(hash(&payload::root_header(&g), &top)),
        image_digest: image.finish(),
    };
    header.payload_len = g.stored_len();
    let mut signed = vec![0; manifest::MAX_SIGNED_LEN];
    let len = manifest::encode(&header, &[component], extensions, &mut signed).unwrap();
    signed.truncate(len);
    let signatures = sign(manifest::SIGNING_CONTEXT, &signed, &[10]);
    top.extend(groups);
    Release {
        signed,
        signatures,
        payload: top,
        plaintext: plaintext.to_vec(),
    }
}

pub fn sign(context: &[u8], signed: &[u8], signers: &[u8]) -> Vec<u8> {
    let message = [context, signed].concat();
    let mut made: Vec<_> = signers
        .iter()
        .map(|&n| (public(n).key_id(), signer(n).sign(&message).to_bytes()))
        .collect();
    made.sort();
    block(
        &made
            .iter()
            .map(|(id, s)| (Algorithm::Ed25519, *id, &s[..]))
            .collect::<Vec<_>>(),
    )
}

pub fn block(entries: &[(Algorithm, KeyId, &[u8])]) -> Vec<u8> {
    let entries: Vec<_> = entries
        .iter()
        .map(|&(a, k, v)| Entry::new(a, k, v))
        .collect();
    let mut out = vec![0; signature::MAX_BLOCK_LEN];
    let len = signature::encode(&entries, &mut out).unwrap();
    out.truncate(len);
    out
}

pub fn keyset_header(version: u32, prev: Digest) -> keyset::Header {
    keyset::Header {
        version: KeysetVersion(version),
        vendor_id: VendorId([1; 16]),
        class_id: ClassId([0; 16]),
        prev_digest: prev,
        max_security_version: SecurityVersion(9),
        k_root: 2,
        k_root_pq: 0,
        k_release: 1,
        k_release_pq: 0,
    }
}

/// Signed bytes of a keyset with three roots, one release and one offer key.
pub fn keyset(header: &keyset::Header, roots: [u8; 3], release: u8) -> Vec<u8> {
    let mut rows: Vec<_> = roots
        .iter()
        .map(|&n| KeyRow::new(&public(n), Roles::ROOT))
        .collect();
    rows.push(KeyRow::new(&public(release), Roles::RELEASE));
    rows.push(KeyRow::new(&public(40), Roles::OFFER));
    rows.sort_by_key(|row| row.key_id);
    let mut out = vec![0; keyset::MAX_SIGNED_LEN];
    let len = keyset::encode(header, &rows, &mut out).unwrap();
    out.truncate(len);
    out
}

pub fn signed_keyset(signed: &[u8], signers: &[u8]) -> Vec<u8> {
    [
        signed.to_vec(),
        sign(keyset::SIGNING_CONTEXT, signed, signers),
    ]
    .concat()
}

/// Version 1: roots 20, 21, 22 (two needed), release key 10.
pub fn first_keyset() -> Vec<u8> {
    let signed = keyset(&keyset_header(1, Digest([0; 32])), [20, 21, 22], 10);
    signed_keyset(&signed, &[20, 21])
}

fn hash(header: &[u8], body: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(header)
        .chain_update(body)
        .finalize()
        .into()
}
