//! Everything about a bundle that is public. Needs no key, and believes nobody: [`crate::open::verify`] does that.

use airseal_esp::Chip;
use airseal_format::component::{Component, Destination};
use airseal_format::keyset::{Roles, SignedKeyset};
use airseal_format::manifest::{EXTENSION_CARRIED_GROUPS, EXTENSION_TARGETS};
use airseal_format::recipient::carried::CarriedGroup;
use airseal_format::recipient::group_generation;
use airseal_format::{RecipientId, UnverifiedManifest};
use serde::Serialize;
use uuid::Uuid;

use crate::Error;
use crate::bundle::BundleFile;
use crate::esp::flash_key;

/// What `inspect` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// SHA-256 of the signed manifest, hexadecimal: the release's name everywhere.
    pub manifest_digest: String,
    /// Vendor id, a UUID.
    pub vendor_id: String,
    /// Class id, a UUID.
    pub class_id: String,
    /// Version text.
    pub version: String,
    /// Release sequence.
    pub sequence: u64,
    /// Rollback floor it raises.
    pub security_version: u32,
    /// Security version the running release must have.
    pub min_security_version: u32,
    /// Sequence the running release must have.
    pub min_sequence: u64,
    /// Lowest board revision.
    pub hw_rev_min: u16,
    /// Highest board revision.
    pub hw_rev_max: u16,
    /// Keyset it is signed under; 0 for none.
    pub keyset_version: u32,
    /// Build time, seconds since 1970.
    pub built_at: u64,
    /// Seconds since 1970 after which it must not be started, 0 for never.
    pub expires_at: u64,
    /// Content suite by name.
    pub suite: &'static str,
    /// Payload profile, 1 to 4.
    pub profile: u8,
    /// Length of a chunk, bytes.
    pub chunk_len: u32,
    /// What is installed.
    pub components: Vec<ComponentInfo>,
    /// Ids of those who may install it, hexadecimal; `null` for all of the class.
    pub only: Option<Vec<String>>,
    /// The group keys it carries for those who hold the generation before.
    pub carried_groups: Vec<CarriedGroupInfo>,
    /// Vendor-private extensions.
    pub extensions: Vec<ExtensionInfo>,
    /// Who signed; empty for a draft.
    pub signatures: Vec<SignatureInfo>,
    /// The keysets it carries, oldest first.
    pub keysets: Vec<KeysetInfo>,
    /// Who can open it.
    pub recipients: Vec<EnvelopeInfo>,
    /// Length of the envelope pack, bytes.
    pub envelopes_len: u64,
    /// Length of the payload, bytes.
    pub payload_len: u64,
    /// Length of the file, bytes.
    pub bundle_len: u64,
}

/// One component.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentInfo {
    /// Its number.
    pub id: u16,
    /// `app`, `bootloader`, `partition-table` or `data`.
    pub kind: &'static str,
    /// Alternatives share a place.
    pub place: u8,
    /// Chip it is for; `null` for any.
    pub chip: Option<String>,
    /// Flash address it must be written to; `null` for any slot.
    pub address: Option<u64>,
    /// Flash encryption of its content: `none`, `esp32-legacy`, `xts-128`, `xts-256`.
    pub flash_encryption: &'static str,
    /// Check value of the flash key it is encrypted under, hexadecimal; `null` if it is not.
    pub flash_key_check: Option<String>,
    /// Length of the image, bytes.
    pub image_len: u64,
    /// Number of chunks.
    pub chunks: u32,
    /// Salted digest of the image, hexadecimal.
    pub image_digest: String,
    /// Root of its hash tree, hexadecimal.
    pub tree_root: String,
}

/// A new generation of a group key that travels inside.
#[derive(Clone, Debug, Serialize)]
pub struct CarriedGroupInfo {
    /// Id of the group key that opens it, hexadecimal.
    pub old: String,
    /// Generation of that key.
    pub old_generation: u32,
    /// Generation of the key inside.
    pub generation: u32,
}

impl CarriedGroupInfo {
    pub(crate) fn new(carried: &CarriedGroup) -> CarriedGroupInfo {
        CarriedGroupInfo {
            old: carried.old.to_string(),
            old_generation: group_generation(carried.old),
            generation: carried.generation,
        }
    }
}

/// One extension.
#[derive(Clone, Debug, Serialize)]
pub struct ExtensionInfo {
    /// Its type number.
    pub number: u16,
    /// Length of its value, bytes.
    pub len: usize,
}

/// One signature, not verified.
#[derive(Clone, Debug, Serialize)]
pub struct SignatureInfo {
    /// The key's id, hexadecimal.
    pub key_id: String,
    /// Algorithm by name.
    pub algorithm: &'static str,
}

/// Whom one envelope is for.
#[derive(Clone, Debug, Serialize)]
pub struct EnvelopeInfo {
    /// Its id, hexadecimal.
    pub id: String,
    /// `device`, `device-p256` or `group`, or `unknown`.
    pub kind: &'static str,
    /// Generation of a group key.
    pub generation: Option<u32>,
}

/// One keyset.
#[derive(Clone, Debug, Serialize)]
pub struct KeysetInfo {
    /// 1, 2, 3 ...
    pub version: u32,
    /// Digest of its signed bytes, hexadecimal.
    pub digest: String,
    /// Digest of the one before, hexadecimal; zeros for the first.
    pub prev_digest: String,
    /// Vendor id, a UUID.
    pub vendor_id: String,
    /// Class id, a UUID; `null` for every class of the vendor.
    pub class_id: Option<String>,
    /// Highest security version a release may have.
    pub max_security_version: u32,
    /// Root signatures that a change needs.
    pub root_threshold: u8,
    /// Post-quantum root signatures that a change needs.
    pub root_threshold_pq: u8,
    /// Signatures that a release needs.
    pub release_threshold: u8,
    /// Post-quantum signatures that a release needs.
    pub release_threshold_pq: u8,
    /// Its keys.
    pub keys: Vec<KeysetKeyInfo>,
    /// Who signed it, not verified.
    pub signatures: Vec<SignatureInfo>,
}

/// One key of a keyset.
#[derive(Clone, Debug, Serialize)]
pub struct KeysetKeyInfo {
    /// The key's id, hexadecimal.
    pub key_id: String,
    /// Algorithm by name.
    pub algorithm: &'static str,
    /// `root`, `release`, `offer`.
    pub roles: Vec<&'static str>,
}

/// Reads everything public.
///
/// # Errors
/// Refused where an envelope breaks the pack's rules; `Io`.
pub fn inspect(bundle: &BundleFile) -> Result<Inspection, Error> {
    let manifest = bundle.manifest();
    let header = manifest.header();
    let mut recipients = Vec::new();
    bundle.for_each_envelope(|header, _| {
        let id = header.recipient_id;
        let (kind, generation) = match header.suite_number {
            1 => ("device", None),
            2 => ("device-p256", None),
            3 => ("group", Some(group_generation(id))),
            _ => ("unknown", None),
        };
        recipients.push(EnvelopeInfo {
            id: id.to_string(),
            kind,
            generation,
        });
        Ok(())
    })?;
    Ok(Inspection {
        manifest_digest: manifest.digest().to_string(),
        vendor_id: Uuid::from_bytes(header.vendor_id.0).to_string(),
        class_id: Uuid::from_bytes(header.class_id.0).to_string(),
        version: header.version.as_str().to_owned(),
        sequence: header.release_seq.0,
        security_version: header.security_version.0,
        min_security_version: header.min_from_security_version.0,
        min_sequence: header.min_from_seq.0,
        hw_rev_min: header.hw_rev_min.0,
        hw_rev_max: header.hw_rev_max.0,
        keyset_version: header.keyset_version.0,
        built_at: header.built_at,
        expires_at: header.expires_at,
        suite: header.content_suite.name(),
        profile: header.profile.number(),
        chunk_len: header.profile.chunk_len(),
        components: manifest
            .components()
            .map(|component| component_info(&manifest, &component))
            .collect(),
        only: manifest
            .targets()
            .map(|ids| ids.map(|id: RecipientId| id.to_string()).collect()),
        carried_groups: manifest
            .carried_groups()
            .map(|carried| CarriedGroupInfo::new(&carried))
            .collect(),
        extensions: manifest
            .extensions()
            .filter_map(Result::ok)
            .filter(|extension| {
                ![EXTENSION_TARGETS, EXTENSION_CARRIED_GROUPS].contains(&extension.number)
            })
            .map(|extension| ExtensionInfo {
                number: extension.number,
                len: extension.value.len(),
            })
            .collect(),
        signatures: bundle
            .signatures()
            .map(|block| signatures(&block))
            .unwrap_or_default(),
        keysets: bundle
            .keysets()
            .map(|signed| keyset_info(&signed))
            .collect(),
        recipients,
        envelopes_len: bundle.pack_len(),
        payload_len: header.payload_len,
        bundle_len: bundle.len(),
    })
}

/// A keyset as `keyset show` and `inspect` print it.
pub fn keyset_info(signed: &SignedKeyset<'_>) -> KeysetInfo {
    KeysetInfo {
        signatures: signatures(&signed.signatures),
        ..bare_keyset_info(&signed.keyset)
    }
}

pub(crate) fn bare_keyset_info(keyset: &airseal_format::keyset::Keyset<'_>) -> KeysetInfo {
    let header = keyset.header();
    KeysetInfo {
        version: header.version.0,
        digest: keyset.digest().to_string(),
        prev_digest: header.prev_digest.to_string(),
        vendor_id: Uuid::from_bytes(header.vendor_id.0).to_string(),
        class_id: (!header.class_id.is_zero())
            .then(|| Uuid::from_bytes(header.class_id.0).to_string()),
        max_security_version: header.max_security_version.0,
        root_threshold: header.k_root,
        root_threshold_pq: header.k_root_pq,
        release_threshold: header.k_release,
        release_threshold_pq: header.k_release_pq,
        keys: keyset
            .keys()
            .map(|row| KeysetKeyInfo {
                key_id: row.key_id.to_string(),
                algorithm: row.algorithm.name(),
                roles: [
                    (Roles::ROOT, "root"),
                    (Roles::RELEASE, "release"),
                    (Roles::OFFER, "offer"),
                ]
                .into_iter()
                .filter(|(role, _)| row.roles.contains(*role))
                .map(|(_, name)| name)
                .collect(),
            })
            .collect(),
        signatures: Vec::new(),
    }
}

fn signatures(block: &airseal_format::signature::SignatureBlock<'_>) -> Vec<SignatureInfo> {
    block
        .entries()
        .map(|entry| SignatureInfo {
            key_id: entry.key_id.to_string(),
            algorithm: entry.algorithm.name(),
        })
        .collect()
}

fn component_info(manifest: &UnverifiedManifest<'_>, component: &Component) -> ComponentInfo {
    let chip = match component.target_chip {
        Component::ANY_CHIP => None,
        id => Some(
            Chip::from_id(id)
                .map_or_else(|| format!("chip id {id}"), |chip| chip.name().to_owned()),
        ),
    };
    ComponentInfo {
        id: component.id.0,
        kind: component.kind.name(),
        place: component.place,
        chip,
        address: match component.destination {
            Destination::AnySlot => None,
            Destination::Address(address) => Some(address),
        },
        flash_encryption: flash_key::scheme_name(component.flash_encryption),
        flash_key_check: flash_key::check_value(component.flash_encryption)
            .map(|check| check.to_string()),
        image_len: component.install_len,
        chunks: component
            .geometry(manifest.header().profile)
            .map_or(0, |geometry| geometry.chunks()),
        image_digest: component.image_digest.to_string(),
        tree_root: component.tree_root.to_string(),
    }
}
