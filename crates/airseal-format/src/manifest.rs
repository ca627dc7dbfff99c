//! The signed manifest: what a release is, for whom, and what its payload hashes to.

use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::component::Component;
use crate::payload::Profile;
use crate::recipient::carried::{self, CarriedGroup};
use crate::wire::{Reader, Writer, padding};
use crate::{
    ClassId, ContentSuite, Digest, Error, HardwareRevision, KeysetVersion, Part, Reason,
    RecipientId, ReleaseOrder, ReleaseSequence, SecurityVersion, VendorId,
};

/// Length of the fixed header, bytes.
pub const HEADER_LEN: usize = 256;
/// Largest signed manifest, bytes.
pub const MAX_SIGNED_LEN: usize = 2048;
/// Most components in one manifest.
pub const MAX_COMPONENTS: usize = 8;
/// What stands before the signed bytes in the message that is signed.
pub const SIGNING_CONTEXT: &[u8] = b"airseal1 manifest\0";

/// A manifest whose bytes are well-formed and canonical. Nobody vouches for it yet.
#[derive(Clone, Copy, Debug)]
pub struct UnverifiedManifest<'a> {
    signed: &'a [u8],
    header: Header,
}

/// A manifest signed as the trust in force demands.
///
/// Only [`crate::keyset::TrustedKeyset::verify_manifest`] and
/// [`crate::trust::TrustAnchor::verify_manifest`] make one.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedManifest<'a> {
    manifest: UnverifiedManifest<'a>,
    keyset_version: KeysetVersion,
}

impl<'a> UnverifiedManifest<'a> {
    /// Reads exactly one manifest, without its signature block.
    ///
    /// # Errors
    /// Names the field and its offset in the manifest.
    pub fn parse(signed: &'a [u8]) -> Result<Self, Error> {
        let (manifest, rest) = Self::parse_prefix(signed)?;
        if !rest.is_empty() {
            return Err(Error::new(
                Part::Manifest,
                "end",
                manifest.signed.len(),
                Reason::TrailingBytes,
            ));
        }
        Ok(manifest)
    }

    /// Reads a manifest from the front of a section; what follows is its signature block.
    ///
    /// # Errors
    /// Names the field and its offset in the manifest.
    pub fn parse_prefix(section: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let (header, signed_len, n_components) = Header::parse(section)?;
        let truncated = Error::new(
            Part::Manifest,
            "signed_len",
            section.len(),
            Reason::Truncated,
        );
        let (signed, rest) = section.split_at_checked(signed_len).ok_or(truncated)?;
        let manifest = Self { signed, header };
        manifest.check_components(n_components)?;
        for extension in manifest.extensions() {
            extension?;
        }
        Ok((manifest, rest))
    }

    /// The header's values.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes that are signed, without the signing context.
    pub fn signed_bytes(&self) -> &'a [u8] {
        self.signed
    }

    /// SHA-256 of the signed bytes: the release's name everywhere.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.signed).into())
    }

    /// Where the release stands among those of its class.
    pub fn order(&self) -> ReleaseOrder {
        ReleaseOrder {
            keyset_version: self.header.keyset_version,
            release_seq: self.header.release_seq,
        }
    }

    /// The components, ascending by id.
    pub fn components(&self) -> impl Iterator<Item = Component> + use<'a> {
        let signed = self.signed;
        (0..self.component_count()).map(move |index| {
            Component::parse(signed, component_at(index)).expect("checked by parse_prefix")
        })
    }

    /// How many components there are, 1 to [`MAX_COMPONENTS`].
    pub fn component_count(&self) -> usize {
        usize::from(self.signed.get(16).copied().unwrap_or(0))
    }

    /// The recipients this release is restricted to, ascending; `None` when it is for all.
    pub fn targets(&self) -> Option<impl Iterator<Item = RecipientId> + use<'a>> {
        let value = self
            .extensions()
            .filter_map(Result::ok)
            .find(|extension| extension.number == EXTENSION_TARGETS)?
            .value;
        Some(value.as_chunks::<16>().0.iter().copied().map(RecipientId))
    }

    /// The group keys it carries for holders of the generation before, ascending by that.
    pub fn carried_groups(&self) -> impl Iterator<Item = CarriedGroup> + use<'a> {
        self.extensions()
            .filter_map(Result::ok)
            .filter(|extension| extension.number == EXTENSION_CARRIED_GROUPS)
            .flat_map(|extension| extension.value.as_chunks().0)
            .map(CarriedGroup::parse)
    }

    /// Every extension in order, including private ones.
    pub fn extensions(&self) -> Extensions<'a> {
        Extensions {
            reader: Reader::at(
                Part::Manifest,
                self.signed,
                component_at(self.component_count()),
            ),
            last: None,
        }
    }

    /// Turns this into a verified manifest. Only the trust modules may say so.
    pub(crate) fn vouched_for(self, keyset_version: KeysetVersion) -> VerifiedManifest<'a> {
        VerifiedManifest {
            manifest: self,
            keyset_version,
        }
    }

    fn check_components(&self, count: usize) -> Result<(), Error> {
        let mut last: Option<Component> = None;
        let mut sum: u64 = 0;
        for index in 0..count {
            let at = component_at(index);
            let refuse =
                |field, offset, reason| Err(Error::new(Part::Manifest, field, at + offset, reason));
            let component = Component::parse(self.signed, at)?;
            if let Some(last) = last {
                if component.id <= last.id {
                    return refuse("component_id", 0, Reason::NotAscending);
                }
                if component.place < last.place {
                    return refuse("place", 7, Reason::NotAscending);
                }
                if component.place == last.place && component.kind != last.kind {
                    return refuse("kind", 2, Reason::OutOfRange);
                }
            }
            if component.file_off != sum {
                return refuse("file_off", 8, Reason::Sum);
            }
            let Ok(geometry) = component.geometry(self.header.profile) else {
                return refuse("enc_len", 16, Reason::OutOfRange);
            };
            sum = match sum.checked_add(geometry.stored_len()) {
                Some(sum) => sum,
                None => return refuse("enc_len", 16, Reason::Sum),
            };
            last = Some(component);
        }
        if sum != self.header.payload_len {
            return Err(Error::new(Part::Manifest, "payload_len", 104, Reason::Sum));
        }
        Ok(())
    }
}

impl<'a> VerifiedManifest<'a> {
    /// Version of the keyset it was verified under; 0 under bare trust anchors.
    pub fn accepted_under(&self) -> KeysetVersion {
        self.keyset_version
    }

    /// The same manifest as an unverified view, for display.
    pub fn as_unverified(&self) -> UnverifiedManifest<'a> {
        self.manifest
    }
}

impl<'a> core::ops::Deref for VerifiedManifest<'a> {
    type Target = UnverifiedManifest<'a>;

    fn deref(&self) -> &Self::Target {
        &self.manifest
    }
}

/// Writes the signed bytes of a manifest into `out` and returns their length.
///
/// # Errors
/// Every rule of the format is checked on the result: what this writes, a reader accepts.
pub fn encode(
    header: &Header,
    components: &[Component],
    extensions: &[Extension<'_>],
    out: &mut [u8],
) -> Result<usize, Error> {
    let extension_len: usize = extensions
        .iter()
        .map(|e| 4 + e.value.len() + padding(e.value.len()))
        .sum();
    let signed_len = component_at(components.len()) + extension_len;
    let signed_len_u32 = u32::try_from(signed_len)
        .map_err(|_| Error::new(Part::Manifest, "signed_len", 8, Reason::OutOfRange))?;
    let count = u8::try_from(components.len())
        .map_err(|_| Error::new(Part::Manifest, "n_components", 16, Reason::OutOfRange))?;
    let mut w = Writer::new(Part::Manifest, out);
    header.encode(&mut w, signed_len_u32, count)?;
    for component in components {
        component.encode(&mut w)?;
    }
    for extension in extensions {
        let len = u16::try_from(extension.value.len())
            .map_err(|_| Error::new(Part::Manifest, "extension", 0, Reason::OutOfRange))?;
        w.u16(extension.number)?;
        w.u16(len)?;
        w.put(extension.value)?;
        w.zeros(padding(extension.value.len()))?;
    }
    let written = w.written();
    UnverifiedManifest::parse(out.get(..written).unwrap_or_default())?;
    Ok(written)
}

/// The manifest's fixed header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload encryption.
    pub content_suite: ContentSuite,
    /// Chunk size and fan-out of the payload tree.
    pub profile: Profile,
    /// Who made it.
    pub vendor_id: VendorId,
    /// For which kind of device.
    pub class_id: ClassId,
    /// Lowest board revision it runs on.
    pub hw_rev_min: HardwareRevision,
    /// Highest board revision it runs on, inclusive.
    pub hw_rev_max: HardwareRevision,
    /// The keyset it is signed under; 0 = sealed without one.
    pub keyset_version: KeysetVersion,
    /// Position in the class's release sequence.
    pub release_seq: ReleaseSequence,
    /// Rollback floor it raises once confirmed.
    pub security_version: SecurityVersion,
    /// The running release must have at least this security version (stepping stone).
    pub min_from_security_version: SecurityVersion,
    /// The running release must have at least this sequence (stepping stone).
    pub min_from_seq: ReleaseSequence,
    /// Build time, seconds since 1970-01-01 UTC.
    pub built_at: u64,
    /// Not to be started after this time, seconds since 1970; 0 = never expires.
    pub expires_at: u64,
    /// Length of the payload, bytes.
    pub payload_len: u64,
    /// Fresh random salt of the key derivation.
    pub payload_salt: [u8; 32],
    /// Commitment to the content key.
    pub cek_commit: [u8; 32],
    /// The version people read.
    pub version: VersionText,
}

impl Header {
    fn parse(section: &[u8]) -> Result<(Self, usize, usize), Error> {
        let mut r = Reader::new(Part::Manifest, section);
        r.expect(b"ASM1", "magic", Reason::Magic)?;
        r.expect(&[1], "major", Reason::Version)?;
        r.expect(&[0], "minor", Reason::Version)?;
        r.expect_u16(256, "header_len", Reason::Version)?;
        let signed_len = usize::try_from(r.u32("signed_len")?).unwrap_or(usize::MAX);
        if !(HEADER_LEN..=MAX_SIGNED_LEN).contains(&signed_len) {
            return Err(r.refuse("signed_len", Reason::OutOfRange));
        }
        if r.u32("critical_flags")? != 0 {
            return Err(r.refuse("critical_flags", Reason::UnknownCritical));
        }
        let count = usize::from(r.u8("n_components")?);
        if !(1..=MAX_COMPONENTS).contains(&count) {
            return Err(r.refuse("n_components", Reason::OutOfRange));
        }
        if component_at(count) > signed_len {
            return Err(r.refuse("n_components", Reason::Sum));
        }
        r.zeros(1, "reserved")?;
        let content_suite = ContentSuite::from_number(r.u8("content_suite")?)
            .ok_or_else(|| r.refuse("content_suite", Reason::UnknownValue))?;
        r.expect(&[1], "hash_suite", Reason::UnknownValue)?;
        let profile = Profile::from_number(r.u8("profile")?)
            .ok_or_else(|| r.refuse("profile", Reason::UnknownValue))?;
        r.zeros(3, "reserved")?;
        let vendor_id = VendorId(r.array("vendor_id")?);
        let class_id = ClassId(r.array("class_id")?);
        let hw_rev_min = HardwareRevision(r.u16("hw_rev_min")?);
        let hw_rev_max = HardwareRevision(r.u16("hw_rev_max")?);
        if hw_rev_min > hw_rev_max {
            return Err(r.refuse("hw_rev_max", Reason::OutOfRange));
        }
        let keyset_version = KeysetVersion(r.u32("keyset_version")?);
        let release_seq = ReleaseSequence(r.u64("release_seq")?);
        let security_version = SecurityVersion(r.u32("security_version")?);
        let min_from_security_version = SecurityVersion(r.u32("min_from_secver")?);
        let min_from_seq = ReleaseSequence(r.u64("min_from_seq")?);
        let built_at = r.u64("built_at")?;
        let expires_at = r.u64("expires_at")?;
        let payload_len = r.u64("payload_len")?;
        let is_plain = content_suite == ContentSuite::None;
        let payload_salt = r.array("payload_salt")?;
        check_zeroness(&r, "payload_salt", &payload_salt, is_plain)?;
        let cek_commit = r.array("cek_commit")?;
        check_zeroness(&r, "cek_commit", &cek_commit, is_plain)?;
        let version = VersionText::from_wire(r.array("version")?)
            .ok_or_else(|| r.refuse("version", Reason::Text))?;
        r.zeros(48, "reserved")?;
        let header = Self {
            content_suite,
            profile,
            vendor_id,
            class_id,
            hw_rev_min,
            hw_rev_max,
            keyset_version,
            release_seq,
            security_version,
            min_from_security_version,
            min_from_seq,
            built_at,
            expires_at,
            payload_len,
            payload_salt,
            cek_commit,
            version,
        };
        Ok((header, signed_len, count))
    }

    fn encode(&self, w: &mut Writer<'_>, signed_len: u32, count: u8) -> Result<(), Error> {
        w.put(b"ASM1")?;
        w.put(&[1, 0])?;
        w.u16(256)?;
        w.u32(signed_len)?;
        w.u32(0)?;
        w.put(&[count, 0, self.content_suite.number(), 1])?;
        w.put(&[self.profile.number(), 0, 0, 0])?;
        w.put(&self.vendor_id.0)?;
        w.put(&self.class_id.0)?;
        w.u16(self.hw_rev_min.0)?;
        w.u16(self.hw_rev_max.0)?;
        w.u32(self.keyset_version.0)?;
        w.u64(self.release_seq.0)?;
        w.u32(self.security_version.0)?;
        w.u32(self.min_from_security_version.0)?;
        w.u64(self.min_from_seq.0)?;
        w.u64(self.built_at)?;
        w.u64(self.expires_at)?;
        w.u64(self.payload_len)?;
        w.put(&self.payload_salt)?;
        w.put(&self.cek_commit)?;
        w.put(&self.version.0)?;
        w.zeros(48)
    }
}

/// The version a person reads: up to 31 printable ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VersionText([u8; 32]);

impl VersionText {
    /// Takes `text` when it is printable ASCII of at most 31 bytes.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        Self::from_wire(bytes)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(0);
        core::str::from_utf8(self.0.get(..end).unwrap_or_default()).unwrap_or_default()
    }

    fn from_wire(bytes: [u8; 32]) -> Option<Self> {
        let end = bytes.iter().position(|&b| b == 0)?;
        let (text, padding) = bytes.split_at(end);
        let is_valid =
            text.iter().all(|b| (0x20..=0x7E).contains(b)) && padding.iter().all(|&b| b == 0);
        is_valid.then_some(Self(bytes))
    }
}

impl fmt::Debug for VersionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for VersionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One extension behind the components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Type, with [`EXTENSION_CRITICAL`] where unknown readers must refuse.
    pub number: u16,
    /// Value without padding.
    pub value: &'a [u8],
}

/// Bit 15 of an extension's number.
pub const EXTENSION_CRITICAL: u16 = 0x8000;
/// The list of recipients a release is restricted to.
pub const EXTENSION_TARGETS: u16 = 0x8001;
/// New generations of group keys, each wrapped under the one before. Not critical.
pub const EXTENSION_CARRIED_GROUPS: u16 = 0x0004;
/// Reserved: a release that needs another place at a given sequence.
pub const EXTENSION_REQUIRES: u16 = 0x8002;

/// Iterator over extensions; ends after the first error.
pub struct Extensions<'a> {
    reader: Reader<'a>,
    last: Option<u16>,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<Extension<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let item = self.read_one();
        if item.is_err() {
            self.reader = Reader::new(Part::Manifest, &[]);
        }
        Some(item)
    }
}

impl<'a> Extensions<'a> {
    fn read_one(&mut self) -> Result<Extension<'a>, Error> {
        let r = &mut self.reader;
        let number = r.u16("extension_type")?;
        let order = number & !EXTENSION_CRITICAL;
        if self.last.is_some_and(|last| order <= last) {
            return Err(r.refuse("extension_type", Reason::NotAscending));
        }
        match number {
            EXTENSION_TARGETS => {}
            EXTENSION_REQUIRES => return Err(r.refuse("extension_type", Reason::Unsupported)),
            0x0001 | 0x0002 => return Err(r.refuse("extension_type", Reason::OutOfRange)),
            _ if number & EXTENSION_CRITICAL != 0 => {
                return Err(r.refuse("extension_type", Reason::UnknownCritical));
            }
            _ => {}
        }
        self.last = Some(order);
        let len = usize::from(r.u16("extension_len")?);
        let value_at = r.offset();
        let value = r.take(len, "extension_value")?;
        match number {
            EXTENSION_TARGETS => check_targets(value, value_at)?,
            EXTENSION_CARRIED_GROUPS => carried::check(value, value_at)?,
            _ => {}
        }
        r.zeros(padding(len), "extension_padding")?;
        Ok(Extension { number, value })
    }
}

fn check_targets(value: &[u8], at: usize) -> Result<(), Error> {
    let (ids, rest) = value.as_chunks::<16>();
    if ids.is_empty() || !rest.is_empty() {
        return Err(Error::new(
            Part::Manifest,
            "targets",
            at,
            Reason::OutOfRange,
        ));
    }
    if ids.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(Error::new(
            Part::Manifest,
            "targets",
            at,
            Reason::NotAscending,
        ));
    }
    Ok(())
}

fn check_zeroness(
    r: &Reader<'_>,
    field: &'static str,
    value: &[u8; 32],
    must_be_zero: bool,
) -> Result<(), Error> {
    match (*value == [0; 32], must_be_zero) {
        (false, true) => Err(r.refuse(field, Reason::MustBeZero)),
        (true, false) => Err(r.refuse(field, Reason::Zero)),
        _ => Ok(()),
    }
}

fn component_at(index: usize) -> usize {
    HEADER_LEN + Component::LEN * index
}
