//! The device interface.

mod enroll;
mod payload;
mod poll;
mod release;
mod report;

use std::sync::Arc;

use airseal_format::Digest;
use airseal_protocol::{CONTENT_TYPE, ProblemCode, path};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{App, DeviceError};
use crate::store::{Device, Release};

pub(crate) fn router(app: Arc<App>) -> Router {
    let by_digest = |path: &str| format!("{path}/{{digest}}");
    Router::new()
        .route(path::ENROLL, post(enroll::enroll))
        .route(path::POLL, post(poll::poll))
        .route(&by_digest(path::MANIFEST), get(release::manifest))
        .route(&by_digest(path::ENVELOPE), get(release::envelope))
        .route(
            &by_digest(path::PAYLOAD),
            get(payload::payload).head(payload::payload),
        )
        .route(path::REPORT, post(report::report))
        .fallback(|| async { DeviceError::new(ProblemCode::NoSuchPath) })
        .method_not_allowed_fallback(|| async { DeviceError::new(ProblemCode::WrongMethod) })
        .with_state(app)
}

/// Reads a message body of at most `max` bytes within the time a request has.
async fn read_message(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    max: usize,
) -> Result<Bytes, DeviceError> {
    if headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes()) != Some(CONTENT_TYPE.as_bytes()) {
        return Err(DeviceError::new(ProblemCode::WrongMediaType));
    }
    let collected = Limited::new(body, max).collect();
    match tokio::time::timeout(app.limits.request, collected).await {
        Err(_) => Err(DeviceError::new(ProblemCode::TooSlow)),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(DeviceError::new(ProblemCode::TooLarge))
        }
        Ok(Err(_)) => Err(DeviceError::new(ProblemCode::Malformed)),
    }
}

/// The manifest digest in a path.
struct Named(Digest);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = DeviceError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let digest = Path::<String>::from_request_parts(parts, state).await.ok();
        digest
            .and_then(|Path(digest)| path::digest_from_hex(&digest))
            .map(|digest| Self(Digest(digest)))
            .ok_or(DeviceError::new(ProblemCode::NoSuchRelease))
    }
}

/// The release `digest`, if it is one for this device and not withdrawn.
///
/// A release of another product and one that does not exist are answered alike.
async fn release_for(app: &App, device: &Device, digest: &Digest) -> Result<Release, DeviceError> {
    let missing = DeviceError::new(ProblemCode::NoSuchRelease);
    let release = app.store.release(digest).await?.ok_or(missing)?;
    if device.product != Some(release.product) {
        return Err(missing);
    }
    let mut ids = device.recipient_ids();
    if !release.targets.is_empty() && !ids.any(|id| release.targets.contains(&id)) {
        return Err(missing);
    }
    if release.yanked.is_some() {
        return Err(DeviceError::new(ProblemCode::Yanked));
    }
    Ok(release)
}

/// Seconds until a device's next poll, spread so that a herd dissolves.
fn next_poll(app: &App) -> u32 {
    let mut random = [0; 4];
    if getrandom::fill(&mut random).is_err() {
        tracing::warn!("no random numbers; polls are not spread");
    }
    crate::rollout::spread(app.limits.poll_interval_s, u32::from_le_bytes(random))
}
