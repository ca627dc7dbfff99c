//! Keyset files: made, rotated, signed and shown.
//!
//! A keyset file is one signed keyset or more, back to back, ascending; the first is the one that is trusted. While a new
//! keyset is still collecting signatures its file ends in the bare signed bytes or in a block that is too small; such a
//! file can be signed and shown, and is refused everywhere else by the signatures that are missing.

use std::path::Path;

use airseal_format::keyset::{Followed, Keyset, SignedKeyset, TrustedKeyset};
use airseal_format::signature::SignatureBlock;
use airseal_format::{Part, Reason};

use crate::Error;
use crate::bundle::{BundleFile, read_small};
use crate::output::{Access, Existing, write_file};
use crate::recognise::{FileKind, HEAD_LEN, Purpose, recognise};

mod edit;

pub use edit::{KeysetFileInfo, KeysetKeys, NewKeyset, RotateKeyset};

const KEYSET_MAGIC: &[u8] = b"ASK1";

/// Most bytes in a keyset file.
const MAX_FILE: u64 = 1 << 20;

/// A keyset file whose keysets are well-formed.
pub struct KeysetFile {
    name: String,
    bytes: Vec<u8>,
    /// Where each keyset begins and where its signed part ends.
    ranges: Vec<(usize, usize)>,
}

impl KeysetFile {
    /// Reads a keyset file.
    ///
    /// # Errors
    /// `Io` if it can't be read; refused with keyset, field and offset.
    pub fn read(path: &Path) -> Result<KeysetFile, Error> {
        let bytes = read_small(path, MAX_FILE, "a keyset file")?;
        Self::parse(&path.display().to_string(), bytes)
    }

    /// Reads the bytes of a keyset file; `name` is for messages.
    ///
    /// # Errors
    /// Refused with keyset, field and offset.
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<KeysetFile, Error> {
        let head = bytes.get(..HEAD_LEN).unwrap_or(&bytes);
        if !head.starts_with(KEYSET_MAGIC) {
            let found = recognise(head).filter(|kind| *kind != FileKind::Encrypted);
            return Err(match found {
                Some(kind) => Error::refused(
                    name,
                    format!("is {kind}, not a keyset file"),
                    kind.remedy(Purpose::ReadKeyset),
                ),
                None => Error::refused(
                    name,
                    "is not a keyset file: it does not begin with ASK1",
                    "name a keyset file, as airseal keyset new writes it",
                ),
            });
        }
        let mut ranges = Vec::new();
        let mut at = 0;
        while at < bytes.len() || ranges.is_empty() {
            let rest = bytes.get(at..).unwrap_or_default();
            let fail = |error| Error::format(name, at as u64, error);
            let (keyset, tail) = Keyset::parse_prefix(rest).map_err(fail)?;
            let signed_end = at + keyset.signed_bytes().len();
            let after = if tail.is_empty() {
                tail
            } else {
                SignatureBlock::parse_prefix(tail)
                    .map_err(|error| Error::format(name, signed_end as u64, error))?
                    .1
            };
            ranges.push((at, signed_end));
            at = bytes.len() - after.len();
        }
        Ok(KeysetFile {
            name: name.to_owned(),
            bytes,
            ranges,
        })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every keyset with its signature block, in file order.
    ///
    /// # Errors
    /// Refused if one has no signature yet.
    pub fn signed(&self) -> Result<Vec<SignedKeyset<'_>>, Error> {
        if let Some(index) = (0..self.ranges.len()).find(|index| self.block(*index).is_none()) {
            return Err(self.unsigned(index, 0));
        }
        SignedKeyset::parse_file(&self.bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Format {
                file: self.name.clone(),
                part_offset: 0,
                source: error,
                remedy: "sign it first: airseal keyset sign".to_owned(),
            })
    }

    /// The newest keyset.
    ///
    /// # Errors
    /// Refused if one has no signature yet.
    pub fn last(&self) -> Result<SignedKeyset<'_>, Error> {
        let all = self.signed()?;
        all.last()
            .copied()
            .ok_or_else(|| Error::refused(&*self.name, "holds no keyset", ""))
    }

    /// The bytes of each keyset with its signature block.
    pub(crate) fn sections(&self) -> Vec<Vec<u8>> {
        let starts = self.ranges.iter().map(|(start, _)| *start);
        let ends = starts.clone().skip(1).chain([self.bytes.len()]);
        starts
            .zip(ends)
            .map(|(start, end)| self.bytes.get(start..end).unwrap_or_default().to_vec())
            .collect()
    }

    /// Trusts the first keyset, verified by its own roots, and follows the others and then those of `bundle`.
    ///
    /// # Errors
    /// The rule or signature that fails, with its place.
    pub fn trust<'a>(&'a self, bundle: Option<&'a BundleFile>) -> Result<TrustedKeyset<'a>, Error> {
        let fail = |name: &str, error| Error::format(name, 0, error);
        let mut trusted: Option<TrustedKeyset<'a>> = None;
        for (index, next) in self.signed()?.into_iter().enumerate() {
            trusted = Some(
                match trusted {
                    None => next.verify_by_itself(),
                    Some(before) => next.verify_after(&before),
                }
                .map_err(|error| match error.reason {
                    Reason::TooFewSignatures => {
                        self.unsigned(index, next.signatures.entries().count())
                    }
                    _ => fail(&self.name, error),
                })?,
            );
        }
        let mut trusted =
            trusted.ok_or_else(|| Error::refused(&*self.name, "holds no keyset", ""))?;
        if let Some(bundle) = bundle {
            for next in bundle.keysets() {
                let followed = trusted.follow(next);
                if let Followed::Newer(newer) =
                    followed.map_err(|error| carried_fault(bundle, error))?
                {
                    trusted = newer;
                }
            }
        }
        Ok(trusted)
    }

    /// The keyset at `index` is held back by the signatures it lacks.
    fn unsigned(&self, index: usize, signatures: usize) -> Error {
        let keyset = self.keyset(index);
        let header = keyset.header();
        let of_whom = if index == 0 {
            ""
        } else {
            "; the roots of the version before must agree as well"
        };
        Error::Signatures {
            file: self.name.clone(),
            message: format!(
                "keyset version {} has {signatures} of {} root signatures{of_whom}",
                header.version, header.k_root
            ),
            source: airseal_format::Error::new(Part::Keyset, "count", 0, Reason::TooFewSignatures),
            remedy: "sign it with `airseal keyset sign`".to_owned(),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// As [`write_file`].
    pub fn write(&self, target: &Path, existing: Existing) -> Result<(), Error> {
        write_file(target, &self.bytes, existing, Access::Public)
    }

    /// The file's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A keyset that came with the bundle breaks a rule.
pub(crate) fn carried_fault(bundle: &BundleFile, source: airseal_format::Error) -> Error {
    let remedy = match source.reason {
        Reason::TooFewSignatures => {
            "the keyset it carries lacks root signatures: airseal keyset sign, then seal it again"
        }
        _ => "",
    };
    Error::Format {
        file: bundle.name().to_owned(),
        part_offset: 0,
        source,
        remedy: remedy.to_owned(),
    }
}
