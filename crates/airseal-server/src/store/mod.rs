//! What the server remembers.
//!
//! [`Store`] is the only way to it. Each method is one transaction: on return its effect is durable, on an error
//! nothing has happened. Decisions that need several rows at once (is this claim still free? is this sequence taken?)
//! are made inside the method, so that two requests can't both win.

mod model;
#[cfg(test)]
mod shared_tests;
pub mod sqlite;

use airseal_format::{Digest, ReleaseOrder};
use futures_util::future::BoxFuture;

pub use model::{
    AuditRow, Candidate, Counts, Decision, Device, EnrolOutcome, Enrolment, EnrolmentState, Import,
    ImportOutcome, Imported, Inserted, LineFault, NewClaim, NewDevice, NewRelease, Note, PollNote,
    Product, RecipientRow, Release, ReportNote, ReportRow, StoredEnvelope, Trust,
};

use crate::error::StoreError;
use crate::tls::KeyHash;

/// Devices, releases, envelopes, reports, administrators' tokens and the audit log.
pub trait Store: std::fmt::Debug + Send + Sync {
    /// SHA-256 of every administrator token that works.
    fn token_hashes(&self) -> BoxFuture<'_, Result<Vec<[u8; 32]>, StoreError>>;

    /// Makes `hash` the only administrator token.
    fn replace_token<'a>(
        &'a self,
        hash: &'a [u8; 32],
        note: &'a Note,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Adds a claimed device. A device of this name or id that is claimed and has never enrolled gets the new token in
    /// place of its own and keeps its id. `None`: the name is taken by a device in another state.
    fn create_claim<'a>(
        &'a self,
        claim: &'a NewClaim,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<Option<Device>, StoreError>>;

    /// Lets a device take its claim.
    fn enrol<'a>(
        &'a self,
        enrolment: &'a Enrolment,
    ) -> BoxFuture<'a, Result<EnrolOutcome, StoreError>>;

    /// Takes devices in as the factory made them, all or none.
    fn import<'a>(
        &'a self,
        import: &'a Import,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<ImportOutcome, StoreError>>;

    /// The factory's record of a device, JSON; `None` for one that was not imported.
    fn record<'a>(
        &'a self,
        device_id: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>>;

    /// The device behind a client key, in whatever state.
    fn device_by_key<'a>(
        &'a self,
        key: &'a KeyHash,
    ) -> BoxFuture<'a, Result<Option<Device>, StoreError>>;

    /// The device with this id or this name.
    fn device<'a>(&'a self, selector: &'a str)
    -> BoxFuture<'a, Result<Option<Device>, StoreError>>;

    /// Devices in order of their ids, after `after`, at most `limit`.
    fn devices<'a>(
        &'a self,
        after: Option<&'a str>,
        state: Option<EnrolmentState>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Device>, StoreError>>;

    /// Carries out a decision about the device with this id or name; one that stands already changes nothing. `None`:
    /// there is no such device.
    fn decide<'a>(
        &'a self,
        selector: &'a str,
        decision: &'a Decision,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<Option<Device>, StoreError>>;

    /// Remembers what a poll told.
    fn note_poll<'a>(
        &'a self,
        device: &'a Device,
        poll: &'a PollNote,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Remembers a report, once per attempt and stage. Returns how many failures of that release the device has
    /// reported so far: installations that did not stay, not refusals.
    fn note_report<'a>(
        &'a self,
        device_id: &'a str,
        report: &'a ReportNote,
    ) -> BoxFuture<'a, Result<u32, StoreError>>;

    /// The latest reports of a device, newest first.
    fn reports<'a>(
        &'a self,
        device_id: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<ReportRow>, StoreError>>;

    /// Who may sign releases of a product; `None` before its first one.
    fn trust<'a>(
        &'a self,
        product: &'a Product,
    ) -> BoxFuture<'a, Result<Option<Trust>, StoreError>>;

    /// Sets who may sign releases of a product, as long as it has none. `false`: it has releases, nothing changed.
    fn set_first_trust<'a>(
        &'a self,
        product: &'a Product,
        trust: &'a Trust,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Adds a verified release with its envelopes, and moves the product's trust along its keyset chain. Trust that came
    /// with the release becomes the product's with its first release, and must be the product's own with any later one.
    fn insert_release<'a>(
        &'a self,
        release: &'a NewRelease,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<Inserted, StoreError>>;

    /// The release with this manifest digest, yanked or not.
    fn release<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Release>, StoreError>>;

    /// Releases, newest first by product and order, at most `limit`, after skipping `offset`.
    fn releases(&self, offset: u32, limit: u32) -> BoxFuture<'_, Result<Vec<Release>, StoreError>>;

    /// Withdraws a release. `None`: there is none.
    fn yank<'a>(
        &'a self,
        digest: &'a Digest,
        reason: &'a str,
        note: &'a Note,
    ) -> BoxFuture<'a, Result<Option<Release>, StoreError>>;

    /// Adds or replaces envelopes of a release. Returns how many recipients are new; `None`: there is no such release.
    fn add_envelopes<'a>(
        &'a self,
        digest: &'a Digest,
        envelopes: &'a [StoredEnvelope],
        note: &'a Note,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>>;

    /// The envelopes of a release that are for one device, its own and its groups', ascending by recipient id.
    fn envelopes_for<'a>(
        &'a self,
        digest: &'a Digest,
        device_id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>, StoreError>>;

    /// Everyone a release has an envelope for, with the devices that hold the key where known.
    fn recipients_of<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Vec<RecipientRow>, StoreError>>;

    /// Releases that a device holds an envelope for and may have read, newest first.
    fn readable_by<'a>(
        &'a self,
        device_id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Release>, StoreError>>;

    /// Releases of the device's product above `order` that are not yanked, newest first, at most `limit`.
    fn candidates<'a>(
        &'a self,
        device: &'a Device,
        order: &'a ReleaseOrder,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Candidate>, StoreError>>;

    /// The newest rows of the audit log, at most `limit`.
    fn audit(&self, limit: u32) -> BoxFuture<'_, Result<Vec<AuditRow>, StoreError>>;

    /// Number of devices in each state, and of releases.
    fn counts(&self) -> BoxFuture<'_, Result<Counts, StoreError>>;

    /// Waits for transactions under way and closes.
    fn close(&self) -> BoxFuture<'_, ()>;
}
