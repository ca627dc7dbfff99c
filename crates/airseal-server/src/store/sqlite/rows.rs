//! Columns to values and back.

use airseal_format::signature::SigningPublicKey;
use airseal_format::{
    ClassId, Digest, HardwareRevision, KeysetVersion, RecipientId, ReleaseOrder, ReleaseSequence,
    SecurityVersion, VendorId,
};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::TxError;
use crate::blob::BlobId;
use crate::store::{Candidate, Device, EnrolmentState, Product, Release, ReportRow, Trust};
use crate::tls::KeyHash;

/// 12 bytes that sort as [`ReleaseOrder`] does.
pub(super) fn order_key(order: &ReleaseOrder) -> [u8; 12] {
    let mut key = [0; 12];
    let (high, low) = key.split_at_mut(4);
    high.copy_from_slice(&order.keyset_version.0.to_be_bytes());
    low.copy_from_slice(&order.release_seq.0.to_be_bytes());
    key
}

pub(super) fn device(row: &SqliteRow) -> Result<Device, TxError> {
    let state: String = row.try_get("state")?;
    let wrap_suite: Option<u8> = row.try_get("wrap_suite")?;
    let recipient_key: Option<Vec<u8>> = row.try_get("recipient_key")?;
    let groups: Vec<u8> = row.try_get("groups")?;
    Ok(Device {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        state: EnrolmentState::from_name(&state).ok_or(TxError::Damaged("device.state"))?,
        reason: row.try_get("reason")?,
        product: match (
            optional_bytes(row, "vendor_id")?,
            optional_bytes(row, "class_id")?,
        ) {
            (Some(vendor), Some(class)) => Some(Product {
                vendor_id: VendorId(vendor),
                class_id: ClassId(class),
            }),
            _ => None,
        },
        key: optional_bytes(row, "key_hash")?.map(KeyHash),
        recipient_id: optional_bytes(row, "recipient_id")?.map(RecipientId),
        recipient_key: wrap_suite.zip(recipient_key),
        groups: ids(&groups),
        hw_rev: HardwareRevision(row.try_get("hw_rev")?),
        created_at: unsigned(row, "created_at")?,
        claim_expires_at: unsigned(row, "claim_expires_at")?,
        enrolled_at: optional_unsigned(row, "enrolled_at")?,
        last_seen_at: optional_unsigned(row, "last_seen_at")?,
        installed: optional_bytes(row, "installed")?.map(Digest),
        order: order(row, "release_order")?,
        security_version: SecurityVersion(row.try_get("security_version")?),
        keyset_version: KeysetVersion(row.try_get("keyset_version")?),
        held: optional_bytes(row, "held")?.map(Digest),
    })
}

pub(super) fn release(row: &SqliteRow) -> Result<Release, TxError> {
    let targets: Vec<u8> = row.try_get("targets")?;
    let yank_reason: Option<String> = row.try_get("yank_reason")?;
    Ok(Release {
        digest: Digest(bytes(row, "digest")?),
        product: Product {
            vendor_id: VendorId(bytes(row, "vendor_id")?),
            class_id: ClassId(bytes(row, "class_id")?),
        },
        order: order(row, "release_order")?,
        security_version: SecurityVersion(row.try_get("security_version")?),
        min_from_security_version: SecurityVersion(row.try_get("min_from_security_version")?),
        min_from_seq: ReleaseSequence(u64::from_be_bytes(bytes(row, "min_from_seq")?)),
        hw_rev_min: HardwareRevision(row.try_get("hw_rev_min")?),
        hw_rev_max: HardwareRevision(row.try_get("hw_rev_max")?),
        content_suite: row.try_get("content_suite")?,
        version: row.try_get("version")?,
        built_at: unsigned(row, "built_at")?,
        targets: ids(&targets),
        manifest: row.try_get("manifest")?,
        keysets: row.try_get("keysets")?,
        payload: BlobId(bytes(row, "payload")?),
        payload_len: unsigned(row, "payload_len")?,
        published_at: unsigned(row, "published_at")?,
        yanked: optional_unsigned(row, "yanked_at")?.zip(yank_reason),
    })
}

pub(super) fn candidate(row: &SqliteRow, device: &Device) -> Result<Candidate, TxError> {
    let targets: Vec<u8> = row.try_get("targets")?;
    let targets = ids(&targets);
    let content_suite: u8 = row.try_get("content_suite")?;
    Ok(Candidate {
        digest: Digest(bytes(row, "digest")?),
        order: order(row, "release_order")?,
        security_version: SecurityVersion(row.try_get("security_version")?),
        min_from_security_version: SecurityVersion(row.try_get("min_from_security_version")?),
        min_from_seq: ReleaseSequence(u64::from_be_bytes(bytes(row, "min_from_seq")?)),
        hw_rev_min: HardwareRevision(row.try_get("hw_rev_min")?),
        hw_rev_max: HardwareRevision(row.try_get("hw_rev_max")?),
        is_plain: content_suite == 0,
        payload_len: unsigned(row, "payload_len")?,
        is_for_others: !targets.is_empty()
            && !device.recipient_ids().any(|id| targets.contains(&id)),
        has_envelope: row.try_get("has_envelope")?,
        failures: row.try_get("failures")?,
    })
}

pub(super) fn report(row: &SqliteRow) -> Result<ReportRow, TxError> {
    Ok(ReportRow {
        digest: Digest(bytes(row, "digest")?),
        stage: row.try_get("stage")?,
        code: row.try_get("code")?,
        attempt: row.try_get("attempt")?,
        detail: row.try_get("detail")?,
        at: unsigned(row, "at")?,
    })
}

/// How trust is written: a word and bytes.
pub(super) fn trust_columns(trust: &Trust) -> (&'static str, Vec<u8>) {
    match trust {
        Trust::Keysets(chain) => ("keysets", chain.clone()),
        Trust::Keys(keys) => {
            let mut bytes = Vec::new();
            for key in keys {
                bytes.extend(key.algorithm().number().to_le_bytes());
                bytes.extend(key.as_bytes());
            }
            ("keys", bytes)
        }
    }
}

pub(super) fn trust(row: &SqliteRow) -> Result<Trust, TxError> {
    let kind: String = row.try_get("trust_kind")?;
    let trust: Vec<u8> = row.try_get("trust")?;
    match kind.as_str() {
        "keysets" => Ok(Trust::Keysets(trust)),
        "keys" => keys(&trust)
            .map(Trust::Keys)
            .ok_or(TxError::Damaged("product.trust")),
        _ => Err(TxError::Damaged("product.trust_kind")),
    }
}

/// Ids back to back.
pub(super) fn group_column(groups: &[RecipientId]) -> Vec<u8> {
    groups.iter().flat_map(|id| id.0).collect()
}

pub(super) fn ids(bytes: &[u8]) -> Vec<RecipientId> {
    let (ids, _) = bytes.as_chunks::<16>();
    ids.iter().copied().map(RecipientId).collect()
}

pub(super) fn bytes<const N: usize>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<[u8; N], TxError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map_err(|_| TxError::Damaged(column))
}

pub(super) fn unsigned(row: &SqliteRow, column: &'static str) -> Result<u64, TxError> {
    let number: i64 = row.try_get(column)?;
    Ok(number.cast_unsigned())
}

fn optional_bytes<const N: usize>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<[u8; N]>, TxError> {
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    bytes
        .map(|bytes| bytes.try_into().map_err(|_| TxError::Damaged(column)))
        .transpose()
}

fn optional_unsigned(row: &SqliteRow, column: &'static str) -> Result<Option<u64>, TxError> {
    let number: Option<i64> = row.try_get(column)?;
    Ok(number.map(i64::cast_unsigned))
}

fn order(row: &SqliteRow, column: &'static str) -> Result<ReleaseOrder, TxError> {
    let key: [u8; 12] = bytes(row, column)?;
    let [a, b, c, d, seq @ ..] = key;
    Ok(ReleaseOrder {
        keyset_version: KeysetVersion(u32::from_be_bytes([a, b, c, d])),
        release_seq: ReleaseSequence(u64::from_be_bytes(seq)),
    })
}

fn keys(mut bytes: &[u8]) -> Option<Vec<SigningPublicKey>> {
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        let (number, rest) = bytes.split_first_chunk::<2>()?;
        let (key, rest) = match i16::from_le_bytes(*number) {
            -19 => {
                let (key, rest) = rest.split_first_chunk::<32>()?;
                (SigningPublicKey::Ed25519(*key), rest)
            }
            -9 => {
                let (key, rest) = rest.split_first_chunk::<65>()?;
                (SigningPublicKey::EcdsaP256(*key), rest)
            }
            _ => return None,
        };
        keys.push(key);
        bytes = rest;
    }
    Some(keys)
}
