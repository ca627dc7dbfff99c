//! A bundle file opened for reading: small parts in memory, envelope pack and payload by offset.

use std::io::Write;
use std::path::Path;

use airseal_format::bundle::Section;
use airseal_format::bundle::{
    HEADER_LEN, MAX_KEYSETS, SECTION_HEADER_LEN, SectionKind, Walk, check_payload_len,
    encode_header,
};
use airseal_format::envelope::{self, Envelope, PackOrder};
use airseal_format::keyset::{CarriedOrder, SignedKeyset};
use airseal_format::signature::SignatureBlock;
use airseal_format::{Error as FormatError, Part, Reason, RecipientId, UnverifiedManifest};

use crate::control::{Activity, Control};
use crate::recognise::{FileKind, HEAD_LEN, Purpose, recognise};
use crate::source::{Source, length};
use crate::{Error, OutputFile};

/// Bytes copied or read in one go.
const BLOCK: usize = 256 * 1024;

/// A well-formed bundle. Nobody vouches for it yet.
pub struct BundleFile {
    source: Source,
    keysets: Vec<Vec<u8>>,
    manifest_section: Vec<u8>,
    manifest_offset: u64,
    signed_len: usize,
    pack: Option<Span>,
    payload: Span,
}

/// A stretch of the file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl BundleFile {
    /// Opens a bundle; `-` is standard input.
    ///
    /// Section borders, the manifest, its signature block and the keysets are parsed; envelopes, payload and signatures are
    /// not looked at.
    ///
    /// # Errors
    /// `Io` if it can't be read; refused with part, field and offset, or by what the file is instead.
    pub fn open(path: &Path) -> Result<BundleFile, Error> {
        Self::read(Source::open(path)?)
    }

    /// Reads a bundle that is open already.
    ///
    /// # Errors
    /// As [`BundleFile::open`].
    pub fn read(source: Source) -> Result<BundleFile, Error> {
        let head = source.head(0, HEAD_LEN)?;
        match recognise(&head) {
            Some(FileKind::Bundle) | None => {}
            Some(kind @ FileKind::EspImage) => {
                let remedy = "seal it first: airseal seal";
                return Err(Error::refused(
                    source.name(),
                    format!("is {kind}, not a bundle"),
                    remedy,
                ));
            }
            Some(kind) if head.len() >= HEADER_LEN => {
                return Err(Error::refused(
                    source.name(),
                    format!("is {kind}, not a bundle"),
                    kind.remedy(Purpose::ReadBundle),
                ));
            }
            Some(_) => {}
        }
        let fail = |error| Error::format(source.name(), 0, error);
        let mut walk = Walk::start(&exactly::<HEADER_LEN>(&source, 0)?).map_err(fail)?;
        let mut keysets = Vec::new();
        let mut order = CarriedOrder::default();
        let mut manifest = None;
        let mut pack = None;
        let payload = loop {
            let header_at = walk.end();
            let section = walk
                .section(&exactly::<SECTION_HEADER_LEN>(&source, header_at)?)
                .map_err(fail)?;
            let span = Span {
                offset: header_at + SECTION_HEADER_LEN as u64,
                len: section.len,
            };
            // The payload's length is compared with the signed one first, which says more than "truncated".
            if section.kind == SectionKind::Payload
                && let Some((_, _, header)) = &manifest
            {
                check_payload_len(&section, header)
                    .map_err(|error| Error::format(source.name(), header_at, error))?;
            }
            if walk.end() > source.len() {
                let at = usize::try_from(source.len()).unwrap_or(usize::MAX);
                return Err(fail(FormatError::new(
                    Part::Bundle,
                    section_name(section.kind),
                    at,
                    Reason::Truncated,
                )));
            }
            match section.kind {
                SectionKind::Keyset => {
                    let bytes = source.head(span.offset, length(span.len))?;
                    let fail = |error| Error::format(source.name(), span.offset, error);
                    let signed = SignedKeyset::parse(&bytes).map_err(fail)?;
                    order.check(&signed.keyset).map_err(fail)?;
                    keysets.push(bytes);
                }
                SectionKind::Manifest => {
                    let bytes = source.head(span.offset, length(span.len))?;
                    let fail = |error| Error::format(source.name(), span.offset, error);
                    let (manifest_view, rest) =
                        UnverifiedManifest::parse_prefix(&bytes).map_err(fail)?;
                    if !rest.is_empty() {
                        SignatureBlock::parse(rest).map_err(|error| {
                            Error::format(
                                source.name(),
                                span.offset + manifest_view.signed_bytes().len() as u64,
                                error,
                            )
                        })?;
                    }
                    let header = *manifest_view.header();
                    manifest = Some((bytes, span.offset, header));
                }
                SectionKind::EnvelopePack => pack = Some(span),
                SectionKind::Payload => break span,
            }
        };
        if walk.end() < source.len() {
            let error = FormatError::new(
                Part::Bundle,
                "end",
                usize::try_from(walk.end()).unwrap_or(usize::MAX),
                Reason::TrailingBytes,
            );
            return Err(fail(error));
        }
        let Some((manifest_section, manifest_offset, _)) = manifest else {
            return Err(fail(FormatError::new(
                Part::Manifest,
                "section_kind",
                0,
                Reason::Missing,
            )));
        };
        let signed_len = UnverifiedManifest::parse_prefix(&manifest_section)
            .map_err(fail)?
            .0
            .signed_bytes()
            .len();
        Ok(BundleFile {
            source,
            keysets,
            manifest_section,
            manifest_offset,
            signed_len,
            pack,
            payload,
        })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// Length of the whole file in bytes.
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Never: a bundle has at least two sections.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// The manifest, with nobody vouching for it.
    pub fn manifest(&self) -> UnverifiedManifest<'_> {
        UnverifiedManifest::parse(self.signed_bytes()).expect("parsed when the bundle was opened")
    }

    /// The manifest's signed bytes.
    pub fn signed_bytes(&self) -> &[u8] {
        self.manifest_section
            .get(..self.signed_len)
            .unwrap_or_default()
    }

    /// Manifest and signature block as they stand in the bundle.
    pub fn manifest_section(&self) -> &[u8] {
        &self.manifest_section
    }

    /// The signatures; `None` for a draft that nobody has signed yet.
    pub fn signatures(&self) -> Option<SignatureBlock<'_>> {
        SignatureBlock::parse(self.manifest_section.get(self.signed_len..)?).ok()
    }

    /// The signatures of a bundle that must have some.
    pub(crate) fn require_signatures(&self) -> Result<SignatureBlock<'_>, Error> {
        self.signatures().ok_or_else(|| {
            Error::refused(
                self.name(),
                "has no signature yet",
                "sign it: airseal cosign, or sign-request and attach",
            )
        })
    }

    /// The keysets the bundle carries, each with its signature block, in order.
    pub fn keysets(&self) -> impl Iterator<Item = SignedKeyset<'_>> {
        self.keysets
            .iter()
            .map(|bytes| SignedKeyset::parse(bytes).expect("parsed when the bundle was opened"))
    }

    /// The bytes of each keyset section.
    pub fn keyset_sections(&self) -> &[Vec<u8>] {
        &self.keysets
    }

    /// Offset of the manifest in the file.
    pub(crate) fn manifest_offset(&self) -> u64 {
        self.manifest_offset
    }

    pub(crate) fn payload(&self) -> Span {
        self.payload
    }

    /// Length of the envelope pack in bytes, 0 without one.
    pub fn pack_len(&self) -> u64 {
        self.pack.map_or(0, |pack| pack.len)
    }

    /// Offset of the envelope pack in the file, 0 without one.
    pub(crate) fn pack_offset(&self) -> u64 {
        self.pack.map_or(0, |pack| pack.offset)
    }

    /// Reads `buffer.len()` bytes of the payload.
    ///
    /// # Errors
    /// `Io`; refused outside the payload.
    pub fn read_payload(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.payload.len) {
            let error = FormatError::new(
                Part::Payload,
                "offset",
                usize::try_from(offset).unwrap_or(usize::MAX),
                Reason::OutOfRange,
            );
            return Err(Error::format(self.name(), self.payload.offset, error));
        }
        self.source.read_at(self.payload.offset + offset, buffer)
    }

    /// Calls `each` with every envelope of the pack, in order, after its place in the pack was checked.
    ///
    /// # Errors
    /// The rule of the pack that is broken, `Io`, or an error of `each`.
    pub fn for_each_envelope(
        &self,
        mut each: impl FnMut(&envelope::Header, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(pack) = self.pack else { return Ok(()) };
        let mut window = Window {
            source: &self.source,
            span: pack,
            bytes: Vec::new(),
            start: 0,
        };
        let digest = self.manifest().digest();
        let mut at = 0;
        let fail = |at, error| Error::format(self.name(), pack.offset + at, error);
        if self.manifest().header().content_suite == airseal_format::ContentSuite::None {
            return Err(fail(
                0,
                FormatError::new(Part::Envelope, "content_suite", 18, Reason::MustBeZero),
            ));
        }
        let mut order = PackOrder::new(digest, pack.len).map_err(|error| fail(0, error))?;
        while order.remaining() > 0 {
            let head: [u8; envelope::HEADER_LEN] =
                match window.take(at, envelope::HEADER_LEN)?.try_into() {
                    Ok(head) => head,
                    Err(_) => {
                        return Err(fail(
                            at,
                            FormatError::new(Part::Envelope, "header", 0, Reason::Truncated),
                        ));
                    }
                };
            let header = envelope::Header::parse(&head).map_err(|error| fail(at, error))?;
            order.check(&header).map_err(|error| fail(at, error))?;
            let bytes = window.take(at, usize::from(header.len))?;
            each(&header, bytes)?;
            at += u64::from(header.len);
        }
        Ok(())
    }

    /// The envelope for `recipient`, after the whole pack was checked.
    ///
    /// # Errors
    /// As [`BundleFile::for_each_envelope`].
    pub fn find_envelope(&self, recipient: RecipientId) -> Result<Option<Vec<u8>>, Error> {
        let mut found = None;
        self.for_each_envelope(|header, bytes| {
            if header.recipient_id == recipient && header.suite.is_some() {
                Envelope::parse(bytes)
                    .map_err(|error| Error::format(self.name(), self.pack_offset(), error))?;
                found = Some(bytes.to_vec());
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Copies the envelope pack to `output`.
    pub(crate) fn copy_pack(&self, output: &mut OutputFile) -> Result<(), Error> {
        match self.pack {
            Some(pack) => self.copy(pack, output, &Control::default()),
            None => Ok(()),
        }
    }

    /// Copies the payload to `output`.
    pub(crate) fn copy_payload(
        &self,
        output: &mut OutputFile,
        control: &Control<'_>,
    ) -> Result<(), Error> {
        self.copy(self.payload, output, control)
    }

    fn copy(
        &self,
        span: Span,
        output: &mut OutputFile,
        control: &Control<'_>,
    ) -> Result<(), Error> {
        let mut done = 0;
        let mut block = vec![0; BLOCK];
        while done < span.len {
            let step = usize::try_from(span.len - done)
                .unwrap_or(usize::MAX)
                .min(BLOCK);
            let bytes = block.get_mut(..step).unwrap_or_default();
            self.source.read_at(span.offset + done, bytes)?;
            output
                .write_all(bytes)
                .map_err(|error| output.write_error(error))?;
            done += step as u64;
            control.report(Activity::Copying, done, span.len)?;
        }
        Ok(())
    }
}

/// Writes everything before the payload of a bundle, payload section header included, except the pack's bytes: the caller
/// writes those where `pack_len` says, between the two byte strings returned.
pub(crate) fn frame(
    keysets: &[Vec<u8>],
    manifest_section: &[u8],
    pack_len: u64,
    payload_len: u64,
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    if keysets.len() > MAX_KEYSETS {
        return Err(Error::refused(
            "keyset chain",
            format!(
                "has {} keysets, a bundle carries at most {MAX_KEYSETS}",
                keysets.len()
            ),
            "carry only the last ones: devices that are further behind need an earlier bundle",
        ));
    }
    let sections = keysets.len() + 2 + usize::from(pack_len > 0);
    let mut front = encode_header(u16::try_from(sections).unwrap_or(u16::MAX)).to_vec();
    for keyset in keysets {
        front.extend_from_slice(
            &Section {
                kind: SectionKind::Keyset,
                len: keyset.len() as u64,
            }
            .encode(),
        );
        front.extend_from_slice(keyset);
    }
    front.extend_from_slice(
        &Section {
            kind: SectionKind::Manifest,
            len: manifest_section.len() as u64,
        }
        .encode(),
    );
    front.extend_from_slice(manifest_section);
    if pack_len > 0 {
        front.extend_from_slice(
            &Section {
                kind: SectionKind::EnvelopePack,
                len: pack_len,
            }
            .encode(),
        );
    }
    Ok((
        front,
        Section {
            kind: SectionKind::Payload,
            len: payload_len,
        }
        .encode()
        .to_vec(),
    ))
}

/// A stretch of the pack in memory, moved forward as it is read.
struct Window<'s> {
    source: &'s Source,
    span: Span,
    bytes: Vec<u8>,
    start: u64,
}

impl Window<'_> {
    /// The bytes from `at` in the span; fewer if the span ends.
    fn take(&mut self, at: u64, len: usize) -> Result<&[u8], Error> {
        let end = at + len as u64;
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let available = usize::try_from(self.span.len.saturating_sub(at)).unwrap_or(usize::MAX);
            self.bytes = self
                .source
                .head(self.span.offset + at, available.min(BLOCK.max(len)))?;
            self.start = at;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        let available = self.bytes.get(from..).unwrap_or_default();
        Ok(available.get(..len).unwrap_or(available))
    }
}

fn exactly<const N: usize>(source: &Source, offset: u64) -> Result<[u8; N], Error> {
    if offset.saturating_add(N as u64) > source.len() {
        let at = usize::try_from(source.len()).unwrap_or(usize::MAX);
        let field = if offset == 0 {
            "header"
        } else {
            "section_header"
        };
        return Err(Error::format(
            source.name(),
            0,
            FormatError::new(Part::Bundle, field, at, Reason::Truncated),
        ));
    }
    let mut bytes = [0; N];
    source.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

fn section_name(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Keyset => "keyset section",
        SectionKind::Manifest => "manifest section",
        SectionKind::EnvelopePack => "envelope section",
        SectionKind::Payload => "payload section",
    }
}

/// Reads all of a small file.
pub fn read_small(path: &Path, limit: u64, what: &str) -> Result<Vec<u8>, Error> {
    let source = Source::open(path)?;
    if source.len() > limit {
        return Err(Error::refused(
            source.name(),
            format!("has {} bytes, {what} has at most {limit}", source.len()),
            "",
        ));
    }
    source.head(0, usize::try_from(limit).unwrap_or(usize::MAX))
}
