use std::sync::Arc;

use airseal_format::bundle::{Section, SectionKind};
use airseal_protocol::{CONTENT_TYPE_BYTES, ProblemCode};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{App, DeviceError, Named, release_for};
use crate::auth::Caller;
use crate::publish::split_keysets;

/// The query of a manifest request; its name is `airseal_protocol::path::KEYSET_PARAMETER`.
#[derive(Deserialize)]
pub(super) struct ManifestQuery {
    #[serde(default)]
    ks: u32,
}

/// `GET /d/v1/manifest/{digest}?ks=N`
pub(super) async fn manifest(
    State(app): State<Arc<App>>,
    caller: Caller,
    Named(digest): Named,
    query: Result<Query<ManifestQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, DeviceError> {
    let Query(query) = query.map_err(|_| DeviceError::new(ProblemCode::Malformed))?;
    let release = release_for(&app, &caller.device, &digest).await?;
    let keysets = split_keysets(&release.keysets).map_err(|error| {
        tracing::error!(%error, release = %release.digest, "stored keysets are damaged");
        DeviceError::new(ProblemCode::Internal)
    })?;
    let mut answer = Vec::new();
    for (version, bytes) in keysets {
        if version > query.ks {
            add_section(&mut answer, SectionKind::Keyset, bytes);
        }
    }
    add_section(&mut answer, SectionKind::Manifest, &release.manifest);
    Ok(bytes(answer))
}

/// `GET /d/v1/envelope/{digest}`
pub(super) async fn envelope(
    State(app): State<Arc<App>>,
    caller: Caller,
    Named(digest): Named,
) -> Result<Response, DeviceError> {
    let release = release_for(&app, &caller.device, &digest).await?;
    let envelopes = app
        .store
        .envelopes_for(&release.digest, &caller.device.id)
        .await?;
    if envelopes.is_empty() {
        return Err(DeviceError::new(ProblemCode::NoEnvelope));
    }
    Ok(bytes(envelopes.concat()))
}

fn add_section(answer: &mut Vec<u8>, kind: SectionKind, bytes: &[u8]) {
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    answer.extend(Section { kind, len }.encode());
    answer.extend(bytes);
}

fn bytes(answer: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE_BYTES),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, answer).into_response()
}
