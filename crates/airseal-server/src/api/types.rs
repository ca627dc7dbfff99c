//! The JSON of the administrators' interface, shared with the command line.
//!
//! Ids, digests and keys are lower-case hexadecimal, times are unix seconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `GET /api/v1/server`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// Version of the program.
    pub version: String,
    /// Who holds what: `blind` means ciphertext and signatures only.
    pub custody: String,
    /// Content keys on this server.
    pub content_keys_held: u64,
    /// Signing keys on this server.
    pub signing_keys_held: u64,
    /// Address that devices connect to.
    pub https: String,
    /// Address given out to devices, when it is another one.
    pub public_url: Option<String>,
    /// SHA-256 of the authority's certificate.
    pub ca_sha256: String,
    /// Number of devices in each state.
    pub devices: BTreeMap<String, u64>,
    /// Number of releases.
    pub releases: u64,
}

/// `GET /api/v1/trust`: what firmware needs to know this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustInfo {
    /// The authority's certificate, PEM.
    pub ca_pem: String,
    /// SHA-256 of the certificate (DER).
    pub ca_sha256: String,
    /// The certificate as a C header.
    pub c_header: String,
}

/// `POST /api/v1/devices`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateDevice {
    /// Name for people, unique, 1 to 64 visible ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only a device of this vendor may take the claim; together with `class_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<String>,
    /// Only a device of this class may take the claim; together with `vendor_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_id: Option<String>,
    /// Life of the claim token in seconds; a week when left out, at most a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// Answer to [`CreateDevice`]; the only time the token is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The device that waits.
    pub device: DeviceInfo,
    /// The one-time token to give to it. Secret.
    pub claim_token: String,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Name on this server; never reused.
    pub id: String,
    /// Name people gave it.
    pub name: Option<String>,
    /// `claimed`, `active` or `revoked`.
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// Vendor id.
    pub vendor_id: Option<String>,
    /// Class id.
    pub class_id: Option<String>,
    /// SHA-256 of its client key (SubjectPublicKeyInfo).
    pub key_sha256: Option<String>,
    /// Its own recipient id.
    pub recipient_id: Option<String>,
    /// Wrap suite of its recipient key: 1 X25519, 2 P-256.
    pub wrap_suite: Option<u8>,
    /// Public recipient key, to seal to.
    pub recipient_key: Option<String>,
    /// Hardware revision.
    pub hw_rev: u16,
    /// When it was announced.
    pub created_at: u64,
    /// End of the claim, while it is claimed.
    pub claim_expires_at: Option<u64>,
    /// When it enrolled.
    pub enrolled_at: Option<u64>,
    /// When it was last heard; what it said in the same minute is not noted again.
    pub last_seen_at: Option<u64>,
    /// Digest of the manifest it says it runs.
    pub installed: Option<String>,
    /// Sequence it says it runs.
    pub release_seq: u64,
    /// Security version it says it runs.
    pub security_version: u32,
    /// Keyset it says it has in force.
    pub keyset_version: u32,
    /// Release it is held back from after three failures.
    pub held: Option<String>,
}

/// `GET /api/v1/devices/{id}`; `id` may be the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceDetail {
    /// The device.
    pub device: DeviceInfo,
    /// Every recipient id it holds, its own first.
    pub recipient_ids: Vec<String>,
    /// Releases it has been given an envelope for.
    pub readable_releases: Vec<ReleaseRef>,
    /// Its latest reports, newest first.
    pub reports: Vec<ReportInfo>,
    /// What the factory recorded, if it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<serde_json::Value>,
}

/// `POST /api/v1/device-imports`: all of these devices or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportDevices {
    /// The devices, at most 100,000.
    pub devices: Vec<ImportDevice>,
    /// Revoke the earlier key of a device that comes with another one.
    #[serde(default)]
    pub replace: bool,
    /// Only say what would follow.
    #[serde(default)]
    pub dry_run: bool,
}

/// A device as the factory made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportDevice {
    /// Line of the list it comes from; refusals name it.
    pub line: u64,
    /// Its serial, 1 to 64 visible ASCII characters.
    pub serial: String,
    /// Vendor id.
    pub vendor_id: String,
    /// Class id.
    pub class_id: String,
    /// Hardware revision.
    #[serde(default)]
    pub hw_rev: u16,
    /// The key it proves when it connects.
    pub request_key: TrustKey,
    /// Wrap suite of its recipient key: 1 X25519, 2 P-256.
    pub wrap_suite: u8,
    /// Public recipient key, to seal to.
    pub recipient_key: String,
    /// Sequence of the image it was born with.
    #[serde(default)]
    pub release_seq: u64,
    /// Security version of the image it was born with.
    #[serde(default)]
    pub security_version: u32,
    /// Its public record as the factory wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<serde_json::Value>,
}

/// Answer to [`ImportDevices`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicesImported {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Devices that were not known.
    pub added: u64,
    /// Devices that were announced and need no claim token any more.
    pub activated: u64,
    /// Devices that were known with these keys.
    pub unchanged: u64,
    /// Devices whose earlier key is revoked.
    pub replaced: u64,
    /// Those of them that were revoked before: they are let in again, with the new key.
    #[serde(default)]
    pub revived: u64,
}

/// A report of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportInfo {
    /// The release.
    pub manifest_digest: String,
    /// Where in the update.
    pub stage: String,
    /// 0 for success.
    pub code: u16,
    /// Which attempt.
    pub attempt: u32,
    /// Free text of the device.
    pub detail: String,
    /// When it came.
    pub at: u64,
}

/// `GET /api/v1/devices?after=ID&limit=N&state=S`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceList {
    /// In order of their ids.
    pub devices: Vec<DeviceInfo>,
    /// `after` of the next page, when there is one.
    pub next: Option<String>,
}

/// `POST /api/v1/devices/{id}/revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeDevice {
    /// Why, for the audit log.
    pub reason: String,
    /// Only show what would follow.
    #[serde(default)]
    pub dry_run: bool,
}

/// Answer to [`RevokeDevice`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The device after the change, or as it is in a dry run.
    pub device: DeviceInfo,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// What the device could read already; revoking does not take that back.
    pub readable_releases: Vec<ReleaseRef>,
    /// Group keys it holds: to exclude it, seal to devices only or rotate these.
    pub group_ids: Vec<String>,
}

/// A release by its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRef {
    /// Its name everywhere.
    pub manifest_digest: String,
    /// The version people read.
    pub version: String,
    /// Its sequence.
    pub release_seq: u64,
}

/// `PUT /api/v1/products/{vendor_id}/{class_id}/trust`: exactly one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTrust {
    /// A keyset file, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyset: Option<String>,
    /// Public signing keys, any one of which may sign.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<TrustKey>,
}

/// Request header of a publication: how many bytes at the start of the body are a [`SetTrust`] in JSON; the bundle
/// follows. The trust is stored with the release or not at all.
pub const TRUST_LEN_HEADER: &str = "airseal-trust-len";

/// A public signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustKey {
    /// `ed25519` or `ecdsa-p256`.
    pub algorithm: String,
    /// 32 bytes, or 65 (uncompressed).
    pub public_key: String,
}

/// Who may sign releases of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductTrust {
    /// Vendor id.
    pub vendor_id: String,
    /// Class id.
    pub class_id: String,
    /// `keyset` or `keys`.
    pub kind: String,
    /// Version of the keyset in force; 0 with bare keys.
    pub keyset_version: u32,
}

/// Answer to `POST /api/v1/releases` (the body is the bundle).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The release.
    pub release: ReleaseInfo,
    /// `false` when it was there already.
    pub is_new: bool,
    /// Recipients that were not known before.
    pub new_envelopes: u64,
    /// What an administrator should know, such as envelopes for revoked devices.
    pub warnings: Vec<String>,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// Its name everywhere.
    pub manifest_digest: String,
    /// Vendor id.
    pub vendor_id: String,
    /// Class id.
    pub class_id: String,
    /// The version people read.
    pub version: String,
    /// Its sequence.
    pub release_seq: u64,
    /// The keyset it was signed under.
    pub keyset_version: u32,
    /// Its security version.
    pub security_version: u32,
    /// Lowest and highest hardware revision.
    pub hw_rev: [u16; 2],
    /// Content suite: 0 plain, 1 AES-256-CTR, 2 ChaCha20.
    pub content_suite: u8,
    /// Recipient ids it is restricted to; empty when it is for all.
    pub targets: Vec<String>,
    /// Length of the payload in bytes.
    pub payload_len: u64,
    /// SHA-256 of the payload.
    pub payload_sha256: String,
    /// Build time.
    pub built_at: u64,
    /// When it was published.
    pub published_at: u64,
    /// When it was withdrawn.
    pub yanked_at: Option<u64>,
    /// Why it was withdrawn.
    pub yank_reason: Option<String>,
}

/// `GET /api/v1/releases/{digest}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseDetail {
    /// The release.
    pub release: ReleaseInfo,
    /// Everyone who can decrypt it.
    pub recipients: Vec<RecipientInfo>,
    /// Content keys of it on this server.
    pub content_keys_held: u64,
}

/// Someone who can decrypt a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientInfo {
    /// Id of the key.
    pub recipient_id: String,
    /// Ids of the devices known to hold it; empty for a key this server does not know.
    pub devices: Vec<String>,
}

/// `GET /api/v1/releases?offset=N&limit=N`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseList {
    /// Newest first within each product.
    pub releases: Vec<ReleaseInfo>,
    /// `offset` of the next page, when there is one.
    pub next: Option<u32>,
}

/// `POST /api/v1/releases/{digest}/yank`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct YankRelease {
    /// Why, for the audit log.
    pub reason: String,
}

/// Answer to `POST /api/v1/releases/{digest}/envelopes` (the body is an envelope pack).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopesAdded {
    /// The release.
    pub manifest_digest: String,
    /// Recipients that were not known before.
    pub new_envelopes: u64,
    /// What an administrator should know, such as envelopes for revoked devices.
    pub warnings: Vec<String>,
}

/// `GET /api/v1/audit?limit=N`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditList {
    /// The rows.
    pub rows: Vec<AuditEntry>,
}

/// A row of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Ascending without end.
    pub number: u64,
    /// When.
    pub at: u64,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub subject: String,
    /// More, for people.
    pub detail: String,
}

/// The body of every answer with a status of 400 or above (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// `about:blank#` and one word for scripts.
    #[serde(rename = "type")]
    pub kind: String,
    /// What went wrong.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Which field or offset; what to do, unless `remedy` says that.
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Number of the refusal, when the format refuses the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}
