//! Devices as the factory made them, all or none.

use sqlx::{Connection, Row, SqliteConnection};

use super::{TxError, devices, note_in_audit, rows};
use crate::store::{
    Device, EnrolmentState, Import, ImportOutcome, Imported, LineFault, NewDevice, Note,
};

pub(super) async fn import(
    c: &mut SqliteConnection,
    import: &Import,
    note: &Note,
) -> Result<ImportOutcome, TxError> {
    // A savepoint: a dry run and a refusal go back to it.
    let mut inner = c.begin().await?;
    let mut done = Imported::default();
    let mut faults = Vec::new();
    for device in &import.devices {
        match standing(&mut inner, device, import.replace).await? {
            Ok(standing) => take(&mut inner, device, standing, note.now, &mut done).await?,
            Err(what) => faults.push(LineFault {
                line: device.line,
                what: format!("{}: {what}", device.name),
            }),
        }
    }
    if !faults.is_empty() {
        inner.rollback().await?;
        return Ok(ImportOutcome::Refused(faults));
    }
    if import.dry_run {
        inner.rollback().await?;
        return Ok(ImportOutcome::Done(done));
    }
    let note = Note {
        detail: format!(
            "{} new, {} announced before, {} known, {} with another key before, {} of them revoked before",
            done.added, done.activated, done.unchanged, done.replaced, done.revived
        ),
        ..note.clone()
    };
    note_in_audit(&mut inner, &note).await?;
    inner.commit().await?;
    Ok(ImportOutcome::Done(done))
}

pub(super) async fn record(
    c: &mut SqliteConnection,
    device_id: &str,
) -> Result<Option<String>, TxError> {
    let row = sqlx::query("SELECT record FROM device_record WHERE device_id = ?")
        .bind(device_id)
        .fetch_optional(c)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// How a device stands to what is known.
enum Standing {
    New,
    Unchanged(Device),
    Announced(Device),
    Replaces(Device),
}

/// The inner error is what is wrong with the line.
async fn standing(
    c: &mut SqliteConnection,
    device: &NewDevice,
    replace: bool,
) -> Result<Result<Standing, String>, TxError> {
    let known = named(c, &device.name).await?;
    let holder = devices::by_key(c, &device.key).await?;
    let id = known.as_ref().map(|known| known.id.as_str());
    if let Some(holder) = holder.filter(|holder| Some(holder.id.as_str()) != id) {
        return Ok(Err(format!(
            "its request key is that of {}",
            label(&holder)
        )));
    }
    let owner = owner(c, device).await?;
    if let Some(owner) = owner.filter(|owner| Some(owner.id.as_str()) != id) {
        return Ok(Err(format!("its unseal key is that of {}", label(&owner))));
    }
    let Some(known) = known else {
        return Ok(Ok(Standing::New));
    };
    let same_make =
        known.recipient_id == Some(device.recipient_id) && known.product == Some(device.product);
    Ok(match (known.state, &known.key) {
        (EnrolmentState::Revoked, key) if key.is_none() || *key == Some(device.key) => {
            Err("is revoked: reinstate it, or leave it out of the list".to_owned())
        }
        (_, Some(key)) if *key == device.key && same_make => Ok(Standing::Unchanged(known)),
        (_, Some(key)) if *key == device.key => {
            Err("is known with this request key and another unseal key or class".to_owned())
        }
        (_, Some(_)) if known.recipient_id == Some(device.recipient_id) => {
            Err("is known with this unseal key and another request key".to_owned())
        }
        // Another product with the same serials: to replace would throw a device in the field out.
        (state, Some(_))
            if state != EnrolmentState::Revoked
                && known
                    .product
                    .is_some_and(|product| product != device.product) =>
        {
            Err("is the serial of a device of another vendor or class: give this one another, or revoke that device first".to_owned())
        }
        (_, Some(_)) if replace => Ok(Standing::Replaces(known)),
        (_, Some(_)) => Err("is known with another key: --replace revokes that one".to_owned()),
        (_, None)
            if known
                .product
                .is_none_or(|product| product == device.product) =>
        {
            Ok(Standing::Announced(known))
        }
        (_, None) => Err("is announced for another vendor or class".to_owned()),
    })
}

async fn take(
    c: &mut SqliteConnection,
    device: &NewDevice,
    standing: Standing,
    now: u64,
    done: &mut Imported,
) -> Result<(), TxError> {
    let id = match &standing {
        Standing::New => {
            done.added += 1;
            &device.id
        }
        Standing::Unchanged(known) => {
            done.unchanged += 1;
            return keep_record(c, &known.id, device).await;
        }
        Standing::Announced(known) => {
            done.activated += 1;
            &known.id
        }
        Standing::Replaces(known) => {
            done.replaced += 1;
            if known.state == EnrolmentState::Revoked {
                done.revived += 1;
            }
            done.revoked.extend(known.key);
            retire(c, known, &device.name).await?;
            &device.id
        }
    };
    sqlx::query(
        "INSERT INTO device (id, name, state, vendor_id, class_id, key_hash, recipient_id, wrap_suite, recipient_key,
         hw_rev, created_at, claim_hash, claim_expires_at, enrolled_at, release_order, security_version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, randomblob(32), ?11, ?11, ?12, ?13)
         ON CONFLICT (id) DO UPDATE SET state = ?3, vendor_id = ?4, class_id = ?5, key_hash = ?6, recipient_id = ?7,
         wrap_suite = ?8, recipient_key = ?9, hw_rev = ?10, claim_hash = randomblob(32), claim_expires_at = ?11,
         enrolled_at = ?11, release_order = ?12, security_version = ?13",
    )
    .bind(id)
    .bind(&device.name)
    .bind(EnrolmentState::Active.name())
    .bind(&device.product.vendor_id.0[..])
    .bind(&device.product.class_id.0[..])
    .bind(&device.key.0[..])
    .bind(&device.recipient_id.0[..])
    .bind(device.wrap_suite)
    .bind(&device.recipient_key)
    .bind(device.hw_rev.0)
    .bind(now.cast_signed())
    .bind(&rows::order_key(&device.order)[..])
    .bind(device.security_version.0)
    .execute(&mut *c)
    .await?;
    sqlx::query("INSERT INTO device_recipient (device_id, recipient_id, is_own) VALUES (?, ?, 1)")
        .bind(id)
        .bind(&device.recipient_id.0[..])
        .execute(&mut *c)
        .await?;
    devices::end_claims_on(c, &device.recipient_id).await?;
    keep_record(c, id, device).await
}

async fn keep_record(
    c: &mut SqliteConnection,
    id: &str,
    device: &NewDevice,
) -> Result<(), TxError> {
    sqlx::query(
        "INSERT INTO device_record (device_id, record) VALUES (?1, ?2) ON CONFLICT (device_id) DO UPDATE SET record = ?2",
    )
    .bind(id)
    .bind(&device.record)
    .execute(c)
    .await?;
    Ok(())
}

/// Revokes the bearer of a name, which is free from then on; its key is never let in again under another one.
async fn retire(c: &mut SqliteConnection, known: &Device, name: &str) -> Result<(), TxError> {
    let reason = match (known.state, &known.reason) {
        (EnrolmentState::Revoked, Some(reason)) => format!("{reason}; was {name}"),
        _ => format!("was {name}, which came with another key"),
    };
    sqlx::query("UPDATE device SET state = ?, reason = ?, name = NULL WHERE id = ?")
        .bind(EnrolmentState::Revoked.name())
        .bind(reason)
        .bind(&known.id)
        .execute(c)
        .await?;
    Ok(())
}

async fn named(c: &mut SqliteConnection, name: &str) -> Result<Option<Device>, TxError> {
    sqlx::query("SELECT * FROM device WHERE name = ?")
        .bind(name)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(rows::device)
        .transpose()
}

/// The device whose own the recipient id is.
async fn owner(c: &mut SqliteConnection, device: &NewDevice) -> Result<Option<Device>, TxError> {
    sqlx::query(
        "SELECT d.* FROM device_recipient r JOIN device d ON d.id = r.device_id
         WHERE r.recipient_id = ? AND r.is_own = 1",
    )
    .bind(&device.recipient_id.0[..])
    .fetch_optional(c)
    .await?
    .as_ref()
    .map(rows::device)
    .transpose()
}

fn label(device: &Device) -> &str {
    device.name.as_ref().unwrap_or(&device.id)
}
