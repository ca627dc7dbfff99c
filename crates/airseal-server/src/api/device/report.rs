use std::sync::Arc;

use airseal_format::{Digest, KeysetVersion};
use airseal_protocol::{Message, ProblemCode, Report, Stage};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::{App, DeviceError, read_message};
use crate::auth::Caller;
use crate::rollout::FAILURES_UNTIL_HELD;
use crate::store::{Device, PollNote, Release, ReportNote};

/// `POST /d/v1/report`
pub(super) async fn report(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, DeviceError> {
    let bytes = read_message(&app, &headers, body, Report::MAX_LEN).await?;
    let report = Report::parse(&bytes)?;
    let digest = Digest(report.manifest_digest);
    let missing = DeviceError::new(ProblemCode::NoSuchRelease);
    let release = app.store.release(&digest).await?.ok_or(missing)?;
    if caller.device.product != Some(release.product) {
        return Err(missing);
    }
    let note = ReportNote {
        digest,
        stage: report.stage,
        code: report.code,
        attempt: report.attempt,
        detail: report.detail.to_owned(),
        now: app.clock.now(),
    };
    let failures = app.store.note_report(&caller.device.id, &note).await?;
    if report.stage == Stage::Confirm && report.code == 0 {
        let runs = now_runs(&caller.device, &release, note.now);
        app.store.note_poll(&caller.device, &runs).await?;
    }
    let device = &caller.device.id;
    if report.code == 0 {
        tracing::info!(%device, release = %digest, stage = report.stage.name(), "report");
    } else {
        let (stage, code) = (report.stage.name(), report.code);
        tracing::warn!(%device, release = %digest, stage, code, failures, "failure reported");
        if failures == FAILURES_UNTIL_HELD {
            tracing::warn!(%device, release = %digest, "held until the next release");
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A device that confirmed a release runs it, under the keyset that leads to it; its next poll may be far away. One that
/// says keyset 0 has none: it holds bare keys.
fn now_runs(device: &Device, release: &Release, now: u64) -> PollNote {
    let keyset_version = match device.keyset_version {
        KeysetVersion(0) => KeysetVersion(0),
        known => known.max(release.order.keyset_version),
    };
    PollNote {
        seen_at: now,
        installed: Some(release.digest),
        order: release.order,
        security_version: release.security_version,
        keyset_version,
        hw_rev: device.hw_rev,
        held: None,
        groups: device.groups.clone(),
    }
}
