//! The trust root: who may sign releases, who may change that, and how many are needed.

use sha2::{Digest as _, Sha256};

use crate::signature::{Entry, SignatureBlock, SigningPublicKey, key_id};
use crate::wire::{Reader, Writer};
use crate::{
    Algorithm, ClassId, Digest, Error, KeyId, KeysetVersion, Part, Reason, SecurityVersion,
    UnverifiedManifest, VendorId, VerifiedManifest, manifest,
};

/// Length of the fixed header, bytes.
pub const HEADER_LEN: usize = 96;
/// Length of one key's row, bytes.
pub const ROW_LEN: usize = 44;
/// Most keys in one keyset.
pub const MAX_KEYS: usize = 16;
/// Largest signed keyset, bytes.
pub const MAX_SIGNED_LEN: usize = HEADER_LEN + ROW_LEN * MAX_KEYS;
/// What stands before the signed bytes in the message that is signed.
pub const SIGNING_CONTEXT: &[u8] = b"airseal1 keyset\0";

/// The role bits of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// May change the keyset.
    pub const ROOT: Roles = Roles(1);
    /// May sign releases.
    pub const RELEASE: Roles = Roles(2);
    /// May sign fresh offers; has no other role.
    pub const OFFER: Roles = Roles(4);

    /// True when every role of `other` is held.
    pub fn contains(self, other: Roles) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of roles.
    pub fn and(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }

    /// The wire byte.
    pub fn bits(self) -> u8 {
        self.0
    }

    fn from_bits(bits: u8) -> Option<Self> {
        matches!(bits, 1..=4).then_some(Roles(bits))
    }
}

/// One key of a keyset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// How it signs.
    pub algorithm: Algorithm,
    /// What it may sign.
    pub roles: Roles,
    /// Names it in signature blocks.
    pub key_id: KeyId,
    /// The Ed25519 public key; of other algorithms, SHA-256 of the public key.
    pub key: [u8; 32],
}

impl KeyRow {
    /// The row of a public key.
    pub fn new(key: &SigningPublicKey, roles: Roles) -> Self {
        let bytes = match key {
            SigningPublicKey::Ed25519(bytes) => *bytes,
            SigningPublicKey::EcdsaP256(bytes) => Sha256::digest(bytes).into(),
        };
        Self {
            algorithm: key.algorithm(),
            roles,
            key_id: key.key_id(),
            key: bytes,
        }
    }

    /// An Ed25519 key is canonical, of full order, and the one its id names.
    fn check(&self, at: usize) -> Result<(), Error> {
        if self.algorithm != Algorithm::Ed25519 {
            return Ok(());
        }
        SigningPublicKey::Ed25519(self.key)
            .check()
            .map_err(|reason| refuse("key", at + 12, reason))?;
        if key_id(self.algorithm, &self.key) != self.key_id {
            return Err(refuse("key_id", at + 4, Reason::KeyMismatch));
        }
        Ok(())
    }

    fn verify(&self, entry: &Entry<'_>, message: &[&[u8]]) -> Result<(), Error> {
        if entry.algorithm != self.algorithm {
            return Err(entry.refuse("algorithm", Reason::KeyMismatch));
        }
        entry.verify(
            &self.key,
            |carried| Sha256::digest(carried)[..] == self.key,
            message,
        )
    }
}

/// A keyset's header as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 1, 2, 3 ... without gaps.
    pub version: KeysetVersion,
    /// Whose releases it vouches for.
    pub vendor_id: VendorId,
    /// Which class; zero = every class of the vendor.
    pub class_id: ClassId,
    /// SHA-256 of the signed bytes of the keyset before; zero in version 1.
    pub prev_digest: Digest,
    /// No release above this security version is accepted.
    pub max_security_version: SecurityVersion,
    /// Classical root signatures needed, 1 to 3.
    pub k_root: u8,
    /// Post-quantum root signatures needed, 0 or 1.
    pub k_root_pq: u8,
    /// Classical release signatures needed, at least 1.
    pub k_release: u8,
    /// Post-quantum release signatures needed, 0 to 2.
    pub k_release_pq: u8,
}

/// A well-formed keyset. Nobody vouches for it yet.
#[derive(Clone, Copy, Debug)]
pub struct Keyset<'a> {
    signed: &'a [u8],
    header: Header,
}

impl<'a> Keyset<'a> {
    /// Reads exactly one keyset, without its signature block.
    ///
    /// # Errors
    /// Names the field and its offset in the keyset.
    pub fn parse(signed: &'a [u8]) -> Result<Self, Error> {
        let (keyset, rest) = Self::parse_prefix(signed)?;
        if !rest.is_empty() {
            return Err(refuse("end", keyset.signed.len(), Reason::TrailingBytes));
        }
        Ok(keyset)
    }

    /// Reads a keyset from the front of `bytes`; what follows is its signature block.
    ///
    /// # Errors
    /// Names the field and its offset in the keyset.
    pub fn parse_prefix(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let (header, count) = Header::parse(bytes)?;
        let truncated = refuse("signed_len", bytes.len(), Reason::Truncated);
        let (signed, rest) = bytes
            .split_at_checked(HEADER_LEN + ROW_LEN * count)
            .ok_or(truncated)?;
        let keyset = Self { signed, header };
        keyset.check_rows(count)?;
        keyset.check_thresholds()?;
        Ok((keyset, rest))
    }

    /// The header's values.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes that are signed, without the signing context.
    pub fn signed_bytes(&self) -> &'a [u8] {
        self.signed
    }

    /// SHA-256 of the signed bytes.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.signed).into())
    }

    /// The keys, ascending by key id.
    pub fn keys(&self) -> impl Iterator<Item = KeyRow> + use<'a> {
        let signed = self.signed;
        let count = signed.len().saturating_sub(HEADER_LEN) / ROW_LEN;
        (0..count).map(move |i| parse_row(signed, row_at(i)).expect("checked by parse_prefix"))
    }

    /// Trusts this keyset without a signature: it was compiled in, or read from the
    /// place where an accepted one was stored.
    pub fn trust_as_compiled_in(self) -> TrustedKeyset<'a> {
        TrustedKeyset { keyset: self }
    }

    /// An error of the signature block that follows this keyset, as an error of the keyset.
    fn own(&self, error: Error) -> Error {
        let offset = usize::try_from(error.offset).unwrap_or(usize::MAX);
        let offset = offset.saturating_add(self.signed.len());
        refuse(error.field, offset, error.reason)
    }

    fn check_rows(&self, count: usize) -> Result<(), Error> {
        let mut last: Option<KeyId> = None;
        for i in 0..count {
            let row = parse_row(self.signed, row_at(i))?;
            row.check(row_at(i))?;
            if last.is_some_and(|last| row.key_id <= last) {
                return Err(refuse("key_id", row_at(i) + 4, Reason::NotAscending));
            }
            last = Some(row.key_id);
            for j in 0..i {
                if parse_row(self.signed, row_at(j))?.key == row.key {
                    return Err(refuse("key", row_at(i) + 12, Reason::NotAscending));
                }
            }
        }
        Ok(())
    }

    fn check_thresholds(&self) -> Result<(), Error> {
        let h = &self.header;
        let eligible = |role, post_quantum| {
            self.keys()
                .filter(|row| row.roles.contains(role))
                .filter(|row| row.algorithm.is_post_quantum() == post_quantum)
                .count()
        };
        let rows = [
            ("k_root", 85, h.k_root, 1..=3, eligible(Roles::ROOT, false)),
            (
                "k_root_pq",
                86,
                h.k_root_pq,
                0..=1,
                eligible(Roles::ROOT, true),
            ),
            (
                "k_release",
                87,
                h.k_release,
                1..=8,
                eligible(Roles::RELEASE, false),
            ),
            (
                "k_release_pq",
                88,
                h.k_release_pq,
                0..=2,
                eligible(Roles::RELEASE, true),
            ),
        ];
        for (field, offset, threshold, bounds, eligible) in rows {
            if !bounds.contains(&threshold) || usize::from(threshold) > eligible {
                return Err(refuse(field, offset, Reason::Threshold));
            }
        }
        if h.k_release + h.k_release_pq > 8 {
            return Err(refuse("k_release_pq", 88, Reason::Threshold));
        }
        Ok(())
    }
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<(Self, usize), Error> {
        let mut r = Reader::new(Part::Keyset, bytes);
        r.expect(b"ASK1", "magic", Reason::Magic)?;
        r.expect(&[1], "major", Reason::Version)?;
        r.expect(&[0], "minor", Reason::Version)?;
        r.expect_u16(96, "header_len", Reason::Version)?;
        let signed_len = usize::try_from(r.u32("signed_len")?).unwrap_or(usize::MAX);
        if !(HEADER_LEN + ROW_LEN..=MAX_SIGNED_LEN).contains(&signed_len) {
            return Err(r.refuse("signed_len", Reason::OutOfRange));
        }
        let version = KeysetVersion(r.u32("version")?);
        if version.0 == 0 {
            return Err(r.refuse("version", Reason::OutOfRange));
        }
        let vendor_id = VendorId(r.array("vendor_id")?);
        let class_id = ClassId(r.array("class_id")?);
        let prev_digest = Digest(r.array("prev_digest")?);
        if version.0 == 1 && !prev_digest.is_zero() {
            return Err(r.refuse("prev_digest", Reason::MustBeZero));
        }
        let max_security_version = SecurityVersion(r.u32("max_security_version")?);
        let count = usize::from(r.u8("n_keys")?);
        if !(1..=MAX_KEYS).contains(&count) {
            return Err(r.refuse("n_keys", Reason::OutOfRange));
        }
        if HEADER_LEN + ROW_LEN * count != signed_len {
            return Err(r.refuse("n_keys", Reason::Sum));
        }
        let k_root = r.u8("k_root")?;
        let k_root_pq = r.u8("k_root_pq")?;
        let k_release = r.u8("k_release")?;
        let k_release_pq = r.u8("k_release_pq")?;
        r.zeros(7, "reserved")?;
        let header = Self {
            version,
            vendor_id,
            class_id,
            prev_digest,
            max_security_version,
            k_root,
            k_root_pq,
            k_release,
            k_release_pq,
        };
        Ok((header, count))
    }
}

/// Writes the signed bytes of a keyset into `out` and returns their length.
/// Rows ascend by key id.
///
/// # Errors
/// Every rule of the format is checked on the result.
pub fn encode(header: &Header, keys: &[KeyRow], out: &mut [u8]) -> Result<usize, Error> {
    let count = u8::try_from(keys.len())
        .ok()
        .filter(|&n| (1..=16).contains(&n))
        .ok_or(refuse("n_keys", 84, Reason::OutOfRange))?;
    let mut w = Writer::new(Part::Keyset, out);
    w.put(b"ASK1")?;
    w.put(&[1, 0])?;
    w.u16(96)?;
    w.u32(96 + 44 * u32::from(count))?;
    w.u32(header.version.0)?;
    w.put(&header.vendor_id.0)?;
    w.put(&header.class_id.0)?;
    w.put(&header.prev_digest.0)?;
    w.u32(header.max_security_version.0)?;
    w.put(&[count, header.k_root, header.k_root_pq])?;
    w.put(&[header.k_release, header.k_release_pq])?;
    w.zeros(7)?;
    for row in keys {
        w.put(&row.algorithm.number().to_le_bytes())?;
        w.put(&[row.roles.bits(), 0])?;
        w.put(&row.key_id.0)?;
        w.put(&row.key)?;
    }
    let written = w.written();
    Keyset::parse(out.get(..written).unwrap_or_default())?;
    Ok(written)
}

/// A keyset with its signature block, both well-formed.
#[derive(Clone, Copy, Debug)]
pub struct SignedKeyset<'a> {
    /// The signed part.
    pub keyset: Keyset<'a>,
    /// Its signatures, not verified yet.
    pub signatures: SignatureBlock<'a>,
}

impl<'a> SignedKeyset<'a> {
    /// Reads exactly one keyset with its signature block.
    ///
    /// # Errors
    /// Names part, field and offset.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (signed, rest) = Self::parse_prefix(bytes)?;
        if !rest.is_empty() {
            let end = bytes.len() - rest.len();
            return Err(refuse("end", end, Reason::TrailingBytes));
        }
        Ok(signed)
    }

    /// Reads one from the front of `bytes` and returns what follows.
    ///
    /// # Errors
    /// Names part, field and offset.
    pub fn parse_prefix(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let (keyset, rest) = Keyset::parse_prefix(bytes)?;
        let (signatures, rest) =
            SignatureBlock::parse_prefix(rest).map_err(|error| keyset.own(error))?;
        Ok((Self { keyset, signatures }, rest))
    }

    /// The keysets of a keyset file: one or more, back to back. Ends after an error.
    pub fn parse_file(bytes: &'a [u8]) -> impl Iterator<Item = Result<Self, Error>> + use<'a> {
        let mut rest = Some(bytes);
        core::iter::from_fn(move || {
            let bytes = rest.take().filter(|bytes| !bytes.is_empty())?;
            Some(Self::parse_prefix(bytes).map(|(keyset, tail)| {
                rest = Some(tail);
                keyset
            }))
        })
    }

    /// Verifies a first keyset by its own roots.
    ///
    /// # Errors
    /// The signature that fails, or `TooFewSignatures`.
    pub fn verify_by_itself(self) -> Result<TrustedKeyset<'a>, Error> {
        self.count_roots(&self.keyset)?;
        Ok(TrustedKeyset {
            keyset: self.keyset,
        })
    }

    /// Verifies the successor of `before`, by the roots of both.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn verify_after(self, before: &TrustedKeyset<'_>) -> Result<TrustedKeyset<'a>, Error> {
        let old = &before.keyset.header;
        let new = &self.keyset.header;
        if old.version.0.checked_add(1) != Some(new.version.0) {
            return Err(refuse("version", 12, Reason::ChainGap));
        }
        if new.vendor_id != old.vendor_id {
            return Err(refuse("vendor_id", 16, Reason::OwnerChanged));
        }
        if new.class_id != old.class_id {
            return Err(refuse("class_id", 32, Reason::OwnerChanged));
        }
        if new.prev_digest != before.keyset.digest() {
            return Err(refuse("prev_digest", 48, Reason::ChainBroken));
        }
        if new.max_security_version < old.max_security_version {
            return Err(refuse(
                "max_security_version",
                80,
                Reason::SecurityVersionFell,
            ));
        }
        self.count_roots(&before.keyset)?;
        self.verify_by_itself()
    }

    fn count_roots(&self, signers: &Keyset<'_>) -> Result<(), Error> {
        let header = signers.header();
        count(
            signers,
            Roles::ROOT,
            (header.k_root, header.k_root_pq),
            &self.signatures,
            &[SIGNING_CONTEXT, self.keyset.signed],
        )
        .map_err(|error| self.keyset.own(error))
    }
}

/// The order of the keysets that a bundle or a keyset file carries: each version is the one
/// before plus one, whether or not it is newer than the keyset in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarriedOrder {
    last: Option<KeysetVersion>,
}

impl CarriedOrder {
    /// Checks that `next` follows the keyset before it.
    ///
    /// # Errors
    /// `ChainGap`.
    pub fn check(&mut self, next: &Keyset<'_>) -> Result<(), Error> {
        let version = next.header.version;
        let follows = |last: KeysetVersion| last.0.checked_add(1) == Some(version.0);
        if !self.last.is_none_or(follows) {
            return Err(refuse("version", 12, Reason::ChainGap));
        }
        self.last = Some(version);
        Ok(())
    }
}

/// A keyset that may vouch for releases.
#[derive(Clone, Copy, Debug)]
pub struct TrustedKeyset<'a> {
    keyset: Keyset<'a>,
}

impl<'a> core::ops::Deref for TrustedKeyset<'a> {
    type Target = Keyset<'a>;

    fn deref(&self) -> &Self::Target {
        &self.keyset
    }
}

impl<'a> TrustedKeyset<'a> {
    /// Takes the next keyset of a chain: older ones are skipped, an equal one must be the
    /// same, the next one is verified, and a gap is refused.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn follow<'n>(&self, next: SignedKeyset<'n>) -> Result<Followed<'n>, Error> {
        let version = next.keyset.header.version;
        if version < self.header.version {
            return Ok(Followed::Skipped);
        }
        if version == self.header.version {
            if next.keyset.signed != self.keyset.signed {
                return Err(refuse("version", 12, Reason::KeysetConflict));
            }
            return Ok(Followed::Skipped);
        }
        next.verify_after(self).map(Followed::Newer)
    }

    /// Verifies a manifest under this keyset.
    ///
    /// # Errors
    /// `NeedKeyset`, a bad signature, `TooFewSignatures`, `WrongVendor`, `WrongClass` or
    /// `SecurityVersionTooHigh`, checked in this order.
    pub fn verify_manifest<'m>(
        &self,
        manifest: UnverifiedManifest<'m>,
        signatures: &SignatureBlock<'_>,
    ) -> Result<VerifiedManifest<'m>, Error> {
        let own = self.keyset.header();
        let header = manifest.header();
        let refuse = |field, offset, reason| Err(Error::new(Part::Manifest, field, offset, reason));
        if header.keyset_version > own.version {
            return refuse("keyset_version", 60, Reason::NeedKeyset);
        }
        count(
            &self.keyset,
            Roles::RELEASE,
            (own.k_release, own.k_release_pq),
            signatures,
            &[manifest::SIGNING_CONTEXT, manifest.signed_bytes()],
        )?;
        if header.vendor_id != own.vendor_id {
            return refuse("vendor_id", 24, Reason::WrongVendor);
        }
        if !own.class_id.is_zero() && header.class_id != own.class_id {
            return refuse("class_id", 40, Reason::WrongClass);
        }
        if header.security_version > own.max_security_version {
            return refuse("security_version", 72, Reason::SecurityVersionTooHigh);
        }
        Ok(manifest.vouched_for(own.version))
    }

    /// The Ed25519 key behind `key_id` when it may sign offers.
    pub fn offer_key(&self, key_id: KeyId) -> Option<SigningPublicKey> {
        self.keys()
            .find(|row| row.key_id == key_id && row.roles == Roles::OFFER)
            .map(|row| SigningPublicKey::Ed25519(row.key))
    }
}

/// What [`TrustedKeyset::follow`] made of a keyset.
pub enum Followed<'a> {
    /// Not newer than the trusted one.
    Skipped,
    /// Verified; it takes over.
    Newer(TrustedKeyset<'a>),
}

/// Verifies every entry of a known key and counts distinct holders of `role`.
fn count(
    signers: &Keyset<'_>,
    role: Roles,
    (classical, post_quantum): (u8, u8),
    signatures: &SignatureBlock<'_>,
    message: &[&[u8]],
) -> Result<(), Error> {
    let header = signers.header();
    let demands_pq = header.k_root_pq > 0 || header.k_release_pq > 0;
    let mut valid = 0;
    for entry in signatures.entries() {
        let Some(row) = signers.keys().find(|row| row.key_id == entry.key_id) else {
            continue;
        };
        if row.algorithm.is_post_quantum() && entry.algorithm == row.algorithm && !demands_pq {
            continue;
        }
        row.verify(&entry, message)?;
        if row.roles.contains(role) {
            valid += 1;
        }
    }
    if post_quantum > 0 {
        return Err(Error::new(
            Part::Signatures,
            "algorithm",
            0,
            Reason::Unsupported,
        ));
    }
    if valid < classical {
        return Err(Error::new(
            Part::Signatures,
            "count",
            0,
            Reason::TooFewSignatures,
        ));
    }
    Ok(())
}

/// Reads a row. The curve arithmetic of [`KeyRow::check`] runs once per parsed keyset, not
/// each time its rows are listed: on a small device it costs more than a signature.
fn parse_row(signed: &[u8], at: usize) -> Result<KeyRow, Error> {
    let mut r = Reader::at(Part::Keyset, signed, at);
    let algorithm = Algorithm::from_number(r.i16("algorithm")?)
        .ok_or_else(|| r.refuse("algorithm", Reason::UnknownValue))?;
    let roles = Roles::from_bits(r.u8("roles")?)
        .filter(|&roles| roles != Roles::OFFER || algorithm == Algorithm::Ed25519)
        .ok_or_else(|| r.refuse("roles", Reason::WrongRole))?;
    r.zeros(1, "reserved")?;
    let id = KeyId(r.array("key_id")?);
    Ok(KeyRow {
        algorithm,
        roles,
        key_id: id,
        key: r.array("key")?,
    })
}

fn row_at(index: usize) -> usize {
    HEADER_LEN + ROW_LEN * index
}

fn refuse(field: &'static str, offset: usize, reason: Reason) -> Error {
    Error::new(Part::Keyset, field, offset, reason)
}
