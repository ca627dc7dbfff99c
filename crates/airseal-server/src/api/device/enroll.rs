use std::sync::Arc;

use airseal_format::recipient::recipient_id;
use airseal_format::{ClassId, HardwareRevision, RecipientId, VendorId, WrapSuite};
use airseal_protocol::{EnrollRequest, EnrollResponse, Message, ProblemCode};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::problem::message;
use super::{App, DeviceError, next_poll, read_message};
use crate::auth::{self, PeerKey};
use crate::store::{EnrolOutcome, Enrolment, Product};

/// `POST /d/v1/enroll`
pub(super) async fn enroll(
    State(app): State<Arc<App>>,
    PeerKey(key): PeerKey,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, DeviceError> {
    let bytes = read_message(&app, &headers, body, EnrollRequest::MAX_LEN).await?;
    let request = EnrollRequest::parse(&bytes)?;
    let suite = WrapSuite::from_number(request.wrap_suite)
        .ok_or(DeviceError::new(ProblemCode::Malformed))?;
    let enrolment = Enrolment {
        token_hash: auth::hash(request.claim_token),
        key,
        product: Product {
            vendor_id: VendorId(request.vendor_id),
            class_id: ClassId(request.class_id),
        },
        hw_rev: HardwareRevision(request.hw_rev),
        wrap_suite: request.wrap_suite,
        recipient_key: request.recipient_key.to_vec(),
        recipient_id: recipient_id(suite, request.recipient_key),
        groups: request.groups.iter().copied().map(RecipientId).collect(),
        now: app.clock.now(),
    };
    let refused = match app.store.enrol(&enrolment).await? {
        EnrolOutcome::Active(device) => {
            tracing::info!(device = %device.id, "enrolled");
            return Ok(message(&EnrollResponse {
                device_id: &device.id,
                next_poll_s: next_poll(&app).min(FIRST_POLL_MAX),
            }));
        }
        EnrolOutcome::ClaimRefused => ProblemCode::ClaimRefused,
        EnrolOutcome::KeyInUse => ProblemCode::KeyInUse,
        EnrolOutcome::RecipientInUse => ProblemCode::RecipientInUse,
        EnrolOutcome::WrongClass => ProblemCode::WrongClass,
        EnrolOutcome::Revoked => ProblemCode::Revoked,
    };
    tracing::info!(%key, ?refused, "enrolment refused");
    Err(DeviceError::new(refused))
}

/// A new device need not wait a whole interval for its first release.
const FIRST_POLL_MAX: u32 = 10;
