//! A payload that an attacker rewrites: only bytes under the signed root come out.
#![no_main]

use airseal_format::cipher::PayloadKeys;
use airseal_format::component::{Component, Destination, FlashEncryption, Kind};
use airseal_format::manifest::{Header, MAX_SIGNED_LEN, VersionText, encode};
use airseal_format::payload::{
    Geometry, PayloadTree, Profile, leaf_header, node_header, root_header,
};
use airseal_format::signature::{Entry, MAX_BLOCK_LEN, SignatureBlock, SigningPublicKey};
use airseal_format::trust::TrustAnchor;
use airseal_format::{
    Algorithm, ClassId, ComponentId, ContentSuite, Digest, HardwareRevision, KeysetVersion,
    ReleaseSequence, SecurityVersion, UnverifiedManifest, VendorId, manifest, signature,
};
use ed25519_dalek::{Signer, SigningKey};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

fuzz_target!(|data: &[u8]| {
    let Some((&[len_low, len_high, edits], data)) = data.split_first_chunk::<3>() else {
        return;
    };
    let len = 1 + u32::from(u16::from_le_bytes([len_low, len_high]));
    let image: Vec<u8> = data
        .iter()
        .copied()
        .cycle()
        .chain(std::iter::repeat(0))
        .take(len as usize)
        .collect();
    let image = if data.is_empty() {
        vec![0; len as usize]
    } else {
        image
    };
    let (geometry, root, payload) = payload(&image);
    let (signed, block) = signed_manifest(&geometry, root);
    let public = SigningPublicKey::Ed25519(signing_key().verifying_key().to_bytes());
    let trust = [public];
    let trust = TrustAnchor::new(&trust).expect("a good key");
    let manifest = UnverifiedManifest::parse(&signed).expect("a good manifest");
    let block = SignatureBlock::parse(&block).expect("a good block");
    let manifest = trust.verify_manifest(manifest, &block).expect("signed");

    let mut hostile = payload.clone();
    for edit in data.as_chunks::<4>().0.iter().take(usize::from(edits % 8)) {
        let at = u32::from_le_bytes([edit[0], edit[1], edit[2], 0]) as usize % hostile.len();
        hostile[at] ^= edit[3];
    }
    walk(&manifest, &hostile, &image);
});

/// Everything that verifies must be the image; a changed byte must stop the walk.
fn walk(manifest: &airseal_format::VerifiedManifest<'_>, payload: &[u8], image: &[u8]) {
    let tree = PayloadTree::new(manifest, COMPONENT).expect("the component exists");
    let geometry = *tree.geometry();
    let part = |at: u64, len: u32| &payload[at as usize..at as usize + len as usize];
    let Ok(top) = tree.verify_top(part(geometry.top_off(), geometry.top_len())) else {
        return;
    };
    for page in 0..geometry.pages() {
        let Ok(page) =
            top.verify_page(page, part(geometry.page_off(page), geometry.page_len(page)))
        else {
            return;
        };
        let first = page.number() * geometry.profile().fan_out();
        for chunk in first..first + geometry.entries(page.number()) {
            let bytes = part(geometry.chunk_off(chunk), geometry.chunk_len(chunk)).to_vec();
            let Ok(chunk) = page.verify_chunk(chunk, bytes) else {
                return;
            };
            let plain = PayloadKeys::plain()
                .cipher(COMPONENT)
                .decrypt(chunk)
                .expect("its own component");
            let at = plain.byte_offset() as usize;
            assert_eq!(plain.bytes(), &image[at..at + plain.bytes().len()]);
        }
    }
}

fn payload(image: &[u8]) -> (Geometry, Digest, Vec<u8>) {
    let geometry = Geometry::new(Profile::P1, COMPONENT, 0, image.len() as u64).expect("fits");
    let leaves: Vec<[u8; 32]> = (0..geometry.chunks())
        .map(|chunk| {
            let at = geometry.byte_offset(chunk) as usize;
            let len = geometry.chunk_len(chunk);
            hash(
                &leaf_header(COMPONENT, chunk, len),
                &image[at..at + len as usize],
            )
        })
        .collect();
    let pages: Vec<Vec<u8>> = leaves
        .chunks(geometry.profile().fan_out() as usize)
        .map(<[_]>::as_flattened)
        .map(<[u8]>::to_vec)
        .collect();
    let top: Vec<[u8; 32]> = (0u32..)
        .zip(&pages)
        .map(|(number, page)| hash(&node_header(COMPONENT, number), page))
        .collect();
    let root = Digest(hash(&root_header(&geometry), top.as_flattened()));
    let mut payload = top.as_flattened().to_vec();
    let group = (geometry.profile().fan_out() * geometry.profile().chunk_len()) as usize;
    for (page, chunks) in pages.iter().zip(image.chunks(group)) {
        payload.extend_from_slice(page);
        payload.extend_from_slice(chunks);
    }
    assert_eq!(payload.len() as u64, geometry.stored_len());
    (geometry, root, payload)
}

fn signed_manifest(geometry: &Geometry, tree_root: Digest) -> (Vec<u8>, Vec<u8>) {
    let header = Header {
        content_suite: ContentSuite::None,
        profile: geometry.profile(),
        vendor_id: VendorId([1; 16]),
        class_id: ClassId([2; 16]),
        hw_rev_min: HardwareRevision(0),
        hw_rev_max: HardwareRevision(9),
        keyset_version: KeysetVersion(0),
        release_seq: ReleaseSequence(1),
        security_version: SecurityVersion(0),
        min_from_security_version: SecurityVersion(0),
        min_from_seq: ReleaseSequence(0),
        built_at: 0,
        expires_at: 0,
        payload_len: geometry.stored_len(),
        payload_salt: [0; 32],
        cek_commit: [0; 32],
        version: VersionText::new("1.0.0").expect("short"),
    };
    let component = Component {
        id: COMPONENT,
        kind: Kind::App,
        target_chip: Component::ANY_CHIP,
        place: 0,
        file_off: 0,
        enc_len: geometry.enc_len(),
        install_len: geometry.enc_len(),
        destination: Destination::AnySlot,
        flash_encryption: FlashEncryption::None,
        tree_root,
        image_digest: Digest([3; 32]),
    };
    let mut signed = [0; MAX_SIGNED_LEN];
    let len = encode(&header, &[component], &[], &mut signed).expect("a good manifest");
    let signed = &signed[..len];
    let key = signing_key();
    let value = key
        .sign(&[manifest::SIGNING_CONTEXT, signed].concat())
        .to_bytes();
    let id = signature::key_id(Algorithm::Ed25519, key.verifying_key().as_bytes());
    let mut block = [0; MAX_BLOCK_LEN];
    let len = signature::encode(&[Entry::new(Algorithm::Ed25519, id, &value)], &mut block)
        .expect("one entry");
    (signed.to_vec(), block[..len].to_vec())
}

fn hash(header: &[u8], body: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(header)
        .chain_update(body)
        .finalize()
        .into()
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

const COMPONENT: ComponentId = ComponentId(1);
