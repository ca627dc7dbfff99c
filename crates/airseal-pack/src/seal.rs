//! Sealing: firmware in, bundle out, in two passes over the input and with flat memory.
//!
//! The first pass hashes the firmware so that the content key depends on it (a broken random source then does not make two
//! releases share a key). The second encrypts, hashes and writes block by block on all cores, while one thread computes the
//! digest of the whole image, the only serial part. The parts before the payload are written last, at their place.

use std::path::Path;

use airseal_format::cipher::{ContentKey, PayloadKeys};
use airseal_format::manifest::SIGNING_CONTEXT;
use airseal_format::{ClassId, ContentSuite, Digest, RecipientId, UnverifiedManifest, VendorId};
use uuid::Uuid;

use self::detached::Detached;
use self::plan::Plan;
use crate::Error;
use crate::bundle::frame;
use crate::content_key::content_key_pem;
use crate::control::{Activity, Control};
use crate::entropy::Entropy;
use crate::firmware::Firmware;
use crate::inspect::CarriedGroupInfo;
use crate::key::{GroupKey, Warning};
use crate::keyset::KeysetFile;
use crate::output::{Access, Existing, OutputFile, check_target, write_file};
use crate::parallel;
use crate::recipient::Recipients;
use crate::signer::{OwnedEntry, Signer, encode_block};

mod carried;
mod content;
mod detached;
mod parts;
mod payload;
mod plan;
mod raw;

pub(crate) use payload::blocks;
pub use raw::{RawFlash, RawFlashFiles};

/// Everything that decides what a sealed release says.
pub struct SealRequest<'a> {
    /// Vendor name; its UUIDv5 goes into the manifest.
    pub vendor: &'a str,
    /// Class name; its UUIDv5 under the vendor's goes into the manifest.
    pub class: &'a str,
    /// Lowest and highest board revision it runs on, both inclusive.
    pub hardware: (u16, u16),
    /// Position in the class's release sequence.
    pub sequence: u64,
    /// Version text; `None` takes the application descriptor's.
    pub version: Option<&'a str>,
    /// Rollback floor; `None` takes the application descriptor's secure version, or 0.
    pub security_version: Option<u32>,
    /// The running release must have at least this security version.
    pub min_security_version: u32,
    /// The running release must have at least this sequence.
    pub min_sequence: u64,
    /// Build time, seconds since 1970; `None` is now.
    pub built_at: Option<u64>,
    /// Not to be started after this time, seconds since 1970; 0 is never.
    pub expires_at: u64,
    /// Payload encryption.
    pub suite: ContentSuite,
    /// Encrypt the firmware for the flash of devices with this key, one alternative per slot.
    pub raw_flash: Option<&'a RawFlash>,
    /// Small chunks for devices with little RAM.
    pub small_ram: bool,
    /// The keyset chain the release is signed under; carried in the bundle.
    pub keyset: Option<&'a KeysetFile>,
    /// Only these devices and groups may install it; empty means all of the class.
    pub only: &'a [RecipientId],
    /// A new generation of the older group key among the recipients; its holders find it inside.
    pub carry_group: Option<&'a GroupKey>,
    /// Who gets the content key.
    pub recipients: &'a Recipients,
    /// Who signs.
    pub signers: &'a [Box<dyn Signer>],
    /// Consent to a draft without any signature, to be signed with `sign-request` and `attach`.
    pub allow_unsigned: bool,
}

/// Where the results go.
pub struct SealOutput<'a> {
    /// The bundle; `-` is standard output.
    pub bundle: &'a Path,
    /// Keep the content key here (mode 0600), to add recipients later.
    pub content_key: Option<&'a Path>,
    /// Also write manifest, payload, envelopes and keysets as separate files into this directory.
    pub detached: Option<&'a Path>,
    /// What to do with files that are there already.
    pub existing: Existing,
}

/// What was sealed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Sealed {
    /// SHA-256 of the signed manifest, hexadecimal: the release's name everywhere.
    pub manifest_digest: String,
    /// Vendor name.
    pub vendor: String,
    /// Vendor id, a UUID.
    pub vendor_id: String,
    /// Class name.
    pub class: String,
    /// Class id, a UUID.
    pub class_id: String,
    /// Version text.
    pub version: String,
    /// Release sequence.
    pub sequence: u64,
    /// Security version.
    pub security_version: u32,
    /// Keyset version.
    pub keyset_version: u32,
    /// Chip the image is for, if it is for one.
    pub chip: Option<&'static str>,
    /// Content suite by name.
    pub suite: &'static str,
    /// Payload profile, 1 to 4.
    pub profile: u8,
    /// Length of what is installed, bytes.
    pub image_len: u64,
    /// Salted digest of what is installed, hexadecimal; for flash-encrypted images that of the first slot.
    pub image_digest: String,
    /// Flash encryption of the images: `none`, `esp32-legacy`, `xts-128`, `xts-256`.
    pub flash_encryption: &'static str,
    /// Check value of the flash key, hexadecimal; `null` without one.
    pub flash_key_check: Option<String>,
    /// The alternatives of a flash-encrypted release, one per slot; empty if one image serves all slots.
    pub slots: Vec<SealedSlot>,
    /// Length of the payload (ciphertext and hash table), bytes.
    pub payload_len: u64,
    /// Length of the bundle, bytes.
    pub bundle_len: u64,
    /// Ids of those who can open it, hexadecimal.
    pub recipients: Vec<String>,
    /// Ids of those who may install it, hexadecimal; empty means all of the class.
    pub only: Vec<String>,
    /// The group keys it carries for those who hold the generation before.
    pub carried_groups: Vec<CarriedGroupInfo>,
    /// Ids of the keys that signed, hexadecimal.
    pub signers: Vec<String>,
    /// Things to warn about.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
}

/// The alternative for one slot.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SealedSlot {
    /// Number of the component.
    pub component: u16,
    /// The slot's name in the partition table.
    pub label: String,
    /// The slot's address in flash.
    pub address: u32,
    /// Salted digest of the flash-encrypted image, hexadecimal.
    pub image_digest: String,
}

/// Seals `firmware` as one application, or as one alternative per slot.
///
/// # Errors
/// Usage error for contradicting arguments; refused where the result would break the format or a keyset's rules; `Io`.
/// On every error nothing is left at the outputs' names; a detached directory may keep files that were complete.
pub fn seal(
    request: &SealRequest<'_>,
    firmware: &Firmware,
    output: &SealOutput<'_>,
    entropy: &dyn Entropy,
    control: &Control<'_>,
) -> Result<Sealed, Error> {
    let mut plan = Plan::new(request, firmware, output.content_key.is_some(), entropy)?;
    for target in [Some(output.bundle), output.content_key]
        .into_iter()
        .flatten()
    {
        check_target(target, output.existing)?;
    }

    let contents = parts::contents(request, firmware);
    let content_key = match request.suite {
        ContentSuite::None => None,
        _ => Some(payload::hedged_content_key(&contents, entropy, control)?),
    };
    let keys = match &content_key {
        Some(key) => PayloadKeys::derive(request.suite, key, &plan.header.payload_salt),
        None => PayloadKeys::plain(),
    };
    plan.header.cek_commit = keys.commitment();

    let file = OutputFile::create(output.bundle, output.existing, Access::Public)?;
    let handle = file.handle()?;
    let placed = plan.placed()?;
    let write = |bytes: &[u8], at: u64| file.write_at(bytes, at);

    let total = contents.iter().map(|(_, content)| content.len()).sum();
    let mut done = 0;
    for (part, (_, content)) in plan.parts.iter_mut().zip(&contents) {
        let sealed = payload::write(
            *content,
            &part.geometry,
            (request.suite, &keys),
            part.component.place,
            |bytes, at| write(bytes, placed.payload_at + at),
            |added| {
                done += added;
                control.report(Activity::Sealing, done, total)
            },
        )?;
        part.component.tree_root = sealed.tree_root;
        part.component.image_digest = sealed.image_digest;
    }

    let signed = plan.encode()?;
    let digest = parse(&signed)?.digest();
    let mut section = signed.clone();
    if !request.signers.is_empty() {
        let entries: Result<Vec<_>, Error> = request
            .signers
            .iter()
            .map(|signer| OwnedEntry::make(signer.as_ref(), SIGNING_CONTEXT, &signed))
            .collect();
        section.extend_from_slice(&encode_block("signatures", entries?)?);
    }
    let keysets = request.keyset.map(KeysetFile::sections).unwrap_or_default();
    let pack_len = request.recipients.pack_len();
    let (front, payload_header) = frame(&keysets, &section, pack_len, plan.header.payload_len)?;
    if front.len() as u64 + pack_len + payload_header.len() as u64 != placed.payload_at {
        return Err(Error::refused(
            "signatures",
            "have another length than their algorithms say",
            "",
        ));
    }
    write(&front, 0)?;
    let mut at = front.len() as u64;
    let detached = output
        .detached
        .map(|dir| Detached::new(dir, output.existing))
        .transpose()?;
    if let Some(content_key) = &content_key {
        wrap_all(
            request.recipients,
            digest,
            content_key,
            entropy,
            control,
            |id, envelope| {
                write(envelope, at)?;
                at += envelope.len() as u64;
                detached
                    .as_ref()
                    .map_or(Ok(()), |detached| detached.envelope(id, envelope))
            },
        )?;
    }
    write(&payload_header, at)?;

    if let Some(detached) = &detached {
        detached.rest(
            &section,
            &keysets,
            &handle,
            placed.payload_at,
            plan.header.payload_len,
            control,
        )?;
    }
    if let (Some(target), Some(content_key)) = (output.content_key, &content_key) {
        let pem = content_key_pem(digest, content_key);
        write_file(target, pem.as_bytes(), output.existing, Access::Owner)?;
    }
    if let Err(error) = file.commit() {
        if let Some(target) = output.content_key {
            // The key of a bundle that does not exist is of no use to anybody.
            let _ = std::fs::remove_file(target);
        }
        return Err(error);
    }
    let bundle_len = placed.payload_at + plan.header.payload_len;
    Ok(plan.summary(digest, bundle_len))
}

/// The UUIDv5 of a vendor's name in the DNS namespace (RFC 9562).
pub fn vendor_id(name: &str) -> VendorId {
    VendorId(*Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()).as_bytes())
}

/// The UUIDv5 of a class name in the namespace of its vendor.
pub fn class_id(vendor: VendorId, name: &str) -> ClassId {
    ClassId(*Uuid::new_v5(&Uuid::from_bytes(vendor.0), name.as_bytes()).as_bytes())
}

/// Wraps `content_key` for everybody, on all cores; `each` gets the envelopes in ascending order.
pub(crate) fn wrap_all(
    recipients: &Recipients,
    manifest: Digest,
    content_key: &ContentKey,
    entropy: &dyn Entropy,
    control: &Control<'_>,
    mut each: impl FnMut(RecipientId, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let total = recipients.len() as u64;
    let mut done = 0;
    parallel::in_order(
        recipients.iter(),
        |(id, recipient)| Ok((*id, recipient.seal(manifest, content_key, entropy)?)),
        |(id, envelope)| {
            each(id, &envelope)?;
            done += 1;
            control.report(Activity::Wrapping, done, total)
        },
    )
}

fn parse(signed: &[u8]) -> Result<UnverifiedManifest<'_>, Error> {
    UnverifiedManifest::parse(signed).map_err(|error| Error::format("manifest", 0, error))
}
