//! Sealing: firmware in, bundle out, in two passes over the input and with flat memory.
//!
//! The first pass hashes the firmware so that the content key depends on it (a broken random source then does not make two
//! releases share a key). The second encrypts, hashes and writes block by block on all cores, while one thread computes the
//! digest of the whole image, the only serial part. The parts before the payload are written last, at their place.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use airseal_format::cipher::{ContentKey, PayloadKeys};
use airseal_format::component::{Component, Destination, FlashEncryption, Kind};
use airseal_format::keyset::{Roles, SignedKeyset};
use airseal_format::manifest::{
    self, EXTENSION_TARGETS, Extension, Header, MAX_SIGNED_LEN, SIGNING_CONTEXT, VersionText,
};
use airseal_format::payload::{Geometry, Profile};
use airseal_format::signature::PublicKey as SigningPublicKey;
use airseal_format::{
    ClassId, ComponentId, ContentSuite, Digest, HardwareRevision, KeysetVersion, RecipientId,
    ReleaseSequence, SecurityVersion, UnverifiedManifest, VendorId,
};
use uuid::Uuid;

use crate::Error;
use crate::bundle::frame;
use crate::content_key::content_key_pem;
use crate::control::{Control, Stage};
use crate::entropy::Entropy;
use crate::firmware::Firmware;
use crate::key::Warning;
use crate::keyset::KeysetFile;
use crate::output::{Access, Existing, OutputFile, check_target, write_file};
use crate::parallel;
use crate::recipient::Recipients;
use crate::signer::{OwnedEntry, Signer, encode_block};
use crate::source::write_all_at;

mod payload;

pub(crate) use payload::blocks;

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
    /// Small chunks for devices with little RAM.
    pub small_ram: bool,
    /// The keyset chain the release is signed under; carried in the bundle.
    pub keyset: Option<&'a KeysetFile>,
    /// Only these devices and groups may install it; empty means all of the class.
    pub only: &'a [RecipientId],
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
    /// Length of the firmware, bytes.
    pub image_len: u64,
    /// Salted digest of the firmware, hexadecimal.
    pub image_digest: String,
    /// Length of the payload (ciphertext and hash table), bytes.
    pub payload_len: u64,
    /// Length of the bundle, bytes.
    pub bundle_len: u64,
    /// Ids of those who can open it, hexadecimal.
    pub recipients: Vec<String>,
    /// Ids of those who may install it, hexadecimal; empty means all of the class.
    pub only: Vec<String>,
    /// Ids of the keys that signed, hexadecimal.
    pub signers: Vec<String>,
    /// Things to warn about.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
}

/// Seals `firmware` as one application.
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
    let mut plan = Plan::new(request, firmware, entropy)?;
    for target in [Some(output.bundle), output.content_key]
        .into_iter()
        .flatten()
    {
        check_target(target, output.existing)?;
    }

    let content_key = match request.suite {
        ContentSuite::None => None,
        _ => Some(payload::hedged_content_key(
            &firmware.source,
            plan.component.id,
            entropy,
            control,
        )?),
    };
    let keys = match &content_key {
        Some(key) => PayloadKeys::derive(request.suite, key, &plan.header.payload_salt),
        None => PayloadKeys::plain(),
    };
    plan.header.cek_commit = keys.commitment();

    let file = OutputFile::create(output.bundle, output.existing, Access::Public)?;
    let handle = file.handle()?;
    let placed = plan.placed()?;
    let write = |bytes: &[u8], at: u64| {
        write_all_at(&handle, bytes, at).map_err(|error| file.write_error(error))
    };

    let sealed = payload::write(
        &firmware.source,
        &plan.geometry,
        request.suite,
        &keys,
        plan.component.place,
        control,
        |bytes, at| write(bytes, placed.payload_at + at),
    )?;
    plan.component.tree_root = sealed.tree_root;
    plan.component.image_digest = sealed.image_digest;

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
            control.report(Stage::Wrapping, done, total)
        },
    )
}

/// The manifest in the making.
struct Plan<'a> {
    request: &'a SealRequest<'a>,
    header: Header,
    component: Component,
    geometry: Geometry,
    targets: Vec<u8>,
    chip: Option<&'static str>,
    warnings: Vec<Warning>,
}

struct Placed {
    payload_at: u64,
}

impl<'a> Plan<'a> {
    fn new(
        request: &'a SealRequest<'a>,
        firmware: &Firmware,
        entropy: &dyn Entropy,
    ) -> Result<Plan<'a>, Error> {
        let mut warnings = Vec::new();
        check_signers(request)?;
        check_recipients(request, &mut warnings)?;
        if request.hardware.0 > request.hardware.1 {
            return Err(Error::usage(
                "--hw-rev: the lowest revision is above the highest",
                "write MIN..MAX",
            ));
        }
        let vendor_id = vendor_id(required("--vendor", request.vendor)?);
        let class_id = class_id(vendor_id, required("--class", request.class)?);
        let version = version_text(request, firmware)?;
        let security_version = security_version(request, firmware)?;
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
        let profile = choose_profile(firmware, request.small_ram)?;
        let id = ComponentId(1);
        let geometry = Geometry::new(profile, id, 0, firmware.len()).ok_or_else(|| {
            Error::refused(
                firmware.source.name(),
                "is larger than a payload can be",
                "",
            )
        })?;
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
                payload_len: geometry.stored_len(),
                payload_salt,
                cek_commit: [0; 32],
                version,
            },
            component: Component {
                id,
                kind: Kind::App,
                target_chip: firmware.target_chip(),
                place: 0,
                file_off: 0,
                enc_len: firmware.len(),
                install_len: firmware.len(),
                destination: Destination::AnySlot,
                flash_encryption: FlashEncryption::None,
                tree_root: Digest([0; 32]),
                image_digest: Digest([0; 32]),
            },
            geometry,
            targets: targets(request.only),
            chip: firmware.chip().map(|chip| chip.name()),
            warnings,
        })
    }

    fn encode(&self) -> Result<Vec<u8>, Error> {
        let extension = [Extension {
            number: EXTENSION_TARGETS,
            value: &self.targets,
        }];
        let extensions = if self.targets.is_empty() {
            &[]
        } else {
            &extension[..]
        };
        let mut signed = vec![0; MAX_SIGNED_LEN];
        let len = manifest::encode(&self.header, &[self.component], extensions, &mut signed)
            .map_err(|error| Error::format("manifest", 0, error))?;
        signed.truncate(len);
        Ok(signed)
    }

    /// Where the payload begins: every length before it is known before its content is.
    fn placed(&self) -> Result<Placed, Error> {
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

    fn summary(self, digest: Digest, bundle_len: u64) -> Sealed {
        let header = &self.header;
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
            image_len: self.component.install_len,
            image_digest: self.component.image_digest.to_string(),
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

fn parse(signed: &[u8]) -> Result<UnverifiedManifest<'_>, Error> {
    UnverifiedManifest::parse(signed).map_err(|error| Error::format("manifest", 0, error))
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

fn check_recipients(request: &SealRequest<'_>, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    let is_plain = request.suite == ContentSuite::None;
    if is_plain && !request.recipients.is_empty() {
        return Err(Error::usage(
            "--suite none encrypts nothing, so there is nothing to open",
            "leave --to away",
        ));
    }
    if !is_plain && request.recipients.is_empty() {
        warnings.push(Warning::Note(
            "nobody can open this release yet: no --to or --to-list; add recipients with `airseal envelope add`".to_owned(),
        ));
    }
    Ok(())
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

fn choose_profile(firmware: &Firmware, small_ram: bool) -> Result<Profile, Error> {
    let holds =
        |profile: &Profile| Geometry::new(*profile, ComponentId(0), 0, firmware.len()).is_some();
    if small_ram {
        return Some(Profile::P1).filter(holds).ok_or_else(|| {
            Error::refused(
                firmware.source.name(),
                format!(
                    "has {} bytes, --small-ram holds at most 2 MiB",
                    firmware.len()
                ),
                "leave --small-ram away",
            )
        });
    }
    Profile::ALL.into_iter().skip(1).find(holds).ok_or_else(|| {
        Error::refused(
            firmware.source.name(),
            "is larger than a payload can be",
            "",
        )
    })
}

fn targets(only: &[RecipientId]) -> Vec<u8> {
    let mut ids: Vec<RecipientId> = only.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids.iter().flat_map(|id| id.0).collect()
}

/// The separate files of `--detached`.
struct Detached {
    dir: PathBuf,
    existing: Existing,
}

impl Detached {
    fn new(dir: &Path, existing: Existing) -> Result<Detached, Error> {
        let detached = Detached {
            dir: dir.to_owned(),
            existing,
        };
        for name in ["manifest", "payload", "keysets"] {
            check_target(&dir.join(name), existing)?;
        }
        std::fs::create_dir_all(dir.join("envelopes"))
            .map_err(|error| Error::io("create", dir, error))?;
        Ok(detached)
    }

    fn envelope(&self, id: RecipientId, bytes: &[u8]) -> Result<(), Error> {
        write_file(
            &self.dir.join("envelopes").join(id.to_string()),
            bytes,
            self.existing,
            Access::Public,
        )
    }

    fn rest(
        &self,
        manifest_section: &[u8],
        keysets: &[Vec<u8>],
        bundle: &std::fs::File,
        payload_at: u64,
        payload_len: u64,
        control: &Control<'_>,
    ) -> Result<(), Error> {
        use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
        let mut output =
            OutputFile::create(&self.dir.join("payload"), self.existing, Access::Public)?;
        let mut input = bundle;
        let mut block = vec![0; 256 * 1024];
        let mut done = 0;
        input
            .seek(SeekFrom::Start(payload_at))
            .map_err(|error| output.write_error(error))?;
        while done < payload_len {
            let step = usize::try_from(payload_len - done)
                .unwrap_or(usize::MAX)
                .min(block.len());
            let bytes = block.get_mut(..step).unwrap_or_default();
            input
                .read_exact(bytes)
                .map_err(|error| output.write_error(error))?;
            output
                .write_all(bytes)
                .map_err(|error| output.write_error(error))?;
            done += step as u64;
            control.report(Stage::Copying, done, payload_len)?;
        }
        output.commit()?;
        if !keysets.is_empty() {
            write_file(
                &self.dir.join("keysets"),
                &keysets.concat(),
                self.existing,
                Access::Public,
            )?;
        }
        write_file(
            &self.dir.join("manifest"),
            manifest_section,
            self.existing,
            Access::Public,
        )
    }
}
