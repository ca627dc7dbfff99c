use std::sync::Arc;

use airseal_format::{
    Digest, HardwareRevision, KeysetVersion, RecipientId, ReleaseOrder, ReleaseSequence,
    SecurityVersion,
};
use airseal_protocol::{Message, PollRequest, PollResponse, RecipientIds};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::problem::message;
use super::{App, DeviceError, next_poll, read_message};
use crate::auth::Caller;
use crate::rollout::{Offer, Standing, choose};
use crate::store::{Device, PollNote};

/// `POST /d/v1/poll`
pub(super) async fn poll(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, DeviceError> {
    let bytes = read_message(&app, &headers, body, PollRequest::MAX_LEN).await?;
    let request = PollRequest::parse(&bytes)?;
    let standing = Standing {
        order: ReleaseOrder {
            keyset_version: KeysetVersion(request.order_keyset),
            release_seq: ReleaseSequence(request.release_seq),
        },
        security_version: SecurityVersion(request.security_version),
        hw_rev: HardwareRevision(request.hw_rev),
    };
    let candidates = app
        .store
        .candidates(&caller.device, &standing.order, CANDIDATES_MAX)
        .await?;
    let offer = choose(&standing, &candidates);
    let note = PollNote {
        seen_at: app.clock.now(),
        installed: request.installed.map(Digest),
        order: standing.order,
        security_version: standing.security_version,
        keyset_version: KeysetVersion(request.keyset_version),
        hw_rev: standing.hw_rev,
        held: match offer {
            Offer::Held(digest) => Some(digest),
            _ => None,
        },
        groups: groups(&caller.device, &request.recipients),
    };
    if !note.is_known(&caller.device) {
        app.store.note_poll(&caller.device, &note).await?;
    }
    let next_poll_s = next_poll(&app);
    Ok(message(&match offer {
        Offer::Nothing => PollResponse::Nothing { next_poll_s },
        Offer::Install {
            digest,
            payload_len,
        } => PollResponse::Install {
            manifest_digest: digest.0,
            payload_len,
            next_poll_s,
        },
        Offer::NoEnvelope(digest) => PollResponse::NoEnvelope {
            manifest_digest: digest.0,
            next_poll_s,
        },
        Offer::Held(digest) => PollResponse::Held {
            manifest_digest: digest.0,
            next_poll_s,
        },
    }))
}

/// The group ids of a device after a poll: what it holds beside its own key. A group key may have come with the release
/// it runs now. A poll that does not name the device's own id tells nothing about keys.
fn groups(device: &Device, told: &RecipientIds<'_>) -> Vec<RecipientId> {
    match device.recipient_id {
        Some(own) if told.contains(&own.0) => {
            let ids = told.iter().copied().map(RecipientId);
            ids.filter(|id| *id != own).collect()
        }
        _ => device.groups.clone(),
    }
}

/// Releases looked at for one poll, newest first: enough to reach past stepping stones and other revisions.
const CANDIDATES_MAX: u32 = 64;
