//! What every implementation of [`Store`] must do. Each function takes an empty store.

use airseal_format::signature::SigningPublicKey;
use airseal_format::{
    ClassId, Digest, HardwareRevision, KeysetVersion, Reason, RecipientId, ReleaseOrder,
    ReleaseSequence, SecurityVersion, VendorId,
};
use airseal_protocol::Stage;

use super::*;
use crate::blob::BlobId;
use crate::tls::KeyHash;

const PRODUCT: Product = Product {
    vendor_id: VendorId([1; 16]),
    class_id: ClassId([2; 16]),
};

pub(crate) async fn a_claim_is_taken_once(store: &dyn Store) {
    claim(store, 1).await;
    assert!(matches!(
        store.enrol(&enrolment(1)).await,
        Ok(EnrolOutcome::Active(_))
    ));
    assert!(matches!(
        store.enrol(&enrolment(1)).await,
        Ok(EnrolOutcome::Active(_))
    ));
    let other_key = Enrolment {
        key: KeyHash([9; 32]),
        ..enrolment(1)
    };
    assert_eq!(
        store.enrol(&other_key).await.expect("asked"),
        EnrolOutcome::ClaimRefused
    );
    let device = store
        .device_by_key(&KeyHash([1; 32]))
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(device.state, EnrolmentState::Active);
    assert_eq!(device.product, Some(PRODUCT));
    let ids: Vec<_> = device.recipient_ids().collect();
    assert_eq!(ids, [RecipientId([1; 16]), RecipientId([0xEE; 16])]);
}

pub(crate) async fn a_claim_ends_at_its_second(store: &dyn Store) {
    claim(store, 1).await;
    let late = Enrolment {
        now: 1000,
        ..enrolment(1)
    };
    assert_eq!(
        store.enrol(&late).await.expect("asked"),
        EnrolOutcome::ClaimRefused
    );
    let in_time = Enrolment {
        now: 999,
        ..enrolment(1)
    };
    assert!(matches!(
        store.enrol(&in_time).await,
        Ok(EnrolOutcome::Active(_))
    ));
}

pub(crate) async fn a_group_id_is_nobodys_own(store: &dyn Store) {
    enrolled(store, 1).await;
    enrolled(store, 2).await;
    claim(store, 3).await;
    let own_is_a_group = Enrolment {
        recipient_id: RecipientId([0xEE; 16]),
        groups: Vec::new(),
        ..enrolment(3)
    };
    let group_is_anothers_own = Enrolment {
        groups: vec![RecipientId([1; 16])],
        ..enrolment(3)
    };
    for wrong in [own_is_a_group, group_is_anothers_own] {
        assert_eq!(
            store.enrol(&wrong).await.expect("asked"),
            EnrolOutcome::RecipientInUse
        );
    }
}

pub(crate) async fn a_revoked_claim_is_not_taken(store: &dyn Store) {
    claim(store, 1).await;
    decide(store, &revoke(), EnrolmentState::Revoked).await;
    assert_eq!(
        store.enrol(&enrolment(1)).await.expect("asked"),
        EnrolOutcome::ClaimRefused
    );
}

pub(crate) async fn revoking_a_claimed_device_ends_its_token_for_good(store: &dyn Store) {
    claim(store, 1).await;
    decide(store, &revoke(), EnrolmentState::Revoked).await;
    decide(store, &Decision::Reinstate, EnrolmentState::Claimed).await;
    assert_eq!(
        store.enrol(&enrolment(1)).await.expect("asked"),
        EnrolOutcome::ClaimRefused
    );
}

pub(crate) async fn a_lost_token_is_replaced_until_the_device_enrols(store: &dyn Store) {
    claim(store, 1).await;
    let again = NewClaim {
        id: "other".into(),
        token_hash: [77; 32],
        ..new_claim(1)
    };
    let renewed = store.create_claim(&again, &note()).await.expect("asked");
    assert_eq!(renewed.expect("renewed").id, "d1");
    let log = store.audit(1).await.expect("asked");
    assert_eq!(
        (&*log[0].note.action, &*log[0].note.subject),
        ("device.reclaim", "d1")
    );
    assert_eq!(
        store.enrol(&enrolment(1)).await.expect("asked"),
        EnrolOutcome::ClaimRefused
    );
    let with_new_token = Enrolment {
        token_hash: [77; 32],
        ..enrolment(1)
    };
    assert!(matches!(
        store.enrol(&with_new_token).await,
        Ok(EnrolOutcome::Active(_))
    ));
    let third = NewClaim {
        token_hash: [78; 32],
        ..again
    };
    assert_eq!(
        store.create_claim(&third, &note()).await.expect("asked"),
        None
    );
}

pub(crate) async fn a_revoked_device_is_not_revived_by_its_claim(store: &dyn Store) {
    enrolled(store, 1).await;
    decide(store, &revoke(), EnrolmentState::Revoked).await;
    assert_eq!(
        store.enrol(&enrolment(1)).await.expect("asked"),
        EnrolOutcome::Revoked
    );
}

pub(crate) async fn devices_come_in_pages(store: &dyn Store) {
    for n in 1..=3 {
        claim(store, n).await;
    }
    let ids = |devices: Vec<Device>| devices.into_iter().map(|d| d.id).collect::<Vec<_>>();
    let page = store.devices(None, None, 2).await.expect("asked");
    assert_eq!(ids(page), ["d1", "d2"]);
    let page = store.devices(Some("d2"), None, 2).await.expect("asked");
    assert_eq!(ids(page), ["d3"]);
    let active = store.devices(None, Some(EnrolmentState::Active), 9).await;
    assert!(active.expect("asked").is_empty());
}

pub(crate) async fn a_release_is_inserted_once(store: &dyn Store) {
    let new = release(1, 1);
    let note = note();
    let inserted = store.insert_release(&new, &note).await;
    assert_eq!(inserted.expect("stored"), Inserted::New);
    let known = store.insert_release(&new, &note).await;
    assert_eq!(known.expect("stored"), Inserted::Known { new_envelopes: 0 });
    let more = NewRelease {
        envelopes: vec![envelope(7)],
        ..new.clone()
    };
    let known = store.insert_release(&more, &note).await;
    assert_eq!(known.expect("stored"), Inserted::Known { new_envelopes: 1 });
    let taken = store.insert_release(&release(2, 1), &note).await;
    assert_eq!(
        taken.expect("asked"),
        Inserted::SequenceTaken {
            by: new.release.digest
        }
    );
    let stored = store.release(&new.release.digest).await.expect("asked");
    assert_eq!(stored, Some(new.release));
}

pub(crate) async fn trust_follows_the_longer_chain_only(store: &dyn Store) {
    let note = note();
    let with_chain = |n, seq, chain: &[u8]| NewRelease {
        trust: Trust::Keysets(chain.to_vec()),
        ..release(n, seq)
    };
    for (n, chain, inserted, expected) in [
        (1, &b"a"[..], Inserted::New, &b"a"[..]),
        (2, b"ab", Inserted::New, b"ab"),
        (3, b"a", Inserted::New, b"ab"),
        (4, b"xyz", Inserted::OtherTrust, b"ab"),
    ] {
        let new = with_chain(n, u64::from(n), chain);
        let done = store.insert_release(&new, &note).await;
        assert_eq!(done.expect("asked"), inserted, "{n}");
        let trust = store.trust(&PRODUCT).await.expect("asked");
        assert_eq!(trust, Some(Trust::Keysets(expected.to_vec())));
    }
}

pub(crate) async fn trust_is_set_before_the_first_release_only(store: &dyn Store) {
    let note = note();
    let keys = Trust::Keys(vec![
        SigningPublicKey::Ed25519([3; 32]),
        SigningPublicKey::EcdsaP256([4; 65]),
    ]);
    assert_eq!(store.trust(&PRODUCT).await.expect("asked"), None);
    assert!(
        store
            .set_first_trust(&PRODUCT, &keys, &note)
            .await
            .expect("set")
    );
    let trust = store.trust(&PRODUCT).await.expect("asked");
    assert_eq!(trust.as_ref(), Some(&keys));
    let overtaken = store.insert_release(&release(1, 1), &note).await;
    assert_eq!(overtaken.expect("asked"), Inserted::OtherTrust);
    let verified = NewRelease {
        trust: keys,
        ..release(1, 1)
    };
    let inserted = store.insert_release(&verified, &note).await;
    assert_eq!(inserted.expect("asked"), Inserted::New);
    let other = Trust::Keys(vec![SigningPublicKey::Ed25519([5; 32])]);
    assert!(
        !store
            .set_first_trust(&PRODUCT, &other, &note)
            .await
            .expect("asked")
    );
}

pub(crate) async fn candidates_are_newer_unyanked_and_newest_first(store: &dyn Store) {
    let device = enrolled(store, 1).await;
    for seq in [1, 2, 256, u64::MAX] {
        let n = u8::try_from(seq % 251).expect("small");
        store
            .insert_release(&release(n, seq), &note())
            .await
            .expect("stored");
    }
    let seqs = |candidates: Vec<Candidate>| {
        let seq = |c: Candidate| c.order.release_seq.0;
        candidates.into_iter().map(seq).collect::<Vec<_>>()
    };
    let above = |keyset, seq| ReleaseOrder {
        keyset_version: KeysetVersion(keyset),
        release_seq: ReleaseSequence(seq),
    };
    let all = store.candidates(&device, &above(0, 0), 9).await;
    assert_eq!(seqs(all.expect("asked")), [u64::MAX, 256, 2, 1]);
    let newer = store.candidates(&device, &above(1, 2), 9).await;
    assert_eq!(seqs(newer.expect("asked")), [u64::MAX, 256]);
    let none = store.candidates(&device, &above(2, 0), 9).await;
    assert_eq!(seqs(none.expect("asked")), [0; 0]);
    let digest = release(2, 2).release.digest;
    store.yank(&digest, "bad", &note()).await.expect("yanked");
    let left = store.candidates(&device, &above(1, 0), 2).await;
    assert_eq!(seqs(left.expect("asked")), [u64::MAX, 256]);
    let left = store.candidates(&device, &above(1, 0), 9).await;
    assert_eq!(seqs(left.expect("asked")), [u64::MAX, 256, 1]);
}

pub(crate) async fn an_envelope_counts_for_its_device_and_its_group(store: &dyn Store) {
    let one = enrolled(store, 1).await;
    let two = enrolled(store, 2).await;
    let mut new = release(1, 1);
    new.envelopes = vec![envelope(1)];
    let digest = new.release.digest;
    store.insert_release(&new, &note()).await.expect("stored");
    let has = async |device: &Device| {
        let candidates = store.candidates(device, &ReleaseOrder::default(), 1).await;
        candidates.expect("asked")[0].has_envelope
    };
    assert!(has(&one).await && !has(&two).await);
    let group = [envelope(0xEE)];
    let added = store.add_envelopes(&digest, &group, &note()).await;
    assert_eq!(added.expect("added"), Some(1));
    assert!(has(&one).await && has(&two).await);
    let packs = store.envelopes_for(&digest, &one.id).await;
    assert_eq!(packs.expect("asked"), [vec![1; 4], vec![0xEE; 4]]);
    let packs = store.envelopes_for(&digest, &two.id).await;
    assert_eq!(packs.expect("asked"), [vec![0xEE; 4]]);
    let recipients = store.recipients_of(&digest).await.expect("asked");
    let devices: Vec<_> = recipients.into_iter().map(|r| r.devices).collect();
    assert_eq!(devices, [vec!["d1"], vec!["d1", "d2"]]);
    let readable = store.readable_by(&two.id).await.expect("asked");
    assert_eq!(readable.len(), 1);
}

pub(crate) async fn targets_are_matched_by_any_id_of_the_device(store: &dyn Store) {
    let one = enrolled(store, 1).await;
    let two = enrolled(store, 2).await;
    let is_for_others = async |device: &Device| {
        let candidates = store.candidates(device, &ReleaseOrder::default(), 1).await;
        candidates.expect("asked")[0].is_for_others
    };
    let mut new = release(1, 1);
    new.release.targets = vec![RecipientId([1; 16])];
    store.insert_release(&new, &note()).await.expect("stored");
    assert!(!is_for_others(&one).await && is_for_others(&two).await);
    let mut new = release(2, 2);
    new.release.targets = vec![RecipientId([0xEE; 16])];
    store.insert_release(&new, &note()).await.expect("stored");
    assert!(!is_for_others(&one).await && !is_for_others(&two).await);
}

pub(crate) async fn an_attempt_counts_once_as_a_failure(store: &dyn Store) {
    let device = enrolled(store, 1).await;
    let report = |attempt, stage, code| ReportNote {
        digest: Digest([7; 32]),
        stage,
        code,
        attempt,
        detail: String::new(),
        now: 10,
    };
    for (attempt, stage, code, expected) in [
        (1, Stage::Download, 0, 0),
        (1, Stage::Trial, 5, 1),
        (1, Stage::Trial, 5, 1),
        (1, Stage::Revert, 5, 1),
        (2, Stage::Unwrap, 6, 1),
        (2, Stage::Download, Reason::ImageMismatch.code(), 2),
        (2, Stage::Trial, 5, 2),
        (3, Stage::Confirm, 0, 2),
    ] {
        let note = report(attempt, stage, code);
        let failures = store.note_report(&device.id, &note).await.expect("noted");
        assert_eq!(failures, expected, "{attempt} {stage:?}");
    }
    let reports = store.reports(&device.id, 9).await.expect("asked");
    assert_eq!(reports.len(), 7);
    assert_eq!(reports[0].stage, "confirm");
}

pub(crate) async fn a_poll_is_remembered(store: &dyn Store) {
    let device = enrolled(store, 1).await;
    let poll = PollNote {
        seen_at: 60,
        installed: Some(Digest([5; 32])),
        order: ReleaseOrder {
            keyset_version: KeysetVersion(3),
            release_seq: ReleaseSequence(u64::MAX),
        },
        security_version: SecurityVersion(u32::MAX),
        keyset_version: KeysetVersion(4),
        hw_rev: HardwareRevision(u16::MAX),
        held: Some(Digest([6; 32])),
        groups: vec![RecipientId([0xEF; 16])],
    };
    assert!(!poll.is_known(&device));
    store.note_poll(&device, &poll).await.expect("noted");
    let device = store.device(&device.id).await.expect("asked");
    let device = device.expect("there");
    for (seen_at, is_known) in [(60, true), (119, true), (120, false), (59, false)] {
        let again = PollNote {
            seen_at,
            ..poll.clone()
        };
        assert_eq!(again.is_known(&device), is_known, "{seen_at}");
    }
}

pub(crate) async fn a_new_group_key_opens_new_envelopes_but_never_anothers(store: &dyn Store) {
    enrolled(store, 1).await;
    let device = enrolled(store, 2).await;
    let mut new = release(1, 1);
    new.envelopes = vec![envelope(1), envelope(0xEF)];
    store.insert_release(&new, &note()).await.expect("stored");
    let poll = PollNote {
        seen_at: 60,
        installed: None,
        order: ReleaseOrder::default(),
        security_version: SecurityVersion(0),
        keyset_version: KeysetVersion(0),
        hw_rev: HardwareRevision(1),
        held: None,
        groups: vec![RecipientId([1; 16]), RecipientId([0xEF; 16])],
    };
    store.note_poll(&device, &poll).await.expect("noted");
    let packs = store.envelopes_for(&new.release.digest, &device.id).await;
    assert_eq!(packs.expect("asked"), [vec![0xEF; 4]]);
}

pub(crate) async fn a_token_replaces_the_one_before(store: &dyn Store) {
    let note = note();
    assert!(store.token_hashes().await.expect("asked").is_empty());
    for hash in [[1; 32], [2; 32]] {
        store.replace_token(&hash, &note).await.expect("replaced");
        assert_eq!(store.token_hashes().await.expect("asked"), [hash]);
    }
}

pub(crate) async fn a_refused_action_leaves_no_audit_row(store: &dyn Store) {
    enrolled(store, 1).await;
    let before = store.audit(9).await.expect("asked");
    let same_name = NewClaim {
        id: "other".into(),
        token_hash: [77; 32],
        ..new_claim(1)
    };
    let taken = store.create_claim(&same_name, &note()).await;
    assert_eq!(taken.expect("asked"), None);
    let missing = store.decide("nobody", &revoke(), &note()).await;
    assert_eq!(missing.expect("asked"), None);
    let stands = store.decide("d1", &Decision::Reinstate, &note()).await;
    assert_eq!(
        stands.expect("asked").expect("there").state,
        EnrolmentState::Active
    );
    let log = store.audit(9).await.expect("asked");
    assert_eq!(log, before);
}

async fn claim(store: &dyn Store, n: u8) {
    let claim = store.create_claim(&new_claim(n), &note()).await;
    assert!(claim.expect("stored").is_some());
}

async fn enrolled(store: &dyn Store, n: u8) -> Device {
    claim(store, n).await;
    match store.enrol(&enrolment(n)).await.expect("stored") {
        EnrolOutcome::Active(device) => *device,
        other => panic!("{other:?}"),
    }
}

async fn decide(store: &dyn Store, decision: &Decision, expected: EnrolmentState) {
    let device = store.decide("d1", decision, &note()).await;
    assert_eq!(device.expect("stored").expect("there").state, expected);
}

fn revoke() -> Decision {
    Decision::Revoke {
        reason: "test".into(),
    }
}

fn new_claim(n: u8) -> NewClaim {
    NewClaim {
        id: format!("d{n}"),
        name: Some(format!("name-{n}")),
        product: None,
        token_hash: [n; 32],
        expires_at: 1000,
    }
}

fn enrolment(n: u8) -> Enrolment {
    Enrolment {
        token_hash: [n; 32],
        key: KeyHash([n; 32]),
        product: PRODUCT,
        hw_rev: HardwareRevision(1),
        wrap_suite: 1,
        recipient_key: vec![n; 32],
        recipient_id: RecipientId([n; 16]),
        groups: vec![RecipientId([0xEE; 16])],
        now: 500,
    }
}

fn release(n: u8, seq: u64) -> NewRelease {
    NewRelease {
        release: Release {
            digest: Digest([n; 32]),
            product: PRODUCT,
            order: ReleaseOrder {
                keyset_version: KeysetVersion(1),
                release_seq: ReleaseSequence(seq),
            },
            security_version: SecurityVersion(1),
            min_from_security_version: SecurityVersion(0),
            min_from_seq: ReleaseSequence(0),
            hw_rev_min: HardwareRevision(0),
            hw_rev_max: HardwareRevision(u16::MAX),
            content_suite: 2,
            version: "1.0.0".into(),
            built_at: u64::MAX,
            targets: Vec::new(),
            manifest: vec![1, 2, 3],
            keysets: vec![4],
            payload: BlobId([n; 32]),
            payload_len: 1234,
            published_at: 5,
            yanked: None,
        },
        envelopes: Vec::new(),
        trust: Trust::Keysets(vec![4]),
        given_trust: None,
    }
}

fn envelope(n: u8) -> StoredEnvelope {
    StoredEnvelope {
        recipient_id: RecipientId([n; 16]),
        bytes: vec![n; 4],
    }
}

fn note() -> Note {
    Note {
        actor: "admin".into(),
        action: "test.run".into(),
        subject: "all".into(),
        detail: String::new(),
        now: 1,
    }
}
