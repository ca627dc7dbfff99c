//! From an uploaded bundle to a stored release: everything is verified before anything is kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use airseal_format::bundle::{SectionKind, Walk};
use airseal_format::envelope::{Pack, PackEntry};
use airseal_format::keyset::{CarriedOrder, Followed, KeyRow, Roles, SignedKeyset, TrustedKeyset};
use airseal_format::payload::PayloadTree;
use airseal_format::signature::{SignatureBlock, SigningPublicKey};
use airseal_format::trust::{TrustAnchor, check_carried_keysets};
use airseal_format::{
    ContentSuite, Digest, Error, KeyId, Part, Reason, UnverifiedManifest, VerifiedManifest,
};

use crate::blob::{BlobFolder, Stored};
use crate::store::{NewRelease, Product, Release, StoredEnvelope, Trust};

/// Why a bundle or an envelope pack is not kept.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The bytes break the format, a signature or a hash.
    Format(Error),
    /// Those who signed are not those whose signatures the product's trust asks for; the text names both.
    Signers(Error, String),
    /// More than this server takes.
    TooLarge(&'static str),
    /// Reading or writing failed.
    Io(io::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Format(error)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The sections of a bundle, everything but the payload in memory.
#[derive(Debug)]
pub(crate) struct Sections {
    keysets: Vec<Vec<u8>>,
    manifest: Vec<u8>,
    pack: Option<Vec<u8>>,
    payload_off: u64,
    payload_len: u64,
}

impl Sections {
    /// Reads the structure of a bundle; nobody vouches for its content yet.
    pub(crate) fn read(file: &mut File) -> Result<Self, Refusal> {
        let file_len = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut walk = Walk::start(&read_array(file)?)?;
        let mut sections = Self {
            keysets: Vec::new(),
            manifest: Vec::new(),
            pack: None,
            payload_off: 0,
            payload_len: 0,
        };
        while !walk.is_complete() {
            let section = walk.section(&read_array(file)?)?;
            if walk.end() > file_len {
                return Err(truncated(file_len).into());
            }
            match section.kind {
                SectionKind::Keyset => sections.keysets.push(read_section(file, section.len)?),
                SectionKind::Manifest => sections.manifest = read_section(file, section.len)?,
                SectionKind::EnvelopePack if section.len > PACK_MAX => {
                    return Err(Refusal::TooLarge(
                        "the envelope pack is larger than 64 MiB; publish with fewer recipients and add the rest \
                         with envelope add",
                    ));
                }
                SectionKind::EnvelopePack => {
                    sections.pack = Some(read_section(file, section.len)?);
                }
                SectionKind::Payload => {
                    sections.payload_off = walk.end().saturating_sub(section.len);
                    sections.payload_len = section.len;
                }
            }
        }
        if walk.end() < file_len {
            let at = usize::try_from(walk.end()).unwrap_or(usize::MAX);
            return Err(Error::new(Part::Bundle, "end", at, Reason::TrailingBytes).into());
        }
        Ok(sections)
    }

    /// What the release says it is for.
    pub(crate) fn product(&self) -> Result<Product, Refusal> {
        let (manifest, _) = UnverifiedManifest::parse_prefix(&self.manifest)?;
        Ok(Product {
            vendor_id: manifest.header().vendor_id,
            class_id: manifest.header().class_id,
        })
    }

    /// Verifies signatures, keysets, envelopes and every chunk, then stores the payload; what is stored is to be
    /// discarded when the release is not.
    pub(crate) fn verify_and_store(
        self,
        file: &mut File,
        trust: &Trust,
        blobs: &BlobFolder,
        now: u64,
    ) -> Result<(NewRelease, Stored), Refusal> {
        let (manifest, rest) = UnverifiedManifest::parse_prefix(&self.manifest)?;
        let signatures = SignatureBlock::parse(rest)?;
        let (verified, chain) = self.verify_signatures(manifest, &signatures, trust)?;
        let header = *verified.header();
        if self.payload_len != header.payload_len {
            return Err(Error::new(Part::Payload, "section_len", 8, Reason::Sum).into());
        }
        let envelopes = match &self.pack {
            None => Vec::new(),
            Some(_) if header.content_suite == ContentSuite::None => {
                return Err(
                    Error::new(Part::Envelope, "content_suite", 0, Reason::MustBeZero).into(),
                );
            }
            Some(pack) => read_pack(verified.digest(), pack)?,
        };
        self.verify_payload(file, &verified)?;
        let (trust, keysets) = self.keysets_of(trust, chain, header.keyset_version.0)?;
        let stored = blobs.store(file, self.payload_off, self.payload_len)?;
        let release = Release {
            digest: verified.digest(),
            product: Product {
                vendor_id: header.vendor_id,
                class_id: header.class_id,
            },
            order: verified.order(),
            security_version: header.security_version,
            min_from_security_version: header.min_from_security_version,
            min_from_seq: header.min_from_seq,
            hw_rev_min: header.hw_rev_min,
            hw_rev_max: header.hw_rev_max,
            content_suite: header.content_suite.number(),
            version: header.version.as_str().to_owned(),
            built_at: header.built_at,
            targets: verified
                .targets()
                .map(Iterator::collect)
                .unwrap_or_default(),
            keysets,
            payload: stored.id,
            payload_len: self.payload_len,
            published_at: now,
            yanked: None,
            manifest: self.manifest.clone(),
        };
        let new = NewRelease {
            release,
            envelopes,
            trust,
            given_trust: None,
        };
        Ok((new, stored))
    }

    /// Verifies the manifest under the product's trust. With keysets, also returns the chain with what the bundle adds.
    fn verify_signatures<'m>(
        &self,
        manifest: UnverifiedManifest<'m>,
        signatures: &SignatureBlock<'_>,
        trust: &Trust,
    ) -> Result<(VerifiedManifest<'m>, Option<Vec<u8>>), Refusal> {
        match trust {
            Trust::Keys(keys) => {
                let anchors = TrustAnchor::new(keys)?;
                check_carried_keysets(self.keysets.iter().map(|bytes| SignedKeyset::parse(bytes)))?;
                let verified = anchors.verify_manifest(manifest, signatures);
                let wanted = keys.iter().map(SigningPublicKey::key_id);
                Ok((named(verified, signatures, 1, wanted)?, None))
            }
            Trust::Keysets(chain) => {
                let mut extended = chain.clone();
                let mut in_force = keyset_in_force(chain)?;
                let mut order = CarriedOrder::default();
                for bytes in &self.keysets {
                    let next = SignedKeyset::parse(bytes)?;
                    order.check(&next.keyset)?;
                    if let Followed::Newer(newer) = in_force.follow(next)? {
                        in_force = newer;
                        extended.extend(bytes);
                    }
                }
                let verified = in_force.verify_manifest(manifest, signatures);
                let may_sign = |row: &KeyRow| row.roles.contains(Roles::RELEASE);
                let wanted = in_force.keys().filter(may_sign).map(|row| row.key_id);
                let threshold = in_force.header().k_release;
                Ok((
                    named(verified, signatures, threshold, wanted)?,
                    Some(extended),
                ))
            }
        }
    }

    /// The product's trust from now on, and the keysets that lead a device to this release.
    fn keysets_of(
        &self,
        trust: &Trust,
        chain: Option<Vec<u8>>,
        manifest_keyset: u32,
    ) -> Result<(Trust, Vec<u8>), Refusal> {
        let mut by_version = BTreeMap::new();
        for bytes in &self.keysets {
            let version = SignedKeyset::parse(bytes)?.keyset.header().version.0;
            by_version.insert(version, bytes.clone());
        }
        let top = by_version
            .last_key_value()
            .map_or(0, |(version, _)| *version)
            .max(manifest_keyset);
        if let Some(chain) = &chain {
            for (version, bytes) in split_keysets(chain)? {
                if version <= top {
                    by_version.insert(version, bytes.to_vec());
                }
            }
        }
        let keysets = by_version.into_values().flatten().collect();
        Ok((chain.map_or_else(|| trust.clone(), Trust::Keysets), keysets))
    }

    fn verify_payload(
        &self,
        file: &mut File,
        manifest: &VerifiedManifest<'_>,
    ) -> Result<(), Refusal> {
        for component in manifest.components() {
            let tree = PayloadTree::new(manifest, component.id)?;
            let geometry = *tree.geometry();
            file.seek(SeekFrom::Start(
                self.payload_off.saturating_add(geometry.top_off()),
            ))?;
            let mut top = vec![0; length(geometry.top_len())];
            file.read_exact(&mut top)?;
            let top = tree.verify_top(top)?;
            let mut page = Vec::new();
            let mut chunk_buffer = Vec::new();
            let fan_out = geometry.profile().fan_out();
            for number in 0..geometry.pages() {
                page.resize(length(geometry.page_len(number)), 0);
                file.read_exact(&mut page)?;
                let verified = top.verify_page(number, &page)?;
                let first = number.saturating_mul(fan_out);
                for chunk in first..first.saturating_add(geometry.entries(number)) {
                    chunk_buffer.resize(length(geometry.chunk_len(chunk)), 0);
                    file.read_exact(&mut chunk_buffer)?;
                    verified.verify_chunk(chunk, &chunk_buffer)?;
                }
            }
        }
        Ok(())
    }
}

/// Names who signed and whose signatures are wanted when these are too few.
fn named<T>(
    verified: Result<T, Error>,
    signatures: &SignatureBlock<'_>,
    threshold: u8,
    wanted: impl Iterator<Item = KeyId>,
) -> Result<T, Refusal> {
    let list = |ids: &mut dyn Iterator<Item = KeyId>| {
        let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
        ids.join(", ")
    };
    verified.map_err(|error| match error.reason {
        Reason::TooFewSignatures => Refusal::Signers(
            error,
            format!(
                "signed by {}, wanted for this product are {threshold} of {}",
                list(&mut signatures.entries().map(|entry| entry.key_id)),
                list(&mut { wanted }),
            ),
        ),
        _ => error.into(),
    })
}

/// Checks an envelope pack of the release `digest`.
pub(crate) fn read_pack(digest: Digest, pack: &[u8]) -> Result<Vec<StoredEnvelope>, Refusal> {
    let mut envelopes = Vec::new();
    for entry in Pack::new(digest, pack)? {
        match entry? {
            PackEntry::Envelope(envelope) => envelopes.push(StoredEnvelope {
                recipient_id: envelope.header().recipient_id,
                bytes: envelope.as_bytes().to_vec(),
            }),
            PackEntry::UnknownSuite(header) => {
                let (suite, recipient) = (header.suite_number, header.recipient_id);
                tracing::warn!(suite, %recipient, "an envelope of an unknown suite is left out");
            }
        }
    }
    Ok(envelopes)
}

/// Checks what an administrator gives as the trust of a product: a keyset file whose first keyset holds by its own
/// roots, and each further one by the rules.
pub(crate) fn check_keyset_file(file: &[u8], product: &Product) -> Result<(), Refusal> {
    let in_force = keyset_in_force(file)?;
    let header = in_force.header();
    if header.vendor_id != product.vendor_id {
        return Err(Error::new(Part::Keyset, "vendor_id", 16, Reason::WrongVendor).into());
    }
    if !header.class_id.is_zero() && header.class_id != product.class_id {
        return Err(Error::new(Part::Keyset, "class_id", 32, Reason::WrongClass).into());
    }
    Ok(())
}

/// The keysets of a chain with their versions.
pub(crate) fn split_keysets(chain: &[u8]) -> Result<Vec<(u32, &[u8])>, Error> {
    let mut keysets = Vec::new();
    let mut rest = chain;
    while !rest.is_empty() {
        let (keyset, tail) = SignedKeyset::parse_prefix(rest)?;
        let len = rest.len().saturating_sub(tail.len());
        let bytes = rest.get(..len).unwrap_or_default();
        keysets.push((keyset.keyset.header().version.0, bytes));
        rest = tail;
    }
    Ok(keysets)
}

fn keyset_in_force(chain: &[u8]) -> Result<TrustedKeyset<'_>, Error> {
    let missing = Error::new(Part::Keyset, "magic", 0, Reason::Missing);
    let mut keysets = SignedKeyset::parse_file(chain);
    let first = keysets.next().ok_or(missing)??;
    let mut in_force = first.verify_by_itself()?;
    for next in keysets {
        in_force = next?.verify_after(&in_force)?;
    }
    Ok(in_force)
}

fn read_array<const N: usize>(file: &mut File) -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    let at = file.stream_position()?;
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(truncated(at).into()),
        Err(error) => Err(error.into()),
    }
}

fn read_section(file: &mut File, len: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn truncated(at: u64) -> Error {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    Error::new(Part::Bundle, "section", at, Reason::Truncated)
}

fn length(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// Largest envelope pack held in memory: 400,000 envelopes.
const PACK_MAX: u64 = 64 << 20;
