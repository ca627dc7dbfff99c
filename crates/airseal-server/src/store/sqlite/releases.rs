use airseal_format::{Digest, RecipientId, ReleaseOrder};
use sqlx::{Row, SqliteConnection};

use super::{TxError, exists, note_in_audit, rows};
use crate::store::{
    Candidate, Device, Inserted, NewRelease, Note, Product, RecipientRow, Release, StoredEnvelope,
    Trust,
};

pub(super) async fn trust(
    c: &mut SqliteConnection,
    product: &Product,
) -> Result<Option<Trust>, TxError> {
    sqlx::query("SELECT * FROM product WHERE vendor_id = ? AND class_id = ?")
        .bind(&product.vendor_id.0[..])
        .bind(&product.class_id.0[..])
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(rows::trust)
        .transpose()
}

pub(super) async fn set_first_trust(
    c: &mut SqliteConnection,
    product: &Product,
    trust: &Trust,
    note: &Note,
) -> Result<bool, TxError> {
    if has_releases(c, product).await? {
        return Ok(false);
    }
    write_trust(c, product, trust).await?;
    note_in_audit(c, note).await?;
    Ok(true)
}

async fn has_releases(c: &mut SqliteConnection, product: &Product) -> Result<bool, TxError> {
    let any = sqlx::query("SELECT 1 FROM release WHERE vendor_id = ? AND class_id = ? LIMIT 1")
        .bind(&product.vendor_id.0[..])
        .bind(&product.class_id.0[..]);
    exists(c, any).await
}

async fn write_trust(
    c: &mut SqliteConnection,
    product: &Product,
    trust: &Trust,
) -> Result<(), TxError> {
    let (kind, bytes) = rows::trust_columns(trust);
    sqlx::query(
        "INSERT INTO product (vendor_id, class_id, trust_kind, trust) VALUES (?, ?, ?, ?)
         ON CONFLICT (vendor_id, class_id) DO UPDATE SET trust_kind = excluded.trust_kind, trust = excluded.trust",
    )
    .bind(&product.vendor_id.0[..])
    .bind(&product.class_id.0[..])
    .bind(kind)
    .bind(bytes)
    .execute(c)
    .await?;
    Ok(())
}

pub(super) async fn insert(
    c: &mut SqliteConnection,
    new: &NewRelease,
    note: &Note,
) -> Result<Inserted, TxError> {
    let release = &new.release;
    let old_trust = trust(c, &release.product).await?;
    let is_first = !has_releases(c, &release.product).await?;
    let is_given = new.given_trust.is_some();
    let is_same_line = |old: &Trust| new.trust.continues(old) || old.continues(&new.trust);
    let is_refused = match &old_trust {
        Some(old) if !is_first => !is_same_line(old) || (is_given && new.given_trust != old_trust),
        Some(old) => !is_given && !is_same_line(old),
        None => false,
    };
    if is_refused {
        return Ok(Inserted::OtherTrust);
    }
    if by_digest(c, &release.digest).await?.is_some() {
        let new_envelopes = write_envelopes(c, &release.digest, &new.envelopes).await?;
        note_in_audit(c, note).await?;
        return Ok(Inserted::Known { new_envelopes });
    }
    let taken = sqlx::query(
        "SELECT digest FROM release WHERE vendor_id = ? AND class_id = ? AND release_seq = ?",
    )
    .bind(&release.product.vendor_id.0[..])
    .bind(&release.product.class_id.0[..])
    .bind(&release.order.release_seq.0.to_be_bytes()[..])
    .fetch_optional(&mut *c)
    .await?;
    if let Some(row) = taken {
        return Ok(Inserted::SequenceTaken {
            by: Digest(rows::bytes(&row, "digest")?),
        });
    }
    write_release(c, release).await?;
    write_envelopes(c, &release.digest, &new.envelopes).await?;
    if is_given && is_first {
        write_trust(c, &release.product, &new.trust).await?;
        let product = &release.product;
        let note = Note {
            action: "product.trust".into(),
            subject: format!("{}/{}", product.vendor_id, product.class_id),
            detail: format!("given with release {}", release.digest),
            ..note.clone()
        };
        note_in_audit(c, &note).await?;
    } else if old_trust.is_none_or(|old| new.trust.continues(&old)) {
        write_trust(c, &release.product, &new.trust).await?;
    }
    note_in_audit(c, note).await?;
    Ok(Inserted::New)
}

async fn write_release(c: &mut SqliteConnection, release: &Release) -> Result<(), TxError> {
    let targets: Vec<u8> = release.targets.iter().flat_map(|id| id.0).collect();
    sqlx::query(
        "INSERT INTO release (digest, vendor_id, class_id, release_order, release_seq, security_version,
         min_from_security_version, min_from_seq, hw_rev_min, hw_rev_max, content_suite, version, built_at, targets,
         manifest, keysets, payload, payload_len, published_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&release.digest.0[..])
    .bind(&release.product.vendor_id.0[..])
    .bind(&release.product.class_id.0[..])
    .bind(&rows::order_key(&release.order)[..])
    .bind(&release.order.release_seq.0.to_be_bytes()[..])
    .bind(release.security_version.0)
    .bind(release.min_from_security_version.0)
    .bind(&release.min_from_seq.0.to_be_bytes()[..])
    .bind(release.hw_rev_min.0)
    .bind(release.hw_rev_max.0)
    .bind(release.content_suite)
    .bind(&release.version)
    .bind(release.built_at.cast_signed())
    .bind(targets)
    .bind(&release.manifest)
    .bind(&release.keysets)
    .bind(&release.payload.0[..])
    .bind(release.payload_len.cast_signed())
    .bind(release.published_at.cast_signed())
    .execute(c)
    .await?;
    Ok(())
}

async fn write_envelopes(
    c: &mut SqliteConnection,
    digest: &Digest,
    envelopes: &[StoredEnvelope],
) -> Result<u64, TxError> {
    let mut new = 0u64;
    for envelope in envelopes {
        let known = sqlx::query("SELECT 1 FROM envelope WHERE digest = ? AND recipient_id = ?")
            .bind(&digest.0[..])
            .bind(&envelope.recipient_id.0[..]);
        if !exists(c, known).await? {
            new = new.saturating_add(1);
        }
        sqlx::query(
            "INSERT OR REPLACE INTO envelope (digest, recipient_id, bytes) VALUES (?, ?, ?)",
        )
        .bind(&digest.0[..])
        .bind(&envelope.recipient_id.0[..])
        .bind(&envelope.bytes)
        .execute(&mut *c)
        .await?;
    }
    Ok(new)
}

pub(super) async fn by_digest(
    c: &mut SqliteConnection,
    digest: &Digest,
) -> Result<Option<Release>, TxError> {
    sqlx::query("SELECT * FROM release WHERE digest = ?")
        .bind(&digest.0[..])
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(rows::release)
        .transpose()
}

pub(super) async fn list(
    c: &mut SqliteConnection,
    offset: u32,
    limit: u32,
) -> Result<Vec<Release>, TxError> {
    sqlx::query(
        "SELECT * FROM release ORDER BY vendor_id, class_id, release_order DESC LIMIT ? OFFSET ?",
    )
    .bind(limit)
    .bind(offset)
    .fetch_all(c)
    .await?
    .iter()
    .map(rows::release)
    .collect()
}

pub(super) async fn yank(
    c: &mut SqliteConnection,
    digest: &Digest,
    reason: &str,
    note: &Note,
) -> Result<Option<Release>, TxError> {
    let Some(release) = by_digest(c, digest).await? else {
        return Ok(None);
    };
    if release.yanked.is_some() {
        return Ok(Some(release));
    }
    sqlx::query("UPDATE release SET yanked_at = ?, yank_reason = ? WHERE digest = ?")
        .bind(note.now.cast_signed())
        .bind(reason)
        .bind(&digest.0[..])
        .execute(&mut *c)
        .await?;
    note_in_audit(c, note).await?;
    by_digest(c, digest).await
}

pub(super) async fn add_envelopes(
    c: &mut SqliteConnection,
    digest: &Digest,
    envelopes: &[StoredEnvelope],
    note: &Note,
) -> Result<Option<u64>, TxError> {
    if by_digest(c, digest).await?.is_none() {
        return Ok(None);
    }
    let new = write_envelopes(c, digest, envelopes).await?;
    note_in_audit(c, note).await?;
    Ok(Some(new))
}

pub(super) async fn envelopes_for(
    c: &mut SqliteConnection,
    digest: &Digest,
    device_id: &str,
) -> Result<Vec<Vec<u8>>, TxError> {
    let rows = sqlx::query(
        "SELECT e.bytes FROM device_recipient d JOIN envelope e ON e.recipient_id = d.recipient_id
         WHERE d.device_id = ? AND e.digest = ? ORDER BY e.recipient_id",
    )
    .bind(device_id)
    .bind(&digest.0[..])
    .fetch_all(c)
    .await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?)
}

pub(super) async fn recipients_of(
    c: &mut SqliteConnection,
    digest: &Digest,
) -> Result<Vec<RecipientRow>, TxError> {
    let rows = sqlx::query(
        "SELECT e.recipient_id AS recipient_id, d.device_id AS device_id FROM envelope e
         LEFT JOIN device_recipient d ON d.recipient_id = e.recipient_id
         WHERE e.digest = ? ORDER BY e.recipient_id, d.device_id",
    )
    .bind(&digest.0[..])
    .fetch_all(c)
    .await?;
    let mut recipients: Vec<RecipientRow> = Vec::new();
    for row in &rows {
        let id = RecipientId(rows::bytes(row, "recipient_id")?);
        let device: Option<String> = row.try_get("device_id")?;
        match recipients.last_mut() {
            Some(last) if last.recipient_id == id => last.devices.extend(device),
            _ => recipients.push(RecipientRow {
                recipient_id: id,
                devices: device.into_iter().collect(),
            }),
        }
    }
    Ok(recipients)
}

pub(super) async fn readable_by(
    c: &mut SqliteConnection,
    device_id: &str,
) -> Result<Vec<Release>, TxError> {
    sqlx::query(
        "SELECT * FROM release WHERE digest IN
         (SELECT e.digest FROM device_recipient d JOIN envelope e ON e.recipient_id = d.recipient_id WHERE d.device_id = ?)
         ORDER BY release_order DESC",
    )
    .bind(device_id)
    .fetch_all(c)
    .await?
    .iter()
    .map(rows::release)
    .collect()
}

pub(super) async fn candidates(
    c: &mut SqliteConnection,
    device: &Device,
    order: &ReleaseOrder,
    limit: u32,
) -> Result<Vec<Candidate>, TxError> {
    let Some(product) = &device.product else {
        return Ok(Vec::new());
    };
    sqlx::query(
        "SELECT r.digest, r.release_order, r.security_version, r.min_from_security_version, r.min_from_seq,
         r.hw_rev_min, r.hw_rev_max, r.content_suite, r.payload_len, r.targets,
         EXISTS (SELECT 1 FROM device_recipient d JOIN envelope e ON e.recipient_id = d.recipient_id
                 WHERE d.device_id = ?1 AND e.digest = r.digest) AS has_envelope,
         COALESCE((SELECT f.count FROM failure f WHERE f.device_id = ?1 AND f.digest = r.digest), 0) AS failures
         FROM release r
         WHERE r.vendor_id = ?2 AND r.class_id = ?3 AND r.release_order > ?4 AND r.yanked_at IS NULL
         ORDER BY r.release_order DESC LIMIT ?5",
    )
    .bind(&device.id)
    .bind(&product.vendor_id.0[..])
    .bind(&product.class_id.0[..])
    .bind(&rows::order_key(order)[..])
    .bind(limit)
    .fetch_all(c)
    .await?
    .iter()
    .map(|row| rows::candidate(row, device))
    .collect()
}
