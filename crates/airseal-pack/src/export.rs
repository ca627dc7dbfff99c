//! A release as a tree of files that any file server can host.
//!
//! ```text
//! DIR/{capability}/index      one per device or group: the bundle up to its payload, with the one envelope for it
//! DIR/blobs/{manifest digest} the payload, the same for everybody, never changed
//! ```
//!
//! A capability is 128 random bits in hexadecimal: who does not know it can't ask for it, and the tree has no listing. The
//! index is read by whatever reads bundles and names its payload by the digest of the manifest inside, so there is no second
//! format and nothing in it that is not signed or wrapped. Which capability is whose stands in one CSV file, mode 0600, that
//! is not part of the tree; errors say `<capability>` in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use airseal_format::bundle::{HEADER_LEN, SECTION_HEADER_LEN, SectionKind, Walk};
use airseal_format::{ContentSuite, RecipientId, UnverifiedManifest};

use crate::Error;
use crate::bundle::{BundleFile, frame};
use crate::control::Control;
use crate::entropy::Entropy;
use crate::output::{Access, Existing, OutputFile, write_file};
use crate::recipient::DeviceRecord;
use crate::source::Source;

/// Longest path below the exported directory, bytes, as small HTTP stacks hold.
pub const MAX_PATH: usize = 96;
const BLOBS: &str = "blobs";
const INDEX: &str = "index";
const MAX_INDEX: u64 = 1 << 20;

/// Somebody who gets a path of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRecipient {
    /// Whose envelope it is.
    pub id: RecipientId,
    /// The name people know it by: a serial number, or the name of a group.
    pub name: String,
}

impl From<&DeviceRecord> for ExportRecipient {
    fn from(record: &DeviceRecord) -> ExportRecipient {
        ExportRecipient {
            id: record.unseal.recipient_id(),
            name: record.serial.clone(),
        }
    }
}

/// What an export does.
pub struct ExportRequest<'a> {
    /// The tree's root; made if it is not there.
    pub dir: &'a Path,
    /// The CSV that says which capability is whose; read if it is there, so that paths stay.
    pub capabilities: &'a Path,
    /// Who gets the release.
    pub recipients: &'a [ExportRecipient],
    /// Remove the paths of everybody else, and payloads that no path refers to.
    pub prune: bool,
}

/// What was exported. Holds no capability.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Exported {
    /// SHA-256 of the signed manifest, hexadecimal.
    pub manifest_digest: String,
    /// Version text.
    pub version: String,
    /// Recipients whose index now names this release.
    pub written: Vec<String>,
    /// Recipients without an envelope in the bundle: their paths are as they were.
    pub no_envelope: Vec<String>,
    /// Paths that were removed.
    pub pruned_paths: usize,
    /// Payloads that were removed.
    pub pruned_payloads: usize,
    /// Where the capabilities stand.
    pub capabilities: PathBuf,
}

/// Writes or updates the tree. Every file appears whole; a path that is being read switches between releases in one step.
///
/// # Errors
/// Refused if the capabilities file lies inside the tree or can't be understood, or nobody is named; `Io`.
pub fn export_static(
    bundle: &BundleFile,
    request: &ExportRequest<'_>,
    entropy: &dyn Entropy,
    control: &Control<'_>,
) -> Result<Exported, Error> {
    if request.recipients.is_empty() {
        return Err(Error::usage(
            "nobody to export for",
            "give --to-list FILE or --to PUB",
        ));
    }
    bundle.require_signatures()?;
    fs::create_dir_all(request.dir.join(BLOBS))
        .map_err(|error| Error::io("create", request.dir, error))?;
    check_outside(request)?;
    let mut capabilities = Capabilities::read(request.capabilities)?;
    let mut envelopes = BTreeMap::new();
    let wanted: BTreeSet<RecipientId> = request
        .recipients
        .iter()
        .map(|recipient| recipient.id)
        .collect();
    bundle.for_each_envelope(|header, bytes| {
        if wanted.contains(&header.recipient_id) && header.suite.is_some() {
            envelopes.insert(header.recipient_id, bytes.to_vec());
        }
        Ok(())
    })?;
    let manifest = bundle.manifest();
    let is_plain = manifest.header().content_suite == ContentSuite::None;
    let (ready, missing): (Vec<_>, Vec<_>) = request
        .recipients
        .iter()
        .partition(|recipient| is_plain || envelopes.contains_key(&recipient.id));

    for recipient in &ready {
        capabilities.ensure(recipient, entropy)?;
    }
    let removed = if request.prune {
        capabilities.retain(&wanted)
    } else {
        Vec::new()
    };
    // The list comes first: a path that exists and is in no list could not be found again.
    capabilities.write(request.capabilities)?;

    let blob = request.dir.join(BLOBS).join(manifest.digest().to_string());
    write_payload(bundle, &blob, control)?;
    for recipient in &ready {
        let pack = envelopes
            .get(&recipient.id)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let capability = capabilities.of(recipient.id)?;
        write_index(bundle, request.dir, &capability, pack)
            .map_err(|error| redacted(error, &capability))?;
    }
    let mut pruned_paths = 0;
    let mut pruned_payloads = 0;
    if request.prune {
        for capability in &removed {
            pruned_paths += usize::from(remove_path(request.dir, capability)?);
        }
        pruned_payloads = prune_payloads(request.dir)?;
    }
    Ok(Exported {
        manifest_digest: manifest.digest().to_string(),
        version: manifest.header().version.as_str().to_owned(),
        written: ready
            .iter()
            .map(|recipient| recipient.name.clone())
            .collect(),
        no_envelope: missing
            .iter()
            .map(|recipient| recipient.name.clone())
            .collect(),
        pruned_paths,
        pruned_payloads,
        capabilities: request.capabilities.to_owned(),
    })
}

/// Reads an exported path back as the bundle it stands for.
///
/// # Errors
/// `Io`; refused if the index or the payload is not whole. Messages do not contain the capability.
pub fn read_static(dir: &Path, capability: &str) -> Result<BundleFile, Error> {
    if !is_capability(capability) {
        return Err(Error::usage(
            "a capability is 32 hexadecimal digits",
            "take it from the capabilities file",
        ));
    }
    let read = || {
        let index = read_index(&dir.join(capability).join(INDEX))?;
        let digest = index_digest(&index)?;
        let blob = dir.join(BLOBS).join(digest);
        let payload = fs::File::open(&blob).map_err(|error| Error::io("read", &blob, error))?;
        Source::spool("static release", &mut io::Read::chain(&index[..], payload))
    };
    BundleFile::read(read().map_err(|error| redacted(error, capability))?)
}

fn check_outside(request: &ExportRequest<'_>) -> Result<(), Error> {
    let parent = match request.capabilities.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = fs::canonicalize(parent).map_err(|error| Error::io("find", parent, error))?;
    let dir =
        fs::canonicalize(request.dir).map_err(|error| Error::io("find", request.dir, error))?;
    if parent.starts_with(&dir) {
        return Err(Error::refused(
            request.capabilities.display().to_string(),
            "lies inside the exported directory, where the file server would give it to everybody",
            "name a file outside with --paths",
        ));
    }
    Ok(())
}

fn write_payload(bundle: &BundleFile, blob: &Path, control: &Control<'_>) -> Result<(), Error> {
    let len = bundle.payload().len;
    if fs::metadata(blob).is_ok_and(|metadata| metadata.is_file() && metadata.len() == len) {
        return Ok(());
    }
    let mut output = OutputFile::create(blob, Existing::Replace, Access::Public)?;
    bundle.copy_payload(&mut output, control)?;
    output.commit()
}

fn write_index(
    bundle: &BundleFile,
    dir: &Path,
    capability: &str,
    pack: &[u8],
) -> Result<(), Error> {
    let (front, payload_header) = frame(
        bundle.keyset_sections(),
        bundle.manifest_section(),
        pack.len() as u64,
        bundle.payload().len,
    )?;
    let path = dir.join(capability);
    fs::create_dir_all(&path).map_err(|error| Error::io("create", &path, error))?;
    let index = [&front, pack, &payload_header].concat();
    write_file(&path.join(INDEX), &index, Existing::Replace, Access::Public)
}

fn read_index(path: &Path) -> Result<Vec<u8>, Error> {
    let source = Source::open(path)?;
    source.head(0, MAX_INDEX as usize)
}

/// The digest of the manifest in an index.
fn index_digest(index: &[u8]) -> Result<String, Error> {
    let fail = |error| Error::format("index", 0, error);
    let cut = || Error::refused("index", "is cut off", "export again");
    let mut walk = Walk::start(index.first_chunk::<HEADER_LEN>().ok_or_else(cut)?).map_err(fail)?;
    loop {
        let at = usize::try_from(walk.end()).unwrap_or(usize::MAX);
        let rest = index.get(at..).ok_or_else(cut)?;
        let section = walk
            .section(rest.first_chunk::<SECTION_HEADER_LEN>().ok_or_else(cut)?)
            .map_err(fail)?;
        if section.kind == SectionKind::Manifest {
            let body = rest.get(SECTION_HEADER_LEN..).ok_or_else(cut)?;
            return Ok(UnverifiedManifest::parse_prefix(body)
                .map_err(fail)?
                .0
                .digest()
                .to_string());
        }
        if section.kind > SectionKind::Manifest {
            return Err(cut());
        }
    }
}

fn remove_path(dir: &Path, capability: &str) -> Result<bool, Error> {
    match fs::remove_dir_all(dir.join(capability)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(redacted(
            Error::io("remove", &dir.join(capability), error),
            capability,
        )),
    }
}

/// Removes payloads that no index names any more.
fn prune_payloads(dir: &Path) -> Result<usize, Error> {
    let mut used = BTreeSet::new();
    for name in names(dir)? {
        if is_capability(&name) {
            let index =
                read_index(&dir.join(&name).join(INDEX)).and_then(|index| index_digest(&index));
            used.insert(index.map_err(|error| redacted(error, &name))?);
        }
    }
    let blobs = dir.join(BLOBS);
    let mut removed = 0;
    for name in names(&blobs)? {
        let is_payload = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_payload && !used.contains(&name) {
            let path = blobs.join(&name);
            fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    fs::read_dir(dir)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        })
        .map_err(|error| Error::io("list", dir, error))
}

fn is_capability(name: &str) -> bool {
    name.len() == 32
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn redacted(error: Error, capability: &str) -> Error {
    const MASK: &str = "<capability>";
    match error {
        Error::Io { action, source } => Error::Io {
            action: action.replace(capability, MASK),
            source,
        },
        Error::Format {
            file,
            part_offset,
            source,
            remedy,
        } => Error::Format {
            file: file.replace(capability, MASK),
            part_offset,
            source,
            remedy,
        },
        Error::Refused {
            subject,
            message,
            remedy,
        } => Error::Refused {
            subject: subject.replace(capability, MASK),
            message: message.replace(capability, MASK),
            remedy,
        },
        other => other,
    }
}

/// Which capability is whose.
#[derive(Default)]
struct Capabilities {
    rows: BTreeMap<RecipientId, (String, String)>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Row {
    recipient_id: String,
    name: String,
    path: String,
}

impl Capabilities {
    fn read(path: &Path) -> Result<Capabilities, Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Capabilities::default());
            }
            Err(error) => return Err(Error::io("read", path, error)),
        };
        let mut capabilities = Capabilities::default();
        for (index, row) in csv::Reader::from_reader(&bytes[..])
            .deserialize()
            .enumerate()
        {
            let refuse = |message: &str| {
                let subject = format!("{} line {}", path.display(), index + 2);
                Error::refused(
                    subject,
                    message,
                    "repair the line, or name a new file with --paths",
                )
            };
            let row: Row =
                row.map_err(|_| refuse("columns recipient_id, name and path are needed"))?;
            let mut id = [0; 16];
            hex::decode_to_slice(&row.recipient_id, &mut id)
                .map_err(|_| refuse("recipient_id is not 32 hexadecimal digits"))?;
            let capability = row
                .path
                .strip_prefix('/')
                .and_then(|path| path.strip_suffix("/index"))
                .filter(|capability| is_capability(capability))
                .ok_or_else(|| refuse("path is not /CAPABILITY/index"))?;
            capabilities
                .rows
                .insert(RecipientId(id), (row.name, capability.to_owned()));
        }
        Ok(capabilities)
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for (id, (name, capability)) in &self.rows {
            let row = Row {
                recipient_id: id.to_string(),
                name: name.clone(),
                path: format!("/{capability}/{INDEX}"),
            };
            writer
                .serialize(row)
                .map_err(|error| Error::io("write", path, io::Error::other(error)))?;
        }
        let bytes = writer
            .into_inner()
            .map_err(|error| Error::io("write", path, io::Error::other(error.to_string())))?;
        write_file(path, &bytes, Existing::Replace, Access::Owner)
    }

    fn ensure(&mut self, recipient: &ExportRecipient, entropy: &dyn Entropy) -> Result<(), Error> {
        if let Some((name, _)) = self.rows.get_mut(&recipient.id) {
            name.clone_from(&recipient.name);
            return Ok(());
        }
        let mut bits = [0; 16];
        entropy.fill(&mut bits)?;
        self.rows
            .insert(recipient.id, (recipient.name.clone(), hex::encode(bits)));
        Ok(())
    }

    fn of(&self, id: RecipientId) -> Result<String, Error> {
        match self.rows.get(&id) {
            Some((_, capability)) => Ok(capability.clone()),
            None => Err(Error::refused(
                format!("recipient {id}"),
                "has no capability",
                "",
            )),
        }
    }

    /// Forgets everybody who is not wanted, and returns their capabilities.
    fn retain(&mut self, wanted: &BTreeSet<RecipientId>) -> Vec<String> {
        let mut removed = Vec::new();
        self.rows.retain(|id, (_, capability)| {
            let keep = wanted.contains(id);
            if !keep {
                removed.push(capability.clone());
            }
            keep
        });
        removed
    }
}
