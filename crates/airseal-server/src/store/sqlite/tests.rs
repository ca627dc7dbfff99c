use sqlx::Executor;

use super::*;
use crate::store::shared_tests;

/// Runs each shared test on a fresh file.
macro_rules! shared {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            let data = tempfile::tempdir().expect("tempdir");
            let store = SqliteStore::open(&data.path().join("test.db")).await.expect("opens");
            shared_tests::$name(&store).await;
            store.close().await;
        })*
    };
}

shared! {
    a_claim_is_taken_once,
    a_claim_ends_at_its_second,
    a_group_id_is_nobodys_own,
    a_revoked_claim_is_not_taken,
    revoking_a_claimed_device_ends_its_token_for_good,
    a_lost_token_is_replaced_until_the_device_enrols,
    a_revoked_device_is_not_revived_by_its_claim,
    devices_come_in_pages,
    a_release_is_inserted_once,
    trust_follows_the_longer_chain_only,
    trust_is_set_before_the_first_release_only,
    candidates_are_newer_unyanked_and_newest_first,
    an_envelope_counts_for_its_device_and_its_group,
    targets_are_matched_by_any_id_of_the_device,
    an_attempt_counts_once_as_a_failure,
    a_poll_is_remembered,
    a_new_group_key_opens_new_envelopes_but_never_anothers,
    a_token_replaces_the_one_before,
    a_refused_action_leaves_no_audit_row,
}

#[tokio::test]
async fn durability_settings_hold_on_every_connection() {
    let data = tempfile::tempdir().expect("tempdir");
    let store = SqliteStore::open(&data.path().join("test.db"))
        .await
        .expect("opens");
    for pool in [&store.writer, &store.readers] {
        for (pragma, expected) in [("journal_mode", "wal"), ("synchronous", "2")] {
            let query = sqlx::query(match pragma {
                "journal_mode" => "PRAGMA journal_mode",
                _ => "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous",
            });
            let row = query.fetch_one(pool).await.expect(pragma);
            let value: String = row.try_get(0).expect(pragma);
            assert_eq!(value, expected, "{pragma}");
        }
    }
}

#[tokio::test]
async fn the_audit_log_can_not_be_changed() {
    let data = tempfile::tempdir().expect("tempdir");
    let store = SqliteStore::open(&data.path().join("test.db"))
        .await
        .expect("opens");
    let note = Note {
        actor: "admin".into(),
        action: "a".into(),
        subject: "b".into(),
        detail: String::new(),
        now: 1,
    };
    store.replace_token(&[1; 32], &note).await.expect("noted");
    for statement in ["DELETE FROM audit", "UPDATE audit SET actor = 'nobody'"] {
        let error = store.writer.execute(statement).await.expect_err("refused");
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn a_failed_transaction_leaves_nothing() {
    let data = tempfile::tempdir().expect("tempdir");
    let store = SqliteStore::open(&data.path().join("test.db"))
        .await
        .expect("opens");
    let claim = NewClaim {
        id: "d1".into(),
        name: None,
        product: None,
        token_hash: [1; 32],
        expires_at: 9,
    };
    let note = Note {
        actor: "admin".into(),
        action: "device.claim".into(),
        subject: "d1".into(),
        detail: String::new(),
        now: 1,
    };
    store.create_claim(&claim, &note).await.expect("stored");
    let error = store
        .create_claim(&claim, &note)
        .await
        .expect_err("same id");
    assert!(matches!(
        error,
        StoreError::Database {
            name: "create_claim",
            ..
        }
    ));
    assert_eq!(store.audit(9).await.expect("asked").len(), 1);
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing() {
    let data = tempfile::tempdir().expect("tempdir");
    let store = SqliteStore::open(&data.path().join("test.db"))
        .await
        .expect("opens");
    let note = |detail: String| Note {
        actor: "admin".into(),
        action: "a".into(),
        subject: "b".into(),
        detail,
        now: 1,
    };
    let full = "PRAGMA max_page_count = 1";
    store.writer.execute(full).await.expect("no page more");
    let long = note("x".repeat(1 << 20));
    let error = store
        .replace_token(&[1; 32], &long)
        .await
        .expect_err("full");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(store.token_hashes().await.expect("asked").is_empty());
    let short = note(String::new());
    store.replace_token(&[2; 32], &short).await.expect("fits");
}
