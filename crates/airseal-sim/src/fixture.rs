//! Releases and keysets for tests, right ones and wrong ones, made from the format's
//! encoders alone. Their keys are numbers: nothing made here is secret.

use airseal_format::bundle::{self, Section, SectionKind};
use airseal_format::cipher::{ChunkSealer, ContentKey, PayloadKeys};
use airseal_format::component::{Component, Destination, FlashEncryption, Kind};
use airseal_format::envelope;
use airseal_format::keyset::{self, KeyRow, Roles};
use airseal_format::manifest::{self, Extension, VersionText};
use airseal_format::payload::{self, Geometry, ImageHasher, Profile};
use airseal_format::recipient::HPKE_INFO;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::signature::{self, Entry, SigningPublicKey};
use airseal_format::{
    Algorithm, ClassId, ComponentId, ContentSuite, Digest, HardwareRevision, KeysetVersion,
    RecipientId, ReleaseSequence, SecurityVersion, VendorId, WrapSuite,
};
use ed25519_dalek::{Signer, SigningKey};
use hpke::aead::{AeadTag, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use sha2::{Digest as _, Sha256};

use crate::random::Noise;

/// The vendor of every fixture.
pub const VENDOR: VendorId = VendorId([0xA1; 16]);
/// The class of every fixture.
pub const CLASS: ClassId = ClassId([0xB2; 16]);

/// The signing key of number `n`.
#[must_use]
pub fn signer(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

/// The public key of number `n`.
#[must_use]
pub fn public(n: u8) -> SigningPublicKey {
    SigningPublicKey::Ed25519(signer(n).verifying_key().to_bytes())
}

/// A keyset of one version: roots, release keys and thresholds.
#[derive(Clone, Debug)]
pub struct KeysetPlan {
    /// Its version.
    pub version: u32,
    /// Digest of the keyset before; zero for version 1.
    pub prev: Digest,
    /// Numbers of the root keys.
    pub roots: Vec<u8>,
    /// Numbers of the release keys.
    pub release: Vec<u8>,
    /// Number of the offer key, if there is one.
    pub offer: Option<u8>,
    /// Root signatures needed.
    pub k_root: u8,
    /// Release signatures needed.
    pub k_release: u8,
    /// Whose it is.
    pub vendor_id: VendorId,
    /// Which class; zero for all.
    pub class_id: ClassId,
    /// No release above this security version.
    pub max_security_version: u32,
    /// Numbers of the keys that sign it.
    pub signed_by: Vec<u8>,
}

impl KeysetPlan {
    /// Version 1: roots 1 to 3 of which 2 sign, release key 10, offer key 20.
    #[must_use]
    pub fn first() -> Self {
        Self {
            version: 1,
            prev: Digest([0; 32]),
            roots: vec![1, 2, 3],
            release: vec![10],
            offer: Some(20),
            k_root: 2,
            k_release: 1,
            vendor_id: VENDOR,
            class_id: CLASS,
            max_security_version: 1000,
            signed_by: vec![1, 2],
        }
    }

    /// The successor: the same keys, signed by roots 1 and 2.
    #[must_use]
    pub fn next(&self) -> Self {
        Self {
            version: self.version + 1,
            prev: Digest(Sha256::digest(self.signed()).into()),
            ..self.clone()
        }
    }

    /// The signed bytes.
    ///
    /// # Panics
    /// When the plan breaks a rule of the format.
    #[must_use]
    pub fn signed(&self) -> Vec<u8> {
        let mut rows: Vec<KeyRow> = Vec::new();
        for (numbers, role) in [(&self.roots, Roles::ROOT), (&self.release, Roles::RELEASE)] {
            for &n in numbers {
                let id = public(n).key_id();
                match rows.iter_mut().find(|row| row.key_id == id) {
                    Some(row) => row.roles = row.roles.and(role),
                    None => rows.push(KeyRow::new(&public(n), role)),
                }
            }
        }
        rows.extend(self.offer.map(|n| KeyRow::new(&public(n), Roles::OFFER)));
        rows.sort_by_key(|row| row.key_id);
        let header = keyset::Header {
            version: KeysetVersion(self.version),
            vendor_id: self.vendor_id,
            class_id: self.class_id,
            prev_digest: self.prev,
            max_security_version: SecurityVersion(self.max_security_version),
            k_root: self.k_root,
            k_root_pq: 0,
            k_release: self.k_release,
            k_release_pq: 0,
        };
        let mut out = vec![0; keyset::MAX_SIGNED_LEN];
        let len = keyset::encode(&header, &rows, &mut out).expect("the plan follows the format");
        out.truncate(len);
        out
    }

    /// The section: signed bytes and signatures.
    #[must_use]
    pub fn section(&self) -> Vec<u8> {
        let mut signed = self.signed();
        let signatures = sign(keyset::SIGNING_CONTEXT, &signed, &self.signed_by);
        signed.extend(signatures);
        signed
    }
}

/// A recipient of a release.
#[derive(Clone, Copy, Debug)]
pub enum To {
    /// An X25519 public key.
    X25519([u8; 32]),
    /// A group key and its generation.
    Group([u8; 32], u32),
}

impl To {
    /// Its recipient id.
    #[must_use]
    pub fn id(&self) -> RecipientId {
        match self {
            To::X25519(public) => {
                airseal_format::recipient::recipient_id(WrapSuite::HpkeX25519, public)
            }
            To::Group(key, generation) => {
                airseal_format::recipient::group_recipient_id(key, *generation)
            }
        }
    }

    /// An envelope for it.
    ///
    /// # Panics
    /// When the X25519 key is of small order.
    #[must_use]
    pub fn seal(&self, digest: Digest, key: &ContentKey) -> Vec<u8> {
        match self {
            To::Group(secret, generation) => GroupIdentity::new(*secret, *generation)
                .seal(digest, key)
                .to_vec(),
            To::X25519(public) => {
                let header = envelope::Header::encode(WrapSuite::HpkeX25519, self.id(), digest);
                let info = [HPKE_INFO, &header].concat();
                let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public)
                    .expect("32 bytes are an X25519 key");
                let mut noise = FixedRng(Noise::new(u64::from(digest.0[0])));
                let (enc, mut context) = hpke::setup_sender_with_rng::<
                    ChaCha20Poly1305,
                    HkdfSha256,
                    X25519HkdfSha256,
                >(
                    &OpModeS::Base, &public, &info, &mut noise
                )
                .expect("the key is of full order");
                let mut sealed = *key.expose();
                let tag: AeadTag<ChaCha20Poly1305> = context
                    .seal_inout_detached(sealed.as_mut_slice().into(), b"")
                    .expect("one message fits");
                [&header[..], &enc.to_bytes(), &sealed, &tag.to_bytes()].concat()
            }
        }
    }
}

/// What a release is made of. Change any field before [`seal`](Self::seal).
#[derive(Clone)]
pub struct ReleasePlan {
    /// Values of the manifest's header; lengths and commitment are filled in.
    pub header: manifest::Header,
    /// Components in order; offsets, roots and digests are filled in.
    pub components: Vec<(Component, Vec<u8>)>,
    /// Extensions: number and value.
    pub extensions: Vec<(u16, Vec<u8>)>,
    /// Numbers of the keys that sign.
    pub signed_by: Vec<u8>,
    /// Who gets an envelope.
    pub to: Vec<To>,
    /// Keyset sections that travel along.
    pub keysets: Vec<Vec<u8>>,
    /// The content key.
    pub content_key: [u8; 32],
}

impl ReleasePlan {
    /// Release `seq` of an app whose bytes are `image`: 1 KiB chunks, AES, signed by key 10.
    #[must_use]
    pub fn new(seq: u64, image: Vec<u8>, to: Vec<To>) -> Self {
        let mut salt = [0x5A; 32];
        salt[..8].copy_from_slice(&(seq + 1).to_le_bytes());
        Self {
            header: manifest::Header {
                content_suite: ContentSuite::Aes256Ctr,
                profile: Profile::P1,
                vendor_id: VENDOR,
                class_id: CLASS,
                hw_rev_min: HardwareRevision(0),
                hw_rev_max: HardwareRevision(9),
                keyset_version: KeysetVersion(1),
                release_seq: ReleaseSequence(seq),
                security_version: SecurityVersion(1),
                min_from_security_version: SecurityVersion(0),
                min_from_seq: ReleaseSequence(0),
                built_at: 1_700_000_000,
                expires_at: 0,
                payload_len: 0,
                payload_salt: salt,
                cek_commit: [0; 32],
                version: VersionText::new(&format!("1.0.{seq}")).expect("short ASCII"),
            },
            components: vec![(app(1, 0), image)],
            extensions: Vec::new(),
            signed_by: vec![10],
            to,
            keysets: Vec::new(),
            content_key: [0xC0 ^ seq as u8; 32],
        }
    }

    /// Encrypts, hashes, signs and wraps.
    ///
    /// # Panics
    /// When the plan breaks a rule of the format.
    #[must_use]
    pub fn seal(&self) -> Sealed {
        let mut header = self.header;
        let is_plain = header.content_suite == ContentSuite::None;
        if is_plain {
            header.payload_salt = [0; 32];
        }
        let content_key = ContentKey::new(self.content_key);
        let keys = match is_plain {
            true => PayloadKeys::plain(),
            false => PayloadKeys::derive(header.content_suite, &content_key, &header.payload_salt),
        };
        header.cek_commit = keys.commitment();
        let mut payload = Vec::new();
        let mut components = Vec::new();
        for (component, image) in &self.components {
            let (bytes, component) = seal_component(
                component,
                image,
                header.profile,
                &keys,
                payload.len() as u64,
            );
            payload.extend(bytes);
            components.push(component);
        }
        header.payload_len = payload.len() as u64;
        let extensions: Vec<Extension<'_>> = self
            .extensions
            .iter()
            .map(|(number, value)| Extension {
                number: *number,
                value,
            })
            .collect();
        let mut signed = vec![0; manifest::MAX_SIGNED_LEN];
        let len = manifest::encode(&header, &components, &extensions, &mut signed)
            .expect("the plan follows the format");
        signed.truncate(len);
        let digest = Digest(Sha256::digest(&signed).into());
        let mut to: Vec<&To> = self.to.iter().filter(|_| !is_plain).collect();
        to.sort_by_key(|to| to.id());
        Sealed {
            keysets: self.keysets.clone(),
            signatures: sign(manifest::SIGNING_CONTEXT, &signed, &self.signed_by),
            manifest: signed,
            envelopes: to.iter().map(|to| to.seal(digest, &content_key)).collect(),
            payload,
            digest,
        }
    }
}

/// The parts of a sealed release, to be put together or to be damaged first.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Keyset sections.
    pub keysets: Vec<Vec<u8>>,
    /// The signed manifest.
    pub manifest: Vec<u8>,
    /// Its signature block.
    pub signatures: Vec<u8>,
    /// Envelopes, ascending by recipient.
    pub envelopes: Vec<Vec<u8>>,
    /// The payload.
    pub payload: Vec<u8>,
    /// The manifest's digest.
    pub digest: Digest,
}

impl Sealed {
    /// Manifest and signatures.
    #[must_use]
    pub fn manifest_section(&self) -> Vec<u8> {
        [&self.manifest[..], &self.signatures].concat()
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> Vec<u8> {
        let mut sections: Vec<(SectionKind, Vec<u8>)> = Vec::new();
        for keyset in &self.keysets {
            sections.push((SectionKind::Keyset, keyset.clone()));
        }
        sections.push((SectionKind::Manifest, self.manifest_section()));
        if !self.envelopes.is_empty() {
            sections.push((SectionKind::EnvelopePack, self.envelopes.concat()));
        }
        sections.push((SectionKind::Payload, self.payload.clone()));
        let mut out = bundle::encode_header(sections.len() as u16).to_vec();
        for (kind, bytes) in sections {
            let len = bytes.len() as u64;
            out.extend(Section { kind, len }.encode());
            out.extend(bytes);
        }
        out
    }
}

/// A component of kind app for any chip and slot, to be filled in by sealing.
#[must_use]
pub fn app(id: u16, place: u8) -> Component {
    Component {
        id: ComponentId(id),
        kind: Kind::App,
        target_chip: Component::ANY_CHIP,
        place,
        file_off: 0,
        enc_len: 0,
        install_len: 0,
        destination: Destination::AnySlot,
        flash_encryption: FlashEncryption::None,
        tree_root: Digest([0; 32]),
        image_digest: Digest([0; 32]),
    }
}

/// A signature block by the keys of these numbers.
///
/// # Panics
/// For no number or more than 8.
#[must_use]
pub fn sign(context: &[u8], signed: &[u8], signers: &[u8]) -> Vec<u8> {
    let message = [context, signed].concat();
    let mut made: Vec<_> = signers
        .iter()
        .map(|&n| (public(n).key_id(), signer(n).sign(&message).to_bytes()))
        .collect();
    made.sort();
    made.dedup();
    let entries: Vec<_> = made
        .iter()
        .map(|(id, value)| Entry::new(Algorithm::Ed25519, *id, value))
        .collect();
    let mut out = vec![0; signature::MAX_BLOCK_LEN];
    let len = signature::encode(&entries, &mut out).expect("1 to 8 signers");
    out.truncate(len);
    out
}

fn seal_component(
    component: &Component,
    image: &[u8],
    profile: Profile,
    keys: &PayloadKeys,
    file_off: u64,
) -> (Vec<u8>, Component) {
    let len = image.len() as u64;
    let id = component.id;
    let g = Geometry::new(profile, id, file_off, len).expect("the image fits the profile");
    let mut ciphertext = image.to_vec();
    ChunkSealer::new(keys, id).encrypt(0, &mut ciphertext);
    let (mut top, mut groups) = (Vec::new(), Vec::new());
    for page in 0..g.pages() {
        let first = page * profile.fan_out();
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
    let mut hasher = ImageHasher::new(component.place, len, &keys.digest_salt(component.place));
    hasher.update(image);
    let component = Component {
        file_off,
        enc_len: len,
        install_len: len,
        tree_root: Digest(hash(&payload::root_header(&g), &top)),
        image_digest: hasher.finish(),
        ..*component
    };
    top.extend(groups);
    (top, component)
}

fn hash(header: &[u8], body: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(header)
        .chain_update(body)
        .finalize()
        .into()
}

struct FixedRng(Noise);

impl hpke::rand_core::TryRng for FixedRng {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.0.bits() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.0.bits())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.copy_from_slice(&self.0.bytes(out.len()));
        Ok(())
    }
}

impl hpke::rand_core::TryCryptoRng for FixedRng {}
