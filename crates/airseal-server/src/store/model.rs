use airseal_format::signature::SigningPublicKey;
use airseal_format::{
    ClassId, Digest, HardwareRevision, KeysetVersion, RecipientId, ReleaseOrder, ReleaseSequence,
    SecurityVersion, VendorId,
};
use airseal_protocol::Stage;

use crate::blob::BlobId;
use crate::tls::KeyHash;

/// A class of devices of one vendor: what releases are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Product {
    /// The vendor.
    pub vendor_id: VendorId,
    /// The class.
    pub class_id: ClassId,
}

/// Where a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EnrolmentState {
    /// An administrator made a claim token, nobody has used it.
    Claimed,
    /// Enrolled, served.
    Active,
    /// Not served any more.
    Revoked,
}

impl EnrolmentState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Claimed, Self::Active, Self::Revoked];

    /// The state's word in the database, JSON and listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }

    /// The state with this word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A device as remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Name on this server; never reused.
    pub id: String,
    /// Name people gave it.
    pub name: Option<String>,
    /// Where it stands.
    pub state: EnrolmentState,
    /// Why it was moved there.
    pub reason: Option<String>,
    /// Its product; before enrolment the one the claim is bound to, if any.
    pub product: Option<Product>,
    /// Its client key, once enrolled.
    pub key: Option<KeyHash>,
    /// Its own recipient id, once enrolled.
    pub recipient_id: Option<RecipientId>,
    /// Wrap suite and public key to seal to, once enrolled.
    pub recipient_key: Option<(u8, Vec<u8>)>,
    /// Ids of the group keys it says it holds.
    pub groups: Vec<RecipientId>,
    /// Hardware revision it told last.
    pub hw_rev: HardwareRevision,
    /// Unix seconds.
    pub created_at: u64,
    /// End of the claim, unix seconds.
    pub claim_expires_at: u64,
    /// Unix seconds.
    pub enrolled_at: Option<u64>,
    /// When it was last heard, unix seconds; what it said in the same minute is not noted again.
    pub last_seen_at: Option<u64>,
    /// Digest of the manifest it says it runs.
    pub installed: Option<Digest>,
    /// Order it says it runs.
    pub order: ReleaseOrder,
    /// Security version it says it runs.
    pub security_version: SecurityVersion,
    /// Keyset it says it has in force.
    pub keyset_version: KeysetVersion,
    /// Release it is held back from after too many failures.
    pub held: Option<Digest>,
}

impl Device {
    /// Every recipient id of the device, its own first.
    pub fn recipient_ids(&self) -> impl Iterator<Item = RecipientId> {
        self.recipient_id
            .into_iter()
            .chain(self.groups.iter().copied())
    }
}

/// A device that an administrator announces.
#[derive(Debug, Clone)]
pub struct NewClaim {
    /// Fresh id.
    pub id: String,
    /// Name for people, unique.
    pub name: Option<String>,
    /// Only a device of this product may take it.
    pub product: Option<Product>,
    /// SHA-256 of the claim token.
    pub token_hash: [u8; 32],
    /// Unix seconds.
    pub expires_at: u64,
}

/// A device that presents a claim token.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// SHA-256 of the token presented.
    pub token_hash: [u8; 32],
    /// The key the connection proved.
    pub key: KeyHash,
    /// What the device says it is.
    pub product: Product,
    /// What the device says it is.
    pub hw_rev: HardwareRevision,
    /// Number of the wrap suite of its recipient key.
    pub wrap_suite: u8,
    /// Its public recipient key.
    pub recipient_key: Vec<u8>,
    /// Id of that key.
    pub recipient_id: RecipientId,
    /// Ids of the group keys it holds.
    pub groups: Vec<RecipientId>,
    /// Unix seconds.
    pub now: u64,
}

/// What becomes of an enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrolOutcome {
    /// The device is active, now or since an equal request before.
    Active(Box<Device>),
    /// The token is wrong, expired, or used by another key.
    ClaimRefused,
    /// The key is enrolled, under another claim or with another recipient key or product.
    KeyInUse,
    /// The recipient key or a group id is another device's own.
    RecipientInUse,
    /// The claim is bound to another product.
    WrongClass,
    /// The device that used this claim is revoked.
    Revoked,
}

/// A device as the factory made it.
#[derive(Debug, Clone)]
pub struct NewDevice {
    /// Line of the list it comes from.
    pub line: u64,
    /// Fresh id, for a device that is not known yet.
    pub id: String,
    /// Its serial; unique.
    pub name: String,
    /// Its product.
    pub product: Product,
    /// Hardware revision.
    pub hw_rev: HardwareRevision,
    /// The client key it will prove.
    pub key: KeyHash,
    /// Number of the wrap suite of its recipient key.
    pub wrap_suite: u8,
    /// Its public recipient key.
    pub recipient_key: Vec<u8>,
    /// Id of that key.
    pub recipient_id: RecipientId,
    /// Order of the image it was born with.
    pub order: ReleaseOrder,
    /// Security version of the image it was born with.
    pub security_version: SecurityVersion,
    /// Its public record, JSON.
    pub record: String,
}

/// Devices that come in together or not at all.
#[derive(Debug, Clone)]
pub struct Import {
    /// The devices, each name, key and recipient once.
    pub devices: Vec<NewDevice>,
    /// Whether a device that is known with another key is revoked in favour of the new one.
    pub replace: bool,
    /// Whether everything is taken back at the end.
    pub dry_run: bool,
}

/// What an import did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Devices that were not known.
    pub added: u64,
    /// Devices that were announced, and now need no token any more.
    pub activated: u64,
    /// Devices that were known with these keys.
    pub unchanged: u64,
    /// Devices whose earlier key was revoked.
    pub replaced: u64,
    /// Those of them that were revoked before, and have a new key that is let in now.
    pub revived: u64,
    /// The client keys that were revoked.
    pub revoked: Vec<KeyHash>,
}

/// What becomes of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// All devices are in; after a dry run, none is.
    Done(Imported),
    /// Nothing changed, because of these.
    Refused(Vec<LineFault>),
}

/// Why a line of an import can't be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// The line.
    pub line: u64,
    /// What is wrong, with the device's name.
    pub what: String,
}

/// What an administrator decides about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is not served any more; a claim that it has not taken ends for good.
    Revoke {
        /// Why.
        reason: String,
    },
    /// It is served again, or may enrol again when it never has.
    Reinstate,
}

/// What a poll tells about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollNote {
    /// Unix seconds.
    pub seen_at: u64,
    /// Digest of the installed manifest.
    pub installed: Option<Digest>,
    /// Order of the installed manifest.
    pub order: ReleaseOrder,
    /// Security version of the installed manifest.
    pub security_version: SecurityVersion,
    /// Keyset in force.
    pub keyset_version: KeysetVersion,
    /// Hardware revision.
    pub hw_rev: HardwareRevision,
    /// Release the device is held back from.
    pub held: Option<Digest>,
    /// Ids of the group keys it says it holds.
    pub groups: Vec<RecipientId>,
}

impl PollNote {
    /// Whether the device is already remembered so, in this minute: a poll that tells nothing new writes nothing.
    #[must_use]
    pub fn is_known(&self, device: &Device) -> bool {
        let minute = |at: u64| at / 60;
        device.last_seen_at.map(minute) == Some(minute(self.seen_at))
            && device.installed == self.installed
            && device.order == self.order
            && device.security_version == self.security_version
            && device.keyset_version == self.keyset_version
            && device.hw_rev == self.hw_rev
            && device.held == self.held
            && device.groups == self.groups
    }
}

/// A report to remember.
#[derive(Debug, Clone)]
pub struct ReportNote {
    /// The release it is about.
    pub digest: Digest,
    /// Where in the update.
    pub stage: Stage,
    /// 0 for success.
    pub code: u16,
    /// The device's count of its attempts.
    pub attempt: u32,
    /// Free text.
    pub detail: String,
    /// Unix seconds.
    pub now: u64,
}

/// A remembered report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// The release it is about.
    pub digest: Digest,
    /// Word of the stage.
    pub stage: String,
    /// 0 for success.
    pub code: u16,
    /// The device's count of its attempts.
    pub attempt: u32,
    /// Free text.
    pub detail: String,
    /// Unix seconds.
    pub at: u64,
}

/// Who may sign the releases of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// A chain of signed keysets back to back, oldest first; the last is in force.
    Keysets(Vec<u8>),
    /// Any one of these keys.
    Keys(Vec<SigningPublicKey>),
}

impl Trust {
    /// Whether this trust is `given`, or a keyset chain that goes on from it.
    #[must_use]
    pub fn continues(&self, given: &Self) -> bool {
        match (self, given) {
            (Self::Keysets(chain), Self::Keysets(start)) => chain.starts_with(start),
            _ => self == given,
        }
    }
}

/// A verified release to store; its payload is in the blob folder already.
#[derive(Debug, Clone)]
pub struct NewRelease {
    /// The release.
    pub release: Release,
    /// Envelopes that came with it.
    pub envelopes: Vec<StoredEnvelope>,
    /// The product's trust after following the keysets in the bundle.
    pub trust: Trust,
    /// The trust that came with the upload; the product must have this one or no release yet.
    pub given_trust: Option<Trust>,
}

/// A release as remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// SHA-256 of the signed manifest bytes: its name.
    pub digest: Digest,
    /// What it is for.
    pub product: Product,
    /// Its place among the releases of the product.
    pub order: ReleaseOrder,
    /// Its security version.
    pub security_version: SecurityVersion,
    /// The running release must have at least this security version.
    pub min_from_security_version: SecurityVersion,
    /// The running release must have at least this sequence.
    pub min_from_seq: ReleaseSequence,
    /// Lowest hardware revision.
    pub hw_rev_min: HardwareRevision,
    /// Highest hardware revision.
    pub hw_rev_max: HardwareRevision,
    /// Number of the content suite; 0 is plain.
    pub content_suite: u8,
    /// The version people read.
    pub version: String,
    /// Build time, unix seconds.
    pub built_at: u64,
    /// Recipient ids it is restricted to; empty when it is for all.
    pub targets: Vec<RecipientId>,
    /// Manifest and signature block.
    pub manifest: Vec<u8>,
    /// Keysets that lead to it, each with its signature block, back to back, oldest first.
    pub keysets: Vec<u8>,
    /// Where the payload lies.
    pub payload: BlobId,
    /// Length of the payload in bytes.
    pub payload_len: u64,
    /// Unix seconds.
    pub published_at: u64,
    /// When and why it was withdrawn.
    pub yanked: Option<(u64, String)>,
}

/// What became of a release to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// It is new.
    New,
    /// It was there; so many of its envelopes are new.
    Known {
        /// Envelopes added.
        new_envelopes: u64,
    },
    /// The product has another trust by now than the one it was verified under, or releases and another than the one
    /// given.
    OtherTrust,
    /// Another release of the product has this sequence.
    SequenceTaken {
        /// The other release.
        by: Digest,
    },
}

/// One envelope, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEnvelope {
    /// Whose it is.
    pub recipient_id: RecipientId,
    /// The whole envelope.
    pub bytes: Vec<u8>,
}

/// Someone who can open a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientRow {
    /// Id of the key.
    pub recipient_id: RecipientId,
    /// Ids of the devices known to hold it.
    pub devices: Vec<String>,
}

/// A release that a device may be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub digest: Digest,
    /// Its order.
    pub order: ReleaseOrder,
    /// Its security version.
    pub security_version: SecurityVersion,
    /// Stepping stone.
    pub min_from_security_version: SecurityVersion,
    /// Stepping stone.
    pub min_from_seq: ReleaseSequence,
    /// Lowest hardware revision.
    pub hw_rev_min: HardwareRevision,
    /// Highest hardware revision.
    pub hw_rev_max: HardwareRevision,
    /// Whether it needs no envelope.
    pub is_plain: bool,
    /// Length of the payload in bytes.
    pub payload_len: u64,
    /// Whether it is restricted to recipients of which the device is none.
    pub is_for_others: bool,
    /// Whether an envelope is there for the device or a group of it.
    pub has_envelope: bool,
    /// Failures of it that the device has reported.
    pub failures: u32,
}

/// Who does what, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Who: `admin`, or `server` at start.
    pub actor: String,
    /// What, as `noun.verb`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// More, for people.
    pub detail: String,
    /// Unix seconds.
    pub now: u64,
}

/// A row of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Ascending without end.
    pub number: u64,
    /// What happened.
    pub note: Note,
}

/// How much there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Devices in each state.
    pub devices: Vec<(EnrolmentState, u64)>,
    /// Releases, yanked ones included.
    pub releases: u64,
}
