//! The store in one SQLite file: WAL, synchronous FULL, one writer and a few readers.

mod devices;
mod import;
mod releases;
mod reports;
mod rows;
mod schema;

use std::path::Path;
use std::time::Duration;

use airseal_format::{Digest, ReleaseOrder};
use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Row, Sqlite, SqliteConnection, Transaction};

use super::{
    AuditRow, Candidate, Counts, Decision, Device, EnrolOutcome, Enrolment, EnrolmentState, Import,
    ImportOutcome, Inserted, NewClaim, NewRelease, Note, PollNote, Product, RecipientRow, Release,
    ReportNote, ReportRow, Store, StoredEnvelope, Trust,
};
use crate::error::StoreError;
use crate::tls::KeyHash;

/// A store in one file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the database, making or migrating it as needed.
    ///
    /// # Errors
    /// [`StoreError`] when it can't be opened, or a newer program has written it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let mut first = SqliteConnection::connect_with(&options)
            .await
            .map_err(named("open"))?;
        schema::migrate(&mut first).await?;
        first.close().await.map_err(named("open"))?;
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Duration::from_secs(10))
                // A full disk makes SQLite roll back by itself, and then sqlx believes it is inside for ever.
                .before_acquire(|connection, _| {
                    let is_sound = !connection.is_in_transaction();
                    Box::pin(async move { Ok(is_sound) })
                })
        };
        let writer = pool(1)
            .connect_with(options.clone())
            .await
            .map_err(named("open"))?;
        let readers = pool(READERS)
            .connect_with(options.read_only(true))
            .await
            .map_err(named("open"))?;
        Ok(Self { writer, readers })
    }

    async fn begin(&self, access: Access, name: &'static str) -> Result<Tx, StoreError> {
        let begun = match access {
            Access::Read => self.readers.begin().await,
            Access::Write => self.writer.begin_with("BEGIN IMMEDIATE").await,
        };
        Ok(Tx {
            inner: begun.map_err(named(name))?,
            name,
        })
    }
}

/// Runs one transaction: the only way this store touches its database.
///
/// The body sees the connection and answers `Result<T, TxError>`; on an error the transaction is rolled back.
macro_rules! run {
    ($store:ident, $access:ident, $name:literal, |$connection:ident| $body:expr) => {
        Box::pin(async move {
            let mut tx = $store.begin(Access::$access, $name).await?;
            let done = {
                let $connection: &mut SqliteConnection = &mut tx.inner;
                $body.await
            };
            tx.finish(done).await
        })
    };
}

enum Access {
    Read,
    Write,
}

struct Tx {
    inner: Transaction<'static, Sqlite>,
    name: &'static str,
}

impl Tx {
    async fn finish<T>(self, done: Result<T, TxError>) -> Result<T, StoreError> {
        match done {
            Ok(value) => {
                self.inner.commit().await.map_err(named(self.name))?;
                Ok(value)
            }
            Err(error) => {
                let _ = self.inner.rollback().await;
                Err(match error {
                    TxError::Driver(source) => named(self.name)(source),
                    TxError::Damaged(column) => StoreError::Damaged { column },
                })
            }
        }
    }
}

/// Why a transaction is rolled back.
#[derive(Debug)]
enum TxError {
    Driver(sqlx::Error),
    Damaged(&'static str),
}

impl From<sqlx::Error> for TxError {
    fn from(source: sqlx::Error) -> Self {
        Self::Driver(source)
    }
}

fn named(name: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| match (&source, primary_code(&source)) {
        (sqlx::Error::PoolTimedOut, _) | (_, Some(SQLITE_BUSY)) => StoreError::Busy { name },
        (_, Some(SQLITE_FULL)) => StoreError::Full { name },
        _ => StoreError::Database { name, source },
    }
}

/// What SQLite says went wrong, without the details that the upper bits of its result codes carry.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xFF)
}

const SQLITE_BUSY: u32 = 5;
const SQLITE_FULL: u32 = 13;

impl Store for SqliteStore {
    fn token_hashes(&self) -> BoxFuture<'_, Result<Vec<[u8; 32]>, StoreError>> {
        run!(self, Read, "token_hashes", |c| reports::token_hashes(c))
    }

    fn replace_token<'a>(
        &'a self,
        hash: &'a [u8; 32],
        note: &'a Note,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        run!(self, Write, "replace_token", |c| reports::replace_token(
            c, hash, note
        ))
    }

    fn create_claim<'a>(
        &'a self,
        claim: &'a NewClaim,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<Option<Device>, StoreError>> {
        run!(self, Write, "create_claim", |c| devices::create_claim(
            c, claim, note
        ))
    }

    fn enrol<'a>(
        &'a self,
        enrolment: &'a Enrolment,
    ) -> BoxFuture<'a, Result<EnrolOutcome, StoreError>> {
        run!(self, Write, "enrol", |c| devices::enrol(c, enrolment))
    }

    fn import<'a>(
        &'a self,
        import: &'a Import,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<ImportOutcome, StoreError>> {
        run!(self, Write, "import", |c| import::import(c, import, note))
    }

    fn record<'a>(
        &'a self,
        device_id: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        run!(self, Read, "record", |c| import::record(c, device_id))
    }

    fn device_by_key<'a>(
        &'a self,
        key: &'a KeyHash,
    ) -> BoxFuture<'a, Result<Option<Device>, StoreError>> {
        run!(self, Read, "device_by_key", |c| devices::by_key(c, key))
    }

    fn device<'a>(
        &'a self,
        selector: &'a str,
    ) -> BoxFuture<'a, Result<Option<Device>, StoreError>> {
        run!(self, Read, "device", |c| devices::by_selector(c, selector))
    }

    fn devices<'a>(
        &'a self,
        after: Option<&'a str>,
        state: Option<EnrolmentState>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Device>, StoreError>> {
        run!(self, Read, "devices", |c| devices::list(
            c, after, state, limit
        ))
    }

    fn decide<'a>(
        &'a self,
        selector: &'a str,
        decision: &'a Decision,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<Option<Device>, StoreError>> {
        run!(self, Write, "decide", |c| devices::decide(
            c, selector, decision, note
        ))
    }

    fn note_poll<'a>(
        &'a self,
        device: &'a Device,
        poll: &'a PollNote,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        run!(self, Write, "note_poll", |c| devices::note_poll(
            c, device, poll
        ))
    }

    fn note_report<'a>(
        &'a self,
        device_id: &'a str,
        report: &'a ReportNote,
    ) -> BoxFuture<'a, Result<u32, StoreError>> {
        run!(self, Write, "note_report", |c| reports::note(
            c, device_id, report
        ))
    }

    fn reports<'a>(
        &'a self,
        device_id: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<ReportRow>, StoreError>> {
        run!(self, Read, "reports", |c| reports::latest(
            c, device_id, limit
        ))
    }

    fn trust<'a>(
        &'a self,
        product: &'a Product,
    ) -> BoxFuture<'a, Result<Option<Trust>, StoreError>> {
        run!(self, Read, "trust", |c| releases::trust(c, product))
    }

    fn set_first_trust<'a>(
        &'a self,
        product: &'a Product,
        trust: &'a Trust,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        run!(self, Write, "set_first_trust", |c| {
            releases::set_first_trust(c, product, trust, note)
        })
    }

    fn insert_release<'a>(
        &'a self,
        release: &'a NewRelease,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<Inserted, StoreError>> {
        run!(self, Write, "insert_release", |c| releases::insert(
            c, release, note
        ))
    }

    fn release<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Release>, StoreError>> {
        run!(self, Read, "release", |c| releases::by_digest(c, digest))
    }

    fn releases(&self, offset: u32, limit: u32) -> BoxFuture<'_, Result<Vec<Release>, StoreError>> {
        run!(self, Read, "releases", |c| releases::list(c, offset, limit))
    }

    fn yank<'a>(
        &'a self,
        digest: &'a Digest,
        reason: &'a str,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<Option<Release>, StoreError>> {
        run!(self, Write, "yank", |c| releases::yank(
            c, digest, reason, note
        ))
    }

    fn add_envelopes<'a>(
        &'a self,
        digest: &'a Digest,
        envelopes: &'a [StoredEnvelope],
        note: &'a Note,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        run!(self, Write, "add_envelopes", |c| releases::add_envelopes(
            c, digest, envelopes, note
        ))
    }

    fn envelopes_for<'a>(
        &'a self,
        digest: &'a Digest,
        device_id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>, StoreError>> {
        run!(self, Read, "envelopes_for", |c| releases::envelopes_for(
            c, digest, device_id
        ))
    }

    fn recipients_of<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Vec<RecipientRow>, StoreError>> {
        run!(self, Read, "recipients_of", |c| releases::recipients_of(
            c, digest
        ))
    }

    fn readable_by<'a>(
        &'a self,
        device_id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Release>, StoreError>> {
        run!(self, Read, "readable_by", |c| releases::readable_by(
            c, device_id
        ))
    }

    fn candidates<'a>(
        &'a self,
        device: &'a Device,
        order: &'a ReleaseOrder,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Candidate>, StoreError>> {
        run!(self, Read, "candidates", |c| releases::candidates(
            c, device, order, limit
        ))
    }

    fn audit(&self, limit: u32) -> BoxFuture<'_, Result<Vec<AuditRow>, StoreError>> {
        run!(self, Read, "audit", |c| reports::audit(c, limit))
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, StoreError>> {
        run!(self, Read, "counts", |c| reports::counts(c))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.readers.close().await;
            self.writer.close().await;
        })
    }
}

/// Connections for reading; SQLite readers do not wait for the writer in WAL mode.
const READERS: u32 = 4;

/// Adds a row to the audit log, in the transaction of what it records.
async fn note_in_audit(connection: &mut SqliteConnection, note: &Note) -> Result<(), TxError> {
    sqlx::query("INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(note.now.cast_signed())
        .bind(&note.actor)
        .bind(&note.action)
        .bind(&note.subject)
        .bind(&note.detail)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a query has a row.
async fn exists(
    connection: &mut SqliteConnection,
    query: sqlx::query::Query<'_, Sqlite, sqlx::sqlite::SqliteArguments>,
) -> Result<bool, TxError> {
    Ok(query.fetch_optional(connection).await?.is_some())
}

/// The number in the first column of a query's only row.
async fn count(
    connection: &mut SqliteConnection,
    query: sqlx::query::Query<'_, Sqlite, sqlx::sqlite::SqliteArguments>,
) -> Result<u64, TxError> {
    let number: i64 = query.fetch_one(connection).await?.try_get(0)?;
    Ok(number.cast_unsigned())
}

#[cfg(test)]
mod tests;
