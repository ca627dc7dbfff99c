//! Deciding everything a manifest says, before any work is done.

use std::time::{SystemTime, UNIX_EPOCH};

use airseal_format::component::Component;
use airseal_format::keyset::{Roles, SignedKeyset};
use airseal_format::manifest::{
    self, EXTENSION_CARRIED_GROUPS, EXTENSION_TARGETS, Extension, Header, MAX_SIGNED_LEN,
    VersionText,
};
use airseal_format::recipient::carried::CarriedGroup;
use airseal_format::signature::SigningPublicKey;
use airseal_format::{
    ClassId, ContentSuite, Digest, HardwareRevision, KeysetVersion, RecipientId, ReleaseSequence,
    SecurityVersion, VendorId,
};
use uuid::Uuid;

use super::carried::carried_group;
use super::parts::{self, PlannedPart};
use super::{SealRequest, Sealed, SealedSlot, class_id, vendor_id};
use crate::Error;
use crate::bundle::frame;
use crate::entropy::Entropy;
use crate::esp::flash_key;
use crate::firmware::Firmware;
use crate::inspect::CarriedGroupInfo;
use crate::key::Warning;
use crate::keyset::KeysetFile;

/// The manifest in the making.
pub(super) struct Plan<'a> {
    request: &'a SealRequest<'a>,
    pub(super) header: Header,
    /// In the order of the payload, at least one.
    pub(super) parts: Vec<PlannedPart>,
    targets: Vec<u8>,
    carried: Option<CarriedGroup>,
    chip: Option<&'static str>,
    warnings: Vec<Warning>,
}

pub(super) struct Placed {
    pub(super) payload_at: u64,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        request: &'a SealRequest<'a>,
        firmware: &Firmware,
        keeps_content_key: bool,
        entropy: &dyn Entropy,
    ) -> Result<Plan<'a>, Error> {
        let mut warnings = Vec::new();
        check_signers(request)?;
        check_recipients(request, keeps_content_key, &mut warnings)?;
        warn_of_raw_flash(request, &mut warnings);
        if request.hardware.0 > request.hardware.1 {
            return Err(Error::usage(
                "--hw-rev: the lowest revision is above the highest",
                "write MIN..MAX",
            ));
        }
        check_stepping_stone(request)?;
        let vendor_id = vendor_id(required("--vendor", request.vendor)?);
        let class_id = class_id(vendor_id, required("--class", request.class)?);
        let version = version_text(request, firmware)?;
        let security_version = security_version(request, firmware)?;
        if request.min_security_version > security_version {
            return Err(Error::usage(
                format!(
                    "--min-security-version {} is above the release's own, {security_version}: no device could install it",
                    request.min_security_version
                ),
                "name the lowest security version of the releases that may be updated to this one",
            ));
        }
        let keyset_version = match request.keyset {
            Some(keyset) => check_keyset(
                keyset,
                request,
                vendor_id,
                class_id,
                security_version,
                &mut warnings,
            )?,
            None => KeysetVersion(1),
        };
        let carried = carried_group(request, vendor_id, class_id, &mut warnings)?;
        let (profile, parts) = parts::plan(request, firmware)?;
        let payload_len = parts.iter().map(|part| part.geometry.stored_len()).sum();
        let mut payload_salt = [0; 32];
        if request.suite != ContentSuite::None {
            entropy.fill(&mut payload_salt)?;
        }
        let built_at = request.built_at.unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        });
        Ok(Plan {
            request,
            header: Header {
                content_suite: request.suite,
                profile,
                vendor_id,
                class_id,
                hw_rev_min: HardwareRevision(request.hardware.0),
                hw_rev_max: HardwareRevision(request.hardware.1),
                keyset_version,
                release_seq: ReleaseSequence(request.sequence),
                security_version: SecurityVersion(security_version),
                min_from_security_version: SecurityVersion(request.min_security_version),
                min_from_seq: ReleaseSequence(request.min_sequence),
                built_at,
                expires_at: request.expires_at,
                payload_len,
                payload_salt,
                cek_commit: [0; 32],
                version,
            },
            parts,
            targets: targets(request.only),
            carried,
            chip: firmware.chip().map(|chip| chip.name()),
            warnings,
        })
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let carried = self.carried.map(|carried| carried.encode());
        let carried = carried.as_ref().map_or(&[][..], |entry| entry);
        let extensions = [
            (EXTENSION_TARGETS, &self.targets[..]),
            (EXTENSION_CARRIED_GROUPS, carried),
        ];
        let extensions: Vec<_> = extensions
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(number, value)| Extension { number, value })
            .collect();
        let mut signed = vec![0; MAX_SIGNED_LEN];
        let components: Vec<Component> = self.parts.iter().map(|part| part.component).collect();
        let len = manifest::encode(&self.header, &components, &extensions, &mut signed)
            .map_err(|error| Error::format("manifest", 0, error))?;
        signed.truncate(len);
        Ok(signed)
    }

    /// Where the payload begins: every length before it is known before its content is.
    pub(super) fn placed(&self) -> Result<Placed, Error> {
        let signed_len = self.encode()?.len();
        let mut ids = Vec::new();
        let mut block_len = 0;
        for signer in self.request.signers {
            let key = signer.public_key();
            if !ids.contains(&key.key_id()) {
                ids.push(key.key_id());
                block_len += 12 + key.algorithm().value_len().next_multiple_of(4);
            }
        }
        let section = vec![0; signed_len + if ids.is_empty() { 0 } else { 4 + block_len }];
        let keysets = self
            .request
            .keyset
            .map(KeysetFile::sections)
            .unwrap_or_default();
        let pack_len = self.request.recipients.pack_len();
        let (front, payload_header) = frame(&keysets, &section, pack_len, self.header.payload_len)?;
        Ok(Placed {
            payload_at: front.len() as u64 + pack_len + payload_header.len() as u64,
        })
    }

    pub(super) fn summary(self, digest: Digest, bundle_len: u64) -> Sealed {
        let header = &self.header;
        let first = self.parts.first().map(|part| part.component);
        let raw = self.request.raw_flash;
        let labels = raw.iter().flat_map(|raw| &raw.slots);
        Sealed {
            manifest_digest: digest.to_string(),
            vendor: self.request.vendor.to_owned(),
            vendor_id: Uuid::from_bytes(header.vendor_id.0).to_string(),
            class: self.request.class.to_owned(),
            class_id: Uuid::from_bytes(header.class_id.0).to_string(),
            version: header.version.as_str().to_owned(),
            sequence: header.release_seq.0,
            security_version: header.security_version.0,
            keyset_version: header.keyset_version.0,
            chip: self.chip,
            suite: header.content_suite.name(),
            profile: header.profile.number(),
            image_len: first.map_or(0, |component| component.install_len),
            image_digest: first
                .map(|component| component.image_digest.to_string())
                .unwrap_or_default(),
            flash_encryption: raw.map_or("none", |raw| flash_key::scheme_name(raw.encryption)),
            flash_key_check: raw
                .and_then(|raw| flash_key::check_value(raw.encryption))
                .map(|check| check.to_string()),
            slots: self
                .parts
                .iter()
                .zip(labels)
                .map(|(part, slot)| SealedSlot {
                    component: part.component.id.0,
                    label: slot.label.clone(),
                    address: slot.address,
                    image_digest: part.component.image_digest.to_string(),
                })
                .collect(),
            payload_len: header.payload_len,
            bundle_len,
            recipients: self
                .request
                .recipients
                .iter()
                .map(|(id, _)| id.to_string())
                .collect(),
            only: self
                .targets
                .as_chunks::<16>()
                .0
                .iter()
                .map(|id| RecipientId(*id).to_string())
                .collect(),
            carried_groups: self.carried.iter().map(CarriedGroupInfo::new).collect(),
            signers: self
                .request
                .signers
                .iter()
                .map(|signer| signer.public_key().key_id().to_string())
                .collect(),
            warnings: self.warnings,
        }
    }
}

fn required<'t>(option: &str, text: &'t str) -> Result<&'t str, Error> {
    if text.is_empty() {
        return Err(Error::usage(
            format!("{option} is empty"),
            "give a name, for example example.com",
        ));
    }
    Ok(text)
}

fn check_signers(request: &SealRequest<'_>) -> Result<(), Error> {
    if request.signers.is_empty() && !request.allow_unsigned {
        return Err(Error::usage("nobody signs this release", "give --sign KEY"));
    }
    if request.signers.len() > airseal_format::signature::MAX_ENTRIES {
        return Err(Error::usage(
            "more than 8 signing keys",
            "a release carries at most 8 signatures",
        ));
    }
    Ok(())
}

/// Devices only go forward: whoever runs what is asked for would have to go back.
fn check_stepping_stone(request: &SealRequest<'_>) -> Result<(), Error> {
    if request.min_sequence == 0 || request.min_sequence < request.sequence {
        return Ok(());
    }
    Err(Error::usage(
        format!(
            "--min-seq {} is not below --seq {}: no device could install it",
            request.min_sequence, request.sequence
        ),
        "name the number of an earlier release that devices must run before this one",
    ))
}

fn check_recipients(
    request: &SealRequest<'_>,
    keeps_content_key: bool,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    let is_plain = request.suite == ContentSuite::None;
    if is_plain && !request.recipients.is_empty() {
        return Err(Error::usage(
            "--suite none encrypts nothing, so there is nothing to open",
            "leave --to away",
        ));
    }
    if !is_plain && request.recipients.is_empty() {
        warnings.push(Warning::Note(
            match keeps_content_key {
                true => "nobody can open this release yet; add recipients with `airseal envelope add`",
                false => "nobody can ever open this release: no --to, no --to-list, and its content key is not kept",
            }
            .to_owned(),
        ));
    }
    Ok(())
}

/// What is seldom meant about flash-encrypted images.
fn warn_of_raw_flash(request: &SealRequest<'_>, warnings: &mut Vec<Warning>) {
    let Some(raw) = request.raw_flash else {
        return;
    };
    warnings.extend(raw.warnings.iter().cloned().map(Warning::Note));
    if let [slot] = &raw.slots[..] {
        warnings.push(Warning::Note(format!(
            "the table has one OTA slot, {}: a device that runs from it has nowhere to write this release",
            slot.label
        )));
    }
    if request.recipients.len() > 1 {
        warnings.push(Warning::Note(format!(
            "{} recipients can open this release, but only devices with this one flash key can run it; all others refuse it",
            request.recipients.len()
        )));
    }
}

fn version_text(request: &SealRequest<'_>, firmware: &Firmware) -> Result<VersionText, Error> {
    let text = match (request.version, firmware.descriptor()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(descriptor)) => descriptor.version.to_string(),
        (None, None) => return Err(Error::usage("no version", "give --version TEXT")),
    };
    VersionText::new(&text).ok_or_else(|| {
        Error::usage(
            format!("version {text:?} is not 0 to 31 printable ASCII characters"),
            "give --version TEXT",
        )
    })
}

fn security_version(request: &SealRequest<'_>, firmware: &Firmware) -> Result<u32, Error> {
    let stated = firmware
        .descriptor()
        .map(|descriptor| descriptor.secure_version);
    match (request.security_version, stated) {
        (Some(wanted), Some(stated)) if wanted != stated => Err(Error::refused(
            firmware.source.name(),
            format!(
                "secure_version at offset 36 is {stated}, --security-version is {wanted}: devices would refuse it"
            ),
            "build the image with this secure version, or leave --security-version away",
        )),
        (Some(wanted), _) => Ok(wanted),
        (None, stated) => Ok(stated.unwrap_or(0)),
    }
}

fn check_keyset(
    file: &KeysetFile,
    request: &SealRequest<'_>,
    vendor_id: VendorId,
    class_id: ClassId,
    security_version: u32,
    warnings: &mut Vec<Warning>,
) -> Result<KeysetVersion, Error> {
    let last = file.last()?;
    let SignedKeyset { keyset, .. } = last;
    let header = keyset.header();
    let refuse = |message: String, remedy: &str| Err(Error::refused(file.name(), message, remedy));
    if header.vendor_id != vendor_id {
        return refuse(
            "vendor_id at offset 16 is not that of --vendor".to_owned(),
            "use the vendor's own keyset",
        );
    }
    if !header.class_id.is_zero() && header.class_id != class_id {
        return refuse(
            "class_id at offset 32 is not that of --class".to_owned(),
            "use the keyset of this class",
        );
    }
    if security_version > header.max_security_version.0 {
        return refuse(
            format!(
                "max_security_version at offset 80 is {}, the release has {security_version}: devices would refuse it",
                header.max_security_version
            ),
            "rotate the keyset with a higher one first",
        );
    }
    let holders = request
        .signers
        .iter()
        .map(|signer| signer.public_key().key_id())
        .filter(|id| {
            keyset
                .keys()
                .any(|row| row.key_id == *id && row.roles.contains(Roles::RELEASE))
        });
    let mut ids: Vec<_> = holders.collect();
    ids.sort_unstable();
    ids.dedup();
    let signers: Vec<&SigningPublicKey> = request
        .signers
        .iter()
        .map(|signer| signer.public_key())
        .collect();
    if let Some(stranger) = signers
        .iter()
        .find(|key| !keyset.keys().any(|row| row.key_id == key.key_id()))
    {
        warnings.push(Warning::Note(format!(
            "key {} signs, but is not in keyset version {}",
            stranger.key_id(),
            header.version
        )));
    }
    if ids.len() < usize::from(header.k_release) {
        warnings.push(Warning::Note(format!(
            "{} of {} release signatures that keyset version {} asks for; add the others with `airseal cosign`",
            ids.len(),
            header.k_release,
            header.version
        )));
    }
    Ok(header.version)
}

fn targets(only: &[RecipientId]) -> Vec<u8> {
    let mut ids: Vec<RecipientId> = only.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids.iter().flat_map(|id| id.0).collect()
}
