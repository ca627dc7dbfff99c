use airseal_format::Reason;
use airseal_protocol::Stage;
use sqlx::{Row, SqliteConnection};

use super::{TxError, count, exists, note_in_audit, rows};
use crate::store::{AuditRow, Counts, EnrolmentState, Note, ReportNote, ReportRow};

pub(super) async fn token_hashes(c: &mut SqliteConnection) -> Result<Vec<[u8; 32]>, TxError> {
    sqlx::query("SELECT hash FROM token")
        .fetch_all(c)
        .await?
        .iter()
        .map(|row| rows::bytes(row, "hash"))
        .collect()
}

pub(super) async fn replace_token(
    c: &mut SqliteConnection,
    hash: &[u8; 32],
    note: &Note,
) -> Result<(), TxError> {
    sqlx::query("DELETE FROM token").execute(&mut *c).await?;
    sqlx::query("INSERT INTO token (hash, created_at) VALUES (?, ?)")
        .bind(&hash[..])
        .bind(note.now.cast_signed())
        .execute(&mut *c)
        .await?;
    note_in_audit(c, note).await
}

pub(super) async fn note(
    c: &mut SqliteConnection,
    device_id: &str,
    report: &ReportNote,
) -> Result<u32, TxError> {
    let digest = &report.digest.0[..];
    let image_mismatch = Reason::ImageMismatch.code();
    let mut same_attempt = sqlx::query(
        "SELECT 1 FROM report WHERE device_id = ? AND digest = ? AND attempt = ? AND code != 0
         AND (code = ? OR stage IN (?, ?, ?))",
    )
    .bind(device_id)
    .bind(digest)
    .bind(report.attempt)
    .bind(image_mismatch);
    for stage in COUNTED_STAGES {
        same_attempt = same_attempt.bind(stage.name());
    }
    let is_counted = exists(c, same_attempt).await?;
    let inserted = sqlx::query(
        "INSERT OR IGNORE INTO report (device_id, digest, stage, code, attempt, detail, at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(device_id)
    .bind(digest)
    .bind(report.stage.name())
    .bind(report.code)
    .bind(report.attempt)
    .bind(&report.detail)
    .bind(report.now.cast_signed())
    .execute(&mut *c)
    .await?;
    let is_failure = report.code == image_mismatch
        || (report.code != 0 && COUNTED_STAGES.contains(&report.stage));
    if inserted.rows_affected() == 1 && is_failure && !is_counted {
        sqlx::query(
            "INSERT INTO failure (device_id, digest, count) VALUES (?, ?, 1)
             ON CONFLICT (device_id, digest) DO UPDATE SET count = count + 1",
        )
        .bind(device_id)
        .bind(digest)
        .execute(&mut *c)
        .await?;
    }
    sqlx::query(
        "DELETE FROM report WHERE device_id = ?1 AND number <=
         (SELECT number FROM report WHERE device_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
    )
    .bind(device_id)
    .bind(REPORTS_KEPT)
    .execute(&mut *c)
    .await?;
    let failures = sqlx::query(
        "SELECT COALESCE((SELECT count FROM failure WHERE device_id = ? AND digest = ?), 0)",
    )
    .bind(device_id)
    .bind(digest);
    Ok(u32::try_from(count(c, failures).await?).unwrap_or(u32::MAX))
}

pub(super) async fn latest(
    c: &mut SqliteConnection,
    device_id: &str,
    limit: u32,
) -> Result<Vec<ReportRow>, TxError> {
    sqlx::query("SELECT * FROM report WHERE device_id = ? ORDER BY number DESC LIMIT ?")
        .bind(device_id)
        .bind(limit)
        .fetch_all(c)
        .await?
        .iter()
        .map(rows::report)
        .collect()
}

pub(super) async fn audit(c: &mut SqliteConnection, limit: u32) -> Result<Vec<AuditRow>, TxError> {
    sqlx::query("SELECT * FROM audit ORDER BY number DESC LIMIT ?")
        .bind(limit)
        .fetch_all(c)
        .await?
        .iter()
        .map(|row| {
            Ok(AuditRow {
                number: rows::unsigned(row, "number")?,
                note: Note {
                    actor: row.try_get("actor")?,
                    action: row.try_get("action")?,
                    subject: row.try_get("subject")?,
                    detail: row.try_get("detail")?,
                    now: rows::unsigned(row, "at")?,
                },
            })
        })
        .collect()
}

pub(super) async fn counts(c: &mut SqliteConnection) -> Result<Counts, TxError> {
    let mut devices = Vec::new();
    for state in EnrolmentState::ALL {
        let query = sqlx::query("SELECT COUNT(*) FROM device WHERE state = ?").bind(state.name());
        devices.push((state, count(c, query).await?));
    }
    let releases = count(c, sqlx::query("SELECT COUNT(*) FROM release")).await?;
    Ok(Counts { devices, releases })
}

/// Stages in which a failure counts against the release, as it does on the device: it was installed and did not stay.
/// What is refused before them is not counted, as another envelope, keyset or connection may lift it; but for an image
/// that is wrong although each of its chunks was right.
const COUNTED_STAGES: [Stage; 3] = [Stage::Trial, Stage::Confirm, Stage::Revert];

/// Reports kept per device; what they count is kept beside them.
const REPORTS_KEPT: u32 = 200;
