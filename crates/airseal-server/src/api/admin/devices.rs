use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::super::App;
use super::super::problem::AdminError;
use super::super::types::{
    Claim, CreateDevice, DeviceDetail, DeviceInfo, DeviceList, ReleaseRef, Revocation, RevokeDevice,
};
use super::{Checked, JsonBody, check_text, note, product, view};
use crate::auth::ClaimToken;
use crate::store::{Decision, Device, EnrolmentState, NewClaim, Note};

/// `POST /api/v1/devices`; 200 when a device that has never enrolled got a new token in place of its old one.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<CreateDevice>,
) -> Result<(StatusCode, Json<Claim>), AdminError> {
    if !request.name.as_deref().is_none_or(is_name) {
        return Err(AdminError::bad_request(format!("name: {NAME_RULE}")));
    }
    let life = request.expires_in_s.unwrap_or(CLAIM_LIFE);
    if !(1..=CLAIM_LIFE_MAX).contains(&life) {
        return Err(AdminError::bad_request(
            "expires_in_s: must be 1 second to 1 year",
        ));
    }
    let product = match (&request.vendor_id, &request.class_id) {
        (None, None) => None,
        (Some(vendor), Some(class)) => Some(product(vendor, class)?),
        _ => {
            return Err(AdminError::bad_request(
                "vendor_id and class_id: give both or neither",
            ));
        }
    };
    let token = ClaimToken::new().map_err(|error| AdminError::internal(&error))?;
    let claim = NewClaim {
        id: fresh_id()?,
        name: request.name.clone(),
        product,
        token_hash: token.hash(),
        expires_at: app.clock.now().saturating_add(life),
    };
    let note = note(
        &app,
        "device.claim",
        &claim.id,
        request.name.unwrap_or_default(),
    );
    let Some(device) = app.store.create_claim(&claim, &note).await? else {
        return Err(AdminError::conflict(
            "the name is taken",
            "name: a device that has enrolled or is not served has it; choose another name, or reinstate that device",
        ));
    };
    let status = if device.id == claim.id {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let claim = Claim {
        device: view::device(&device),
        claim_token: token.reveal(),
    };
    Ok((status, Json(claim)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    after: Option<String>,
    limit: Option<u32>,
    state: Option<String>,
}

/// `GET /api/v1/devices`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Checked(Query(query)): Checked<Query<ListQuery>>,
) -> Result<Json<DeviceList>, AdminError> {
    let state = query
        .state
        .as_deref()
        .map(|word| {
            EnrolmentState::from_name(word)
                .ok_or_else(|| AdminError::bad_request("state: must be claimed, active or revoked"))
        })
        .transpose()?;
    let limit = query.limit.unwrap_or(100).clamp(1, 1000);
    let devices = app
        .store
        .devices(query.after.as_deref(), state, limit)
        .await?;
    let is_full = u32::try_from(devices.len()).is_ok_and(|len| len == limit);
    let next = devices
        .last()
        .filter(|_| is_full)
        .map(|device| device.id.clone());
    Ok(Json(DeviceList {
        devices: devices.iter().map(view::device).collect(),
        next,
    }))
}

/// `GET /api/v1/devices/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Checked(Path(id)): Checked<Path<String>>,
) -> Result<Json<DeviceDetail>, AdminError> {
    let device = find(&app, &id).await?;
    let reports = app.store.reports(&device.id, REPORTS_SHOWN).await?;
    Ok(Json(DeviceDetail {
        recipient_ids: device.recipient_ids().map(|id| id.to_string()).collect(),
        readable_releases: readable(&app, &device).await?,
        record: record(&app, &device).await?,
        reports: reports.iter().map(view::report).collect(),
        device: view::device(&device),
    }))
}

/// `POST /api/v1/devices/{id}/revoke`
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Checked(Path(id)): Checked<Path<String>>,
    JsonBody(request): JsonBody<RevokeDevice>,
) -> Result<Json<Revocation>, AdminError> {
    check_text(&request.reason, "reason", REASON_MAX)?;
    let device = if request.dry_run {
        find(&app, &id).await?
    } else {
        let note = note(&app, "device.revoke", &id, &request.reason);
        let reason = request.reason;
        decide(&app, &id, &Decision::Revoke { reason }, &note).await?
    };
    Ok(Json(Revocation {
        dry_run: request.dry_run,
        readable_releases: readable(&app, &device).await?,
        group_ids: device.groups.iter().map(ToString::to_string).collect(),
        device: view::device(&device),
    }))
}

/// `POST /api/v1/devices/{id}/reinstate`
pub(super) async fn reinstate(
    State(app): State<Arc<App>>,
    Checked(Path(id)): Checked<Path<String>>,
) -> Result<Json<DeviceInfo>, AdminError> {
    let note = note(&app, "device.reinstate", &id, "");
    let device = decide(&app, &id, &Decision::Reinstate, &note).await?;
    Ok(Json(view::device(&device)))
}

/// Makes a decision durable, then ends what is open.
async fn decide(
    app: &App,
    selector: &str,
    decision: &Decision,
    note: &Note,
) -> Result<Device, AdminError> {
    let device = app.store.decide(selector, decision, note).await?;
    let device = device.ok_or_else(|| no_such_device(selector))?;
    if device.state != EnrolmentState::Active
        && let Some(key) = &device.key
    {
        app.live.cut(key);
    }
    tracing::info!(device = %device.id, state = device.state.name(), "decided");
    Ok(device)
}

async fn find(app: &App, selector: &str) -> Result<Device, AdminError> {
    let device = app.store.device(selector).await?;
    device.ok_or_else(|| no_such_device(selector))
}

fn no_such_device(selector: &str) -> AdminError {
    AdminError::not_found(
        "there is no such device",
        format!("no device has the id or name '{selector}'; device list shows all"),
    )
}

async fn readable(app: &App, device: &Device) -> Result<Vec<ReleaseRef>, AdminError> {
    let releases = app.store.readable_by(&device.id).await?;
    Ok(releases.iter().map(view::release_ref).collect())
}

/// What the factory recorded, if the device was imported.
async fn record(app: &App, device: &Device) -> Result<Option<serde_json::Value>, AdminError> {
    let text = app.store.record(&device.id).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// An id that no device has or had.
pub(super) fn fresh_id() -> Result<String, AdminError> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|error| AdminError::internal(&error))?;
    Ok(format!("dev-{}", hex::encode(id)))
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
}

pub(super) const NAME_RULE: &str = "must be 1 to 64 visible ASCII characters";
const NAME_MAX: usize = 64;
const REASON_MAX: usize = 200;
const REPORTS_SHOWN: u32 = 20;

/// A week.
const CLAIM_LIFE: u64 = 7 * 86_400;

/// A year.
const CLAIM_LIFE_MAX: u64 = 366 * 86_400;
