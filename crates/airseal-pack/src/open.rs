//! Verifying a bundle without any key, and opening it with one.
//!
//! Both check every chunk against the signed tree, on all cores. Opening decrypts only what was verified and writes only
//! what was decrypted; the output gets its name after the digest of the whole image matched.

use std::path::Path;

use airseal_format::cipher::{ContentKey, PayloadKeys};
use airseal_format::component::{Component, Destination};
use airseal_format::keyset::{Roles, TrustedKeyset};
use airseal_format::payload::{Geometry, PayloadTree, VerifiedChunk, VerifiedPage, image_header};
use airseal_format::recipient::Identity;
use airseal_format::recipient::group::GroupIdentity;
use airseal_format::recipient::p256::P256Identity;
use airseal_format::recipient::x25519::X25519Identity;
use airseal_format::signature::{SignatureBlock, SigningPublicKey};
use airseal_format::trust::{TrustAnchor, check_carried_keysets};
use airseal_format::{
    ComponentId, ContentSuite, Error as FormatError, KeyId, Part, Reason, RecipientId,
    VerifiedManifest, envelope::Envelope,
};
use aws_lc_rs::digest::{Context, SHA256};

use crate::Error;
use crate::bundle::BundleFile;
use crate::control::{Activity, Control};
use crate::esp::flash_key;
use crate::key::{KeyFile, KeyRole, Loaded, PassphraseSource, PrivateKey, PublicKey};
use crate::keyset::{KeysetFile, carried_fault};
use crate::output::{Access, Existing, OutputFile};
use crate::parallel::{self, BufferPool};
use crate::seal::blocks;
use crate::source::length;

/// Bytes of payload per job.
const BLOCK: u32 = 256 * 1024;

/// Whose word is believed, as the user named them.
pub enum NamedTrust {
    /// `--trust`: any one of these keys is enough.
    Keys(Vec<SigningPublicKey>),
    /// `--keyset`: the first keyset of the file is trusted; its thresholds hold.
    Keyset(KeysetFile),
}

impl NamedTrust {
    /// Reads the key files that `--trust` names.
    ///
    /// # Errors
    /// As [`KeyFile::read`]; usage error without any.
    pub fn read_keys(
        paths: &[impl AsRef<Path>],
        passphrase: &dyn PassphraseSource,
    ) -> Result<Loaded<NamedTrust>, Error> {
        let mut keys = Vec::new();
        let mut warnings = Vec::new();
        for path in paths {
            let loaded = KeyFile::read(path.as_ref(), Some(KeyRole::Signing), passphrase)?;
            warnings.extend(loaded.warnings);
            if let Some(PublicKey::Signing(key)) = loaded.key.public() {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(Error::usage(
                "nobody is trusted",
                "give --trust PUB or --keyset FILE",
            ));
        }
        Ok(Loaded {
            key: NamedTrust::Keys(keys),
            warnings,
        })
    }

    /// Checks keysets and signatures of a bundle.
    ///
    /// # Errors
    /// Refused with part, field, offset and reason.
    pub fn verify_manifest<'b>(
        &self,
        bundle: &'b BundleFile,
    ) -> Result<VerifiedManifest<'b>, Error> {
        let signatures = bundle.require_signatures()?;
        let fail = |error: FormatError| {
            let part_offset = match error.part {
                Part::Manifest => bundle.manifest_offset(),
                Part::Signatures => bundle.manifest_offset() + bundle.signed_bytes().len() as u64,
                _ => 0,
            };
            Error::format(bundle.name(), part_offset, error)
        };
        match self {
            NamedTrust::Keys(keys) => {
                check_carried_keysets(bundle.keysets().map(Ok))
                    .map_err(|error| carried_fault(bundle, error))?;
                let anchors = TrustAnchor::new(keys).map_err(fail)?;
                check_signer(bundle, &signatures, keys)?;
                anchors
                    .verify_manifest(bundle.manifest(), &signatures)
                    .map_err(fail)
            }
            NamedTrust::Keyset(file) => {
                let trusted = file.trust(Some(bundle))?;
                trusted
                    .verify_manifest(bundle.manifest(), &signatures)
                    .map_err(|error| match error.reason {
                        Reason::TooFewSignatures => {
                            too_few_signers(bundle, &signatures, &trusted, error)
                        }
                        _ => fail(error),
                    })
            }
        }
    }
}

/// Names who signed when none of `keys` did.
fn check_signer(
    bundle: &BundleFile,
    signatures: &SignatureBlock<'_>,
    keys: &[SigningPublicKey],
) -> Result<(), Error> {
    let signers: Vec<KeyId> = signatures.entries().map(|entry| entry.key_id).collect();
    if signers.is_empty() || keys.iter().any(|key| signers.contains(&key.key_id())) {
        return Ok(());
    }
    let signers: Vec<String> = signers.iter().map(ToString::to_string).collect();
    let none = if keys.len() == 1 {
        "not the key given with --trust"
    } else {
        "none of the keys given with --trust"
    };
    Err(Error::Signatures {
        file: bundle.name().to_owned(),
        message: format!("signed by {}, {none}", signers.join(" and ")),
        source: FormatError::new(Part::Signatures, "count", 0, Reason::TooFewSignatures),
        remedy: "give the vendor's public key (airseal key show prints a key's id), or do not use this file".to_owned(),
    })
}

/// Names who signed and whose signatures the keyset asks for.
fn too_few_signers(
    bundle: &BundleFile,
    signatures: &SignatureBlock<'_>,
    trusted: &TrustedKeyset<'_>,
    source: FormatError,
) -> Error {
    let header = trusted.header();
    let signers: Vec<String> = signatures
        .entries()
        .map(|entry| entry.key_id.to_string())
        .collect();
    let wanted: Vec<String> = trusted
        .keys()
        .filter(|row| row.roles.contains(Roles::RELEASE))
        .map(|row| row.key_id.to_string())
        .collect();
    Error::Signatures {
        file: bundle.name().to_owned(),
        message: format!(
            "fewer signatures than keyset version {} asks for: signed by {}, wanted are {} of {}",
            header.version,
            signers.join(", "),
            header.k_release,
            wanted.join(", ")
        ),
        source,
        remedy: "add the missing ones with airseal cosign, or do not use this file".to_owned(),
    }
}

/// What `verify` found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verified {
    /// SHA-256 of the signed manifest, hexadecimal.
    pub manifest_digest: String,
    /// Version text.
    pub version: String,
    /// Release sequence.
    pub sequence: u64,
    /// Keyset version it was verified under; 0 for `--trust`.
    pub accepted_under: u32,
    /// Ids of the keys that signed, hexadecimal; those that are not trusted included.
    pub signers: Vec<String>,
    /// Seconds since 1970 after which it must not be started, 0 for never. Shown, not tested.
    pub expires_at: u64,
    /// Components that were checked.
    pub components: usize,
    /// Chunks that were checked.
    pub chunks: u64,
    /// Bytes of payload that were checked.
    pub payload_len: u64,
    /// Envelopes in the pack.
    pub envelopes: u64,
}

/// Checks signatures, keysets, the envelope pack's form, and every chunk. Needs no decryption key.
///
/// # Errors
/// Refused with part, field, offset and reason; `Io`; [`Error::Cancelled`].
pub fn verify(
    bundle: &BundleFile,
    trust: &NamedTrust,
    control: &Control<'_>,
) -> Result<Verified, Error> {
    let manifest = trust.verify_manifest(bundle)?;
    let mut envelopes = 0;
    bundle.for_each_envelope(|_, _| {
        envelopes += 1;
        Ok(())
    })?;
    let mut chunks = 0;
    let mut done = 0;
    for component in manifest.components() {
        let tree = OpenTree::read(bundle, &manifest, component.id)?;
        chunks += u64::from(tree.geometry.chunks());
        tree.for_each_block(
            |_| Ok(()),
            |_, _| Ok(()),
            |block| {
                done += block.len() as u64;
                control.report(Activity::Verifying, done, total_len(&manifest))
            },
        )?;
    }
    let header = manifest.header();
    Ok(Verified {
        manifest_digest: manifest.digest().to_string(),
        version: header.version.as_str().to_owned(),
        sequence: header.release_seq.0,
        accepted_under: manifest.accepted_under().0,
        signers: bundle
            .signatures()
            .map(|block| {
                block
                    .entries()
                    .map(|entry| entry.key_id.to_string())
                    .collect()
            })
            .unwrap_or_default(),
        expires_at: header.expires_at,
        components: manifest.component_count(),
        chunks,
        payload_len: header.payload_len,
        envelopes,
    })
}

/// What `open` wrote.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Opened {
    /// SHA-256 of the signed manifest, hexadecimal.
    pub manifest_digest: String,
    /// Version text.
    pub version: String,
    /// Release sequence.
    pub sequence: u64,
    /// Component that was written.
    pub component: u16,
    /// Flash address it was made for; `null` for any slot.
    pub address: Option<u64>,
    /// Flash encryption of what was written, which is left as it is: `none`, `esp32-legacy`, `xts-128`, `xts-256`.
    pub flash_encryption: &'static str,
    /// Length of the image, bytes.
    pub image_len: u64,
    /// Seconds since 1970 after which it must not be started, 0 for never. Shown, not tested.
    pub expires_at: u64,
}

/// A device's or group's secret key, to open with.
pub struct OpenKey {
    name: String,
    identity: Box<dyn Identity>,
}

impl OpenKey {
    /// Reads the key file that `--key` names.
    ///
    /// # Errors
    /// As [`KeyFile::read`]; refused for a public key.
    pub fn read(path: &Path, passphrase: &dyn PassphraseSource) -> Result<Loaded<OpenKey>, Error> {
        let loaded = KeyFile::read(path, Some(KeyRole::Recipient), passphrase)?;
        let KeyFile::Private(key) = loaded.key else {
            return Err(Error::refused(
                path.display().to_string(),
                "is a public key and opens nothing",
                "name the private key file",
            ));
        };
        Ok(Loaded {
            key: OpenKey::new(&path.display().to_string(), &key)?,
            warnings: loaded.warnings,
        })
    }

    /// Takes a device or group key; `name` is for messages.
    ///
    /// # Errors
    /// Refused for a signing key.
    pub fn new(name: &str, key: &PrivateKey) -> Result<OpenKey, Error> {
        let identity: Box<dyn Identity> = match key {
            PrivateKey::Device(secret) => Box::new(X25519Identity::new(**secret)),
            PrivateKey::DeviceP256(secret) => Box::new(P256Identity::new(secret.clone())),
            PrivateKey::Group(group) => Box::new(GroupIdentity::new(group.key, group.generation)),
            PrivateKey::Signing(_) | PrivateKey::SigningP256(_) => {
                return Err(Error::refused(
                    name,
                    format!("a key of kind {} opens nothing", key.kind()),
                    "name a device or group key",
                ));
            }
        };
        Ok(OpenKey {
            name: name.to_owned(),
            identity,
        })
    }

    /// The id that envelopes name it by.
    pub fn recipient_id(&self) -> RecipientId {
        self.identity.recipient_id()
    }

    /// Unwraps `envelope` alone: nothing else vouches for the content key that comes out.
    ///
    /// # Errors
    /// The format's: not for this key, or it does not open.
    pub fn unwrap_envelope(
        &self,
        envelope: &Envelope<'_>,
    ) -> Result<ContentKey, airseal_format::Error> {
        self.identity.unwrap(envelope)
    }

    /// Unwraps the content key of `bundle` and checks it against the manifest's commitment.
    ///
    /// # Errors
    /// Refused if there is no envelope for this key, or it does not open, or holds another key.
    pub fn unwrap(
        &self,
        bundle: &BundleFile,
        manifest: &VerifiedManifest<'_>,
    ) -> Result<(ContentKey, PayloadKeys), Error> {
        let id = self.recipient_id();
        let Some(bytes) = bundle.find_envelope(id)? else {
            return Err(Error::refused(
                bundle.name(),
                format!(
                    "has no envelope for {} (id {id}) among its recipients",
                    self.name
                ),
                "open with the key of a recipient (airseal inspect lists them), or add this one with airseal envelope add",
            ));
        };
        let fail = |error| Error::format(bundle.name(), bundle.pack_offset(), error);
        let envelope = Envelope::parse(&bytes).map_err(fail)?;
        let content_key = self.identity.unwrap(&envelope).map_err(fail)?;
        let keys = PayloadKeys::open(manifest, &content_key).map_err(fail)?;
        Ok((content_key, keys))
    }
}

/// Verifies a bundle, decrypts one component and writes it to `output` (`-` is standard output).
///
/// `key` may be `None` for a release that is not encrypted. `component` may be `None` if there is only one.
///
/// # Errors
/// Refused with part, field, offset and reason, also if the release is restricted to others; `Io`; [`Error::Cancelled`].
/// On every error nothing is left at the output's name.
pub fn open(
    bundle: &BundleFile,
    trust: &NamedTrust,
    key: Option<&OpenKey>,
    component: Option<ComponentId>,
    output: (&Path, Existing),
    control: &Control<'_>,
) -> Result<Opened, Error> {
    let mut file = OutputFile::create(output.0, output.1, Access::Public)?;
    let manifest = trust.verify_manifest(bundle)?;
    check_targets(bundle, &manifest, key)?;
    let component = choose(bundle, &manifest, component)?;
    let keys = match (manifest.header().content_suite, key) {
        (ContentSuite::None, _) => {
            bundle.for_each_envelope(|_, _| Ok(()))?;
            PayloadKeys::plain()
        }
        (_, Some(key)) => key.unwrap(bundle, &manifest)?.1,
        (_, None) => {
            return Err(Error::usage(
                "the release is encrypted",
                "give --key KEY of a recipient",
            ));
        }
    };
    let tree = OpenTree::read(bundle, &manifest, component.id)?;
    let cipher = keys.cipher(component.id);
    let mut image = Context::new(&SHA256);
    image.update(&image_header(
        component.place,
        component.install_len,
        &keys.digest_salt(component.place),
    ));
    let mut done = 0;
    tree.for_each_block(
        |chunk| cipher.decrypt(chunk).map(|_| ()),
        |plaintext, offset| file.write_at(plaintext, offset),
        |plaintext| {
            image.update(plaintext);
            done += plaintext.len() as u64;
            control.report(Activity::Opening, done, component.install_len)
        },
    )?;
    if image.finish().as_ref() != component.image_digest.0 {
        let error = FormatError::new(Part::Payload, "image_digest", 0, Reason::ImageMismatch);
        return Err(Error::format(bundle.name(), bundle.payload().offset, error));
    }
    finish(&mut file)?;
    file.commit()?;
    let header = manifest.header();
    Ok(Opened {
        manifest_digest: manifest.digest().to_string(),
        version: header.version.as_str().to_owned(),
        sequence: header.release_seq.0,
        component: component.id.0,
        address: match component.destination {
            Destination::AnySlot => None,
            Destination::Address(address) => Some(address),
        },
        flash_encryption: flash_key::scheme_name(component.flash_encryption),
        image_len: component.install_len,
        expires_at: header.expires_at,
    })
}

fn finish(file: &mut OutputFile) -> Result<(), Error> {
    use std::io::Write as _;
    file.flush().map_err(|error| file.write_error(error))
}

fn check_targets(
    bundle: &BundleFile,
    manifest: &VerifiedManifest<'_>,
    key: Option<&OpenKey>,
) -> Result<(), Error> {
    let Some(mut targets) = manifest.targets() else {
        return Ok(());
    };
    let Some(key) = key else {
        return Err(Error::refused(
            bundle.name(),
            "is restricted to certain devices, and no key says that this is one",
            "name the key of a target with --key",
        ));
    };
    let id = key.recipient_id();
    if targets.any(|target| target == id) {
        return Ok(());
    }
    Err(Error::refused(
        bundle.name(),
        format!(
            "is restricted to other devices: {} (id {id}) is not among its targets",
            key.name
        ),
        "airseal inspect lists the targets",
    ))
}

fn choose(
    bundle: &BundleFile,
    manifest: &VerifiedManifest<'_>,
    wanted: Option<ComponentId>,
) -> Result<Component, Error> {
    let ids: Vec<String> = manifest
        .components()
        .map(|component| component.id.to_string())
        .collect();
    match wanted {
        Some(wanted) => manifest
            .components()
            .find(|component| component.id == wanted)
            .ok_or_else(|| {
                Error::usage(
                    format!("{} has no component {wanted}", bundle.name()),
                    format!("it has {}", ids.join(", ")),
                )
            }),
        None if ids.len() == 1 => manifest
            .components()
            .next()
            .ok_or_else(|| Error::usage("there is no component", "")),
        None => Err(Error::usage(
            format!("{} has {} components", bundle.name(), ids.len()),
            format!("choose one with --component: {}", ids.join(", ")),
        )),
    }
}

fn total_len(manifest: &VerifiedManifest<'_>) -> u64 {
    manifest
        .components()
        .map(|component| component.enc_len)
        .sum()
}

/// The verified hash table of one component.
struct OpenTree<'b> {
    bundle: &'b BundleFile,
    geometry: Geometry,
    pages: Vec<VerifiedPage<Vec<u8>>>,
}

impl<'b> OpenTree<'b> {
    fn read(
        bundle: &'b BundleFile,
        manifest: &VerifiedManifest<'_>,
        component: ComponentId,
    ) -> Result<OpenTree<'b>, Error> {
        let fail = |error| Error::format(bundle.name(), bundle.payload().offset, error);
        let tree = PayloadTree::new(manifest, component).map_err(fail)?;
        let geometry = *tree.geometry();
        let mut top = vec![0; length(geometry.top_len())];
        bundle.read_payload(geometry.top_off(), &mut top)?;
        let top = tree.verify_top(top).map_err(fail)?;
        let mut pages = Vec::with_capacity(length(geometry.pages()));
        for number in 0..geometry.pages() {
            let mut page = vec![0; length(geometry.page_len(number))];
            bundle.read_payload(geometry.page_off(number), &mut page)?;
            pages.push(top.verify_page(number, page).map_err(fail)?);
        }
        Ok(OpenTree {
            bundle,
            geometry,
            pages,
        })
    }

    /// Reads and verifies every chunk on all cores.
    ///
    /// `work` gets each chunk that passed and its number; `finish` then gets the block they lie in, with its offset in the
    /// image, and `consume` gets the blocks in order.
    fn for_each_block(
        &self,
        work: impl Fn(VerifiedChunk<&mut [u8]>) -> Result<(), FormatError> + Sync,
        finish: impl Fn(&[u8], u64) -> Result<(), Error> + Sync,
        mut consume: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let geometry = &self.geometry;
        let chunk_len = geometry.profile().chunk_len();
        let pool = BufferPool::default();
        let fail = |error| Error::format(self.bundle.name(), self.bundle.payload().offset, error);
        parallel::in_order(
            blocks(geometry, BLOCK / chunk_len),
            |(first, last)| {
                let start = geometry.byte_offset(first);
                let len = geometry.byte_offset(last).min(geometry.enc_len()) - start;
                let mut block = pool.take(length(len));
                self.bundle
                    .read_payload(geometry.chunk_off(first), &mut block)?;
                let missing = FormatError::new(Part::Payload, "page", 0, Reason::Missing);
                let page = self
                    .pages
                    .get(length(geometry.page_of(first)))
                    .ok_or_else(|| fail(missing))?;
                for (chunk, bytes) in (first..last).zip(block.chunks_mut(length(chunk_len))) {
                    page.verify_chunk(chunk, bytes)
                        .and_then(&work)
                        .map_err(fail)?;
                }
                finish(&block, start)?;
                Ok(block)
            },
            |block| {
                consume(&block)?;
                pool.give(block);
                Ok(())
            },
        )
    }
}
