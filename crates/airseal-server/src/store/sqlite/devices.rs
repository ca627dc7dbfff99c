use airseal_format::RecipientId;
use sqlx::{Row, SqliteConnection};

use super::{TxError, exists, note_in_audit, rows};
use crate::store::{
    Decision, Device, EnrolOutcome, Enrolment, EnrolmentState, NewClaim, Note, PollNote,
};
use crate::tls::KeyHash;

pub(super) async fn create_claim(
    c: &mut SqliteConnection,
    claim: &NewClaim,
    note: &Note,
) -> Result<Option<Device>, TxError> {
    if let Some(name) = &claim.name
        && let Some(device) = by_selector(c, name).await?
    {
        return renew_claim(c, &device, claim, note).await;
    }
    sqlx::query(
        "INSERT INTO device (id, name, state, vendor_id, class_id, created_at, claim_hash, claim_expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&claim.id)
    .bind(&claim.name)
    .bind(EnrolmentState::Claimed.name())
    .bind(claim.product.as_ref().map(|product| product.vendor_id.0.to_vec()))
    .bind(claim.product.as_ref().map(|product| product.class_id.0.to_vec()))
    .bind(note.now.cast_signed())
    .bind(&claim.token_hash[..])
    .bind(claim.expires_at.cast_signed())
    .execute(&mut *c)
    .await?;
    note_in_audit(c, note).await?;
    by_selector(c, &claim.id).await
}

/// Replaces the token of a device that has never enrolled. `None`: it has, or it is not served.
async fn renew_claim(
    c: &mut SqliteConnection,
    device: &Device,
    claim: &NewClaim,
    note: &Note,
) -> Result<Option<Device>, TxError> {
    if device.state != EnrolmentState::Claimed {
        return Ok(None);
    }
    let product = claim.product.or(device.product);
    sqlx::query(
        "UPDATE device SET claim_hash = ?, claim_expires_at = ?, vendor_id = ?, class_id = ? WHERE id = ?",
    )
    .bind(&claim.token_hash[..])
    .bind(claim.expires_at.cast_signed())
    .bind(product.as_ref().map(|product| product.vendor_id.0.to_vec()))
    .bind(product.as_ref().map(|product| product.class_id.0.to_vec()))
    .bind(&device.id)
    .execute(&mut *c)
    .await?;
    let note = Note {
        action: "device.reclaim".into(),
        subject: device.id.clone(),
        ..note.clone()
    };
    note_in_audit(c, &note).await?;
    by_selector(c, &device.id).await
}

pub(super) async fn enrol(
    c: &mut SqliteConnection,
    enrolment: &Enrolment,
) -> Result<EnrolOutcome, TxError> {
    let row = sqlx::query("SELECT * FROM device WHERE claim_hash = ?")
        .bind(&enrolment.token_hash[..])
        .fetch_optional(&mut *c)
        .await?;
    let Some(row) = row else {
        return Ok(EnrolOutcome::ClaimRefused);
    };
    let device = rows::device(&row)?;
    if let Some(key) = device.key {
        let is_same = device.recipient_id == Some(enrolment.recipient_id)
            && device.product == Some(enrolment.product);
        return Ok(if key != enrolment.key {
            EnrolOutcome::ClaimRefused
        } else if device.state != EnrolmentState::Active {
            EnrolOutcome::Revoked
        } else if is_same {
            EnrolOutcome::Active(Box::new(device))
        } else {
            EnrolOutcome::KeyInUse
        });
    }
    if device.state != EnrolmentState::Claimed || enrolment.now >= device.claim_expires_at {
        return Ok(EnrolOutcome::ClaimRefused);
    }
    if device
        .product
        .is_some_and(|product| product != enrolment.product)
    {
        return Ok(EnrolOutcome::WrongClass);
    }
    let same_key =
        sqlx::query("SELECT 1 FROM device WHERE key_hash = ?").bind(&enrolment.key.0[..]);
    if exists(c, same_key).await? {
        return Ok(EnrolOutcome::KeyInUse);
    }
    if is_recipient_in_use(c, enrolment).await? {
        return Ok(EnrolOutcome::RecipientInUse);
    }
    sqlx::query(
        "UPDATE device SET state = ?, vendor_id = ?, class_id = ?, key_hash = ?, recipient_id = ?, wrap_suite = ?,
         recipient_key = ?, hw_rev = ?, enrolled_at = ? WHERE id = ?",
    )
    .bind(EnrolmentState::Active.name())
    .bind(&enrolment.product.vendor_id.0[..])
    .bind(&enrolment.product.class_id.0[..])
    .bind(&enrolment.key.0[..])
    .bind(&enrolment.recipient_id.0[..])
    .bind(enrolment.wrap_suite)
    .bind(&enrolment.recipient_key)
    .bind(enrolment.hw_rev.0)
    .bind(enrolment.now.cast_signed())
    .bind(&device.id)
    .execute(&mut *c)
    .await?;
    sqlx::query("INSERT INTO device_recipient (device_id, recipient_id, is_own) VALUES (?, ?, 1)")
        .bind(&device.id)
        .bind(&enrolment.recipient_id.0[..])
        .execute(&mut *c)
        .await?;
    end_claims_on(c, &enrolment.recipient_id).await?;
    replace_groups(c, &device.id, &enrolment.groups).await?;
    let note = Note {
        actor: format!("device:{}", device.id),
        action: "device.enrol".into(),
        subject: device.id.clone(),
        detail: format!("key {}", enrolment.key),
        now: enrolment.now,
    };
    note_in_audit(c, &note).await?;
    let device = by_selector(c, &device.id)
        .await?
        .ok_or(TxError::Damaged("device.id"))?;
    Ok(EnrolOutcome::Active(Box::new(device)))
}

/// A device's own recipient id belongs to it alone; a group's id is nobody's own. Groups are only what a device says:
/// the word of one that is not served keeps nobody out.
async fn is_recipient_in_use(
    c: &mut SqliteConnection,
    enrolment: &Enrolment,
) -> Result<bool, TxError> {
    if enrolment.groups.contains(&enrolment.recipient_id) {
        return Ok(true);
    }
    let holder = sqlx::query(
        "SELECT d.id FROM device_recipient r JOIN device d ON d.id = r.device_id
         WHERE r.recipient_id = ? AND (r.is_own = 1 OR d.state = ?)",
    )
    .bind(&enrolment.recipient_id.0[..])
    .bind(EnrolmentState::Active.name())
    .fetch_optional(&mut *c)
    .await?;
    if let Some(holder) = holder {
        let holder: String = holder.try_get(0)?;
        tracing::warn!(recipient = %enrolment.recipient_id, %holder, "enrolment refused: this device names the recipient");
        return Ok(true);
    }
    for group in &enrolment.groups {
        let group =
            sqlx::query("SELECT 1 FROM device_recipient WHERE recipient_id = ? AND is_own = 1")
                .bind(&group.0[..]);
        if exists(c, group).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn by_key(
    c: &mut SqliteConnection,
    key: &KeyHash,
) -> Result<Option<Device>, TxError> {
    sqlx::query("SELECT * FROM device WHERE key_hash = ?")
        .bind(&key.0[..])
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(rows::device)
        .transpose()
}

pub(super) async fn by_selector(
    c: &mut SqliteConnection,
    selector: &str,
) -> Result<Option<Device>, TxError> {
    sqlx::query("SELECT * FROM device WHERE id = ?1 OR name = ?1")
        .bind(selector)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(rows::device)
        .transpose()
}

pub(super) async fn list(
    c: &mut SqliteConnection,
    after: Option<&str>,
    state: Option<EnrolmentState>,
    limit: u32,
) -> Result<Vec<Device>, TxError> {
    sqlx::query(
        "SELECT * FROM device WHERE id > ?1 AND (?2 IS NULL OR state = ?2) ORDER BY id LIMIT ?3",
    )
    .bind(after.unwrap_or(""))
    .bind(state.map(EnrolmentState::name))
    .bind(limit)
    .fetch_all(c)
    .await?
    .iter()
    .map(rows::device)
    .collect()
}

pub(super) async fn decide(
    c: &mut SqliteConnection,
    selector: &str,
    decision: &Decision,
    note: &Note,
) -> Result<Option<Device>, TxError> {
    let Some(device) = by_selector(c, selector).await? else {
        return Ok(None);
    };
    let (state, reason) = match decision {
        Decision::Revoke { reason } => (EnrolmentState::Revoked, Some(reason)),
        Decision::Reinstate if device.key.is_some() => (EnrolmentState::Active, None),
        Decision::Reinstate => (EnrolmentState::Claimed, None),
    };
    if device.state == state {
        return Ok(Some(device));
    }
    sqlx::query("UPDATE device SET state = ?, reason = ? WHERE id = ?")
        .bind(state.name())
        .bind(reason)
        .bind(&device.id)
        .execute(&mut *c)
        .await?;
    if state == EnrolmentState::Revoked && device.key.is_none() {
        void_claim(c, &device.id, note.now).await?;
    }
    let note = Note {
        subject: device.id.clone(),
        ..note.clone()
    };
    note_in_audit(c, &note).await?;
    by_selector(c, &device.id).await
}

/// Ends a claim that nobody has taken: no token has the hash any more, whatever state the device comes back to.
async fn void_claim(c: &mut SqliteConnection, device_id: &str, now: u64) -> Result<(), TxError> {
    sqlx::query(
        "UPDATE device SET claim_hash = randomblob(32), claim_expires_at = MIN(claim_expires_at, ?) WHERE id = ?",
    )
    .bind(now.cast_signed())
    .bind(device_id)
    .execute(c)
    .await?;
    Ok(())
}

pub(super) async fn note_poll(
    c: &mut SqliteConnection,
    device: &Device,
    poll: &PollNote,
) -> Result<(), TxError> {
    sqlx::query(
        "UPDATE device SET last_seen_at = ?, installed = ?, release_order = ?, security_version = ?,
         keyset_version = ?, hw_rev = ?, held = ? WHERE id = ?",
    )
    .bind(poll.seen_at.cast_signed())
    .bind(poll.installed.map(|digest| digest.0.to_vec()))
    .bind(&rows::order_key(&poll.order)[..])
    .bind(poll.security_version.0)
    .bind(poll.keyset_version.0)
    .bind(poll.hw_rev.0)
    .bind(poll.held.map(|digest| digest.0.to_vec()))
    .bind(&device.id)
    .execute(&mut *c)
    .await?;
    if device.groups != poll.groups {
        replace_groups(c, &device.id, &poll.groups).await?;
    }
    Ok(())
}

/// Makes `groups` the group ids of a device; an id that is some device's own is left out.
async fn replace_groups(
    c: &mut SqliteConnection,
    device_id: &str,
    groups: &[RecipientId],
) -> Result<(), TxError> {
    sqlx::query("DELETE FROM device_recipient WHERE device_id = ? AND is_own = 0")
        .bind(device_id)
        .execute(&mut *c)
        .await?;
    let mut kept = Vec::new();
    for id in groups {
        let inserted = sqlx::query(
            "INSERT INTO device_recipient (device_id, recipient_id, is_own) SELECT ?1, ?2, 0
             WHERE NOT EXISTS (SELECT 1 FROM device_recipient WHERE recipient_id = ?2 AND is_own = 1)",
        )
        .bind(device_id)
        .bind(&id.0[..])
        .execute(&mut *c)
        .await?;
        if inserted.rows_affected() == 1 {
            kept.push(*id);
        }
    }
    write_groups(c, device_id, &kept).await
}

/// Takes a recipient id that has become a device's own out of the groups of all others.
pub(super) async fn end_claims_on(
    c: &mut SqliteConnection,
    id: &RecipientId,
) -> Result<(), TxError> {
    let claimed = sqlx::query(
        "SELECT d.* FROM device_recipient r JOIN device d ON d.id = r.device_id
         WHERE r.recipient_id = ? AND r.is_own = 0",
    )
    .bind(&id.0[..])
    .fetch_all(&mut *c)
    .await?;
    for row in &claimed {
        let device = rows::device(row)?;
        let kept: Vec<_> = device
            .groups
            .into_iter()
            .filter(|group| group != id)
            .collect();
        write_groups(c, &device.id, &kept).await?;
    }
    sqlx::query("DELETE FROM device_recipient WHERE recipient_id = ? AND is_own = 0")
        .bind(&id.0[..])
        .execute(c)
        .await?;
    Ok(())
}

async fn write_groups(
    c: &mut SqliteConnection,
    device_id: &str,
    groups: &[RecipientId],
) -> Result<(), TxError> {
    sqlx::query("UPDATE device SET groups = ? WHERE id = ?")
        .bind(rows::group_column(groups))
        .bind(device_id)
        .execute(c)
        .await?;
    Ok(())
}
