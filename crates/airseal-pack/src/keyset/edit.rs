//! Making and changing keyset files.

use airseal_format::keyset::{
    Header, KeyRow, Keyset, MAX_SIGNED_LEN, Roles, SIGNING_CONTEXT, encode,
};
use airseal_format::signature::{SignatureBlock, SigningPublicKey};
use airseal_format::{Algorithm, ClassId, Digest, KeyId, KeysetVersion, SecurityVersion};

use super::KeysetFile;
use crate::Error;
use crate::inspect::{KeysetInfo, bare_keyset_info, keyset_info};
use crate::release::find_signer;
use crate::seal::{class_id, vendor_id};
use crate::signer::{OwnedEntry, Signer, encode_block};

/// What `keyset new` is given.
pub struct NewKeyset<'a> {
    /// Vendor name.
    pub vendor: &'a str,
    /// Class name; `None` for every class of the vendor.
    pub class: Option<&'a str>,
    /// The keys and how many of them must agree.
    pub keys: KeysetKeys<'a>,
    /// Highest security version a release may have.
    pub max_security_version: u32,
}

/// Keys by role, and the thresholds.
pub struct KeysetKeys<'a> {
    /// May change the keyset.
    pub roots: &'a [SigningPublicKey],
    /// May sign releases.
    pub releases: &'a [SigningPublicKey],
    /// May sign fresh offers (online), Ed25519, no other role.
    pub offers: &'a [SigningPublicKey],
    /// Root signatures that a change needs, 1 to 3.
    pub root_threshold: u8,
    /// Signatures that a release needs, 1 to 8.
    pub release_threshold: u8,
}

/// What `keyset rotate` changes; `None` keeps what was.
#[derive(Default)]
pub struct RotateKeyset<'a> {
    /// New root keys.
    pub roots: Option<&'a [SigningPublicKey]>,
    /// New release keys.
    pub releases: Option<&'a [SigningPublicKey]>,
    /// New offer keys.
    pub offers: Option<&'a [SigningPublicKey]>,
    /// New root threshold.
    pub root_threshold: Option<u8>,
    /// New release threshold.
    pub release_threshold: Option<u8>,
    /// New highest security version; never lower than before.
    pub max_security_version: Option<u32>,
}

/// A keyset file as `keyset show` prints it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KeysetFileInfo {
    /// The keysets, oldest first.
    pub keysets: Vec<KeysetInfo>,
    /// True if the first holds by its own roots and every other by the rules against the one before.
    pub complete: bool,
    /// What is missing, in words; `null` if it is complete.
    pub missing: Option<String>,
}

impl KeysetFile {
    /// Makes version 1, without signatures.
    ///
    /// # Errors
    /// Refused where the keys or thresholds break the rules.
    pub fn create(name: &str, new: &NewKeyset<'_>) -> Result<KeysetFile, Error> {
        if new.vendor.is_empty() || new.class == Some("") {
            return Err(Error::usage(
                "--vendor and --class can't be empty",
                "give names, for example example.com",
            ));
        }
        check_threshold(
            "root",
            "--threshold or --root-threshold",
            new.keys.root_threshold,
            new.keys.roots,
        )?;
        check_threshold(
            "release",
            "--threshold",
            new.keys.release_threshold,
            new.keys.releases,
        )?;
        let vendor = vendor_id(new.vendor);
        let header = Header {
            version: KeysetVersion(1),
            vendor_id: vendor,
            class_id: new
                .class
                .map_or(ClassId([0; 16]), |class| class_id(vendor, class)),
            prev_digest: Digest([0; 32]),
            max_security_version: SecurityVersion(new.max_security_version),
            k_root: new.keys.root_threshold,
            k_root_pq: 0,
            k_release: new.keys.release_threshold,
            k_release_pq: 0,
        };
        let mut rows = Vec::new();
        add(&mut rows, new.keys.roots, Roles::ROOT)?;
        add(&mut rows, new.keys.releases, Roles::RELEASE)?;
        add(&mut rows, new.keys.offers, Roles::OFFER)?;
        KeysetFile::parse(name, encode_keyset(name, &header, rows)?)
    }

    /// Appends the next version, without signatures.
    ///
    /// # Errors
    /// Refused if the last keyset is not signed yet, or where the change breaks the rules.
    pub fn rotate(&self, name: &str, change: &RotateKeyset<'_>) -> Result<KeysetFile, Error> {
        let last = self.last()?.keyset;
        let old = last.header();
        let version = old.version.0.checked_add(1).ok_or_else(|| {
            Error::refused(
                self.name(),
                "holds the last version there can be",
                "make a new product trust",
            )
        })?;
        if change
            .max_security_version
            .is_some_and(|new| new < old.max_security_version.0)
        {
            return Err(Error::usage(
                format!(
                    "the highest security version can't fall below {}",
                    old.max_security_version
                ),
                "give the same or a higher one",
            ));
        }
        let header = Header {
            version: KeysetVersion(version),
            prev_digest: last.digest(),
            max_security_version: change
                .max_security_version
                .map_or(old.max_security_version, SecurityVersion),
            k_root: change.root_threshold.unwrap_or(old.k_root),
            k_release: change.release_threshold.unwrap_or(old.k_release),
            ..*old
        };
        let mut rows: Vec<KeyRow> = Vec::new();
        let roles = [
            (change.roots, Roles::ROOT),
            (change.releases, Roles::RELEASE),
            (change.offers, Roles::OFFER),
        ];
        for (keys, role) in roles {
            match keys {
                Some(keys) => add(&mut rows, keys, role)?,
                None => {
                    for row in last.keys().filter(|row| row.roles.contains(role)) {
                        add_row(&mut rows, KeyRow { roles: role, ..row })?;
                    }
                }
            }
        }
        let next = encode_keyset(name, &header, rows)?;
        KeysetFile::parse(name, [self.as_bytes(), &next].concat())
    }

    /// Signs the last keyset; a key that signed before signs anew.
    ///
    /// # Errors
    /// Refused for a key that is no root of the last keyset or of the one before.
    pub fn sign(&self, signers: &[Box<dyn Signer>]) -> Result<KeysetFile, Error> {
        if signers.is_empty() {
            return Err(Error::usage("nobody signs", "give --sign KEY"));
        }
        let mut made = Vec::new();
        for signer in signers {
            self.check_root(signer.name(), signer.public_key().key_id())?;
            made.push(OwnedEntry::make(
                signer.as_ref(),
                SIGNING_CONTEXT,
                self.last_unsigned().signed_bytes(),
            )?);
        }
        self.with_signatures(made)
    }

    /// The exact bytes to sign for the last keyset.
    pub fn sign_request(&self) -> Vec<u8> {
        [SIGNING_CONTEXT, self.last_unsigned().signed_bytes()].concat()
    }

    /// Adds a signature that was made elsewhere: 64 raw bytes, or DER for ECDSA. Without `key` the Ed25519 roots are tried.
    ///
    /// # Errors
    /// Refused if it does not verify or the key is no root; usage error if the key is needed and not given.
    pub fn attach(
        &self,
        signature: (&str, &[u8]),
        key: Option<&SigningPublicKey>,
    ) -> Result<KeysetFile, Error> {
        let (name, bytes) = signature;
        let roots: Vec<SigningPublicKey> = self
            .roots()
            .filter(|row| row.algorithm == Algorithm::Ed25519)
            .map(|row| SigningPublicKey::Ed25519(row.key))
            .collect();
        let entry = find_signer(name, bytes, key, &roots, &self.sign_request())?;
        self.check_root(name, entry.key_id)?;
        self.with_signatures(vec![entry])
    }

    /// Everything that `keyset show` prints.
    pub fn info(&self) -> KeysetFileInfo {
        let keysets = (0..self.ranges.len())
            .map(|index| match self.block(index) {
                Some(signatures) => keyset_info(&airseal_format::keyset::SignedKeyset {
                    keyset: self.keyset(index),
                    signatures,
                }),
                None => bare_keyset_info(&self.keyset(index)),
            })
            .collect();
        let missing = self.trust(None).err().map(|error| error.to_string());
        KeysetFileInfo {
            keysets,
            complete: missing.is_none(),
            missing,
        }
    }

    pub(super) fn keyset(&self, index: usize) -> Keyset<'_> {
        let bytes = self
            .ranges
            .get(index)
            .and_then(|(start, end)| self.bytes.get(*start..*end))
            .unwrap_or_default();
        Keyset::parse(bytes).expect("parsed when the file was read")
    }

    pub(super) fn block(&self, index: usize) -> Option<SignatureBlock<'_>> {
        let (_, start) = self.ranges.get(index)?;
        let end = self
            .ranges
            .get(index + 1)
            .map_or(self.bytes.len(), |(start, _)| *start);
        SignatureBlock::parse(self.bytes.get(*start..end)?).ok()
    }

    fn last_unsigned(&self) -> Keyset<'_> {
        self.keyset(self.ranges.len().saturating_sub(1))
    }

    /// The roots whose signatures count: of the last keyset and of the one before.
    fn roots(&self) -> impl Iterator<Item = KeyRow> {
        (self.ranges.len().saturating_sub(2)..self.ranges.len())
            .flat_map(|index| self.keyset(index).keys())
            .filter(|row| row.roles.contains(Roles::ROOT))
    }

    fn check_root(&self, name: &str, id: KeyId) -> Result<(), Error> {
        if self.roots().any(|row| row.key_id == id) {
            return Ok(());
        }
        Err(Error::refused(
            name,
            format!(
                "key {id} is no root of keyset version {} or of the one before",
                self.last_unsigned().header().version
            ),
            "sign with one of the root keys that `airseal keyset show` lists",
        ))
    }

    fn with_signatures(&self, made: Vec<OwnedEntry>) -> Result<KeysetFile, Error> {
        let last = self.ranges.len().saturating_sub(1);
        let before: Vec<OwnedEntry> = self
            .block(last)
            .map(|block| {
                block
                    .entries()
                    .map(|entry| OwnedEntry::copy(&entry))
                    .collect()
            })
            .unwrap_or_default();
        let block = encode_block(self.name(), before.into_iter().chain(made).collect())?;
        let signed_end = self.ranges.get(last).map_or(0, |(_, end)| *end);
        let front = self.bytes.get(..signed_end).unwrap_or_default();
        KeysetFile::parse(self.name(), [front, &block].concat())
    }
}

/// More signatures than there are keys can never be had.
fn check_threshold(
    role: &str,
    option: &str,
    threshold: u8,
    keys: &[SigningPublicKey],
) -> Result<(), Error> {
    if usize::from(threshold) <= keys.len() {
        return Ok(());
    }
    Err(Error::usage(
        format!(
            "{threshold} {role} keys must agree, and {} given",
            match keys.len() {
                1 => "1 is".to_owned(),
                many => format!("{many} are"),
            }
        ),
        format!("give {threshold} keys with --{role}, or a lower {option}"),
    ))
}

fn add(rows: &mut Vec<KeyRow>, keys: &[SigningPublicKey], role: Roles) -> Result<(), Error> {
    keys.iter()
        .try_for_each(|key| add_row(rows, KeyRow::new(key, role)))
}

fn add_row(rows: &mut Vec<KeyRow>, row: KeyRow) -> Result<(), Error> {
    match rows.iter_mut().find(|known| known.key_id == row.key_id) {
        Some(known) if known.roles.contains(row.roles) => Err(Error::usage(
            format!("key {} is given twice for the same role", row.key_id),
            "two signatures by one key count once; give another key",
        )),
        Some(known) if row.roles == Roles::OFFER || known.roles == Roles::OFFER => {
            Err(Error::usage(
                format!(
                    "key {} can't sign offers and also be a root or release key",
                    row.key_id
                ),
                "offers are signed online: give them a key of their own",
            ))
        }
        Some(known) => {
            known.roles = known.roles.and(row.roles);
            Ok(())
        }
        None => {
            rows.push(row);
            Ok(())
        }
    }
}

fn encode_keyset(name: &str, header: &Header, mut rows: Vec<KeyRow>) -> Result<Vec<u8>, Error> {
    rows.sort_by_key(|row| row.key_id);
    let mut bytes = vec![0; MAX_SIGNED_LEN];
    let len = encode(header, &rows, &mut bytes).map_err(|error| Error::format(name, 0, error))?;
    bytes.truncate(len);
    Ok(bytes)
}
