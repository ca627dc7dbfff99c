//! The schema as a list of steps; a database says in `user_version` how many it has taken.

use sqlx::{Connection, Row, SqliteConnection};

use super::named;
use crate::error::StoreError;

/// Brings a database to the newest schema.
///
/// # Errors
/// [`StoreError::NewerSchema`] when a newer program has written it.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let found = version(connection).await.map_err(named("migrate"))?;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (sql, stamp) in STEPS.iter().skip(done) {
        let mut step = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(named("migrate"))?;
        sqlx::raw_sql(*sql)
            .execute(&mut *step)
            .await
            .map_err(named("migrate"))?;
        sqlx::raw_sql(*stamp)
            .execute(&mut *step)
            .await
            .map_err(named("migrate"))?;
        step.commit().await.map_err(named("migrate"))?;
    }
    Ok(())
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let row = sqlx::query("PRAGMA user_version")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}

/// Each step and the stamp it leaves. Steps that were released never change.
const STEPS: &[(&str, &str)] = &[
    (STEP_1, "PRAGMA user_version = 1"),
    (STEP_2, "PRAGMA user_version = 2"),
];

/// What the factory recorded of devices that were imported, JSON.
const STEP_2: &str = "
CREATE TABLE device_record (
    device_id TEXT PRIMARY KEY REFERENCES device (id),
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

const STEP_1: &str = "
CREATE TABLE token (
    hash BLOB PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE device (
    id TEXT PRIMARY KEY,
    name TEXT UNIQUE,
    state TEXT NOT NULL,
    reason TEXT,
    vendor_id BLOB,
    class_id BLOB,
    key_hash BLOB UNIQUE,
    recipient_id BLOB,
    wrap_suite INTEGER,
    recipient_key BLOB,
    groups BLOB NOT NULL DEFAULT x'',
    hw_rev INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    claim_hash BLOB NOT NULL UNIQUE,
    claim_expires_at INTEGER NOT NULL,
    enrolled_at INTEGER,
    last_seen_at INTEGER,
    installed BLOB,
    release_order BLOB NOT NULL DEFAULT x'000000000000000000000000',
    security_version INTEGER NOT NULL DEFAULT 0,
    keyset_version INTEGER NOT NULL DEFAULT 0,
    held BLOB
) STRICT;

CREATE TABLE device_recipient (
    device_id TEXT NOT NULL REFERENCES device (id),
    recipient_id BLOB NOT NULL,
    is_own INTEGER NOT NULL,
    PRIMARY KEY (device_id, recipient_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_recipient_by_id ON device_recipient (recipient_id, is_own);

CREATE TABLE product (
    vendor_id BLOB NOT NULL,
    class_id BLOB NOT NULL,
    trust_kind TEXT NOT NULL,
    trust BLOB NOT NULL,
    PRIMARY KEY (vendor_id, class_id)
) STRICT;

CREATE TABLE release (
    digest BLOB PRIMARY KEY,
    vendor_id BLOB NOT NULL,
    class_id BLOB NOT NULL,
    release_order BLOB NOT NULL,
    release_seq BLOB NOT NULL,
    security_version INTEGER NOT NULL,
    min_from_security_version INTEGER NOT NULL,
    min_from_seq BLOB NOT NULL,
    hw_rev_min INTEGER NOT NULL,
    hw_rev_max INTEGER NOT NULL,
    content_suite INTEGER NOT NULL,
    version TEXT NOT NULL,
    built_at INTEGER NOT NULL,
    targets BLOB NOT NULL,
    manifest BLOB NOT NULL,
    keysets BLOB NOT NULL,
    payload BLOB NOT NULL,
    payload_len INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    yanked_at INTEGER,
    yank_reason TEXT
) STRICT;
CREATE UNIQUE INDEX release_by_seq ON release (vendor_id, class_id, release_seq);
CREATE INDEX release_by_order ON release (vendor_id, class_id, release_order);

CREATE TABLE envelope (
    digest BLOB NOT NULL REFERENCES release (digest),
    recipient_id BLOB NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (digest, recipient_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX envelope_by_recipient ON envelope (recipient_id);

CREATE TABLE report (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id TEXT NOT NULL REFERENCES device (id),
    digest BLOB NOT NULL,
    stage TEXT NOT NULL,
    code INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    detail TEXT NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (device_id, digest, attempt, stage)
) STRICT;

CREATE TABLE failure (
    device_id TEXT NOT NULL REFERENCES device (id),
    digest BLOB NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (device_id, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
";
